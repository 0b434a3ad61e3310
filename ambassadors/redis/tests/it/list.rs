//! A list, from what others pushed to what is settled.

mod needs_redis {
    use longshore_tests::until;

    use crate::keys::Keys;
    use crate::program::serving_list;

    #[tokio::test(flavor = "multi_thread")]
    async fn elements_are_items_in_their_order_until_they_are_settled() {
        let keys = Keys::new();
        keys.push((0..30).map(|n| format!("item {}", n / 2)));
        let ambassador = serving_list(&keys, &["--window", "20"]).await;
        let names = ambassador.holds(20).await;
        let values = ambassador.values(&names).await;
        assert_eq!(
            values,
            (0..20).map(|n| format!("item {}", n / 2)).collect::<Vec<_>>(),
            "equal ones are each their own"
        );
        let data = ambassador.data(&names[0]).await;
        assert_eq!((&data["list"], &data["value"]), (&keys.name.as_str().into(), &"item 0".into()));
        until("a backlog", async || (ambassador.list().await?["metadata"]["backlog"] == 10).then_some(())).await;
        assert_eq!(keys.of_key("LLEN"), "10", "no more is taken than there is room for");
        for name in &names {
            assert_eq!(ambassador.settle(name).await, Some(204));
        }
        for name in ambassador.holds(10).await {
            assert_eq!(ambassador.settle(&name).await, Some(204));
        }
        ambassador.is_empty().await;
        keys.is_nowhere().await;
    }
}
