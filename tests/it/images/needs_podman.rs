//! Containers of every image, as restricted as Kubernetes can make them.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use longshore_tests::images::{image, reference};
use longshore_tests::wait_until;
use serde_json::Value;

use super::podman::{Run, podman, said};

/// What is one program, and nothing else.
const ALONE: [&str; 9] = [
    "files-ambassador",
    "s3-ambassador",
    "kafka-ambassador",
    "rabbitmq-ambassador",
    "redis-ambassador",
    "contract-check",
    "queue-manager",
    "stage-shim",
    "multi-worker",
];
/// What runs the programs of others.
const WORKERS: [&str; 2] = ["script-worker", "ffmpeg-worker"];

fn all() -> impl Iterator<Item = &'static str> {
    ALONE.into_iter().chain(WORKERS)
}

/// A folder that everybody may write.
fn folder(at: &Path) -> PathBuf {
    fs::create_dir(at).expect("a new folder");
    fs::set_permissions(at, fs::Permissions::from_mode(0o777)).expect("ours");
    at.to_owned()
}

#[test]
fn each_says_what_it_is_and_runs_as_nobody() {
    for name in all() {
        image(name);
        let inspected = said(&podman(["image", "inspect", &reference(name)]));
        let all: Value = serde_json::from_str(&inspected).expect("JSON");
        let config = all.pointer("/0/Config").expect("an image has one");
        assert_eq!(config["User"], "65532:65532", "{name}: a number, or the kubelet cannot see that it is not root's");
        assert_eq!(config["Entrypoint"], serde_json::json!([format!("/usr/local/bin/{name}")]));
        let label = |key: &str| {
            let value = config["Labels"][format!("org.opencontainers.image.{key}")].as_str();
            value.unwrap_or_else(|| panic!("{name} has no label {key}")).to_owned()
        };
        assert_eq!(label("title"), name);
        assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(label("licenses"), "Apache-2.0");
        assert!(label("source").starts_with("https://") && !label("description").is_empty());
        assert!(!label("revision").is_empty());
        if ALONE.contains(&name) {
            let probes =
                config["Env"].as_array().expect("variables").contains(&"LONGSHORE_PROBE_LISTEN=0.0.0.0:9090".into());
            assert!(probes, "{name}: the kubelet does not reach a loopback");
        }
    }
}

#[test]
fn each_runs_with_nothing_to_write_and_nothing_to_reach() {
    for name in all() {
        let said = Run::ours(name).with(&["--read-only-tmpfs=false"]).well(&["--version"]);
        assert_eq!(said.trim(), format!("{name} {}", env!("CARGO_PKG_VERSION")));
    }
}

/// Mounted, not asked: what a search in a container finds, it finds with a shell.
#[test]
fn where_no_shell_is_needed_none_is() {
    for name in ALONE {
        image(name);
        let place = said(&podman(["image", "mount", &reference(name)]));
        let mut found = Vec::new();
        look_for_shells(Path::new(place.trim()), &mut found);
        said(&podman(["image", "unmount", &reference(name)]));
        assert!(found.is_empty(), "{name} has {found:?}");
    }
}

fn look_for_shells(folder: &Path, found: &mut Vec<PathBuf>) {
    const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "busybox", "env"];
    for entry in fs::read_dir(folder).expect("a folder of the image").map(|entry| entry.expect("listed")) {
        let kind = entry.file_type().expect("known");
        if kind.is_dir() {
            look_for_shells(&entry.path(), found);
        } else if entry.file_name().to_str().is_some_and(|name| SHELLS.contains(&name))
            // Nor what would give a process more rights than it has.
            || kind.is_file() && entry.metadata().expect("there").mode() & 0o6000 != 0
        {
            found.push(entry.path());
        }
    }
}

#[test]
fn each_installs_its_program_into_a_volume() {
    let place = tempfile::tempdir().expect("a folder");
    let bin = folder(&place.path().join("bin"));
    for name in all() {
        Run::ours(name).volume(&bin, "/volume").well(&["install", "/volume"]);
        let installed = fs::metadata(bin.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((installed.uid(), installed.mode() & 0o555), (65532, 0o555), "{name}");
    }
    // As the init container of a pipeline does, of the one image that has both.
    fs::remove_file(bin.join("stage-shim")).expect("ours");
    let shim = ["--entrypoint=/usr/local/bin/stage-shim"];
    Run::ours("multi-worker").with(&shim).volume(&bin, "/volume").well(&["install", "/volume"]);
    // And in an image that has no libc.
    let shim = ["--entrypoint=/longshore/bin/stage-shim"];
    let said =
        Run::of("localhost/longshore-base/busybox:1").with(&shim).volume(&bin, "/longshore/bin").well(&["--version"]);
    assert!(said.starts_with("stage-shim "), "{said}");
}

#[test]
fn the_ambassador_of_a_folder_needs_variables_alone() {
    let place = tempfile::tempdir().expect("a folder");
    let media = folder(&place.path().join("media"));
    fs::write(media.join("a.mp4"), "moving").expect("written");
    let ambassador = Run::ours("files-ambassador").env("MEDIA_PATH", "/media").volume(&media, "/media").start();
    ambassador.listens(Ipv4Addr::LOCALHOST, 8080);
    ambassador.listens(Ipv4Addr::UNSPECIFIED, 9090);
    let beside = |name| Run::ours(name).in_network_of(&ambassador);
    let asked = beside("contract-check").well(&["--only", "about,list,etag", "http://127.0.0.1:8080"]);
    assert!(asked.contains("pass"), "{asked}");
    let state = folder(&place.path().join("state"));
    // A file that is new rests for a while before it is listed.
    wait_until("the manager in the same network plans the file", || {
        let manager = beside("queue-manager").env("LONGSHORE_SOURCE", "http://127.0.0.1:8080");
        let planned = manager.env("LONGSHORE_STATE", "/state").volume(&state, "/state").well(&["plan"]);
        planned.contains("a-mp4-").then_some(())
    });
}

#[test]
fn the_worker_needs_variables_alone_and_has_what_scripts_expect() {
    let place = tempfile::tempdir().expect("a folder");
    let [given, made] = ["in", "out"].map(|name| folder(&place.path().join(name)));
    fs::write(given.join("a.txt"), "b\na\n").expect("written");
    fs::write(given.join("item.json"), r#"{"uri": "file:///in/a.txt", "key": "a.txt"}"#).expect("written");
    let script = given.join("script");
    let text = "#!/bin/bash\nset -euo pipefail\nsort \"$INPUT_FILE\" | tr a-z A-Z | sed s/A/1/ | tee \"$OUTPUT_DIR/sorted\" | sha256sum\n\
                awk 'END { print NR }' \"$INPUT_FILE\" >\"$OUTPUT_DIR/lines\"\nid -u >\"$OUTPUT_DIR/user\"\n";
    fs::write(&script, text).expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("ours");
    let worker = Run::ours("script-worker").volume(&given, "/in:ro").volume(&made, "/out");
    let worker = worker.env("WORK_ITEM_FILE", "/in/item.json").env("LONGSHORE_SCRIPT", "/in/script");
    worker.env("LONGSHORE_ALLOW_INPUT", "file:///in/").env("LONGSHORE_OUTPUT", "file:///out/{key}/").well(&[]);
    let read = |name: &str| fs::read_to_string(made.join("a.txt").join(name)).expect("published");
    assert_eq!((read("sorted").as_str(), read("lines").trim(), read("user").trim()), ("1\nB\n", "2", "65532"));
}

#[test]
fn the_adapter_of_a_pipeline_needs_variables_alone() {
    let place = tempfile::tempdir().expect("a folder");
    let [given, made, tree] = ["in", "out", "tree"].map(|name| folder(&place.path().join(name)));
    fs::write(given.join("a.txt"), "b\na\n").expect("written");
    fs::write(given.join("item.json"), r#"{"uri": "file:///in/a.txt", "key": "a.txt"}"#).expect("written");
    folder(&tree.join("adapter"));
    let adapter = Run::ours("multi-worker").volume(&given, "/in:ro").volume(&made, "/out").volume(&tree, "/longshore");
    let adapter = adapter.env("LONGSHORE_STAGES", "one,two").env("WORK_ITEM_FILE", "/in/item.json");
    let adapter = adapter.env("LONGSHORE_ALLOW_INPUT", "file:///in/").env("LONGSHORE_OUTPUT", "file:///out/{key}/");
    let checked = adapter.env("LONGSHORE_CHECK", "true").end(&[]);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    for words in ["inputs can be read", "output can be written", "stage one has not said hello", "stage two has not"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(checked.status.code(), Some(75), "{said}");
}

#[test]
fn the_ffmpeg_of_the_worker_is_whole() {
    let place = tempfile::tempdir().expect("a folder");
    let [given, made] = ["in", "out"].map(|name| folder(&place.path().join(name)));
    // It makes the video too, so that both ways are gone.
    let ffmpeg = Run::ours("ffmpeg-worker").with(&["--entrypoint=ffmpeg"]).volume(&given, "/in");
    ffmpeg.well(&["-v", "error", "-f", "lavfi", "-i", "testsrc=d=1:r=10:s=160x120", "-c:v", "libx264", "/in/a.mp4"]);
    fs::write(given.join("item.json"), r#"{"uri": "file:///in/a.mp4", "key": "a.mp4"}"#).expect("written");
    let worker = Run::ours("ffmpeg-worker")
        .volume(&given, "/in:ro")
        .volume(&made, "/out")
        .env("WORK_ITEM_FILE", "/in/item.json");
    let worker = worker.env("LONGSHORE_ALLOW_INPUT", "file:///in/").env("LONGSHORE_OUTPUT", "file:///out/{key}/");
    worker.well(&["thumbnails", "--every", "5"]);
    let images = fs::read_dir(made.join("a.mp4")).expect("published").flatten();
    assert_eq!(images.filter(|entry| entry.path().extension().is_some_and(|end| end == "jpg")).count(), 2);
}

mod needs_kafka {
    use test_servers::{Kafka, KafkaListener};

    use super::Run;

    #[test]
    fn the_ambassador_of_a_topic_needs_variables_alone() {
        let kafka = Kafka::shared();
        let run = Run::ours("kafka-ambassador").env("LONGSHORE_BROKERS", &kafka.bootstrap(KafkaListener::Plain));
        run.env("LONGSHORE_TOPIC", &kafka.topic(1)).env("LONGSHORE_CHECK", "true").on_the_host().well(&[]);
    }
}

mod needs_rabbitmq {
    use test_servers::RabbitMq;

    use super::Run;

    #[test]
    fn the_ambassador_of_a_queue_needs_variables_alone() {
        let rabbitmq = RabbitMq::shared();
        rabbitmq.ask(&["declare", "queue", "name=images", "durable=true"]);
        let run = Run::ours("rabbitmq-ambassador").env("LONGSHORE_URL", &rabbitmq.url());
        run.env("LONGSHORE_QUEUE", "images").env("LONGSHORE_CHECK", "true").on_the_host().well(&[]);
    }
}

mod needs_redis {
    use test_servers::Redis;

    use super::Run;

    #[test]
    fn the_ambassador_of_a_list_needs_variables_alone() {
        let redis = Redis::shared();
        redis.ask(&["RPUSH", "images", "one"]);
        let run = Run::ours("redis-ambassador").env("LONGSHORE_URL", &redis.url());
        run.env("LONGSHORE_LIST", "images").env("LONGSHORE_CHECK", "true").on_the_host().well(&[]);
    }
}

mod needs_s3_servers {
    use test_servers::S3Server;

    use super::Run;

    #[tokio::test]
    async fn the_ambassador_of_a_bucket_needs_variables_alone() {
        let server = S3Server::shared_minio();
        let bucket = server.bucket().await;
        let run = server.env().iter().fold(Run::ours("s3-ambassador"), |run, (name, value)| run.env(name, value));
        let looked = run.env("LONGSHORE_BUCKET", &bucket).env("LONGSHORE_CHECK", "true").on_the_host().well(&[]);
        assert!(looked.contains('0'), "{looked}");
    }
}
