//! One image for each scene: its first frame.

use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use contract::exit;
use serde::Serialize;
use worker_kit::{Context, JobError};

use crate::image::Encoding;
use crate::media::{Media, Tools};
use crate::pick::Pick;

/// Makes images of the scenes of the item's video.
#[derive(Debug, Args)]
pub(crate) struct Scene {
    /// How different a frame must be from the one before to begin a scene, above 0 and below 1. Hard cuts are above 0.3;
    /// less also finds fades, and quick motion.
    #[arg(long, default_value_t = 0.3, value_name = "SHARE", value_parser = threshold)]
    threshold: f64,
    /// The most images of one video: the first so many scenes, and the result says that there were more.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=5_000))]
    max_images: u64,
    #[command(flatten)]
    encoding: Encoding,
    #[command(flatten)]
    pub(crate) tools: Tools,
}

fn threshold(text: &str) -> Result<f64, &'static str> {
    let share = text.parse().ok().filter(|share: &f64| *share > 0.0 && *share < 1.0);
    share.ok_or("write a number between 0 and 1, as 0.3")
}

/// What the marker and the report say of the output.
#[derive(Serialize)]
struct Summary {
    /// Frames that were decoded.
    frames: u64,
    threshold: f64,
    images: u64,
    /// When the scene of each image begins, in seconds from the begin of the video.
    times: Vec<f64>,
    /// Whether there were more scenes than images.
    more: bool,
    /// Seconds.
    duration: Option<f64>,
    /// Of the video as it is shown, in pixels.
    width: u32,
    height: u32,
    codec: String,
}

impl Scene {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), JobError> {
        let mut media = Media::open(&self.tools, context).await?;
        let video = media.video()?;
        let size = self.encoding.size(&video, media.max_pixels(), &media.name)?;
        let times = Arc::new(Mutex::new(Vec::new()));
        let each = {
            let times = Arc::clone(&times);
            move |line: &str| times.lock().unwrap_or_else(PoisonError::into_inner).extend(time_in(line))
        };
        // Each kept frame is told on standard output, beside the progress, a line in one piece.
        let told = "metadata=print:file='pipe\\:1':direct=1";
        let pick = Pick {
            video: &video,
            filter: format!("select='eq(n,0)+gt(scene,{})',{told},{}", self.threshold, self.encoding.filter(size)),
            encoding: self.encoding,
            prefix: "scene",
            // One more than wanted tells whether there were more.
            most: Some(self.max_images + 1),
            max_images: self.max_images + 1,
            each: Some(Box::new(each)),
        };
        let told = pick.run(&mut media).await?;
        let made = media.images()?;
        let images = made.min(self.max_images);
        if let Some(beyond) = media.files_made()?.get(usize::try_from(images).unwrap_or(usize::MAX)) {
            std::fs::remove_file(beyond)
                .map_err(|error| JobError::new(exit::IO, "IoError", format!("remove an image too many: {error}")))?;
        }
        let mut times = std::mem::take(&mut *times.lock().unwrap_or_else(PoisonError::into_inner));
        times.truncate(usize::try_from(images).unwrap_or(usize::MAX));
        media.tell(&Summary {
            frames: told.frames,
            threshold: self.threshold,
            images,
            times,
            more: made > images,
            duration: media.contents.duration.or(told.seconds),
            width: video.width,
            height: video.height,
            codec: video.codec,
        })
    }
}

/// `frame:1    pts:25600   pts_time:2` → 2 seconds.
fn time_in(line: &str) -> Option<f64> {
    if !line.starts_with("frame:") {
        return None;
    }
    let seconds: f64 = line.split_once("pts_time:")?.1.trim().parse().ok()?;
    Some((seconds * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_what_the_filter_prints() {
        assert_eq!(time_in("frame:1    pts:25600   pts_time:2"), Some(2.0));
        assert_eq!(time_in("frame:12   pts:1       pts_time:0.0333667"), Some(0.033));
        assert_eq!(time_in("frame:3    pts:NOPTS   pts_time:NOPTS"), None);
        assert_eq!(time_in("lavfi.scene_score=0.480301"), None);
        assert_eq!(time_in("frame=150"), None);
    }
}
