//! One container: what we say of it, and what the pipeline's author says beside that.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::pipeline::Manifest;

/// A container as it is put together.
#[derive(Clone, Debug)]
pub(super) struct Container {
    fields: Map<String, Value>,
}

/// A mount of one volume.
pub(super) fn mount(volume: &str, path: impl AsRef<str>) -> Value {
    json!({"name": volume, "mountPath": path.as_ref()})
}

/// The same for reading only: its files are another's.
pub(super) fn read_only(volume: &str, path: impl AsRef<str>) -> Value {
    json!({"name": volume, "mountPath": path.as_ref(), "readOnly": true})
}

impl Container {
    pub(super) fn new(name: &str, image: &str) -> Self {
        // What every container of ours may do: nothing but run.
        let security = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}
        });
        let fields = [("name", name.into()), ("image", image.into()), ("securityContext", security)];
        Self { fields: fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect() }
    }

    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(key.to_owned(), value.into());
        self
    }

    /// Words that the kubelet passes on as they stand; none at all is the image's own.
    pub(super) fn words(self, key: &str, words: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let words: Vec<String> = words.into_iter().map(|word| verbatim(word.as_ref())).collect();
        if words.is_empty() { self } else { self.with(key, words) }
    }

    /// Variables with values that the kubelet passes on as they stand.
    pub(super) fn env<'a>(mut self, variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let variables = variables.into_iter().map(|(name, value)| json!({"name": name, "value": verbatim(value)}));
        self.append("env", variables);
        self
    }

    pub(super) fn mounts(mut self, mounts: impl IntoIterator<Item = Value>) -> Self {
        self.append("volumeMounts", mounts);
        self
    }

    /// Room in /tmp, unless its author has mounted something there: programs write there without asking.
    pub(super) fn tmp(self) -> Self {
        let name = self.fields.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_taken = self.list("volumeMounts").any(|mount| mount.get("mountPath").is_some_and(|path| path == "/tmp"));
        if is_taken { self } else { self.mounts([json!({"name": "tmp", "mountPath": "/tmp", "subPath": name})]) }
    }

    /// What the author says: lists are joined, a security context is laid over ours, all else is taken as it stands.
    pub(super) fn also(mut self, said: &Manifest) -> Self {
        for (key, value) in said {
            match (key.as_str(), value) {
                ("env" | "volumeMounts", Value::Array(values)) => self.append(key, values.iter().cloned()),
                ("securityContext", _) => lay_over(self.fields.entry(key.clone()).or_insert(Value::Null), value),
                _ => _ = self.fields.insert(key.clone(), value.clone()),
            }
        }
        self
    }

    /// The same of what holds for any container of that image: who it is, what it may use, how its image is had.
    pub(super) fn also_like(self, said: &Manifest) -> Self {
        let shared = ["imagePullPolicy", "resources", "securityContext"];
        let shared: Manifest = said.iter().filter(|(key, _)| shared.contains(&key.as_str())).map(owned).collect();
        self.also(&shared)
    }

    fn list(&self, key: &str) -> impl Iterator<Item = &Value> {
        self.fields.get(key).and_then(Value::as_array).into_iter().flatten()
    }

    fn append(&mut self, key: &str, values: impl IntoIterator<Item = Value>) {
        let list = self.fields.entry(key.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.extend(values);
        }
    }

    pub(super) fn into_value(self) -> Value {
        let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
        Value::Object(self.fields.into_iter().filter(|(_, value)| !is_empty(value)).collect())
    }
}

fn owned((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

/// Objects are merged, field by field; anything else replaces what was there.
pub(super) fn lay_over(below: &mut Value, above: &Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                lay_over(below.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above.clone(),
    }
}

/// Pipelines say what a command is given; the kubelet would replace `$(X)` by whatever the container has of that name, and `$$` by
/// `$` in any case. Doubled, each `$` arrives as one.
fn verbatim(text: &str) -> String {
    text.replace('$', "$$")
}

/// Variables of an author that stand where ours do, as text by name.
pub(super) fn plain(variables: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_author_says_is_laid_over() {
        let said = json!({
            "resources": {"limits": {"memory": "1Gi"}},
            "securityContext": {"runAsUser": 7, "readOnlyRootFilesystem": false, "capabilities": {"add": ["SYS_NICE"]}},
            "env": [{"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            "volumeMounts": [mount("mine", "/tmp")],
        });
        let said = said.as_object().expect("an object");
        let container = Container::new("a", "i").env([("A", "$(A) $$")]).also(said).tmp().into_value();
        assert_eq!(
            container,
            json!({
                "name": "a", "image": "i",
                "resources": {"limits": {"memory": "1Gi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": false, "runAsUser": 7,
                    "capabilities": {"drop": ["ALL"], "add": ["SYS_NICE"]}
                },
                "env": [
                    {"name": "A", "value": "$$(A) $$$$"},
                    {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
                ],
                "volumeMounts": [{"name": "mine", "mountPath": "/tmp"}],
            })
        );
        let like = Container::new("a", "i").also_like(said).tmp().into_value();
        assert_eq!(like.get("env"), None);
        assert_eq!(like.pointer("/volumeMounts/0/subPath"), Some(&"a".into()));
        assert_eq!(like.pointer("/resources/limits/memory"), Some(&"1Gi".into()));
    }
}
