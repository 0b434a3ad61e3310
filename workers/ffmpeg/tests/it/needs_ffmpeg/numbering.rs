//! Image k is frame N·k, whatever the codec, the container and the timestamps.

use contract::exit;

use crate::support::{Bench, H264, ffmpeg, numbered, numbers_from};

fn every_hundredth(key: &str, codec: &[&str]) {
    let bench = Bench::new();
    numbered(&bench.video(key), 250, codec);
    bench.run(key, &[]).expect(exit::OK);
    assert_eq!(bench.numbers(key), [0, 100, 200], "{key}");
    let result = bench.marker(key).result.expect("there is a result");
    assert_eq!((&result["frames"], &result["images"]), (&250.into(), &3.into()), "{result}");
}

#[test]
fn h264_with_b_frames() {
    every_hundredth("a.mp4", &H264);
}

#[test]
fn h264_in_fragments() {
    every_hundredth("a.mp4", &["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "frag_keyframe+empty_moov"]);
}

#[test]
fn mpeg4_with_b_frames() {
    every_hundredth("a.mp4", &["-c:v", "mpeg4", "-bf", "2", "-q:v", "3"]);
}

#[test]
fn hevc() {
    let quick = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p"];
    every_hundredth("a.mp4", &quick);
}

#[test]
fn vp9_in_webm() {
    every_hundredth(
        "a.webm",
        &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-pix_fmt", "yuv420p"],
    );
}

#[test]
fn mjpeg_in_avi() {
    every_hundredth("a.avi", &["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"]);
}

#[test]
fn h264_in_a_transport_stream() {
    every_hundredth("a.ts", &H264);
}

#[test]
fn ten_bits_and_full_chroma() {
    every_hundredth("a.mkv", &["-c:v", "ffv1", "-pix_fmt", "yuv444p10le"]);
}

#[test]
fn variable_frame_rate() {
    // Gaps and bursts, which a constant rate would fill with copies or thin out.
    let bench = Bench::new();
    let uneven = "setpts='(N+40*floor(N/30)-0.8*mod(N,30))/25/TB'";
    let codec = ["-vf", uneven, "-fps_mode", "passthrough", "-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p"];
    numbered(&bench.video("a.mkv"), 250, &codec);
    bench.run("a.mkv", &[]).expect(exit::OK);
    assert_eq!(bench.numbers("a.mkv"), [0, 100, 200]);
}

#[test]
fn a_picture_that_changes_its_size() {
    let bench = Bench::new();
    let (small, large, list) = (bench.video("small.ts"), bench.video("large.ts"), bench.video("list.txt"));
    numbered(&small, 150, &H264);
    let source = format!("{},scale=640:128:flags=neighbor", numbers_from(150));
    let head = ["-f", "lavfi", "-i", &source, "-frames:v", "150"];
    ffmpeg(head.into_iter().chain(H264).chain([large.to_str().expect("is UTF-8")]));
    std::fs::write(&list, "file small.ts\nfile large.ts\n").expect("write the list");
    let (list, joined) = (list.to_str().expect("is UTF-8"), bench.video("a.mkv"));
    ffmpeg(["-f", "concat", "-i", list, "-c", "copy", joined.to_str().expect("is UTF-8")]);

    bench.run("a.mkv", &["--every", "80"]).expect(exit::OK);
    assert_eq!(bench.numbers("a.mkv"), [0, 80, 160, 240], "counting must not begin anew with the size");
}

#[test]
fn the_edges_of_a_hundred() {
    let bench = Bench::new();
    for (frames, expected) in [(1, &[0][..]), (100, &[0]), (101, &[0, 100])] {
        let key = format!("{frames}.mp4");
        numbered(&bench.video(&key), frames, &H264);
        bench.run(&key, &[]).expect(exit::OK);
        assert_eq!(bench.numbers(&key), expected, "of {frames} frames");
    }
}

#[test]
fn every_single_frame() {
    let bench = Bench::new();
    numbered(&bench.video("a.mp4"), 12, &H264);
    bench.run("a.mp4", &["--every", "1"]).expect(exit::OK);
    assert_eq!(bench.numbers("a.mp4"), (0..12).collect::<Vec<_>>());
}
