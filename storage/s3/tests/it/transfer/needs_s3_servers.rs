//! On MinIO and the Versity gateway.

mod fetch;
mod huge;
mod memory;
mod needs_mount;
mod upload;

use std::sync::atomic::{AtomicUsize, Ordering};

use storage::Meter;
use storage_s3::{ToFetch, ToUpload, TransferArgs, Upload, Wanted};
use test_servers::{S3Server, Spoil};
use tokio::sync::watch;

use super::{PART, Rig, etag};

async fn every_size_goes_there_and_back(server: &'static S3Server, sizes: &[usize]) {
    let rig = Rig::new(server).await;
    for (n, size) in sizes.iter().copied().enumerate() {
        let (key, before) = (format!("a b/+ü/{size}"), rig.proxy.seen().len());
        let (path, bytes) = rig.file("sent", size, n as u64);
        let written = rig.upload(&path, &key, &Upload::default()).await.unwrap_or_else(|e| panic!("put {size}: {e:?}"));
        let puts = rig.proxy.seen().len() - before;
        assert_eq!(puts, if size <= PART { 1 } else { size.div_ceil(PART) + 2 }, "requests to put {size} bytes");
        assert!(rig.content(&key).await == bytes, "{size} bytes are as they were sent");

        let (meter, before) = (Meter::silent(), rig.proxy.seen().len());
        let (to, fetched) = rig.fetch(&key, &etag(&written), size, &meter).await;
        let fetched = fetched.unwrap_or_else(|error| panic!("fetch {size}: {error:?}"));
        let gets = rig.proxy.seen().len() - before;
        let of_this = Some(format!("\"{}\"", etag(&written)));
        for seen in rig.proxy.seen().iter().skip(before).filter(|seen| seen.method == "GET") {
            assert_eq!(seen.header("if-match").map(str::to_owned), of_this, "every range is of one version");
        }
        assert_eq!(gets, if size <= PART { 1 } else { size.div_ceil(PART) + 1 }, "requests to fetch {size} bytes");
        assert!(std::fs::read(to).expect("read it") == bytes, "{size} bytes are as they were fetched");
        assert_eq!((fetched.head.size, &fetched.head.etag), (size as u64, &etag(&written)));
        assert_eq!((meter.bytes(), meter.objects()), (size as u64, 1));

        // Nothing known but the key.
        let to = rig.dir.path().join("unknown");
        rig.bucket.fetch(&key, &Wanted::default(), &to, &meter).await.expect("fetch what is not known");
        assert!(std::fs::read(to).expect("read it") == bytes);
        rig.assert_clean(&key).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_size_goes_there_and_back_on_minio() {
    every_size_goes_there_and_back(S3Server::shared_minio(), &[0, 1, PART, 2 * PART + 5]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_size_goes_there_and_back_on_versity() {
    every_size_goes_there_and_back(S3Server::shared_versity(), &[0, PART - 1, PART + 1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_small_ones_go_many_at_once_and_come_in_order() {
    const MANY: usize = 2_000;
    // None of the first is answered before there are as many as may be asked at once.
    let all_at_once = |rig: &Rig| {
        let ((go, held), asked) = (watch::channel(false), AtomicUsize::new(1));
        rig.proxy.spoil(move |_| {
            if asked.fetch_add(1, Ordering::Relaxed) == usize::from(TransferArgs::default().transfer_concurrency) {
                go.send_replace(true);
            }
            Some(Spoil::Hold(held.clone()))
        });
    };
    let rig = Rig::new(S3Server::shared_minio()).await;
    let files: Vec<_> = (0..MANY).map(|n| rig.file(&format!("f{n}"), n, n as u64)).collect();
    let uploads = files.iter().enumerate().map(|(n, (from, _))| ToUpload {
        from: from.clone(),
        key: format!("k/{n}"),
        how: Upload::default(),
    });
    let meter = Meter::publishing(MANY as u64, 0);
    all_at_once(&rig);
    let written = rig.bucket.upload_all(uploads.collect(), &meter).await.expect("put them all");
    assert_eq!(meter.objects(), MANY as u64);
    all_at_once(&rig);
    let objects = written.iter().enumerate().map(|(n, written)| ToFetch {
        key: format!("k/{n}"),
        wanted: Wanted { etag: Some(etag(written)), size: Some(n as u64), version_id: None },
        to: rig.dir.path().join(format!("t{n}")),
    });
    let fetched = rig.bucket.fetch_all(objects.collect(), &Meter::silent()).await.expect("fetch them all");
    for (n, ((_, bytes), fetched)) in files.iter().zip(fetched).enumerate() {
        assert_eq!(fetched.head.size, n as u64, "in order");
        assert_eq!(&std::fs::read(rig.dir.path().join(format!("t{n}"))).expect("read it"), bytes);
    }
}
