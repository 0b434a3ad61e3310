//! Workers that know no key: their items bring URLs, signed for GET of what is read and for PUT of what is published.

use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::{MARKER_FILE, Report};
use serde_json::{Value, json};
use test_servers::S3Server;

use super::remote::{COPY, NEVER, Remote};
use crate::world::{Ended, Worker};

const HOUR: Duration = Duration::from_secs(3600);

impl Remote {
    /// The data of an item that is read by a signed URL, and brings others for `paths` below its place and for the marker.
    fn signed_data(&self, key: &str, content: impl Into<Vec<u8>>, paths: &[&str]) -> Value {
        let mut data = self.data(key, content);
        let sign = |path: &&str| {
            let url = self.bucket.presign_put(&format!("out/{key}/{path}"), HOUR);
            ((*path).to_owned(), json!(url))
        };
        let uploads: Value = paths.iter().chain([&MARKER_FILE]).map(sign).collect();
        let fields = data.as_object_mut().expect("it is one");
        fields.remove("uri");
        fields.insert("url".to_owned(), json!(self.bucket.presign_get(&format!("in/{key}"), HOUR)));
        fields.insert("uploads".to_owned(), uploads);
        data
    }

    /// As [`signed_data`](Self::signed_data), the item's file.
    pub(super) fn signed_item(&self, key: &str, content: impl Into<Vec<u8>>, paths: &[&str]) -> PathBuf {
        self.world.item_file(self.signed_data(key, content, paths).to_string())
    }

    /// A worker without credentials of any kind, with `{key}` below `out/`, all as URLs.
    pub(super) fn keyless(&self, item: &Path, script: &str) -> Worker {
        let script = self.world.script(script);
        let worker = self.with_urls(self.world.bare(item));
        worker.arg("--output").arg(format!("{}{{key}}/", self.url("out/"))).script(script)
    }

    /// From now on anybody may read what is published, as docs/s3.md advises for markers.
    pub(super) fn let_outputs_be_read(&self) {
        let resource = format!("arn:aws:s3:::{}/out/*", self.bucket.name());
        self.allow(&json!([{"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject"], "Resource": [resource]}]));
    }
}

/// What is signed stands in the item's file and nowhere else.
fn assert_tells_no_signature(remote: &Remote, ended: &Ended) {
    let report = serde_json::to_string(ended.report()).expect("it is JSON");
    let termination = std::fs::read_to_string(remote.world.path("termination")).expect("a termination message");
    for text in [&ended.stderr, &report, &termination] {
        assert!(!text.contains("X-Amz-Signature"), "{text}");
    }
}

#[test]
fn a_worker_without_keys_reads_and_publishes_by_signed_urls() {
    let script = r#"mkdir "$OUTPUT_DIR/d"; cp "$INPUT_FILE" "$OUTPUT_DIR/d/a b+c"; cp "$INPUT_FILE" "$OUTPUT_DIR/été""#;
    for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
        let remote = Remote::on(server);
        let item = remote.signed_item("k 1/a+b.mp4", "signed for", &["d/a b+c", "été"]);
        let ended = remote.keyless(&item, script).run();
        let report = ended.expect(0, "Published");
        assert_eq!(report.output, Some(remote.url("out/k 1/a+b.mp4")));
        assert_eq!(remote.published("k 1/a+b.mp4").outputs.len(), 2);
        assert_eq!(remote.bucket.get("out/k 1/a+b.mp4/d/a b+c").as_deref(), Some(&b"signed for"[..]));
        assert_tells_no_signature(&remote, &ended);
        remote.assert_clean();
    }
}

#[test]
fn what_a_marker_that_nobody_may_read_means_is_said() {
    let remote = Remote::on_minio();
    let item = remote.signed_item("a", "x", &["copy", "second", "_attempts/2/report.json"]);
    // Killed when its marker is there, and before it says so to anybody.
    let killed = remote.keyless(&item, COPY).env("LONGSHORE_FAULT", "worker.report.before=kill").run();
    assert_eq!(killed.signal, Some(9), "{}", killed.stderr);
    let marker = remote.published("a");
    // Whether it is this very item's, nobody can tell without reading it.
    let again = remote.keyless(&item, COPY).env("ATTEMPT", "2").run();
    again.expect_saying(
        73,
        "MarkerUnreadable",
        &["out/a/_SUCCESS.json", "killed when it had published", "let it be read", "if it names a,"],
    );
    assert!(again.report().permanent, "it would end so each time");
    assert!(
        remote.bucket.get("out/a/_attempts/2/report.json").is_none(),
        "nothing is put where nobody knows whose it is"
    );
    remote.let_outputs_be_read();
    remote.keyless(&item, NEVER).run().expect(0, "AlreadyPublished");
    assert_eq!(remote.published("a"), marker);
    // A newer version of the input takes its place, once that can be told.
    let newer = remote.signed_item("a", "newer", &["copy", "second"]);
    remote.keyless(&newer, COPY).run().expect(0, "Published");
    assert_eq!(remote.read("a", "copy"), "newer");
    remote.assert_clean();
}

#[test]
fn what_the_item_brings_no_url_for_is_73_before_anything_is_put() {
    let remote = Remote::on_minio();
    let item = remote.signed_item("a", "x", &["copy"]);
    remote.keyless(&item, COPY).run().expect_saying(73, "OutputInvalid", &["no URL for second"]);
    let mut data = remote.signed_data("b", "x", &["copy"]);
    data["uploads"].as_object_mut().expect("it is one").remove(MARKER_FILE);
    let item = remote.world.item_file(data.to_string());
    remote.keyless(&item, NEVER).run().expect_saying(73, "OutputInvalid", &["no URL for _SUCCESS.json"]);
    assert_eq!(remote.output_keys(), Vec::<String>::new());
    remote.assert_clean();
}

#[test]
fn an_item_whose_urls_lead_elsewhere_is_77() {
    let remote = Remote::on_minio();
    for (path, elsewhere) in
        [("copy", "out/b/copy"), ("copy", "out/a/second"), (MARKER_FILE, "in/a"), ("../b/x", "out/b/x")]
    {
        let mut data = remote.signed_data("a", "x", &["copy", "second"]);
        data["uploads"][path] = json!(remote.bucket.presign_put(elsewhere, HOUR));
        let item = remote.world.item_file(data.to_string());
        let ended = remote.keyless(&item, NEVER).run();
        ended.expect_saying(77, "Forbidden", &[path, "--output says where output goes"]);
        assert_tells_no_signature(&remote, &ended);
    }
    assert_eq!(remote.output_keys(), Vec::<String>::new());
    remote.assert_clean();
}

#[test]
fn an_upload_url_that_has_expired_is_75_and_commits_nothing() {
    for expired in ["second", MARKER_FILE] {
        let remote = Remote::on_minio();
        let mut data = remote.signed_data("a", "x", &["copy", "second"]);
        // The command took longer than the URL lived.
        data["uploads"][expired] = json!(remote.bucket.presign_put_expired(&format!("out/a/{expired}")));
        let item = remote.world.item_file(data.to_string());
        let ended = remote.keyless(&item, COPY).run();
        ended.expect_saying(75, "UrlExpired", &[&format!("out/a/{expired}"), "read anew has another"]);
        assert!(!ended.report().permanent);
        assert!(remote.bucket.published("out/a").is_none());
        assert_tells_no_signature(&remote, &ended);
        // The item, read anew, has URLs that are good.
        let item = remote.signed_item("a", "x", &["copy", "second"]);
        remote.keyless(&item, COPY).env("ATTEMPT", "2").run().expect(0, "Published");
        assert_eq!(remote.read("a", "second"), "x");
        remote.assert_clean();
    }
}

#[test]
fn the_report_of_a_failed_attempt_goes_where_the_item_has_a_url_for_it() {
    let remote = Remote::on_minio();
    for (key, paths, kept) in [("a", &["x", "_attempts/2/report.json"][..], true), ("b", &["x"], false)] {
        let item = remote.signed_item(key, "x", paths);
        let ended = remote.keyless(&item, "echo because >&2; exit 3").env("ATTEMPT", "2").run();
        assert_eq!(ended.expect(3, "CommandFailed").stderr_tail, "because\n");
        let report = remote.bucket.get(&format!("out/{key}/_attempts/2/report.json"));
        assert_eq!(report.is_some(), kept, "{key}");
        if let Some(report) = report {
            let report: Report = serde_json::from_slice(&report).expect("it is whole");
            assert_eq!((report.exit_code, report.stderr_tail.as_str()), (3, "because\n"));
        }
    }
    assert_eq!(remote.output_keys(), ["a/_attempts/2/report.json"]);
    remote.assert_clean();
}
