//! What a file holds, as ffprobe reads it.

use std::path::Path;

use contract::exit;
use serde::Deserialize;
use worker_kit::{Context, JobError};

use super::tools::Tools;
use super::{start, verdict};

/// What is asked of ffprobe: no tags and no names, so that what a file says of itself cannot make the answer long.
const ENTRIES: &str = "format=format_name,start_time,duration\
    :stream=index,codec_type,codec_name,width,height,sample_aspect_ratio,nb_frames,duration\
    :stream_disposition=attached_pic:stream_side_data=rotation";
/// Room for the answer on a file of a few thousand streams.
const ANSWER_MAX: usize = 1 << 20;
/// Demuxers that know no length and guess it, from the last timestamps or from the rate of the first bytes.
const GUESS: [&str; 12] =
    ["mpegts", "mpeg", "mpegvideo", "h261", "h263", "h264", "hevc", "m4v", "mjpeg", "mp3", "aac", "flv"];

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contents {
    /// The demuxer's name.
    format: String,
    /// Seconds, where known: of the video stream, else of the whole.
    pub(crate) duration: Option<f64>,
    /// Seconds, where the file says them and nobody guessed: of the video stream, and of the longest stream there is.
    of_video: Option<f64>,
    of_all: Option<f64>,
    /// How many streams there are.
    streams: usize,
    /// The first stream that is a video.
    pub(crate) video: Option<Video>,
    /// The number of the first stream that is sound.
    pub(crate) audio: Option<u32>,
    /// The streams, in a few words.
    holds: String,
}

/// The stream that images are made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Video {
    /// Its number in the file.
    pub(crate) index: u32,
    pub(crate) codec: String,
    /// Pixels of a frame as it is coded; 0 where that is not known.
    coded: (u32, u32),
    /// Pixels of a frame as it is shown: turned as the file says, with its pixels made square.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// How many frames the container says there are. Some lie, many do not say.
    pub(crate) frames: Option<u64>,
}

/// Asks ffprobe about `path`, which people know as `name`.
///
/// # Errors
/// 65 when it cannot be read; what running ffprobe gave otherwise.
pub(super) async fn run(tools: &Tools, path: &Path, name: &str, context: &mut Context) -> Result<Contents, JobError> {
    let limit = tools.ffprobe_timeout;
    let message = format!("ffprobe was not done with {name} after {limit:?}: does its store answer?");
    let late = async move {
        tokio::time::sleep(limit).await;
        JobError::new(exit::TIMEOUT, "ProbeTimeout", message)
    };
    let command =
        tools.ffprobe().args(["-of", "json=c=1", "-show_entries", ENTRIES]).args(tools.bounds.open_only(path));
    let exit = start(context, command.capture_stdout(ANSWER_MAX).stop_when(late)).await?;
    let judge = verdict::Judge { tool: "ffprobe", input: path, name, bounds: &tools.bounds };
    if !exit.success() {
        return Err(judge.failed(&exit));
    }
    let contents = Contents::parse(&exit.stdout).map_err(|unfit| unfit.of(name))?;
    // ffprobe ends well over a picture that it may not decode, and tells no size of it.
    match judge.bounded(&exit) {
        Some(error) if contents.video.as_ref().is_some_and(|video| video.coded == (0, 0)) => Err(error),
        _ => Ok(contents),
    }
}

impl Contents {
    fn parse(json: &[u8]) -> Result<Self, Unfit> {
        let answer: Answer = serde_json::from_slice(json).map_err(Unfit::Unreadable)?;
        let stream = answer.streams.iter().find(|stream| stream.is_video());
        let seconds = |text: &Option<String>| text.as_deref()?.parse().ok().filter(|seconds: &f64| *seconds > 0.0);
        let of_video = stream.and_then(|stream| seconds(&stream.duration));
        let of_all = seconds(&answer.format.duration);
        let format = answer.format.format_name.clone().unwrap_or_default();
        let stated = |seconds: Option<f64>| seconds.filter(|_| !GUESS.contains(&format.as_str()));
        Ok(Self {
            duration: of_video.or(of_all),
            // Where a container has no durations of streams, ffprobe gives that of the whole for them.
            of_video: stated(of_video).filter(|_| of_video != of_all),
            of_all: stated(of_all),
            streams: answer.streams.len(),
            video: stream.map(Stream::as_video),
            audio: answer.streams.iter().find(|stream| stream.codec_type.as_deref() == Some("audio")).map(|s| s.index),
            holds: answer.holds(),
            format,
        })
    }

    /// What may be taken for its duration, in seconds, of which `taken` streams are looked at: nothing where it does not say,
    /// or says only of the longest stream, which may be another.
    pub(crate) fn stated(&self, taken: usize) -> Vec<f64> {
        let of_all = self.of_all.filter(|_| self.of_video.is_some() || self.streams == taken);
        self.of_video.into_iter().chain(of_all).collect()
    }

    /// Its video, if it is one that can and may be decoded.
    pub(super) fn video(&self, max_pixels: u64) -> Result<Video, Unfit> {
        let Some(video) = &self.video else { return Err(Unfit::NoVideo { holds: self.holds.clone() }) };
        let (width, height) = video.coded;
        if width == 0 || height == 0 {
            return Err(Unfit::NoSize);
        }
        if u64::from(width) * u64::from(height) > max_pixels {
            return Err(Unfit::TooLarge { width, height, max_pixels });
        }
        Ok(video.clone())
    }
}

impl Video {
    /// How high an image of this width is, to have the video's shape.
    pub(crate) fn height_for(&self, width: u32) -> u32 {
        let exact = f64::from(self.height) * f64::from(width) / f64::from(self.width.max(1));
        exact.round().max(1.0) as u32
    }
}

/// Why a file that ffprobe could read is still no video for us.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error("has no video stream: it holds {holds}")]
    NoVideo { holds: String },
    #[error("has a video stream without a size: it is damaged or was never finished")]
    NoSize,
    #[error("has a picture of {width}x{height}, more than the {max_pixels} pixels of --max-pixels")]
    TooLarge { width: u32, height: u32, max_pixels: u64 },
    #[error("makes ffprobe give an answer that is not understood: {0}")]
    Unreadable(serde_json::Error),
}

impl Unfit {
    pub(super) fn of(self, name: &str) -> JobError {
        let reason = match self {
            Self::NoVideo { .. } => "NoVideo",
            Self::NoSize | Self::Unreadable(_) => "CorruptVideo",
            Self::TooLarge { .. } => "PictureTooLarge",
        };
        JobError::new(exit::BAD_ITEM, reason, format!("{name} {self}"))
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    format: FormatEntry,
}

#[derive(Default, Deserialize)]
struct FormatEntry {
    format_name: Option<String>,
    duration: Option<String>,
}

#[derive(Deserialize)]
struct Stream {
    index: u32,
    codec_type: Option<String>,
    codec_name: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    sample_aspect_ratio: Option<String>,
    nb_frames: Option<String>,
    duration: Option<String>,
    #[serde(default)]
    disposition: Disposition,
    #[serde(default)]
    side_data_list: Vec<SideData>,
}

#[derive(Default, Deserialize)]
struct Disposition {
    #[serde(default)]
    attached_pic: u8,
}

#[derive(Deserialize)]
struct SideData {
    rotation: Option<f64>,
}

impl Answer {
    fn holds(&self) -> String {
        let streams = self.streams.iter().take(4).map(|stream| {
            let kind =
                if stream.disposition.attached_pic != 0 { Some("cover picture") } else { stream.codec_type.as_deref() };
            format!("{} {}", kind.unwrap_or("unknown"), stream.codec_name.as_deref().unwrap_or("unknown"))
        });
        let list = streams.collect::<Vec<_>>().join(", ");
        let format = self.format.format_name.as_deref().unwrap_or("an unknown format");
        if list.is_empty() { format!("nothing ({format})") } else { format!("{list} ({format})") }
    }
}

impl Stream {
    /// A cover picture in a music file is a video stream to ffmpeg, and not to anybody else.
    fn is_video(&self) -> bool {
        self.codec_type.as_deref() == Some("video") && self.disposition.attached_pic == 0
    }

    fn as_video(&self) -> Video {
        let coded = (self.width.unwrap_or(0), self.height.unwrap_or(0));
        let (width, height) = self.shown(coded.0, coded.1);
        Video {
            index: self.index,
            codec: self.codec_name.clone().unwrap_or_else(|| "unknown".to_owned()),
            coded,
            width,
            height,
            frames: self.nb_frames.as_deref().and_then(|frames| frames.parse().ok()),
        }
    }

    /// The size as it is shown, as ffmpeg's own automatic rotation will make it.
    fn shown(&self, width: u32, height: u32) -> (u32, u32) {
        let wide = match self.pixel_shape() {
            Some((x, y)) => (f64::from(width) * f64::from(x) / f64::from(y)).round().max(1.0) as u32,
            None => width,
        };
        let turned = self.side_data_list.iter().find_map(|data| data.rotation).unwrap_or_default();
        if (turned / 90.0).round() as i64 % 2 == 0 { (wide, height) } else { (height, wide) }
    }

    fn pixel_shape(&self) -> Option<(u32, u32)> {
        let (x, y) = self.sample_aspect_ratio.as_deref()?.split_once(':')?;
        match (x.parse().ok()?, y.parse().ok()?) {
            (0, _) | (_, 0) => None,
            shape => Some(shape),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(streams: &str, format: &str) -> Result<Contents, Unfit> {
        let json = format!(r#"{{"streams":[{streams}],"format":{{"format_name":"{format}","duration":"12.5"}}}}"#);
        Contents::parse(json.as_bytes())
    }

    fn parse(streams: &str) -> Result<Video, String> {
        let found = contents(streams, "mov,mp4").and_then(|contents| contents.video(16_384 * 8_640));
        found.map_err(|unfit| unfit.to_string())
    }

    #[test]
    fn the_first_stream_that_is_really_a_video_is_taken() {
        let cover = r#"{"index":0,"codec_type":"video","codec_name":"png","width":9,"height":9,"disposition":{"attached_pic":1}}"#;
        let sound = r#"{"index":1,"codec_type":"audio","codec_name":"aac"}"#;
        let video = r#"{"index":2,"codec_type":"video","codec_name":"h264","width":64,"height":36,"nb_frames":"7"}"#;
        let found = parse(&[cover, sound, video].join(",")).expect("has a video");
        let expected =
            Video { index: 2, codec: "h264".into(), coded: (64, 36), width: 64, height: 36, frames: Some(7) };
        assert_eq!(found, expected);
        let error = parse(&[cover, sound].join(",")).expect_err("has none");
        assert_eq!(error, "has no video stream: it holds cover picture png, audio aac (mov,mp4)");
        assert_eq!(parse("").expect_err("has none"), "has no video stream: it holds nothing (mov,mp4)");
    }

    #[test]
    fn the_shape_is_as_it_is_shown() {
        let shown = |more: &str| {
            let video = format!(r#"{{"index":0,"codec_type":"video","width":720,"height":576{more}}}"#);
            parse(&video).map(|video| (video.width, video.height)).expect("is a video")
        };
        assert_eq!(shown(""), (720, 576));
        assert_eq!(shown(r#","sample_aspect_ratio":"64:45""#), (1024, 576), "anamorphic");
        assert_eq!(shown(r#","sample_aspect_ratio":"0:1""#), (720, 576), "unknown shape of pixels");
        assert_eq!(shown(r#","side_data_list":[{},{"rotation":-90}]"#), (576, 720));
        assert_eq!(shown(r#","side_data_list":[{"rotation":180}]"#), (720, 576));
    }

    #[test]
    fn an_image_is_never_without_height() {
        let strip = Video { index: 0, codec: String::new(), coded: (0, 0), width: 4000, height: 2, frames: None };
        assert_eq!(strip.height_for(320), 1);
        assert_eq!(Video { width: 16, height: 9, ..strip }.height_for(320), 180);
    }

    #[test]
    fn only_what_a_file_says_of_its_length_is_stated() {
        let video = r#"{"index":0,"codec_type":"video","width":9,"height":9,"duration":"12.0"}"#;
        let sound = r#"{"index":1,"codec_type":"audio","duration":"12.5"}"#;
        let film = contents(&[video, sound].join(","), "mov,mp4").expect("parses");
        assert_eq!((film.duration, film.stated(1), film.audio), (Some(12.0), vec![12.0, 12.5], Some(1)));
        let broadcast = contents(video, "mpegts").expect("parses");
        assert_eq!((broadcast.duration, broadcast.stated(1), broadcast.audio), (Some(12.0), vec![], None));
        for said in ["", r#","duration":"12.5""#] {
            let picture = format!(r#"{{"index":0,"codec_type":"video","width":9,"height":9{said}}}"#);
            let web = contents(&[picture.as_str(), sound].join(","), "matroska,webm").expect("parses");
            assert_eq!((web.stated(1), web.stated(2)), (vec![], vec![12.5]), "which of the two is that long?");
        }
    }

    #[test]
    fn forged_sizes_are_refused() {
        let forged = |w: u64, h: u64| parse(&format!(r#"{{"index":0,"codec_type":"video","width":{w},"height":{h}}}"#));
        assert!(forged(16_384, 8_640).is_ok());
        assert!(forged(60_000, 60_000).expect_err("is too large").contains("60000x60000"));
        assert!(forged(0, 36).expect_err("has no size").contains("without a size"));
        assert!(forged(1 << 40, 1).expect_err("is no size").contains("not understood"));
    }
}
