//! What one run calls what it uploads.

use std::fmt;

use contract::ATTEMPTS_DIR;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// One try to publish, `<number>-<attempt>.<random>.<base>`: the attempt's number and nonce as they were handed down (they
/// may come twice, hence the random part), and the marker it set out from.
///
/// The base is what makes clearing away safe. A run reads the marker before it uploads anything, and commits on the condition
/// that this very marker still stands. So once another marker stands, whatever bears this base can never be named by a marker,
/// however long its process was stopped: no clock and no lease is needed to know it dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run(String);

/// Which marker stood when a run set out, as a short name of its ETag. Every marker holds the moment it was written and the
/// attempt that wrote it, so no ETag comes twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base(String);

impl Run {
    /// A run of an attempt that sets out from the marker with this ETag, or from none.
    pub(super) fn new(number: u32, attempt: &str, marker: Option<&str>) -> Self {
        let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(8).collect();
        let Base(base) = Base::of(marker);
        Self(format!("{number}-{attempt}.{random}.{base}"))
    }

    /// Reads what [`Display`](fmt::Display) wrote.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (number, rest) = text.split_once('-')?;
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let mut parts = rest.rsplitn(3, '.');
        let base = parts.next()?;
        let is_base = base == Base::NONE || (base.len() == Base::LENGTH && base.bytes().all(|b| b.is_ascii_hexdigit()));
        let has_random = parts.next()?.len() == 8;
        (is_number && is_base && has_random && parts.next().is_some()).then(|| Self(text.to_owned()))
    }

    /// The run below whose prefix a key lies, and what the keys of its place begin with.
    pub(super) fn above(key: &str) -> Option<(&str, Self)> {
        let mut components = key.split_inclusive('/').scan(0, |end, component| {
            *end += component.len();
            Some((component, *end))
        });
        let (dir, end) = components.find(|(component, _)| component.strip_suffix('/') == Some(ATTEMPTS_DIR))?;
        let (run, _) = key.get(end..)?.split_once('/')?;
        Some((key.get(..end - dir.len())?, Self::parse(run)?))
    }

    pub(super) fn base(&self) -> Base {
        Base(self.0.rsplit('.').next().unwrap_or_default().to_owned())
    }
}

impl Base {
    const NONE: &str = "none";
    const LENGTH: usize = 12;

    /// The base of what sets out now that the marker with this ETag stands, or none does.
    pub(super) fn of(marker: Option<&str>) -> Self {
        let digest = |etag: &str| HEXLOWER.encode(&Sha256::digest(etag));
        Self(marker.map_or_else(
            || Self::NONE.to_owned(),
            |etag| digest(etag).get(..Self::LENGTH).unwrap_or_default().to_owned(),
        ))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_known_by_its_name() {
        for (attempt, marker) in [("n-1", None), ("a.b-c_d", Some("d41d8cd98f00b204e9800998ecf8427e-7"))] {
            let run = Run::new(12, attempt, marker);
            assert_eq!(Run::parse(&run.to_string()), Some(run.clone()));
            assert_eq!(run.base(), Base::of(marker));
            assert_ne!(run, Run::new(12, attempt, marker), "the same nonce may come twice");
            assert_eq!(Run::above(&format!("r/p/_attempts/{run}/x/y")), Some(("r/p/", run.clone())));
            assert_eq!(Run::above(&format!("_attempts/{run}/x")), Some(("", run.clone())));
            assert_eq!(Run::above(&format!("r/x_attempts/{run}/x")), None);
        }
        assert_ne!(Base::of(None), Base::of(Some("x")));
        for other in ["1", "report", "1-n", "1-n.aaaaaaaa", "x-n.aaaaaaaa.none", "1-n.aaaaaaaa.zzzzzzzzzzzz", ""] {
            assert_eq!(Run::parse(other), None, "{other}");
        }
        for other in ["r/_attempts/1/report.json", "r/x", "_attempts", "r/_attempts/"] {
            assert_eq!(Run::above(other), None, "{other}");
        }
    }
}
