//! Videos out of a bucket, images into it.

use std::process::{Command, Stdio};
use std::time::Duration;

use contract::{Report, attempt, exit};
use serde_json::Value;
use test_servers::{Bucket, S3Server};

use crate::support::{Bench, H264, number_in, numbered};

/// Runs the worker on an item, from a bucket's `in/` to its `out/`.
fn run(server: &S3Server, bucket: &Bucket, item: &Value, flags: &[&str]) -> Report {
    let output = format!("{}{{key}}/", bucket.uri("out/"));
    let allowed = bucket.uri("in/");
    let flags = [&["--allow-input", &allowed, "--output", &output], flags].concat();
    run_with(&server.env(), item, &flags)
}

fn run_with(env: &[(String, String)], item: &Value, flags: &[&str]) -> Report {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, report) = (dir.path().join("item.json"), dir.path().join("report.json"));
    std::fs::write(&file, item.to_string()).expect("an item file");
    let output = Command::new(env!("CARGO_BIN_EXE_ffmpeg-worker"))
        .arg("thumbnails")
        .arg("--scratch")
        .arg(dir.path())
        .arg("--report")
        .arg(&report)
        .args(flags)
        .envs(env.iter().cloned())
        .env(attempt::WORK_ITEM_FILE, &file)
        .stdin(Stdio::null())
        .output()
        .expect("the worker starts");
    let told = std::fs::read(&report).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    std::fs::remove_file(&report).expect("it is there");
    std::fs::remove_file(&file).expect("it is there");
    assert_eq!(std::fs::read_dir(dir.path()).expect("lists").count(), 0, "scratch is left");
    serde_json::from_slice(&told).expect("the report is one")
}

#[test]
fn a_video_in_a_bucket_becomes_images_in_a_bucket() {
    let bench = Bench::new();
    numbered(&bench.video("a.mp4"), 250, &H264);
    let video = std::fs::read(bench.video("a.mp4")).expect("a video");
    for (server, mode) in [
        (S3Server::shared_minio(), "in-place"),
        (S3Server::shared_minio(), "attempts"),
        (S3Server::shared_versity(), "in-place"),
    ] {
        let bucket = Bucket::new(server);
        let mut item = bucket.item("in/my films/a b.mp4", video.clone());
        item["key"] = "my films/a b.mp4".into();
        let report = run(server, &bucket, &item, &["--publish", mode]);
        assert_eq!(report.exit_code, exit::OK, "{}", report.message);
        let marker = bucket.published("out/my films/a b.mp4").expect("a marker");
        assert_eq!(marker.outputs.len(), 3);
        for (output, number) in marker.outputs.iter().zip([0, 100, 200]) {
            let image = bucket.get(&format!("out/my films/a b.mp4/{}", output.path)).expect("an image");
            let local = bench.video(format!("{number}.jpg"));
            std::fs::write(&local, image).expect("an image here");
            assert_eq!(number_in(&local), number);
        }
        assert_eq!(run(server, &bucket, &item, &["--publish", mode]).reason, "AlreadyPublished");
    }
}

#[test]
fn a_broken_video_in_a_bucket_is_65_and_leaves_its_report_there() {
    let server = S3Server::shared_minio();
    let bucket = Bucket::new(server);
    let mut item = bucket.item("in/broken.mp4", "no video at all");
    item["key"] = "broken.mp4".into();
    let report = run(server, &bucket, &item, &[]);
    assert_eq!(report.exit_code, exit::BAD_ITEM, "{}", report.message);
    let keys: Vec<_> = bucket.keys().into_iter().filter(|key| key.starts_with("out/")).collect();
    assert_eq!(keys, ["out/broken.mp4/_attempts/1/report.json"]);
}

#[test]
fn a_video_is_read_and_its_images_are_written_by_signed_urls_alone() {
    let bench = Bench::new();
    numbered(&bench.video("a.mp4"), 150, &H264);
    let server = S3Server::shared_minio();
    let bucket = Bucket::new(server);
    let mut item = bucket.item("in/a.mp4", std::fs::read(bench.video("a.mp4")).expect("a video"));
    let hour = Duration::from_secs(3600);
    let names = ["thumb-000000.jpg", "thumb-000001.jpg", "_SUCCESS.json"];
    let sign = |name: &str| (name.to_owned(), Value::from(bucket.presign_put(&format!("out/a.mp4/{name}"), hour)));
    let fields = item.as_object_mut().expect("it is one");
    fields.remove("uri");
    fields.insert("key".to_owned(), "a.mp4".into());
    fields.insert("url".to_owned(), bucket.presign_get("in/a.mp4", hour).into());
    fields.insert("uploads".to_owned(), names.map(sign).into_iter().collect::<Value>());
    let root = format!("{}/{}", server.url(), bucket.name());
    let (allowed, output) = (format!("{root}/in/"), format!("{root}/out/{{key}}/"));
    let flags =
        ["--allow-input", &allowed, "--output", &output, "--https-allow-http", "--https-allow-private", "127.0.0.1"];
    let report = run_with(&[], &item, &flags);
    assert_eq!(report.exit_code, exit::OK, "{}", report.message);
    assert_eq!(bucket.published("out/a.mp4").expect("a marker").outputs.len(), 2);
}
