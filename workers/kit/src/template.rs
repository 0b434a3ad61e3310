//! `--output`: where each item's output goes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
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

    /// The place of one item. Two keys have one place only where the template itself leaves out what sets them apart.
    ///
    /// # Errors
    /// [`Misplaced`] when what the item is called leads out, or is no path: as one, `a//b` would be `a/b`, another item.
    pub(crate) fn place(&self, key: &Key, name: &ItemName) -> Result<Place, Misplaced> {
        let native = key.to_bytes();
        if !self.takes_every_key() {
            expect_path(&native)?;
        }
        if self.pattern.contains(&Piece::Name) {
            expect_path(name.as_str().as_bytes())?;
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
        // An empty {dir} leaves its slash behind.
        Ok(Place::new(place.get(place.iter().take_while(|b| **b == b'/').count()..).unwrap_or_default())?)
    }

    /// Whether places are made of names alone: a key may be anything then.
    pub(crate) fn takes_every_key(&self) -> bool {
        self.pattern.iter().all(|piece| matches!(piece, Piece::Literal(_) | Piece::Name))
    }
}

/// That these bytes are a relative path, and the only way to write it.
fn expect_path(bytes: &[u8]) -> Result<(), Misplaced> {
    let text = || String::from_utf8_lossy(bytes).into_owned();
    if bytes.first() == Some(&b'/') || bytes.split(|b| *b == b'/').any(|component| component == b"..") {
        return Err(InvalidPlace::LeadsOut { place: text() }.into());
    }
    if bytes.split(|b| *b == b'/').any(|component| component.is_empty() || component == b".") {
        return Err(Misplaced::NoPath { text: text() });
    }
    Ok(())
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
    Place(Misplaced),
}

/// Why an item can have no place below the output root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misplaced {
    #[error("{text:?} is no path: it has an empty component, or one of a single dot, which paths do not count")]
    NoPath { text: String },
    #[error(transparent)]
    Place(#[from] InvalidPlace),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(text: &str) -> Template {
        Template::parse(text.into()).expect(text)
    }

    fn place(text: &str, key: &[u8]) -> Result<Place, Misplaced> {
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

    #[test]
    fn keys_that_are_no_paths_need_names() {
        let long = [b'x'; 1000];
        for key in [
            &b"/a"[..],
            b"a//b",
            b"a/",
            b"./a",
            b"a/./b",
            b"..",
            b"_SUCCESS.json",
            b"a/_attempts/b",
            &long,
            b"/",
            b"a\0b",
            b"",
        ] {
            let shown = String::from_utf8_lossy(key);
            assert!(place("/out/{key}/", key).is_err(), "{shown:?}");
            assert_eq!(place("/out/{name}/", key).expect(&shown).as_path(), Path::new("the-name"), "{shown:?}");
        }
        for text in ["/o/{dir}/{stem}/", "/o/{stem}-{name}/", "/o/{name}.{ext}/"] {
            assert!(place(text, b"a//b.c").is_err(), "{text}");
        }
        // A name that is a raw key is as bad as the key.
        for name in ["a//b@1", "/a@1", "a/../b@1", "a/./b@1"] {
            let raw = template("/out/{name}/").place(&Key::new(b"k"), &name.parse().expect("a name"));
            assert!(raw.is_err(), "{name}");
        }
        // The operator's own slashes are nobody's key.
        assert_eq!(place("/o/{dir}//x/{stem}/", b"a").expect("a place").as_path(), Path::new("x/a"));
    }

    proptest! {
        #[test]
        fn by_key_two_items_never_share_a_place(key in prop::collection::vec(prop::sample::select(b"./ab".to_vec()), 0..8)) {
            if let Ok(place) = place("/out/{key}/", &key) {
                prop_assert_eq!(place.as_path().as_os_str().as_bytes(), key);
            }
        }

        #[test]
        fn no_key_leads_out(key in prop::collection::vec(prop::sample::select(b"./a\0 _{}".to_vec()), 0..24)) {
            if let Ok(place) = place("/out/{dir}/{stem}{ext}-{key}/", &key) {
                let mut components = place.as_path().components();
                prop_assert!(components.all(|c| matches!(c, std::path::Component::Normal(_))), "{place}");
            }
        }
    }
}
