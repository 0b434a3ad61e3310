//! Stores that fail every so often, in every way they know, and stores that do less than they are asked.

use std::time::Duration;

use test_servers::{S3Server, Seen, Spoil};

use super::remote::{COPY, MODES, Remote};
use super::trouble::proxy;

/// Enough for several ranges of a download and several parts of an upload.
const LARGE: usize = 18 * 1024 * 1024;

/// Two of three requests meet the mood, whatever they are for, until so many have: then it is over.
fn moody(remote: &mut Remote, server: &S3Server, mood: Spoil) -> test_servers::Proxy {
    let proxy = proxy(server);
    proxy.spoil(move |seen| (seen.n % 3 != 0 && seen.n < 60).then(|| mood.clone()));
    remote.lead_to(&proxy.url());
    proxy
}

#[test]
fn a_store_in_a_bad_mood_is_outlived() {
    let server = S3Server::shared_minio();
    let slow_down = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    let moods = [
        Spoil::Answer(503, slow_down.to_owned()),
        Spoil::Answer(500, "<Error><Code>InternalError</Code><Message>We</Message></Error>".to_owned()),
        Spoil::ResetBefore,
        Spoil::ResetAfterBytes(1000),
        Spoil::TruncateAfter(1000),
        Spoil::LoseReply,
        Spoil::Delay(Duration::from_millis(200)),
    ];
    std::thread::scope(|scope| {
        for mood in moods {
            for mode in MODES {
                let mood = mood.clone();
                scope.spawn(move || {
                    let mut remote = Remote::on(server);
                    let content: Vec<u8> = (0..LARGE).map(|n| (n % 251) as u8).collect();
                    let item = remote.item("a", content);
                    let proxy = moody(&mut remote, server, mood.clone());
                    let script = r#"cp "$INPUT_FILE" "$OUTPUT_DIR/copy"; echo small > "$OUTPUT_DIR/small""#;
                    let ended = remote.worker(item, script).args(["--publish", mode]).run();
                    assert_eq!(ended.code, Some(0), "{mood:?} {mode}: {}", ended.stderr);
                    let marker = remote.published("a");
                    assert_eq!(
                        (marker.outputs.len(), &marker.attempt),
                        (2, &ended.report().attempt),
                        "{mood:?} {mode}"
                    );
                    let keys = proxy.seen().into_iter().map(|seen| super::trouble::key_of(&seen)).collect::<Vec<_>>();
                    assert_eq!(remote.bucket.open_uploads(keys), Vec::<String>::new(), "{mood:?} {mode}");
                    assert_eq!(remote.output_keys().len(), 3, "{mood:?} {mode}: {:?}", remote.output_keys());
                    remote.assert_clean();
                });
            }
        }
    });
}

#[test]
fn a_signed_url_of_a_store_in_a_bad_mood_is_read_and_written_all_the_same() {
    let server = S3Server::shared_minio();
    for mood in [Spoil::Answer(503, String::new()), Spoil::ResetAfterBytes(1000), Spoil::TruncateAfter(1000)] {
        let mut remote = Remote::on(server);
        remote.let_outputs_be_read();
        let _proxy = moody(&mut remote, server, mood.clone());
        let item = remote.signed_item("a", vec![7; LARGE], &["copy", "second"]);
        let ended = remote.keyless(&item, COPY).run();
        assert_eq!(ended.code, Some(0), "{mood:?}: {}", ended.stderr);
        assert_eq!(remote.read("a", "second").len(), LARGE, "{mood:?}");
        remote.assert_clean();
    }
}

#[test]
fn a_store_that_ignores_conditions_is_found_out_by_check_and_no_reader_is_deceived() {
    let server = S3Server::shared_minio();
    let proxy = proxy(server);
    let conditional = |seen: &Seen| seen.header("if-none-match").is_some();
    proxy.spoil(move |seen| conditional(seen).then_some(Spoil::DropHeader("if-none-match")));
    for mode in MODES {
        let remote = Remote::on(server).through(&proxy);
        let check = remote.worker(remote.world.path("none"), "true").args(["--check", "--publish", mode]).run();
        assert_eq!(check.code, Some(0), "{}", check.stderr);
        assert!(check.stderr.contains("ignores If-None-Match"), "{}", check.stderr);

        let item = remote.item("a", "x");
        let both: Vec<_> = [1, 2].map(|_| remote.worker(item.clone(), COPY).args(["--publish", mode]).start()).into();
        for one in both {
            let ended = one.wait();
            assert!(matches!(ended.code, Some(0 | 75)), "{:?} {}", ended.code, ended.stderr);
        }
        // Each may have met the other's objects under its names and have given way; whatever stands is as its marker says.
        remote.bucket.published("out/a");
        remote.worker(item, COPY).args(["--publish", mode]).run();
        assert_eq!(remote.read("a", "copy"), "x", "{mode}");
    }
}
