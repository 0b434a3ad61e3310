//! What is no item, and what failed for good.

mod needs_redis {
    use longshore_tests::until;
    use serde_json::json;

    use crate::keys::Keys;
    use crate::program::{serving_list, serving_stream};

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
        let flags = ["--payload", "json", "--dead-letter-key", &dead, "--delete-settled"];
        let ambassador = serving_stream(&keys, &flags).await;
        let names = ambassador.holds(1).await;
        assert_eq!(ambassador.settle(&format!("{}?outcome=failed&reason=no%20such%20film", names[0])).await, Some(204));
        ambassador.is_empty().await;
        let letters = keys.redis.ask(&["XRANGE", &dead, "-", "+"]);
        for says in
            ["[1]", "sender\nme", "malformed: its value", "no such film", r#"{"n":1}"#, &malformed, &good, "media"]
        {
            assert!(letters.contains(says), "{says} in {letters}");
        }
        assert_eq!(keys.redis.ask(&["XLEN", &dead]), "2");
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
}
