# What the demos share: how they speak, what they start and stop, how they ask. Sourced; `bin`, `out`, `logs`, `state` and `limit`
# are set before.

interrupted=''
declare -A running=() # by process id, what is to be stopped at the end
common=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf '%s\n' "$*"; }
heading() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
fail() { printf 'the demo failed: %s (logs: %s)\n' "$*" "$logs" >&2; exit 1; }
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi

# reap PID: waits for a process of ours, which is not to be stopped any more, and returns its exit code.
reap() {
    local code=0
    wait "$1" 2>/dev/null || code=$?
    unset "running[$1]"
    return "$code"
}

# Ends what still runs, by its process id and only that. What an interrupted demo has made is of no use to anybody.
cleanup() {
    trap '' INT TERM
    stop_all
    [ -z "$interrupted" ] || [ ! -e "$out/.demo" ] || rm -rf "$out"
}

stop_all() {
    local pid tries
    for tries in {1..100}; do
        for pid in "${!running[@]}"; do
            kill -0 "$pid" 2>/dev/null || { reap "$pid" || true; continue; }
            # The second TERM tells our programs not to wait for what is under way.
            case $tries in
                1 | 10) kill -TERM "$pid" 2>/dev/null || true ;;
                100) kill -KILL "$pid" 2>/dev/null || true ;;
            esac
        done
        [ "${#running[@]}" -gt 0 ] || return 0
        sleep 0.1
    done
}
trap cleanup EXIT
trap 'interrupted=yes; exit 130' INT
trap 'interrupted=yes; exit 143' TERM

# need PROGRAM…: those that ffmpeg's package brings.
need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || fail "$program is missing: apt-get install ffmpeg"
    done
}

need_ours() {
    local program
    for program in "$@"; do
        [ -x "$bin/$program" ] || fail "$bin/$program is missing: run make ${make:-demo}"
    done
}

# Only a directory that an earlier demo made is emptied.
claim_out() {
    if [ -e "$out" ] && [ ! -e "$out/.demo" ] && [ -n "$(ls -A "$out")" ]; then
        printf 'the demo failed: %s holds something that no demo made: choose another directory (make %s OUT=…)\n' "$out" "${make:-demo}" >&2
        exit 64
    fi
    rm -rf "$out"
    mkdir -p "$out"
    : >"$out/.demo"
}

# port_of PROGRAM PID: waits for the line of its log that says which free port was chosen.
port_of() {
    local port
    while [ "$SECONDS" -lt "$limit" ]; do
        port=$(sed -n 's|.*serving /v1/items.* address=127\.0\.0\.1:\([0-9]*\).*|\1|p' "$logs/$1.log")
        [ -z "$port" ] || { printf %s "$port"; return 0; }
        kill -0 "$2" 2>/dev/null || break
        sleep 0.1
    done
    fail "$1 did not start: $(tail -n 1 "$logs/$1.log")"
}

# ledger VERB FLAG…: asks the ledger; `last_attempts` is its list as lines of name, state, attempts, last attempt, message.
ledger() { "$bin/queue-manager" ledger "$1" --state "$state" "${@:2}"; }
last_attempts() {
    ledger list -o json >"$logs/ledger.json"
    LC_ALL=C awk -f "$common/json.awk" -f "$common/ledger.awk" "$logs/ledger.json"
}

blanks() { printf '%*s' "$(($1 > 0 ? $1 : 1))" ''; }
counted() { printf '%4d %s' "$1" "$2" && { [ "$1" = 1 ] || printf s; }; }

# get PATH: the body of the answer to a GET at `port`; get_all: its head too. A bare Debian has bash, and maybe no curl.
get_all() {
    {
        exec 3<>"/dev/tcp/127.0.0.1/$port" || return 0
        printf 'GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' "$1" >&3
        cat <&3
        exec 3>&-
    } 2>/dev/null
}
get() { get_all "$1" | sed '1,/^\r*$/d'; }

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
