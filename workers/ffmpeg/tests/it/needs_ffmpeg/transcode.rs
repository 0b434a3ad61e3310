//! The whole video anew.

use std::path::Path;

use contract::exit;

use crate::support::{Bench, H264, ffmpeg, numbered, stream_facts};

/// Two seconds of picture and sound, 320x180.
fn film(path: &Path, more: &[&str]) {
    let inputs = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=2", "-f", "lavfi", "-i", "sine=d=2"];
    let codecs = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac"];
    ffmpeg(inputs.iter().chain(&codecs).chain(more).chain([&path.to_str().expect("is UTF-8")]));
}

#[test]
fn every_codec_holds_the_whole_video() {
    let bench = Bench::new();
    for (codec, file, streams) in [
        ("h264", "video.mp4", "h264,160,90;aac"),
        ("h265", "video.mp4", "hevc,160,90;aac"),
        ("vp9", "video.webm", "vp9,160,90;opus"),
        ("av1", "video.webm", "av1,160,90;opus"),
    ] {
        let key = format!("{codec}.mp4");
        film(&bench.video(&key), &[]);
        bench.verb("transcode", &key, &["--codec", codec, "--preset", "fast", "--height", "90"]).expect(exit::OK);
        let made = bench.results(&key).join(file);
        assert_eq!(stream_facts(&made), streams);
        let result = bench.result(&key);
        assert_eq!((&result["frames"], &result["file"], &result["audio"]), (&50.into(), &file.into(), &true.into()));
        let lasts = result["duration"].as_f64().expect("a number");
        assert!((1.9..2.2).contains(&lasts), "{result}");
    }
}

#[test]
fn nothing_is_made_larger_and_sound_may_be_left_out() {
    let bench = Bench::new();
    film(&bench.video("a.mp4"), &[]);
    bench.verb("transcode", "a.mp4", &["--preset", "fast", "--height", "1080", "--audio", "none"]).expect(exit::OK);
    assert_eq!(stream_facts(&bench.results("a.mp4").join("video.mp4")), "h264,320,180");
}

#[test]
fn it_plays_before_it_is_loaded_and_tells_nothing_of_its_source() {
    let bench = Bench::new();
    film(&bench.video("a.mp4"), &["-metadata", "title=private matters", "-metadata", "location=+52.5+13.4/"]);
    bench.verb("transcode", "a.mp4", &["--preset", "fast"]).expect(exit::OK);
    let bytes = std::fs::read(bench.results("a.mp4").join("video.mp4")).expect("is there");
    let place = |word: &[u8]| bytes.windows(word.len()).position(|four| four == word);
    assert!(place(b"moov").expect("has an index") < place(b"mdat").expect("has data"));
    assert_eq!((place(b"private matters"), place(b"+52.5"), place(b"Lavf")), (None, None, None));
}

#[test]
fn the_same_video_gives_the_same_bytes() {
    let bench = Bench::new();
    film(&bench.video("a.mp4"), &[]);
    for codec in ["h264", "vp9"] {
        let flags = ["--codec", codec, "--preset", "fast", "--height", "90", "--threads", "2", "--revision"];
        let mut made = Vec::new();
        for revision in ["0", "1"] {
            let revision = format!("{}{revision}", codec.len());
            bench.verb("transcode", "a.mp4", &[&flags[..], &[revision.as_str()]].concat()).expect(exit::OK);
            made.push(bench.marker("a.mp4").outputs);
        }
        assert_eq!(made[0], made[1], "{codec}");
    }
}

#[test]
fn odd_sizes_become_even() {
    let bench = Bench::new();
    numbered(&bench.video("odd.mkv"), 5, &["-vf", "scale=321:65,setsar=1", "-c:v", "ffv1"]);
    bench.verb("transcode", "odd.mkv", &["--preset", "fast"]).expect(exit::OK);
    assert_eq!(stream_facts(&bench.results("odd.mkv").join("video.mp4")), "h264,322,66");
}

#[test]
fn a_video_that_is_shorter_than_it_says_is_refused() {
    let bench = Bench::new();
    let path = bench.video("lies.mkv");
    numbered(&path, 25, &H264);
    // The segment's duration in milliseconds, as a number of eight bytes.
    let mut bytes = std::fs::read(&path).expect("is there");
    let place = bytes.windows(3).position(|three| three == b"\x44\x89\x88").expect("has a duration") + 3;
    bytes[place..place + 8].copy_from_slice(&43_200_000_f64.to_be_bytes());
    std::fs::write(&path, bytes).expect("write");
    let report = bench.verb("transcode", "lies.mkv", &["--preset", "fast"]).expect(exit::BAD_ITEM).report;
    assert!(report.message.contains("says that it lasts 43200.0 s, and 1.0 s came out"), "{}", report.message);
    bench.assert_nothing_published("lies.mkv");
}

#[test]
fn sound_that_is_longer_than_the_picture_is_no_lie() {
    let bench = Bench::new();
    let inputs = ["-f", "lavfi", "-i", "testsrc2=s=64x36:r=25:d=1", "-f", "lavfi", "-i", "sine=d=30"];
    for key in ["long.mkv", "long.mp4"] {
        let path = bench.video(key);
        ffmpeg(inputs.into_iter().chain(["-c:v", "libx264", path.to_str().expect("is UTF-8")]));
        bench.verb("transcode", key, &["--preset", "fast", "--audio", "none"]).expect(exit::OK);
        bench.verb("transcode", key, &["--preset", "fast", "--revision", "1"]).expect(exit::OK);
    }
}

#[test]
fn what_an_encoder_does_not_take_is_not_called_damage() {
    let bench = Bench::new();
    numbered(&bench.video("tiny.mkv"), 5, &["-vf", "scale=8:8,setsar=1", "-c:v", "ffv1"]);
    let report = bench.verb("transcode", "tiny.mkv", &["--codec", "av1"]).expect(exit::BAD_ITEM).report;
    assert!(report.message.contains("cannot be made into what is asked for"), "{}", report.message);
    bench.verb("transcode", "tiny.mkv", &["--crf", "52"]).expect(exit::USAGE);
}
