//! Whoever works on what is listed, and whoever kills ambassadors, managers and workers meanwhile: nothing is lost.

#![expect(clippy::print_stdout, reason = "who was killed, and by which seed, is to be seen")]

mod needs_redis {
    use std::process::Command;
    use std::sync::Arc;

    use longshore_tests::{Crew, Hands, Ledger, crew};

    use crate::keys::{Keys, until};
    use crate::program::{Program, command};

    /// What the dead had taken is the others' soon.
    const LEASE: [&str; 2] = ["--lease", "3s"];
    /// So many work on what one ambassador lists.
    const HANDS: usize = 4;

    /// Kills everybody in random order, over a queue of so many that these ambassadors serve.
    fn survives(ambassadors: Vec<Command>, items: usize) {
        let seed = crew::said("LONGSHORE_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
        println!("LONGSHORE_TEST_SEED={seed} LONGSHORE_TEST_KILL_ITEMS={items}");
        let kills = crew::said("LONGSHORE_TEST_KILLS").map_or(12, |kills| usize::try_from(kills).expect("some"));
        let mut crew = Crew::start(ambassadors, seed);
        let killed = crew.work_through(items, kills);
        println!("{items} items, killed: {:?}, done again: {}", killed.kills, killed.repeats);
        crew.stop();
    }

    fn items(default: u64) -> usize {
        usize::try_from(crew::said("LONGSHORE_TEST_KILL_ITEMS").unwrap_or(default)).expect("they fit")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn everybody_over_a_list_is_killed_in_random_order_and_nothing_is_lost() {
        let (keys, items) = (Keys::new(), items(5_000));
        keys.pipe((0..items).map(|n| format!("RPUSH {} item-{n}", keys.name)));
        let flags = [&["--list", &keys.name, "--window", "200"], &LEASE[..]].concat();
        // One is who he was when he is back, the other somebody else.
        let known = command(&keys, &[&flags[..], &["--consumer", "known"]].concat());
        let ambassadors = vec![known, command(&keys, &flags)];
        tokio::task::spawn_blocking(move || survives(ambassadors, items)).await.expect("they survive");
        keys.is_nowhere().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn everybody_over_a_stream_is_killed_in_random_order_and_nothing_is_lost() {
        let (keys, items) = (Keys::new(), items(1_000));
        keys.pipe((0..items).map(|n| format!("XADD {} * value item-{n}", keys.name)));
        let flags = ["--stream", &keys.name, "--group", "media", "--window", "100"];
        let flags = [&flags[..], &LEASE[..]].concat();
        let known = command(&keys, &[&flags[..], &["--consumer", "known"]].concat());
        let ambassadors = vec![known, command(&keys, &flags)];
        tokio::task::spawn_blocking(move || survives(ambassadors, items)).await.expect("they survive");
        assert!(keys.redis.ask(&["XPENDING", &keys.name, "media"]).starts_with('0'), "all is acknowledged");
    }

    /// Three ambassadors, and who works on what each lists. The first is killed whenever so many more are settled, and another comes.
    async fn three(keys: &Keys<'_>, flags: &[&str], all: usize, lives: usize) {
        let ledger = Arc::<Ledger>::default();
        let start = async || {
            let program = Program::start(command(keys, flags)).await;
            let hands = Hands::start(&program.url, HANDS, &ledger);
            (program, hands)
        };
        let mut pairs = vec![start().await, start().await, start().await];
        let mut kills = 0;
        while (kills + 1) * lives < all {
            until("more that is settled", async || {
                assert!(!pairs.iter().any(|(_, hands)| hands.have_failed()), "all goes well");
                (ledger.settled() >= (kills + 1) * lives).then_some(())
            })
            .await;
            let (program, hands) = pairs.remove(0);
            drop(program);
            tokio::task::spawn_blocking(|| hands.end()).await.expect("they saw nothing wrong");
            kills += 1;
            pairs.push(start().await);
        }
        until("all that is asked for to be settled", async || {
            assert!(!pairs.iter().any(|(_, hands)| hands.have_failed()), "all goes well");
            (ledger.begun() >= all).then_some(())
        })
        .await;
        for (program, hands) in pairs {
            program.is_empty().await;
            tokio::task::spawn_blocking(|| hands.end()).await.expect("they saw nothing wrong");
        }
        assert_eq!(ledger.begun(), all, "and nothing else");
        // Of what was asked for when somebody was killed, nobody knows what became, but that it is not there any more.
        let unknown = all - ledger.settled();
        assert!(unknown <= kills * HANDS, "{unknown} are gone, and nobody has settled them");
        println!("{kills} kills among {all}: {} settled again, {unknown} perhaps", ledger.repeats());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn three_who_are_killed_again_and_again_drain_a_list() {
        const ALL: usize = 3_000;
        let keys = Keys::new();
        keys.pipe((0..ALL).map(|n| format!("RPUSH {} item-{n}", keys.name)));
        let flags = [&["--list", &keys.name, "--window", "150"], &LEASE[..]].concat();
        three(&keys, &flags, ALL, 400).await;
        keys.is_nowhere().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn three_who_are_killed_again_and_again_drain_a_stream() {
        const ALL: usize = 1_500;
        let keys = Keys::new();
        keys.pipe((0..ALL).map(|n| format!("XADD {} * value item-{n}", keys.name)));
        let flags = ["--stream", &keys.name, "--group", "media", "--window", "100", "--delete-settled"];
        three(&keys, &[&flags[..], &LEASE[..]].concat(), ALL, 400).await;
        assert_eq!(keys.of_key("XLEN"), "0", "what is settled is gone, and nothing else was there");
    }
}
