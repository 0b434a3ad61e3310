//! One image of every N frames.
//!
//! Nothing between decoder and `select` may drop, repeat or renumber frames, and the count of all frames proves afterwards
//! that nothing did.

use std::num::NonZeroU32;

use clap::Args;
use contract::exit;
use serde::Serialize;
use worker_kit::{Context, JobError};

use crate::image::Encoding;
use crate::media::{Media, Tools};
use crate::pick::Pick;

/// Makes thumbnails of the item's video.
#[derive(Debug, Args)]
pub(crate) struct Thumbnails {
    /// Take one frame of this many.
    #[arg(long, default_value = "100", value_name = "FRAMES", value_parser = frames)]
    every: NonZeroU32,
    /// The most images of one video; one that has more is exit 65, for all or nothing is promised.
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_images: u64,
    #[command(flatten)]
    encoding: Encoding,
    #[command(flatten)]
    pub(crate) tools: Tools,
}

fn frames(text: &str) -> Result<NonZeroU32, &'static str> {
    text.parse().map_err(|_| "write a whole number from 1 on")
}

/// What the marker and the report say of the output.
#[derive(Serialize)]
struct Summary {
    /// Frames that were decoded.
    frames: u64,
    /// Image k is frame `every * k`.
    every: NonZeroU32,
    images: u64,
    /// Seconds.
    duration: Option<f64>,
    /// Of the video as it is shown, in pixels.
    width: u32,
    height: u32,
    codec: String,
}

impl Thumbnails {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), JobError> {
        let mut media = Media::open(&self.tools, context).await?;
        let video = media.video()?;
        let size = self.encoding.size(&video, media.max_pixels(), &media.name)?;
        let pick = Pick {
            video: &video,
            filter: format!("select='not(mod(n,{}))',{}", self.every, self.encoding.filter(size)),
            encoding: self.encoding,
            prefix: "thumb",
            most: None,
            max_images: self.max_images,
            each: None,
        };
        let told = pick.run(&mut media).await?;
        let images = media.images()?;
        let due = told.frames.div_ceil(u64::from(self.every.get()));
        if images != due {
            let message = format!(
                "ffmpeg made {images} images of the {} frames of {}, and {due} were due",
                told.frames, media.name
            );
            return Err(JobError::new(exit::BUG, "WrongCount", message));
        }
        media.tell(&Summary {
            frames: told.frames,
            every: self.every,
            images,
            duration: media.contents.duration.or(told.seconds),
            width: video.width,
            height: video.height,
            codec: video.codec,
        })
    }
}
