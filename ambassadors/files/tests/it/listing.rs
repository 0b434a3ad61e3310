//! Which files are items, and under which names.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use contract::item::decode_path;

use crate::ambassador::{Ambassador, until};

/// Lists whatever was just written and closed at once, and nothing by rest.
const AT_ONCE: [&str; 2] = ["--stable-for", "1h"];
/// Lists after a short rest, seen by scans alone.
const BY_SCAN: [&str; 5] = ["--no-inotify", "--stable-for", "100ms", "--rescan", "50ms"];

fn awkward() -> Vec<Vec<u8>> {
    vec![
        b"plain.mp4".to_vec(),
        b"My Video (1).MP4".to_vec(),
        "été/視頻 クリップ.mp4".as_bytes().to_vec(),
        b"\xff\xfe not utf-8.mp4".to_vec(),
        b"new\nline\r\ttab.mp4".to_vec(),
        b"$(rm -rf) `id` ;|&'\".mp4".to_vec(),
        b"100%41.mp4".to_vec(),
        b"d/-rf".to_vec(),
        b"d/ ".to_vec(),
        b"d/...".to_vec(),
        vec![b'x'; 255],
    ]
}

fn write(root: &Path, key: &[u8]) {
    let path = root.join(OsStr::from_bytes(key));
    fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    fs::write(path, key).expect("written");
}

#[tokio::test]
async fn names_no_other_program_survives_work_end_to_end() {
    let root = tempfile::tempdir().expect("a directory");
    for key in awkward() {
        write(root.path(), &key);
    }
    let ambassador = Ambassador::start(root.path(), &[&BY_SCAN[..], &["--include-hidden"]].concat()).await;
    ambassador.listed(awkward().len()).await;
    let mut seen = Vec::new();
    for (name, data) in ambassador.items().await {
        assert!(name.parse::<contract::ItemName>().expect("a name").is_label(), "{name}");
        let data: contract::ObjectData = serde_json::from_value(data).expect("object data");
        let key = data.key.expect("a key").to_bytes();
        let uri = data.uri.expect("a URI");
        let path = decode_path(uri.strip_prefix("file://").expect("a file"));
        // Every item leads to its own bytes: each file holds its own key.
        assert_eq!(fs::read(OsStr::from_bytes(&path)).expect("is there"), key, "{uri}");
        assert_eq!(data.size, Some(key.len() as u64));
        seen.push(key);
    }
    seen.sort();
    let mut want = awkward();
    want.sort();
    assert_eq!(seen, want);
    assert!(ambassador.is_complete().await);
}

#[tokio::test]
async fn names_are_the_same_elsewhere_and_after_a_restart() {
    let root = tempfile::tempdir().expect("a directory");
    for key in awkward() {
        write(root.path(), &key);
    }
    let first = Ambassador::start(root.path(), &[&BY_SCAN[..], &["--include-hidden"]].concat()).await;
    let mut names = first.listed(awkward().len()).await;
    drop(first);
    let other = tempfile::tempdir().expect("a directory");
    let copied = Command::new("cp").arg("-a").arg(root.path().join(".")).arg(other.path()).status().expect("cp runs");
    assert!(copied.success());
    names.sort();
    for place in [root.path(), other.path()] {
        let again = Ambassador::start(place, &[&BY_SCAN[..], &["--include-hidden"]].concat()).await;
        let mut now = again.listed(awkward().len()).await;
        now.sort();
        assert_eq!(now, names, "in {}", place.display());
    }
}

#[tokio::test]
async fn every_file_that_is_no_item_is_withheld_and_says_why() {
    let root = tempfile::tempdir().expect("a directory");
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("secret.mp4"), "secret").expect("written");
    let at = |key: &str| root.path().join(key);
    for key in [
        "in.mp4",
        ".hidden.mp4",
        ".git/x.mp4",
        "a.mp4.part",
        "notes.txt",
        "raw/x.mp4",
        "deep/er/x.mp4",
        "small.mp4",
        "out/_SUCCESS.json",
        "out/x.mp4",
        "out/sub/x.mp4",
        ".longshore/x/y.mp4",
    ] {
        write(root.path(), key.as_bytes());
    }
    fs::write(at("small.mp4"), "x").expect("written");
    symlink(outside.path().join("secret.mp4"), at("absolute.mp4")).expect("linked");
    symlink("../../../../../../etc/passwd", at("up.mp4")).expect("linked");
    symlink("in.mp4", at("inside.mp4")).expect("linked");
    symlink("loop.mp4", at("loop.mp4")).expect("linked");
    symlink("nothing.mp4", at("dangling.mp4")).expect("linked");
    symlink(".", at("round.mp4")).expect("linked");
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe.mp4"), rustix::fs::Mode::RWXU).expect("made");
    let flags = ["--glob", "*.mp4", "--exclude", "raw", "--max-depth", "2", "--min-size", "2B"];
    let ambassador = Ambassador::start(root.path(), &[&BY_SCAN[..], &flags].concat()).await;
    ambassador.listed(2).await;
    let keys: Vec<_> = ambassador.items().await.into_iter().map(|(_, data)| data["key"].clone()).collect();
    assert!(keys.contains(&"in.mp4".into()) && keys.contains(&"inside.mp4".into()), "{keys:?}");
    for (key, reason) in [
        (".hidden.mp4", "hidden"),
        (".git/", "hidden"),
        ("a.mp4.part", "partial"),
        ("notes.txt", "no-match"),
        ("raw/", "excluded"),
        ("deep/er/", "too-deep"),
        ("small.mp4", "too-small"),
        ("out/", "own-output"),
        (".longshore/", "own-output"),
        ("absolute.mp4", "outside-root"),
        ("up.mp4", "outside-root"),
        ("loop.mp4", "symlink"),
        ("dangling.mp4", "symlink"),
        ("round.mp4", "symlink"),
        ("pipe.mp4", "not-a-file"),
    ] {
        assert_eq!(ambassador.why(key).await, Some((reason.to_owned(), false)), "{key}");
    }
    assert!(ambassador.is_complete().await, "what is withheld by a rule is not unseen");
    assert!(!ambassador.ask("GET", "/v1/withheld").await.text.contains("secret"));
}

#[tokio::test]
async fn a_jailed_link_that_is_turned_outward_after_it_was_listed_leads_nowhere() {
    let (root, outside) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    fs::write(root.path().join("real.mp4"), "real").expect("written");
    symlink("real.mp4", root.path().join("link.mp4")).expect("linked");
    let ambassador = Ambassador::start(root.path(), &["--no-inotify", "--stable-for", "0s", "--rescan", "1h"]).await;
    let name = ambassador.named("link.mp4").await;
    // Same size and, by cp -p, the same time: only the jail stands in the way.
    let copied = Command::new("cp").arg("-p").arg(root.path().join("real.mp4")).arg(outside.path().join("x")).status();
    assert!(copied.expect("cp runs").success());
    fs::remove_file(root.path().join("link.mp4")).expect("removed");
    symlink(outside.path().join("x"), root.path().join("link.mp4")).expect("linked");
    assert_eq!(ambassador.ask("GET", &format!("/v1/items/{name}")).await.status, 410);
    ambassador.withheld("link.mp4", "outside-root").await;
}

#[tokio::test]
async fn overwritten_content_is_a_new_item_unless_it_is_told_not_to_be() {
    for (identity, same) in [("version", false), ("key", true)] {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join("a.mp4"), "one").expect("written");
        let ambassador = Ambassador::start(root.path(), &[&BY_SCAN[..], &["--identity", identity]].concat()).await;
        let before = ambassador.named("a.mp4").await;
        fs::write(root.path().join("a.mp4"), "another").expect("written");
        let after = until("the new content", async || {
            ambassador.items().await.into_iter().find(|(_, data)| data["size"] == 7).map(|(name, _)| name)
        })
        .await;
        assert_eq!(before == after, same, "{identity}");
        if !same {
            assert_eq!(ambassador.ask("GET", &format!("/v1/items/{before}")).await.status, 410);
        }
    }
}

#[tokio::test]
async fn workers_are_told_where_the_folder_is_for_them() {
    for base in ["file:///mnt/my%20media", "/mnt/my media/"] {
        let root = tempfile::tempdir().expect("a directory");
        let ambassador = Ambassador::start(root.path(), &[&AT_ONCE[..], &["--item-base", base]].concat()).await;
        ambassador.listed(0).await;
        fs::write(root.path().join("a b.mp4"), "x").expect("written");
        ambassador.named("a b.mp4").await;
        let (_, data) = ambassador.items().await.remove(0);
        assert_eq!(data["uri"], "file:///mnt/my%20media/a%20b.mp4");
        assert!(data["lastModified"].as_str().is_some_and(|time| time.ends_with('Z')));
    }
}

#[tokio::test]
async fn every_alias_answers_and_nothing_else_does() {
    let root = tempfile::tempdir().expect("a directory");
    fs::write(root.path().join("a.mp4"), "x").expect("written");
    let ambassador = Ambassador::start(root.path(), &BY_SCAN).await;
    let name = ambassador.named("a.mp4").await;
    for path in contract::wire::ITEM_PATHS {
        assert_eq!(ambassador.ask("GET", path).await.json()["items"][0], name.as_str());
        assert_eq!(ambassador.ask("GET", &format!("{path}/{name}")).await.json()["data"]["key"], "a.mp4");
    }
    assert_eq!(ambassador.ask("GET", "/v1/items/never-listed").await.status, 404);
    assert_eq!(ambassador.ask("GET", "/v1/items/..%2f..%2fetc%2fpasswd").await.status, 404);
    let about = ambassador.ask("GET", "/v1").await.json();
    assert_eq!((about["ambassador"].as_str(), about["order"].as_str()), (Some("files-ambassador"), Some("age")));
    assert_eq!(about["capabilities"]["settle"], "none");
    assert_eq!(ambassador.settle(&name).await.status, 405);
    assert!(root.path().join("a.mp4").exists());
}
