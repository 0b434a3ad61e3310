//! The contract's own suite, over buckets.

use ambassador_kit::source::Source;
use longshore_tests::source::keeps_the_contract;
use longshore_tests::until;
use test_servers::S3Server;

use crate::served::Bucket;

async fn bucket(server: &'static S3Server) -> Bucket {
    let bucket = Bucket::new(server).await;
    for n in 0..40 {
        bucket.put(&format!("in/clip {n}.mp4"), &n.to_string()).await;
    }
    bucket.put("in/notes.txt", "x").await;
    bucket
}

async fn kept(source: impl Source, settle: bool, least: usize) {
    until("what the store honours", async || (!source.page(None, 1).await.ok()?.items.is_empty()).then_some(())).await;
    keeps_the_contract(source, settle, least).await;
}

mod needs_s3_servers {
    use super::*;

    const MP4: [&str; 2] = ["--glob", "*.mp4"];

    async fn catalog(server: &'static S3Server, settle: &str, more: &[&str]) {
        let bucket = bucket(server).await;
        let source = bucket.served(&[&MP4, &["--on-settle", settle][..], more].concat()).await;
        kept(source, settle != "none", 38).await;
    }

    async fn pages(server: &'static S3Server, settle: &str) {
        let bucket = bucket(server).await;
        kept(bucket.paged(&[&MP4, &["--on-settle", settle][..]].concat()).await, settle != "none", 22).await;
    }

    #[tokio::test]
    async fn a_catalog_keeps_every_promise_of_the_contract() {
        tokio::join!(
            catalog(S3Server::shared_minio(), "none", &[]),
            catalog(S3Server::shared_versity(), "none", &["--names", "raw", "--order", "age"]),
        );
    }

    #[tokio::test]
    async fn a_catalog_that_settles_keeps_them_by_every_policy() {
        tokio::join!(
            catalog(S3Server::shared_minio(), "delete", &[]),
            catalog(S3Server::shared_versity(), "delete", &["--identity", "key"]),
            catalog(S3Server::shared_minio(), "tag:longshore=done", &[]),
            catalog(S3Server::shared_versity(), "move:done/", &["--presign", "1h"]),
        );
    }

    #[tokio::test]
    async fn pages_that_nobody_holds_keep_them_too() {
        tokio::join!(
            pages(S3Server::shared_minio(), "none"),
            pages(S3Server::shared_versity(), "delete"),
            pages(S3Server::shared_minio(), "move:done/"),
        );
    }
}
