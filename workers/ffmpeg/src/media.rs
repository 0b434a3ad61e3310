//! One input file, looked at by ffprobe, and the only way to run ffmpeg over it.
//!
//! Whatever a subcommand makes of the file, it comes through here: what ffmpeg may open and use, what it is doing, and whose
//! fault it is when it ends badly are one mechanism.

mod disk;
mod probe;
mod progress;
mod tools;
mod verdict;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use contract::exit;
use serde::Serialize;
use worker_kit::{Command, Context, Exit, JobError};

pub(crate) use probe::{Contents, Video};
pub(crate) use progress::Told;
pub(crate) use tools::Tools;

/// The item's file, of which ffprobe has said what it holds.
pub(crate) struct Media<'a> {
    tools: &'a Tools,
    context: &'a mut Context,
    path: PathBuf,
    /// What people know the file as, in quotes and on one line.
    pub(crate) name: String,
    pub(crate) contents: Contents,
}

/// Takes a line that ffmpeg prints.
pub(crate) type OnLine = Box<dyn FnMut(&str) + Send>;

/// One run of ffmpeg.
#[derive(Default)]
pub(crate) struct Run {
    /// Whether ffmpeg shall give up over the first damaged packet or frame; then nothing it complains of passes for well.
    pub(crate) strict: bool,
    /// Its arguments, with the input (see [`Media::input`]) among them; relative files are in the output directory.
    pub(crate) words: Vec<OsString>,
    /// The most files it may make.
    pub(crate) max_files: Option<u64>,
    /// How many frames its first output will have, where that is known.
    pub(crate) frames: Option<u64>,
    /// Takes what else comes on standard output, line by line.
    pub(crate) each: Option<OnLine>,
}

impl<'a> Media<'a> {
    /// Looks at the item's input.
    ///
    /// # Errors
    /// 65 when there is none, or ffprobe cannot read it; what running ffprobe gave otherwise.
    pub(crate) async fn open(tools: &'a Tools, context: &'a mut Context) -> Result<Self, JobError> {
        let Some(path) = context.input().map(Path::to_owned) else {
            let message = "the item names no file: it has neither uri nor url";
            return Err(JobError::new(exit::BAD_ITEM, "NoInput", message));
        };
        let name = name_for_people(context, &path);
        if std::fs::metadata(&path).is_ok_and(|meta| meta.len() == 0) {
            return Err(JobError::new(exit::BAD_ITEM, "EmptyFile", format!("{name} is empty: 0 bytes")));
        }
        let contents = probe::run(tools, &path, &name, context).await?;
        if let Some(video) = &contents.video {
            let Video { codec, width, height, frames, .. } = video;
            tracing::info!(codec, width, height, frames, "video read");
        }
        Ok(Self { tools, context, path, name, contents })
    }

    /// Its first stream that is a video.
    ///
    /// # Errors
    /// 65 when there is none, or none that may be decoded.
    pub(crate) fn video(&self) -> Result<Video, JobError> {
        self.contents.video(self.tools.bounds.max_pixels).map_err(|unfit| unfit.of(&self.name))
    }

    /// The options that open the file, up to `-i FILE`.
    pub(crate) fn input(&self, strict: bool) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["-threads".into(), self.tools.bounds.threads().into()];
        if strict {
            words.extend(["-err_detect", "explode"].map(OsString::from));
        }
        words.extend(self.tools.bounds.open_only(&self.path));
        words
    }

    /// The largest picture that may be made, in pixels.
    pub(crate) fn max_pixels(&self) -> u64 {
        self.tools.bounds.max_pixels
    }

    /// For each encoder.
    pub(crate) fn threads(&self) -> String {
        self.tools.bounds.threads()
    }

    /// Runs ffmpeg in the output directory to its end, and says what it told last.
    ///
    /// # Errors
    /// Whatever kept it from a good end, as an exit code, a word and a line.
    pub(crate) async fn ffmpeg(&mut self, run: Run) -> Result<Told, JobError> {
        let Run { strict, words, max_files, frames, each } = run;
        let told = Arc::new(Mutex::new(Told::default()));
        let dir = self.context.output_dir().to_owned();
        let bounds = disk::Bounds { bytes: self.tools.bounds.max_output, files: max_files };
        let follow = self.follow(&told, frames, each);
        let mut command = self.tools.ffmpeg(&dir);
        if strict {
            command = command.arg("-xerror");
        }
        let command =
            command.args(words).stdout_lines(follow).stop_when(disk::exceeded(dir.clone(), bounds, self.name.clone()));
        let exit = start(self.context, command).await?;
        let judge = verdict::Judge { tool: "ffmpeg", input: &self.path, name: &self.name, bounds: &self.tools.bounds };
        if !exit.success() {
            return Err(judge.failed(&exit));
        }
        if let Some(error) = judge.damaged(&exit).filter(|_| strict) {
            return Err(error);
        }
        disk::check(&dir, bounds, &self.name)?;
        let told = *told.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(told)
    }

    /// What a file in the output directory holds.
    ///
    /// # Errors
    /// As [`Media::open`], of a file of ours.
    pub(crate) async fn probe_output(&mut self, file: &str) -> Result<Contents, JobError> {
        let path = self.context.output_dir().join(file);
        probe::run(self.tools, &path, &format!("{file}, made of {},", self.name), self.context).await
    }

    /// The files in the output directory, in order.
    ///
    /// # Errors
    /// 74 when it cannot be listed.
    pub(crate) fn files_made(&self) -> Result<Vec<PathBuf>, JobError> {
        disk::files(self.context.output_dir()).map(|found| found.paths)
    }

    /// How many images were made.
    ///
    /// # Errors
    /// 73 when there is none.
    pub(crate) fn images(&self) -> Result<u64, JobError> {
        match self.files_made()?.len() {
            0 => Err(self.no_frames()),
            images => Ok(images as u64),
        }
    }

    /// The output that was asked for is not there, and could not be.
    pub(crate) fn no_frames(&self) -> JobError {
        verdict::no_frames(&self.name)
    }

    /// Puts a summary into the marker and the report.
    ///
    /// # Errors
    /// 74 when it cannot be written.
    pub(crate) fn tell(&self, summary: &impl Serialize) -> Result<(), JobError> {
        let json = serde_json::to_vec(summary).expect("numbers and words serialise");
        std::fs::write(self.context.result_file(), json)
            .map_err(|error| JobError::new(exit::IO, "IoError", format!("write the result file: {error}")))
    }

    /// Reads `-progress` into `told` and passes it on; other lines go to `each`.
    fn follow(
        &self,
        told: &Arc<Mutex<Told>>,
        frames: Option<u64>,
        mut each: Option<OnLine>,
    ) -> impl FnMut(&[u8]) + Send + use<> {
        let (told, progress, duration) = (Arc::clone(told), self.context.progress(), self.contents.duration);
        let begun = std::time::Instant::now();
        move |line| {
            let Ok(line) = std::str::from_utf8(line) else { return };
            if let Some(each) = &mut each {
                each(line);
            }
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.take(line) {
                let fraction = told.fraction(frames, duration);
                progress.report(fraction, told.in_words(frames, fraction, begun.elapsed()));
            }
        }
    }
}

/// Runs one of the tools; where it is not installed, the error says where to get it.
async fn start(context: &mut Context, command: Command) -> Result<Exit, JobError> {
    context.run(command).await.map_err(|error| match error.code() {
        exit::NOT_FOUND => error.with_hint("apt-get install ffmpeg, or name it with --ffmpeg and --ffprobe"),
        _ => error,
    })
}

/// The file's key, or its path where there is none, in quotes and on one line.
fn name_for_people(context: &Context, input: &Path) -> String {
    match context.item().data.get("key").and_then(serde_json::Value::as_str) {
        Some(key) => format!("{key:?}"),
        None => format!("{input:?}"),
    }
}

/// Words of a command line.
pub(crate) fn words<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> impl Iterator<Item = OsString> {
    words.into_iter().map(|word| word.as_ref().to_owned())
}
