//! The operator's own arguments.

use contract::exit;

use crate::support::{Bench, H264, ffmpeg, numbered, stream_facts};

#[test]
fn ffmpeg_runs_as_the_operator_writes_it() {
    let bench = Bench::new();
    numbered(&bench.video("a.mp4"), 50, &H264);
    let words =
        ["--", "-ss", "1", "-i", "{input}", "-c", "copy", "{output}/clip.mkv", "-vf", "scale=32:-1", "small.webm"];
    bench.verb("args", "a.mp4", &words).expect(exit::OK);
    assert_eq!(stream_facts(&bench.results("a.mp4").join("clip.mkv")), "h264,320,64");
    assert_eq!(stream_facts(&bench.results("a.mp4").join("small.webm")), "vp9,32,6");
    assert_eq!(bench.result("a.mp4")["files"], 2);
    assert_eq!(bench.marker("a.mp4").outputs.len(), 2);
}

#[test]
fn a_name_is_a_name_whatever_it_looks_like() {
    let bench = Bench::new();
    for name in ["-y.mp4", "{output}.mp4", "{input}", "%03d.mp4", "concat:a|b.mp4", "subfile,,start,0,end,9,,:x.mp4"] {
        numbered(&bench.video("plain.mp4"), 5, &H264);
        std::fs::rename(bench.video("plain.mp4"), bench.video(name)).expect("rename");
        bench.verb("args", name, &["--", "-i", "{input}", "-c", "copy", "out.mkv"]).expect(exit::OK);
        assert_eq!(stream_facts(&bench.results(name).join("out.mkv")), "h264,320,64", "{name}");
    }
}

#[test]
fn the_operators_own_inputs_are_no_items() {
    let bench = Bench::new();
    numbered(&bench.video("a.mp4"), 5, &H264);
    let logo = bench.video("logo.png");
    let logo = logo.to_str().expect("is UTF-8");
    ffmpeg(["-f", "lavfi", "-i", "color=red:s=8x8:d=0.04", "-frames:v", "1", logo]);
    let words = ["--", "-i", logo, "-i", "{input}", "-filter_complex", "[1][0]overlay", "out.mp4"];
    bench.verb("args", "a.mp4", &words).expect(exit::OK);
}

#[test]
fn nothing_that_exists_is_overwritten() {
    let bench = Bench::new();
    numbered(&bench.video("a.mp4"), 5, &H264);
    let precious = bench.video("precious.mkv");
    std::fs::write(&precious, "precious").expect("write");
    let words = ["--", "-i", "{input}", "-c", "copy", precious.to_str().expect("is UTF-8")];
    bench.verb("args", "a.mp4", &words).expect(exit::CANT_CREATE);
    assert_eq!(std::fs::read(&precious).expect("is there"), b"precious");
}

#[test]
fn what_is_not_made_is_73_and_wrong_words_are_64() {
    let bench = Bench::new();
    numbered(&bench.video("a.mp4"), 5, &H264);
    bench.verb("args", "a.mp4", &["--", "-i", "{input}", "-f", "null", "-"]).expect(exit::CANT_CREATE);
    bench.assert_nothing_published("a.mp4");
    for words in
        [&["--", "-i", "x", "out.mkv"][..], &["--", "{input}", "out.mkv"], &["--", "-y", "-i", "{input}", "o.mkv"]]
    {
        let report = bench.verb("args", "a.mp4", words).expect(exit::USAGE).report;
        assert!(!report.message.is_empty());
    }
}

#[test]
fn damage_is_refused_unless_the_operator_judges_it() {
    let bench = Bench::new();
    numbered(&bench.video("a.mkv"), 250, &H264);
    let mut bytes = std::fs::read(bench.video("a.mkv")).expect("is there");
    bytes.truncate(bytes.len() * 7 / 10);
    std::fs::write(bench.video("a.mkv"), bytes).expect("write");
    bench.verb("args", "a.mkv", &["--", "-i", "{input}", "-vf", "scale=32:-2", "o.mkv"]).expect(exit::BAD_ITEM);
    let tolerant = ["--", "-err_detect", "ignore_err", "-i", "{input}", "-vf", "scale=32:-2", "o.mkv"];
    bench.verb("args", "a.mkv", &tolerant).expect(exit::OK);
}
