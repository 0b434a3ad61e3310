//! Between how many and how many attempts at a time, as `--parallelism` says it.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

/// The fewest and the most attempts at a time; the same where their number is fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    least: usize,
    most: usize,
}

impl Bounds {
    /// Always as many.
    pub fn fixed(slots: NonZeroUsize) -> Self {
        Self { least: slots.get(), most: slots.get() }
    }

    /// Always one per CPU that this process may use, be it by affinity or by the quota of its cgroup.
    pub fn one_per_cpu() -> Self {
        Self::fixed(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }

    /// One to [one per CPU](Self::one_per_cpu): more than that helps only workers that mostly wait, and whoever has such
    /// workers knows better than we do what else they take.
    pub fn auto() -> Self {
        Self { least: 1, ..Self::one_per_cpu() }
    }

    /// The fewest attempts at a time; never 0.
    pub fn least(self) -> usize {
        self.least
    }

    /// The most attempts at a time.
    pub fn most(self) -> usize {
        self.most
    }

    /// Whether there is nothing to decide.
    pub fn is_fixed(self) -> bool {
        self.least == self.most
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_fixed() {
            true => write!(f, "{}", self.least),
            false => write!(f, "{}..{}", self.least, self.most),
        }
    }
}

impl FromStr for Bounds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            let part = part.trim();
            part.parse::<NonZeroUsize>().map(NonZeroUsize::get).map_err(|_| {
                format!("{part:?} is not a number from 1: write 8 for always 8, 2..16 for as many as the load needs, or auto for 1 to one per CPU")
            })
        };
        let (least, most) = match text.split_once("..") {
            Some((least, most)) => (number(least)?, number(most)?),
            None if text == "auto" => return Ok(Self::auto()),
            None => (number(text)?, number(text)?),
        };
        if least > most {
            return Err(format!("{least} is more than {most}: write {most}..{least}"));
        }
        Ok(Self { least, most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_a_range_and_auto_are_read_and_written_alike() {
        for text in ["8", "2..16", "1..1"] {
            let bounds: Bounds = text.parse().expect("is right");
            assert_eq!(bounds.to_string().parse(), Ok(bounds), "{text}");
        }
        let auto: Bounds = "auto".parse().expect("is right");
        assert_eq!((auto.least(), auto.most()), (1, Bounds::one_per_cpu().most()));
        assert!("5".parse::<Bounds>().expect("is right").is_fixed());
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        for (wrong, named) in [
            ("", "\"\" is not a number"),
            ("0", "\"0\" is not"),
            ("many", "\"many\""),
            ("2..", "\"\""),
            ("..4", "\"\""),
            ("0..4", "\"0\""),
            ("2..=4", "\"=4\""),
            ("auto..4", "\"auto\""),
            ("16..2", "write 2..16"),
            ("-1", "\"-1\""),
        ] {
            let said = wrong.parse::<Bounds>().expect_err(wrong);
            assert!(said.contains(named) && said.contains("write"), "{wrong}: {said}");
        }
    }
}
