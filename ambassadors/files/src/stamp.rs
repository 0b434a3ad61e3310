//! A file's version as it is kept with every listed item: 20 bytes, since there may be millions.

use contract::FileVersion;

/// Size and modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed(4))]
pub(crate) struct Stamp {
    size: u64,
    seconds: i64,
    nanos: u32,
}

impl From<FileVersion> for Stamp {
    fn from(version: FileVersion) -> Self {
        let (seconds, nanos) =
            (version.mtime_nanos.div_euclid(1_000_000_000), version.mtime_nanos.rem_euclid(1_000_000_000));
        Self {
            size: version.size,
            seconds: i64::try_from(seconds).expect("statx has 64 bits of seconds"),
            nanos: u32::try_from(nanos).expect("less than a second"),
        }
    }
}

impl From<Stamp> for FileVersion {
    fn from(stamp: Stamp) -> Self {
        Self { size: stamp.size, mtime_nanos: i128::from(stamp.seconds) * 1_000_000_000 + i128::from(stamp.nanos) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_before_1970_and_far_in_the_future() {
        for mtime_nanos in [0, -1, -1_500_000_000, i128::from(i64::MAX) * 1_000_000_000 + 5, 1_700_000_000_123_456_789]
        {
            let version = FileVersion { size: u64::MAX, mtime_nanos };
            assert_eq!(FileVersion::from(Stamp::from(version)), version);
        }
        assert_eq!(size_of::<Stamp>(), 20);
    }
}
