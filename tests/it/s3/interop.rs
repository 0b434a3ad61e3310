//! What others upload, our ambassador lists and our worker fetches; what our worker publishes, others list and read: every
//! byte of it, in one part and in several, under keys that are awkward.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use contract::{MARKER_FILE, Marker, item::decode_path};
use serde_json::Value;
use test_servers::S3Server;

use crate::s3::clients::Client;
use crate::s3::programs::{Site, Source, text};

/// Files by their path below a folder.
type Files = BTreeMap<String, Vec<u8>>;

/// Keys that trip programs up, and sizes on both sides of every part.
fn awkward() -> Files {
    // 1,024 bytes with the prefix: the longest that a key may be. No segment of it is longer than a file name may be.
    let longest = format!("{}/{}", vec!["w".repeat(101); 9].join("/"), "x".repeat(1024 - "up/".len() - 9 * 102));
    let bytes = |size: usize| (0..size).map(|at| (at * 31 % 253) as u8).collect::<Vec<u8>>();
    [
        ("plain.bin", 10_000),
        ("a b+c.bin", 11),
        ("é/日本 語.txt", 12),
        ("100%25 & more=?#.txt", 13),
        ("quote's \"file\" <x>.txt", 14),
        ("🎬/clip.mp4", (5 << 20) + 1),
        ("parts.bin", (11 << 20) + 17),
        ("empty", 0),
        (&longest, 15),
    ]
    .map(|(key, size)| (key.to_owned(), bytes(size)))
    .into()
}

fn write(files: &Files, folder: &Path) {
    for (key, bytes) in files {
        let path = folder.join(key);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        fs::write(path, bytes).expect("written");
    }
}

/// Uploads with one client, copies every object with our programs, and reads the copies with every client.
fn round_trip(server: &S3Server, client: Client, publish: &str) {
    let site = Site::new(server);
    let files = awkward();
    write(&files, &site.path().join("files"));
    client.upload(server, &site.path().join("files"), &site.bucket, "up/");
    let files: Files = files.into_iter().map(|(key, bytes)| (format!("up/{key}"), bytes)).collect();

    let (_ambassador, source) = site.ambassador(&["--prefix", "up/", "--poll", "1s"]);
    let items = listed(&source);
    let keys = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(items.keys().cloned().collect::<Vec<_>>(), keys(&files), "what {client:?} uploaded");
    for (key, item) in &items {
        // A place below the longest key would be longer still.
        let place = if key.len() > 900 { "{name}" } else { "{key}" };
        let output = format!("s3://{}/out/{place}/", site.bucket);
        let allowed = format!("s3://{}/up/", site.bucket);
        let flags = ["--allow-input", &allowed, "--output", &output, "--publish", publish];
        let ended = site.worker(item, &flags, r#"cat "$INPUT_FILE" >"$OUTPUT_DIR/a copy+1""#);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{key}: {}\n{said}", ended.status);
    }

    for reader in Client::ALL {
        let folder = site.path().join(format!("{reader:?}"));
        reader.download(server, &site.bucket, "out/", &folder);
        let published = published(&folder);
        assert_eq!(keys(&published), keys(&files), "{reader:?}");
        for (key, bytes) in published {
            assert!(files.get(&key) == Some(&bytes), "{reader:?} reads other bytes of the copy of {key}");
        }
    }
}

/// The items by their keys.
fn listed(source: &Source) -> BTreeMap<String, Value> {
    let items = source.items();
    items.into_iter().map(|item| (text(&item, "/data/key").to_owned(), item)).collect()
}

/// The one file that each marker in a downloaded folder names, by its item's key.
fn published(folder: &Path) -> Files {
    let mut found = Files::new();
    for path in markers(folder) {
        let marker: Marker = serde_json::from_slice(&fs::read(&path).expect("a marker")).expect("a marker");
        let [output] = marker.outputs.as_slice() else { panic!("{} names not one file", path.display()) };
        let file = path.with_file_name(OsStr::from_bytes(&decode_path(&output.path)));
        found
            .insert(marker.item.key.to_string(), fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display())));
    }
    found
}

fn markers(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        match entry.path() {
            path if path.is_dir() => found.append(&mut markers(&path)),
            path if path.file_name().is_some_and(|name| name == MARKER_FILE) => found.push(path),
            _ => {}
        }
    }
    found
}

mod needs_s3_servers {
    mod needs_s3_clients {
        use test_servers::S3Server;

        use crate::s3::clients::Client;
        use crate::s3::interop::round_trip;

        #[test]
        fn aws_cli_and_minio() {
            round_trip(S3Server::shared_minio(), Client::Aws, "in-place");
        }

        #[test]
        fn aws_cli_and_versity() {
            round_trip(S3Server::shared_versity(), Client::Aws, "attempts");
        }

        #[test]
        fn s5cmd_and_minio() {
            round_trip(S3Server::shared_minio(), Client::S5cmd, "attempts");
        }

        #[test]
        fn s5cmd_and_versity() {
            round_trip(S3Server::shared_versity(), Client::S5cmd, "in-place");
        }

        #[test]
        fn rclone_and_minio() {
            round_trip(S3Server::shared_minio(), Client::Rclone, "in-place");
        }

        #[test]
        fn rclone_and_versity() {
            round_trip(S3Server::shared_versity(), Client::Rclone, "attempts");
        }
    }
}
