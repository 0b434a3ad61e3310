//! What the asker has already: the `ETag` of a list, and `If-None-Match` (RFC 9110, 8.8.3 and 13.1.2).
//!
//! The tag is a weak one. It says that two answers list the same; whether they are compressed, and whether something came
//! while the first went out, are other questions.

use http::{HeaderMap, HeaderValue, header};

/// The tag of the list at this version.
pub(super) fn tag(version: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("W/\"{version}\"")).ok()
}

/// Whether the asker says that it has the list at this version, by weak comparison. What is no list of tags says nothing.
pub(super) fn is_known(headers: &HeaderMap, version: &str) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        let value = value.as_bytes().trim_ascii();
        value == b"*" || Tags(value).any(|tag| tag == version.as_bytes())
    })
}

/// The opaque parts of a list of tags, as far as it is one. A comma may be part of a tag.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let separator = |byte: &u8| matches!(byte, b',' | b' ' | b'\t');
        let start = self.0.iter().position(|byte| !separator(byte))?;
        let (_, rest) = self.0.split_at(start);
        let rest = rest.strip_prefix(b"W/").unwrap_or(rest).strip_prefix(b"\"")?;
        let end = rest.iter().position(|byte| *byte == b'"')?;
        let (tag, rest) = rest.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        Some(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(values: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_NONE_MATCH, HeaderValue::from_static(value));
        }
        is_known(&headers, "x.42")
    }

    #[test]
    fn a_tag_is_known_from_among_others_and_however_it_was_weakened() {
        for yes in [
            r#"W/"x.42""#,
            r#""x.42""#,
            "*",
            " * ",
            r#""a", W/"x.42""#,
            r#""a","x.42""#,
            r#", "a,b" ,	W/"x.42","#,
            r#""x.42", nonsense"#,
        ] {
            assert!(known(&[yes]), "{yes}");
        }
        assert!(known(&[r#""a""#, r#"W/"x.42""#]), "in a header of its own");
    }

    #[test]
    fn another_tag_and_what_is_none_are_not() {
        for no in [
            "",
            r#""x.4""#,
            r#""x.420""#,
            "x.42",
            r#""x.42"#,
            r#"w/"x.42""#,
            r#"W/ "x.42""#,
            r#""a,"x.42"#,
            r#""**""#,
            r#"nonsense, "x.42""#,
            r#"*, "a""#,
        ] {
            assert!(!known(&[no]), "{no}");
        }
        assert!(!known(&[]));
    }
}
