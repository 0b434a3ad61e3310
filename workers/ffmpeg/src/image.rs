//! The kinds of image, and what each asks of ffmpeg.

use clap::ValueEnum;

/// A kind of image file.
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

/// How an image is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoding {
    pub(crate) format: Format,
    /// 1 to 100.
    pub(crate) quality: u8,
}

impl Encoding {
    /// The end of the filter chain: a fixed size and square pixels, in colours the encoder takes.
    pub(crate) fn filter(self, width: u32, height: u32) -> String {
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
        let qscale = |quality| Encoding { format: Format::Jpg, quality }.options().pop().expect("the scale is last");
        assert_eq!([qscale(1), qscale(50), qscale(90), qscale(100)], ["31", "17", "5", "2"]);
    }
}
