//! Contact sheets: many small pictures of a video in one image.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::time::Duration;

use clap::Args;
use contract::exit;
use serde::Serialize;
use worker_kit::{Context, JobError};

use crate::image::{Encoding, LONGEST_SIDE};
use crate::media::{Media, Run, Tools, Video, words};
use crate::pick::Pick;

/// Black between the tiles and around them, in pixels.
const GAP: u32 = 4;

/// Makes contact sheets of the item's video.
#[derive(Debug, Args)]
pub(crate) struct ContactSheet {
    /// Tiles beside each other.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    columns: u32,
    /// Tiles above each other.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rows: u32,
    /// One tile for each such span of the video, on as many sheets as that takes; without it one sheet shows the whole video.
    #[arg(long, value_name = "DURATION", value_parser = sidecar::cli::value::positive_duration)]
    interval: Option<Duration>,
    /// Write into each tile at what time it is.
    #[arg(long)]
    timestamps: bool,
    /// The font file to write with; the system's default sans serif without it.
    #[arg(long, value_name = "FILE", requires = "timestamps")]
    font: Option<OsString>,
    /// The most sheets of one video; one that has more is exit 65.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_images: u64,
    #[command(flatten)]
    encoding: Encoding,
    #[command(flatten)]
    pub(crate) tools: Tools,
}

/// What the marker and the report say of the output.
#[derive(Serialize)]
struct Summary {
    /// Frames that were decoded.
    frames: u64,
    images: u64,
    columns: u32,
    rows: u32,
    /// Tile k, over all sheets, is the first frame at or after `k * interval` seconds.
    interval: f64,
    /// Seconds.
    duration: Option<f64>,
    /// Of the video as it is shown, in pixels.
    width: u32,
    height: u32,
    codec: String,
}

impl ContactSheet {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), JobError> {
        self.check_font()?;
        let mut media = Media::open(&self.tools, context).await?;
        let video = media.video()?;
        let tile = self.encoding.size(&video, media.max_pixels(), &media.name)?;
        self.check_sheet(tile, &media)?;
        let interval = match self.interval {
            Some(interval) => interval.as_secs_f64(),
            None => self.spread(&video, &mut media).await?,
        };
        let pick = Pick {
            video: &video,
            filter: self.filter(interval, tile)?,
            encoding: self.encoding,
            prefix: "sheet",
            // A video that is longer than it says makes no second sheet.
            most: self.interval.is_none().then_some(1),
            max_images: self.max_images,
            each: None,
        };
        let told = pick.run(&mut media).await?;
        let images = media.images()?;
        media.tell(&Summary {
            frames: told.frames,
            images,
            columns: self.columns,
            rows: self.rows,
            interval: (interval * 1000.0).round() / 1000.0,
            duration: media.contents.duration.or(told.seconds),
            width: video.width,
            height: video.height,
            codec: video.codec,
        })
    }

    /// The span of one tile where one sheet shows all. A video that does not say how long it is, is measured first.
    async fn spread(&self, video: &Video, media: &mut Media<'_>) -> Result<f64, JobError> {
        let seconds = match media.contents.duration {
            Some(seconds) => seconds,
            None => {
                let stream = format!("0:{}", video.index);
                let measure = ["-map", &stream, "-fps_mode", "passthrough", "-f", "null", "-"];
                let words = media.input(true).into_iter().chain(words(measure)).collect();
                let run = Run { strict: true, words, ..Run::default() };
                media.ffmpeg(run).await?.seconds.unwrap_or_default()
            }
        };
        Ok(seconds / f64::from(self.columns * self.rows))
    }

    /// ffmpeg would silently take another.
    fn check_font(&self) -> Result<(), JobError> {
        match self.font.as_ref().map(|file| (file, File::open(file))) {
            Some((file, Err(error))) => {
                let message = format!("--font {}: {error}", file.display());
                Err(JobError::new(exit::CONFIG, "FontUnreadable", message))
            }
            _ => Ok(()),
        }
    }

    fn check_sheet(&self, (width, height): (u32, u32), media: &Media<'_>) -> Result<(), JobError> {
        let side = |tiles: u32, pixels: u32| u64::from(tiles) * u64::from(pixels + GAP) + u64::from(GAP);
        let (wide, high) = (side(self.columns, width), side(self.rows, height));
        if wide.max(high) > u64::from(LONGEST_SIDE) || wide * high > media.max_pixels() {
            let message = format!(
                "a sheet of {} would be {wide}x{high}, more than can be made: lower --width, --columns or --rows",
                media.name
            );
            return Err(JobError::new(exit::BAD_ITEM, "PictureTooLarge", message));
        }
        Ok(())
    }

    fn filter(&self, interval: f64, tile: (u32, u32)) -> Result<String, JobError> {
        let mut filter = format!("select='gte(t-start_t,selected_n*{interval:.6})',{}", self.encoding.filter(tile));
        if self.timestamps {
            let size = (tile.1 / 8).clamp(8, 64);
            let font = match &self.font {
                Some(file) => format!(":fontfile={}", quoted(file)?),
                None => String::new(),
            };
            filter.push_str(&format!(
                ",drawtext=text='%{{pts\\:hms}}':x=4:y=h-th-4:fontsize={size}:fontcolor=white:box=1:boxcolor=black@0.6:boxborderw=2{font}"
            ));
        }
        let (columns, rows) = (self.columns, self.rows);
        filter.push_str(&format!(",tile={columns}x{rows}:padding={GAP}:margin={GAP}:color=black"));
        Ok(filter)
    }
}

/// The operator's path as a value in a filter graph, where two parsers after each other take characters away.
fn quoted(path: &OsStr) -> Result<String, JobError> {
    let Some(path) = path.to_str() else {
        let message = "--font: the name of the font file must be UTF-8";
        return Err(JobError::new(exit::USAGE, "Usage", message));
    };
    let escape = |text: &str, special: &str| {
        let each = text.chars().map(|c| if special.contains(c) { format!("\\{c}") } else { c.to_string() });
        each.collect::<String>()
    };
    Ok(escape(&escape(path, "\\':"), "\\'[],;"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_through_two_parsers() {
        assert_eq!(quoted(OsStr::new("/fonts/a.ttf")).expect("is UTF-8"), "/fonts/a.ttf");
        assert_eq!(quoted(OsStr::new("/f:o's,x.ttf")).expect("is UTF-8"), r"/f\\:o\\\'s\,x.ttf");
    }
}
