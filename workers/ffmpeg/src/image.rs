//! The kinds of image, and what each asks of ffmpeg.

use clap::{Args, ValueEnum};
use contract::exit;
use worker_kit::JobError;

use crate::media::Video;

/// The most pixels that WebP and most viewers take along one side.
pub(crate) const LONGEST_SIDE: u32 = 16_383;

/// What kind of image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// JPEG.
    Jpg,
    /// PNG: large, loses nothing.
    Png,
    /// WebP.
    Webp,
}

impl Format {
    /// File name extension.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Jpg => "jpg",
            Self::Png => "png",
            Self::Webp => "webp",
        }
    }
}

/// How images are written.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Encoding {
    /// Width of each picture in pixels; the height follows from the video's shape as it is meant to be shown.
    #[arg(long, default_value_t = 320, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=i64::from(LONGEST_SIDE)))]
    pub(crate) width: u32,
    /// What kind of image.
    #[arg(long, value_enum, default_value_t = Format::Jpg)]
    pub(crate) format: Format,
    /// How good, from 1 (small) to 100; of no effect on png, which loses nothing.
    #[arg(long, default_value_t = 90, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) quality: u8,
}

impl Encoding {
    /// Width and height of a picture of `video`, which people know as `name`.
    ///
    /// # Errors
    /// 65 when the video's shape makes that more than there may be: a strip of a thousand pixels to one.
    pub(crate) fn size(self, video: &Video, max_pixels: u64, name: &str) -> Result<(u32, u32), JobError> {
        let (width, height) = (self.width, video.height_for(self.width));
        if height > LONGEST_SIDE || u64::from(width) * u64::from(height) > max_pixels {
            let message = format!(
                "{name} is shown as {}x{}, and a picture of it {width}x{height}: more than can be made",
                video.width, video.height
            );
            return Err(JobError::new(exit::BAD_ITEM, "PictureTooLarge", message));
        }
        Ok((width, height))
    }

    /// The filter that brings a frame to a fixed size and square pixels, in colours the encoder takes.
    pub(crate) fn filter(self, (width, height): (u32, u32)) -> String {
        let colours = match self.format {
            // JPEG is full range by its standard; saying so here keeps ffmpeg from its deprecated yuvj formats.
            Format::Jpg => ":out_range=full,format=yuv420p",
            Format::Png => ",format=rgb24|rgba",
            Format::Webp => ",format=yuv420p|yuva420p",
        };
        format!("scale={width}:{height}{colours},setsar=1")
    }

    /// The encoder and its options, for one output of ffmpeg.
    pub(crate) fn options(self) -> Vec<String> {
        let quality = u32::from(self.quality);
        let words: &[&str] = match self.format {
            // -strict unofficial: ffmpeg's word for plain yuv420p in a JPEG. qscale goes from 31 (worst) to 2 (best).
            Format::Jpg => {
                &["-c:v", "mjpeg", "-strict", "unofficial", "-q:v", &(31 - (quality - 1) * 29 / 99).to_string()]
            }
            Format::Png => &["-c:v", "png"],
            Format::Webp => &["-c:v", "libwebp", "-quality", &quality.to_string()],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jpeg_quality_spans_the_whole_scale_of_ffmpeg() {
        let qscale = |quality| {
            let encoding = Encoding { width: 320, format: Format::Jpg, quality };
            encoding.options().pop().expect("the scale is last")
        };
        assert_eq!([qscale(1), qscale(50), qscale(90), qscale(100)], ["31", "17", "5", "2"]);
    }
}
