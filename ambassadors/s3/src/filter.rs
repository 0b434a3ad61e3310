//! Which objects are items: by pattern, by what their key says, by class, size and age. Pure: whose clock `now` is, is the caller's
//! to know.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ambassador_kit::catalog::Why;
use ambassador_kit::{PatternError, Patterns};
use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use contract::{ATTEMPTS_DIR, MARKER_FILE, STAGING_DIR};
use sidecar::cli::value;
use storage_s3::Listed;

/// Which objects are items.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Which objects")]
pub(crate) struct FilterArgs {
    /// List objects that match: a name (`*.mp4`, at any depth) or a path from the prefix (`in/**/*.mp4`). Repeatable (in the
    /// variable: one a line) [default: every object].
    #[arg(long, value_name = "PATTERN", value_delimiter = '\n')]
    pub(crate) glob: Vec<String>,
    /// Withhold objects that match, or lie in a directory that does, in the same way. Repeatable.
    #[arg(long, value_name = "PATTERN", value_delimiter = '\n')]
    pub(crate) exclude: Vec<String>,
    /// Withhold objects written less than this ago, by the store's clock.
    #[arg(long, value_parser = value::duration, value_name = "DURATION", default_value = "0s")]
    pub(crate) min_age: Duration,
    /// Withhold smaller objects.
    #[arg(long, value_parser = size, value_name = "SIZE")]
    pub(crate) min_size: Option<ByteSize>,
    /// Withhold larger objects.
    #[arg(long, value_parser = size, value_name = "SIZE")]
    pub(crate) max_size: Option<ByteSize>,
    /// What to do with objects of an archived class, which nobody can read before they are restored.
    #[arg(long, value_enum, default_value_t = Treat::Withhold)]
    pub(crate) archived: Treat,
    /// What to do with workers' output: what lies beside or below a `_SUCCESS.json`, or in `_attempts/`.
    #[arg(long, value_enum, default_value_t = Treat::Withhold)]
    pub(crate) own_output: Treat,
}

/// What is done with objects of a kind that is seldom meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Treat {
    /// They are not listed.
    Withhold,
    /// They are listed as any other.
    List,
}

/// What is wrong with the patterns or bounds.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// A pattern is wrong.
    #[error("read the patterns")]
    Pattern(#[from] PatternError),
    /// Bounds that leave nothing.
    #[error("no object is at least {min} and at most {max}: --min-size is larger than --max-size")]
    Sizes {
        /// `--min-size`.
        min: ByteSize,
        /// `--max-size`.
        max: ByteSize,
    },
}

/// What Hadoop's first S3 client wrote for a folder.
const FOLDER_SUFFIX: &str = "_$folder$";
/// Classes whose objects cannot be read without a restore. `GLACIER_IR` and `INTELLIGENT_TIERING` can, but for tiers of the
/// latter that no listing shows.
const ARCHIVED: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// What the flags say about objects. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Filter(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    prefix: String,
    glob: Patterns,
    exclude: Patterns,
    min_age: Duration,
    min_size: u64,
    max_size: u64,
    archived: Treat,
    own_output: Treat,
    /// What keys of settled objects begin with.
    settled: Vec<String>,
    texts: Texts,
}

/// Messages that many objects share.
#[derive(Debug)]
struct Texts {
    no_match: Arc<str>,
    excluded: HashMap<String, Arc<str>>,
    placeholder: Arc<str>,
    archived: Arc<str>,
    own_output: Arc<str>,
    settled: Arc<str>,
}

/// What an object is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Listed.
    Item,
    /// Not listed, whatever time it is.
    Withheld(Why),
    /// Not listed until so much time has passed.
    Later(Why, Duration),
}

impl Filter {
    /// Reads the patterns, which are about what follows `prefix`. Whatever begins with one of `settled` was an item.
    ///
    /// # Errors
    /// [`FilterError`], naming the flag.
    pub(crate) fn new(args: &FilterArgs, prefix: &str, settled: Vec<String>) -> Result<Self, FilterError> {
        if let (Some(min), Some(max)) = (args.min_size, args.max_size)
            && min > max
        {
            return Err(FilterError::Sizes { min, max });
        }
        let glob = Patterns::new("glob", &args.glob)?;
        let exclude = Patterns::new("exclude", &args.exclude)?;
        let beneath = if prefix.is_empty() { String::new() } else { format!(", of what follows --prefix {prefix:?}") };
        let texts = Texts {
            no_match: format!("it matches no --glob (of: {}{beneath})", glob.texts()).into(),
            excluded: args
                .exclude
                .iter()
                .map(|text| (text.clone(), Arc::from(format!("it matches --exclude {text:?}"))))
                .collect(),
            placeholder: "it is empty and its key stands for a folder".into(),
            archived: "it is of an archived class and cannot be read: copy it to another class; or restore it, and start this program \
                       with --archived list"
                .into(),
            own_output: "it is the published output of a worker (list it with --own-output list)".into(),
            settled: "settled objects are moved there".into(),
        };
        Ok(Self(Arc::new(Rules {
            prefix: prefix.to_owned(),
            glob,
            exclude,
            min_age: args.min_age,
            min_size: args.min_size.map_or(0, |size| size.as_u64()),
            max_size: args.max_size.map_or(u64::MAX, |size| size.as_u64()),
            archived: args.archived,
            own_output: args.own_output,
            settled,
            texts,
        })))
    }

    /// What `object` is to be, when the store's clock shows `now`.
    pub(crate) fn judge(&self, object: &Listed, now: SystemTime) -> Verdict {
        if let Some(why) = self.0.by_key(&object.key, object.size).or_else(|| self.0.by_content(object)) {
            return Verdict::Withheld(why);
        }
        let age = object.last_modified.map(|time| now.duration_since(time.0).unwrap_or_default());
        let left = age.and_then(|age| self.0.min_age.checked_sub(age)).filter(|left| !left.is_zero());
        left.map_or(Verdict::Item, |left| {
            let min = humantime::format_duration(self.0.min_age);
            let written = object.last_modified.map(|time| time.to_string()).unwrap_or_default();
            let message = format!(
                "it was written at {written} and is listed once it is {min} old by the store's clock (--min-age)"
            );
            Verdict::Later(Why { reason: "too-young", message: message.into(), pending: true }, left)
        })
    }

    /// Whether workers' output is withheld.
    pub(crate) fn withholds_output(&self) -> bool {
        self.0.own_output == Treat::Withhold
    }

    /// The directory, with its slash, that is output of a worker because `key` lies in it; if that matters.
    pub(crate) fn output_of<'k>(&self, key: &'k str) -> Option<&'k str> {
        let (dir, name) = split(key);
        (self.0.own_output == Treat::Withhold && name == MARKER_FILE).then_some(dir)
    }

    /// Why something in a directory that is output of a worker is withheld.
    pub(crate) fn is_output(&self) -> Why {
        why("own-output", &self.0.texts.own_output)
    }

    /// What every key that can match begins with: the prefix, and what all globs have in common.
    pub(crate) fn listed_prefix(&self) -> String {
        let mut directories = self.0.glob.directories().into_iter().filter_map(|dir| String::from_utf8(dir).ok());
        match (directories.next(), directories.next()) {
            (Some(only), None) => format!("{}{only}/", self.0.prefix),
            _ => self.0.prefix.clone(),
        }
    }
}

impl Rules {
    fn by_key(&self, key: &str, size: u64) -> Option<Why> {
        let texts = &self.texts;
        if self.settled.iter().any(|prefix| key.starts_with(prefix)) {
            return Some(why("settled", &texts.settled));
        }
        let path = key.strip_prefix(&self.prefix).unwrap_or(key);
        let (dir, name) = split(path);
        // Not even where output is asked for: it is there to find out what the store honours, and for a moment.
        if dir.split('/').any(|part| part == STAGING_DIR) {
            let message = format!("in {STAGING_DIR}/ lies what our own programs write for a moment").into();
            return Some(Why { reason: "own-output", message, pending: false });
        }
        let output = || name == MARKER_FILE || dir.split('/').any(|part| part == ATTEMPTS_DIR);
        if self.own_output == Treat::Withhold && output() {
            return Some(why("own-output", &texts.own_output));
        }
        if size == 0 && (key.ends_with('/') || key.ends_with(FOLDER_SUFFIX)) {
            return Some(why("placeholder", &texts.placeholder));
        }
        if let Some(pattern) = self.excluded(path) {
            let shared = texts.excluded.get(pattern).cloned();
            let message = shared.unwrap_or_else(|| format!("it matches --exclude {pattern:?}").into());
            return Some(Why { reason: "excluded", message, pending: false });
        }
        if !self.glob.is_empty() && !self.glob.matches(path.as_bytes()) {
            return Some(why("no-match", &texts.no_match));
        }
        None
    }

    /// The `--exclude` that matches the path or a directory that it lies in: one that matches a directory means all that is in it.
    fn excluded(&self, path: &str) -> Option<&str> {
        if self.exclude.is_empty() {
            return None;
        }
        let directories = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        directories.chain([path]).find_map(|part| self.exclude.find(part.as_bytes()))
    }

    fn by_content(&self, object: &Listed) -> Option<Why> {
        let (size, min, max) = (object.size, self.min_size, self.max_size);
        let class = object.storage_class.as_deref().unwrap_or_default();
        if self.archived == Treat::Withhold && ARCHIVED.contains(&class) {
            return Some(why("archived", &self.texts.archived));
        }
        let (reason, message) = if size < min {
            ("too-small", format!("it has {size} bytes, fewer than --min-size {min}"))
        } else if size > max {
            ("too-large", format!("it has {size} bytes, more than --max-size {max}"))
        } else {
            return None;
        };
        Some(Why { reason, message: message.into(), pending: false })
    }
}

fn size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|error| format!("{error}; write 500KB, 64MiB or a number of bytes"))
}

fn why(reason: &'static str, message: &Arc<str>) -> Why {
    Why { reason, message: Arc::clone(message), pending: false }
}

/// What goes up to the last slash, with it, and what follows.
fn split(key: &str) -> (&str, &str) {
    key.rfind('/').map_or(("", key), |at| key.split_at(at + 1))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use contract::Timestamp;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        filter: FilterArgs,
    }

    fn try_filter(prefix: &str, words: &[&str]) -> Result<Filter, FilterError> {
        let line = Line::try_parse_from([&["p"], words].concat()).expect("parses");
        Filter::new(&line.filter, prefix, vec!["done/".to_owned()])
    }

    fn filter(prefix: &str, words: &[&str]) -> Filter {
        try_filter(prefix, words).expect("valid patterns")
    }

    fn object(key: &str, size: u64) -> Listed {
        let last_modified = Some(Timestamp::from_unix_nanos(1_000_000_000_000));
        Listed { key: key.to_owned(), size, etag: "e".to_owned(), version_id: None, last_modified, storage_class: None }
    }

    fn judge(filter: &Filter, object: &Listed) -> &'static str {
        match filter.judge(object, SystemTime::UNIX_EPOCH + Duration::from_secs(1_030)) {
            Verdict::Item => "listed",
            Verdict::Withheld(why) => {
                assert!(!why.pending);
                why.reason
            }
            Verdict::Later(why, _) => {
                assert!(why.pending);
                why.reason
            }
        }
    }

    #[track_caller]
    fn check(prefix: &str, words: &[&str], keys: &[(&str, &str)]) {
        let filter = filter(prefix, words);
        for (key, want) in keys {
            assert_eq!(judge(&filter, &object(key, 1)), *want, "{key} of {prefix:?} with {words:?}");
        }
    }

    #[test]
    fn patterns_are_about_what_follows_the_prefix() {
        let keys = [("in/a.mp4", "listed"), ("in/x/y/a b.mp4", "listed"), ("in/a.txt", "no-match")];
        check("in/", &["--glob", "*.mp4"], &keys);
        check("in/", &["--glob", "x/*.mp4"], &[("in/x/a.mp4", "listed"), ("in/in/x/a.mp4", "no-match")]);
        check(
            "",
            &["--glob", "**/2024/*"],
            &[("a//2024/x", "listed"), ("/2024/x", "listed"), ("2024/x/y", "no-match")],
        );
        // What is excluded may be a directory.
        let keys =
            [("raw/a", "excluded"), ("d/raw/x/a", "excluded"), ("x/y/a.tmp", "excluded"), ("rawest/a", "listed")];
        check("", &["--exclude", "raw/", "--exclude", "*.tmp"], &keys);
    }

    #[test]
    fn every_reason_says_what_to_change() {
        let filter = filter("in/", &["--glob", "*.mp4", "--exclude", "raw", "--max-size", "9B", "--min-age", "60s"]);
        for (object, says) in [
            (object("in/a.txt", 1), "--glob (of: *.mp4, of what follows --prefix \"in/\")"),
            (object("in/raw/a.mp4", 1), "--exclude \"raw\""),
            (object("in/a.mp4", 10), "10 bytes, more than --max-size 9"),
            (object("in/a.mp4", 9), "1970-01-01T00:16:40.000000000Z and is listed once it is 1m old"),
            (object("in/_SUCCESS.json", 9), "--own-output list"),
            (Listed { storage_class: Some("GLACIER".to_owned()), ..object("in/a.mp4", 9) }, "--archived list"),
        ] {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_030);
            let (Verdict::Withheld(why) | Verdict::Later(why, _)) = filter.judge(&object, now) else {
                panic!("listed")
            };
            assert!(why.message.contains(says), "{}", why.message);
        }
    }

    #[test]
    fn placeholders_and_output_are_told_by_their_keys() {
        let plain = filter("", &[]);
        for (key, size, want) in [
            ("videos/", 0, "placeholder"),
            ("videos_$folder$", 0, "placeholder"),
            ("videos/", 5, "listed"),
            ("out/a/_SUCCESS.json", 5, "own-output"),
            ("out/a/_attempts/1-x/thumb.jpg", 5, "own-output"),
            ("out/.longshore/x", 5, "own-output"),
            ("_attempts", 5, "listed"),
            ("done/a", 5, "settled"),
            ("donee/a", 5, "listed"),
        ] {
            assert_eq!(judge(&plain, &object(key, size)), want, "{key}");
        }
        assert_eq!(plain.output_of("out/a/_SUCCESS.json"), Some("out/a/"));
        assert_eq!(plain.output_of("out/a/x.json"), None);
        let all = filter("", &["--own-output", "list"]);
        assert_eq!(judge(&all, &object("out/a/_SUCCESS.json", 5)), "listed");
        assert_eq!(all.output_of("out/a/_SUCCESS.json"), None);
        assert_eq!(judge(&all, &object("out/.longshore/probe", 0)), "own-output");
    }

    #[test]
    fn archived_classes_are_those_that_cannot_be_read() {
        for (class, want) in [
            ("GLACIER", "archived"),
            ("DEEP_ARCHIVE", "archived"),
            ("GLACIER_IR", "listed"),
            ("INTELLIGENT_TIERING", "listed"),
            ("STANDARD_IA", "listed"),
        ] {
            let object = Listed { storage_class: Some(class.to_owned()), ..object("a", 1) };
            assert_eq!(judge(&filter("", &[]), &object), want, "{class}");
            assert_eq!(judge(&filter("", &["--archived", "list"]), &object), "listed", "{class}");
        }
    }

    #[test]
    fn age_is_what_the_stores_clock_says() {
        let min = filter("", &["--min-age", "60s"]);
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let Verdict::Later(_, left) = min.judge(&object("a", 1), at(1_030)) else { panic!("not withheld") };
        assert_eq!(left, Duration::from_secs(30));
        assert_eq!(min.judge(&object("a", 1), at(1_060)), Verdict::Item);
        // A clock that goes behind the objects' times makes them as young as can be.
        let Verdict::Later(_, left) = min.judge(&object("a", 1), at(900)) else { panic!("not withheld") };
        assert_eq!(left, Duration::from_secs(60));
        let unknown = Listed { last_modified: None, ..object("a", 1) };
        assert_eq!(min.judge(&unknown, at(900)), Verdict::Item, "who knows no time knows no age");
    }

    #[test]
    fn bounds_hold_both_ways_and_must_leave_something() {
        let keys = |size| judge(&filter("", &["--min-size", "10", "--max-size", "1KiB"]), &object("a", size));
        assert_eq!((keys(9), keys(10), keys(1_024), keys(1_025)), ("too-small", "listed", "listed", "too-large"));
        let error = try_filter("", &["--min-size", "2", "--max-size", "1"]).expect_err("nothing is left").to_string();
        assert!(error.contains("--min-size is larger than --max-size"), "{error}");
    }

    #[test]
    fn the_store_is_asked_for_no_more_than_can_match() {
        assert_eq!(filter("in/", &["--glob", "2024/*/x.mp4"]).listed_prefix(), "in/2024/");
        assert_eq!(filter("in/", &["--glob", "2024/*", "--glob", "2023/*"]).listed_prefix(), "in/");
        assert_eq!(filter("in/", &["--glob", "*.mp4"]).listed_prefix(), "in/");
    }
}
