//! What becomes part of a container: images, words, variables, and what is passed on as it stands.

use std::collections::BTreeMap;

use stage::StageName;

use super::super::values::Text;
use super::super::wire::{At, Fields, Variables};
use super::super::words::is_given;
use super::super::{Manifest, PipelineError};
use super::Checking;

/// The kernel's `MAX_ARG_STRLEN`: no argument, and no variable with its name, may have so many bytes.
const LONGEST_WORD: usize = 128 * 1024;

/// Variables of the adapter that say which pipeline it runs, where, and over what.
const OF_RENDER: [&str; 5] =
    ["LONGSHORE_PIPELINE", "LONGSHORE_PIPELINE_TEXT", "LONGSHORE_STAGES", "LONGSHORE_ROOT", "WORK_ITEM_FILE"];

/// Fields of a stage's container that have their own place, and what to write instead.
pub(super) const OF_STAGE: [(&str, &str); 6] = [
    ("name", "it is named after the stage"),
    ("image", "write it as the stage's own `image`"),
    ("command", "write it as the stage's own `command`"),
    ("args", "write them as the stage's own `args`"),
    ("workingDir", "write it as the stage's own `workingDir`"),
    ("restartPolicy", "the layout sets it"),
];
pub(super) const OF_ADAPTER: [(&str, &str); 6] = [
    ("name", "it is called multi-worker"),
    ("image", "write it as `adapter.image`"),
    ("command", "it is multi-worker; its settings are variables in `adapter.env`"),
    ("args", "its settings are variables in `adapter.env`"),
    ("workingDir", "its settings take absolute paths"),
    ("restartPolicy", "the adapter runs once"),
];
pub(super) const OF_POD: [(&str, &str); 3] = [
    ("containers", "they are the stages and the adapter"),
    ("initContainers", "they are the stages"),
    ("restartPolicy", "a worker's pod runs once: Never"),
];

impl Checking {
    pub(super) fn image(&self, image: &At<String>) -> Result<(), PipelineError> {
        let text = &image.value;
        let is_one = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
        if is_one {
            Ok(())
        } else {
            Err(self.places.wrong(image, format!("{text:?} is no image; write it as registry.example/name:tag")))
        }
    }

    pub(super) fn words(
        &mut self,
        stage: Option<&StageName>,
        field: &str,
        words: Option<At<Vec<At<Text>>>>,
    ) -> Result<Vec<String>, PipelineError> {
        let mut checked = Vec::new();
        for (n, word) in words.into_iter().flat_map(|words| words.value).enumerate() {
            self.places.note(stage, &format!("{field}[{n}]"), Some(&word));
            if n == 0 && field == "command" && word.value.0.is_empty() {
                return Err(self.places.wrong(&word, "this is no program; write its name or path"));
            }
            self.passable(&word, word.value.0.len())?;
            checked.push(word.value.0);
        }
        Ok(checked)
    }

    /// Whether the kernel would take a text of that many bytes as an argument or a variable.
    fn passable(&self, text: &At<Text>, length: usize) -> Result<(), PipelineError> {
        if text.value.0.contains('\0') {
            return Err(self.places.wrong(text, "there is a NUL character in it, which no command can be given"));
        }
        if length >= LONGEST_WORD {
            let message = format!(
                "{length} bytes are too much: the kernel takes less than 128 KiB; put it into a file and mount that"
            );
            return Err(self.places.wrong(text, message));
        }
        Ok(())
    }

    /// `is_stages`: of a stage's command, which is given some of its own.
    pub(super) fn variables(
        &self,
        variables: Variables,
        is_stages: bool,
    ) -> Result<BTreeMap<String, String>, PipelineError> {
        for (name, value) in &variables {
            let mut bytes = name.bytes();
            let begins = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
            if !begins || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                let message =
                    format!("{name:?} is no name of a variable: letters, digits and underscores, no digit first");
                return Err(self.places.wrong(value, message));
            }
            if is_stages && is_given(name) {
                return Err(self
                    .places
                    .wrong(value, format!("every stage is given {name}; call this one by another name")));
            }
            if is_stages && name.starts_with("LONGSHORE_") {
                return Err(self.places.wrong(
                    value,
                    format!("{name} would be a setting of the shim, not the command's; name it otherwise"),
                ));
            }
            if !is_stages && OF_RENDER.contains(&name.as_str()) {
                return Err(self
                    .places
                    .wrong(value, format!("{name} is set by whoever renders the pipeline; take it away")));
            }
            self.passable(value, name.len() + 1 + value.value.0.len())?;
        }
        Ok(variables.into_iter().map(|(name, value)| (name, value.value.0)).collect())
    }

    /// What is passed on, less what has its own place.
    pub(super) fn manifest(
        &mut self,
        stage: Option<&StageName>,
        field: &str,
        fields: Fields,
        elsewhere: &[(&str, &str)],
    ) -> Result<Manifest, PipelineError> {
        let mut manifest = Manifest::new();
        for (key, value) in fields {
            if let Some((_, instead)) = elsewhere.iter().find(|(taken, _)| *taken == key) {
                return Err(self.places.wrong(&value, format!("`{key}` does not belong here: {instead}")));
            }
            if matches!(key.as_str(), "env" | "envFrom" | "volumeMounts" | "volumes") && !value.value.is_array() {
                return Err(self.places.wrong(&value, format!("`{key}` is a list, as in a pod's spec")));
            }
            if key == "securityContext" && !value.value.is_object() {
                return Err(self.places.wrong(&value, "`securityContext` is an object, as in a pod's spec"));
            }
            for name in value.value.as_array().into_iter().flatten().filter_map(|entry| entry.get("name")) {
                if let Some(name) = name.as_str().filter(|name| key == "env" && stage.is_some() && is_given(name)) {
                    return Err(self
                        .places
                        .wrong(&value, format!("every stage is given {name}; call this one by another name")));
                }
            }
            self.places.note(stage, &format!("{field}.{key}"), Some(&value));
            manifest.insert(key, value.value);
        }
        Ok(manifest)
    }
}
