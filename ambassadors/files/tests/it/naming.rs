//! `--names raw`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use contract::item::encode_path;

use crate::ambassador::Ambassador;

/// Lists after a short rest, seen by scans alone.
const BY_SCAN: [&str; 5] = ["--no-inotify", "--stable-for", "100ms", "--rescan", "50ms"];

const KEYS: [&str; 5] = ["plain.mp4", "My Video (1).MP4", "été/視頻.mp4", "100%41.mp4", "items"];

fn write(root: &Path, key: &[u8]) {
    let path = root.join(OsStr::from_bytes(key));
    fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    fs::write(path, key).expect("written");
}

#[tokio::test]
async fn items_have_the_names_of_their_files_and_are_got_and_settled_by_them() {
    for (identity, at) in [("version", "@"), ("key", "")] {
        let root = tempfile::tempdir().expect("a directory");
        KEYS.iter().for_each(|key| write(root.path(), key.as_bytes()));
        let flags = [&BY_SCAN[..], &["--names", "raw", "--identity", identity, "--on-settle", "delete"]].concat();
        let ambassador = Ambassador::start(root.path(), &flags).await;
        let names = ambassador.listed(KEYS.len()).await;
        for key in KEYS {
            let name = names.iter().find(|name| match at {
                "" => *name == key,
                at => name
                    .rsplit_once(at)
                    .is_some_and(|(of, version)| of == key && version.starts_with(&format!("{}-", key.len()))),
            });
            let name = name.unwrap_or_else(|| panic!("{key} is not among {names:?}"));
            let path = format!("/items/{}", encode_path(name.as_bytes()));
            let item = ambassador.ask("GET", &path).await;
            assert_eq!(item.json()["data"]["key"], key, "{}", item.text);
            assert_eq!(ambassador.ask("DELETE", &path).await.status, 204);
            assert!(!root.path().join(key).exists(), "{key} is settled");
        }
    }
}

#[tokio::test]
async fn what_has_no_such_name_is_withheld_and_says_so() {
    let root = tempfile::tempdir().expect("a directory");
    for key in [&b"plain.mp4"[..], b"\xff\xfe.mp4", b"two\nlines.mp4"] {
        write(root.path(), key);
    }
    let ambassador = Ambassador::start(root.path(), &[&BY_SCAN[..], &["--names", "raw"]].concat()).await;
    ambassador.listed(1).await;
    for (key, says) in [("%FF%FE.mp4", "UTF-8"), ("two\nlines.mp4", "control character")] {
        assert!(!ambassador.withheld(key, "unnameable").await, "it is not waited for");
        let told = ambassador.ask("GET", "/v1/withheld").await;
        assert!(told.text.contains(says) && told.text.contains("--names label"), "{}", told.text);
    }
    assert!(ambassador.is_complete().await, "it was seen, and has no name");
}
