//! One image of every N frames.
//!
//! ffmpeg decodes each frame once and hands it to two outputs: one that only counts (`null`), whose number is what
//! `-progress` tells, and one that keeps every Nth frame. Nothing between decoder and `select` may drop, repeat or
//! renumber frames, and the count proves afterwards that nothing did.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use contract::exit;
use serde::Serialize;
use worker_kit::{Command, Context, Job, JobError};

use crate::image::Encoding;
use crate::probe::Video;
use crate::progress::Told;
use crate::tools::{MAX_PIXELS, Tools, file_url, open_only, run};
use crate::verdict;

/// Makes thumbnails of the item's video.
#[derive(Debug)]
pub(crate) struct Thumbnails {
    pub(crate) every: NonZeroU32,
    pub(crate) width: u32,
    pub(crate) encoding: Encoding,
    pub(crate) tools: Tools,
}

/// What the marker and the report say of the output.
#[derive(Serialize)]
struct Summary<'a> {
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
    codec: &'a str,
}

impl Job for Thumbnails {
    fn programs(&self) -> Vec<OsString> {
        vec![self.tools.ffmpeg.clone(), self.tools.ffprobe.clone()]
    }

    async fn run(self, context: &mut Context) -> Result<(), JobError> {
        let Some(input) = context.input().map(Path::to_owned) else {
            return Err(JobError::new(
                exit::BAD_ITEM,
                "NoInput",
                "the item names no video: it has neither uri nor url",
            ));
        };
        let name = name_for_people(context, &input);
        let video = Video::probe(&self.tools, &input, &name, context).await?;
        tracing::info!(
            codec = video.codec,
            width = video.width,
            height = video.height,
            frames = video.frames,
            "video read"
        );

        let told = Arc::new(Mutex::new(Told::default()));
        let command = self.command(&video, &input, context.output_dir()).stdout_lines(follow(&told, &video, context));
        let exit = run(context, command).await?;
        if !exit.success() {
            return Err(verdict::on("ffmpeg", &exit, &input, &name));
        }
        if let Some(error) = verdict::damaged(&exit, &input, &name) {
            return Err(error);
        }
        let told = *told.lock().unwrap_or_else(PoisonError::into_inner);
        let images = self.images(told.frames, &name, context.output_dir())?;
        let summary = Summary {
            frames: told.frames,
            every: self.every,
            images,
            duration: video.duration.or(told.seconds),
            width: video.width,
            height: video.height,
            codec: &video.codec,
        };
        let json = serde_json::to_vec(&summary).expect("numbers and a word serialise");
        std::fs::write(context.result_file(), json)
            .map_err(|error| JobError::new(exit::IO, "IoError", format!("write the result file: {error}")))
    }
}

impl Thumbnails {
    fn command(&self, video: &Video, input: &Path, output: &Path) -> Command {
        let (width, height) = (self.width, video.height_for(self.width));
        let graph = format!(
            "[0:{}]split[all][some];[some]select='not(mod(n,{}))',{}[image]",
            video.index,
            self.every,
            self.encoding.filter(width, height)
        );

        self.tools
            .ffmpeg()
            .args(["-progress", "pipe:1", "-stats_period", "0.5"])
            // Strict: a frame that is missing or guessed would shift or falsify every image after it.
            .args(["-xerror", "-err_detect", "explode", "-max_pixels", &MAX_PIXELS.to_string()])
            // A change of size in mid-stream must not build the filters anew, for select would count from 0 again.
            .args(["-reinit_filter", "0"])
            .args(["-threads", &self.tools.threads.to_string()])
            .args(open_only(input))
            .args(["-filter_complex", &graph])
            .args(["-map", "[all]", "-fps_mode", "passthrough", "-f", "null", "-"])
            .args(["-map", "[image]", "-fps_mode", "passthrough"])
            .args(self.encoding.options())
            // The same video gives the same bytes: no encoder's name and no dates in the images.
            .args(["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact"])
            .args(["-start_number", "0", "-f", "image2"])
            .arg(self.pattern(output))
    }

    /// `file:<output>/thumb-%06d.jpg`, where a `%` of the directory's own stands for itself.
    fn pattern(&self, output: &Path) -> OsString {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let mut bytes = Vec::new();
        for byte in file_url(output).as_bytes() {
            bytes.extend(std::iter::repeat_n(*byte, if *byte == b'%' { 2 } else { 1 }));
        }
        bytes.extend_from_slice(format!("/thumb-%06d.{}", self.encoding.format.extension()).as_bytes());
        OsString::from_vec(bytes)
    }

    /// How many images there are, which must be as many as the frames ask for.
    fn images(&self, frames: u64, name: &str, output: &Path) -> Result<u64, JobError> {
        let entries = std::fs::read_dir(output)
            .map_err(|error| JobError::new(exit::IO, "IoError", format!("list the images: {error}")))?;
        let images = entries.count() as u64;
        if images == 0 {
            return Err(JobError::new(
                exit::CANT_CREATE,
                "NoImages",
                format!("{name} gave no image: not one frame in it"),
            ));
        }
        let due = frames.div_ceil(u64::from(self.every.get()));
        if images != due {
            let message = format!("ffmpeg made {images} images of the {frames} frames of {name}, and {due} were due");
            return Err(JobError::new(exit::BUG, "WrongCount", message));
        }
        Ok(images)
    }
}

/// Reads `-progress` into `told` and passes it on.
fn follow(told: &Arc<Mutex<Told>>, video: &Video, context: &Context) -> impl FnMut(&[u8]) + Send + 'static {
    let (told, video, progress) = (Arc::clone(told), video.clone(), context.progress());
    move |line| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.take(line) {
            let fraction = told.fraction(video.frames, video.duration);
            match video.frames {
                Some(all) => progress.report(fraction, format_args!("frame {} of {all}", told.frames)),
                None => progress.report(fraction, format_args!("frame {}", told.frames)),
            }
        }
    }
}

/// The video's key, or its path where there is none, in quotes and on one line.
fn name_for_people(context: &Context, input: &Path) -> String {
    match context.item().data.get("key").and_then(serde_json::Value::as_str) {
        Some(key) => format!("{key:?}"),
        None => format!("{input:?}"),
    }
}
