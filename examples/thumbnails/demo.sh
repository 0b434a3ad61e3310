#!/bin/bash
# From a folder of videos to a gallery, with three programs: files-ambassador, queue-manager, ffmpeg-worker.
#
#   demo.sh BIN_DIR OUT_DIR
#
# It makes its videos itself: several codecs and lengths, one that is broken, and one that a camera goes on recording
# while the others are processed. It ends with 0 only if everything it promises did happen. Ctrl-C stops all of it.
set -euo pipefail
shopt -s extglob
export LC_ALL=C.UTF-8

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage="usage: demo.sh BIN_DIR OUT_DIR (or: make demo)"
bin=$(realpath -e "${1:?$usage}")
out=$(realpath -m "${2:?$usage}")
videos=$out/videos thumbnails=$out/thumbnails logs=$out/logs state=$out/state
camera=camera.mp4 camera_pid='' manager_pid='' port=''
limit=900 # seconds, after which something hangs

# shellcheck source=common.sh
. "$here/common.sh"
# shellcheck source=videos.sh
. "$here/videos.sh"
# shellcheck source=story.sh
. "$here/story.sh"

prepare() {
    need ffmpeg ffprobe
    need_ours files-ambassador queue-manager ffmpeg-worker
    claim_out
    mkdir -p "$videos" "$thumbnails" "$logs"
}

start_ambassador() {
    "$bin/files-ambassador" --root "$videos" --glob '**/*.mp4' --rescan 1s --stable-for 8s \
        --listen 127.0.0.1:0 --probe-listen 127.0.0.1:0 2>"$logs/files-ambassador.log" &
    running[$!]='files-ambassador'
    port=$(port_of files-ambassador $!)
}

start_manager() {
    "$bin/queue-manager" local --source "http://127.0.0.1:$port" --state "$state" --until-empty --parallelism 2 --poll 1s \
        --probe-listen 127.0.0.1:0 -- \
        "$bin/ffmpeg-worker" thumbnails --every 100 --width 320 \
        --allow-input "file://$(url "$videos")/" --output "file://$(url "$thumbnails")/{key}/" &
    manager_pid=$!
    running[$manager_pid]="queue-manager"
}

# Until the ambassador has seen the camera's file: a manager that comes before might find everything done, and end.
await_camera() {
    until look_at_camera && [ -n "$camera_state" ]; do
        [ "$SECONDS" -lt "$limit" ] || fail "nothing is seen of the camera"
        sleep 0.2
    done
}

# While the manager works: watches what becomes of the camera's file, and stops the camera once all others are done.
follow() {
    while kill -0 "$manager_pid" 2>/dev/null; do
        look_at_camera
        [ -z "$camera_pid" ] || watch_camera
        [ "$SECONDS" -lt "$limit" ] || fail "it is not done after $limit seconds"
        sleep 0.2
    done
    manager_code=0
    reap "$manager_pid" || manager_code=$?
    look_at_camera
    [ -z "$camera_pid" ] || fail "the manager ended (exit code $manager_code) while the camera was still recording"
}

# How many items are done or dead; more than the good ones: all but the camera's. Fails while there is no ledger yet.
over_count() {
    local list
    list=$(ledger list -o json 2>"$logs/ledger.log") || return 1
    grep -cE '"state":"(done|dead)"' <<<"$list" || true
}

watch_camera() {
    local over
    over=$(over_count) || return 0
    [ "$over" -le "${#frames[@]}" ] || stop_camera
}

stop_camera() {
    kill -TERM "$camera_pid"
    reap "$camera_pid" || true # 255: ffmpeg was asked to end
    frames[$camera]=$(camera_frames)
    tell "recording ended, ${frames[$camera]} frames"
    camera_pid=''
}

# with_markers SCRIPT: runs an awk script over all markers, in the order of their names.
with_markers() {
    (cd "$out" && find thumbnails -name _SUCCESS.json -not -path '*/.longshore/*' -print0 | LC_ALL=C sort -z |
        LC_ALL=C xargs -0 awk -f "$here/json.awk" -f "$here/$1")
}

# What is published, checked against what was made and against the ledger.
check_published() {
    local key codec count images attempt name item attempts last message files=0
    local -A published=() committed=()
    while IFS=$'\t' read -r key codec count images attempt; do
        [ "$count" = "${frames[$key]:-none}" ] || fail "$key has ${frames[$key]:-no} frames, and $count were decoded"
        [ "$images" = $(((count + 99) / 100)) ] || fail "$key has $images images of $count frames"
        [ "$attempt" != "${published[$key]:-}" ] || fail "$key was published twice"
        published[$key]=$attempt
        committed[$attempt]=$key
        files=$((files + images + 1))
        say "  $key$(blanks $((34 - ${#key})))$codec$(blanks $((8 - ${#codec})))$(counted "$count" frame), $(counted "$images" image)"
    done < <(with_markers outputs.awk)
    [ "${#published[@]}" = "${#frames[@]}" ] || fail "${#published[@]} of ${#frames[@]} videos were published"
    [ "$(find "$thumbnails" -type f -not -path '*/.longshore/*' | wc -l)" = "$files" ] || fail "some file is named by no marker"
    [ -z "$(find "$thumbnails/.longshore" -mindepth 1 -type d 2>/dev/null)" ] || fail "a run left its staging directory behind"

    # One item for each video, one attempt for each item, and that attempt is the one that published it.
    while IFS=$'\t' read -r name item attempts last message; do
        [ "$item" = "done" ] || continue
        [ "$attempts" = 1 ] || fail "$name took $attempts attempts"
        [ -n "${committed[$last]:-}" ] || fail "what is published of $name is not of its only attempt"
        unset "committed[$last]"
    done < <(last_attempts)
    [ "${#committed[@]}" = 0 ] || fail "published by an attempt that the ledger does not know: ${committed[*]}"
    say "  each in one attempt, and by that attempt; nothing lies there that no marker names"
}

check_dead() {
    local name item attempts last message dead=''
    while IFS=$'\t' read -r name item attempts last message; do
        case $item in
            'done') ;;
            dead) dead+=$name && say "  $message" ;;
            *) fail "$name is $item" ;;
        esac
    done < <(last_attempts)
    [[ $dead == broken-mp4-+([a-z0-9]) ]] || fail "the dead are ${dead:-none}, not broken.mp4 alone"
}

check_rerun() {
    local again
    again=$("$bin/queue-manager" plan --state "$state" --source "http://127.0.0.1:$port" -o name)
    [ -z "$again" ] || fail "it would run again: $again"
    say "  nothing: every item that is listed is done or dead"
}

main() {
    prepare
    heading "Making videos"
    make_videos
    say "  $((${#frames[@]} + 2)) in $videos: ${#frames[@]} good ones, broken.mp4, and $camera, still being recorded"

    heading "Processing them"
    start_ambassador
    start_camera
    begin_story
    await_camera
    start_manager
    follow
    [ "$manager_code" = 3 ] || fail "the manager ended with exit code $manager_code, not 3 (some are dead)"

    heading "Published, each exactly once"
    check_published
    heading "In the dead letter"
    check_dead
    heading "The file that grew"
    check_story
    heading "What a second run would do"
    check_rerun
    with_markers gallery.awk >"$out/index.html"
    heading "The gallery"
    say "  file://$(url "$out")/index.html"
}

main
