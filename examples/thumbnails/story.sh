# What becomes of the camera's file, as the ambassador tells it; sourced by demo.sh.

story_began='' camera_state=''

# get PATH: the body of a GET to the ambassador. A bare Debian has bash, and maybe no curl.
get() {
    {
        exec 3<>"/dev/tcp/127.0.0.1/$port" || return 0
        printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' "$1" >&3
        sed '1,/^\r*$/d' <&3
        exec 3>&-
    } 2>/dev/null
}

# url PATH: the path as it stands in a URL.
url() {
    local LC_ALL=C path=$1 i c
    for ((i = 0; i < ${#path}; i++)); do
        c=${path:i:1}
        case $c in
            [-A-Za-z0-9._~/]) printf %s "$c" ;;
            *) printf '%%%02X' "'$c" ;;
        esac
    done
}

begin_story() { story_began=$(date +%s%N); }

tell() { printf '  %5s s  %s\n' "$(seconds)" "$*" >>"$logs/story"; }

seconds() {
    local tenths=$((($(date +%s%N) - story_began) / 100000000))
    printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# Notes when the file is withheld and why, and when it is listed, each time that changes.
look_at_camera() {
    local now='' entry
    if [ -e "$thumbnails/$camera/_SUCCESS.json" ]; then
        now=published
    elif [[ $(get /v1/items) == *'"camera-mp4-'* ]]; then
        now=listed
    else
        entry=$(get /v1/withheld | tr '{' '\n' | grep -F "\"key\":\"$camera\"" || true)
        now=$(sed -n 's/.*"reason":"\([^"]*\)".*/withheld: \1/p' <<<"$entry")
    fi
    [ -n "$now" ] && [ "$now" != "$camera_state" ] || return 0
    camera_state=$now
    tell "$now"
}

# The file must have been withheld for as long as it grew, and been listed and published after that, whole.
check_story() {
    local order
    order=$(sed -n 's/^ *[0-9.]* s  \([a-z]*\).*/\1/p' "$logs/story" | uniq | tr '\n' ' ')
    cat "$logs/story"
    [[ $order == "withheld recording "?("withheld ")?("listed ")"published " ]] || fail "$camera was not withheld while it grew"
    say "  with all of its ${frames[$camera]} frames"
}
