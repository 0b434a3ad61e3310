//! Whoever works on what is listed, and whoever kills ambassadors, managers and workers meanwhile: nothing is lost.

mod needs_redis {
    use longshore_tests::{Ordeal, drained_by_three};

    use crate::keys::Keys;
    use crate::program::command;

    /// What the dead had taken is the others' soon.
    const LEASE: [&str; 2] = ["--lease", "3s"];

    #[tokio::test(flavor = "multi_thread")]
    async fn everybody_over_a_list_is_killed_in_random_order_and_nothing_is_lost() {
        let (keys, ordeal) = (Keys::new(), Ordeal::of(5_000));
        keys.pipe((0..ordeal.items).map(|n| format!("RPUSH {} item-{n}", keys.name)));
        let flags = [&["--list", &keys.name, "--window", "200"], &LEASE[..]].concat();
        // One is who he was when he is back, the other somebody else.
        let known = command(&keys, &[&flags[..], &["--consumer", "known"]].concat());
        ordeal.survived_by(vec![known, command(&keys, &flags)]).await;
        keys.is_nowhere().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn everybody_over_a_stream_is_killed_in_random_order_and_nothing_is_lost() {
        let (keys, ordeal) = (Keys::new(), Ordeal::of(1_000));
        keys.pipe((0..ordeal.items).map(|n| format!("XADD {} * value item-{n}", keys.name)));
        let flags = ["--stream", &keys.name, "--group", "media", "--window", "100"];
        let flags = [&flags[..], &LEASE[..]].concat();
        let known = command(&keys, &[&flags[..], &["--consumer", "known"]].concat());
        ordeal.survived_by(vec![known, command(&keys, &flags)]).await;
        assert!(keys.redis.ask(&["XPENDING", &keys.name, "media"]).starts_with('0'), "all is acknowledged");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn three_who_are_killed_again_and_again_drain_a_list() {
        const ALL: usize = 3_000;
        let keys = Keys::new();
        keys.pipe((0..ALL).map(|n| format!("RPUSH {} item-{n}", keys.name)));
        let flags = [&["--list", &keys.name, "--window", "150"], &LEASE[..]].concat();
        drained_by_three(|| command(&keys, &flags), ALL, 400).await;
        keys.is_nowhere().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn three_who_are_killed_again_and_again_drain_a_stream() {
        const ALL: usize = 1_500;
        let keys = Keys::new();
        keys.pipe((0..ALL).map(|n| format!("XADD {} * value item-{n}", keys.name)));
        let flags = ["--stream", &keys.name, "--group", "media", "--window", "100", "--delete-settled"];
        let flags = [&flags[..], &LEASE[..]].concat();
        drained_by_three(|| command(&keys, &flags), ALL, 400).await;
        assert_eq!(keys.of_key("XLEN"), "0", "what is settled is gone, and nothing else was there");
    }
}
