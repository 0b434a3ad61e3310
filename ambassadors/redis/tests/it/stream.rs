//! A stream, from what others added to what is acknowledged.

mod needs_redis {
    use longshore_tests::until;
    use serde_json::json;

    use crate::keys::Keys;
    use crate::program::serving_stream;

    #[tokio::test(flavor = "multi_thread")]
    async fn entries_are_items_in_their_order_until_they_are_settled() {
        let keys = Keys::new();
        let ids: Vec<String> =
            (0..30).map(|n| keys.add(&["value", &format!("item {n}"), "key", "k", "n", "1"])).collect();
        let ambassador = serving_stream(&keys, &["--window", "20"]).await;
        let names = ambassador.holds(20).await;
        assert_eq!(ambassador.values(&names).await, (0..20).map(|n| format!("item {n}")).collect::<Vec<_>>());
        let data = ambassador.data(&names[0]).await;
        for (field, is) in [
            ("stream", json!(keys.name)),
            ("group", json!("media")),
            ("id", json!(ids[0])),
            ("key", json!("k")),
            ("fields", json!({"n": "1"})),
            ("deliveryCount", json!(1)),
        ] {
            assert_eq!(data[field], is, "{field} of {data}");
        }
        assert!(data["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{data}");
        until("a backlog", async || (ambassador.list().await?["metadata"]["backlog"] == 10).then_some(())).await;
        for name in &names {
            assert_eq!(ambassador.settle(name).await, Some(204));
        }
        for name in ambassador.holds(10).await {
            assert_eq!(ambassador.settle(&name).await, Some(204));
        }
        ambassador.is_empty().await;
        assert!(keys.redis.ask(&["XPENDING", &keys.name, "media"]).starts_with('0'));
        assert_eq!(keys.of_key("XLEN"), "30", "it is for others to trim it");
    }
}
