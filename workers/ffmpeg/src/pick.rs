//! Images of some of a video's frames: what thumbnails, scene and contact-sheet have in common.
//!
//! ffmpeg decodes each frame once and hands it to two outputs: one that only counts (`null`), whose number is what
//! `-progress` tells, and one that makes images of the frames that a filter lets through.

use std::ffi::OsString;

use worker_kit::JobError;

use crate::image::Encoding;
use crate::media::{Media, OnLine, Run, Told, Video, words};

/// Which frames, and what becomes of them.
pub(crate) struct Pick<'a> {
    pub(crate) video: &'a Video,
    /// From frames as they are decoded to images as they are written.
    pub(crate) filter: String,
    pub(crate) encoding: Encoding,
    /// Of the images' names: `<prefix>-000000.jpg`.
    pub(crate) prefix: &'static str,
    /// ffmpeg makes no more images than these.
    pub(crate) most: Option<u64>,
    /// More than these are an error.
    pub(crate) max_images: u64,
    /// Takes what the filter prints.
    pub(crate) each: Option<OnLine>,
}

impl Pick<'_> {
    /// Makes the images, and says what ffmpeg told last: its frames are all that were decoded.
    ///
    /// # Errors
    /// Those of [`Media::ffmpeg`].
    pub(crate) async fn run(self, media: &mut Media<'_>) -> Result<Told, JobError> {
        let words = self.words(media);
        let run =
            Run { strict: true, words, max_files: Some(self.max_images), frames: self.video.frames, each: self.each };
        media.ffmpeg(run).await
    }

    fn words(&self, media: &Media<'_>) -> Vec<OsString> {
        let graph = format!("[0:{}]split[all][some];[some]{}[image]", self.video.index, self.filter);
        let name = format!("{}-%06d.{}", self.prefix, self.encoding.format.extension());
        // A change of size in mid-stream must not build the filters anew: they would count from 0 again.
        let mut all: Vec<OsString> = words(["-reinit_filter", "0"]).chain(media.input(true)).collect();
        all.extend(words(["-filter_complex", &graph, "-map", "[all]", "-fps_mode", "passthrough", "-f", "null", "-"]));
        all.extend(words(["-map", "[image]", "-fps_mode", "passthrough"]));
        all.extend(self.most.iter().flat_map(|most| ["-frames:v".into(), most.to_string().into()]));
        all.extend(words(self.encoding.options()));
        // The same video gives the same bytes: no encoder's name and no dates in the images.
        all.extend(words(["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact"]));
        all.extend(words(["-start_number", "0", "-f", "image2", &name]));
        all
    }
}
