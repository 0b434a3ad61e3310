//! Where a source is, and what it is shown.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

/// A source's address: `http://host:port`, with a path where the list is not at one of the known ones, or `unix:/path/of/socket`;
/// and the file of the token that opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    socket: Option<PathBuf>,
    token_file: Option<PathBuf>,
}

/// Why a text is no [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// It is no URL.
    #[error("{0}: expected http://host:port or unix:/path")]
    NotUrl(#[from] url::ParseError),
    /// Neither `http:` nor `unix:`.
    #[error(
        "{0}: is not spoken here: expected http://host:port or unix:/path (a source is reached on its own host, without TLS)"
    )]
    Scheme(String),
    /// `unix:` without an absolute path.
    #[error("unix: needs the socket's absolute path, such as unix:/run/longshore/items.sock")]
    Relative,
}

impl Endpoint {
    /// The same, shown the token in this file with every call. The file is read at each [`connect`](super::Client::connect).
    #[must_use]
    pub fn with_token_file(mut self, file: Option<PathBuf>) -> Self {
        self.token_file = file;
        self
    }

    /// Whether a token is shown.
    pub fn is_guarded(&self) -> bool {
        self.token_file.is_some()
    }

    /// Where the list or the root is; of a socket, with `localhost` for a host.
    pub fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    pub(super) fn token_file(&self) -> Option<&Path> {
        self.token_file.as_deref()
    }
}

impl From<Url> for Endpoint {
    fn from(url: Url) -> Self {
        Self { url, socket: None, token_file: None }
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
            if !path.starts_with('/') {
                return Err(InvalidEndpoint::Relative);
            }
            let url = Url::parse("http://localhost/").map_err(InvalidEndpoint::NotUrl)?;
            return Ok(Self { url, socket: Some(PathBuf::from(path)), token_file: None });
        }
        let url = Url::parse(text)?;
        if url.scheme() != "http" || !url.has_host() {
            return Err(InvalidEndpoint::Scheme(format!("{}:", url.scheme())));
        }
        Ok(url.into())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(socket) => write!(f, "unix:{}", socket.display()),
            None => self.url.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let read = |text: &str| text.parse::<Endpoint>().map(|endpoint| endpoint.to_string());
        assert_eq!(read("http://127.0.0.1:8080").as_deref(), Ok("http://127.0.0.1:8080/"));
        assert_eq!(read("unix:/run/a.sock").as_deref(), Ok("unix:/run/a.sock"));
        assert_eq!(read("unix:///run/a.sock").as_deref(), Ok("unix:/run/a.sock"));
        assert_eq!(read("unix:a.sock"), Err(InvalidEndpoint::Relative));
        assert!(matches!(read("https://h"), Err(InvalidEndpoint::Scheme(_))));
        assert!(matches!(read("127.0.0.1:8080"), Err(InvalidEndpoint::NotUrl(_) | InvalidEndpoint::Scheme(_))));
    }
}
