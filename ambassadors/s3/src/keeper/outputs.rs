//! Directories that some worker has published: what lies in them is withheld.
//!
//! The marker that says so is seen before some of what lies there and after the rest.

use std::collections::HashSet;

/// Such directories, each with its slash.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    known: HashSet<String>,
    /// Those met since the look at everything began.
    met: HashSet<String>,
    /// Those that are new: what lies there may be listed.
    fresh: Vec<String>,
}

impl Outputs {
    /// A marker lies there.
    pub(super) fn meet(&mut self, dir: &str) {
        if self.known.insert(dir.to_owned()) {
            self.fresh.push(dir.to_owned());
        }
        self.met.insert(dir.to_owned());
    }

    /// Whether a key lies in one of them.
    pub(super) fn holds(&self, key: &str) -> bool {
        !self.known.is_empty()
            && key.match_indices('/').any(|(at, _)| key.get(..=at).is_some_and(|dir| self.known.contains(dir)))
    }

    /// One of those that are new since it was asked last.
    pub(super) fn fresh(&mut self) -> Option<String> {
        self.fresh.pop()
    }

    /// A look at everything begins.
    pub(super) fn begin(&mut self) {
        self.met.clear();
    }

    /// It has seen everything: what has no marker any more is listed from the next look on.
    pub(super) fn end(&mut self) {
        self.known = std::mem::take(&mut self.met);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_a_marker_is_output_as_long_as_the_marker_lies_there() {
        let mut outputs = Outputs::default();
        outputs.begin();
        outputs.meet("out/a/");
        assert_eq!((outputs.fresh().as_deref(), outputs.fresh()), (Some("out/a/"), None));
        outputs.end();
        assert!(outputs.holds("out/a/b/c") && !outputs.holds("out/ab") && !outputs.holds("out/b/a"));
        outputs.begin();
        outputs.meet("out/a/");
        assert!(outputs.holds("out/a/b"), "also before the marker is met again");
        assert_eq!(outputs.fresh(), None);
        outputs.end();
        outputs.begin();
        outputs.end();
        assert!(!outputs.holds("out/a/b"));
    }
}
