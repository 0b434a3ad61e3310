//! A command's words, in which `$(NAME)` stands for a variable: images without a shell can be told where their input lies.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Replaces `$(NAME)` in `word` for each NAME in `variables`, once: values are not looked through. `$$(NAME)` is the text
/// `$(NAME)`. Whatever else is written there stays as it is, since it may be a shell's: `$$`, `$(date)`, `${HOME}`.
pub fn expand(word: &OsStr, variables: &BTreeMap<String, OsString>) -> OsString {
    let mut rest = word.as_bytes();
    let mut expanded = Vec::with_capacity(rest.len());
    while let Some(at) = rest.windows(2).position(|two| two == b"$(") {
        let (before, from) = rest.split_at(at);
        let name = from.get(2..).and_then(|name| name.split(|byte| *byte == b')').next()).unwrap_or_default();
        let is_closed = from.get(2 + name.len()) == Some(&b')');
        let value = std::str::from_utf8(name).ok().filter(|_| is_closed).and_then(|name| variables.get(name));
        let taken = match (value, before.split_last()) {
            (None, _) => {
                expanded.extend_from_slice(before);
                expanded.extend_from_slice(b"$(");
                2
            }
            (Some(_), Some((b'$', before))) => {
                expanded.extend_from_slice(before);
                expanded.extend_from_slice(from.get(..name.len() + 3).unwrap_or_default());
                name.len() + 3
            }
            (Some(value), _) => {
                expanded.extend_from_slice(before);
                expanded.extend_from_slice(value.as_bytes());
                name.len() + 3
            }
        };
        rest = from.get(taken..).unwrap_or_default();
    }
    expanded.extend_from_slice(rest);
    OsString::from_vec(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(word: &str) -> String {
        let variables = [("INPUT_FILE", "/in/a b.mp4"), ("OUTPUT_DIR", "/out/$(INPUT_FILE)"), ("NEEDS_DETECT", "")];
        let variables = variables.map(|(name, value)| (name.to_owned(), OsString::from(value)));
        expand(OsStr::new(word), &variables.into()).into_string().expect("is text")
    }

    #[test]
    fn only_what_a_stage_is_given_is_replaced_and_only_once() {
        for (word, want) in [
            ("$(INPUT_FILE)", "/in/a b.mp4"),
            ("--in=$(INPUT_FILE):x", "--in=/in/a b.mp4:x"),
            ("$(INPUT_FILE)$(INPUT_FILE)", "/in/a b.mp4/in/a b.mp4"),
            ("$(OUTPUT_DIR)", "/out/$(INPUT_FILE)"),
            ("a$(NEEDS_DETECT)b", "ab"),
            ("$$(INPUT_FILE)", "$(INPUT_FILE)"),
            ("a $$(INPUT_FILE) $(INPUT_FILE)", "a $(INPUT_FILE) /in/a b.mp4"),
            (
                "$(HOME) $(date) $$ $$(date) ${INPUT_FILE} $INPUT_FILE",
                "$(HOME) $(date) $$ $$(date) ${INPUT_FILE} $INPUT_FILE",
            ),
            ("$(date $(INPUT_FILE))", "$(date /in/a b.mp4)"),
            ("$(", "$("),
            ("$(INPUT_FILE", "$(INPUT_FILE"),
            ("$($(INPUT_FILE)", "$(/in/a b.mp4"),
            ("$()", "$()"),
            ("", ""),
            ("100%05d.png", "100%05d.png"),
        ] {
            assert_eq!(expanded(word), want, "{word}");
        }
    }

    #[test]
    fn words_need_not_be_text() {
        let variables = [("A".to_owned(), OsString::from_vec(vec![0xff]))].into();
        assert_eq!(expand(OsStr::from_bytes(b"\xfe$(A)\xfe$(\xff)"), &variables).as_bytes(), b"\xfe\xff\xfe$(\xff)");
    }
}
