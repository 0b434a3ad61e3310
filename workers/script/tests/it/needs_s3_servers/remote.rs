//! A world with a bucket in it.

use std::path::PathBuf;

use contract::Marker;
use serde_json::{Value, json};
use test_servers::{Bucket, S3Server};

use crate::world::{Worker, World};

/// Both ways of publishing.
pub(super) const MODES: [&str; 2] = ["in-place", "attempts"];
pub(super) const COPY: &str = r#"cp "$INPUT_FILE" "$OUTPUT_DIR/copy"; cp "$INPUT_FILE" "$OUTPUT_DIR/second""#;
pub(super) const NEVER: &str = r#"echo "it ran" >&2; exit 9"#;

/// Inputs below `in/` and outputs below `out/` of a bucket of its own.
pub(super) struct Remote {
    pub(super) world: World,
    pub(super) bucket: Bucket,
    pub(super) env: Vec<(String, String)>,
}

impl Remote {
    pub(super) fn on(server: &S3Server) -> Self {
        Self { world: World::new(), bucket: Bucket::new(server), env: server.env() }
    }

    pub(super) fn on_minio() -> Self {
        Self::on(S3Server::shared_minio())
    }

    /// Writes an input, and the file of the item that stands for it.
    pub(super) fn item(&self, key: &str, content: impl Into<Vec<u8>>) -> PathBuf {
        self.world.item_file(self.data(key, content).to_string())
    }

    /// As [`item`](Self::item), the item's data.
    pub(super) fn data(&self, key: &str, content: impl Into<Vec<u8>>) -> Value {
        let mut data = self.bucket.item(&format!("in/{key}"), content);
        data.as_object_mut().expect("it is one").insert("key".to_owned(), json!(key));
        data
    }

    /// A worker with inputs from the bucket, without `--output` and command yet.
    pub(super) fn bare(&self, item: PathBuf) -> Worker {
        let mut worker = self.world.bare(&item).arg("--allow-input").arg(self.bucket.uri("in/"));
        for (name, value) in &self.env {
            worker = worker.env(name, value);
        }
        worker
    }

    /// A worker with `{key}` below `out/`, and this script.
    pub(super) fn worker(&self, item: PathBuf, script: &str) -> Worker {
        let script = self.world.script(script);
        self.bare(item).arg("--output").arg(format!("{}{{key}}/", self.bucket.uri("out/"))).script(script)
    }

    /// May read URLs of the server, which listens where no URL of an item may lead without being told.
    pub(super) fn with_urls(&self, worker: Worker) -> Worker {
        let worker = worker.arg("--allow-input").arg(self.url(""));
        worker.args(["--https-allow-http", "--https-allow-private", "127.0.0.1"])
    }

    /// From now on its workers reach the store at `url`, such as a proxy before it, and the URLs it signs lead there.
    pub(super) fn lead_to(&mut self, url: &str) {
        self.env.retain(|(name, _)| name != "AWS_ENDPOINT_URL");
        self.env.push(("AWS_ENDPOINT_URL".to_owned(), url.to_owned()));
        self.bucket.sign_for(url);
    }

    /// Gives everybody these rights.
    pub(super) fn allow(&self, statements: &Value) {
        let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        self.bucket.with(async |client| {
            client.put_bucket_policy().bucket(self.bucket.name()).policy(policy).send().await.expect("a policy");
        });
    }

    /// A key of the bucket as a URL, without a signature.
    pub(super) fn url(&self, key: &str) -> String {
        let endpoint = self.env.iter().find(|(name, _)| name == "AWS_ENDPOINT_URL").map(|(_, url)| url.as_str());
        let key = contract::item::encode_path(key.as_bytes());
        format!("{}/{}/{key}", endpoint.expect("an endpoint"), self.bucket.name())
    }

    pub(super) fn published(&self, key: &str) -> Marker {
        self.bucket.published(&format!("out/{key}")).unwrap_or_else(|| panic!("nothing is published for {key:?}"))
    }

    /// The content of a file of what is published for a key.
    pub(super) fn read(&self, key: &str, name: &str) -> String {
        let marker = self.published(key);
        let path = marker.outputs.iter().map(|output| &output.path).find(|path| path.ends_with(name));
        let path = path.unwrap_or_else(|| panic!("{name} is not in {marker:?}"));
        let content = self.bucket.get(&format!("out/{key}/{path}")).expect("is there");
        String::from_utf8(content).expect("is text")
    }

    /// What lies below `out/`, without that.
    pub(super) fn output_keys(&self) -> Vec<String> {
        self.bucket.keys().iter().filter_map(|key| key.strip_prefix("out/")).map(str::to_owned).collect()
    }

    /// Nothing is left of any run, here or there: no scratch, no process, no upload, no object that no marker names.
    pub(super) fn assert_clean(&self) {
        self.world.assert_clean();
        let keys = self.bucket.keys();
        assert_eq!(self.bucket.open_uploads(keys), Vec::<String>::new(), "uploads are left");
    }
}
