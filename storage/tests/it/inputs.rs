//! The jail around inputs, and versions.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use storage::{Allowed, Error, Object, Stores, Uri};

fn uri(path: &Path) -> Uri {
    Uri::File(path.to_owned())
}

fn allow(roots: &[&Path]) -> Allowed {
    Stores::default().allow(&roots.iter().map(|root| uri(root)).collect::<Vec<_>>()).expect("file: is known")
}

async fn fetch(allowed: &Allowed, path: &Path, version: Option<&str>) -> Result<std::path::PathBuf, Error> {
    let object = Object { uri: uri(path), version: version.map(ToOwned::to_owned), version_id: None, size: None };
    let (inputs, _) = allowed.find(&object.uri)?;
    Ok(inputs.fetch(&object, Path::new("/nonexistent")).await?.path().to_owned())
}

#[tokio::test]
async fn only_what_lies_beneath_a_root_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("data");
    fs::create_dir_all(root.join("d")).expect("directories");
    fs::create_dir(dir.path().join("data2")).expect("a directory");
    for name in ["data/a", "data/d/b", "data2/a", "secret"] {
        fs::write(dir.path().join(name), "x").expect("a file");
    }
    symlink("d/b", root.join("inside")).expect("a link");
    symlink(dir.path().join("secret"), root.join("absolute")).expect("a link");
    symlink("../../secret", root.join("d/up")).expect("a link");
    symlink(&root, root.join("d/self")).expect("a link that comes back in by an absolute path");
    symlink("/proc/self/root/etc", root.join("magic")).expect("a link");
    symlink("loop", root.join("loop")).expect("a link");
    let allowed = allow(&[&root]);
    for (path, want) in [("a", true), ("d/b", true), ("./d//b", true), ("inside", true)] {
        assert_eq!(fetch(&allowed, &root.join(path), None).await.is_ok(), want, "{path}");
    }
    for path in ["absolute", "d/up", "d/self/a", "magic/passwd", "loop", "../secret", "d/../../secret", "d/../a"] {
        let refused = fetch(&allowed, &root.join(path), None).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{path}: {refused:?}");
    }
    for path in [dir.path().join("data2/a"), dir.path().join("secret"), "/etc/passwd".into(), "/".into()] {
        let refused = fetch(&allowed, &path, None).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{path:?}: {refused:?}");
    }
    let several = allow(&[&dir.path().join("data2"), &root]);
    fetch(&several, &root.join("a"), None).await.expect("the second root holds it");
    let (_, key) = several.find(&uri(&root.join("d/b"))).expect("it is inside");
    assert_eq!(key.to_bytes(), b"d/b");
}

#[tokio::test]
async fn a_version_is_held_to_the_nanosecond() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a");
    let write = |nanos| {
        let file = fs::File::create(&path).expect("a file");
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(nanos)).expect("a time");
    };
    let allowed = allow(&[dir.path()]);
    write(1_700_000_000_000_000_001);
    fetch(&allowed, &path, Some("0-1700000000000000001")).await.expect("it is that version");
    fetch(&allowed, &path, None).await.expect("any version will do");
    fetch(&allowed, &path, Some("5d41402abc4b2a76")).await.expect("no version of a file, so nothing to compare");
    write(1_700_000_000_000_000_002);
    match fetch(&allowed, &path, Some("0-1700000000000000001")).await {
        Err(Error::Changed { found, .. }) => assert_eq!(found, "0-1700000000000000002"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_input_is_looked_at_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a");
    fs::write(&path, "one").expect("a file");
    let allowed = allow(&[dir.path()]);
    let free = Object { uri: uri(&path), version: None, version_id: None, size: None };
    let (inputs, _) = allowed.find(&free.uri).expect("it is inside");
    let input = inputs.fetch(&free, dir.path()).await.expect("fetched");
    input.verify().await.expect("nothing has changed");
    fs::write(&path, "other").expect("replaced");
    assert!(matches!(input.verify().await, Err(Error::Busy(_))), "no version was asked for, so it is not another item");
    fs::remove_file(&path).expect("removed");
    assert!(matches!(input.verify().await, Err(Error::NotFound(_))));
}

#[test]
fn a_scheme_without_a_store_is_named() {
    let s3 = Uri::parse("s3://bucket/key").expect("a URI");
    for refused in [Stores::default().allow(std::slice::from_ref(&s3)).err(), Stores::default().outputs(&s3).err()] {
        let Some(Error::Unsupported(why)) = refused else { panic!("{refused:?}") };
        assert!(why.contains("s3://bucket/key") && why.contains("file:"), "{why}");
    }
}
