//! On a mount of a server that hangs, fails, lies about the time, and is back.

use std::time::Duration;

use fuser::Errno;

use super::{Mounted, Op, Server};
use crate::ambassador::{Ambassador, Answer, until};

/// Scans all the time, and lists what rested for a moment.
const QUICK: [&str; 4] = ["--stable-for", "300ms", "--rescan", "50ms"];

/// A folder of these files, each with its own path in it, mounted and listed.
async fn listed(files: &[&str], flags: &[&str]) -> (Server, Mounted, Vec<String>) {
    let server = Server::default();
    for file in files {
        server.write(file, file.as_bytes());
    }
    let mounted = server.mount(&[&QUICK[..], flags].concat()).await;
    let names = mounted.ambassador.listed(files.len()).await;
    until("a complete list", async || mounted.ambassador.is_complete().await.then_some(())).await;
    (server, mounted, names)
}

/// Waits until readiness is red for this reason; liveness is not.
async fn red(ambassador: &Ambassador, why: &str) {
    until(why, async || {
        let ready = ambassador.probe("/readyz").await;
        (ready.status == 503 && ready.text.contains(why)).then_some(())
    })
    .await;
    assert_eq!(ambassador.probe("/livez").await.status, 200, "a restart would not help");
}

async fn version(ambassador: &Ambassador) -> serde_json::Value {
    ambassador.list().await.json()["metadata"]["resourceVersion"].take()
}

async fn get(ambassador: &Ambassador, name: &str) -> Answer {
    ambassador.ask("GET", &format!("/v1/items/{name}")).await
}

/// How many threads the ambassador has.
fn threads(ambassador: &Ambassador) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", ambassador.pid())).expect("a process").count()
}

/// A file that grows whenever it was looked at so often, by a server whose clock is ahead by so many seconds and whose
/// clients may believe for so many what they were told.
async fn grows_unlisted(every: u32, looks: u32, skew: i64, cached: u64) {
    let server = Server::default();
    server.skew(skew);
    server.cache(Duration::from_secs(cached));
    server.write("grows.mp4", b"");
    server.grow("grows.mp4", every);
    // It must not seem to rest while the machine stands still.
    let mounted = server.mount(&["--stable-for", "10s", "--rescan", "20ms"]).await;
    let ambassador = &mounted.ambassador;
    let what = format!("grows at look {every}, clock {skew} s, cache {cached} s");
    until(&what, async || {
        assert!(ambassador.names().await.is_empty(), "listed half-written: {what}");
        (server.looks() >= looks).then_some(())
    })
    .await;
    assert!(ambassador.why("grows.mp4").await.expect("it is withheld").1, "it will come: {what}");
    let whole = server.stop_growing();
    ambassador.named("grows.mp4").await;
    assert_eq!(ambassador.items().await[0].1["size"], whole, "{what}");
}

#[tokio::test]
async fn what_grows_is_not_listed_whatever_a_cache_remembers_and_whatever_the_server_takes_for_now() {
    tokio::join!(
        // Between two looks at it; and more slowly than it is looked at, but more often than every --stable-for.
        grows_unlisted(1, 20, 0, 0),
        grows_unlisted(7, 60, 0, 0),
        grows_unlisted(7, 60, 18_000, 0),
        grows_unlisted(7, 60, -18_000, 0),
        grows_unlisted(1, 3, 0, 3600),
        grows_unlisted(1, 3, -18_000, 3600),
    );
}

#[tokio::test]
async fn times_before_and_after_now_are_versions_like_any_other() {
    let server = Server::default();
    let times = [("1960.mp4", -300_000_000), ("1970.mp4", 0), ("2024.mp4", 1_700_000_000), ("2100.mp4", 4_102_444_800)];
    for (path, seconds) in times {
        server.write(path, b"x");
        server.touch(path, seconds);
    }
    let mounted = server.mount(&QUICK).await;
    let ambassador = &mounted.ambassador;
    ambassador.listed(times.len()).await;
    // Back in time is another version too, and the first one again when it is back.
    let first = ambassador.named("2024.mp4").await;
    server.touch("2024.mp4", 1_600_000_000);
    until("the first version gone", async || (get(ambassador, &first).await.status == 410).then_some(())).await;
    let second = until("the second", async || {
        let items = ambassador.items().await;
        items.into_iter().find(|(_, data)| data["etag"] == "1-1600000000000000000").map(|(name, _)| name)
    })
    .await;
    assert_ne!(first, second);
    server.touch("2024.mp4", 1_700_000_000);
    until("the first again", async || ambassador.names().await.contains(&first).then_some(())).await;
    assert_eq!(ambassador.listed(times.len()).await.iter().filter(|name| name.starts_with("2024-mp4")).count(), 1);
}

#[tokio::test]
async fn what_changed_behind_a_cache_is_gone_when_it_is_asked_for() {
    let server = Server::default();
    server.cache(Duration::from_secs(3600));
    server.write("a.mp4", b"first");
    let mounted = server.mount(&QUICK).await;
    let ambassador = &mounted.ambassador;
    let first = ambassador.named("a.mp4").await;
    server.write("a.mp4", b"second");
    assert_eq!(get(ambassador, &first).await.status, 410, "the server is asked, not the cache");
    let second = ambassador.named("a.mp4").await;
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_part_that_cannot_be_seen_is_said_to_be_so_and_loses_nothing() {
    let files = ["b.mp4", "d/1.mp4", "d/2.mp4", "d/e/3.mp4", "z.mp4"];
    let (server, mounted, names) = listed(&files, &[]).await;
    let ambassador = &mounted.ambassador;
    let before = version(ambassador).await;
    for error in [Errno::ESTALE, Errno::EIO, Errno::EACCES, Errno::ENOMEM, Errno::ETIMEDOUT] {
        for op in [Op::List, Op::Look] {
            server.fail(op, "d", error);
            until(&format!("{op:?} {error:?} told"), async || {
                assert_eq!(ambassador.list().await.status, 200);
                (!ambassador.is_complete().await).then_some(())
            })
            .await;
            assert!(!ambassador.withheld("d/", "unreadable").await);
            let scans = ambassador.scans().await;
            until("two more scans", async || (ambassador.scans().await >= scans + 2).then_some(())).await;
            assert_eq!(ambassador.names().await, names, "not to see is not to know: {op:?} {error:?}");
            assert_eq!(ambassador.probe("/readyz").await.status, 200, "the rest is served");
            server.heal();
            until("a complete list", async || ambassador.is_complete().await.then_some(())).await;
        }
    }
    assert_eq!(version(ambassador).await, before, "nothing went and nothing came");
}

#[tokio::test]
async fn what_lies_in_a_directory_is_not_forgotten_when_not_even_its_kind_can_be_seen() {
    let (server, mounted, names) = listed(&["b.mp4", "d/1.mp4", "d/e/2.mp4"], &[]).await;
    let ambassador = &mounted.ambassador;
    server.fail(Op::Look, "d", Errno::EIO);
    server.hide_kind("d");
    assert!(!ambassador.withheld("d", "unreadable").await);
    let scans = ambassador.scans().await;
    until("two more scans", async || (ambassador.scans().await >= scans + 2).then_some(())).await;
    assert_eq!(ambassador.names().await, names);
    server.heal();
    until("a complete list", async || ambassador.is_complete().await.then_some(())).await;
    assert_eq!(ambassador.names().await, names);
}

#[tokio::test]
async fn a_directory_that_fails_half_way_through_keeps_what_was_listed() {
    let files: Vec<String> = (10..60).map(|n| format!("d/{n}.mp4")).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let (server, mounted, names) = listed(&files, &[]).await;
    let ambassador = &mounted.ambassador;
    // Also when it says of itself that it is not there, and is.
    for error in [Errno::ENOENT, Errno::EIO] {
        server.heal();
        server.fail(Op::ListOn, "d", error);
        assert!(!ambassador.withheld("d/", "unreadable").await);
        let scans = ambassador.scans().await;
        until("two more scans", async || (ambassador.scans().await >= scans + 2).then_some(())).await;
        assert_eq!(ambassador.names().await, names);
        assert!(!ambassador.is_complete().await);
    }
    // Of the part that is seen, what comes and goes is still told.
    server.remove("d/10.mp4");
    server.write("d/00.mp4", b"new");
    ambassador.named("d/00.mp4").await;
    server.heal();
    until("a complete list", async || ambassador.is_complete().await.then_some(())).await;
    assert_eq!(ambassador.listed(files.len()).await.iter().filter(|name| names.contains(name)).count(), 49);
}

#[tokio::test]
async fn a_file_that_fails_is_withheld_until_it_was_seen_and_listed_as_long_as_it_may_be_there() {
    let (server, mounted, names) = listed(&["a.mp4", "b.mp4"], &[]).await;
    let ambassador = &mounted.ambassador;
    for error in [Errno::ESTALE, Errno::EIO] {
        server.fail(Op::Look, "a.mp4", error);
        server.fail(Op::Open, "new.mp4", error);
        server.write("new.mp4", b"x");
        assert!(!ambassador.withheld("new.mp4", "unreadable").await);
        assert_eq!(ambassador.names().await, names, "{error:?}");
        assert!(!ambassador.is_complete().await);
        assert_eq!(get(ambassador, &names[0]).await.status, 503, "it may be there");
        server.heal();
        ambassador.named("new.mp4").await;
        server.remove("new.mp4");
        ambassador.listed(2).await;
        until("a complete list", async || ambassador.is_complete().await.then_some(())).await;
    }
}

#[tokio::test]
async fn a_root_that_fails_is_lost_and_nothing_in_it_is() {
    let files: Vec<String> = (10..40).map(|n| format!("{n}.mp4")).chain(["d/b.mp4".into()]).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let (server, mounted, names) = listed(&files, &[]).await;
    let ambassador = &mounted.ambassador;
    let before = version(ambassador).await;
    // In the middle of its entries too.
    server.fail(Op::ListOn, "", Errno::EIO);
    red(ambassador, "cannot be read").await;
    server.heal();
    assert_eq!(ambassador.listed(files.len()).await, names);
    for (error, why) in [
        (Errno::ESTALE, "Stale file handle"),
        (Errno::EIO, "cannot be read"),
        (Errno::EACCES, "may not be read"),
        (Errno::ENOTCONN, "cannot be read"),
    ] {
        for op in [Op::List, Op::Look] {
            server.fail(op, "", error);
            red(ambassador, why).await;
            let refused = ambassador.list().await;
            assert!(refused.status == 503 && refused.retry_after, "{error:?}: {}", refused.text);
            assert_eq!(get(ambassador, &names[0]).await.status, 503);
            server.heal();
            assert_eq!(ambassador.listed(files.len()).await, names, "{op:?} {error:?}");
        }
    }
    assert!(ambassador.is_complete().await);
    assert_eq!(version(ambassador).await, before, "nothing went and nothing came");
}

#[tokio::test]
async fn a_server_that_hangs_is_told_at_once_and_the_last_list_stands_as_long_as_it_was_told_to() {
    let server = Server::default();
    for file in ["a.mp4", "d/b.mp4"] {
        server.write(file, b"x");
    }
    let flags = |max_stale| {
        let flags =
            ["--stall-after", "500ms", "--on-settle", "delete", "--request-timeout", "1s", "--max-stale", max_stale];
        [&QUICK[..], &flags].concat()
    };
    let (long, short) = (server.mount(&flags("1h")).await, server.mount(&flags("1s")).await);
    let names = long.ambassador.listed(2).await;
    short.ambassador.listed(2).await;
    let busy = threads(&long.ambassador);
    server.hang(Op::List, "d");
    red(&long.ambassador, "not answered").await;
    red(&short.ambassador, "not answered").await;
    until("the last list to be too old", async || (short.ambassador.list().await.status == 503).then_some(())).await;
    assert_eq!(long.ambassador.names().await, names);
    assert_eq!(server.held(), 2, "a scan that hangs is not followed by another");
    // Nobody who asks hangs with it.
    for op in [Op::Look, Op::List, Op::Open, Op::Change] {
        server.hang(op, "");
    }
    for ambassador in [&long.ambassador, &short.ambassador] {
        let gets = (0..100).map(|n| get(ambassador, &names[n % 2]));
        for answer in futures_util::future::join_all(gets).await {
            assert!([503, 504].contains(&answer.status), "{}", answer.text);
        }
        assert!([503, 504].contains(&ambassador.settle(&names[0]).await.status));
        assert_eq!(ambassador.probe("/livez").await.status, 200);
    }
    assert_eq!(long.ambassador.names().await, names);
    assert!(threads(&long.ambassador) <= busy + 40, "threads: {busy} and now {}", threads(&long.ambassador));
    server.write("d/c.mp4", b"written meanwhile, by others");
    server.remove("a.mp4");
    server.heal();
    for ambassador in [&long.ambassador, &short.ambassador] {
        until("ready", async || (ambassador.probe("/readyz").await.status == 200).then_some(())).await;
        ambassador.named("d/c.mp4").await;
        let now = ambassador.listed(2).await;
        assert_eq!(now[0], names[1], "it answers again, and nothing was lost");
    }
}

#[tokio::test]
async fn a_server_that_hangs_between_two_scans_is_noticed_by_whoever_asks() {
    let server = Server::default();
    server.write("a.mp4", b"x");
    let mounted = server.mount(&["--stable-for", "0s", "--rescan", "1h", "--stall-after", "500ms"]).await;
    let ambassador = &mounted.ambassador;
    let name = ambassador.named("a.mp4").await;
    server.hang(Op::Look, "");
    server.hang(Op::List, "");
    assert_eq!(get(ambassador, &name).await.status, 503);
    red(ambassador, "not answered").await;
    server.heal();
    until("ready", async || (ambassador.probe("/readyz").await.status == 200).then_some(())).await;
    assert_eq!(ambassador.listed(1).await, [name]);
}

#[tokio::test]
async fn until_the_first_scan_is_over_there_is_no_list_and_no_empty_one() {
    // Whether the first scan hangs in the middle, or the very first look at the root does.
    for (op, path) in [(Op::List, "d"), (Op::Look, "")] {
        let server = Server::default();
        server.write("a.mp4", b"x");
        server.write("d/b.mp4", b"x");
        server.hang(op, path);
        let mounted = server.mount(&QUICK).await;
        let ambassador = &mounted.ambassador;
        until("it hanging", async || (server.held() > 0).then_some(())).await;
        let refused = ambassador.list().await;
        assert!(refused.status == 503 && refused.retry_after, "{}", refused.text);
        assert_eq!(get(ambassador, "a").await.status, 503, "not to know is not to deny");
        assert_eq!((ambassador.probe("/readyz").await.status, ambassador.probe("/livez").await.status), (503, 200));
        server.heal();
        // The first list there is has been read to the end.
        let list =
            until("a list", async || Some(ambassador.list().await).filter(|list| list.status != 503)).await.json();
        assert_eq!(list["metadata"]["complete"], true, "{list}");
        ambassador.listed(2).await;
    }
}

#[tokio::test]
async fn one_file_that_hangs_leaves_the_others_their_turns() {
    let (server, mounted, names) = listed(&["a.mp4", "b.mp4"], &["--request-timeout", "1s"]).await;
    let ambassador = &mounted.ambassador;
    server.hang(Op::Open, "a.mp4");
    let asked = futures_util::future::join_all((0..100).map(|_| get(ambassador, &names[0]))).await;
    assert!(asked.iter().all(|answer| [503, 504].contains(&answer.status)), "ends by its deadline");
    // None of them is answered by the server still; and an answer that only came too late is asked for again.
    until("the other", async || (get(ambassador, &names[1]).await.status == 200).then_some(())).await;
    assert_eq!(ambassador.listed(2).await, names);
    assert_eq!(ambassador.probe("/readyz").await.status, 200, "the folder answers");
    server.heal();
    until("it there again", async || (get(ambassador, &names[0]).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn a_settle_that_hangs_or_fails_or_cannot_rename_without_replacing_loses_nothing() {
    let done = tempfile::tempdir().expect("a directory");
    let move_to = format!("move:{}", done.path().display());
    let flags = ["--on-settle", &move_to, "--request-timeout", "1s"];
    let (server, mounted, names) = listed(&["a.mp4", "b.mp4", "c.mp4"], &flags).await;
    let ambassador = &mounted.ambassador;
    let moved = || std::fs::read_dir(done.path()).expect("lists").count();
    // It fails while it is read, and goes back to its place under its name; whatever this file system knows of renames.
    for forget in [None, Some(Server::forget_noreplace as fn(&Server)), Some(Server::forget_links)] {
        forget.inspect(|forget| forget(&server));
        server.fail(Op::Read, "", Errno::EIO);
        until("it failing", async || match ambassador.settle(&names[0]).await.status {
            503 => Some(()),
            // It was too late for who asked.
            other => {
                assert_eq!(other, 504);
                None
            }
        })
        .await;
        server.heal();
        until("it listed", async || ambassador.names().await.contains(&names[0]).then_some(())).await;
        assert_eq!(server.files(), ["a.mp4", "b.mp4", "c.mp4"]);
    }
    // It hangs while it is read: whoever asked has an answer in time, and it is settled when the server is back.
    server.hang(Op::Read, "");
    assert_eq!(ambassador.settle(&names[1]).await.status, 504);
    // Who asks again is told that it is at it already; or, once a scan has missed the file, that it will be done.
    assert!([204, 503].contains(&ambassador.settle(&names[1]).await.status));
    server.heal();
    until("it settled", async || (!server.exists("b.mp4") && moved() == 1).then_some(())).await;
    for name in [&names[0], &names[1], &names[2]] {
        until("all settled", async || (ambassador.settle(name).await.status == 204).then_some(())).await;
    }
    until("nothing left", async || server.files().is_empty().then_some(())).await;
    ambassador.listed(0).await;
    assert_eq!(moved(), 3);
    assert_eq!(std::fs::read(done.path().join("b.mp4")).expect("read"), b"b.mp4");
}

/// What a scan has read already when it changes is only known of by its event; the server that hangs keeps the scan from
/// hearing of it until there are more events than the kernel keeps.
#[tokio::test]
async fn events_that_were_lost_during_a_scan_are_made_up_for_by_another() {
    let server = Server::default();
    server.write("there.mp4", b"x");
    // So much is still to be read behind what hangs that the events are met in the middle of the scan.
    for n in 0..1_100 {
        server.write(&format!("there/.{n}"), b"");
    }
    let root = tempfile::tempdir_in("/dev/shm").expect("a directory");
    std::fs::create_dir(root.path().join("slow")).expect("made");
    server.hang(Op::List, "");
    let mounted =
        server.mount_below(root, "slow", &["--stable-for", "0s", "--rescan", "1h", "--max-stale", "1h"]).await;
    let ambassador = &mounted.ambassador;
    until("the scan hanging", async || (server.held() > 0).then_some(())).await;
    let queued = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("read");
    let files = queued.trim().parse::<usize>().expect("a number") / 2;
    for n in 0..files {
        std::fs::write(mounted.dir.path().join(format!("{n}.mp4")), "x").expect("written");
    }
    server.heal();
    ambassador.listed(files + 1).await;
    assert_eq!(ambassador.log().matches("inotify lost events").count(), 1, "said once");
}

#[tokio::test]
async fn a_server_that_is_slow_is_not_taken_for_one_that_hangs() {
    const DIRECTORIES: usize = 240;
    let server = Server::default();
    for n in 0..DIRECTORIES {
        server.mkdir(&n.to_string());
    }
    server.write("a.mp4", b"x");
    for _ in 0..10 {
        server.slow(Duration::from_millis(5));
        let mounted = server.mount(&["--stable-for", "0s", "--rescan", "100ms", "--stall-after", "3s"]).await;
        let ambassador = &mounted.ambassador;
        until("a scan", async || (ambassador.scans().await >= 1).then_some(())).await;
        let metrics = ambassador.probe("/metrics").await.text;
        let took = metrics.lines().find_map(|line| line.strip_prefix("longshore_files_scan_seconds_sum "));
        let took = took.expect("a sum").parse::<f64>().expect("a number");
        assert!(took > 4.0, "a scan has to take longer than --stall-after: {took}");
        let (log, longest) = (ambassador.log(), server.longest());
        server.slow(Duration::ZERO);
        if !log.contains("not answered") {
            return;
        }
        // A machine that stands still is a server that hangs: then once more.
        assert!(longest > Duration::from_secs(1), "every answer came within {longest:?}: {log}");
    }
    panic!("the machine stands still all the time");
}
