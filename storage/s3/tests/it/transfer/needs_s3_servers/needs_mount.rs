//! A disk that is too small.

use std::process::Command;

use storage::Error;
use storage::Meter;
use storage_s3::Wanted;
use test_servers::S3Server;

use crate::transfer::{PART, Rig, content};

/// A tmpfs of one MiB; unmounted when dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Self {
        let dir = tempfile::tempdir().expect("make a directory");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(dir.path()).status();
        assert!(mount.expect("run mount").success(), "mount a tmpfs");
        Self(dir)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_found_before_anything_is_fetched() {
    let rig = Rig::new(S3Server::shared_minio()).await;
    let (disk, bytes) = (Small::mount(), content(PART + 1, 1));
    let etag = rig.object("k", &bytes).await;
    let wanted = Wanted { etag: Some(etag), size: Some(bytes.len() as u64), version_id: None };
    match rig.bucket.fetch("k", &wanted, &disk.0.path().join("f"), &Meter::silent()).await {
        Err(Error::Io { doing, source }) => {
            assert!(doing.contains("16777217 bytes"), "{doing}");
            assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
        }
        other => panic!("{other:?}"),
    }
    assert!(rig.proxy.seen().is_empty(), "nobody was asked");
    assert_eq!(disk.0.path().read_dir().expect("list it").count(), 0, "and nothing remains");
}
