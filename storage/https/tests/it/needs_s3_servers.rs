//! URLs that S3 signed: one object, one method, and not for ever.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use contract::Marker;
use contract::item::encode_path;
use storage::{Claim, Committed, Draft, Error, Object, Outputs, Standing, Uri};
use storage_https::{HttpsArgs, HttpsStore};
use test_servers::S3Server;
use test_servers::aws_sdk_s3::Client;
use test_servers::aws_sdk_s3::presigning::PresigningConfig;
use test_servers::aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};

use crate::world::{claim, content, fetch, outputs, uri};

/// Names that a URL can be wrong about.
const KEYS: [&str; 6] = ["plain.bin", "a b/c+d.bin", "été.bin", "100%.bin", "a=b&c?d#e.bin", "x//y.bin"];

/// A store that may speak to the servers of this machine, which speak no TLS.
fn store() -> HttpsStore {
    let local = ["127.0.0.1", "::1"].map(|address| address.parse().expect("an address"));
    HttpsStore::new(HttpsArgs { https_allow_http: true, https_allow_private: local.to_vec(), ..HttpsArgs::default() })
        .plain()
}

async fn put(client: &Client, bucket: &str, key: &str, bytes: &[u8]) -> Object {
    let put = client.put_object().bucket(bucket).key(key).body(bytes.to_vec().into()).send().await.expect("put");
    let etag = put.e_tag().map(|etag| etag.trim_matches('"').to_owned());
    Object { uri: uri("http://unknown/"), version: etag, version_id: None, size: Some(bytes.len() as u64) }
}

fn for_an_hour() -> PresigningConfig {
    PresigningConfig::expires_in(Duration::from_secs(3600)).expect("a span")
}

/// Signed two hours ago, for one.
fn expired() -> PresigningConfig {
    let start = SystemTime::now() - Duration::from_secs(7200);
    PresigningConfig::builder().start_time(start).expires_in(Duration::from_secs(3600)).build().expect("a span")
}

async fn signed_get(client: &Client, bucket: &str, key: &str, config: PresigningConfig) -> Uri {
    uri(client.get_object().bucket(bucket).key(key).presigned(config).await.expect("signed").uri())
}

async fn signed_put(client: &Client, bucket: &str, key: &str) -> Uri {
    uri(client.put_object().bucket(bucket).key(key).presigned(for_an_hour()).await.expect("signed").uri())
}

#[tokio::test]
async fn what_is_signed_for_get_is_fetched_and_looked_at_again() {
    for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
        let (client, bucket) = (server.client(), server.bucket().await);
        for key in KEYS {
            // MinIO takes no empty component.
            if key.contains("//") && server.url() == S3Server::shared_minio().url() {
                continue;
            }
            let dir = tempfile::tempdir().expect("a directory");
            let body = content(300_000);
            let object = put(&client, &bucket, key, &body).await;
            let url = signed_get(&client, &bucket, key, for_an_hour()).await;
            let object = Object { uri: url, ..object };
            let input = fetch(&store(), &object, dir.path()).await.expect(key);
            assert!(std::fs::read(input.path()).expect("a file") == body, "{key}");
            input.verify().await.expect("it is the same");
            put(&client, &bucket, key, b"another").await;
            assert!(matches!(input.verify().await, Err(Error::Changed { .. })), "{key}");
            client.delete_object().bucket(&bucket).key(key).send().await.expect("deleted");
            assert!(matches!(input.verify().await, Err(Error::NotFound(_))), "{key}");
        }
    }
}

#[tokio::test]
async fn an_empty_object_is_looked_at_again_too() {
    for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
        let (client, bucket) = (server.client(), server.bucket().await);
        let dir = tempfile::tempdir().expect("a directory");
        let object = put(&client, &bucket, "empty", b"").await;
        let object = Object { uri: signed_get(&client, &bucket, "empty", for_an_hour()).await, ..object };
        let input = fetch(&store(), &object, dir.path()).await.expect("fetched");
        input.verify().await.expect("it is the same");
        put(&client, &bucket, "empty", b"not any more").await;
        assert!(matches!(input.verify().await, Err(Error::Changed { .. })));
    }
}

#[tokio::test]
async fn a_version_that_a_url_names_is_fetched_whatever_came_after() {
    let server = S3Server::shared_minio();
    let (client, bucket) = (server.client(), server.bucket().await);
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    client.put_bucket_versioning().bucket(&bucket).versioning_configuration(enabled).send().await.expect("enabled");
    let first = client.put_object().bucket(&bucket).key("k").body(b"first".to_vec().into()).send().await.expect("put");
    put(&client, &bucket, "k", b"second").await;
    let id = first.version_id().expect("a version").to_owned();
    let url =
        client.get_object().bucket(&bucket).key("k").version_id(&id).presigned(for_an_hour()).await.expect("signed");
    let object = Object { uri: uri(url.uri()), version: None, version_id: Some(id), size: Some(5) };
    let dir = tempfile::tempdir().expect("a directory");
    let input = fetch(&store(), &object, dir.path()).await.expect("fetched");
    assert_eq!(std::fs::read(input.path()).expect("a file"), b"first");
    input.verify().await.expect("it is the same");
    let newest = Object { uri: signed_get(&client, &bucket, "k", for_an_hour()).await, size: None, ..object };
    assert!(matches!(fetch(&store(), &newest, dir.path()).await, Err(Error::Changed { .. })));
}

#[tokio::test]
async fn a_signature_that_is_over_is_told_from_one_that_is_wrong() {
    for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
        let (client, bucket) = (server.client(), server.bucket().await);
        let object = put(&client, &bucket, "k", b"x").await;
        let dir = tempfile::tempdir().expect("a directory");
        let over = Object { uri: signed_get(&client, &bucket, "k", expired()).await, ..object.clone() };
        let error = fetch(&store(), &over, dir.path()).await.expect_err("it is over");
        assert!(matches!(error, Error::Expired(_)), "{error:?}");
        assert!(!error.to_string().contains("X-Amz"), "{error}");
        let Uri::Other { text, .. } = signed_get(&client, &bucket, "k", for_an_hour()).await else { panic!("a URL") };
        let (open, signature) = text.split_once("X-Amz-Signature=").expect("a signature");
        let other = if signature.starts_with('0') { '1' } else { '0' };
        let wrong = Object { uri: uri(&format!("{open}X-Amz-Signature={other}{}", &signature[1..])), ..object };
        let error = fetch(&store(), &wrong, dir.path()).await.expect_err("it is wrong");
        assert!(matches!(error, Error::Forbidden(_)), "{error:?}");
        assert!(!error.to_string().contains(&signature[1..]), "{error}");
    }
}

/// A claim with a signature for each of `paths` below its place.
async fn brought(client: &Client, bucket: &str, claim: Claim, paths: &[&str]) -> Claim {
    let mut uploads = BTreeMap::new();
    for path in paths {
        let key = format!("out/{}/{path}", claim.item.key);
        uploads.insert((*path).to_owned(), signed_put(client, bucket, &key).await);
    }
    Claim { uploads, ..claim }
}

async fn publish(outputs: &dyn Outputs, claim: Claim, files: &[(&str, &[u8])]) -> Result<Committed, Error> {
    let scratch = tempfile::tempdir().expect("a directory");
    let publication = outputs.begin(claim, scratch.path()).await?;
    for (name, bytes) in files {
        std::fs::write(publication.dir().join(name), bytes).expect("written");
    }
    publication.commit(Draft::default(), &|| Box::pin(async { Ok(()) })).await
}

async fn marker(client: &Client, bucket: &str, key: &str) -> Marker {
    let got = client.get_object().bucket(bucket).key(key).send().await.expect("there").body.collect().await;
    serde_json::from_slice(&got.expect("read").into_bytes()).expect("a marker")
}

#[tokio::test]
async fn what_is_signed_for_put_is_published_to() {
    for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
        let (client, bucket) = (server.client(), server.bucket().await);
        let out = outputs(&store(), &format!("{}/{bucket}/out/", server.url()));
        let paths = ["a b+c.txt", "été.txt", "empty", "_SUCCESS.json"];
        let files: [(&str, &[u8]); 3] = [("a b+c.txt", b"one"), ("été.txt", b"two"), ("empty", b"")];
        let first = brought(&client, &bucket, claim("in/a b", "1", "n1"), &paths).await;
        assert_eq!(out.look(&first).await.expect("nobody can tell"), Standing::Free);
        let committed = publish(out.as_ref(), first, &files).await;
        assert!(matches!(committed, Ok(Committed::Published(_))), "{committed:?}");
        let stands = marker(&client, &bucket, "out/in/a b/_SUCCESS.json").await;
        assert_eq!((stands.attempt.as_str(), stands.outputs.len()), ("n1", 3));
        let got = client.get_object().bucket(&bucket).key("out/in/a b/a b+c.txt").send().await.expect("there");
        assert_eq!(got.body.collect().await.expect("read").into_bytes().as_ref(), b"one");
        assert!(stands.outputs.iter().any(|output| output.path == encode_path("été.txt".as_bytes())));

        let again = brought(&client, &bucket, claim("in/a b", "1", "n2"), &paths).await;
        let refused = publish(out.as_ref(), again, &files).await;
        assert!(matches!(refused, Err(Error::Unreadable(_))), "{refused:?}");
        assert_eq!(marker(&client, &bucket, "out/in/a b/_SUCCESS.json").await.attempt, "n1");
    }
}

#[tokio::test]
async fn a_marker_that_anybody_may_read_tells_whose_it_is() {
    let server = S3Server::shared_minio();
    let (client, bucket) = (server.client(), server.bucket().await);
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",
            "Resource":"arn:aws:s3:::{bucket}/*"}}]}}"#
    );
    client.put_bucket_policy().bucket(&bucket).policy(policy).send().await.expect("allowed");
    let out = outputs(&store(), &format!("{}/{bucket}/out/", server.url()));
    let paths = ["f", "_SUCCESS.json", "_attempts/1/report.json"];
    let first = brought(&client, &bucket, claim("k", "1", "n1"), &paths).await;
    publish(out.as_ref(), first.clone(), &[("f", b"1")]).await.expect("published");
    let second = brought(&client, &bucket, claim("k", "1", "n2"), &paths).await;
    assert!(matches!(out.look(&second).await, Ok(Standing::Published(marker)) if marker.attempt == "n1"));
    assert!(matches!(publish(out.as_ref(), second, &[("f", b"1")]).await, Ok(Committed::Already(_))));
    let newer = brought(&client, &bucket, claim("k", "2", "n3"), &paths).await;
    assert!(matches!(publish(out.as_ref(), newer, &[("f", b"2")]).await, Ok(Committed::Published(_))));
    assert_eq!(marker(&client, &bucket, "out/k/_SUCCESS.json").await.attempt, "n3");
    let kept = out.record(&first, b"{}").await.expect("kept").expect("there is a URL");
    assert!(kept.ends_with("/out/k/_attempts/1/report.json"), "{kept}");
}
