//! How values of flags are read where several programs have such a flag: the same words are right and wrong everywhere.

use std::net::SocketAddr;
use std::time::Duration;

/// A span of time, as `90s` or `1h 30m`.
///
/// # Errors
/// What is wrong with it, for clap.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 30s or 2m"))
}

/// As [`duration`], and longer than nothing.
///
/// # Errors
/// What is wrong with it, for clap.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be longer than nothing".into()),
        duration => Ok(duration),
    }
}

/// An address to listen on.
///
/// # Errors
/// What is wrong with it, for clap.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "write a numeric address and a port: 127.0.0.1:8080 or [::1]:8080 for this machine, 0.0.0.0:8080 for all".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        assert_eq!(positive_duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert!(positive_duration("0s").expect_err("is nothing").contains("longer"));
        for wrong in ["", "soon", "10", "-1s"] {
            assert!(duration(wrong).expect_err("is none").contains("write 30s"), "{wrong:?}");
        }
        assert_eq!(address("[::1]:0").expect("an address").port(), 0);
        for wrong in ["8080", ":8080", "localhost:8080", "127.0.0.1", "127.0.0.1:80800"] {
            assert!(address(wrong).expect_err("is none").contains("0.0.0.0:8080"), "{wrong:?}");
        }
    }
}
