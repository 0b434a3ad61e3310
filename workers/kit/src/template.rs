//! `--output`: where each item's output goes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use contract::item::decode_path;
use contract::{ItemName, Key};
use storage::{InvalidPlace, InvalidUri, Place, Uri};

/// An output root and a pattern for the places below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) root: Uri,
    pattern: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Key,
    Dir,
    Stem,
    Ext,
    Name,
}

const PLACEHOLDERS: &str = "{key} {dir} {stem} {ext} {name}";

impl Template {
    /// Reads a template: up to the last slash before the first `{` it is the root, a URI or a path; from there on it is a
    /// pattern.
    pub(crate) fn parse(text: OsString) -> Result<Self, InvalidTemplate> {
        let bytes = text.as_bytes();
        let brace = bytes.iter().position(|b| *b == b'{').ok_or(InvalidTemplate::NoPlaceholder)?;
        let (before, _) = bytes.split_at(brace);
        let cut = before.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
        let (root, pattern) = bytes.split_at(cut);
        let text = if root.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(root) };
        let root = Uri::parse_or_path(text)?;
        let mut pattern = pieces(pattern)?;
        if matches!(root, Uri::File(_)) && text.as_bytes().starts_with(b"file:") {
            // Part of a URI, they are escaped as the root is.
            for piece in &mut pattern {
                if let Piece::Literal(text) = piece
                    && let Ok(escaped) = std::str::from_utf8(text)
                {
                    *text = decode_path(escaped);
                }
            }
        }
        let template = Self { root, pattern };
        // What the operator wrote around the placeholders must not lead out either, whatever the items are.
        let example = ItemName::parse("x").expect("a legal name");
        template.place(&Key::new(b"x"), &example).map_err(InvalidTemplate::Place)?;
        Ok(template)
    }

    /// The place of one item.
    pub(crate) fn place(&self, key: &Key, name: &ItemName) -> Result<Place, InvalidPlace> {
        let native = key.to_bytes();
        // An absolute key, or a name of two dots, leads out; checked before the slash could vanish behind a literal.
        if native.first() == Some(&b'/') || name.as_str().starts_with('/') {
            return Err(InvalidPlace::LeadsOut { place: key.to_string() });
        }
        let path = Path::new(OsStr::from_bytes(&native));
        let of = |part: Option<&OsStr>| part.map(OsStr::as_bytes).unwrap_or_default().to_vec();
        let mut place = Vec::new();
        for piece in &self.pattern {
            place.extend(match piece {
                Piece::Literal(text) => text.clone(),
                Piece::Key => native.clone(),
                Piece::Dir => of(path.parent().map(Path::as_os_str)),
                Piece::Stem => of(path.file_stem()),
                Piece::Ext => of(path.extension()),
                Piece::Name => name.as_str().as_bytes().to_vec(),
            });
        }
        if has_dots(&native) || has_dots(name.as_str().as_bytes()) {
            return Err(InvalidPlace::LeadsOut { place: OsString::from_vec(place).to_string_lossy().into_owned() });
        }
        // An empty {dir} leaves its slash behind.
        Place::new(place.get(place.iter().take_while(|b| **b == b'/').count()..).unwrap_or_default())
    }
}

fn has_dots(bytes: &[u8]) -> bool {
    bytes.split(|b| *b == b'/').any(|component| component == b"..")
}

fn pieces(mut rest: &[u8]) -> Result<Vec<Piece>, InvalidTemplate> {
    let mut pieces = Vec::new();
    while let Some(open) = rest.iter().position(|b| *b == b'{') {
        let (literal, after) = rest.split_at(open);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.to_vec()));
        }
        let close = after.iter().position(|b| *b == b'}');
        let (placeholder, after) = after.split_at(close.map_or(after.len(), |close| close + 1));
        pieces.push(match placeholder {
            b"{key}" => Piece::Key,
            b"{dir}" => Piece::Dir,
            b"{stem}" => Piece::Stem,
            b"{ext}" => Piece::Ext,
            b"{name}" => Piece::Name,
            other => return Err(InvalidTemplate::Unknown(String::from_utf8_lossy(other).into_owned())),
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.to_vec()));
    }
    Ok(pieces)
}

/// A text that is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidTemplate {
    #[error("every item would have its output in one place: add at least one of {PLACEHOLDERS}")]
    NoPlaceholder,
    #[error("{0:?} is none of {PLACEHOLDERS}")]
    Unknown(String),
    #[error(transparent)]
    Uri(#[from] InvalidUri),
    #[error("no item could have its output there: {0}")]
    Place(InvalidPlace),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text.into()).expect(text)
    }

    fn place(text: &str, key: &[u8]) -> Result<Place, InvalidPlace> {
        template(text).place(&Key::new(key), &"the-name".parse().expect("a name"))
    }

    #[test]
    fn the_root_ends_before_the_first_placeholder() {
        for (text, root) in [
            ("/out/{key}/", "file:///out/"),
            ("/out/thumb-{stem}/", "file:///out/"),
            ("file:///o%20ut/{key}", "file:///o%20ut/"),
            ("s3://bucket/results/{key}/", "s3://bucket/results/"),
        ] {
            assert_eq!(template(text).root.to_string(), root, "{text}");
        }
        let here = std::env::current_dir().expect("a working directory");
        assert_eq!(template("{key}").root, Uri::File(here.clone()));
        assert_eq!(template("out/{key}").root, Uri::File(here.join("out")));
    }

    #[test]
    fn placeholders_are_parts_of_the_key() {
        for (text, want) in [
            ("/o/{key}/", "a/b.c/film.tar.gz"),
            ("/o/{dir}/{stem}/", "a/b.c/film.tar"),
            ("/o/{stem}.{ext}", "film.tar.gz"),
            ("/o/{name}/x-{ext}-y", "the-name/x-gz-y"),
            ("/o/pre{dir}", "prea/b.c"),
            ("file:///o/v%20{stem}%2e{ext}", "v film.tar.gz"),
            ("/o/v%20{stem}", "v%20film.tar"),
        ] {
            let got = place(text, b"a/b.c/film.tar.gz").expect(text);
            assert_eq!(got.as_path(), Path::new(want), "{text}");
        }
        assert_eq!(place("/o/{dir}/{stem}/", b"top").expect("a place").as_path(), Path::new("top"));
    }

    #[test]
    fn what_is_no_template_is_told() {
        for (text, says) in [
            ("/out/", "at least one of"),
            ("/out/{kye}/", "\"{kye}\" is none of"),
            ("/out/{key", "\"{key\" is none of"),
            ("file://host/{key}", "another host"),
            ("/out/{key}/../x", "leads out"),
            ("/out/{key}/_SUCCESS.json", "the commit's own"),
        ] {
            let error = Template::parse(text.into()).expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn an_item_cannot_choose_a_place_outside() {
        for key in [&b"../x"[..], b"a/../../x", b"..", b"/etc/passwd", b"a\0b", b".longshore/lock", b"a/_SUCCESS.json"]
        {
            for text in ["/out/{key}/", "/out/x{key}"] {
                let hit = place(text, key);
                // Glued to a literal, a reserved name is another name.
                let harmless = text.contains('x') && key == b".longshore/lock";
                assert!(hit.is_err() || harmless, "{:?} in {text} gives {hit:?}", String::from_utf8_lossy(key));
            }
        }
        let raw = template("/out/{name}/").place(&Key::new(b"k"), &"../../etc".parse().expect("a name"));
        assert!(raw.is_err());
    }

    proptest! {
        #[test]
        fn no_key_leads_out(key in prop::collection::vec(prop::sample::select(b"./a\0 _{}".to_vec()), 0..24)) {
            if let Ok(place) = place("/out/{dir}/{stem}{ext}-{key}/", &key) {
                let mut components = place.as_path().components();
                prop_assert!(components.all(|c| matches!(c, std::path::Component::Normal(_))), "{place}");
            }
        }
    }
}
