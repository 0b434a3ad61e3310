//! Which names are items: by pattern, by what their name says, by where they lie. Pure; sizes and times are not its matter.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ambassador_kit::{PatternError, Patterns};
use contract::{MARKER_FILE, STAGING_DIR};

use crate::args::{FilterArgs, OwnOutput};
use crate::reason::Reason;

/// Bytes of the longest path that any program can open: `PATH_MAX` of linux/limits.h, less the NUL.
const PATH_MAX: usize = 4_095;

/// What the flags say about names.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    glob: Patterns,
    exclude: Patterns,
    partial: Patterns,
    /// Where the files lie that each glob can match, as far as it says so; empty if one of them says nothing.
    prefixes: Vec<Vec<u8>>,
    settled: Vec<Vec<u8>>,
    done_marker: Option<Vec<u8>>,
    include_hidden: bool,
    own_output: OwnOutput,
    max_depth: Option<u32>,
    min_size: u64,
    max_size: u64,
    /// How long a path from the root may be, in bytes.
    longest: usize,
}

impl Filter {
    /// Reads the patterns.
    ///
    /// # Errors
    /// Names the flag and the pattern.
    pub(crate) fn new(args: &FilterArgs, done_marker: Option<&str>) -> Result<Self, PatternError> {
        let glob = Patterns::new("glob", &args.glob)?;
        Ok(Self {
            prefixes: glob.directories(),
            glob,
            exclude: Patterns::new("exclude", &args.exclude)?,
            partial: Patterns::new("partial", &args.partial)?,
            settled: Vec::new(),
            done_marker: done_marker.filter(|suffix| !suffix.is_empty()).map(|suffix| suffix.as_bytes().to_vec()),
            include_hidden: args.include_hidden,
            own_output: args.own_output,
            max_depth: args.max_depth,
            min_size: args.min_size.map_or(0, |size| size.as_u64()),
            max_size: args.max_size.map_or(u64::MAX, |size| size.as_u64()),
            longest: usize::MAX,
        })
    }

    /// Withholds what lies below this directory, given relative to the root: settled files go there.
    pub(crate) fn withhold_settled(&mut self, inside: &Path) {
        self.settled.push(inside.as_os_str().as_bytes().to_vec());
    }

    /// Withholds whatever could not be opened by its path, which begins with this one.
    pub(crate) fn withhold_too_long(&mut self, root: &Path) {
        self.longest = PATH_MAX.saturating_sub("/".len() + root.as_os_str().len());
    }

    /// Whether the files of this directory are to be looked at; `path` is relative to the root and not the root itself.
    pub(crate) fn directory(&self, path: &[u8]) -> Result<(), Reason> {
        let name = last(path);
        if name == STAGING_DIR.as_bytes() && self.own_output == OwnOutput::Withhold {
            return Err(Reason::OwnOutput);
        }
        if self.settled.iter().any(|dir| dir == path) {
            return Err(Reason::Settled);
        }
        if path.len() > self.longest {
            return Err(Reason::TooLong);
        }
        if name.starts_with(b".") && !self.include_hidden {
            return Err(Reason::Hidden);
        }
        if let Some(pattern) = self.exclude.find(path) {
            return Err(Reason::Excluded { pattern: pattern.into() });
        }
        let depth = path.iter().filter(|b| **b == b'/').count() + 1;
        if let Some(max) = self.max_depth.filter(|max| depth >= *max as usize) {
            return Err(Reason::TooDeep { max });
        }
        if !self.prefixes.is_empty() && !self.prefixes.iter().any(|prefix| leads_to(path, prefix)) {
            return Err(Reason::NoMatch);
        }
        Ok(())
    }

    /// Whether this file may be an item, as far as its name tells.
    pub(crate) fn file(&self, path: &[u8]) -> Result<(), Reason> {
        let name = last(path);
        if path.len() > self.longest {
            return Err(Reason::TooLong);
        }
        if self.done_marker.as_ref().is_some_and(|suffix| name.ends_with(suffix)) {
            return Err(Reason::DoneMarker);
        }
        if name.starts_with(b".") && !self.include_hidden {
            return Err(Reason::Hidden);
        }
        if let Some(pattern) = self.exclude.find(path) {
            return Err(Reason::Excluded { pattern: pattern.into() });
        }
        if let Some(pattern) = self.partial.find(name) {
            return Err(Reason::Partial { pattern: pattern.into() });
        }
        if !self.glob.is_empty() && !self.glob.matches(path) {
            return Err(Reason::NoMatch);
        }
        Ok(())
    }

    /// Whether a file of this size may be an item.
    pub(crate) fn size(&self, size: u64) -> Result<(), Reason> {
        if size < self.min_size {
            return Err(Reason::TooSmall { size, min: self.min_size });
        }
        if size > self.max_size {
            return Err(Reason::TooLarge { size, max: self.max_size });
        }
        Ok(())
    }

    /// What must lie beside the file of this name before it is listed.
    pub(crate) fn done_marker(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.done_marker.as_ref().map(|suffix| [name, suffix].concat())
    }

    /// The file whose done-marker this name is.
    pub(crate) fn marked_by<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        self.done_marker
            .as_ref()
            .and_then(|suffix| name.strip_suffix(suffix.as_slice()))
            .filter(|name| !name.is_empty())
    }

    /// The file that makes the directory it lies in some worker's output, if that matters.
    pub(crate) fn output_marker(&self) -> Option<&'static str> {
        (self.own_output == OwnOutput::Withhold).then_some(MARKER_FILE)
    }

    /// The globs, for people.
    pub(crate) fn globs(&self) -> String {
        self.glob.texts()
    }
}

fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or_default()
}

/// Whether `prefix` lies on the way down to or up from `path`.
fn leads_to(path: &[u8], prefix: &[u8]) -> bool {
    let (short, long) = if path.len() <= prefix.len() { (path, prefix) } else { (prefix, path) };
    long.starts_with(short) && (long.len() == short.len() || long.get(short.len()) == Some(&b'/'))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        filter: FilterArgs,
    }

    fn filter(words: &[&str]) -> Filter {
        let line = Line::try_parse_from([&["p"], words].concat()).expect("parses");
        Filter::new(&line.filter, None).expect("valid patterns")
    }

    fn why(result: Result<(), Reason>) -> &'static str {
        result.map_or_else(|reason| reason.label(), |()| "listed")
    }

    #[test]
    fn a_bare_pattern_is_about_the_name_and_a_path_about_the_path() {
        let bare = filter(&["--glob", "*.mp4"]);
        for path in ["a.mp4", "x/y/a b.mp4", "x/$(rm -rf).mp4", "new\nline.mp4"] {
            assert_eq!(why(bare.file(path.as_bytes())), "listed", "{path}");
        }
        assert_eq!(why(bare.file(b"\xff\xfe.mp4")), "listed");
        assert_eq!(why(bare.file(b"a.MP4")), "no-match");
        let path = filter(&["--glob", "in/**/*.mp4"]);
        assert_eq!(why(path.file(b"in/a.mp4")), "listed");
        assert_eq!(why(path.file(b"in/x/y/a.mp4")), "listed");
        assert_eq!(why(path.file(b"out/a.mp4")), "no-match");
        let one = filter(&["--glob", "in/*.mp4"]);
        assert_eq!(why(one.file(b"in/x/a.mp4")), "no-match");
    }

    #[test]
    fn directories_no_glob_can_reach_are_not_entered() {
        let filter = filter(&["--glob", "in/2024/*/x.mp4", "--glob", "other/*.mp4"]);
        for (path, want) in [("in", "listed"), ("in/2024", "listed"), ("in/2024/05", "listed"), ("in/2023", "no-match")]
        {
            assert_eq!(why(filter.directory(path.as_bytes())), want, "{path}");
        }
        assert_eq!(why(filter.directory(b"inn")), "no-match");
        assert_eq!(why(filter.directory(b"other")), "listed");
    }

    #[test]
    fn what_is_not_finished_hidden_or_output_is_withheld_by_default() {
        let plain = filter(&[]);
        assert_eq!(why(plain.file(b"a.mp4.part")), "partial");
        assert_eq!(why(plain.file(b"d/a~")), "partial");
        assert_eq!(why(plain.file(b"d/.a")), "hidden");
        assert_eq!(why(plain.directory(b"d/.git")), "hidden");
        assert_eq!(why(plain.directory(b"out/.longshore")), "own-output");
        assert_eq!(why(filter(&["--include-hidden"]).file(b".a")), "listed");
        assert_eq!(why(filter(&["--partial", "*.new"]).file(b"a.part")), "listed");
        assert_eq!(why(filter(&["--include-hidden"]).directory(b".longshore")), "own-output");
    }

    #[test]
    fn excluded_says_by_which_pattern() {
        let filter = filter(&["--exclude", "raw/", "--exclude", "x/*.mp4"]);
        let Err(Reason::Excluded { pattern }) = filter.file(b"x/a.mp4") else { panic!("not excluded") };
        assert_eq!(&*pattern, "x/*.mp4");
        assert_eq!(why(filter.directory(b"d/raw")), "excluded");
        assert_eq!(why(filter.file(b"y/a.mp4")), "listed");
    }

    #[test]
    fn depth_counts_from_the_root() {
        assert_eq!(why(filter(&["--max-depth", "1"]).directory(b"a")), "too-deep");
        assert_eq!(why(filter(&["--max-depth", "2"]).directory(b"a")), "listed");
        assert_eq!(why(filter(&["--max-depth", "2"]).directory(b"a/b")), "too-deep");
    }

    #[test]
    fn sizes_bound_both_ways() {
        let filter = filter(&["--min-size", "10", "--max-size", "1KiB"]);
        assert_eq!(why(filter.size(9)), "too-small");
        assert_eq!(why(filter.size(10)), "listed");
        assert_eq!(why(filter.size(1025)), "too-large");
    }
}
