//! Where a server listens.

use std::fmt;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Without the brackets that an address of IPv6 has in a URL.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// Of `HOST`, `HOST:PORT`, `[IPv6]:PORT`, or of an IPv6 address alone.
    pub(super) fn parse(text: &str, port: u16) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, said)) if host.ends_with(']') || !host.contains(':') => (host, said.parse().ok()?),
            _ => (text, port),
        };
        Self { host: bare(host), port }.named()
    }

    /// What a server of a cluster says about where a slot is: `3999 HOST:PORT`. Where it does not know its own host, that is ours for it.
    pub(super) fn moved(details: &str, asked: &Self) -> Option<Self> {
        let (host, port) = details.split(' ').nth(1)?.rsplit_once(':')?;
        let host = if matches!(host, "" | "?") { asked.host.clone() } else { bare(host) };
        Some(Self { host, port: port.parse().ok()? })
    }

    fn named(self) -> Option<Self> {
        (!self.host.is_empty() && self.port != 0).then_some(self)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_perhaps_a_port() {
        for (text, is) in [
            ("sentinel", "sentinel:26379"),
            ("sentinel:1", "sentinel:1"),
            ("[::1]:2", "[::1]:2"),
            ("[::1]", "[::1]:26379"),
            ("fe80::1", "[fe80::1]:26379"),
        ] {
            assert_eq!(Address::parse(text, 26_379).map(|it| it.to_string()).as_deref(), Some(is), "{text}");
        }
        for text in ["", ":1", "a:b", "a:0", "a:70000", "[]:1"] {
            assert_eq!(Address::parse(text, 1), None, "{text}");
        }
    }

    #[test]
    fn a_slot_that_has_moved_is_where_the_server_says() {
        let asked = Address { host: "first".to_owned(), port: 1 };
        let moved = |details| Address::moved(details, &asked).map(|to| to.to_string());
        assert_eq!(moved("3999 10.0.0.7:6381").as_deref(), Some("10.0.0.7:6381"));
        assert_eq!(moved("3999 fe80::7:6381").as_deref(), Some("[fe80::7]:6381"));
        assert_eq!(
            moved("3999 :6381").as_deref(),
            Some("first:6381"),
            "cluster-preferred-endpoint-type unknown-endpoint"
        );
        assert_eq!(moved("3999 ?:6381").as_deref(), Some("first:6381"), "a host name that was not told");
        assert_eq!(moved("3999"), None);
    }
}
