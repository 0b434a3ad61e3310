#!/bin/bash
# From a bucket of videos to a bucket of thumbnails, with three programs: s3-ambassador, queue-manager, ffmpeg-worker, against
# a MinIO that is started here.
#
#   demo.sh BIN_DIR SERVERS_DIR CLIENTS_DIR OUT_DIR
#
# SERVERS_DIR has minio, CLIENTS_DIR has aws. The keys of the store are made up here and stand in the environment of what is
# started and nowhere else. It ends with 0 only if everything it promises did happen. Ctrl-C stops all of it.
set -euo pipefail
shopt -s extglob
export LC_ALL=C.UTF-8

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
make=demo-s3
usage="usage: demo.sh BIN_DIR SERVERS_DIR CLIENTS_DIR OUT_DIR (or: make $make)"
bin=$(realpath -e "${1:?$usage}")
servers=$(realpath -e "${2:?$usage}")
clients=$(realpath -e "${3:?$usage}")
out=$(realpath -m "${4:?$usage}")
videos=$out/videos logs=$out/logs state=$out/state published=$out/published
port='' bucket=''
limit=900 # seconds, after which something hangs

# shellcheck source=../thumbnails/common.sh
. "$here/../thumbnails/common.sh"
# shellcheck source=../thumbnails/videos.sh
. "$here/../thumbnails/videos.sh"

prepare() {
    need ffmpeg ffprobe
    need_ours s3-ambassador queue-manager ffmpeg-worker
    claim_out
    mkdir -p "$videos" "$logs"
}

# Keys of our own, in the environment. Whatever this machine has of other stores is not looked at.
make_up_keys() {
    local name
    for name in "${!AWS_@}"; do unset "$name"; done
    export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
    AWS_ACCESS_KEY_ID=demo$(od -An -N4 -tx4 /dev/urandom | tr -d ' ')
    AWS_SECRET_ACCESS_KEY=$(od -An -N20 -tx4 /dev/urandom | tr -d ' \n')
    export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
}

# Starts MinIO on a port that is free, and waits until it answers.
start_store() {
    local tries pid port
    for tries in {1..10}; do
        # Above those that connections get by themselves, and those that servers mostly have.
        port=$((61000 + RANDOM % 4500))
        MINIO_ROOT_USER=$AWS_ACCESS_KEY_ID MINIO_ROOT_PASSWORD=$AWS_SECRET_ACCESS_KEY MINIO_BROWSER=off MINIO_UPDATE=off \
            "$servers/minio" server --quiet --address "127.0.0.1:$port" --certs-dir "$out/certs" "$out/minio" >"$logs/minio.log" 2>&1 &
        pid=$!
        running[$pid]=minio
        while kill -0 "$pid" 2>/dev/null; do
            if [[ $(get_all /minio/health/ready) == *' 200 '* ]]; then
                export AWS_ENDPOINT_URL=http://127.0.0.1:$port
                # Another's server may have answered on a port that ours did not get.
                aws s3api list-buckets >/dev/null 2>&1 && return 0
                break
            fi
            [ "$SECONDS" -lt "$limit" ] || fail "minio does not get ready"
            sleep 0.1
        done
        kill -KILL "$pid" 2>/dev/null || true
        reap "$pid" || true
    done
    fail "minio did not start: $(tail -n 1 "$logs/minio.log")"
}

aws() { "$clients/aws" "$@"; }

put_videos() {
    for bucket in videos thumbnails; do
        aws s3 mb "s3://$bucket" >>"$logs/aws.log"
    done
    aws s3 sync --no-progress "$videos" s3://videos >>"$logs/aws.log"
}

start_ambassador() {
    "$bin/s3-ambassador" --bucket videos --glob '**/*.mp4' --poll 1s --reconcile 1s \
        --listen 127.0.0.1:0 --probe-listen 127.0.0.1:0 2>"$logs/s3-ambassador.log" &
    running[$!]='s3-ambassador'
    port=$(port_of s3-ambassador $!)
}

# work: runs the manager until nothing is left to do, and checks how it ended: 3, since the broken one stays dead.
work() {
    local code=0 pid
    "$bin/queue-manager" local --source "http://127.0.0.1:$port" --state "$state" --until-empty --parallelism 2 --poll 1s \
        --probe-listen 127.0.0.1:0 -- \
        "$bin/ffmpeg-worker" thumbnails --every 100 --width 320 \
        --allow-input s3://videos/ --output 's3://thumbnails/{key}/' &
    pid=$!
    running[$pid]=queue-manager
    reap "$pid" || code=$?
    [ "$code" = 3 ] || fail "the manager ended with exit code $code, not 3 (one is dead)"
}

# All that is published, as a program reads it that nobody here wrote.
fetch_published() {
    rm -rf "$published"
    aws s3 sync --no-progress s3://thumbnails "$published" >>"$logs/aws.log"
}

# with_markers SCRIPT: runs an awk script over all markers, in the order of their names.
with_markers() {
    (cd "$out" && find published -name _SUCCESS.json -print0 | LC_ALL=C sort -z |
        LC_ALL=C xargs -0 awk -f "$common/json.awk" -f "$common/$1")
}

# What is published, checked against what was made.
check_published() {
    local key codec count images attempt files=0
    local -A found=()
    fetch_published
    while IFS=$'\t' read -r key codec count images attempt; do
        [ "$count" = "${frames[$key]:-none}" ] || fail "$key has ${frames[$key]:-no} frames, and $count were decoded"
        [ "$images" = $(((count + 99) / 100)) ] || fail "$key has $images images of $count frames"
        found[$key]=$attempt
        files=$((files + images + 1))
        say "  $key$(blanks $((34 - ${#key})))$codec$(blanks $((8 - ${#codec})))$(counted "$count" frame), $(counted "$images" image)"
    done < <(with_markers outputs.awk)
    [ "${#found[@]}" = "${#frames[@]}" ] || fail "${#found[@]} of ${#frames[@]} videos were published"
    [ "$(find "$published" -type f -not -path '*/_attempts/*' | wc -l)" = "$files" ] || fail "some object is named by no marker"
    say "  nothing lies there that no marker names"
}

check_dead() {
    local name item attempts last message dead=''
    while IFS=$'\t' read -r name item attempts last message; do
        case $item in
            'done') [ "$attempts" = 1 ] || fail "$name took $attempts attempts" ;;
            dead) dead+=$name && say "  $message" ;;
            *) fail "$name is $item" ;;
        esac
    done < <(last_attempts)
    [[ $dead == broken-mp4-+([a-z0-9]) ]] || fail "the dead are ${dead:-none}, not broken.mp4 alone"
}

# What is in the bucket, told by time and content: a run that does nothing leaves it so.
state_of_bucket() { aws s3api list-objects-v2 --bucket thumbnails --query 'Contents[].[Key,ETag,LastModified]' --output text; }

check_rerun() {
    local before
    before=$(state_of_bucket)
    work
    [ "$(state_of_bucket)" = "$before" ] || fail "a second run wrote to the bucket"
    say "  nothing: every object that is listed is done or dead"
}

check_overwritten() {
    local key='test card.mp4' items attempts
    attempts=$(last_attempts | wc -l)
    video "$key" 201 "testsrc2=s=640x360:r=50" -c:v mpeg4
    reap "${making[-1]}" || fail "ffmpeg could not make $key"
    aws s3 cp --no-progress "$videos/$key" "s3://videos/$key" >>"$logs/aws.log"
    wait_for_new_item
    work
    items=$(last_attempts | wc -l)
    [ "$items" = $((attempts + 1)) ] || fail "$((items - attempts)) new items, not 1"
    check_published | grep -F "$key" || fail "$key was not published anew"
}

# Until the list shows what was put there: a manager that asks before sees nothing new, and ends.
wait_for_new_item() {
    until [ -n "$("$bin/queue-manager" plan --state "$state" --source "http://127.0.0.1:$port" -o name)" ]; do
        [ "$SECONDS" -lt "$limit" ] || fail "an overwritten object does not become a new item"
        sleep 0.2
    done
}

check_secret() {
    ! grep -rqF "$AWS_SECRET_ACCESS_KEY" "$out" || fail "the secret key stands in $(grep -rlF "$AWS_SECRET_ACCESS_KEY" "$out" | head -n 1)"
    say "  the secret key of the store is in no file below $out"
}

main() {
    prepare
    heading "Making videos"
    make_videos
    say "  $((${#frames[@]} + 1)) in $videos: ${#frames[@]} good ones, and broken.mp4"

    heading "Putting them into a bucket"
    make_up_keys
    start_store
    put_videos
    say "  s3://videos at $AWS_ENDPOINT_URL, by aws-cli"

    heading "Processing them"
    start_ambassador
    work

    heading "Published to s3://thumbnails"
    check_published
    heading "In the dead letter"
    check_dead
    heading "A second run"
    check_rerun
    heading "An object is overwritten"
    check_overwritten
    heading "Credentials"
    check_secret
    with_markers gallery.awk >"$out/index.html"
    heading "The gallery"
    say "  file://$(url "$out")/index.html"
}

main
