//! Times on the wire: RFC 3339 in UTC with nanoseconds, so that a file's mtime survives the trip exactly.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// A moment, written `2026-11-22T08:31:00.123456789Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(pub SystemTime);

impl Timestamp {
    /// The clock's time now.
    pub fn now() -> Self {
        Self(SystemTime::now())
    }

    /// From nanoseconds since 1970, as `stat` gives them; times before 1970 and past the year 9999 are clamped, since
    /// RFC 3339 cannot write them.
    pub fn from_unix_nanos(nanos: i128) -> Self {
        const LAST: u64 = 253_402_300_799;
        let seconds = u64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(0).min(LAST);
        let nanos = if nanos < 0 { 0 } else { u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0) };
        Self(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", humantime::format_rfc3339_nanos(self.0))
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.to_string()
    }
}

impl TryFrom<String> for Timestamp {
    type Error = humantime::TimestampError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        humantime::parse_rfc3339(&text).map(Self)
    }
}
