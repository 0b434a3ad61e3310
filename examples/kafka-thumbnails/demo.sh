#!/bin/bash
# From a topic of videos to a folder of thumbnails, with three programs: kafka-ambassador, queue-manager, ffmpeg-worker. Three copies
# share the topic, and end when it is empty. Against a Kafka that is started here.
#
#   demo.sh BIN_DIR KAFKA_DIR OUT_DIR
#
# KAFKA_DIR is what tests/servers/kafka/setup prints. It ends with 0 only if everything it promises did happen. Ctrl-C stops all of it.
set -euo pipefail
shopt -s extglob
export LC_ALL=C.UTF-8

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
make=demo-kafka
usage="usage: demo.sh BIN_DIR KAFKA_DIR OUT_DIR (or: make $make)"
bin=$(realpath -e "${1:?$usage}")
kafka=$(realpath -e "${2:?$usage}")
out=$(realpath -m "${3:?$usage}")
videos=$out/videos logs=$out/logs thumbnails=$out/thumbnails state=''
brokers=''
partitions=3
copies=3
limit=900 # seconds, after which something hangs

# shellcheck source=../thumbnails/common.sh
. "$here/../thumbnails/common.sh"
# shellcheck source=../thumbnails/videos.sh
. "$here/../thumbnails/videos.sh"

prepare() {
    need ffmpeg ffprobe
    need_ours kafka-ambassador queue-manager ffmpeg-worker
    claim_out
    mkdir -p "$videos" "$logs" "$thumbnails"
}

# Starts a Kafka of one broker on ports that are free, and waits until it serves.
start_kafka() {
    local tries port pid
    for tries in {1..10}; do
        # Above those that connections get by themselves, and those that servers mostly have.
        port=$((61000 + RANDOM % 4500))
        rm -rf "$out/kafka"
        cp -r "$kafka/formatted" "$out/kafka"
        cat >"$out/kafka.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$port
listeners=PLAIN://127.0.0.1:$((port + 1)),CONTROLLER://127.0.0.1:$port
listener.security.protocol.map=PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
log.dirs=$out/kafka
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
group.initial.rebalance.delay.ms=0
PROPERTIES
        "$kafka/run" kafka.Kafka "$out/kafka.properties" >"$logs/kafka.log" 2>&1 &
        pid=$!
        running[$pid]=kafka
        while kill -0 "$pid" 2>/dev/null; do
            if grep -q 'Kafka Server started' "$logs/kafka.log"; then
                brokers=127.0.0.1:$((port + 1))
                return 0
            fi
            [ "$SECONDS" -lt "$limit" ] || fail "Kafka does not get ready"
            sleep 0.1
        done
        reap "$pid" || true
    done
    fail "Kafka did not start: $(tail -n 1 "$logs/kafka.log")"
}

# tool CLASS ARGUMENT…: one of Kafka's own.
tool() { "$kafka/run" "org.apache.kafka.tools.$1" --bootstrap-server "$brokers" "${@:2}" 2>>"$logs/tools.log"; }

# A line for each video: where it lies, and its partition, so that each copy gets some.
load() {
    local video n=0
    while IFS= read -r -d '' video; do
        printf '{"value":"file://%s","partition":%d}\n' "$(url "$video")" $((n++ % partitions))
    done < <(find "$videos" -type f -print0 | sort -z) >"$out/videos.jsonl"
    "$bin/kafka-ambassador" --brokers "$brokers" --topic videos --load "$out/videos.jsonl" --load-format json 2>>"$logs/load.log" |
        sed 's/^/  /'
}

# start_copies RUN FLAG…: an ambassador and a manager each, which share the topic as one group.
declare -a ambassadors=() managers=()
start_copies() {
    local run=$1 n name port
    shift
    ambassadors=() managers=()
    for ((n = 1; n <= copies; n++)); do
        name=$run-$n
        "$bin/kafka-ambassador" --brokers "$brokers" --topic videos --mode group --group thumbnails --payload uri --poll 1s \
            --listen 127.0.0.1:0 --probe-listen 127.0.0.1:0 2>"$logs/ambassador-$name.log" &
        running[$!]=kafka-ambassador
        ambassadors+=($!)
        port=$(port_of "ambassador-$name" $!)
        "$bin/queue-manager" local --source "http://127.0.0.1:$port" --state "$out/state-$name" --until-empty "$@" \
            --parallelism 1 --poll 500ms --probe-listen 127.0.0.1:0 -- \
            "$bin/ffmpeg-worker" thumbnails --every 100 --width 320 \
            --allow-input "$videos/" --output "$thumbnails/{key}/" 2>"$logs/manager-$name.log" &
        running[$!]=queue-manager
        managers+=($!)
    done
}

# Waits for the copies, each ambassador ending with its manager, as it does in a pod; says how many managers ended with 3.
dead_copies() {
    local n code
    dead=0
    for n in "${!managers[@]}"; do
        code=0
        reap "${managers[n]}" || code=$?
        kill -TERM "${ambassadors[n]}" 2>/dev/null || true
        reap "${ambassadors[n]}" || fail "an ambassador did not end well"
        case $code in
            0) ;;
            3) dead=$((dead + 1)) ;;
            *) fail "a manager ended with exit code $code" ;;
        esac
    done
}

# with_markers SCRIPT: runs an awk script over all markers, in the order of their names.
with_markers() {
    (cd "$out" && find thumbnails -name _SUCCESS.json -not -path '*/.longshore/*' -print0 | LC_ALL=C sort -z |
        LC_ALL=C xargs -0 awk -f "$common/json.awk" -f "$common/$1")
}

check_published() {
    local key codec count images attempt files=0
    local -A found=()
    while IFS=$'\t' read -r key codec count images attempt; do
        [ "$count" = "${frames[$key]:-none}" ] || fail "$key has ${frames[$key]:-no} frames, and $count were decoded"
        [ "$images" = $(((count + 99) / 100)) ] || fail "$key has $images images of $count frames"
        found[$key]=$attempt
        files=$((files + images + 1))
        say "  $key$(blanks $((34 - ${#key})))$codec$(blanks $((8 - ${#codec})))$(counted "$count" frame), $(counted "$images" image)"
    done < <(with_markers outputs.awk)
    [ "${#found[@]}" = "${#frames[@]}" ] || fail "${#found[@]} of ${#frames[@]} videos were published"
    [ "$(find "$thumbnails" -type f -not -path '*/.longshore/*' | wc -l)" = "$files" ] || fail "some file is named by no marker"
}

# What the copies remember, each for itself: the dead one, and how the work was shared.
check_copies() {
    local run=$1 n name item attempts last message done_here total=0 dead=''
    for ((n = 1; n <= copies; n++)); do
        state=$out/state-$run-$n done_here=0
        while IFS=$'\t' read -r name item attempts last message; do
            case $item in
                'done') done_here=$((done_here + 1)) ;;
                dead) dead+="$message;" ;;
            esac
        done < <(last_attempts)
        total=$((total + done_here))
        say "  copy $n: $done_here done"
    done
    # A partition that went to another copy while its items were worked on has them done twice.
    [ "$total" = "$2" ] || { [ "$2" != 0 ] && [ "$total" -ge "$2" ]; } || fail "the copies did $total, not $2"
    [ -z "$dead" ] || say "  dead: ${dead%;}"
}

# The group has committed everything, as Kafka's own tool says.
check_committed() {
    local lag
    lag=$(tool consumer.group.ConsumerGroupCommand --describe --group thumbnails | awk '$2 == "videos" { sum += $6; n++ } END { print n ":" sum }')
    [ "$lag" = "$partitions:0" ] || fail "the group is behind: $lag (partitions:lag)"
    say "  nothing is left: the group has committed all of $partitions partitions"
}

main() {
    local dead
    prepare
    heading "Making videos"
    make_videos
    say "  $((${#frames[@]} + 1)) in $videos: ${#frames[@]} good ones, and broken.mp4"

    heading "Starting Kafka"
    start_kafka
    tool TopicCommand --create --topic videos --partitions "$partitions" >>"$logs/tools.log"
    say "  topic videos of $partitions partitions at $brokers"

    heading "Starting $copies copies"
    start_copies first --wait-for-first
    say "  each an ambassador and a manager; the topic is empty, and they wait"

    heading "Loading the topic"
    load

    heading "Draining it"
    dead_copies
    [ "$dead" -ge 1 ] || fail "no manager ended with 3, though broken.mp4 is dead"
    check_copies first "${#frames[@]}"
    check_committed

    heading "Published"
    check_published

    heading "A second run, of copies that remember nothing"
    start_copies second
    dead_copies
    [ "$dead" = 0 ] || fail "a manager ended with 3, and there was nothing to do"
    check_copies second 0
    say "  nothing was done: Kafka knows what is"

    with_markers gallery.awk >"$out/index.html"
    heading "The gallery"
    say "  file://$(url "$out")/index.html"
}

main
