//! Who took under a name that nobody takes under again, and is gone: nobody remembers them, and nothing is lost with them.

mod needs_redis {
    use std::collections::BTreeSet;

    use longshore_tests::until;
    use rustix::process::Signal;

    use crate::keys::Keys;
    use crate::program::{serving_list, serving_stream};

    const SHORT: [&str; 2] = ["--lease", "1s"];

    /// Those of the group, by their names.
    fn of_group(keys: &Keys<'_>) -> BTreeSet<String> {
        let said = keys.redis.ask(&["XINFO", "CONSUMERS", &keys.name, "media"]);
        let mut lines = said.lines();
        std::iter::from_fn(|| lines.find(|line| *line == "name").and_then(|_| lines.next()).map(str::to_owned))
            .collect()
    }

    fn named<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
        names.map(str::to_owned).into()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_group_forgets_ours_that_hold_nothing_and_nobody_else() {
        const HOLDS: &str = "longshore-host-0123456789abcdef";
        let keys = Keys::new();
        let ids = [(); 2].map(|()| keys.add(&["value", "before"]));
        let one = [&SHORT[..], &["--window", "1"]].concat();
        let (killed, sleeper) = (serving_stream(&keys, &one).await, serving_stream(&keys, &one).await);
        killed.holds(1).await;
        sleeper.holds(1).await;
        let ours = of_group(&keys);
        sleeper.signal(Signal::STOP);
        drop(killed);
        for id in ids {
            assert_eq!(keys.redis.ask(&["XACK", &keys.name, "media", &id]), "1");
        }
        keys.redis.ask(&["XGROUP", "CREATECONSUMER", &keys.name, "media", "other"]);
        for n in 0..3 {
            keys.add(&["value", &n.to_string()]);
        }
        keys.redis.ask(&["XREADGROUP", "GROUP", "media", HOLDS, "COUNT", "2", "STREAMS", &keys.name, ">"]);
        // There is no room for all that is pending for the one that holds some.
        let mut living = serving_stream(&keys, &[&one[..], &["--consumer", "living"]].concat()).await;
        living.holds(1).await;
        until("ours to be gone", async || of_group(&keys).is_disjoint(&ours).then_some(())).await;
        assert_eq!(of_group(&keys), named([HOLDS, "other", "living"]), "what is pending would go with it");
        sleeper.signal(Signal::CONT);
        until("the sleeper to take again", async || Some(sleeper.names().await?.len()).filter(|held| *held > 0)).await;
        drop(sleeper);
        let mut values = living.drained(&[]).await;
        values.sort();
        assert_eq!(values, ["0", "1", "2"]);
        until("all to be gone", async || (of_group(&keys) == named(["other", "living"])).then_some(())).await;
        living.terminate().await;
        assert_eq!(of_group(&keys), named(["other"]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_list_forgets_whoever_holds_nothing_and_is_gone() {
        let keys = Keys::new();
        let takers = || keys.redis.ask(&["SMEMBERS", &keys.beside("consumers")]);
        let killed = serving_list(&keys, &SHORT).await;
        until("it to be known", async || takers().starts_with("longshore-").then_some(())).await;
        drop(killed);
        let mut living = serving_list(&keys, &[&SHORT[..], &["--consumer", "living"]].concat()).await;
        until("it to be gone", async || (takers() == "living").then_some(())).await;
        living.terminate().await;
        assert_eq!(takers(), "");
    }
}
