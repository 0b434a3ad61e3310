//! The command line, and a machine without ffmpeg: nothing here needs one.

use std::process::{Command, Output};

use contract::exit;

use crate::support::Bench;

fn run(flags: &[&str]) -> (Option<i32>, String, String) {
    let program = env!("CARGO_BIN_EXE_ffmpeg-worker");
    let Output { status, stdout, stderr } = Command::new(program).args(flags).output().expect("the program starts");
    (status.code(), String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn wrong_usage_is_64_and_names_the_flag() {
    for (flags, says) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["--every", "0"], "from 1 on"),
        (&["--every", "some"], "--every"),
        (&["--format", "gif"], "jpg"),
        (&["--timeout", "0s"], "longer than nothing"),
        (&["--ffprobe-timeout", "10"], "write 30s"),
    ] {
        let (code, _, error) = run(&[&["thumbnails", "--output", "/o/{key}"], flags].concat());
        assert_eq!(code, Some(i32::from(exit::USAGE)), "{flags:?}: {error}");
        assert!(error.contains(says) && error.contains(flags[0]), "{flags:?}: {error}");
    }
    assert_eq!(run(&["thumbnail"]).0, Some(i32::from(exit::USAGE)));
    let (code, _, error) = run(&["thumbnails"]);
    assert_eq!((code, error.contains("--output")), (Some(i32::from(exit::USAGE)), true), "{error}");
}

#[test]
fn help_ends_with_examples() {
    for verb in ["thumbnails", "scene", "contact-sheet", "transcode", "args"] {
        let (code, help, _) = run(&[verb, "--help"]);
        let examples = help.split_once("Examples:").map(|(_, examples)| examples);
        let shown = examples.is_some_and(|text| text.contains(&format!("ffmpeg-worker {verb} ")));
        assert_eq!((code, shown), (Some(0), true), "{help}");
    }
    let (code, help, _) = run(&["--help"]);
    assert!(code == Some(0) && help.contains("Examples:"), "{help}");
}

#[test]
fn without_ffmpeg_it_says_where_to_get_it() {
    let bench = Bench::new();
    std::fs::write(bench.video("a.mp4"), "no matter what").expect("write");
    for verb in ["thumbnails", "scene", "contact-sheet", "transcode"] {
        let report = bench.verb(verb, "a.mp4", &["--ffprobe", "/nonexistent/tool"]).expect(exit::NOT_FOUND).report;
        assert!(report.message.contains("/nonexistent/tool"), "{}", report.message);
        assert!(report.message.contains("apt-get install ffmpeg"), "{}", report.message);
    }
    bench.run("a.mp4", &["--ffprobe", "/dev/null"]).expect(exit::NOT_EXECUTABLE);
    bench.assert_nothing_published("a.mp4");

    let flags =
        ["thumbnails", "--check", "--ffmpeg", "no-such-ffmpeg", "--ffprobe", "/nonexistent/ffprobe", "--output"];
    let (code, _, error) = run(&[&flags[..], &[bench.video("out/{key}").to_str().expect("is UTF-8")]].concat());
    assert_eq!(code, Some(i32::from(exit::NOT_FOUND)), "{error}");
    for says in ["no-such-ffmpeg", "/nonexistent/ffprobe"] {
        assert!(error.contains(says), "{says}: {error}");
    }
}
