//! `--https-header-file`: what is sent to whom.

use std::path::Path;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use storage::{Error, Uri};

use crate::link::Link;
use crate::root::Root;

/// What a request is made of is not an operator's to say.
const OURS: [HeaderName; 9] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::ACCEPT_ENCODING,
];

/// Adds to `headers` those that `file` names for `link`.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::Unsupported`] when a line of it means nothing. A value is never repeated.
pub(crate) async fn add(file: &Path, link: &Link, headers: &mut HeaderMap) -> Result<(), Error> {
    let text = tokio::fs::read_to_string(file)
        .await
        .map_err(|source| Error::Io { doing: format!("read --https-header-file {}", file.display()), source })?;
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (root, name, value) = parse(line).ok_or_else(|| {
            Error::Unsupported(format!(
                "line {} of --https-header-file {} is not `https://host/path/ Name: value` with a header that may be set",
                n + 1,
                file.display()
            ))
        })?;
        if root.holds(link) {
            headers.insert(name, value);
        }
    }
    Ok(())
}

fn parse(line: &str) -> Option<(Root, HeaderName, HeaderValue)> {
    let (url, rest) = line.split_once(char::is_whitespace)?;
    let root = Root::parse(&Uri::parse(url).ok()?).ok()?;
    let (name, value) = rest.trim_start().split_once(':')?;
    let name: HeaderName = name.parse().ok().filter(|name| !OURS.contains(name))?;
    let mut value: HeaderValue = value.trim().parse().ok()?;
    value.set_sensitive(true);
    Some((root, name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(text: &str) -> Link {
        Link::parse(&Uri::parse(text).expect("a URI")).expect("a URL")
    }

    #[tokio::test]
    async fn a_header_goes_where_it_is_meant_to_and_nowhere_else() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = "# ours\n\nhttps://h/in/ Authorization: Bearer t0ken\nhttps://h:8443 \tPRIVATE-TOKEN:x\n";
        std::fs::write(file.path(), text).expect("written");
        for (url, want) in [
            ("https://h/in/a", vec!["authorization"]),
            ("https://h/in2/a", vec![]),
            ("https://h.evil/in/a", vec![]),
            ("http://h/in/a", vec![]),
            ("https://h:8443/a", vec!["private-token"]),
        ] {
            let mut headers = HeaderMap::new();
            add(file.path(), &link(url), &mut headers).await.expect("read");
            assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), want, "{url}");
            assert!(!format!("{headers:?}").contains("t0ken"));
        }
    }

    #[tokio::test]
    async fn a_line_that_means_nothing_is_named_and_not_shown() {
        for line in [
            "Authorization: Bearer t0ken",
            "https://h/ t0ken",
            "https://h/ Host: t0ken",
            "h/ A: t0ken",
            "https://h/?x A: t0ken",
        ] {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), format!("#\n{line}\n")).expect("written");
            let error =
                add(file.path(), &link("https://h/a"), &mut HeaderMap::new()).await.expect_err(line).to_string();
            assert!(error.contains("line 2") && !error.contains("t0ken"), "{error}");
        }
    }
}
