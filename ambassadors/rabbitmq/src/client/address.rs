//! Where a broker is: what `--url` says.

use std::fmt;

use sidecar::Secret;
use url::{Host, Url};

/// The most bytes of a name in the protocol.
const LONGEST: usize = 255;

/// `amqp[s]://[user[:password]@]host[:port][/vhost]`.
#[derive(Clone)]
pub(crate) struct Address {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) vhost: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
}

impl Address {
    /// Of a URL; without a virtual host, or with an empty one, the broker's own default, `/`.
    ///
    /// # Errors
    /// What is wrong with it; without the URL, which may hold a password.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wanted = "write amqp://HOST, amqps://HOST:5671 or amqp://HOST/VHOST";
        let url = Url::parse(text).map_err(|error| format!("{error}; {wanted}"))?;
        let (tls, port) = match url.scheme() {
            "amqp" => (false, 5672),
            "amqps" => (true, 5671),
            other => return Err(format!("{other} is another protocol; {wanted}")),
        };
        let host = match url.host() {
            Some(Host::Domain("")) | None => return Err(format!("it names no host; {wanted}")),
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(
                "what stands behind ? or # has flags of its own here: --heartbeat, --external, --ca-file".into()
            );
        }
        let path = url.path().strip_prefix('/').unwrap_or_default();
        if path.contains('/') {
            return Err("a slash in the virtual host is written %2F".into());
        }
        let vhost = match plain(path)? {
            vhost if vhost.is_empty() => "/".to_owned(),
            vhost if vhost.len() > LONGEST => return Err(format!("a virtual host has at most {LONGEST} bytes")),
            vhost => vhost,
        };
        let username = plain(url.username())?;
        Ok(Self {
            tls,
            host,
            port: url.port().unwrap_or(port),
            vhost,
            username: Some(username).filter(|name| !name.is_empty()),
            password: url.password().map(plain).transpose()?.map(|password| Secret::from(password.as_str())),
        })
    }
}

/// Without what stands for characters that a URL cannot hold.
fn plain(text: &str) -> Result<String, String> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| "what it has behind its % signs is no text".to_owned())
}

/// Without user and password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "amqps" } else { "amqp" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{scheme}://{host}:{}, virtual host {}", self.port, self.vhost)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_who_and_never_shows_its_password() {
        let address = Address::parse("amqps://al%69ce:p%40ss@[::1]:7/a%2Fb").expect("a URL");
        assert_eq!(address.to_string(), "amqps://[::1]:7, virtual host a/b");
        assert_eq!(address.username.as_deref(), Some("alice"));
        assert_eq!(address.password.as_ref().map(Secret::expose), Some("p@ss"));
        assert!(!format!("{address:?}").contains("p@ss"));
        for (text, says) in [
            ("amqp://rabbit", "amqp://rabbit:5672, virtual host /"),
            ("amqp://rabbit/", "amqp://rabbit:5672, virtual host /"),
            ("amqp://rabbit/%2f", "amqp://rabbit:5672, virtual host /"),
            ("amqps://rabbit/media", "amqps://rabbit:5671, virtual host media"),
        ] {
            assert_eq!(Address::parse(text).expect(text).to_string(), says);
        }
    }

    #[test]
    fn what_is_none_is_refused_with_what_would_be_and_without_itself() {
        for (text, says) in [
            ("rabbit:5672", "another protocol"),
            ("http://rabbit", "another protocol"),
            ("amqp://", "no host"),
            ("rabbit", "write amqp://HOST"),
            ("amqp://u:hunter2@rabbit/?heartbeat=3", "--heartbeat"),
            ("amqp://u:hunter2@rabbit/a/b", "%2F"),
            ("amqp://u:hunter2@rabbit:port", "write amqp://HOST"),
        ] {
            let error = Address::parse(text).expect_err(text);
            assert!(error.contains(says) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
