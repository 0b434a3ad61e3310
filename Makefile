# Two commands do everything on a fresh machine with Rust: `make demo` and `make test`. `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/sh

TARGET_DIR = $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
BIN = $(TARGET_DIR)/debug
OUT ?= demo-out

.PHONY: help
help: ## Show what there is to make
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Real mp4 files become thumbnails, end to end, on this machine (OUT=demo-out)
	@scripts/setup ffmpeg
	cargo build --locked --no-default-features -p files-ambassador -p queue-manager -p ffmpeg-worker
	@examples/thumbnails/demo.sh "$(BIN)" "$(OUT)"

.PHONY: demo-s3
demo-s3: OUT = demo-s3-out
demo-s3: ## The same from bucket to bucket, with a MinIO that is built and started here (OUT=demo-s3-out)
	@scripts/setup ffmpeg curl python3 venv flock
	cargo build --locked -p s3-ambassador -p queue-manager -p ffmpeg-worker
	@set -e; servers=$$(tests/servers/s3/setup); clients=$$(tests/servers/s3-clients/setup); \
		examples/s3-thumbnails/demo.sh "$(BIN)" "$$servers" "$$clients" "$(OUT)"

.PHONY: demo-kafka
demo-kafka: OUT = demo-kafka-out
demo-kafka: ## The same from a topic, which three copies share until it is empty, with a Kafka that is started here (OUT=demo-kafka-out)
	@scripts/setup ffmpeg java mvn perl make c++
	cargo build --locked -p kafka-ambassador -p queue-manager -p ffmpeg-worker
	@set -e; kafka=$$(tests/servers/kafka/setup); examples/kafka-thumbnails/demo.sh "$(BIN)" "$$kafka" "$(OUT)"

.PHONY: demo-rabbitmq
demo-rabbitmq: OUT = demo-rabbitmq-out
demo-rabbitmq: ## A queue that five processors drain, with a RabbitMQ that is started here (OUT=demo-rabbitmq-out)
	@scripts/setup python3 flock
	cargo build --locked -p rabbitmq-ambassador -p queue-manager
	@set -e; rabbitmq=$$(tests/servers/rabbitmq/setup); examples/rabbitmq-drain/demo.sh "$(BIN)" "$$rabbitmq" "$(OUT)"

.PHONY: test
test: ## Everything: unit tests, real programs and servers, the kill matrix, the demo
	@scripts/setup ffmpeg strace python3 flock unshare nsenter setpriv script chattr bindfs curl venv ip openssl java mvn perl make c++
	@tests/run

.PHONY: test-versions
test-versions: ## The tests of both queues against RabbitMQ 4.0, Redis 8.0 and Valkey 8.1, as root (not part of make test)
	@scripts/setup python3 flock mmdebstrap
	@set -e; others=$$(tests/servers/versions/setup trixie); \
		LONGSHORE_TEST_RABBITMQ="$$others/rabbitmq" cargo test --locked -p rabbitmq-ambassador --test it; \
		for redis in redis valkey; do LONGSHORE_TEST_REDIS="$$others/$$redis" cargo test --locked -p redis-ambassador --test it; done

.PHONY: servers
servers: ## Make the servers and clients that the tests start, once (tests/run does it too)
	@scripts/setup curl python3 venv flock java mvn perl make c++
	@tests/servers/s3-clients/setup
	@tests/servers/queue-clients/setup
	@tests/servers/kafka/setup
	@tests/servers/rabbitmq/setup
	@tests/servers/redis/setup
	@tests/servers/s3/setup
	@tests/servers/kubernetes/setup
	@tests/servers/podman/images
	@tests/servers/podman/foreign

.PHONY: images
images: ## An image of every program, with docker, podman or buildah (images/README.md: IMAGES, REGISTRY, VERSION, BUILDER)
	@images/build $(IMAGES)

.PHONY: bench
bench: ## Speed and memory beside find, Node, xargs and others (docs/performance.md; about ten minutes)
	@scripts/setup find node parallel strace curl python3 venv flock java mvn perl make c++
	cargo build --locked --release --no-default-features -p script-worker -p ffmpeg-worker
	@install -D -t "$(TARGET_DIR)/release/without-s3" "$(TARGET_DIR)/release/script-worker" "$(TARGET_DIR)/release/ffmpeg-worker"
	cargo build --locked --release --bins --example bare-lapin --example bare-redis
	@"$(TARGET_DIR)/release/bench" all

.PHONY: check
check: ## The fast inner loop: format, lints, unit tests
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo test --locked --workspace --lib --quiet

.PHONY: docs
docs: ## Rustdoc of every crate, with broken links refused
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

.PHONY: deny
deny: ## Licences, sources and duplicate bans of the dependencies (needs cargo-deny)
	cargo deny --all-features check licenses bans sources

.PHONY: clean
clean: ## Remove what was built and what the demo made
	cargo clean
	rm -rf demo-out demo-s3-out demo-kafka-out demo-rabbitmq-out
