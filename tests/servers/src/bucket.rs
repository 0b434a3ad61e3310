//! A bucket as tests of programs see it: blocking, by a client that is none of ours.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use contract::item::{decode_path, encode_path};
use contract::{MARKER_FILE, Marker};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

use crate::S3Server;

/// A new bucket of a server, of use wherever a test may block.
#[derive(Debug)]
pub struct Bucket {
    runtime: Runtime,
    client: Client,
    signer: Client,
    name: String,
}

impl Bucket {
    /// A new one, with a name that no other has.
    ///
    /// # Panics
    /// If the server refuses, as everything here does.
    pub fn new(server: &S3Server) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (client, name) = runtime.block_on(async { (server.client(), server.bucket().await) });
        Self { runtime, signer: client.clone(), client, name }
    }

    /// The bucket's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A key of it as the URI of an item.
    pub fn uri(&self, key: &str) -> String {
        format!("s3://{}/{}", self.name, encode_path(key.as_bytes()))
    }

    /// The client, and a runtime to use it in, for whatever is not here.
    pub fn with<T>(&self, ask: impl AsyncFnOnce(&Client) -> T) -> T {
        self.runtime.block_on(ask(&self.client))
    }

    /// From now on the bucket keeps every version.
    pub fn keep_versions(&self) {
        let on = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        let set = self.client.put_bucket_versioning().bucket(&self.name).versioning_configuration(on);
        self.runtime.block_on(set.send()).expect("versions are kept");
    }

    /// Writes an object; its ETag, without quotes.
    pub fn put(&self, key: &str, content: impl Into<Vec<u8>>) -> String {
        let put = self.client.put_object().bucket(&self.name).key(key).body(content.into().into());
        let put = self.runtime.block_on(put.send()).expect("the object is written");
        put.e_tag().expect("it has an ETag").trim_matches('"').to_owned()
    }

    /// What stands at a key, if anything does.
    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.runtime.block_on(async {
            match self.client.get_object().bucket(&self.name).key(key).send().await {
                Ok(got) => Some(got.body.collect().await.expect("it is whole").into_bytes().to_vec()),
                Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => None,
                Err(error) => panic!("{key:?}: {error:?}"),
            }
        })
    }

    /// Takes an object away.
    pub fn delete(&self, key: &str) {
        let delete = self.client.delete_object().bucket(&self.name).key(key);
        self.runtime.block_on(delete.send()).expect("the object is deleted");
    }

    /// Every key, in the store's order.
    pub fn keys(&self) -> Vec<String> {
        self.runtime.block_on(async {
            let mut pages = self.client.list_objects_v2().bucket(&self.name).into_paginator().send();
            let mut keys = Vec::new();
            while let Some(page) = pages.next().await {
                let page = page.expect("a page");
                keys.extend(page.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
            }
            keys
        })
    }

    /// The key of every multipart upload that was begun and neither completed nor aborted. `keys` are those that may have one:
    /// MinIO tells of an upload only where its whole key is asked for.
    pub fn open_uploads<K: AsRef<str>>(&self, keys: impl IntoIterator<Item = K>) -> Vec<String> {
        let mut open = Vec::new();
        for key in keys {
            let list = self.client.list_multipart_uploads().bucket(&self.name).prefix(key.as_ref());
            let listed = self.runtime.block_on(list.send()).expect("the uploads are listed");
            open.extend(listed.uploads().iter().filter_map(|upload| upload.key().map(str::to_owned)));
        }
        open.sort();
        open.dedup();
        open
    }

    /// A URL by which anybody reads the object, for so long.
    pub fn presign_get(&self, key: &str, life: Duration) -> String {
        let signed = self.signer.get_object().bucket(&self.name).key(key).presigned(lasting(life));
        self.runtime.block_on(signed).expect("signed").uri().to_owned()
    }

    /// A URL by which anybody writes the object, for so long.
    pub fn presign_put(&self, key: &str, life: Duration) -> String {
        self.presign_put_with(key, lasting(life))
    }

    /// As [`presign_put`](Self::presign_put) two hours ago, when it was good for one.
    pub fn presign_put_expired(&self, key: &str) -> String {
        let hour = Duration::from_secs(3600);
        let long_ago = PresigningConfig::builder().start_time(SystemTime::now() - 2 * hour).expires_in(hour).build();
        self.presign_put_with(key, long_ago.expect("a life that can be signed"))
    }

    fn presign_put_with(&self, key: &str, config: PresigningConfig) -> String {
        let signed = self.signer.put_object().bucket(&self.name).key(key).presigned(config);
        self.runtime.block_on(signed).expect("signed").uri().to_owned()
    }

    /// From now on the URLs that are signed lead to `url`: a proxy before the server, since a signature holds for one host.
    pub fn sign_for(&mut self, url: &str) {
        self.signer = Client::from_conf(self.client.config().to_builder().endpoint_url(url).build());
    }

    /// Writes an object, and gives the data of the item that stands for it.
    pub fn item(&self, key: &str, content: impl Into<Vec<u8>>) -> Value {
        let content = content.into();
        let size = content.len();
        let etag = self.put(key, content);
        json!({"uri": self.uri(key), "key": key, "size": size, "etag": etag, "bucket": self.name})
    }

    /// The marker at a place, if one stands there, with every object that it names held against size and checksum.
    ///
    /// # Panics
    /// Naming the object that is not what the marker says.
    pub fn published(&self, place: &str) -> Option<Marker> {
        let json = self.get(&format!("{place}/{MARKER_FILE}"))?;
        let marker: Marker = serde_json::from_slice(&json).expect("the marker is whole");
        for output in &marker.outputs {
            let path = String::from_utf8(decode_path(&output.path)).expect("a key is UTF-8");
            let content = self.get(&format!("{place}/{path}")).unwrap_or_else(|| panic!("{path} of {place} is gone"));
            let sum: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!((content.len() as u64, sum), (output.size, output.sha256.clone()), "{path} of {place}");
        }
        Some(marker)
    }
}

fn lasting(life: Duration) -> PresigningConfig {
    PresigningConfig::expires_in(life).expect("a life that can be signed")
}
