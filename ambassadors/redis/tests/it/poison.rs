//! What is no item, and what failed for good.

mod needs_redis {
    use longshore_tests::until;
    use serde_json::json;

    use longshore_tests::Ambassador;
    use test_servers::Relay;

    use crate::keys::Keys;
    use crate::program::{command, serving_list, serving_stream};

    #[tokio::test(flavor = "multi_thread")]
    async fn elements_that_are_no_items_or_failed_go_to_the_dead_letter_key_as_they_were() {
        let keys = Keys::new();
        let dead = keys.beside("dead");
        keys.push([&b"[1]"[..], br#"{"n":1}"#, b"\xff\x00", br#"{"n":2}"#, &vec![b'x'; 5_000], br#"{"n":3}"#]);
        let flags = ["--payload", "json", "--max-value", "4KB", "--dead-letter-key", &dead];
        let ambassador = serving_list(&keys, &flags).await;
        let names = ambassador.holds(3).await;
        assert_eq!(keys.redis.ask(&["LLEN", &dead]), "3");
        assert_eq!(keys.redis.ask(&["LINDEX", &dead, "2"]), "x".repeat(5_000), "whole, though it was not read");
        assert_eq!(ambassador.settle(&format!("{}?outcome=failed&reason=bad", names[0])).await, Some(204));
        assert_eq!(keys.redis.ask(&["LINDEX", &dead, "3"]), r#"{"n":1}"#);
        assert_eq!(ambassador.settle(&format!("{}?outcome=failed", names[0])).await, Some(204), "as often as asked");
        for name in &names[1..] {
            assert_eq!(ambassador.settle(name).await, Some(204));
        }
        ambassador.is_empty().await;
        assert_eq!(keys.redis.ask(&["LLEN", &dead]), "4");
        assert_eq!(ambassador.figure("longshore_redis_dead_letters_total", "").await, 4.0);
        keys.redis.ask(&["DEL", &dead]);
        keys.is_nowhere().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_a_dead_letter_key_they_are_held_and_withheld_until_they_are_settled() {
        let keys = Keys::new();
        keys.push([&b"[1]"[..], br#"{"n":1}"#, &vec![b'x'; 5_000]]);
        let ambassador = serving_list(&keys, &["--payload", "json", "--max-value", "4KB"]).await;
        let names = ambassador.holds(1).await;
        assert_eq!(ambassador.settle(&format!("{}?outcome=failed&reason=bad", names[0])).await, Some(204));
        let withheld = ambassador.withholds(3).await;
        let reasons: Vec<_> = withheld.iter().map(|one| one["reason"].as_str().expect("a reason")).collect();
        assert_eq!(reasons, ["malformed", "dead-letter", "too-large"]);
        for one in withheld {
            let message = one["message"].as_str().expect("text");
            let name = message.rsplit(' ').next().expect("it ends with the name");
            assert_eq!(ambassador.settle(name).await, Some(204), "{message}");
        }
        ambassador.is_empty().await;
        keys.is_nowhere().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn entries_go_to_the_dead_letter_stream_with_their_fields_and_why() {
        let keys = Keys::new();
        let dead = format!("{}:dead", keys.name);
        let malformed = keys.add(&["value", "[1]", "sender", "me"]);
        let good = keys.add(&["value", r#"{"n":1}"#]);
        // Of more words than a script says at once.
        let many: Vec<String> = (0..9_000).flat_map(|n| [format!("f{n}"), "v".to_owned()]).collect();
        let many = keys.add(&many.iter().map(String::as_str).collect::<Vec<_>>());
        let flags = ["--payload", "json", "--dead-letter-key", &dead, "--delete-settled"];
        let ambassador = serving_stream(&keys, &flags).await;
        let names = ambassador.holds(1).await;
        assert_eq!(ambassador.settle(&format!("{}?outcome=failed&reason=no%20such%20film", names[0])).await, Some(204));
        ambassador.is_empty().await;
        let letters = keys.redis.ask(&["XRANGE", &dead, "-", "+"]);
        for says in [
            "[1]",
            "sender\nme",
            "malformed: its value",
            "no such film",
            r#"{"n":1}"#,
            &malformed,
            &good,
            &many,
            "media",
            "1/3",
            "3/3",
        ] {
            assert!(letters.contains(says), "{says} in {letters}");
        }
        let numbered = |line: &&str| line.strip_prefix('f').is_some_and(|n| n.parse::<u32>().is_ok());
        assert_eq!(letters.lines().filter(numbered).count(), 9_000, "all of it");
        assert_eq!(keys.redis.ask(&["XLEN", &dead]), "5");
        assert_eq!(keys.of_key("XLEN"), "0", "with --delete-settled");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_entry_that_outlives_many_who_held_it_is_no_item_in_the_end() {
        let keys = Keys::new();
        keys.add(&["value", "kills"]);
        let flags = ["--lease", "1s", "--max-deliveries", "2"];
        for count in 1..=2 {
            let ambassador = serving_stream(&keys, &flags).await;
            let names = ambassador.holds(1).await;
            assert_eq!(ambassador.data(&names[0]).await["deliveryCount"], json!(count));
        }
        let ambassador = serving_stream(&keys, &flags).await;
        let withheld = ambassador.withholds(1).await;
        assert_eq!(withheld[0]["reason"], "delivered-too-often");
        let message = withheld[0]["message"].as_str().expect("text").to_owned();
        assert_eq!(ambassador.settle(message.rsplit(' ').next().expect("a name")).await, Some(204));
        ambassador.is_empty().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_dead_letter_key_of_another_type_loses_nothing_and_is_told_of() {
        let keys = Keys::new();
        let dead = keys.beside("dead");
        keys.redis.ask(&["SET", &dead, "text"]);
        keys.push(["a"]);
        let ambassador = serving_list(&keys, &["--dead-letter-key", &dead]).await;
        let names = ambassador.holds(1).await;
        let failed = format!("{}?outcome=failed&reason=bad", names[0]);
        assert_eq!(ambassador.settle(&failed).await, Some(503));
        assert_eq!(ambassador.names().await, Some(names.clone()), "it is listed still");
        keys.redis.ask(&["DEL", &dead]);
        until("it to be written", async || (ambassador.settle(&failed).await == Some(204)).then_some(())).await;
        assert_eq!(keys.elements(&dead), ["a"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_written_off_waits_and_keeps_nothing_else_waiting() {
        let keys = Keys::new();
        let dead = keys.beside("dead");
        keys.redis.ask(&["SET", &dead, "text"]);
        keys.push(["[1]", "{\"n\":1}"]);
        let flags = ["--payload", "json", "--lease", "2s", "--dead-letter-key", &dead];
        let ambassador = serving_list(&keys, &flags).await;
        let names = ambassador.holds(1).await;
        assert_eq!(ambassador.withholds(1).await[0]["reason"], "malformed");
        assert_eq!(ambassador.settle(&names[0]).await, Some(204));
        keys.redis.ask(&["DEL", &dead]);
        ambassador.is_empty().await;
        until("it to be written", async || (keys.elements(&dead) == ["[1]"]).then_some(())).await;
        ambassador.withholds(0).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_too_large_is_not_read() {
        const LARGE: usize = 4 << 20;
        let (list, stream) = (Keys::new(), Keys::new());
        let push = format!("for _ = 1, 25 do redis.call('RPUSH', KEYS[1], ('x'):rep({LARGE})) end");
        list.redis.ask(&["EVAL", &push, "1", &list.name]);
        let add = format!("for _ = 1, 25 do redis.call('XADD', KEYS[1], '*', 'value', ('x'):rep({LARGE})) end");
        stream.redis.ask(&["EVAL", &add, "1", &stream.name]);
        let flags = ["--lease", "1s", "--max-value", "1MiB"];
        for is_stream in [false, true] {
            let take = async || match is_stream {
                true => serving_stream(&stream, &flags).await,
                false => serving_list(&list, &flags).await,
            };
            let first = take().await;
            first.withholds(25).await;
            let peak = first.peak_memory();
            drop(first);
            let second = take().await;
            assert_eq!(second.withholds(25).await[0]["reason"], "too-large", "as what the dead had taken");
            for peak in [peak, second.peak_memory()] {
                assert!(peak < 20 * LARGE as u64, "{} MiB", peak >> 20);
            }
        }
        list.redis.ask(&["DEL", &list.name, &stream.name, &list.beside("values")]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_waits_to_be_written_off_while_the_connection_breaks_is_written_off() {
        let keys = Keys::new();
        let dead = keys.beside("dead");
        keys.push([b"[]"; 400]);
        let relay = Relay::before(&keys.redis.address());
        // So much is said until about half of them are written off.
        relay.cut(17_100, 1);
        let flags = ["--list", &keys.name, "--payload", "json", "--window", "500", "--dead-letter-key", &dead];
        let mut program = command(&keys, &flags);
        program.env("LONGSHORE_URL", keys.redis.url().replace(&keys.redis.address(), &relay.address()));
        let ambassador = Ambassador::start(program).await;
        until("all to be written", async || (keys.redis.ask(&["LLEN", &dead]) == "400").then_some(())).await;
        ambassador.withholds(0).await;
        assert_eq!(relay.cuts(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_written_off_and_the_server_forgot_is_written_off_again() {
        let (list, stream) = (Keys::new(), Keys::new());
        list.push(["a"]);
        let id = stream.add(&["value", "a"]);
        let dead = |keys: &Keys<'_>| keys.beside("dead");
        let flags = ["--consumer", "me", "--lease", "2s", "--dead-letter-key"];
        let of_list = serving_list(&list, &[&flags[..], &[&dead(&list)]].concat()).await;
        let of_stream = serving_stream(&stream, &[&flags[..], &[&dead(&stream)]].concat()).await;
        let name = of_list.holds(1).await.remove(0);
        let taken = of_list.data(&name).await["id"].as_str().expect("text").to_owned();
        assert_eq!(of_list.settle(&format!("{name}?outcome=failed&reason=bad")).await, Some(204));
        let name = of_stream.holds(1).await.remove(0);
        assert_eq!(of_stream.settle(&format!("{name}?outcome=failed&reason=bad")).await, Some(204));
        // As a primary's successor has it, to which the last of what it did was not copied.
        let forget = "redis.call('DEL', KEYS[1]) redis.call('HSET', KEYS[2], ARGV[1], 'a') redis.call('RPUSH', KEYS[3], ARGV[1])";
        list.redis.ask(&["EVAL", forget, "3", &dead(&list), &list.beside("values"), &list.beside("held:me"), &taken]);
        let forget =
            "redis.call('DEL', KEYS[1]) redis.call('XCLAIM', KEYS[2], 'media', 'me', 0, ARGV[1], 'FORCE', 'JUSTID')";
        stream.redis.ask(&["EVAL", forget, "2", &dead(&stream), &stream.name, &id]);
        until("a letter", async || (list.elements(&dead(&list)) == ["a"]).then_some(())).await;
        until("a letter", async || (stream.redis.ask(&["XLEN", &dead(&stream)]) == "1").then_some(())).await;
        assert!(stream.redis.ask(&["XRANGE", &dead(&stream), "-", "+"]).contains("bad"));
        of_list.is_empty().await;
        of_stream.is_empty().await;
    }
}
