//! Walks at stores that are slow in one way or another.

mod needs_s3_servers {
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use futures_util::{StreamExt, TryStreamExt};
    use storage_s3::{S3, S3Args, TransferArgs, Walk};
    use test_servers::{Proxy, S3Server, Spoil};

    /// How long an answer takes of a store far away: long beside what a busy machine adds to it.
    const FAR: Duration = Duration::from_millis(600);
    /// How long one works for an answer that gives one after another.
    const SLOW: Duration = Duration::from_millis(150);
    const PAGE: usize = 10;
    const PAGES: usize = 50;

    /// Walks through [`PAGES`] of a store by at most 8 requests at once, each answered later by what `delay` says when it comes: the
    /// most requests that were under way at once, and how many there were.
    async fn walked(server: &'static S3Server, delay: impl FnMut() -> Duration + Send + 'static) -> (usize, usize) {
        let (client, name) = (server.client(), server.bucket().await);
        let keys: Vec<String> = (0..PAGE * PAGES).map(|n| format!("{:08x}", n * 7_000_003 % 0xffff_fffb)).collect();
        futures_util::stream::iter(&keys)
            .for_each_concurrent(16, async |key| {
                client.put_object().bucket(&name).key(key).send().await.expect("put");
            })
            .await;
        let small_pages = Proxy::before(&server.url()).await;
        small_pages.spoil(|_| Some(Spoil::Query("max-keys", PAGE.to_string())));
        let slow = Proxy::before(&small_pages.url()).await;
        let delay = Mutex::new(delay);
        slow.spoil(move |_| Some(Spoil::Delay((delay.lock().expect("no panic"))())));
        let args =
            S3Args { s3_endpoint_url: Some(slow.url()), s3_region: Some("us-east-1".to_owned()), ..S3Args::default() };
        let s3 = S3::with_keys(args, TransferArgs::default(), server.access_key(), server.secret_key());
        let mut pages = s3.bucket(&name).walk(Walk { parallelism: 8, ..Walk::default() });
        let (mut found, mut answered, mut at_once) = (Vec::new(), 0, 0);
        while let Some(page) = pages.try_next().await.expect("a page") {
            answered += page.requests as usize;
            // What was asked for just now may not have come there yet.
            at_once = at_once.max(slow.seen().len() - answered);
            found.extend(page.objects.into_iter().map(|object| object.key));
        }
        found.sort_unstable();
        let mut keys = keys;
        keys.sort_unstable();
        assert_eq!(found, keys, "each once");
        (at_once, slow.seen().len())
    }

    #[tokio::test]
    async fn far_away_all_requests_that_may_be_are_made_at_once() {
        let (minio, versity) =
            tokio::join!(walked(S3Server::shared_minio(), || FAR), walked(S3Server::shared_versity(), || FAR));
        for (at_once, _) in [minio, versity] {
            assert!((7..=8).contains(&at_once), "{at_once} at once");
        }
    }

    #[tokio::test]
    async fn a_store_that_answers_one_after_another_is_not_asked_for_more_at_once() {
        let mut free = Instant::now();
        let (at_once, requests) = walked(S3Server::shared_minio(), move || {
            let now = Instant::now();
            free = free.max(now) + SLOW;
            free - now
        })
        .await;
        // Two may pay, since what is done between two answers is not the store's; more never do, and are tried but once.
        assert!(at_once <= 4, "{at_once} at once");
        assert!(requests <= PAGES + PAGES / 4, "{requests} requests");
    }
}
