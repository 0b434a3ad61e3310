//! Whole objects to files and back, through a proxy that spoils what passes.

mod needs_s3_servers;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use storage::Error;
use storage::Meter;
use storage_s3::{Bucket, Fetched, S3, S3Args, TransferArgs, Upload, Wanted, Written};
use tempfile::TempDir;
use test_servers::{Proxy, S3Server, Seen};

/// What is carried in one request; an object of more is carried in parts of so much.
const PART: usize = 16 << 20;
/// No test takes so long, on any machine.
const LONG: Duration = Duration::from_secs(240);

/// A bucket of a server as seen through a proxy, and a directory.
struct Rig {
    server: &'static S3Server,
    proxy: Proxy,
    s3: S3,
    bucket: Bucket,
    dir: TempDir,
}

impl Rig {
    async fn new(server: &'static S3Server) -> Self {
        Self::with(server, TransferArgs::default()).await
    }

    async fn with(server: &'static S3Server, transfer: TransferArgs) -> Self {
        let (name, proxy) = (server.bucket().await, Proxy::before(&server.url()).await);
        let args =
            S3Args { s3_endpoint_url: Some(proxy.url()), s3_region: Some("us-east-1".to_owned()), ..S3Args::default() };
        let s3 = S3::with_keys(args, transfer, server.access_key(), server.secret_key());
        let bucket = s3.bucket(&name);
        Self { server, proxy, s3, bucket, dir: tempfile::tempdir().expect("make a directory") }
    }

    /// A file of so many bytes, and those.
    fn file(&self, name: &str, size: usize, seed: u64) -> (PathBuf, Vec<u8>) {
        let (path, bytes) = (self.dir.path().join(name), content(size, seed));
        fs::write(&path, &bytes).expect("write a file");
        (path, bytes)
    }

    /// Puts an object, not by the code that is tested; its ETag.
    async fn object(&self, key: &str, bytes: &[u8]) -> String {
        let put = self.server.client().put_object().bucket(self.bucket.name()).key(key).body(bytes.to_vec().into());
        let put = put.send().await.expect("put an object");
        put.e_tag().expect("it has an ETag").trim_matches('"').to_owned()
    }

    /// What stands there, not by the code that is tested.
    async fn content(&self, key: &str) -> Vec<u8> {
        let got = self.server.client().get_object().bucket(self.bucket.name()).key(key).send().await.expect("get it");
        got.body.collect().await.expect("read it").into_bytes().to_vec()
    }

    async fn fetch(&self, key: &str, etag: &str, size: usize, meter: &Meter) -> (PathBuf, Result<Fetched, Error>) {
        let to = self.dir.path().join("fetched");
        let wanted = Wanted { etag: Some(etag.to_owned()), size: Some(size as u64), ..Wanted::default() };
        let fetch = self.bucket.fetch(key, &wanted, &to, meter);
        let fetched = tokio::time::timeout(LONG, fetch).await.expect("it ends");
        (to, fetched)
    }

    async fn upload(&self, from: &Path, key: &str, how: &Upload) -> Result<Written, Error> {
        let (meter, upload) = (Meter::silent(), Upload::clone(how));
        tokio::time::timeout(LONG, self.bucket.upload(from, key, &upload, &meter)).await.expect("it ends")
    }

    fn seen(&self, which: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        self.proxy.seen().into_iter().filter(|seen| which(seen)).collect()
    }

    /// Waits until such a request has come by.
    async fn until_seen(&self, which: impl Fn(&Seen) -> bool + Send + Sync) {
        let seen = async {
            while !self.proxy.seen().iter().any(&which) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, seen).await.expect("such a request comes");
    }

    /// Nothing is left of what failed: no upload in parts, and no file.
    async fn assert_clean(&self, key: &str) {
        self.proxy.spoil(|_| None);
        self.s3.idle().await;
        let open = self.s3.bucket(self.bucket.name()).list_uploads(key).await.expect("list the uploads");
        assert!(open.is_empty(), "{open:?}");
        let files = self.dir.path().read_dir().expect("list the directory");
        let names: Vec<_> = files.map(|file| file.expect("list it").file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().starts_with(".partial-")), "{names:?}");
    }
}

/// So many bytes that no compression and no repetition makes alike.
fn content(size: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; size];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

fn etag(written: &Written) -> String {
    match written {
        Written::Yes { etag, .. } => etag.clone(),
        Written::Conflict => panic!("it conflicts"),
    }
}

fn is_part(seen: &Seen) -> bool {
    seen.method == "PUT" && seen.query.contains("partNumber=")
}

fn is_complete(seen: &Seen) -> bool {
    seen.method == "POST" && seen.query.contains("uploadId=")
}

fn slow_down() -> String {
    "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>".to_owned()
}

/// Little memory, so that few parts are under way at once.
fn narrow(requests: u16) -> TransferArgs {
    TransferArgs { transfer_memory: ByteSize::mib(16), transfer_concurrency: requests }
}
