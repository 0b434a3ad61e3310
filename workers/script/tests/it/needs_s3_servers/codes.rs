//! How a worker ends, by what befalls it at a store.

use contract::Outcome;
use serde_json::json;
use test_servers::S3Server;

use super::remote::{COPY, MODES, NEVER, Remote};
use crate::world::{Running, until};

#[test]
fn an_input_that_is_not_there_is_66() {
    for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
        let remote = Remote::on(server);
        let item = remote.item("a", "x");
        remote.bucket.delete("in/a");
        remote.worker(item, NEVER).run().expect_saying(66, "InputMissing", &[&remote.bucket.uri("in/a")]);
        remote.assert_clean();
    }
}

#[test]
fn a_place_that_is_taken_is_73() {
    for mode in MODES {
        let remote = Remote::on_minio();
        let by_stem = |item| {
            let script = remote.world.script(COPY);
            let output = format!("{}{{stem}}/", remote.bucket.uri("out/"));
            remote.bare(item).arg("--output").arg(output).args(["--publish", mode]).script(script).run()
        };
        by_stem(remote.item("a.mp4", "1")).expect(0, "Published");
        by_stem(remote.item("a.mov", "2")).expect_saying(73, "OutputTaken", &["a.mp4", "a.mov", "{key}"]);
        assert_eq!(remote.read("a", "copy"), "1");
        assert!(
            !remote.output_keys().iter().any(|key| key.contains("report.json")),
            "another item's place is left alone"
        );

        let worker = |key: &str, script| remote.worker(remote.item(key, "x"), script).args(["--publish", mode]).run();
        worker("d", COPY).expect(0, "Published");
        worker("d/e", NEVER).expect_saying(73, "OutputTaken", &["itself the output"]);
        worker("d/e/f/g", NEVER).expect(73, "OutputTaken");
        worker("p/q/r", COPY).expect(0, "Published");
        worker("p", NEVER).expect(73, "OutputTaken");
        worker("p/q", NEVER).expect(73, "OutputTaken");
        worker("p/q/s", COPY).expect(0, "Published");
        remote.assert_clean();
    }
}

#[test]
fn what_cannot_be_published_is_73() {
    let remote = Remote::on_minio();
    for (key, script) in [
        ("none", "true"),
        ("link", r#"ln -s /etc/passwd "$OUTPUT_DIR/x""#),
        ("marker", r#"echo > "$OUTPUT_DIR/_SUCCESS.json""#),
        ("attempts", r#"mkdir "$OUTPUT_DIR/_attempts"; echo > "$OUTPUT_DIR/_attempts/x""#),
        ("text", r#"echo > "$OUTPUT_DIR/$(printf '\377')""#),
        ("long", r#"cd "$OUTPUT_DIR"; n=$(printf %0200d 0); mkdir -p $n/$n/$n/$n/$n; echo > $n/$n/$n/$n/$n/$n"#),
    ] {
        let ended = remote.worker(remote.item(key, "x"), script).run();
        ended.expect(73, "OutputInvalid");
        assert!(remote.bucket.published(&format!("out/{key}")).is_none(), "{key}");
    }
    let keys = remote.output_keys();
    assert!(keys.iter().all(|key| key.ends_with("/_attempts/1/report.json")), "{keys:?}");
    let empty = remote.worker(remote.item("empty", "x"), "true").arg("--allow-empty").run();
    empty.expect(0, "Published");
    assert!(remote.published("empty").outputs.is_empty());
    remote.assert_clean();
}

#[test]
fn what_may_not_be_read_or_written_is_77() {
    let remote = Remote::on_minio();
    let item = remote.item("a", "x");
    // Nobody asks anybody for what --allow-input does not name.
    let beside = remote.world.item_file(json!({"uri": remote.bucket.uri("in2/a"), "key": "a"}).to_string());
    remote.worker(beside, NEVER).run().expect_saying(77, "Forbidden", &["in2/a", "--allow-input"]);

    // Without an identity; and with one that may only read.
    let anonymous = || remote.worker(item.clone(), COPY).arg("--s3-no-sign-request").run();
    anonymous().expect(77, "Forbidden");
    remote.allow(&json!([{"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject"],
        "Resource": [format!("arn:aws:s3:::{}/*", remote.bucket.name())]},
        {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:ListBucket"],
        "Resource": [format!("arn:aws:s3:::{}", remote.bucket.name())]}]));
    let ended = anonymous();
    ended.expect_saying(77, "Forbidden", &["out/a"]);
    assert!(ended.stderr.contains("cannot keep the report"), "{}", ended.stderr);
    assert_eq!(remote.output_keys(), Vec::<String>::new());

    let wrong = remote.worker(item, NEVER).env("AWS_SECRET_ACCESS_KEY", "wrong").run();
    assert!(matches!(wrong.code, Some(77 | 78)), "{:?} {}", wrong.code, wrong.stderr);
    remote.assert_clean();
}

#[test]
fn a_bucket_that_is_not_there_is_78() {
    let remote = Remote::on_minio();
    let item = remote.item("a", "x");
    let script = remote.world.script(NEVER);
    let out = remote.bare(item).args(["--output", "s3://no-such-bucket-here/{key}/"]).script(&script).run();
    out.expect_saying(78, "Unsupported", &["no-such-bucket-here"]);
    let item = remote.world.item_file(json!({"uri": "s3://no-such-bucket-here/a", "key": "a"}).to_string());
    let of = remote.worker(item, NEVER).args(["--allow-input", "s3://no-such-bucket-here/"]).run();
    of.expect_saying(78, "Unsupported", &["no-such-bucket-here"]);
    remote.assert_clean();
}

#[test]
fn an_input_that_was_replaced_before_is_superseded() {
    let remote = Remote::on_minio();
    let item = remote.item("a", "one");
    remote.bucket.put("in/a", "two");
    assert_eq!(remote.worker(item, NEVER).run().expect(0, "Superseded").outcome, Outcome::Superseded);
    assert_eq!(remote.output_keys(), Vec::<String>::new());
    remote.assert_clean();
}

/// Starts a worker whose script waits until the test has done something, and then goes on.
fn amid(remote: &Remote, item: std::path::PathBuf, mode: &str, then: &str, act: impl FnOnce()) -> crate::world::Ended {
    let root = remote.world.root().display();
    let body = format!("{COPY}; touch {root}/runs; while [ ! -e {root}/go ]; do sleep 0.01; done; {then}");
    let worker = remote.worker(item, &body).args(["--publish", mode]).start();
    until("the script runs", || remote.world.path("runs").exists());
    act();
    std::fs::write(remote.world.path("go"), "").expect("a word");
    worker.wait()
}

#[test]
fn an_input_that_is_replaced_meanwhile_is_superseded() {
    for mode in MODES {
        let remote = Remote::on_minio();
        let ended = amid(&remote, remote.item("a", "one"), mode, "true", || drop(remote.bucket.put("in/a", "two")));
        ended.expect(0, "Superseded");
        assert!(remote.bucket.published("out/a").is_none());
        remote.assert_clean();
    }
    // A command that fails over it condemns nothing.
    let remote = Remote::on_minio();
    let ended =
        amid(&remote, remote.item("a", "one"), "in-place", "exit 65", || drop(remote.bucket.put("in/a", "two")));
    ended.expect(0, "Superseded");
    // And an input that is taken away is missing.
    let remote = Remote::on_minio();
    let ended = amid(&remote, remote.item("a", "one"), "in-place", "true", || remote.bucket.delete("in/a"));
    ended.expect(66, "InputMissing");
    assert!(remote.bucket.published("out/a").is_none());
    remote.assert_clean();
}

#[test]
fn an_input_that_is_replaced_while_its_output_is_published_is_superseded() {
    for mode in MODES {
        let remote = Remote::on_minio();
        // The last moment before the marker: everything else is there already.
        let worker = remote.worker(remote.item("a", "one"), COPY).args(["--publish", mode]);
        let worker = worker.env("LONGSHORE_FAULT", "worker.upload.after#2=stop").start();
        until("the worker has stopped itself", || worker.is_stopped());
        remote.bucket.put("in/a", "two");
        worker.signal(rustix::process::Signal::CONT);
        Running::wait(worker).expect(0, "Superseded");
        assert!(remote.bucket.published("out/a").is_none());
        remote.assert_clean();
    }
}
