//! The whole video in another form, looked at again when it is made.

use std::ffi::OsString;

use clap::{Args, ValueEnum};
use contract::exit;
use serde::Serialize;
use worker_kit::{Context, JobError};

use crate::media::{Contents, Media, Run, Tools, Video, words};

/// How far apart the durations of a video and of what was made of it may be: a second, or this share of it.
const TOLERANCE: f64 = 0.01;

/// Makes another video of the item's.
#[derive(Debug, Args)]
pub(crate) struct Transcode {
    /// What to make: video.mp4 of h264 and h265 (sound: AAC), video.webm of vp9 and av1 (sound: Opus).
    #[arg(long, value_enum, default_value_t = Codec::H264)]
    codec: Codec,
    /// How much time to take for how small a file.
    #[arg(long, value_enum, default_value_t = Preset::Medium)]
    preset: Preset,
    /// How much may be lost: 0 (little, large) to 51, or to 63 with vp9 and av1. Without it 23, 28, 33, 35, as the codecs stand.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=63))]
    crf: Option<u8>,
    /// Height in pixels of what is higher; nothing is made larger. The width follows from the video's shape.
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(2..=16_384))]
    height: Option<u32>,
    /// The sound: its first stream in stereo at such a rate in bits per second, as 96k, or none.
    #[arg(long, default_value = "128k", value_name = "RATE", value_parser = sound)]
    audio: Sound,
    #[command(flatten)]
    pub(crate) tools: Tools,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Codec {
    /// Plays everywhere.
    H264,
    /// Smaller, slower.
    H265,
    /// Smaller, slower, free of royalties.
    Vp9,
    /// Smallest, free of royalties.
    Av1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// A few times as fast as medium, for a file that is a little larger.
    Fast,
    /// A good bargain.
    Medium,
    /// A few times as slow.
    Slow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sound {
    None,
    /// Bits per second.
    Rate(u32),
}

fn sound(text: &str) -> Result<Sound, &'static str> {
    const WANTED: &str = "write none, or a rate from 16k to 512k";
    if text == "none" {
        return Ok(Sound::None);
    }
    let rate = match text.strip_suffix(['k', 'K']) {
        Some(thousands) => thousands.parse::<u32>().ok().and_then(|thousands| thousands.checked_mul(1000)),
        None => text.parse().ok(),
    };
    rate.filter(|rate| (16_000..=512_000).contains(rate)).map(Sound::Rate).ok_or(WANTED)
}

/// What the marker and the report say of the output.
#[derive(Serialize)]
struct Summary {
    file: String,
    codec: String,
    /// In pixels.
    width: u32,
    height: u32,
    /// Seconds.
    duration: Option<f64>,
    frames: u64,
    /// Whether there is sound.
    audio: bool,
}

impl Transcode {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), JobError> {
        let most = self.codec.highest_crf();
        if self.crf.is_some_and(|crf| crf > most) {
            return Err(JobError::new(
                exit::USAGE,
                "Usage",
                format!("--crf: with this codec it goes from 0 to {most}"),
            ));
        }
        let mut media = Media::open(&self.tools, context).await?;
        let video = media.video()?;
        let size = self.size(&video, &media)?;
        let audio = media.contents.audio.filter(|_| self.audio != Sound::None);
        let file = format!("video.{}", self.codec.container());
        let run = Run {
            strict: true,
            words: self.words(&media, &video, size, audio, &file),
            frames: video.frames,
            ..Run::default()
        };
        let told = media.ffmpeg(run).await?;
        if told.frames == 0 {
            return Err(media.no_frames());
        }
        let made = media.probe_output(&file).await?;
        check(&media, &made, size, audio.is_some(), told.seconds)?;
        media.tell(&Summary {
            file,
            codec: made.video.map(|video| video.codec).unwrap_or_default(),
            width: size.0,
            height: size.1,
            duration: made.duration,
            frames: told.frames,
            audio: made.audio.is_some(),
        })
    }

    /// Even, since the codecs halve the colours' resolution.
    fn size(&self, video: &Video, media: &Media<'_>) -> Result<(u32, u32), JobError> {
        let height = self.height.unwrap_or(u32::MAX).min(video.height);
        let width = f64::from(video.width) * f64::from(height) / f64::from(video.height.max(1));
        let even = |pixels: f64| ((pixels / 2.0).round() as u32).max(1).saturating_mul(2);
        let (width, height) = (even(width), even(f64::from(height)));
        if u64::from(width) * u64::from(height) > media.max_pixels() {
            let message = format!("{} would be {width}x{height}, more than --max-pixels", media.name);
            return Err(JobError::new(exit::BAD_ITEM, "PictureTooLarge", message));
        }
        Ok((width, height))
    }

    fn words(
        &self,
        media: &Media<'_>,
        video: &Video,
        (width, height): (u32, u32),
        audio: Option<u32>,
        file: &str,
    ) -> Vec<OsString> {
        let filter = format!("scale={width}:{height},setsar=1,format=yuv420p");
        let mut all: Vec<OsString> = words(["-reinit_filter", "0"]).chain(media.input(true)).collect();
        all.extend(words(["-map", &format!("0:{}", video.index), "-vf", &filter]));
        // Each frame at its own time: a gap in the timestamps is a gap, and not a million copies of one frame.
        all.extend(words(["-fps_mode", "vfr", "-enc_time_base", "-1"]));
        all.extend(words(self.codec.encoder(self.preset)));
        all.extend(words(["-crf", &self.crf.unwrap_or(self.codec.usual_crf()).to_string()]));
        all.extend(words(["-threads", &media.threads()]));
        if let (Some(stream), Sound::Rate(rate)) = (audio, self.audio) {
            all.extend(words(["-map", &format!("0:{stream}"), "-c:a", self.codec.sound(), "-ac", "2"]));
            all.extend(words(["-b:a", &rate.to_string()]));
        }
        // The same video gives the same bytes: neither dates nor versions, and nothing that the file says of itself.
        all.extend(words(["-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact"]));
        all.extend(words(["-flags:v", "+bitexact", "-flags:a", "+bitexact"]));
        if self.codec.container() == "mp4" {
            all.extend(words(["-movflags", "+faststart"]));
        }
        all.extend(words(["-f", self.codec.container(), file]));
        all
    }
}

impl Codec {
    fn container(self) -> &'static str {
        match self {
            Self::H264 | Self::H265 => "mp4",
            Self::Vp9 | Self::Av1 => "webm",
        }
    }

    fn sound(self) -> &'static str {
        match self {
            Self::H264 | Self::H265 => "aac",
            Self::Vp9 | Self::Av1 => "libopus",
        }
    }

    fn usual_crf(self) -> u8 {
        match self {
            Self::H264 => 23,
            Self::H265 => 28,
            Self::Vp9 => 33,
            Self::Av1 => 35,
        }
    }

    fn highest_crf(self) -> u8 {
        match self {
            Self::H264 | Self::H265 => 51,
            Self::Vp9 | Self::Av1 => 63,
        }
    }

    fn encoder(self, preset: Preset) -> Vec<&'static str> {
        let of = |fast, medium, slow| match preset {
            Preset::Fast => fast,
            Preset::Medium => medium,
            Preset::Slow => slow,
        };
        match self {
            Self::H264 => vec!["-c:v", "libx264", "-preset", of("veryfast", "medium", "slow")],
            Self::H265 => {
                let quiet = ["-tag:v", "hvc1", "-x265-params", "log-level=error"];
                ["-c:v", "libx265", "-preset", of("veryfast", "medium", "slow")].into_iter().chain(quiet).collect()
            }
            Self::Vp9 => {
                let steady = ["-b:v", "0", "-row-mt", "1", "-deadline", "good"];
                ["-c:v", "libvpx-vp9", "-cpu-used", of("5", "2", "1")].into_iter().chain(steady).collect()
            }
            Self::Av1 => vec!["-c:v", "libsvtav1", "-preset", of("10", "8", "5")],
        }
    }
}

/// Whether what was made is what was to be made: `seconds` is how much ffmpeg says it has written.
fn check(
    media: &Media<'_>,
    made: &Contents,
    (width, height): (u32, u32),
    audio: bool,
    seconds: Option<f64>,
) -> Result<(), JobError> {
    let wrong = |what: &str| {
        let message = format!("what ffmpeg made of {} {what}", media.name);
        Err(JobError::new(exit::BUG, "WrongOutput", message))
    };
    let Some(video) = &made.video else { return wrong("holds no video") };
    if (video.width, video.height) != (width, height) {
        return wrong(&format!("is {}x{} and not {width}x{height}", video.width, video.height));
    }
    if audio && made.audio.is_none() {
        return wrong("has no sound");
    }
    let Some(lasts) = made.duration else { return wrong("has no duration") };
    let taken = if audio { 2 } else { 1 };
    let (stated, came) = (media.contents.stated(taken), made.stated(taken));
    if let Some(says) = stated.first().filter(|_| !stated.iter().any(|says| is_close(*says, &came))) {
        let message = format!(
            "{} says that it lasts {says:.1} s, and {lasts:.1} s came out: it is damaged or was never finished",
            media.name
        );
        return Err(JobError::new(exit::BAD_ITEM, "WrongDuration", message));
    }
    match seconds {
        Some(seconds) if !is_close(seconds, &came) => {
            wrong(&format!("lasts {lasts:.1} s, and {seconds:.1} s were written"))
        }
        _ => Ok(()),
    }
}

fn is_close(seconds: f64, others: &[f64]) -> bool {
    others.iter().any(|other| (other - seconds).abs() <= (seconds * TOLERANCE).max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_is_a_rate_or_none() {
        assert_eq!(sound("none"), Ok(Sound::None));
        assert_eq!(sound("96k"), Ok(Sound::Rate(96_000)));
        assert_eq!(sound("128000"), Ok(Sound::Rate(128_000)));
        for wrong in ["", "k", "8k", "1M", "-1k", "4294968k", "yes"] {
            assert!(sound(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_may_differ_a_little() {
        assert!(is_close(10.0, &[9.1]) && is_close(0.04, &[0.5]) && is_close(7200.0, &[5.0, 7260.0]));
        assert!(!is_close(10.0, &[8.9]) && !is_close(7200.0, &[7300.0]) && !is_close(10.0, &[]));
    }
}
