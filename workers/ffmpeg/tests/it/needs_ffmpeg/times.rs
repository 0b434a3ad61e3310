//! Timestamps that are below zero, far away, out of order or all but equal.

use contract::exit;

use crate::support::{Bench, H264, numbered};

/// What each subcommand makes of 50 numbered frames whose timestamps are `setpts`: the frames must all be there, and not one
/// more.
fn timed(setpts: &str, key: &str, more: &[&str]) {
    let bench = Bench::new();
    let filter = format!("setpts='{setpts}'");
    let codec = [&["-vf", &filter, "-fps_mode", "passthrough"], &H264[..], more].concat();
    numbered(&bench.video(key), 50, &codec);
    bench.run(key, &["--every", "10"]).expect(exit::OK);
    assert_eq!(bench.numbers(key), [0, 10, 20, 30, 40], "{setpts}");
    for verb in ["scene", "contact-sheet"] {
        bench.verb(verb, key, &["--revision", &verb.len().to_string()]).expect(exit::OK);
        assert_eq!(bench.result(key)["frames"], 50, "{verb} {setpts}");
    }
    // A gap of months may be cut short by ffmpeg, and is refused then; it is never filled with frames.
    let ran = bench.verb("transcode", key, &["--preset", "fast", "--revision", "20"]);
    match u8::try_from(ran.code) {
        Ok(exit::OK) => assert!(bench.result(key)["frames"].as_u64() <= Some(50), "{setpts}"),
        _ => assert!(ran.expect(exit::BAD_ITEM).report.message.contains("says that it lasts"), "{setpts}"),
    }
}

#[test]
fn below_zero() {
    timed("PTS-100/TB", "a.mkv", &["-avoid_negative_ts", "disabled"]);
}

#[test]
fn far_away() {
    timed("PTS+90000000/TB", "a.mkv", &[]);
}

#[test]
fn a_gap_of_months() {
    timed("if(gt(N,25),PTS+10000000/TB,PTS)", "a.mkv", &[]);
}

#[test]
fn an_hour_between_frames() {
    timed("N*3600/TB", "a.mp4", &[]);
}

#[test]
fn a_thousand_million_frames_a_second() {
    let fast = ["-enc_time_base", "1/1000000000", "-video_track_timescale", "1000000000"];
    timed("PTS/TB/40000000*TB", "a.mp4", &fast);
}
