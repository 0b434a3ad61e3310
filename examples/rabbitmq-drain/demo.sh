#!/bin/bash
# What the manifests beside it do on a cluster, without one: a RabbitMQ, a loader that publishes "0" … "99", and five processors that
# drain the queue and end.
#
#   demo.sh BIN_DIR RABBITMQ_DIR OUT_DIR
#
# RABBITMQ_DIR is what tests/servers/rabbitmq/setup prints. It ends with 0 only if everything it promises did happen. Ctrl-C stops all of it.
set -euo pipefail
export LC_ALL=C.UTF-8

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
make=demo-rabbitmq
usage="usage: demo.sh BIN_DIR RABBITMQ_DIR OUT_DIR (or: make $make)"
bin=$(realpath -e "${1:?$usage}")
rabbitmq=$(realpath -e "${2:?$usage}")
out=$(realpath -m "${3:?$usage}")
logs=$out/logs
management=''
declare -a of_queue=() # flags of every ambassador here
processors=5
limit=900 # seconds, after which something hangs

# shellcheck source=../thumbnails/common.sh
. "$here/../thumbnails/common.sh"

prepare() {
    need_ours rabbitmq-ambassador queue-manager
    claim_out
    mkdir -p "$logs"
    # The one that the Job runs.
    sed -n '/^  process.sh: |$/,/^---$/s/^    //p' "$here/processors.yaml" >"$out/process.sh"
    chmod +x "$out/process.sh"
    (umask 077 && echo "drain-$RANDOM$RANDOM" >"$out/password")
}

# Starts a RabbitMQ of one node on ports that are free, all of it below $out, and waits until it serves.
start_rabbitmq() {
    local port mapper pid
    for _ in {1..10}; do
        # Above those that connections get by themselves, and those that servers mostly have.
        port=$((61000 + RANDOM % 4500))
        rm -rf "$out/rabbitmq"
        mkdir -p "$out/rabbitmq/home"
        : >"$logs/rabbitmq.log"
        cat >"$out/rabbitmq/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$port
management.tcp.ip = 127.0.0.1
management.tcp.port = $((port + 1))
default_user = longshore
default_pass = $(cat "$out/password")
CONF
        echo '[rabbitmq_management].' >"$out/rabbitmq/enabled_plugins"
        "$rabbitmq/epmd" -address 127.0.0.1 -port $((port + 2)) >"$logs/epmd.log" 2>&1 &
        mapper=$!
        running[$mapper]=epmd
        env HOME="$out/rabbitmq/home" ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$((port + 2)) RABBITMQ_DIST_PORT=$((port + 3)) \
            RABBITMQ_NODENAME=demo@localhost RABBITMQ_MNESIA_BASE="$out/rabbitmq/mnesia" RABBITMQ_LOG_BASE="$out/rabbitmq/log" RABBITMQ_LOGS=- \
            RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE="$out/rabbitmq/rabbitmq.conf" \
            RABBITMQ_ENABLED_PLUGINS_FILE="$out/rabbitmq/enabled_plugins" RABBITMQ_GENERATED_CONFIG_DIR="$out/rabbitmq/generated" \
            RABBITMQ_FEATURE_FLAGS_FILE="$out/rabbitmq/feature_flags" RUNNING_UNDER_SYSTEMD=true \
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \
            "$rabbitmq/rabbitmq-server" >"$logs/rabbitmq.log" 2>&1 &
        pid=$!
        running[$pid]=rabbitmq
        while kill -0 "$pid" 2>/dev/null; do
            if grep -q 'Server startup complete' "$logs/rabbitmq.log"; then
                of_queue=(--url "amqp://127.0.0.1:$port" --username longshore --password-file "$out/password" --queue numbers)
                management=$((port + 1))
                return 0
            fi
            [ "$SECONDS" -lt "$limit" ] || fail "RabbitMQ does not get ready"
            sleep 0.1
        done
        reap "$pid" || true
        kill -TERM "$mapper" 2>/dev/null || true
        reap "$mapper" || true
    done
    fail "RabbitMQ did not start: $(tail -n 1 "$logs/rabbitmq.log")"
}

# admin WORD…: RabbitMQ's own client.
admin() { "$rabbitmq/rabbitmqadmin" --host 127.0.0.1 --port "$management" --username longshore --password "$(cat "$out/password")" "$@"; }

declare -a ambassadors=() managers=()
start_processors() {
    local n port
    for ((n = 1; n <= processors; n++)); do
        "$bin/rabbitmq-ambassador" "${of_queue[@]}" --window 4 --listen 127.0.0.1:0 --probe-listen 127.0.0.1:0 2>"$logs/ambassador-$n.log" &
        running[$!]=rabbitmq-ambassador
        ambassadors+=($!)
        port=$(port_of "ambassador-$n" $!)
        PROCESSED=$out/processed-$n "$bin/queue-manager" local --source "http://127.0.0.1:$port" --state "$out/state-$n" --until-empty \
            --wait-for-first=30s --parallelism 2 --poll 500ms --probe-listen 127.0.0.1:0 -- "$out/process.sh" 2>"$logs/manager-$n.log" &
        running[$!]=queue-manager
        managers+=($!)
    done
}

# Waits for the managers, each ambassador ending with its manager, as it does in a pod.
await_processors() {
    local n code
    for n in "${!managers[@]}"; do
        code=0
        reap "${managers[n]}" || code=$?
        [ "$code" = 0 ] || fail "manager $((n + 1)) ended with exit code $code"
        kill -TERM "${ambassadors[n]}" 2>/dev/null || true
        reap "${ambassadors[n]}" || fail "ambassador $((n + 1)) did not end well"
        say "  processor $((n + 1)): $(cat "$out/processed-$((n + 1))" 2>/dev/null | wc -l) processed"
    done
}

# Each number is there; more than once only if a connection broke and RabbitMQ delivered it again.
check_processed() {
    local all
    all=$(cat "$out"/processed-[0-9] | sed 's/^processed //' | sort -n | uniq)
    [ "$all" = "$(seq 0 99)" ] || fail "not all of 0 … 99 were processed"
    [ "$(admin get queue=numbers)" = 'No items' ] || fail "the queue is not empty"
    say "  0 … 99: each is done, and the queue is empty, as rabbitmqadmin says"
}

main() {
    prepare
    heading "Starting RabbitMQ"
    start_rabbitmq
    say "  at ${of_queue[1]}"
    heading "Starting $processors processors"
    start_processors
    say "  each an ambassador and a manager; there is no queue yet, and they wait"
    heading "Loading the queue"
    seq 0 99 >"$out/numbers"
    "$bin/rabbitmq-ambassador" "${of_queue[@]}" --declare quorum --load "$out/numbers" --load-key line 2>"$logs/loader.log" | sed 's/^/  /'
    heading "Draining it"
    await_processors
    check_processed
}

main
