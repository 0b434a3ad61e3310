//! From every store to every other.

use std::fs;
use std::time::Duration;

use contract::Outcome;
use serde_json::json;
use test_servers::S3Server;

use super::remote::{COPY, MODES, NEVER, Remote};
use super::trouble::{is_input, proxy};
use crate::world::{Worker, World};

fn from_s3_to_s3(server: &S3Server) {
    for mode in MODES {
        let remote = Remote::on(server);
        let publish = |item, script: &str| remote.worker(item, script).args(["--publish", mode]);
        let item = remote.item("d e/a+b.mp4", "one");
        let first = publish(item.clone(), COPY).run();
        let report = first.expect(0, "Published");
        assert_eq!(report.output.as_deref(), Some(remote.bucket.uri("out/d e/a+b.mp4/").as_str()), "{mode}");
        assert_eq!(remote.read("d e/a+b.mp4", "copy"), "one");
        let marker = remote.published("d e/a+b.mp4");
        assert_eq!((marker.outputs.len(), marker.item.key.to_string().as_str()), (2, "d e/a+b.mp4"));
        let below = |output: &contract::marker::Output| output.path.starts_with("_attempts/1-");
        assert_eq!(marker.outputs.iter().all(below), mode == "attempts", "{marker:?}");

        publish(item.clone(), NEVER).run().expect(0, "AlreadyPublished");
        publish(item, COPY).args(["--revision", "3"]).run().expect(0, "Published");
        assert_eq!(remote.published("d e/a+b.mp4").revision, 3);

        // Overwritten, it is another item, whose output takes the place of the old.
        let item = remote.item("d e/a+b.mp4", "another");
        publish(item, r#"cp "$INPUT_FILE" "$OUTPUT_DIR/copy""#).args(["--revision", "3"]).run().expect(0, "Published");
        assert_eq!(remote.read("d e/a+b.mp4", "copy"), "another");
        assert_eq!(remote.published("d e/a+b.mp4").outputs.len(), 1);
        assert_eq!(remote.output_keys().len(), 2, "what no marker names is cleared away: {:?}", remote.output_keys());
        remote.assert_clean();
    }
}

#[test]
fn from_s3_to_s3_on_minio() {
    from_s3_to_s3(S3Server::shared_minio());
}

#[test]
fn from_s3_to_s3_on_versity() {
    from_s3_to_s3(S3Server::shared_versity());
}

#[test]
fn from_a_file_to_s3_and_from_s3_to_a_file() {
    let remote = Remote::on_minio();
    remote.worker(remote.world.item("d/a", "from a file"), COPY).run().expect(0, "Published");
    assert_eq!(remote.read("d/a", "copy"), "from a file");

    let script = remote.world.script(COPY);
    let item = remote.item("d/b", "from a bucket");
    let to_file = remote.bare(item).arg("--output").arg(remote.world.path("out/{key}/")).script(script);
    to_file.run().expect(0, "Published");
    remote.world.published("d/b");
    assert_eq!(fs::read_to_string(remote.world.path("out/d/b/copy")).expect("is there"), "from a bucket");
    remote.assert_clean();
}

#[test]
fn a_presigned_worker_needs_no_credentials() {
    let remote = Remote::on_minio();
    let mut data = remote.data("d/a b.txt", "signed for");
    data["url"] = json!(remote.bucket.presign_get("in/d/a b.txt", Duration::from_secs(300)));
    let item = remote.world.item_file(data.to_string());
    let script = remote.world.script(COPY);
    let to_file = |worker: Worker| worker.arg("--output").arg(remote.world.path("out/{key}/")).script(script.clone());

    // Where only URLs are allowed, nothing else is tried.
    remote.with_urls(to_file(remote.world.bare(&item))).run().expect(0, "Published");
    assert_eq!(fs::read_to_string(remote.world.path("out/d/a b.txt/copy")).expect("is there"), "signed for");

    // Where both are, and there are no credentials for the one.
    let mut bare = remote.with_urls(to_file(remote.bare(item.clone()).args(["--revision", "1"])));
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        bare = bare.env_remove(name);
    }
    let ended = bare.run();
    ended.expect(0, "Published");
    assert!(ended.stderr.contains("trying its next place"), "{}", ended.stderr);

    // With credentials, the one.
    let ended = remote.with_urls(to_file(remote.bare(item).args(["--revision", "2"]))).run();
    ended.expect(0, "Published");
    assert!(!ended.stderr.contains("trying its next place"), "{}", ended.stderr);
    remote.assert_clean();
}

#[test]
fn from_a_url_to_s3() {
    let remote = Remote::on_minio();
    let mut data = remote.data("a", "signed for");
    data["url"] = json!(remote.bucket.presign_get("in/a", Duration::from_secs(300)));
    data.as_object_mut().expect("it is one").remove("uri");
    let item = remote.world.item_file(data.to_string());
    remote.with_urls(remote.worker(item, COPY)).run().expect(0, "Published");
    assert_eq!(remote.read("a", "copy"), "signed for");
    remote.assert_clean();
}

#[test]
fn an_expired_url_is_75_and_never_77() {
    let remote = Remote::on_minio();
    let mut data = remote.data("a", "x");
    data["url"] = json!(remote.bucket.presign_get("in/a", Duration::from_secs(1)));
    data["urlExpires"] = json!("2020-01-01T00:00:00Z");
    data.as_object_mut().expect("it is one").remove("uri");
    let item = remote.world.item_file(data.to_string());
    let ended = || remote.with_urls(remote.worker(item.clone(), NEVER)).run();
    // The store's clock is the one that counts: an item that only says so is tried.
    crate::world::until("the URL has expired", || ended().code == Some(75));
    ended().expect_saying(75, "UrlExpired", &["in/a"]);
    assert!(!ended().report().message.contains("X-Amz-Signature"), "a signature is a secret while it is good");
    remote.assert_clean();
}

#[test]
fn a_url_of_which_only_the_item_knows_that_it_is_over_is_75_too() {
    let remote = Remote::on_minio();
    remote.data("a", "x");
    for (expires, code, reason, says) in [
        ("2020-01-01T00:00:00Z", 75, "UrlExpired", "good until 2020-01-01"),
        ("2100-01-01T00:00:00Z", 77, "Forbidden", "AccessDenied"),
    ] {
        // By some other signature, of which its store says no more than that it does not let anybody in.
        let data = json!({"url": remote.url("in/a"), "urlExpires": expires, "key": "a"});
        let item = remote.world.item_file(data.to_string());
        remote.with_urls(remote.worker(item, NEVER)).run().expect_saying(code, reason, &[says, "in/a"]);
    }
    remote.assert_clean();
}

#[test]
fn of_two_refusals_the_one_that_may_pass_decides() {
    let remote = Remote::on_minio();
    let mut data = remote.data("a", "x");
    // The store of the one is away, and whoever has the other lets nobody in.
    data["url"] = json!(remote.url("in/a"));
    let item = remote.world.item_file(data.to_string());
    let nobody = format!("127.0.0.1:{}", test_servers::free_port());
    let script = remote.world.script(NEVER);
    let worker =
        remote.with_urls(remote.bare(item).arg("--output").arg(remote.world.path("out/{key}/")).script(script));
    let worker = worker.env("AWS_ENDPOINT_URL", format!("http://{nobody}")).args(["--s3-patience", "1ms"]);
    worker.run().expect_saying(69, "StorageUnavailable", &["in/a", "given up"]);
    // Neither of these passes.
    let script = remote.world.script(NEVER);
    let to_file = remote.bare(remote.world.item_file(data.to_string())).arg("--s3-no-sign-request");
    let to_file = to_file.arg("--output").arg(remote.world.path("out/{key}/")).script(script);
    remote.with_urls(to_file).run().expect(77, "Forbidden");
    remote.assert_clean();
}

#[test]
fn several_inputs_are_got_at_once() {
    let server = S3Server::shared_minio();
    let proxy = proxy(server);
    let (go, gone) = tokio::sync::watch::channel(false);
    proxy.spoil(move |seen| is_input(seen).then(|| test_servers::Spoil::Hold(gone.clone())));
    let remote = Remote::on(server).through(&proxy);
    let uris: Vec<_> = (0..20).map(|n| remote.data(&format!("{n}"), format!("{n}\n"))["uri"].clone()).collect();
    let item = remote.world.item_file(json!({"urls": uris, "key": "all"}).to_string());
    let worker = remote.worker(item, COPY).start();
    // None is answered before all of them are asked for.
    crate::world::until("sixteen are asked for", || proxy.seen().iter().filter(|seen| is_input(seen)).count() == 16);
    drop(go);
    worker.wait().expect(0, "Published");
    remote.assert_clean();
}

#[test]
fn many_inputs_of_one_item() {
    let remote = Remote::on_minio();
    let uris: Vec<_> = (0..40).map(|n| remote.data(&format!("{n}/part"), format!("{n}\n"))["uri"].clone()).collect();
    let item = remote.world.item_file(json!({"urls": uris, "key": "all"}).to_string());
    let script = r#"cat "$INPUT_DIR"/* | sort -n > "$OUTPUT_DIR/all"; cat "$INPUT_FILE" > "$OUTPUT_DIR/first""#;
    remote.worker(item, script).run().expect(0, "Published");
    let all: Vec<String> = remote.read("all", "all").lines().map(str::to_owned).collect();
    assert_eq!(all, (0..40).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(remote.read("all", "first"), "0\n", "the item's order is kept");
    remote.assert_clean();
}

#[test]
fn awkward_keys() {
    for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
        let remote = Remote::on(server);
        let by = |item, pattern: &str| {
            let script = remote.world.script(COPY);
            remote
                .bare(item)
                .arg("--output")
                .arg(format!("{}{pattern}", remote.bucket.uri("out/")))
                .script(script)
                .run()
        };
        for key in ["a b+c.txt", "été/視頻.mp4", "100%.txt", "q?x=1&y#z", "'\"\\`$(rm)", "{key}", "%2e%2e"] {
            let item = remote.item(key, key);
            by(item, "{key}/").expect(0, "Published");
            assert_eq!(remote.published(key).item.key.to_string(), key);
            assert_eq!(remote.read(key, "copy"), key);
        }
        remote.assert_clean();
    }
    // What is no path has a place by its name; MinIO itself refuses some of them as objects.
    let remote = Remote::on_minio();
    let uri = remote.data("plain", "x")["uri"].clone();
    let long = "y".repeat(700);
    for key in ["a//b", "/a", "a/", "./a", "a/../b", "_SUCCESS.json", "a/_attempts/1", long.as_str(), "a/.longshore/b"]
    {
        let item = remote.world.item_file(json!({"uri": uri, "key": key}).to_string());
        let script = remote.world.script(COPY);
        let output = |pattern: &str| format!("{}{pattern}", remote.bucket.uri("out/"));
        let refused = remote.worker(item.clone(), NEVER).run();
        assert!(matches!(refused.code, Some(73 | 77)), "{key}: {:?} {}", refused.code, refused.stderr);
        assert!(refused.report().message.contains("{name}"), "{}", refused.report().message);
        let ended = remote.bare(item).arg("--output").arg(output("{name}/")).script(script).run();
        assert_eq!(ended.expect(0, "Published").outcome, Outcome::Published);
        let name = ended.report().item.as_ref().expect("it has a name").to_string();
        assert_eq!(remote.published(&name).item.key.to_string(), key);
    }
    remote.assert_clean();
}

#[test]
fn a_version_of_many_is_fetched_and_published_under() {
    let remote = Remote::on_minio();
    remote.bucket.keep_versions();
    let old = remote.data("a", "old");
    let versions = remote.bucket.with(async |client| {
        let listed = client.list_object_versions().bucket(remote.bucket.name()).prefix("in/a").send().await;
        listed.expect("listed").versions().iter().filter_map(|v| v.version_id().map(str::to_owned)).collect::<Vec<_>>()
    });
    let mut old = old;
    old["versionId"] = json!(versions.first().expect("one version"));
    let item = remote.world.item_file(old.to_string());
    remote.worker(item.clone(), COPY).run().expect(0, "Published");
    assert_eq!(remote.published("a").item.version, versions[0], "the version of the item is the store's own name");
    // Its content can still be had; it is replaced all the same.
    remote.bucket.put("in/a", "new");
    remote.worker(item, NEVER).args(["--revision", "1"]).run().expect(0, "Superseded");
    remote.assert_clean();
}

#[test]
fn check_says_who_we_are_and_what_the_store_keeps() {
    let remote = Remote::on_minio();
    let ended = remote.worker(remote.world.path("none"), "true").arg("--check").run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for said in [
        "AKTEST at http://127.0.0.1:",
        "inputs can be read",
        "output can be written",
        remote.bucket.uri("in/").as_str(),
    ] {
        assert!(ended.stderr.contains(said), "{said} is not said: {}", ended.stderr);
    }
    assert_eq!(remote.bucket.keys(), Vec::<String>::new(), "it leaves nothing behind");
}

#[test]
fn attempts_are_for_object_stores() {
    let world = World::new();
    let item = world.item("a", "x");
    let ended = world.worker(&item, NEVER).args(["--publish", "attempts"]).run();
    ended.expect_saying(64, "Usage", &["--publish attempts", "s3:", "leave it out"]);
    world.worker(&item, COPY).args(["--publish", "in-place"]).run().expect(0, "Published");
}
