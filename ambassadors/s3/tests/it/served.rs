//! A bucket of a real server, served in this process, and what is asked of it.

use ambassador_kit::source::{Outcome, Source};
use clap::Parser;
use contract::ItemName;
use contract::wire::Withheld;
use futures_util::StreamExt;
use longshore_tests::source::{live, names, withheld};
use longshore_tests::until;
use s3_ambassador::{BucketArgs, PagedSource, S3Source, Settings};
use sidecar::metrics::registry::Registry;
use storage_s3::{Patience, S3, S3Args, TransferArgs};
use test_servers::aws_sdk_s3::{self, Client};
use test_servers::{Proxy, S3Server, Seen, Spoil};

/// Looks at everything all the time.
pub(crate) const QUICK: [&str; 4] = ["--poll", "50ms", "--reconcile", "50ms"];

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    bucket: BucketArgs,
}

/// A bucket of a server, by a client that is none of ours.
pub(crate) struct Bucket {
    /// What a child process needs to reach the server itself.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) client: Client,
    pub(crate) name: String,
    /// Where our own client goes: the server, or what stands before it.
    pub(crate) endpoint: String,
}

impl Bucket {
    pub(crate) async fn new(server: &S3Server) -> Self {
        Self {
            env: server.env(),
            access_key: server.access_key().to_owned(),
            secret_key: server.secret_key().to_owned(),
            client: server.client(),
            name: server.bucket().await,
            endpoint: server.url(),
        }
    }

    /// From now on our own client sees the server through what is given.
    pub(crate) async fn through_proxy(&mut self) -> Proxy {
        let proxy = Proxy::before(&self.endpoint).await;
        self.endpoint = proxy.url();
        proxy
    }

    /// So many objects of one byte, in seven prefixes.
    pub(crate) async fn fill(&self, count: usize) {
        let keys = futures_util::stream::iter(0..count).map(|n| format!("in/{:02}/{n:05}", n % 7));
        keys.for_each_concurrent(16, async |key| drop(self.put(&key, "x").await)).await;
    }

    pub(crate) async fn put(&self, key: &str, body: &str) -> String {
        let put = self.client.put_object().bucket(&self.name).key(key).body(body.as_bytes().to_vec().into());
        let put = put.send().await.unwrap_or_else(|error| panic!("{key:?}: {error:?}"));
        put.e_tag().expect("an ETag").trim_matches('"').to_owned()
    }

    pub(crate) async fn get(&self, key: &str) -> Option<String> {
        let got = self.client.get_object().bucket(&self.name).key(key).send().await.ok()?;
        Some(String::from_utf8(got.body.collect().await.expect("a body").to_vec()).expect("text"))
    }

    /// Every key but what an ambassador writes for a moment, to find out what the store honours.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let keys = self.all_keys().await.into_iter();
        keys.filter(|key| !key.contains(".longshore/probe")).collect()
    }

    pub(crate) async fn all_keys(&self) -> Vec<String> {
        let list = self.client.list_objects_v2().bucket(&self.name).send().await.expect("a list");
        list.contents().iter().filter_map(|object| object.key().map(str::to_owned)).collect()
    }

    pub(crate) async fn tags(&self, key: &str) -> Vec<(String, String)> {
        let got = self.client.get_object_tagging().bucket(&self.name).key(key).send().await.expect("tags");
        got.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect()
    }

    pub(crate) async fn keep_versions(&self) {
        let on = aws_sdk_s3::types::VersioningConfiguration::builder()
            .status(aws_sdk_s3::types::BucketVersioningStatus::Enabled)
            .build();
        let set = self.client.put_bucket_versioning().bucket(&self.name).versioning_configuration(on);
        set.send().await.expect("versions are kept");
    }

    pub(crate) fn settings(&self, flags: &[&str]) -> Settings {
        let line = [&["p", "--bucket", self.name.as_str()], flags].concat();
        let args = S3Args { s3_endpoint_url: Some(self.endpoint.clone()), ..S3Args::default() };
        let s3 = S3::with_keys(args, TransferArgs::default(), &self.access_key, &self.secret_key)
            .with_patience(Patience::AMBASSADOR);
        let parsed = Line::try_parse_from(line).unwrap_or_else(|error| panic!("{error}"));
        parsed.bucket.settings_of(&s3).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Served from a catalog, which is there.
    pub(crate) async fn served(&self, flags: &[&str]) -> S3Source {
        self.served_slowly(&[&QUICK[..], flags].concat()).await
    }

    /// As [`served`](Self::served), looking only once, but for what it is asked for.
    pub(crate) async fn served_slowly(&self, flags: &[&str]) -> S3Source {
        let source = S3Source::open(self.settings(flags), &mut Registry::default());
        live(&source).await;
        source
    }

    /// Served page by page.
    pub(crate) async fn paged(&self, flags: &[&str]) -> PagedSource {
        let flags = [&["--names", "raw", "--order", "key"], flags].concat();
        let source = PagedSource::open(self.settings(&flags), &mut Registry::default());
        live(&source).await;
        source
    }
}

/// An item that could be read.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) name: ItemName,
    pub(crate) data: serde_json::Map<String, serde_json::Value>,
}

/// Every item listed that can be read.
pub(crate) async fn items(source: &impl Source) -> Vec<Found> {
    let mut items = Vec::new();
    for name in names(source).await {
        items.extend(source.get(&name).await.ok().map(|item| Found { name, data: item.data }));
    }
    items
}

/// The keys of all that is listed, in their order.
pub(crate) async fn keys(source: &impl Source) -> Vec<String> {
    let items = items(source).await;
    let mut keys: Vec<_> = items.iter().map(|item| item.data["key"].as_str().expect("a key").to_owned()).collect();
    keys.sort();
    keys
}

/// The item of this key, once it is listed.
pub(crate) async fn item(source: &impl Source, key: &str) -> Found {
    until(key, async || items(source).await.into_iter().find(|item| item.data["key"] == key)).await
}

/// Waits until this key is withheld for this reason; what is said then.
pub(crate) async fn withheld_as(source: &impl Source, key: &str, reason: &str) -> Withheld {
    until(&format!("{key} withheld as {reason}"), async || {
        withheld(source).await.into_iter().find(|one| one.key.to_string() == key && one.reason == reason)
    })
    .await
}

/// Waits until nothing is listed.
pub(crate) async fn nothing(source: &impl Source) {
    until("an empty list", async || names(source).await.is_empty().then_some(())).await;
}

/// It failed for good.
pub(crate) fn failed() -> Outcome {
    Outcome::Failed { reason: Some("no moov atom".to_owned()) }
}

/// A store whose pages have so many keys, for whoever asks for no number of them.
pub(crate) fn small_pages(seen: &Seen, keys: usize) -> Option<Spoil> {
    let lists = seen.method == "GET" && (seen.query.contains("list-type=2") || seen.query.contains("versions"));
    (lists && !seen.query.contains("max-keys")).then(|| Spoil::Query("max-keys", keys.to_string()))
}
