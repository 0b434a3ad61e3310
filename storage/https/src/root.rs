//! What lies below a URL, and what only looks as if it did.

use contract::Key;
use storage::{Error, Uri};

use crate::link::{Link, leads_up};

/// A URL below which something is allowed.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) link: Link,
    components: Vec<Vec<u8>>,
}

impl Root {
    /// # Errors
    /// [`Error::Invalid`] as [`Link::parse`], and when it has a query, which no root can have.
    pub(crate) fn parse(uri: &Uri) -> Result<Self, Error> {
        let link = Link::parse(uri)?;
        if link.query().is_some() {
            return Err(Error::Invalid(format!(
                "{link} has a query; write the URL below which things lie, without one"
            )));
        }
        let mut components = link.components();
        while components.last().is_some_and(Vec::is_empty) {
            components.pop();
        }
        Ok(Self { link, components })
    }

    /// The path of `link` below this root, by whole components and without its query; its file name where it is the root
    /// itself; `None` where it lies outside, or could be taken to by a server that decodes more than it should.
    pub(crate) fn key(&self, link: &Link) -> Option<Key> {
        if link.origin() != self.link.origin() {
            return None;
        }
        let components = link.components();
        if leads_up(&components) {
            return None;
        }
        let below = components.strip_prefix(self.components.as_slice())?;
        let key = below.join(&b'/');
        if key.is_empty() { link.file_name().map(|name| Key::new(&name)) } else { Some(Key::new(&key)) }
    }

    /// Whether `link` lies below.
    pub(crate) fn holds(&self, link: &Link) -> bool {
        let components = link.components();
        link.origin() == self.link.origin() && components.starts_with(&self.components) && !leads_up(&components)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(root: &str, text: &str) -> Option<String> {
        let root = Root::parse(&Uri::parse(root).expect(root)).expect(root);
        let link = Link::parse(&Uri::parse(text).expect(text)).ok()?;
        root.key(&link).map(|key| key.to_string())
    }

    #[test]
    fn what_lies_below_a_root_has_a_key() {
        for (root, text, want) in [
            ("https://h/", "https://h/a/b%20c.mp4?sig=x", "a/b c.mp4"),
            ("https://h", "https://h/a", "a"),
            ("https://h/in/", "https://h/in/a", "a"),
            ("https://h/in", "https://h/in/a/", "a/"),
            ("https://h/in", "HTTPS://H.:443/x/../in/%61", "a"),
            ("https://h/%69n", "https://h/in//a", "/a"),
            ("https://h/in/a.mp4", "https://h/in/a.mp4", "a.mp4"),
            ("https://h/in", "https:\\\\h\\in\\a", "a"),
            ("https://h/in", "https://h/in/a%2Fb", "a/b"),
            ("https://b\u{fc}cher.example/", "https://xn--bcher-kva.example/a", "a"),
            ("https://10.0.0.1/", "https://0x0a.1/a", "a"),
            ("https://h:8443/", "https://h:8443/%ff", "%FF"),
        ] {
            assert_eq!(key(root, text).as_deref(), Some(want), "{text} below {root}");
        }
    }

    #[test]
    fn what_lies_beside_a_root_has_none() {
        for (root, text) in [
            ("https://good/", "https://good@evil/a"),
            ("https://good/", "https://good.evil/a"),
            ("https://good/", "https://evil\\@good/a"),
            ("https://good/", "https://user@good/a"),
            ("https://good/", "http://good/a"),
            ("https://good/", "https://good:8443/a"),
            ("https://good/in", "https://good/in2/a"),
            ("https://good/in/", "https://good/In/a"),
            ("https://good/in/", "https://good/in/../out"),
            ("https://good/in/", "https://good/in/%2e%2e/out"),
            ("https://good/in/", "https://good/in/.%2E/out"),
            ("https://good/in/", "https://good/in/..%2fout"),
            ("https://good/in/", "https://good/in/x%2f..%2f..%2fout"),
            ("https://good/in/", "https://good/in/..%5cout"),
            ("https://good/in/", "https://good/in/%252e%252e/out"),
            ("https://good/in/", "https://good/in/%25252e%25252e%25252fout"),
            ("https://good/in/", "https://good/in\\..\\out"),
            ("https://good/in/", "https://good/in/a%00"),
            ("https://good/in/", "https://good/"),
        ] {
            assert_eq!(key(root, text), None, "{text} below {root}");
        }
    }
}
