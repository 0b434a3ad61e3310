//! Manifests as people write them: what a thing is called comes first.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;

/// Fields that stand before all others, in this order; the rest by the alphabet.
const FIRST: [&str; 21] = [
    "apiVersion",
    "kind",
    "metadata",
    "name",
    "generateName",
    "namespace",
    "image",
    "imagePullPolicy",
    "restartPolicy",
    "command",
    "args",
    "workingDir",
    "value",
    "key",
    "path",
    "mountPath",
    "type",
    "action",
    "initContainers",
    "containers",
    "volumes",
];

struct Ordered<'a>(&'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(fields) => {
                let rank = |key: &str| FIRST.iter().position(|first| *first == key).unwrap_or(FIRST.len());
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_by_key(|(key, _)| rank(key));
                let mut map = to.serialize_map(Some(fields.len()))?;
                fields.into_iter().try_for_each(|(key, value)| map.serialize_entry(key, &Ordered(value)))?;
                map.end()
            }
            Value::Array(values) => {
                let mut seq = to.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| seq.serialize_element(&Ordered(value)))?;
                seq.end()
            }
            scalar => scalar.serialize(to),
        }
    }
}

/// The manifest as text. Texts of several lines stay such; long ones are not folded, since they are commands.
pub(super) fn text(manifest: &Value) -> String {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let mut text = String::new();
    serde_saphyr::to_fmt_writer_with_options(&mut text, &Ordered(manifest), options)
        .expect("what was read as YAML or is JSON can be written");
    text
}
