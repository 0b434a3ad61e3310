//! What somebody took who is gone, or who slept for longer than a lease.

mod needs_redis {
    use std::collections::BTreeSet;
    use std::process::Command;

    use longshore_tests::{Ambassador, until};
    use rustix::process::Signal;

    use crate::keys::Keys;
    use crate::program::{PROGRAM, serving_list, serving_stream};

    /// One that is soon over, and one that is not before a test is.
    const SHORT: [&str; 4] = ["--lease", "2s", "--window", "20"];
    const LONG: [&str; 4] = ["--lease", "1h", "--window", "20"];

    /// Both kinds of queue, each with as many messages.
    async fn filled(keys: &Keys<'_>, stream: bool, messages: usize) {
        for n in 0..messages {
            match stream {
                true => drop(keys.add(&["value", &n.to_string()])),
                false => keys.push([n.to_string()]),
            }
        }
    }

    async fn start(keys: &Keys<'_>, stream: bool, flags: &[&str]) -> Ambassador {
        match stream {
            true => serving_stream(keys, flags).await,
            false => serving_list(keys, flags).await,
        }
    }

    async fn drained(ambassador: &Ambassador, keys: &Keys<'_>, stream: bool) {
        let mut names = ambassador.names().await.unwrap_or_default();
        until("all to be settled", async || {
            for name in std::mem::take(&mut names) {
                assert_eq!(ambassador.settle(&name).await, Some(204));
            }
            names = ambassador.names().await?;
            names.is_empty().then_some(())
        })
        .await;
        ambassador.is_empty().await;
        match stream {
            true => assert!(keys.redis.ask(&["XPENDING", &keys.name, "media"]).starts_with('0')),
            false => keys.is_nowhere().await,
        }
    }

    async fn killed(stream: bool) {
        let keys = Keys::new();
        filled(&keys, stream, 30).await;
        let first = start(&keys, stream, &SHORT).await;
        let names = first.holds(20).await;
        assert_eq!(first.settle(&names[3]).await, Some(204));
        let before: BTreeSet<String> = first.holds(20).await.into_iter().collect();
        drop(first);
        let second = start(&keys, stream, &["--lease", "2s", "--window", "40"]).await;
        let after: BTreeSet<String> = second.holds(29).await.into_iter().collect();
        assert!(after.is_superset(&before), "what it held has its names: {before:?} {after:?}");
        drained(&second, &keys, stream).await;
    }

    async fn left(stream: bool) {
        let keys = Keys::new();
        filled(&keys, stream, 20).await;
        let mut first = start(&keys, stream, &LONG).await;
        let before = first.holds(20).await;
        let second = start(&keys, stream, &LONG).await;
        second.ready(200).await;
        assert_eq!(second.names().await.map(|names| names.len()), Some(0), "somebody has them");
        first.terminate().await;
        let after = second.holds(20).await;
        assert_eq!(after, before, "in their order");
        if stream {
            assert_eq!(
                second.data(&after[0]).await["deliveryCount"],
                1,
                "who ended well is not among those who died of it"
            );
        }
        drained(&second, &keys, stream).await;
    }

    async fn slept(stream: bool) {
        let keys = Keys::new();
        filled(&keys, stream, 20).await;
        // Whoever looks judges by its own lease what is pending, and by that of whoever took it what was taken of a list. Nobody else's is
        // over, however long all of this stands still.
        let (sleepers, others) = if stream { (&LONG, &SHORT) } else { (&SHORT, &LONG) };
        let first = start(&keys, stream, sleepers).await;
        let names = first.holds(20).await;
        first.signal(Signal::STOP);
        let second = start(&keys, stream, others).await;
        let adopted = second.holds(20).await;
        assert_eq!(adopted, names);
        assert_eq!(second.settle(&names[0]).await, Some(204));
        first.signal(Signal::CONT);
        until("the sleeper to know", async || {
            (first.names().await?.is_empty() && first.figure("longshore_redis_lost_total", "").await > 0.0)
                .then_some(())
        })
        .await;
        let (status, _) = first.ask(&format!("/v1/items/{}", names[5])).await.expect("an answer");
        assert_eq!(status, 410);
        assert_eq!(first.settle(&names[5]).await, Some(204), "whose worker went on, and is done");
        assert_eq!(second.names().await.map(|names| names.len()), Some(19), "what others hold stays theirs");
        drained(&second, &keys, stream).await;
        first.is_empty().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_killed_ambassador_held_is_taken_over_by_the_same_names() {
        tokio::join!(killed(false), killed(true));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_one_held_who_was_told_to_end_is_others_at_once() {
        tokio::join!(left(false), left(true));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_who_slept_longer_than_its_lease_neither_keeps_nor_loses_anything() {
        tokio::join!(slept(false), slept(true));
    }

    /// Whoever ends when nothing is left must not take what the dead hold for what the living do.
    async fn doubted(stream: bool) {
        let keys = Keys::new();
        filled(&keys, stream, 20).await;
        let first = start(&keys, stream, &LONG).await;
        first.holds(20).await;
        let second = start(&keys, stream, &LONG).await;
        second.is_empty().await;
        drop(first);
        let third = start(&keys, stream, &LONG).await;
        third.ready(200).await;
        until("a backlog", async || {
            let list = third.list().await?;
            (list["items"].as_array()?.is_empty() && list["metadata"]["backlog"] == 20).then_some(())
        })
        .await;
        until("doubts of one who saw it live", async || {
            (second.list().await?["metadata"]["backlog"] == 20).then_some(())
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_one_holds_who_is_not_seen_to_live_counts_as_left() {
        tokio::join!(doubted(false), doubted(true));
    }

    async fn back(stream: bool) {
        let keys = Keys::new();
        filled(&keys, stream, 20).await;
        let flags = [&LONG[..], &["--consumer", "me"]].concat();
        let first = start(&keys, stream, &flags).await;
        let before = first.holds(20).await;
        drop(first);
        // It never looks again, and finds the rest of what is its own all the same.
        let mut rarely = Command::new(PROGRAM);
        rarely.env("LONGSHORE_URL", keys.redis.url()).args([
            "--lease",
            "1h",
            "--window",
            "5",
            "--poll",
            "1h",
            "--consumer",
            "me",
        ]);
        match stream {
            true => rarely.args(["--stream", &keys.name, "--group", "media"]),
            false => rarely.args(["--list", &keys.name]),
        };
        let second = Ambassador::start(rarely).await;
        let mut settled = Vec::new();
        until("all of its own", async || {
            for name in second.names().await? {
                assert_eq!(second.settle(&name).await, Some(204));
                settled.push(name);
            }
            (settled == before).then_some(())
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_whose_name_stays_has_at_once_what_it_held() {
        tokio::join!(back(false), back(true));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_two_of_one_name_the_earlier_turns_red_and_names_it() {
        let keys = Keys::new();
        filled(&keys, false, 20).await;
        let first = start(&keys, false, &[&LONG[..], &["--consumer", "twin"]].concat()).await;
        let names = first.holds(20).await;
        let mut second = start(&keys, false, &[&LONG[..], &["--consumer", "twin"]].concat()).await;
        assert_eq!(second.holds(20).await, names);
        first.is_red("--consumer twin").await;
        second.terminate().await;
        assert_eq!(first.holds(20).await, names, "once the other is gone");
        drained(&first, &keys, false).await;
    }
}
