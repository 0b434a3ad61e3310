//! The seam's promises, kept by a bucket.

mod needs_s3_servers;

use std::fs;
use std::path::Path;
use std::time::Duration;

use contract::item::decode_path;
use contract::marker::MarkedItem;
use contract::{ItemName, Key, Marker};
use sha2::{Digest, Sha256};
use storage::{Claim, Committed, Draft, Error, Outputs, Place, Store, Uri};
use storage_s3::{PublishMode, S3, S3Args, S3Store, TransferArgs};
use tempfile::TempDir;
use test_servers::{Proxy, S3Server, Seen, Spoil};
use tokio::sync::watch;

/// No test takes so long, on any machine.
const LONG: Duration = Duration::from_secs(120);
const BOTH: [PublishMode; 2] = [PublishMode::InPlace, PublishMode::Attempts];

/// A bucket, looked at without any of the code that is tested.
struct World {
    server: &'static S3Server,
    client: aws_sdk_s3::Client,
    bucket: String,
}

/// A worker's view of it, through a network of its own.
struct Worker {
    proxy: Proxy,
    store: S3Store,
    outputs: Box<dyn Outputs>,
    scratch: TempDir,
}

impl World {
    async fn new(server: &'static S3Server) -> Self {
        Self { server, client: server.client(), bucket: server.bucket().await }
    }

    async fn worker(&self, mode: PublishMode) -> Worker {
        let proxy = Proxy::before(&self.server.url()).await;
        let args =
            S3Args { s3_endpoint_url: Some(proxy.url()), s3_region: Some("us-east-1".to_owned()), ..S3Args::default() };
        let (id, secret) = (self.server.access_key(), self.server.secret_key());
        let store = S3Store::new(S3::with_keys(args, TransferArgs::default(), id, secret), mode);
        let outputs = store.outputs(&self.uri("out")).expect("a root");
        Worker { proxy, store, outputs, scratch: tempfile::tempdir().expect("a directory") }
    }

    fn uri(&self, key: &str) -> Uri {
        let key = contract::item::encode_path(key.as_bytes());
        Uri::parse(&format!("s3://{}/{key}", self.bucket)).expect("a URI")
    }

    async fn put(&self, key: &str, content: &[u8]) -> String {
        let put = self.client.put_object().bucket(&self.bucket).key(key).body(content.to_vec().into()).send().await;
        put.expect("put").e_tag().unwrap_or_default().trim_matches('"').to_owned()
    }

    async fn delete(&self, key: &str) {
        self.client.delete_object().bucket(&self.bucket).key(key).send().await.expect("deleted");
    }

    async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let got = self.client.get_object().bucket(&self.bucket).key(key).send().await.ok()?;
        Some(got.body.collect().await.expect("its body").into_bytes().to_vec())
    }

    async fn keys(&self, prefix: &str) -> Vec<String> {
        let mut pages = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            keys.extend(page.expect("lists").contents().iter().filter_map(|object| object.key().map(str::to_owned)));
        }
        keys
    }

    /// The keys of uploads in parts that are open, of those asked for: MinIO tells of whole keys only.
    async fn open_uploads(&self, key: &str) -> usize {
        let open = self.client.list_multipart_uploads().bucket(&self.bucket).prefix(key).send().await.expect("lists");
        open.uploads().len()
    }

    async fn marker(&self, place: &str) -> Option<Marker> {
        let json = self.get(&format!("out/{place}/_SUCCESS.json")).await?;
        Some(serde_json::from_slice(&json).expect("a marker"))
    }

    /// As a reader that goes by the marker: what of it is not there as it says.
    async fn untrue(&self, place: &str) -> Vec<String> {
        let marker = self.marker(place).await.expect("a marker stands");
        let mut untrue = Vec::new();
        for output in marker.outputs {
            let path = String::from_utf8(decode_path(&output.path)).expect("UTF-8");
            let content = self.get(&format!("out/{place}/{path}")).await;
            let holds =
                content.is_some_and(|content| content.len() as u64 == output.size && sha256(&content) == output.sha256);
            if !holds {
                untrue.push(output.path);
            }
        }
        untrue
    }

    /// Everything at a place that its marker does not name.
    async fn unnamed(&self, place: &str) -> Vec<String> {
        let mut keys = self.keys(&format!("out/{place}/")).await;
        if let Some(marker) = self.marker(place).await {
            let named = |key: &String| {
                marker.outputs.iter().any(|output| {
                    String::from_utf8(decode_path(&output.path)).is_ok_and(|path| *key == format!("out/{place}/{path}"))
                })
            };
            keys.retain(|key| !named(key) && !key.ends_with("_SUCCESS.json"));
        }
        keys
    }
}

impl Worker {
    /// Gathers files, then publishes them. Content is what distinguishes runs: each file holds `content` and its name.
    async fn publish(&self, claim: Claim, names: &[&str], content: &str) -> Result<Committed, Error> {
        let publication = self.outputs.begin(claim, self.scratch.path()).await?;
        for name in names {
            write(publication.dir(), name, format!("{content} {name}").as_bytes());
        }
        publication.commit(Draft::default(), &|| Box::pin(async { Ok(()) })).await
    }

    /// Holds the first request that is like this, and says when it has come.
    fn hold(&self, like: impl Fn(&Seen) -> bool + Send + Sync + 'static) -> Held {
        let (release, held) = watch::channel(false);
        let (came, come) = watch::channel(false);
        self.proxy.spoil(move |seen| (like(seen) && !came.send_replace(true)).then(|| Spoil::Hold(held.clone())));
        Held { release, come }
    }
}

/// A request that goes no further.
struct Held {
    release: watch::Sender<bool>,
    come: watch::Receiver<bool>,
}

impl Held {
    async fn come(&mut self) {
        let come = tokio::time::timeout(LONG, self.come.wait_for(|come| *come)).await;
        come.expect("it comes").expect("the proxy lives");
    }

    fn release(&self) {
        self.release.send_replace(true);
    }
}

fn write(dir: &Path, name: &str, content: &[u8]) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().expect("it is in a directory")).expect("directories");
    fs::write(path, content).expect("written");
}

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn claim(key: &str, version: &str, attempt: &str) -> Claim {
    let item = MarkedItem {
        name: ItemName::derive(b"", key.as_bytes(), version.as_bytes()),
        key: Key::new(key.as_bytes()),
        source: None,
        version: version.to_owned(),
    };
    let place = Place::new(key.as_bytes()).expect("a place");
    Claim { place, item, revision: 0, attempt: attempt.to_owned(), number: 1, uploads: Default::default() }
}

fn is_marker_put(seen: &Seen) -> bool {
    seen.method == "PUT" && seen.path.ends_with("/_SUCCESS.json")
}

fn is_output_put(seen: &Seen) -> bool {
    seen.method == "PUT" && !seen.path.ends_with("/_SUCCESS.json")
}

fn published(committed: Result<Committed, Error>) -> Box<Marker> {
    match committed {
        Ok(Committed::Published(marker)) => marker,
        other => panic!("not published: {other:?}"),
    }
}
