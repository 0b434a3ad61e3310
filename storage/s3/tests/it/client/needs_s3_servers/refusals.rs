//! Refusals as real stores word them.

use storage::Error;
use storage_s3::{ListQuery, S3, S3Args, TransferArgs};
use test_servers::S3Server;

use super::super::{LONG, args, s3};
use super::stores;

fn with_keys(args: S3Args, key: &str, secret: &str) -> S3 {
    S3::with_keys(args, TransferArgs::default(), key, secret).with_patience(LONG)
}

#[tokio::test]
async fn wrong_keys_are_forbidden_and_told_apart() {
    for server in stores() {
        let name = server.bucket().await;
        let wrong = with_keys(args(&server.url()), server.access_key(), "wrong").bucket(&name);
        let error = wrong.list(&ListQuery::default()).await.expect_err("the secret is wrong");
        assert!(matches!(&error, Error::Forbidden(text) if text.contains("is the secret key right")), "{error:?}");
        let unknown = with_keys(args(&server.url()), "NOBODY", "wrong").bucket(&name);
        let error = unknown.list(&ListQuery::default()).await.expect_err("the key is unknown");
        assert!(matches!(&error, Error::Forbidden(text) if text.contains("does not know the access key")), "{error:?}");
        let head = wrong.head("key", None).await;
        assert!(matches!(head, Err(Error::Forbidden(_))), "{head:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_from_a_bucket_that_is_not() {
    for server in stores() {
        let name = server.bucket().await;
        let missing = s3(server).bucket(&name).head("no/such/key", None).await;
        assert!(matches!(missing, Err(Error::NotFound(_))), "{missing:?}");
        let read = s3(server).bucket(&name).read("no/such/key", 1).await;
        assert!(matches!(read, Err(Error::NotFound(_))), "{read:?}");
        let nowhere = s3(server).bucket("there-is-no-such-bucket").list(&ListQuery::default()).await;
        let error = nowhere.expect_err("there is none");
        assert!(matches!(&error, Error::Unsupported(text) if text.contains("is the bucket's name right")), "{error:?}");
    }
}

#[tokio::test]
async fn a_wrong_region_is_said_to_be_one_and_the_right_one_is_named() {
    let server = S3Server::minio_with(&[("MINIO_SITE_REGION", "us-east-1")]);
    let name = server.bucket().await;
    let wrong = S3Args { s3_region: Some("eu-west-1".to_owned()), ..args(&server.url()) };
    let error =
        with_keys(wrong, server.access_key(), server.secret_key()).bucket(&name).list(&ListQuery::default()).await;
    let error = error.expect_err("the region is wrong");
    assert!(
        matches!(&error, Error::Unsupported(text) if text.contains("us-east-1") && text.contains("--s3-region")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_right_to_one_prefix_is_no_right_to_another() {
    let server = S3Server::shared_minio();
    let name = server.bucket().await;
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":["*"]}},"Action":["s3:ListBucket"],
        "Resource":["arn:aws:s3:::{name}"],"Condition":{{"StringLike":{{"s3:prefix":["open/*"]}}}}}},
        {{"Effect":"Allow","Principal":{{"AWS":["*"]}},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::{name}/open/*"]}}]}}"#
    );
    server.client().put_bucket_policy().bucket(&name).policy(policy).send().await.expect("a policy");
    let args = S3Args { s3_no_sign_request: true, ..args(&server.url()) };
    let bucket = S3::new(args, TransferArgs::default()).with_patience(LONG).bucket(&name);
    let query = |prefix: &str| ListQuery { prefix: prefix.to_owned(), ..ListQuery::default() };
    bucket.list(&query("open/")).await.expect("everybody may");
    let closed = bucket.list(&query("closed/")).await.expect_err("nobody may");
    assert!(matches!(&closed, Error::Forbidden(text) if text.contains("closed/")), "{closed:?}");
    let read = bucket.read("closed/key", 1).await;
    assert!(matches!(read, Err(Error::Forbidden(_))), "{read:?}");
}
