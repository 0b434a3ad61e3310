//! URLs: printed without what is secret in them, compared by what they name.

use std::fmt;
use std::time::{Duration, SystemTime};

use contract::item::decode_path;
use storage::{Error, Uri};
use url::{Host, Url};

/// An `https:` or `http:` URL. Prints itself without query, which may hold a signature: who has that has the object.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Link(Url);

impl Link {
    /// Reads a URL as browsers do: dot segments, encoded too, are resolved, `\` is `/`, a host is in lower case and punycode,
    /// an address in its usual spelling, however it was written.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is none, or names a user.
    pub(crate) fn parse(uri: &Uri) -> Result<Self, Error> {
        let invalid = |why: &str| Error::Invalid(format!("{uri} {why}"));
        let Uri::Other { scheme, text } = uri else { return Err(invalid("is no https: URL")) };
        if !matches!(scheme.as_str(), "https" | "http") {
            return Err(invalid("is no https: URL"));
        }
        let url = Url::parse(text).map_err(|error| invalid(&format!("is no URL: {error}")))?;
        Self::new(url).map_err(invalid)
    }

    fn new(mut url: Url) -> Result<Self, &'static str> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err("names a user; credentials belong into the file that --https-header-file names");
        }
        url.set_fragment(None);
        if let Some(Host::Domain(name)) = url.host()
            && let Some(bare) = name.strip_suffix('.')
        {
            let bare = bare.to_owned();
            url.set_host(Some(&bare)).map_err(|_| "has no host")?;
        }
        Ok(Self(url))
    }

    /// Where a redirect leads.
    ///
    /// # Errors
    /// Why it is not followed.
    pub(crate) fn redirected(&self, location: &str) -> Result<Self, &'static str> {
        let url = self.0.join(location).map_err(|_| "what is no URL")?;
        if url.scheme() != self.0.scheme() {
            return Err("another scheme, which is not followed");
        }
        Self::new(url).map_err(|_| "a URL with a user in it, which is not followed")
    }

    /// What lies at `path` below it, percent-encoded; `None` where that could be read as something that does not.
    pub(crate) fn below(&self, path: &str) -> Option<Self> {
        let plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !leads_up(&[part.to_vec()]);
        if !path.split('/').all(|part| plain(&decode_path(part))) {
            return None;
        }
        let mut url = self.0.clone();
        url.set_path(&format!("{}/{path}", self.0.path().trim_end_matches('/')));
        Some(Self(url))
    }

    /// What hyper asks for.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it can send no such thing.
    pub(crate) fn request(&self) -> Result<http::Uri, Error> {
        self.0.as_str().parse().map_err(|_| Error::Invalid(format!("{self} is no URL that can be asked for")))
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// What it has after the `?`: a signature, perhaps.
    pub(crate) fn query(&self) -> Option<&str> {
        self.0.query()
    }

    /// Whether it holds a signature, which allows one method and nothing else.
    pub(crate) fn is_signed(&self) -> bool {
        self.0.query_pairs().any(|(name, _)| {
            let name = name.to_ascii_lowercase();
            matches!(name.as_str(), "x-amz-signature" | "x-goog-signature" | "signature" | "sig")
        })
    }

    /// When its signature ends, where it says so: AWS, Google, CloudFront and the signatures before them, Azure.
    pub(crate) fn expiry(&self) -> Option<SystemTime> {
        let value = |wanted: &str| {
            self.0
                .query_pairs()
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.into_owned())
        };
        for (date, span) in [("x-amz-date", "x-amz-expires"), ("x-goog-date", "x-goog-expires")] {
            if let (Some(date), Some(span)) = (value(date), value(span)) {
                return basic_time(&date)?.checked_add(Duration::from_secs(span.parse().ok()?));
            }
        }
        if let Some(seconds) = value("expires") {
            return SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.parse().ok()?));
        }
        value("se").and_then(|text| contract::Timestamp::try_from(text).ok()).map(|time| time.0)
    }

    /// The components of the path, decoded; an empty last one where it ends with a slash.
    pub(crate) fn components(&self) -> Vec<Vec<u8>> {
        self.0.path().split('/').skip(1).map(decode_path).collect()
    }

    /// What it is called where it lies.
    pub(crate) fn file_name(&self) -> Option<Vec<u8>> {
        self.components().pop().filter(|name| !name.is_empty())
    }

    /// Whether it names the same as `other`, whatever either has after the `?`.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        self.origin() == other.origin() && self.components() == other.components()
    }

    /// Scheme, host and port.
    pub(crate) fn origin(&self) -> (&str, Option<Host<&str>>, Option<u16>) {
        (self.0.scheme(), self.0.host(), self.0.port_or_known_default())
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.as_str();
        f.write_str(all.split_once('?').map_or(all, |(open, _)| open))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether a component, decoded once or more often than it was encoded, has a `..` in it.
pub(crate) fn leads_up(components: &[Vec<u8>]) -> bool {
    components.iter().any(|component| {
        let mut bytes = component.clone();
        loop {
            if bytes.split(|b| matches!(b, b'/' | b'\\')).any(|part| part == b"..") || bytes.contains(&0) {
                return true;
            }
            let Ok(text) = std::str::from_utf8(&bytes) else { return false };
            let decoded = decode_path(text);
            if decoded == bytes {
                return false;
            }
            bytes = decoded;
        }
    })
}

/// `20130524T000000Z`.
fn basic_time(text: &str) -> Option<SystemTime> {
    let digit = |at: std::ops::Range<usize>| text.get(at);
    let iso = format!(
        "{}-{}-{}T{}:{}:{}Z",
        digit(0..4)?,
        digit(4..6)?,
        digit(6..8)?,
        digit(9..11)?,
        digit(11..13)?,
        digit(13..15)?
    );
    contract::Timestamp::try_from(iso).ok().map(|time| time.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(text: &str) -> Link {
        Link::parse(&Uri::parse(text).expect(text)).expect(text)
    }

    #[test]
    fn a_url_never_shows_its_query() {
        let signed = link("https://h/a/b.mp4?X-Amz-Signature=s3cret#frag");
        assert_eq!(format!("{signed} {signed:?}"), "https://h/a/b.mp4 https://h/a/b.mp4");
        assert!(signed.is_signed() && !link("https://h/a?x=1").is_signed());
        assert!(signed.request().expect("a request").to_string().ends_with("?X-Amz-Signature=s3cret"));
        let error = Link::parse(&Uri::parse("https://me:s3cret@h/a?sig=s3cret").expect("a URI")).expect_err("a user");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(error.to_string().contains("--https-header-file"), "{error}");
        let error =
            Link::parse(&Uri::parse("https://me:s3cret@h:x/a?sig=s3cret").expect("a URI")).expect_err("no port");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }

    #[test]
    fn an_address_is_an_address_however_it_is_written() {
        for text in [
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://127.0.0.1./",
        ] {
            assert_eq!(link(text).request().expect("a request").host(), Some("127.0.0.1"), "{text}");
        }
        assert_eq!(link("https://[::FFFF:7f00:1]/").request().expect("a request").host(), Some("[::ffff:7f00:1]"));
        for text in
            ["https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/", "https://", "https://a b/", "https://1.2.3.256/"]
        {
            assert!(Link::parse(&Uri::parse(text).expect(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_redirect_keeps_the_scheme() {
        let from = link("https://h/a/b?sig=1");
        assert_eq!(from.redirected("../c?x=2").expect("followed").to_string(), "https://h/c");
        assert_eq!(from.redirected("//other/c").expect("followed").to_string(), "https://other/c");
        for location in ["http://h/a", "file:///etc/passwd", "ftp://h/", "https://u:p@h/", "https://", "javascript:0"] {
            assert!(from.redirected(location).is_err(), "{location}");
        }
    }

    #[test]
    fn a_signature_says_when_it_ends() {
        let at = |text: &str| {
            let expiry = link(text).expiry()?;
            Some(expiry.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs())
        };
        assert_eq!(at("https://h/a?X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400"), Some(1_369_440_000));
        assert_eq!(at("https://h/a?X-Goog-Date=20130524T000000Z&X-Goog-Expires=1"), Some(1_369_353_601));
        assert_eq!(at("https://h/a?Expires=1369353600&Signature=x"), Some(1_369_353_600));
        assert_eq!(at("https://h/a?se=2013-05-24T00%3A00%3A00Z&sig=x"), Some(1_369_353_600));
        for text in [
            "https://h/a",
            "https://h/a?X-Amz-Date=soon&X-Amz-Expires=1",
            "https://h/a?expires=never",
            "https://h/a?se=x",
        ] {
            assert_eq!(at(text), None, "{text}");
        }
    }
}
