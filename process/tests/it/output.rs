//! Where output goes, and that nothing about it ends a child.

use std::time::Duration;

use process::{Exit, Output, Spec};
use tokio::sync::mpsc;

use crate::tools::{PATIENCE, count, shell, until};

#[tokio::test]
async fn a_hundred_megabytes_leave_their_tail_and_their_length() {
    let (spec, _) = shell("head -c 100000000 /dev/zero; printf 'the end\\377'");
    let ended = spec.stdout(Output::Tail { keep: 10 }).spawn().expect("starts").wait().await.expect("ends");
    assert_eq!(ended.stdout.bytes, b"\0\0the end\xff");
    assert_eq!((ended.stdout.total, ended.stdout.is_whole()), (100_000_008, false));
}

#[tokio::test]
async fn the_head_is_kept_and_what_exceeds_it_is_read_all_the_same() {
    for (script, bytes, total) in [("printf abc", &b"abc"[..], 3), ("printf abcdef", b"abcd", 6), ("", b"", 0)] {
        let (spec, _) = shell(script);
        let ended = spec.stdout(Output::Head { keep: 4 }).spawn().expect("starts").wait().await.expect("ends");
        assert_eq!((ended.exit, &ended.stdout.bytes[..], ended.stdout.total), (Exit::Code(0), bytes, total));
    }
}

#[tokio::test]
async fn both_streams_are_read_at_once() {
    let (spec, _) = shell("head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2");
    let ended = spec.stderr(Output::Head { keep: 1 }).spawn().expect("starts").wait().await.expect("ends");
    assert_eq!((ended.stdout.total, ended.stderr.total), (1_000_000, 2_000_000));
}

#[tokio::test]
async fn lines_come_whole_and_one_by_one_and_the_last_needs_no_newline() {
    let (to, mut lines) = mpsc::channel(1);
    let (spec, _) = shell("printf 'a=1\\n\\n'; sleep 0.05; printf 'long'; sleep 0.05; printf 'er than ten\\nlast'");
    let child = spec.stdout(Output::Lines { to, longest: 10 }).spawn().expect("starts");
    let mut seen = Vec::new();
    while let Some(line) = lines.recv().await {
        seen.push(String::from_utf8(line).expect("text"));
    }
    assert_eq!(seen, ["a=1", "", "longer tha", "last"]);
    assert_eq!(child.wait().await.expect("ends").exit, Exit::Code(0));
}

#[tokio::test]
async fn a_parser_that_is_gone_does_not_end_the_child() {
    let (to, lines) = mpsc::channel(1);
    drop(lines);
    let (spec, _) = shell("yes | head -n 100000; echo $? >&2; exit 4");
    let spec = spec.stdout(Output::Lines { to, longest: 10 }).stderr(Output::Tail { keep: 10 });
    let ended = spec.spawn().expect("starts").wait().await.expect("ends");
    assert_eq!((ended.exit, &ended.stderr.bytes[..]), (Exit::Code(4), &b"0\n"[..]));
}

#[tokio::test]
async fn a_parser_that_hangs_does_not_hang_the_end() {
    let (to, _lines) = mpsc::channel(1);
    let (spec, _) = shell("yes | head -n 100");
    let child = spec.stdout(Output::Lines { to, longest: 10 }).spawn().expect("starts");
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("in time").expect("ends");
    assert_eq!(ended.exit, Exit::Code(0));
}

#[tokio::test]
async fn a_child_that_closes_its_output_lives_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let (closed, go) = (dir.path().join("closed"), dir.path().join("go"));
    let (spec, mark) =
        shell("echo last words; exec >&- 2>&-; : >$CLOSED; while ! test -e $GO; do sleep 0.01; done; exit 6");
    let spec = spec.env("CLOSED", &closed).env("GO", &go);
    let child = spec.stderr(Output::Tail { keep: 10 }).spawn().expect("starts");
    until("it has closed both", || closed.exists()).await;
    assert!(tokio::time::timeout(Duration::from_millis(100), child.wait()).await.is_err());
    assert!(count(&mark) >= 1, "it was ended");
    std::fs::write(&go, "").expect("written");
    let ended = child.wait().await.expect("ends");
    assert_eq!((ended.exit, &ended.stdout.bytes[..]), (Exit::Code(6), &b"last words\n"[..]));
}

#[tokio::test]
async fn files_are_written_without_us_and_stdin_is_what_was_given() {
    let dir = tempfile::tempdir().expect("a directory");
    let (from, to) = (dir.path().join("in"), dir.path().join("out"));
    std::fs::write(&from, b"\0binary\xff").expect("written");
    let spec = Spec::new("cat")
        .env("PATH", "/usr/bin:/bin")
        .stdin(std::fs::File::open(&from).expect("opens"))
        .stdout(Output::File(std::fs::File::create(&to).expect("made")));
    let ended = spec.spawn().expect("starts").wait().await.expect("ends");
    assert_eq!((ended.exit, ended.stdout.total), (Exit::Code(0), 0));
    assert_eq!(std::fs::read(&to).expect("reads"), b"\0binary\xff");
    let (spec, _) = shell("cat; echo end");
    assert_eq!(spec.spawn().expect("starts").wait().await.expect("ends").stdout.bytes, b"end\n");
}
