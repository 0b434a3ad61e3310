//! Stores that are slow, stopped, dead or in a bad mood, and workers that are told to stop meanwhile.

use std::time::Duration;

use contract::Report;
use rustix::process::Signal;
use test_servers::{Proxy, S3Server, Seen, Server, Spoil};
use tokio::sync::watch;

use super::remote::{COPY, MODES, Remote};
use crate::world::{Running, until};

/// Enough for several parts of an upload and several ranges of a download.
const LARGE: usize = 24 * 1024 * 1024;

pub(super) fn proxy(server: &S3Server) -> Proxy {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(Proxy::before(&server.url()))
}

impl Remote {
    /// From now on its workers go through the proxy.
    pub(super) fn through(mut self, proxy: &Proxy) -> Self {
        self.lead_to(&proxy.url());
        self
    }
}

fn is_report(seen: &Seen) -> bool {
    seen.method == "PUT" && seen.path.ends_with("/report.json")
}

/// Something of the output, as it is uploaded.
pub(super) fn is_output(seen: &Seen) -> bool {
    matches!(seen.method.as_str(), "PUT" | "POST") && seen.path.contains("/out/")
}

pub(super) fn is_input(seen: &Seen) -> bool {
    seen.method == "GET" && seen.path.contains("/in/")
}

#[test]
fn a_failed_attempt_leaves_its_report_and_never_under_final_keys() {
    for (server, mode) in [(S3Server::shared_minio(), "in-place"), (S3Server::shared_versity(), "attempts")] {
        let remote = Remote::on(server);
        let item = remote.item("d/a", "x");
        let body = r#"echo partial > "$OUTPUT_DIR/partial"; echo out; echo because >&2; exit 3"#;
        for number in ["1", "2"] {
            let failed = remote.worker(item.clone(), body).args(["--publish", mode]).env("ATTEMPT", number).run();
            let told = failed.expect(3, "CommandFailed");
            let kept = remote.bucket.get(&format!("out/d/a/_attempts/{number}/report.json")).expect("a report");
            let kept: Report = serde_json::from_slice(&kept).expect("it is whole");
            assert_eq!((kept.exit_code, kept.reason.as_str(), &kept.attempt), (3, "CommandFailed", &told.attempt));
            assert_eq!((kept.stdout_tail.as_str(), kept.stderr_tail.as_str()), ("out\n", "because\n"));
        }
        assert_eq!(remote.output_keys(), ["d/a/_attempts/1/report.json", "d/a/_attempts/2/report.json"]);
        remote.worker(item, COPY).args(["--publish", mode]).env("ATTEMPT", "3").run().expect(0, "Published");
        assert_eq!(remote.read("d/a", "copy"), "x");
        remote.assert_clean();
    }
}

#[test]
fn the_users_error_is_kept_whatever_becomes_of_the_report() {
    let server = S3Server::shared_minio();
    let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>".to_owned();
    let moods = [
        Spoil::Answer(403, denied),
        Spoil::Answer(503, "<Error><Code>SlowDown</Code></Error>".to_owned()),
        Spoil::ResetBefore,
        Spoil::Delay(Duration::from_secs(60)),
    ];
    std::thread::scope(|scope| {
        for mood in moods {
            scope.spawn(move || {
                let proxy = proxy(server);
                let spoil = mood.clone();
                proxy.spoil(move |seen| is_report(seen).then(|| spoil.clone()));
                let remote = Remote::on(server).through(&proxy);
                let ended = remote.worker(remote.item("a", "x"), "echo because >&2; exit 3").run();
                assert_eq!(ended.expect(3, "CommandFailed").stderr_tail, "because\n", "{mood:?}");
                assert!(ended.stderr.contains("cannot keep the report"), "{mood:?}: {}", ended.stderr);
                assert!(proxy.seen().iter().any(is_report), "it was tried");
                remote.assert_clean();
            });
        }
    });
}

#[test]
fn a_key_that_a_command_prints_is_kept_nowhere() {
    let server = S3Server::shared_minio();
    let remote = Remote::on(server);
    let worker = remote.worker(remote.item("a", "x"), "env; env | grep SECRET_ACCESS >&2; exit 3");
    let ended = worker.run();
    let told = ended.expect(3, "CommandFailed");
    assert_eq!(told.stderr_tail, "AWS_SECRET_ACCESS_KEY=***\n", "commands may ask stores themselves");
    let kept = remote.bucket.get("out/a/_attempts/1/report.json").expect("a report");
    let termination = std::fs::read(remote.world.path("termination")).expect("a termination message");
    let reported = serde_json::to_vec(told).expect("it is JSON");
    for text in [kept, termination, reported] {
        let text = String::from_utf8(text).expect("it is text");
        assert!(!text.contains(server.secret_key()), "{text}");
    }
    let denied = remote.worker(remote.item("b", "x"), "env >&2; exit 3");
    let denied = denied.args(["--env-deny", "AWS_SECRET_ACCESS_KEY"]).run();
    assert!(!denied.expect(3, "CommandFailed").stderr_tail.contains("SECRET_ACCESS"), "{}", denied.stderr);
    assert!(remote.bucket.get("out/b/_attempts/1/report.json").is_some(), "the worker itself has the key");
}

#[test]
fn a_command_that_is_stopped_leaves_a_report_too() {
    let remote = Remote::on_minio();
    let body = format!("touch {}/runs; sleep 100", remote.world.root().display());
    let worker = remote.worker(remote.item("a", "x"), &body).start();
    until("the script runs", || remote.world.path("runs").exists());
    worker.signal(Signal::TERM);
    worker.wait().expect(143, "Cancelled");
    assert_eq!(remote.output_keys(), ["a/_attempts/1/report.json"]);
    remote.assert_clean();
}

/// Holds the nth request of a kind back, until told otherwise.
fn hold(proxy: &Proxy, kind: fn(&Seen) -> bool, nth: usize) -> watch::Sender<bool> {
    let (go, gone) = watch::channel(false);
    let count = std::sync::atomic::AtomicUsize::new(0);
    proxy.spoil(move |seen| {
        let is_it = kind(seen) && count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1 >= nth;
        is_it.then(|| Spoil::Hold(gone.clone()))
    });
    go
}

fn count(proxy: &Proxy, kind: fn(&Seen) -> bool) -> usize {
    proxy.seen().iter().filter(|seen| kind(seen)).count()
}

#[test]
fn told_to_stop_while_it_fetches_a_worker_stops() {
    let server = S3Server::shared_minio();
    let proxy = proxy(server);
    let go = hold(&proxy, is_input, 2);
    let remote = Remote::on(server).through(&proxy);
    let item = remote.item("a", vec![7; LARGE]);
    // Longer than the test's own patience: it does not wait for the end of it.
    let worker = remote.worker(item, COPY).env("LONGSHORE_GRACE", "10min").start();
    until("it fetches", || count(&proxy, is_input) >= 2);
    worker.signal(Signal::TERM);
    worker.wait().expect(143, "Cancelled");
    drop(go);
    remote.assert_clean();
}

#[test]
fn told_to_stop_while_it_publishes_a_worker_ends_in_time_and_takes_its_uploads_back() {
    for mode in MODES {
        let server = S3Server::shared_minio();
        let proxy = proxy(server);
        let go = hold(&proxy, |seen| is_output(seen) && seen.query.contains("partNumber"), 2);
        let remote = Remote::on(server).through(&proxy);
        let item = remote.item("a", vec![7; LARGE]);
        let worker = remote.worker(item, COPY).args(["--publish", mode]).env("LONGSHORE_GRACE", "1s").start();
        until("it uploads", || count(&proxy, |seen| seen.query.contains("partNumber")) >= 2);
        worker.signal(Signal::TERM);
        worker.wait().expect(143, "Cancelled");
        assert!(remote.bucket.published("out/a").is_none());
        let keys = proxy.seen().into_iter().filter(is_output).map(|seen| key_of(&seen)).collect::<Vec<_>>();
        assert_eq!(remote.bucket.open_uploads(keys), Vec::<String>::new(), "uploads are left");
        drop(go);
        remote.world.assert_clean();
    }
}

/// The key of a request for an object.
pub(super) fn key_of(seen: &Seen) -> String {
    let key = seen.path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
    String::from_utf8(contract::item::decode_path(key)).expect("a key is UTF-8")
}

#[test]
fn told_to_stop_while_it_publishes_a_worker_that_has_time_finishes() {
    let server = S3Server::shared_minio();
    let proxy = proxy(server);
    let go = hold(&proxy, is_output, 2);
    let remote = Remote::on(server).through(&proxy);
    let worker = remote.worker(remote.item("a", "x"), COPY).env("LONGSHORE_GRACE", "10min").start();
    until("it uploads", || count(&proxy, is_output) >= 2);
    worker.signal(Signal::TERM);
    until("it has heard", || worker.logged("draining"));
    go.send(true).expect("the proxy listens");
    worker.wait().expect(0, "Published");
    remote.published("a");
    remote.assert_clean();
}

/// What befalls a server at which a worker is in the middle of something.
fn outlived(of: fn(&Seen) -> bool, befall: fn(&mut S3Server, &Proxy)) {
    let mut server = S3Server::minio();
    let proxy = proxy(&server);
    let remote = Remote::on(&server).through(&proxy);
    let content: Vec<u8> = (0..LARGE).map(|n| (n % 251) as u8).collect();
    let item = remote.item("a", content.clone());
    let (go, gone) = watch::channel(false);
    proxy.spoil(move |seen| of(seen).then(|| Spoil::Hold(gone.clone())));
    let worker = remote.worker(item, COPY).start();
    until("it is in the middle", || count(&proxy, of) >= 1);
    // What was held goes on and meets what has befallen.
    let released = std::thread::spawn(move || drop(go));
    befall(&mut server, &proxy);
    released.join().expect("it does");
    let ended = Running::wait(worker);
    ended.expect(0, "Published");
    let marker = remote.published("a");
    assert!(marker.outputs.iter().all(|output| output.size == LARGE as u64), "{marker:?}");
    remote.assert_clean();
}

/// For half a minute nobody answers and nobody refuses, so that only time tells that something is wrong.
fn pause(server: &mut S3Server, _: &Proxy) {
    server.pause();
    std::thread::sleep(Duration::from_secs(30));
    server.resume();
}

/// It comes back when the worker has been refused, has waited and asked again, several times.
fn kill(server: &mut S3Server, proxy: &Proxy) {
    server.kill();
    let before = proxy.seen().len();
    until("the worker has asked again and again", || proxy.seen().len() >= before + 8);
    server.restart();
}

#[test]
fn a_server_that_stops_for_half_a_minute_or_is_killed_and_comes_back_is_outlived() {
    std::thread::scope(|scope| {
        for of in [is_input, is_output] {
            scope.spawn(move || outlived(of, pause));
            scope.spawn(move || outlived(of, kill));
        }
    });
}

#[test]
fn a_commit_whose_reply_is_lost_is_a_commit() {
    for mode in MODES {
        let server = S3Server::shared_minio();
        let proxy = proxy(server);
        let remote = Remote::on(server).through(&proxy);
        let lost = std::sync::atomic::AtomicBool::new(false);
        proxy.spoil(move |seen| {
            let is_commit = seen.method == "PUT" && seen.path.ends_with("/_SUCCESS.json");
            (is_commit && !lost.swap(true, std::sync::atomic::Ordering::Relaxed)).then_some(Spoil::LoseReply)
        });
        let ended = remote.worker(remote.item("a", "x"), COPY).args(["--publish", mode]).run();
        ended.expect(0, "Published");
        assert_eq!(remote.published("a").attempt, ended.report().attempt);
        remote.assert_clean();
    }
}

#[test]
fn a_server_that_is_gone_is_69_when_patience_ends() {
    let remote = Remote::on_minio();
    let item = remote.item("a", "x");
    let nobody = format!("127.0.0.1:{}", test_servers::free_port());
    let worker = remote.worker(item, COPY).env("AWS_ENDPOINT_URL", format!("http://{nobody}"));
    let worker = worker.args(["--s3-patience", "3s"]);
    worker.run().expect_saying(69, "StorageUnavailable", &["out/", "given up"]);
    remote.world.assert_clean();
}

#[test]
fn a_worker_without_patience_asks_once() {
    let server = S3Server::shared_minio();
    let proxy = proxy(server);
    proxy.spoil(|_| Some(Spoil::ResetBefore));
    let remote = Remote::on(server).through(&proxy);
    let worker = remote.worker(remote.item("a", "x"), COPY).args(["--s3-patience", "1us"]);
    worker.run().expect(69, "StorageUnavailable");
    let mut asked: Vec<_> = proxy.seen().into_iter().map(|seen| (seen.method, seen.path, seen.query)).collect();
    let all = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), all, "something was asked again: {asked:?}");
}

#[test]
fn a_report_is_given_up_when_the_grace_period_is_over() {
    let server = S3Server::shared_minio();
    let proxy = proxy(server);
    let go = hold(&proxy, is_report, 1);
    let remote = Remote::on(server).through(&proxy);
    let body = format!("touch {}/runs; sleep 100", remote.world.root().display());
    let worker = remote.worker(remote.item("a", "x"), &body).env("LONGSHORE_GRACE", "1s").start();
    until("the script runs", || remote.world.path("runs").exists());
    worker.signal(Signal::TERM);
    let ended = worker.wait();
    ended.expect(143, "Cancelled");
    assert!(ended.stderr.contains("the grace period is over"), "{}", ended.stderr);
    drop(go);
}
