//! Archives as tools write them, and as nobody should.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::*;

/// Files of an archive or a layout, in order.
type Files = Vec<(String, Vec<u8>)>;

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn config(architecture: &str, entrypoint: Value, cmd: Value) -> Vec<u8> {
    json!({"os": "linux", "architecture": architecture, "config": {"Entrypoint": entrypoint, "Cmd": cmd, "Env": ["A=b"]}})
        .to_string()
        .into_bytes()
}

/// Adds a blob, and gives its descriptor.
fn blob(files: &mut Files, kind: &str, bytes: Vec<u8>) -> Value {
    let hex = hex(&bytes);
    let descriptor = json!({
        "mediaType": format!("application/vnd.oci.image.{kind}.v1+json"),
        "digest": format!("sha256:{hex}"), "size": bytes.len()
    });
    files.push((format!("blobs/sha256/{hex}"), bytes));
    descriptor
}

fn image(files: &mut Files, architecture: &str) -> Value {
    let config = blob(files, "config", config(architecture, json!(["/entry", architecture]), json!(["default"])));
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": []}).to_string().into_bytes();
    let mut descriptor = blob(files, "manifest", manifest);
    descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
    descriptor
}

/// An OCI layout with an image for two platforms.
fn oci() -> Files {
    let mut files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion": "1.0.0"}"#.to_vec())];
    let mut manifests = vec![image(&mut files, "amd64"), image(&mut files, "arm64")];
    let mut attested = manifests.first().expect("one").clone();
    attested["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    manifests.push(attested);
    let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string().into_bytes();
    let mut index = blob(&mut files, "index", index);
    index["annotations"] = json!({"org.opencontainers.image.ref.name": "registry.example/detect:1"});
    let index = json!({"schemaVersion": 2, "manifests": [index]}).to_string().into_bytes();
    files.push(("index.json".into(), index));
    files
}

/// An archive as `podman save` writes it.
fn docker() -> Files {
    let config = config("amd64", json!(["/entry"]), Value::Null);
    let name = format!("{}.json", hex(&config));
    let manifest = json!([{"Config": name, "RepoTags": ["registry.example/detect:1"], "Layers": []}]);
    vec![(name, config), ("manifest.json".into(), manifest.to_string().into_bytes())]
}

fn header(kind: EntryType, name: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    // Not by set_path, which refuses what is to be refused here.
    let place = header.as_old_mut().name.get_mut(..name.len()).expect("it is short");
    place.copy_from_slice(name.as_bytes());
    header.set_cksum();
    header
}

fn archive(files: &Files) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, bytes) in files {
        let size = u64::try_from(bytes.len()).expect("it is small");
        tar.append(&header(EntryType::Regular, name, size), bytes.as_slice()).expect("appended");
    }
    tar.into_inner().expect("whole")
}

fn resolved(path: &Path, image: &str, platform: &str) -> Result<Vec<String>, String> {
    let platform = platform.parse().expect("a platform");
    let resolver = Resolver::open(&[path.to_owned()], &platform).map_err(|error| sidecar::chain(&error))?;
    resolver.entry_point(image).map(|found| found.with(&[])).map_err(|error| sidecar::chain(&error))
}

fn of_archive(bytes: &[u8], image: &str, platform: &str) -> Result<Vec<String>, String> {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("images.tar");
    fs::write(&path, bytes).expect("written");
    resolved(&path, image, platform)
}

fn layout(files: &Files) -> TempDir {
    let dir = TempDir::new().expect("a directory");
    fs::create_dir_all(dir.path().join("blobs/sha256")).expect("made");
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).expect("written");
    }
    dir
}

#[test]
fn each_platform_has_an_entry_point_of_its_own() {
    let dir = layout(&oci());
    for (platform, architecture) in [("linux/amd64", "amd64"), ("linux/arm64/v8", "arm64")] {
        let want = vec!["/entry".to_owned(), architecture.to_owned(), "default".to_owned()];
        assert_eq!(resolved(dir.path(), "registry.example/detect:1", platform), Ok(want.clone()));
        assert_eq!(of_archive(&archive(&oci()), "registry.example/detect:1", platform), Ok(want));
    }
    let said = resolved(dir.path(), "registry.example/detect:1", "linux/s390x").expect_err("not for this");
    assert!(
        said.ends_with("its image is for linux/amd64, linux/arm64, not for linux/s390x; say another --platform"),
        "{said}"
    );
}

#[test]
fn archives_of_docker_are_read_too() {
    let bytes = archive(&docker());
    assert_eq!(of_archive(&bytes, "registry.example/detect:1", "linux/amd64"), Ok(vec!["/entry".into()]));
    let said = of_archive(&bytes, "registry.example/blur:1", "linux/amd64").expect_err("another");
    assert_eq!(said, "no --resolve holds image registry.example/blur:1; they hold registry.example/detect:1");
    let said = of_archive(&bytes, "registry.example/detect:1", "linux/arm64").expect_err("not for this");
    assert!(said.contains("say --platform linux/amd64"), "{said}");
    // `docker save` of today is both at once.
    let both: Files = oci().into_iter().chain(docker()).collect();
    assert!(of_archive(&archive(&both), "registry.example/detect:1", "linux/arm64").is_ok());
}

#[test]
fn arguments_take_the_place_of_the_images_own() {
    let entry = EntryPoint { entrypoint: vec!["a".into()], cmd: vec!["b".into()] };
    assert_eq!(entry.clone().with(&[]), ["a", "b"]);
    assert_eq!(entry.with(&["c".into()]), ["a", "c"]);
}

#[test]
fn what_is_damaged_is_named() {
    let spoil = |spoil: &dyn Fn(&mut Files)| {
        let mut files = oci();
        spoil(&mut files);
        of_archive(&archive(&files), "registry.example/detect:1", "linux/amd64").expect_err("spoilt")
    };
    let config = oci().get(1).expect("the configuration").0.clone();
    let said = spoil(&|files| files.retain(|(name, _)| *name != config));
    assert!(said.ends_with(&format!("{config} is missing")), "{said}");
    let said =
        spoil(&|files| files.iter_mut().filter(|(name, _)| *name == config).for_each(|(_, bytes)| bytes.push(b' ')));
    assert!(said.contains(&config) && said.contains("bytes, where"), "{said}");
    let said = spoil(&|files| {
        files.iter_mut().filter(|(name, _)| *name == config).for_each(|(_, bytes)| {
            let text = String::from_utf8_lossy(bytes).replace("/entry", "/evil!");
            *bytes = text.into_bytes();
        });
    });
    assert!(said.contains("is damaged: its SHA-256 is"), "{said}");
    let said = spoil(&|files| files.extend(files.iter().find(|(name, _)| *name == config).cloned()));
    assert!(said.ends_with("is in it twice"), "{said}");
    let said = spoil(&|files| files.retain(|(name, _)| name != "index.json"));
    assert!(said.contains("neither an index.json nor a manifest.json"), "{said}");
}

#[test]
fn what_is_hostile_is_refused() {
    let refused = |bytes: &[u8]| of_archive(bytes, "registry.example/detect:1", "linux/amd64").expect_err("hostile");
    for name in ["/etc/passwd", "../index.json", "a/../../b"] {
        let mut files = oci();
        files.push((name.into(), Vec::new()));
        let said = refused(&archive(&files));
        assert!(said.contains(name) && said.contains("leads out of it"), "{said}");
    }
    let mut tar = Builder::new(Vec::new());
    let mut link = header(EntryType::Symlink, "index.json", 0);
    link.set_link_name("/etc/passwd").expect("it is short");
    link.set_cksum();
    tar.append(&link, &[][..]).expect("appended");
    assert!(refused(&tar.into_inner().expect("whole")).contains("index.json is a link"));
    // A file that says to be larger than the archive.
    let mut bytes = header(EntryType::Regular, "index.json", 1 << 40).as_bytes().to_vec();
    bytes.extend([b'x'; 1024]);
    assert!(refused(&bytes).contains("it ends within index.json"));
    let long = vec![("index.json".to_owned(), vec![b' '; (4 << 20) + 1])];
    assert!(refused(&archive(&long)).contains("are too many already"));
    assert!(refused(&[0x1f, 0x8b, 8, 0]).contains("compressed"));
    assert!(refused(&[b'x'; 4096]).contains("no tar archive"));
    // An index that is its own child cannot be, by its digest; one in one in one can.
    let mut files = Files::new();
    let mut index = image(&mut files, "arm64");
    for _ in 0..6 {
        index = blob(&mut files, "index", json!({"manifests": [index]}).to_string().into_bytes());
    }
    index["annotations"] = json!({"org.opencontainers.image.ref.name": "registry.example/detect:1"});
    files.push(("index.json".into(), json!({"manifests": [index]}).to_string().into_bytes()));
    assert!(refused(&archive(&files)).contains("stand deeper in one another"));
}

#[test]
fn a_layout_is_not_left() {
    let outside = layout(&oci());
    let dir = TempDir::new().expect("a directory");
    std::os::unix::fs::symlink(outside.path().join("blobs"), dir.path().join("blobs")).expect("linked");
    fs::copy(outside.path().join("index.json"), dir.path().join("index.json")).expect("copied");
    let said = resolved(dir.path(), "registry.example/detect:1", "linux/amd64").expect_err("a link");
    assert!(said.contains("is a link, or no file"), "{said}");
    let said = resolved(Path::new("/nonexistent.tar"), "a", "linux/amd64").expect_err("not there");
    assert!(said.starts_with("/nonexistent.tar cannot be read: "), "{said}");
}

#[test]
fn names_longer_than_a_header_do_not_fill_the_memory() {
    let mut tar = Builder::new(Vec::new());
    let long = vec![b'x'; 65 << 20];
    let size = u64::try_from(long.len()).expect("it fits");
    tar.append(&header(EntryType::GNULongName, "././@LongLink", size), long.as_slice()).expect("appended");
    let said = of_archive(&tar.into_inner().expect("whole"), "a", "linux/amd64").expect_err("too long");
    assert!(said.contains("longer names"), "{said}");
}

proptest! {
    #[test]
    fn no_damage_to_an_archive_is_a_panic_or_another_entry_point(at in 0_usize..16_384, byte: u8, cut in 0_usize..16_384) {
        for mut bytes in [archive(&oci()), archive(&docker())] {
            let at = at % bytes.len();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(bytes.len() - cut % 1024);
            if let Ok(words) = of_archive(&bytes, "registry.example/detect:1", "linux/amd64") {
                prop_assert_eq!(words.first().map(String::as_str), Some("/entry"));
            }
        }
    }
}
