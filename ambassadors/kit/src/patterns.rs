//! `--glob` and its like: the same patterns, over the same kind of keys, in every ambassador whose keys are paths.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

/// A pattern that is no pattern.
#[derive(Debug, thiserror::Error)]
#[error("the pattern {pattern:?} of --{flag} is not valid")]
pub struct PatternError {
    flag: &'static str,
    pattern: String,
    source: globset::Error,
}

/// A set of globs that can say which of them matched.
///
/// One without a slash is about the last component, at any depth; one with a slash is about the whole path. `*` stops at a
/// slash, `**` does not; case matters.
#[derive(Clone, Debug)]
pub struct Patterns {
    texts: Vec<String>,
    /// The endings of those that are `*` and an ending: nearly all there are, and quickly compared.
    endings: Vec<Vec<u8>>,
    ending_of: Vec<usize>,
    names: GlobSet,
    name_of: Vec<usize>,
    paths: GlobSet,
    path_of: Vec<usize>,
}

impl Patterns {
    /// Reads the texts of `--flag`; empty ones count as not given.
    ///
    /// # Errors
    /// Names the flag and the pattern.
    pub fn new(flag: &'static str, texts: &[String]) -> Result<Self, PatternError> {
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        let (mut name_of, mut path_of) = (Vec::new(), Vec::new());
        let (mut endings, mut ending_of) = (Vec::new(), Vec::new());
        let texts: Vec<String> = texts.iter().filter(|text| !text.is_empty()).cloned().collect();
        let wrong = |pattern: &str, source| PatternError { flag, pattern: pattern.to_owned(), source };
        for (n, text) in texts.iter().enumerate() {
            // `raw/` is what others write for the directory of that name.
            let pattern = text.trim_end_matches('/');
            let anchored = pattern.strip_prefix("./").or_else(|| pattern.strip_prefix('/')).unwrap_or(pattern);
            let glob = GlobBuilder::new(anchored).literal_separator(true).build().map_err(|e| wrong(text, e))?;
            if pattern.contains('/') {
                paths.add(glob);
                path_of.push(n);
            } else if let Some(ending) = pattern.strip_prefix('*').filter(|ending| !ending.contains(META)) {
                endings.push(ending.as_bytes().to_vec());
                ending_of.push(n);
            } else {
                names.add(glob);
                name_of.push(n);
            }
        }
        let all = texts.join(" ");
        let names = names.build().map_err(|e| wrong(&all, e))?;
        let paths = paths.build().map_err(|e| wrong(&all, e))?;
        Ok(Self { texts, endings, ending_of, names, name_of, paths, path_of })
    }

    /// Whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// A pattern that matches `path`, if one does.
    pub fn find(&self, path: &[u8]) -> Option<&str> {
        let name = last(path);
        // Most sets are empty, or about names alone; and a candidate is not for nothing.
        let first = |globs: &GlobSet, text| {
            (!globs.is_empty()).then(|| globs.matches_candidate(&candidate(text)))?.first().copied()
        };
        let by_name = || first(&self.names, name).and_then(|n| self.name_of.get(n));
        let by_path = || first(&self.paths, path).and_then(|n| self.path_of.get(n));
        let by_ending = || self.endings.iter().position(|end| name.ends_with(end)).and_then(|n| self.ending_of.get(n));
        by_ending().or_else(by_name).or_else(by_path).and_then(|n| self.texts.get(*n)).map(String::as_str)
    }

    /// Whether one matches `path`; cheaper than to say which.
    pub fn matches(&self, path: &[u8]) -> bool {
        let name = last(path);
        let is_match = |globs: &GlobSet, text| !globs.is_empty() && globs.is_match_candidate(&candidate(text));
        self.endings.iter().any(|end| name.ends_with(end)) || is_match(&self.names, name) || is_match(&self.paths, path)
    }

    /// The patterns, for people.
    pub fn texts(&self) -> String {
        self.texts.join(", ")
    }

    /// The directories that what matches lies in, as far as the patterns name them before their first wildcard
    /// (`in/2024/*/x.mp4`: `in/2024`); none if one of them does not.
    pub fn directories(&self) -> Vec<Vec<u8>> {
        let directories: Vec<_> = self.texts.iter().map(|text| literal_directories(text)).collect();
        if directories.iter().any(Vec::is_empty) { Vec::new() } else { directories }
    }
}

/// What means something in a pattern (globset's syntax).
const META: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

fn candidate(bytes: &[u8]) -> Candidate<'_> {
    Candidate::new(Path::new(OsStr::from_bytes(bytes)))
}

fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or_default()
}

/// The directories a pattern names before its first wildcard: `in/2024/*/x.mp4` → `in/2024`.
fn literal_directories(pattern: &str) -> Vec<u8> {
    let pattern = pattern.strip_prefix("./").or_else(|| pattern.strip_prefix('/')).unwrap_or(pattern);
    let literal = pattern.find(['*', '?', '[', '{', '\\']).map_or(pattern, |at| pattern.get(..at).unwrap_or_default());
    literal.rfind('/').and_then(|at| literal.get(..at)).unwrap_or_default().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Patterns {
        Patterns::new("glob", &texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).expect("valid patterns")
    }

    #[test]
    fn a_bare_pattern_is_about_the_name_and_a_path_about_the_path() {
        for (pattern, path, want) in [
            ("*.mp4", "x/y/a b.mp4", true),
            ("*.mp4", "a.MP4", false),
            ("a*", "x/ab", true),
            ("in/**/*.mp4", "in/x/y/a.mp4", true),
            ("in/**/*.mp4", "out/a.mp4", false),
            ("in/*.mp4", "in/x/a.mp4", false),
            ("./in/*", "in/a", true),
            ("/in/*", "in/a", true),
            ("raw/", "d/raw", true),
        ] {
            let found = patterns(&[pattern]);
            assert_eq!(found.matches(path.as_bytes()), want, "{pattern} {path}");
            assert_eq!(found.find(path.as_bytes()), want.then_some(pattern), "{pattern} {path}");
        }
        assert!(patterns(&["*.mp4"]).matches(b"\xff\xfe.mp4"));
        assert!(patterns(&["", ""]).is_empty());
    }

    #[test]
    fn directories_are_known_only_if_every_pattern_says_some() {
        assert_eq!(patterns(&["in/2024/*/x.mp4", "other/*.mp4"]).directories(), [&b"in/2024"[..], b"other"]);
        assert!(patterns(&["in/*.mp4", "*.mov"]).directories().is_empty());
        assert!(patterns(&[]).directories().is_empty());
    }

    #[test]
    fn a_wrong_pattern_is_named_with_its_flag() {
        let wrong = Patterns::new("exclude", &["[x".to_owned()]).expect_err("no pattern").to_string();
        assert!(wrong.contains("--exclude") && wrong.contains("[x"), "{wrong}");
    }
}
