# What becomes of the camera's file, as the ambassador tells it; sourced by demo.sh.

story_began='' camera_state=''

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
