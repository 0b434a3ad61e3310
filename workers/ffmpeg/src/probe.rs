//! What a file holds, as ffprobe reads it.

use std::path::Path;

use contract::exit;
use serde::Deserialize;
use worker_kit::{Context, JobError};

use crate::tools::{MAX_PIXELS, Tools, open_only, run};
use crate::verdict;

/// What is asked of ffprobe: no tags and no names, so that what a file says of itself cannot make the answer long.
const ENTRIES: &str = "format=format_name,duration\
    :stream=index,codec_type,codec_name,width,height,sample_aspect_ratio,nb_frames,duration\
    :stream_disposition=attached_pic:stream_side_data=rotation";
/// Room for the answer on a file of a few thousand streams.
const ANSWER_MAX: usize = 1 << 20;

/// The stream that images are made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Video {
    /// Its number in the file.
    pub(crate) index: u32,
    pub(crate) codec: String,
    /// Pixels of a frame as it is shown: turned as the file says, with its pixels made square.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// How many frames the container says there are. Some lie, many do not say.
    pub(crate) frames: Option<u64>,
    /// Seconds, likewise.
    pub(crate) duration: Option<f64>,
}

impl Video {
    /// Reads `input`, which people know as `name`.
    ///
    /// # Errors
    /// 65 when it is no video that can be decoded; what running ffprobe gave otherwise.
    pub(crate) async fn probe(
        tools: &Tools,
        input: &Path,
        name: &str,
        context: &mut Context,
    ) -> Result<Self, JobError> {
        if std::fs::metadata(input).is_ok_and(|meta| meta.len() == 0) {
            return Err(JobError::new(exit::BAD_ITEM, "EmptyFile", format!("{name} is empty: 0 bytes")));
        }
        let command = tools.ffprobe().args(["-of", "json=c=1", "-show_entries", ENTRIES]).args(open_only(input));
        let limit = tools.ffprobe_timeout;
        let Ok(exit) = tokio::time::timeout(limit, run(context, command.capture_stdout(ANSWER_MAX))).await else {
            let message = format!("ffprobe was not done with {name} after {limit:?}: does its store answer?");
            return Err(JobError::new(exit::TIMEOUT, "ProbeTimeout", message));
        };
        let exit = exit?;
        if !exit.success() {
            return Err(verdict::on("ffprobe", &exit, input, name));
        }
        Self::parse(&exit.stdout).map_err(|unfit| unfit.of(name))
    }

    fn parse(json: &[u8]) -> Result<Self, Unfit> {
        let answer: Answer = serde_json::from_slice(json).map_err(Unfit::Unreadable)?;
        let Some(stream) = answer.streams.iter().find(|stream| stream.is_video()) else {
            return Err(Unfit::NoVideo { holds: answer.holds() });
        };
        let (Some(width @ 1..), Some(height @ 1..)) = (stream.width, stream.height) else { return Err(Unfit::NoSize) };
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(Unfit::TooLarge { width, height });
        }
        let (width, height) = stream.shown(width, height);
        let seconds = |text: &Option<String>| text.as_deref()?.parse().ok().filter(|seconds: &f64| *seconds > 0.0);
        Ok(Self {
            index: stream.index,
            codec: stream.codec_name.clone().unwrap_or_else(|| "unknown".to_owned()),
            width,
            height,
            frames: stream.nb_frames.as_deref().and_then(|frames| frames.parse().ok()),
            duration: seconds(&stream.duration).or_else(|| seconds(&answer.format.duration)),
        })
    }

    /// How high an image of this width is, to have the video's shape.
    pub(crate) fn height_for(&self, width: u32) -> u32 {
        let exact = f64::from(self.height) * f64::from(width) / f64::from(self.width);
        exact.round().max(1.0) as u32
    }
}

/// Why a file that ffprobe could read is still no video for us.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("has no video stream: it holds {holds}")]
    NoVideo { holds: String },
    #[error("has a video stream without a size: it is damaged or was never finished")]
    NoSize,
    #[error("has a picture of {width}x{height}, more than the {MAX_PIXELS} pixels that are decoded")]
    TooLarge { width: u32, height: u32 },
    #[error("makes ffprobe give an answer that is not understood: {0}")]
    Unreadable(serde_json::Error),
}

impl Unfit {
    fn of(self, name: &str) -> JobError {
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

    fn parse(streams: &str) -> Result<Video, String> {
        let json = format!(r#"{{"streams":[{streams}],"format":{{"format_name":"mov,mp4","duration":"12.5"}}}}"#);
        Video::parse(json.as_bytes()).map_err(|unfit| unfit.to_string())
    }

    #[test]
    fn the_first_stream_that_is_really_a_video_is_taken() {
        let cover = r#"{"index":0,"codec_type":"video","codec_name":"png","width":9,"height":9,"disposition":{"attached_pic":1}}"#;
        let sound = r#"{"index":1,"codec_type":"audio","codec_name":"aac"}"#;
        let video = r#"{"index":2,"codec_type":"video","codec_name":"h264","width":64,"height":36,"nb_frames":"7"}"#;
        let found = parse(&[cover, sound, video].join(",")).expect("has a video");
        let expected =
            Video { index: 2, codec: "h264".into(), width: 64, height: 36, frames: Some(7), duration: Some(12.5) };
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
        let strip = Video { index: 0, codec: String::new(), width: 4000, height: 2, frames: None, duration: None };
        assert_eq!(strip.height_for(320), 1);
        assert_eq!(Video { width: 16, height: 9, ..strip }.height_for(320), 180);
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
