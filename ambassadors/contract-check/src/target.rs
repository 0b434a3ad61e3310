//! Where a source is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use contract::wire::ITEM_PATHS;
use http::Uri;

/// A source's address: `http://host:port`, perhaps with the path under which it is found, or `unix:/path/of/socket`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    text: String,
    pub(crate) place: Place,
    /// What stands before `/v1`; empty, or with a slash at its beginning and none at its end.
    pub(crate) prefix: String,
}

/// What is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Host and port.
    Tcp(String),
    /// A socket's path.
    Unix(PathBuf),
}

/// Why a text is no [`Target`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// It is no URL.
    #[error("expected http://HOST:PORT or unix:/PATH/OF/SOCKET")]
    NotUrl,
    /// TLS would have to be spoken.
    #[error(
        "https: is not spoken here, since a source is reached on its own host; ask it at its http: address, or through a proxy \
         that takes TLS off (socat TCP-LISTEN:8080,fork OPENSSL:HOST:443)"
    )]
    Tls,
    /// `unix:` without an absolute path.
    #[error("unix: needs the socket's absolute path, such as unix:/run/longshore/items.sock")]
    Relative,
    /// A query, a fragment or a password.
    #[error("expected no more than host, port and path, and {0:?} says more")]
    TooMuch(String),
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
            if !path.starts_with('/') {
                return Err(InvalidTarget::Relative);
            }
            return Ok(Self { text: text.to_owned(), place: Place::Unix(path.into()), prefix: String::new() });
        }
        let uri: Uri = text.parse().map_err(|_| InvalidTarget::NotUrl)?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) => {
                if text.contains(['?', '#', '@']) {
                    return Err(InvalidTarget::TooMuch(text.to_owned()));
                }
                let place = Place::Tcp(format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)));
                // Whoever gives the list's own path means the source that has it.
                let path = uri.path().trim_end_matches('/');
                let prefix = ITEM_PATHS
                    .iter()
                    .filter_map(|items| path.strip_suffix(items))
                    .min_by_key(|rest| rest.len())
                    .unwrap_or(path);
                Ok(Self { text: text.to_owned(), place, prefix: prefix.to_owned() })
            }
            (Some("https"), Some(_)) => Err(InvalidTarget::Tls),
            _ => Err(InvalidTarget::NotUrl),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Place, String), InvalidTarget> {
        text.parse::<Target>().map(|target| (target.place, target.prefix))
    }

    #[test]
    fn an_address_is_a_place_and_what_stands_before_the_list() {
        let tcp = |place: &str, prefix: &str| Ok((Place::Tcp(place.into()), prefix.into()));
        assert_eq!(read("http://localhost:8080"), tcp("localhost:8080", ""));
        assert_eq!(read("http://[::1]:8080/"), tcp("[::1]:8080", ""));
        assert_eq!(read("http://host"), tcp("host:80", ""));
        assert_eq!(read("http://host/videos/"), tcp("host:80", "/videos"));
        for list in ["/v1/items", "/v1/items/", "/api/v1/items", "/items"] {
            assert_eq!(read(&format!("http://host:1/videos{list}")), tcp("host:1", "/videos"), "{list}");
        }
        for unix in ["unix:/run/a b.sock", "unix:///run/a b.sock"] {
            assert_eq!(read(unix), Ok((Place::Unix("/run/a b.sock".into()), String::new())));
        }
    }

    #[test]
    fn what_is_no_address_says_what_would_be() {
        for wrong in ["", "localhost:8080", "ftp://host", "//host", "http://", "http:///v1", "host"] {
            assert_eq!(read(wrong), Err(InvalidTarget::NotUrl), "{wrong}");
        }
        assert_eq!(read("https://host/"), Err(InvalidTarget::Tls));
        assert_eq!(read("unix:items.sock"), Err(InvalidTarget::Relative));
        for wrong in ["http://u:p@host/", "http://host/?x=y"] {
            assert!(matches!(read(wrong), Err(InvalidTarget::TooMuch(_))), "{wrong}");
        }
    }
}
