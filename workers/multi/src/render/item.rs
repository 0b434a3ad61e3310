//! How the item gets into the pod: a volume with one file, `WORK_ITEM_FILE`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Map, Value, json};

/// The annotation of a pod that holds its item.
pub(super) const ANNOTATION: &str = "longshore.dev/item";
/// The file's name, and the key in a ConfigMap or Secret.
pub(super) const FILE: &str = "item.json";
/// Annotations, all together, may have 256 KiB; whatever is larger than this belongs into a ConfigMap.
const LONGEST: usize = 64 << 10;

/// Where the item comes from, as a flag says it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ItemFrom {
    /// From the annotation, which somebody else writes.
    Annotation,
    ConfigMap(String),
    Secret(String),
    /// It stands there itself.
    Literal(String),
    File(PathBuf),
}

/// Where the item comes from, read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    /// From the annotation; with a value for it, if we know it.
    Annotation(Option<String>),
    ConfigMap(String),
    Secret(String),
}

impl FromStr for ItemFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            _ if text == "annotation" => Ok(Self::Annotation),
            _ if text.trim_start().starts_with('{') => Ok(Self::Literal(text.to_owned())),
            Some(("configmap", name)) => subdomain(name).map(Self::ConfigMap),
            Some(("secret", name)) => subdomain(name).map(Self::Secret),
            _ => Ok(Self::File(text.into())),
        }
    }
}

/// A DNS-1123 subdomain, as objects are named.
fn subdomain(name: &str) -> Result<String, String> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    if (1..=253).contains(&name.len()) && name.bytes().all(legal) {
        Ok(name.to_owned())
    } else {
        Err(format!("{name:?} is no object's name: 1 to 253 lower-case letters, digits, dashes and dots"))
    }
}

impl ItemFrom {
    /// Reads the item, where it is ours to read.
    pub(super) fn read(&self) -> Result<Item, String> {
        match self {
            Self::Annotation => Ok(Item::Annotation(None)),
            Self::ConfigMap(name) => Ok(Item::ConfigMap(name.clone())),
            Self::Secret(name) => Ok(Item::Secret(name.clone())),
            Self::Literal(text) => compact(text).map(Some).map(Item::Annotation),
            Self::File(path) => {
                let text = read(path).map_err(|error| format!("{}: {error}", path.display()))?;
                compact(&text).map(Some).map(Item::Annotation).map_err(|why| format!("{}: {why}", path.display()))
            }
        }
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX) + 1;
    File::open(path)?.take(most).read_to_string(&mut text)?;
    Ok(text)
}

fn compact(text: &str) -> Result<String, String> {
    if text.len() > LONGEST {
        return Err(
            "an annotation should not have more than 64 KiB; make a ConfigMap of it, and say configmap/NAME".into()
        );
    }
    let item: Map<String, Value> = serde_json::from_str(text).map_err(|error| format!("is no JSON object: {error}"))?;
    Ok(Value::from(item).to_string())
}

impl Item {
    /// The volume that holds it.
    pub(super) fn volume(&self) -> Value {
        let field = format!("metadata.annotations['{ANNOTATION}']");
        match self {
            Self::Annotation(_) => json!({
                "name": "item",
                "downwardAPI": {"items": [{"path": FILE, "fieldRef": {"fieldPath": field}}]}
            }),
            Self::ConfigMap(name) => {
                json!({"name": "item", "configMap": {"name": name, "items": [{"key": FILE, "path": FILE}]}})
            }
            Self::Secret(name) => {
                json!({"name": "item", "secret": {"secretName": name, "items": [{"key": FILE, "path": FILE}]}})
            }
        }
    }

    /// What the pod is annotated with.
    pub(super) fn annotation(&self) -> Option<&str> {
        match self {
            Self::Annotation(Some(item)) => Some(item),
            Self::Annotation(None) | Self::ConfigMap(_) | Self::Secret(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_where_one_says() {
        let read = |text: &str| text.parse::<ItemFrom>().and_then(|from| from.read());
        assert_eq!(read("annotation"), Ok(Item::Annotation(None)));
        assert_eq!(read("configmap/item-1"), Ok(Item::ConfigMap("item-1".into())));
        assert_eq!(read("secret/item.1"), Ok(Item::Secret("item.1".into())));
        assert_eq!(read(r#" {"uri": "file:///a"}"#), Ok(Item::Annotation(Some(r#"{"uri":"file:///a"}"#.into()))));
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("item.json");
        std::fs::write(&file, "{\"uri\":\n\"s3://b/k\"}").expect("written");
        let path = file.display().to_string();
        assert_eq!(read(&path), Ok(Item::Annotation(Some(r#"{"uri":"s3://b/k"}"#.into()))));
        for (wrong, said) in [
            ("configmap/", "is no object's name"),
            ("configmap/A", "is no object's name"),
            ("{\"uri\"", "is no JSON object"),
            ("/nonexistent/item.json", "/nonexistent/item.json: No such file"),
        ] {
            let error = read(wrong).expect_err(wrong);
            assert!(error.contains(said), "{wrong}: {error}");
        }
        std::fs::write(&file, "[]").expect("written");
        assert!(read(&path).expect_err("a list").contains("item.json: is no JSON object"));
        std::fs::write(&file, vec![b' '; LONGEST + 1]).expect("written");
        assert!(read(&path).expect_err("long").contains("configmap/NAME"));
    }
}
