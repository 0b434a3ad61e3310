//! What a measurement is: the work, what it costs us, what it costs a peer, and what was aimed at.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use tempfile::TempDir;

use crate::sample::{Sample, Unit};

/// How to measure.
#[derive(Clone, Debug, Args)]
pub(crate) struct BenchArgs {
    /// How often each is measured; the median counts.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    runs: usize,
    /// Do this part of the work only, such as 0.01, to try a measurement out.
    #[arg(long, value_name = "PART", default_value_t = 1.0)]
    scale: f64,
    /// Where our programs are [default: beside this one].
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
    /// Where to make folders and files, on the file system to be measured; removed afterwards [default: the temporary
    /// directory].
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

/// What every measurement is given.
#[derive(Debug)]
pub(crate) struct Bench {
    runs: usize,
    scale: f64,
    bin_dir: PathBuf,
    scratch: TempDir,
}

impl Bench {
    /// # Errors
    /// When there is no place for files, or our own path is not known.
    pub(crate) fn new(args: BenchArgs) -> Result<Self> {
        ensure!(args.scale > 0.0 && args.scale <= 1.0, "--scale is more than 0 and at most 1");
        let bin_dir = match args.bin_dir {
            Some(dir) => dir,
            None => {
                let own = std::env::current_exe().context("find this program")?;
                own.parent().context("find this program's directory")?.to_owned()
            }
        };
        let mut scratch = tempfile::Builder::new();
        scratch.prefix("longshore-bench-");
        let scratch = match args.scratch {
            Some(dir) => scratch.tempdir_in(&dir).with_context(|| format!("make a directory in {}", dir.display()))?,
            None => scratch.tempdir().context("make a temporary directory")?,
        };
        Ok(Self { runs: args.runs, scale: args.scale, bin_dir, scratch })
    }

    /// How often each is to be measured.
    pub(crate) fn runs(&self) -> usize {
        self.runs
    }

    /// So much work, or the part of it that was asked for.
    pub(crate) fn scaled(&self, work: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let part = (work as f64 * self.scale).round() as usize;
        part.max(1)
    }

    /// One of our programs.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.bin_dir.join(name);
        ensure!(path.is_file(), "{} is missing (cargo build --release, or --bin-dir)", path.display());
        Ok(path)
    }

    /// A place for files, removed at the end.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Tells whoever waits how far it is.
    #[expect(clippy::unused_self, reason = "whoever measures has it at hand")]
    pub(crate) fn say(&self, what: fmt::Arguments<'_>) {
        let _ = writeln!(std::io::stderr(), "{what}");
    }
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) work: String,
    pub(crate) ours: Sample,
    /// Who does the same, and what it costs there.
    pub(crate) peer: Option<(&'static str, Sample)>,
    pub(crate) aim: Aim,
}

/// What was aimed at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    /// At most so many times what the peer needs.
    AtMostTimes(f64),
    /// So many times faster than the peer, or more.
    TimesFaster(f64),
    /// At least this part of the peer's rate.
    RateTimes(f64),
    /// At most this, in the unit of the sample.
    AtMost(f64),
    /// Told for its own sake.
    Stated,
}

impl Row {
    /// What is ours over what is the peer's.
    fn ratio(&self) -> Option<f64> {
        self.peer.as_ref().map(|(_, peer)| self.ours.median() / peer.median())
    }

    fn is_met(&self) -> Option<bool> {
        match self.aim {
            Aim::AtMostTimes(most) => self.ratio().map(|ratio| ratio <= most),
            Aim::TimesFaster(least) => self.ratio().map(|ratio| 1.0 / ratio >= least),
            Aim::RateTimes(least) => self.ratio().map(|ratio| ratio >= least),
            Aim::AtMost(most) => Some(self.ours.median() <= most),
            Aim::Stated => None,
        }
    }

    fn cells(&self) -> [String; 6] {
        let ratio = self.ratio().map_or_else(String::new, |ratio| match self.aim {
            Aim::TimesFaster(_) => format!("{:.1}× faster", 1.0 / ratio),
            Aim::AtMostTimes(_) | Aim::RateTimes(_) | Aim::AtMost(_) | Aim::Stated => format!("{ratio:.2}×"),
        });
        let aim = match self.aim {
            Aim::AtMostTimes(most) => format!("≤ {most}×"),
            Aim::TimesFaster(least) => format!("≥ {least}× faster"),
            Aim::RateTimes(least) => format!("≥ {least}×"),
            Aim::AtMost(most) if self.ours.unit() == Unit::Count => format!("≤ {most}"),
            Aim::AtMost(most) => format!("< {}", self.ours.unit().show(most)),
            Aim::Stated => String::new(),
        };
        let verdict = self.is_met().map_or("", |met| if met { "met" } else { "**missed**" });
        let peer = self.peer.as_ref().map_or_else(|| "–".to_owned(), |(name, peer)| format!("{name}: {peer}"));
        [self.work.clone(), self.ours.to_string(), peer, ratio, aim, verdict.to_owned()]
    }
}

/// The rows as a table, for a terminal or in Markdown.
pub(crate) fn table(rows: &[Row], markdown: bool) -> String {
    let head = ["work", "ours", "peer", "ratio", "aim", "verdict"].map(str::to_owned);
    let lines: Vec<[String; 6]> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line.get(column).map_or(0, |c| c.chars().count())).max();
    let widths: [usize; 6] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut text = String::new();
    for (n, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let line = if markdown { format!("| {} |", cells.join(" | ")) } else { cells.join("   ") };
        let _ = writeln!(text, "{}", line.trim_end());
        if n == 0 && markdown {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            let _ = writeln!(text, "| {} |", rule.join(" | "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: f64, peer: f64, aim: Aim) -> Row {
        let sample = |value| Sample::new(Unit::Seconds, vec![value]);
        Row { work: "w".into(), ours: sample(ours), peer: Some(("find", sample(peer))), aim }
    }

    #[test]
    fn a_verdict_is_of_the_ratio_or_of_the_figure() {
        for (row, want) in [
            (row(1.4, 1.0, Aim::AtMostTimes(1.5)), true),
            (row(1.6, 1.0, Aim::AtMostTimes(1.5)), false),
            (row(1.0, 10.0, Aim::TimesFaster(10.0)), true),
            (row(1.0, 9.0, Aim::TimesFaster(10.0)), false),
            (row(0.9, 1.0, Aim::RateTimes(0.9)), true),
            (row(0.8, 1.0, Aim::RateTimes(0.9)), false),
            (row(0.009, 1.0, Aim::AtMost(0.01)), true),
            (row(0.011, 1.0, Aim::AtMost(0.01)), false),
        ] {
            assert_eq!(row.is_met(), Some(want), "{row:?}");
        }
    }

    #[test]
    fn markdown_has_a_cell_for_everything() {
        let table = table(&[row(1.5, 1.0, Aim::AtMostTimes(1.2))], true);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines.last().copied(), Some("| w    | 1.50 s | find: 1.00 s | 1.50× | ≤ 1.2× | **missed** |"));
        assert!(lines.iter().all(|line| line.matches('|').count() == 7));
    }
}
