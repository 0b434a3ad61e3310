//! Contact sheets.

use contract::exit;

use crate::support::{Bench, H264, ffmpeg, numbered, size_of};

/// The numbers that the tiles of a sheet of numbered frames show, 320x64 each; nothing for a black tile.
fn tiles(sheet: &std::path::Path, columns: usize, rows: usize) -> Vec<u32> {
    let (width, height) = (4 + 324 * columns, 4 + 68 * rows);
    let size = size_of(sheet);
    assert_eq!((size.0 as usize, size.1 as usize), (width, height));
    let path = sheet.to_str().expect("is UTF-8");
    let raw = ffmpeg(["-i", path, "-vf", "format=gray", "-f", "rawvideo", "-"]).stdout;
    let place = |tile: usize, bit: usize| {
        let (left, top) = (4 + 324 * (tile % columns), 4 + 68 * (tile / columns));
        raw[(top + 32) * width + left + 20 * bit + 10]
    };
    let number = |tile| (0..16).map(|bit| u32::from(place(tile, bit) > 128) << bit).sum();
    (0..columns * rows).map(number).collect()
}

#[test]
fn one_sheet_shows_the_whole_video_evenly() {
    let bench = Bench::new();
    numbered(&bench.video("a.mp4"), 100, &H264);
    bench.verb("contact-sheet", "a.mp4", &["--columns", "2", "--rows", "2", "--format", "png"]).expect(exit::OK);
    let images = bench.images("a.mp4");
    assert_eq!((images.len(), images[0].file_name()), (1, Some("sheet-000000.png".as_ref())));
    assert_eq!(tiles(&images[0], 2, 2), [0, 25, 50, 75]);
    assert_eq!(bench.result("a.mp4")["interval"], 1.0);
}

#[test]
fn an_interval_makes_as_many_sheets_as_it_takes() {
    let bench = Bench::new();
    numbered(&bench.video("a.mp4"), 60, &H264);
    let flags = ["--columns", "2", "--rows", "1", "--interval", "800ms", "--format", "png"];
    bench.verb("contact-sheet", "a.mp4", &flags).expect(exit::OK);
    let images = bench.images("a.mp4");
    assert_eq!(images.len(), 2);
    assert_eq!(tiles(&images[0], 2, 1), [0, 20]);
    assert_eq!(tiles(&images[1], 2, 1), [40, 0], "what is left is black");
}

#[test]
fn a_video_that_does_not_say_how_long_it_is_is_measured() {
    let bench = Bench::new();
    numbered(&bench.video("live.mkv"), 100, &[&H264[..], &["-f", "matroska", "-live", "1"]].concat());
    bench.verb("contact-sheet", "live.mkv", &["--columns", "4", "--rows", "1", "--format", "png"]).expect(exit::OK);
    assert_eq!(tiles(&bench.images("live.mkv")[0], 4, 1), [0, 25, 50, 75]);
}

#[test]
fn the_time_is_written_into_each_tile() {
    let bench = Bench::new();
    let path = bench.video("black.mp4");
    ffmpeg(["-f", "lavfi", "-i", "color=black:s=320x64:d=1", "-c:v", "mpeg4", path.to_str().expect("is UTF-8")]);
    let white = |flags: &[&str]| {
        let always = ["--columns", "1", "--rows", "1", "--format", "png"];
        bench.verb("contact-sheet", "black.mp4", &[&always[..], flags].concat()).expect(exit::OK);
        let path = bench.images("black.mp4")[0].to_str().expect("is UTF-8").to_owned();
        let raw = ffmpeg(["-i", &path, "-vf", "format=gray", "-f", "rawvideo", "-"]).stdout;
        raw.iter().filter(|pixel| **pixel > 200).count()
    };
    assert_eq!(white(&[]), 0);
    assert!(white(&["--timestamps", "--revision", "1"]) > 10);
    let flags = ["--timestamps", "--font", "/nonexistent.ttf", "--revision", "2"];
    let report = bench.verb("contact-sheet", "black.mp4", &flags).expect(exit::CONFIG).report;
    assert!(report.message.contains("--font /nonexistent.ttf"), "{}", report.message);
}

#[test]
fn a_sheet_that_is_too_large_is_refused_before_it_is_made() {
    let bench = Bench::new();
    numbered(&bench.video("a.mp4"), 2, &H264);
    let report = bench.verb("contact-sheet", "a.mp4", &["--columns", "100"]).expect(exit::BAD_ITEM).report;
    assert!(report.message.contains("lower --width, --columns or --rows"), "{}", report.message);
}
