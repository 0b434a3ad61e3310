//! Servers that are a cluster: whichever is named, the one that has the key is found, and found again when the key moves.

mod needs_redis {
    use longshore_tests::until;
    use test_servers::Redis;

    use crate::keys::Keys;
    use crate::program::{serving_list, serving_stream};

    /// A key whose slot is in the lower half of all, or in the upper.
    fn key(redis: &Redis, upper: bool) -> Keys<'_> {
        let slot = |keys: &Keys<'_>| redis.ask(&["CLUSTER", "KEYSLOT", &keys.name]).parse::<u32>().expect("a number");
        std::iter::repeat_with(|| Keys::of(redis)).find(|keys| (slot(keys) >= 8_192) == upper).expect("some are")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_lies_in_any_servers_slots_is_served_and_followed_where_it_goes() {
        let redis = Redis::start(&["--cluster-enabled", "yes"]);
        let other = redis.beside(&["--cluster-enabled", "yes"]);
        let (list, stream, elsewhere) = (key(&redis, false), key(&redis, false), key(&redis, true));
        let dead = |keys: &Keys<'_>| format!("{{{}}}:dead", keys.name);
        let of_list = serving_list(&list, &["--dead-letter-key", &dead(&list)]).await;
        let of_stream = serving_stream(&stream, &["--dead-letter-key", &dead(&stream)]).await;
        of_list.is_red("CLUSTERDOWN").await;
        of_stream.is_red("CLUSTERDOWN").await;

        redis.ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "8191"]);
        other.ask(&["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"]);
        let address = other.address();
        let (host, port) = address.split_once(':').expect("an address");
        redis.ask(&["CLUSTER", "MEET", host, port]);
        until("a cluster", async || redis.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok").then_some(())).await;
        list.push(["a", "b"]);
        for value in ["a", "b"] {
            stream.add(&["value", value]);
        }
        for ambassador in [&of_list, &of_stream] {
            let names = ambassador.holds(2).await;
            assert_eq!(ambassador.settle(&names[0]).await, Some(204));
            assert_eq!(ambassador.settle(&format!("{}?outcome=failed", names[1])).await, Some(204));
            ambassador.is_empty().await;
        }
        assert_eq!(list.elements(&dead(&list)), ["b"]);
        assert_eq!(redis.ask(&["XLEN", &dead(&stream)]), "1");
        list.is_nowhere().await;

        let untagged = format!("{}:dead", list.name);
        serving_list(&list, &["--dead-letter-key", &untagged]).await.is_red("in one slot (CROSSSLOT)").await;

        // The other has it, and says so to whoever asks this one.
        let mut at_the_other = Keys { redis: &other, name: elsewhere.name.clone() };
        for value in ["a", "b"] {
            at_the_other.add(&["value", value]);
        }
        let sent_on = serving_stream(&elsewhere, &[]).await;
        let names = sent_on.holds(2).await;
        assert_eq!(sent_on.settle(&names[0]).await, Some(204));
        // Its slot goes to this one, with what is held.
        move_slot(&elsewhere.name, &other, &redis);
        at_the_other.redis = &redis;
        at_the_other.add(&["value", "c"]);
        until("it is settled where it is now", async || (sent_on.settle(&names[1]).await == Some(204)).then_some(()))
            .await;
        let [last] = &sent_on.holds(1).await[..] else { panic!("one is left") };
        assert_eq!(sent_on.data(last).await["value"], "c");
        assert_eq!(sent_on.settle(last).await, Some(204));
        sent_on.is_empty().await;
        let pending = redis.ask(&["XPENDING", &elsewhere.name, "media"]);
        assert!(pending.starts_with('0'), "all is acknowledged: {pending}");
    }

    /// Has one server of a cluster give the slot of a key to another.
    fn move_slot(key: &str, from: &Redis, to: &Redis) {
        let slot = from.ask(&["CLUSTER", "KEYSLOT", key]);
        let (giver, taker) = (from.ask(&["CLUSTER", "MYID"]), to.ask(&["CLUSTER", "MYID"]));
        to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &giver]);
        from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &taker]);
        let address = to.address();
        let (host, port) = address.split_once(':').expect("an address");
        loop {
            let keys = from.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            let keys: Vec<_> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                break;
            }
            let migrate = ["MIGRATE", host, port, "", "0", "10000", "AUTH", to.password(), "KEYS"];
            from.ask(&[&migrate[..], &keys].concat());
        }
        for server in [to, from] {
            server.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &taker]);
        }
    }
}
