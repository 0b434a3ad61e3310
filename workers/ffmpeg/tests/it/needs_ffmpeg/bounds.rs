//! Small files that ask for much: memory, disk, pixels and time end where they are told to.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use contract::exit;

use crate::support::{Bench, H264, ffmpeg, numbered};

const VERBS: [&str; 4] = ["thumbnails", "scene", "contact-sheet", "transcode"];

/// That each subcommand refuses this file, saying `why`.
#[track_caller]
fn refused(bench: &Bench, key: &str, flags: &[&str], why: &str) {
    for verb in VERBS {
        let report = bench.verb(verb, key, flags).expect(exit::BAD_ITEM).report;
        assert!(report.message.contains(key) && report.message.contains(why), "{verb}: {}", report.message);
        bench.assert_nothing_published(key);
    }
}

/// A GIF whose frames, 23 bytes each, are one pixel on a screen of this size.
fn gif(path: &Path, width: u16, height: u16, frames: usize) {
    let mut bytes = b"GIF89a".to_vec();
    bytes.extend([width.to_le_bytes(), height.to_le_bytes()].concat());
    bytes.extend(b"\x80\0\0\0\0\0\xff\xff\xff");
    let frame = b"\x21\xf9\x04\0\x01\0\0\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0";
    bytes.extend(frame.repeat(frames));
    bytes.push(b';');
    std::fs::write(path, bytes).expect("write the picture");
}

#[test]
fn a_picture_of_many_pixels_in_a_few_bytes() {
    let bench = Bench::new();
    gif(&bench.video("bomb.gif"), 65_535, 65_535, 3);
    refused(&bench, "bomb.gif", &[], "--max-pixels");
    gif(&bench.video("small.gif"), 100, 100, 3);
    refused(&bench, "small.gif", &["--max-pixels", "9999"], "--max-pixels");
    bench.run("small.gif", &["--max-pixels", "102400"]).expect(exit::OK);
}

#[test]
fn a_picture_that_grows_in_the_middle() {
    let bench = Bench::new();
    let (small, large) = (bench.video("small.ts"), bench.video("large.ts"));
    for (path, size) in [(&small, "64x64"), (&large, "1920x1080")] {
        let source = format!("testsrc2=s={size}:r=25:d=1");
        ffmpeg(["-f", "lavfi", "-i", &source].into_iter().chain(H264).chain([path.to_str().expect("is UTF-8")]));
    }
    std::fs::write(bench.video("list.txt"), "file small.ts\nfile large.ts\n").expect("write the list");
    let [list, joined] = [bench.video("list.txt"), bench.video("a.mkv")];
    let [list, joined] = [&list, &joined].map(|path| path.to_str().expect("is UTF-8"));
    ffmpeg(["-f", "concat", "-i", list, "-c", "copy", joined]);
    refused(&bench, "a.mkv", &["--max-pixels", "2000000"], "--max-pixels");
}

#[test]
fn shapes_that_no_image_can_have() {
    let bench = Bench::new();
    for (key, source) in [("strip.mkv", "color=s=2x16384:d=0.1"), ("needles.mkv", "color=s=64x64:d=0.1,setsar=1/4000")]
    {
        ffmpeg(["-f", "lavfi", "-i", source, "-c:v", "ffv1", bench.video(key).to_str().expect("is UTF-8")]);
    }
    for key in ["strip.mkv", "needles.mkv"] {
        for verb in ["thumbnails", "scene", "contact-sheet"] {
            let report = bench.verb(verb, key, &[]).expect(exit::BAD_ITEM).report;
            assert!(report.message.contains("more than can be made"), "{verb}: {}", report.message);
        }
    }
}

#[test]
fn the_smallest_videos() {
    let bench = Bench::new();
    numbered(&bench.video("one.mkv"), 1, &["-vf", "scale=1:1,setsar=1,format=bgr0", "-c:v", "ffv1"]);
    for verb in VERBS {
        bench.verb(verb, "one.mkv", &["--revision", &verb.len().to_string()]).expect(exit::OK);
        assert_eq!(bench.marker("one.mkv").outputs.len(), 1, "{verb}");
    }
}

#[test]
fn memory_ends_at_its_bound() {
    let bench = Bench::new();
    gif(&bench.video("large.gif"), 16_000, 8_000, 2);
    refused(&bench, "large.gif", &["--max-memory", "300MB", "--threads", "1"], "--max-memory");
}

#[test]
fn the_disk_ends_at_its_bound() {
    let bench = Bench::new();
    let noise = bench.video("noise.mp4");
    let source = "color=gray:s=256x256:r=25:d=2,noise=alls=100:allf=t";
    ffmpeg(["-f", "lavfi", "-i", source, "-c:v", "mpeg4", "-q:v", "2", noise.to_str().expect("is UTF-8")]);
    // One file, which the kernel ends; and many, which together are too much.
    for (verb, flags) in [("transcode", &["--crf", "0", "--preset", "fast"][..]), ("thumbnails", &["--every", "1"])] {
        let flags = [flags, &["--max-output", "100KB"]].concat();
        let report = bench.verb(verb, "noise.mp4", &flags).expect(exit::BAD_ITEM).report;
        assert!(report.message.contains("--max-output"), "{verb}: {}", report.message);
        bench.assert_nothing_published("noise.mp4");
    }
}

#[test]
fn a_million_images_end_at_the_bound() {
    let bench = Bench::new();
    gif(&bench.video("million.gif"), 16, 16, 1_000_000);
    let flags = ["--every", "1", "--max-images", "500", "--width", "16"];
    let report = bench.run("million.gif", &flags).expect(exit::BAD_ITEM).report;
    assert!(report.message.contains("500 images"), "{}", report.message);
    bench.assert_nothing_published("million.gif");
}

#[test]
fn frames_without_end_end_at_the_timeout() {
    let bench = Bench::new();
    gif(&bench.video("slow.gif"), 8_000, 8_000, 100_000);
    for verb in VERBS {
        bench.verb(verb, "slow.gif", &["--timeout", "1s", "--grace", "5s"]).expect(exit::TIMEOUT);
        bench.assert_nothing_published("slow.gif");
    }
}

#[test]
fn a_stream_that_never_ends() {
    let bench = Bench::new();
    numbered(&bench.video("a.ts"), 25, &H264);
    let second = std::fs::read(bench.video("a.ts")).expect("is there");
    // Behind a sound second, a terabyte of nothing; and the same second over and over.
    let mut file = File::create(bench.video("hole.ts")).expect("create");
    file.write_all(&second).expect("write");
    file.set_len(1 << 40).expect("the file system knows sparse files");
    bench.run("hole.ts", &["--timeout", "1s"]).expect(exit::TIMEOUT);
    std::fs::write(bench.video("loop.ts"), second.repeat(50)).expect("write");
    refused(&bench, "loop.ts", &["--timeout", "10m"], "damaged");
}

#[test]
fn sizes_and_lengths_that_are_not_there() {
    let bench = Bench::new();
    // An index of a terabyte, a chunk of four gigabytes, and a terabyte of zeros.
    let head = b"\0\0\0\x18ftypisom\0\0\0\0isommp42\0\0\0\x01moov\0\0\x01\0\0\0\0\0";
    std::fs::write(bench.video("claim.mp4"), head).expect("write");
    std::fs::write(bench.video("claim.avi"), b"RIFF\xff\xff\xff\xffAVI LIST\xff\xff\xff\xffhdrlavih\xff\xff\xff\xff")
        .expect("write");
    File::create(bench.video("zeros.mp4")).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    for key in ["claim.mp4", "claim.avi", "zeros.mp4"] {
        refused(&bench, key, &["--timeout", "10m"], "");
    }
}

#[test]
fn many_streams_and_much_metadata() {
    let bench = Bench::new();
    let mut words = vec!["-f", "lavfi", "-i", "testsrc2=s=16x16:r=25:d=0.2"];
    words.extend(["-map", "0:v"].repeat(500));
    let title = format!("title={}", "x".repeat(100_000));
    words.extend(["-c:v", "mpeg4", "-metadata", &title, "-metadata:s", &title]);
    let [path, font] = [bench.video("many.mkv"), bench.video("font.ttf")];
    std::fs::write(&font, vec![7; 8 << 20]).expect("write");
    words.extend(["-attach", font.to_str().expect("is UTF-8"), "-metadata:s:t", "mimetype=font/ttf"]);
    ffmpeg(words.into_iter().chain([path.to_str().expect("is UTF-8")]));
    let ran = bench.verb("transcode", "many.mkv", &["--preset", "fast"]).expect(exit::OK);
    assert!(bench.marker("many.mkv").outputs[0].size < 100_000, "neither attachments nor metadata are taken over");
    assert!(ran.stderr.len() < 10_000, "the log is not the file's: {} bytes", ran.stderr.len());
}
