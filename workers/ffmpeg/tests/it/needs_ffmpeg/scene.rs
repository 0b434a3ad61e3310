//! An image for each scene.

use contract::exit;

use crate::support::{Bench, ffmpeg, size_of};

/// Red, green, blue and red again, ten frames each.
fn four_scenes(bench: &Bench, key: &str) {
    let colours = ["red", "lime", "blue", "red"].map(|colour| format!("color={colour}:s=64x36:r=10:d=1"));
    let inputs = colours.iter().flat_map(|source| ["-f", "lavfi", "-i", source]);
    let joined = ["-filter_complex", "concat=n=4", "-c:v", "libx264", "-pix_fmt", "yuv420p"];
    ffmpeg(inputs.chain(joined).chain([bench.video(key).to_str().expect("is UTF-8")]));
}

#[test]
fn each_scene_has_its_first_frame_and_its_time() {
    let bench = Bench::new();
    four_scenes(&bench, "a.mp4");
    bench.verb("scene", "a.mp4", &["--width", "32"]).expect(exit::OK);
    let result = bench.result("a.mp4");
    assert_eq!(result["times"], serde_json::json!([0.0, 1.0, 2.0, 3.0]), "{result}");
    assert_eq!((&result["images"], &result["more"]), (&4.into(), &false.into()), "{result}");
    let images = bench.images("a.mp4");
    assert_eq!(images.len(), 4);
    assert_eq!(images[3].file_name(), Some("scene-000003.jpg".as_ref()));
    assert_eq!(size_of(&images[0]), (32, 18));
    let bytes = |n: usize| std::fs::read(&images[n]).expect("is there");
    assert_eq!(bytes(0), bytes(3), "red is red");
    assert_ne!(bytes(0), bytes(1));
}

#[test]
fn there_may_be_more_scenes_than_images() {
    let bench = Bench::new();
    four_scenes(&bench, "a.mp4");
    bench.verb("scene", "a.mp4", &["--max-images", "3", "--format", "png"]).expect(exit::OK);
    let result = bench.result("a.mp4");
    assert_eq!(result["times"], serde_json::json!([0.0, 1.0, 2.0]), "{result}");
    assert_eq!((bench.images("a.mp4").len(), &result["more"]), (3, &true.into()), "{result}");
    bench.verb("scene", "a.mp4", &["--max-images", "4", "--revision", "1"]).expect(exit::OK);
    assert_eq!(bench.result("a.mp4")["more"], false);
}

#[test]
fn a_video_without_a_change_has_one_scene() {
    let bench = Bench::new();
    let path = bench.video("still.mp4");
    ffmpeg(["-f", "lavfi", "-i", "color=red:s=64x36:d=1", "-c:v", "mpeg4", path.to_str().expect("is UTF-8")]);
    bench.verb("scene", "still.mp4", &[]).expect(exit::OK);
    assert_eq!(bench.result("still.mp4")["times"], serde_json::json!([0.0]));
}
