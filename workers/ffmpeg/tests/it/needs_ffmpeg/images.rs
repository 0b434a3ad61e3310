//! What the images are like, and what is said of them.

use contract::{Outcome, exit};

use crate::support::{Bench, H264, ffmpeg, number_in, numbered, size_of};

fn pattern(bench: &Bench, key: &str, size: &str, more: &[&str]) {
    let source = format!("testsrc2=s={size}:r=25:d=0.2");
    let path = bench.video(key);
    let head = ["-f", "lavfi", "-i", &source].into_iter().chain(more.iter().copied());
    ffmpeg(head.chain([path.to_str().expect("is UTF-8")]));
}

/// Four by three, held sideways.
fn turned(bench: &Bench, key: &str) {
    pattern(bench, "straight.mp4", "320x240", &["-c:v", "mpeg4"]);
    let (straight, turned) = (bench.video("straight.mp4"), bench.video(key));
    let copy = ["-c", "copy", "-metadata:s:v", "rotate=90"];
    let [straight, turned] = [&straight, &turned].map(|path| path.to_str().expect("is UTF-8"));
    ffmpeg(["-i", straight].into_iter().chain(copy).chain([turned]));
}

#[test]
fn every_format_shows_the_frame() {
    let bench = Bench::new();
    for (format, magic) in [("jpg", &b"\xff\xd8\xff"[..]), ("png", b"\x89PNG"), ("webp", b"RIFF")] {
        let key = format!("{format}.mp4");
        numbered(&bench.video(&key), 101, &H264);
        bench.run(&key, &["--format", format]).expect(exit::OK);
        let images = bench.images(&key);
        assert_eq!(images[1].file_name(), Some(format!("thumb-000001.{format}").as_ref()));
        assert_eq!(images.len(), 2, "{images:?}");
        assert_eq!(number_in(&images[1]), 100);
        assert!(std::fs::read(&images[0]).expect("is there").starts_with(magic), "{format}");
    }
}

#[test]
fn the_shape_is_kept() {
    let bench = Bench::new();
    let shape = |key, size, codec: &[&str]| {
        pattern(&bench, key, size, codec);
        bench.run(key, &[]).expect(exit::OK);
        size_of(&bench.images(key)[0])
    };
    assert_eq!(shape("odd.mp4", "321x181", &["-c:v", "libx264", "-pix_fmt", "yuv444p"]), (320, 180));
    assert_eq!(shape("wide.mp4", "640x20", &["-c:v", "libx264", "-pix_fmt", "yuv420p"]), (320, 10));
    assert_eq!(shape("small.avi", "16x16", &["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"]), (320, 320));
    assert_eq!(shape("anamorphic.mp4", "720x576", &["-vf", "setsar=64/45", "-c:v", "mpeg4"]), (320, 180));

    turned(&bench, "turned.mp4");
    bench.run("turned.mp4", &[]).expect(exit::OK);
    assert_eq!(size_of(&bench.images("turned.mp4")[0]), (320, 427));
}

#[test]
fn quality_is_a_matter_of_size() {
    let bench = Bench::new();
    let mut sizes = Vec::new();
    for quality in ["5", "100"] {
        let key = format!("{quality}.mp4");
        pattern(&bench, &key, "640x360", &["-c:v", "mpeg4"]);
        bench.run(&key, &["--quality", quality, "--width", "640"]).expect(exit::OK);
        sizes.push(bench.marker(&key).outputs[0].size);
    }
    assert!(sizes[1] > 2 * sizes[0], "{sizes:?}");
}

#[test]
fn the_result_describes_the_video() {
    let bench = Bench::new();
    turned(&bench, "turned.mp4");
    let ran = bench.run("turned.mp4", &["--every", "2"]).expect(exit::OK);
    let expected = serde_json::json!({
        "frames": 5, "every": 2, "images": 3, "duration": 0.2, "width": 240, "height": 320, "codec": "mpeg4",
    });
    assert_eq!(ran.report.result, Some(expected.clone()));
    assert_eq!(bench.marker("turned.mp4").result, Some(expected));
    assert_eq!(ran.report.outputs.len(), 3);
}

#[test]
fn the_same_video_gives_the_same_bytes_and_is_done_once() {
    let bench = Bench::new();
    numbered(&bench.video("a.mp4"), 101, &H264);
    assert_eq!(bench.run("a.mp4", &[]).expect(exit::OK).report.outcome, Outcome::Published);
    let first = bench.marker("a.mp4");
    assert_eq!(bench.run("a.mp4", &[]).expect(exit::OK).report.outcome, Outcome::AlreadyPublished);
    assert_eq!(bench.marker("a.mp4"), first);
    let again = bench.run("a.mp4", &["--revision", "1"]).expect(exit::OK).report;
    assert_eq!(again.outcome, Outcome::Published);
    let image = std::fs::read(&bench.images("a.mp4")[0]).expect("is there");
    assert!(!image.windows(4).any(|four| four == b"Lavc"), "an image names the version of its encoder");
    assert_eq!(bench.marker("a.mp4").outputs, first.outputs, "a new revision of the same video has the same images");
}

#[test]
fn what_ffmpeg_reports_for_its_developers_is_no_output() {
    let bench = Bench::new();
    numbered(&bench.video("a.mp4"), 1, &H264);
    bench.traced(&["env", "FFREPORT=level=32"], "thumbnails", "a.mp4", &[]).expect(exit::OK);
    assert_eq!(bench.marker("a.mp4").outputs.len(), 1);
}
