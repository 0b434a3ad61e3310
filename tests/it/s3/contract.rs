//! `contract-check` over the s3-ambassador as people run it: each kind of list, each way to settle, on both servers.

use std::collections::BTreeMap;
use std::process::Command;

use longshore_tests::programs::program;
use serde_json::Value;
use test_servers::S3Server;

use super::programs::{Site, now};

/// How an ambassador is run.
struct Mode {
    server: &'static S3Server,
    list: &'static [&'static str],
    settle: &'static str,
}

const LABELS: &[&str] = &["--names", "label"];
const RAW: &[&str] = &["--names", "raw", "--order", "age"];
const PAGED: &[&str] = &["--names", "raw", "--order", "key"];

/// How many objects can be items.
const ITEMS: usize = 40;

/// Key, ETag and tags of every object.
type Objects = BTreeMap<String, (String, Vec<(String, String)>)>;

fn fill(site: &Site<'_>) {
    let client = site.server.client();
    now(async {
        let odd = ["in/sub folder/é+%41&?#.mp4", "in/notes.txt", "in/out/_SUCCESS.json"].map(str::to_owned);
        for key in (0..ITEMS - 1).map(|n| format!("in/clip {n}.mp4")).chain(odd) {
            let body = key.clone().into_bytes();
            client.put_object().bucket(&site.bucket).key(key).body(body.into()).send().await.expect("written");
        }
        client.put_object().bucket(&site.bucket).key("in/folder/").send().await.expect("written");
    });
}

/// All but what an ambassador writes for a moment, to find out what the store honours.
fn objects(site: &Site<'_>) -> Objects {
    let client = site.server.client();
    now(async {
        let list = client.list_objects_v2().bucket(&site.bucket).send().await.expect("a list");
        let mut objects = Objects::new();
        for object in list.contents() {
            let key = object.key().expect("a key").to_owned();
            if key.contains(".longshore/") {
                continue;
            }
            let got = client.get_object_tagging().bucket(&site.bucket).key(&key).send().await.expect("tags");
            let tags = got.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect();
            objects.insert(key, (object.e_tag().expect("an ETag").to_owned(), tags));
        }
        objects
    })
}

/// The promises that were put to the test and kept.
fn kept(address: &str, flags: &[&str]) -> Vec<String> {
    let mut command = Command::new(program("contract-check"));
    let output = command.arg(format!("http://{address}")).arg("--json").args(flags).output().expect("it runs");
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(output.status.code(), Some(0), "{said:?}");
    let report: Value = serde_json::from_str(&said[0]).expect("JSON");
    let rows = report.get("promises").and_then(Value::as_array).expect("promises");
    let text = |row: &Value, field: &str| row.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    rows.iter().filter(|row| text(row, "outcome") == "pass").map(|row| text(row, "name")).collect()
}

/// What the suite's settling came to, as the bucket shows it.
fn settled(policy: &str, before: &Objects, after: &Objects) -> usize {
    match policy.split_once(':') {
        Some(("move", to)) => {
            let moved = after.keys().filter(|key| key.starts_with(to)).count();
            assert_eq!(after.len(), before.len(), "what is moved is neither lost nor kept twice");
            moved
        }
        Some(("tag", _)) => {
            let plain = |objects: &Objects| -> Vec<_> {
                objects.iter().map(|(key, (etag, _))| (key.clone(), etag.clone())).collect()
            };
            assert_eq!(plain(before), plain(after), "what is tagged stays as it was");
            let tags = |objects: &Objects| objects.values().filter(|(_, tags)| !tags.is_empty()).count();
            tags(after) - tags(before)
        }
        Some(_) | None => before.len() - after.len(),
    }
}

fn keeps_every_promise(mode: &Mode) {
    let site = Site::new(mode.server);
    fill(&site);
    // A silent watch says something after half of it.
    let flags = ["--prefix", "in/", "--glob", "*.mp4", "--request-timeout", "6s", "--on-settle", mode.settle];
    let (mut ambassador, source) = site.ambassador(&[&flags[..], mode.list].concat());
    let before = objects(&site);
    assert_eq!(source.names().len(), ITEMS);
    let told = format!("{:?} {}", mode.list, mode.settle);
    let of_all = ["list.once", "list.order", "page.joined", "item.data", "item.unknown", "withheld.reason", "gzip"];
    let kinds: &[&str] = if mode.list == PAGED { &["watch.refused"] } else { &["etag.same", "watch.bookmark"] };

    let passed = kept(&source.address, &[]);
    for name in of_all.iter().chain(kinds) {
        assert!(passed.iter().any(|passed| passed == name), "{told}: {name} was not asked for: {passed:?}");
    }
    assert_eq!(objects(&site), before, "{told}: asking changes nothing");

    if mode.settle == "none" {
        let passed = kept(&source.address, &["--settle", "--only", "settle.refused"]);
        assert_eq!((passed, objects(&site)), (vec!["settle.refused".to_owned()], before), "{told}");
    } else {
        let mut asked = vec!["settle.any", "settle.outcome", "settle.reason", "settle.done"];
        if mode.list != PAGED {
            asked.extend(["settle.version", "settle.watched"]);
        }
        let passed = kept(&source.address, &["--settle", "--only", &asked.join(",")]);
        assert_eq!(passed.len(), asked.len(), "{told}: {passed:?}");
        // `settle.done` has one that is done and one that failed, `settle.version` and `settle.watched` one each that is done; what
        // failed is not deleted.
        let gone = asked.len() - 2;
        assert_eq!(source.names().len(), ITEMS - gone, "{told}");
        let changed = settled(mode.settle, &before, &objects(&site));
        assert_eq!(changed, gone - usize::from(mode.settle == "delete"), "{told}");
    }
    ambassador.terminate();
}

mod needs_s3_servers {
    use super::*;

    fn all(modes: &[Mode]) {
        std::thread::scope(|scope| {
            for mode in modes {
                scope.spawn(|| keeps_every_promise(mode));
            }
        });
    }

    #[test]
    fn a_bucket_on_minio_keeps_every_promise() {
        let server = S3Server::shared_minio();
        let mode = |list, settle| Mode { server, list, settle };
        all(&[
            mode(LABELS, "none"),
            mode(LABELS, "tag:longshore=done"),
            mode(RAW, "move:done/"),
            mode(PAGED, "none"),
            mode(PAGED, "delete"),
        ]);
    }

    #[test]
    fn a_bucket_on_versity_keeps_every_promise() {
        let server = S3Server::shared_versity();
        let mode = |list, settle| Mode { server, list, settle };
        all(&[mode(LABELS, "delete"), mode(RAW, "tag:longshore=done"), mode(PAGED, "move:done/")]);
    }
}
