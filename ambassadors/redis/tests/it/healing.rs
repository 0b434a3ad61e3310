//! What others do to a stream and its group while entries of it are held.

mod needs_redis {
    use longshore_tests::{Ambassador, until};

    use crate::keys::Keys;
    use crate::program::{serving_list, serving_stream};

    /// Renews what it holds often.
    const QUICK: [&str; 2] = ["--lease", "2s"];

    async fn settled(ambassador: &Ambassador, count: usize) {
        for name in ambassador.holds(count).await {
            assert_eq!(ambassador.settle(&name).await, Some(204));
        }
        ambassador.is_empty().await;
    }

    async fn gone(ambassador: &Ambassador, name: &str) {
        until("a name that is gone", async || {
            ambassador.ask(&format!("/v1/items/{name}")).await.filter(|(status, _)| *status == 410).map(drop)
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_group_that_was_destroyed_is_made_again_and_nothing_is_lost() {
        let keys = Keys::new();
        for _ in 0..5 {
            keys.add(&["value", "v"]);
        }
        let ambassador = serving_stream(&keys, &[&QUICK[..], &["--window", "3"]].concat()).await;
        let before = ambassador.holds(3).await;
        keys.redis.ask(&["XGROUP", "DESTROY", &keys.name, "media"]);
        let made = "made the group, which was not there";
        until("the group", async || (ambassador.log().matches(made).count() == 2).then_some(())).await;
        until("its entries", async || {
            keys.redis.ask(&["XPENDING", &keys.name, "media"]).starts_with('3').then_some(())
        })
        .await;
        assert_eq!(ambassador.holds(3).await, before, "from its beginning, by the same names");
        for name in before {
            assert_eq!(ambassador.settle(&name).await, Some(204));
        }
        settled(&ambassador, 2).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_that_is_deleted_takes_its_items_along_and_one_that_is_made_again_is_served() {
        let keys = Keys::new();
        for _ in 0..3 {
            keys.add(&["value", "v"]);
        }
        let ambassador = serving_stream(&keys, &QUICK).await;
        let names = ambassador.holds(3).await;
        keys.of_key("DEL");
        gone(&ambassador, &names[1]).await;
        assert_eq!(ambassador.settle(&names[1]).await, Some(204), "as often as asked");
        keys.add(&["value", "new"]);
        let after = ambassador.holds(1).await;
        assert_eq!(ambassador.values(&after).await, ["new"]);
        settled(&ambassador, 1).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn everything_may_be_flushed() {
        let redis = test_servers::Redis::start(&[]);
        let (list, stream) = (Keys::of(&redis), Keys::of(&redis));
        list.push(["a", "b"]);
        stream.add(&["value", "a"]);
        let of_list = serving_list(&list, &QUICK).await;
        let of_stream = serving_stream(&stream, &QUICK).await;
        let (a, b) = (of_list.holds(2).await, of_stream.holds(1).await);
        redis.ask(&["FLUSHALL"]);
        redis.ask(&["SCRIPT", "FLUSH"]);
        gone(&of_list, &a[0]).await;
        gone(&of_stream, &b[0]).await;
        list.push(["c"]);
        stream.add(&["value", "c"]);
        settled(&of_list, 1).await;
        settled(&of_stream, 1).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn entries_that_are_cut_off_while_they_are_held_are_gone_and_told_of() {
        let keys = Keys::new();
        for n in 0..4 {
            keys.add(&["value", &n.to_string()]);
        }
        let ambassador = serving_stream(&keys, &QUICK).await;
        let names = ambassador.holds(4).await;
        keys.redis.ask(&["XTRIM", &keys.name, "MAXLEN", "1"]);
        for name in &names[..3] {
            gone(&ambassador, name).await;
        }
        assert_eq!(ambassador.holds(1).await, names[3..]);
        assert_eq!(ambassador.figure("longshore_redis_trimmed_total", "").await, 3.0);
        settled(&ambassador, 1).await;
        let pending = keys.redis.ask(&["XPENDING", &keys.name, "media"]);
        assert!(pending.starts_with('0'), "{pending}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn entries_that_were_cut_off_while_nobody_lived_are_no_items() {
        let keys = Keys::new();
        for n in 0..4 {
            keys.add(&["value", &n.to_string()]);
        }
        let flags = ["--consumer", "me", "--lease", "1h"];
        let first = serving_stream(&keys, &flags).await;
        let names = first.holds(4).await;
        drop(first);
        keys.redis.ask(&["XTRIM", &keys.name, "MAXLEN", "2"]);
        let second = serving_stream(&keys, &flags).await;
        assert_eq!(second.holds(2).await, names[2..]);
        settled(&second, 2).await;
        assert!(keys.redis.ask(&["XPENDING", &keys.name, "media"]).starts_with('0'));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_group_begins_where_it_is_told_to() {
        let keys = Keys::new();
        keys.add(&["value", "old"]);
        let ambassador = serving_stream(&keys, &["--start", "$"]).await;
        ambassador.ready(200).await;
        keys.add(&["value", "new"]);
        let names = ambassador.holds(1).await;
        assert_eq!(ambassador.values(&names).await, ["new"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_came_to_be_ours_when_nobody_waited_for_the_answer_is_listed() {
        let (list, stream) = (Keys::new(), Keys::new());
        let flags = [&QUICK[..], &["--consumer", "me"]].concat();
        let (of_list, of_stream) = (serving_list(&list, &flags).await, serving_stream(&stream, &flags).await);
        of_list.is_empty().await;
        of_stream.is_empty().await;
        // What a connection that is given up says last, the server may hear late.
        let late = "redis.call('HSET', KEYS[1], 'id', 'late') redis.call('RPUSH', KEYS[2], 'id')";
        list.redis.ask(&["EVAL", late, "2", &list.beside("values"), &list.beside("held:me")]);
        let late = "redis.call('XADD', KEYS[1], '*', 'value', 'late')
            redis.call('XREADGROUP', 'GROUP', 'media', 'me', 'STREAMS', KEYS[1], '>')";
        stream.redis.ask(&["EVAL", late, "1", &stream.name]);
        for ambassador in [&of_list, &of_stream] {
            let names = ambassador.holds(1).await;
            assert_eq!(ambassador.values(&names).await, ["late"]);
            assert_eq!(ambassador.settle(&names[0]).await, Some(204));
            ambassador.is_empty().await;
        }
        list.is_nowhere().await;
    }
}
