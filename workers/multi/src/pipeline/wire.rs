//! A pipeline as it stands in a file. The JSON Schema is made from these types.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::error::Place;
use super::values::{Code, Name, Retryable, Span, Text};

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) place: Option<Place>,
}

impl<T> At<T> {
    /// A value that stands nowhere.
    pub(crate) fn nowhere(value: T) -> Self {
        Self { value, place: None }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let found = serde_saphyr::Spanned::<T>::deserialize(from)?;
        let (line, column) = (found.referenced.line(), found.referenced.column());
        Ok(Self { value: found.value, place: (line > 0).then_some(Place { line, column }) })
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(to)
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Fields of a Kubernetes object, as they are to stand in the manifest.
pub(crate) type Fields = BTreeMap<String, At<Value>>;

/// Variables by their names.
pub(crate) type Variables = BTreeMap<String, At<Text>>;

/// Several containers that together are one worker: what each stage runs, what it needs, and what becomes of the item when it fails.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Pipeline")]
pub(crate) struct WirePipeline {
    /// The version of this format.
    pub(crate) api_version: ApiVersion,
    /// What this is.
    pub(crate) kind: Kind,
    /// What it is called; manifests are named after it.
    pub(crate) name: At<Name>,
    /// What is run, at least one, in any order.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) stages: At<Vec<At<WireStage>>>,
    /// Whose outputs are the item's output. One stage: what it wrote. Several: what each wrote, below its name. Without this: those that
    /// no other stage needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) publish: Option<At<Vec<At<Name>>>>,
    /// The container of the multi-worker itself.
    #[serde(default, skip_serializing_if = "WireAdapter::is_empty")]
    pub(crate) adapter: WireAdapter,
    /// What the pod has beside that, as in a pod's spec: `volumes`, `serviceAccountName`, `nodeSelector`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) pod: Fields,
}

/// The version of this format.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) enum ApiVersion {
    /// The first.
    #[serde(rename = "longshore.dev/v1")]
    V1,
}

/// What this is.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
pub(crate) enum Kind {
    /// A pipeline.
    Pipeline,
}

/// The container of the multi-worker itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Adapter")]
pub(crate) struct WireAdapter {
    /// The image that holds `multi-worker` and `stage-shim`; this release's without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<At<String>>,
    /// Its settings: `LONGSHORE_OUTPUT`, `LONGSHORE_ALLOW_INPUT` and whatever else `multi-worker run --help` names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) env: Variables,
    /// What its container has beside that, as in a pod's spec: `resources`, `volumeMounts`, `envFrom`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) container: Fields,
}

impl WireAdapter {
    fn is_empty(&self) -> bool {
        self.image.is_none() && self.env.is_empty() && self.container.is_empty()
    }
}

/// One stage: an image's command, run over what the stages before it wrote.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Stage")]
pub(crate) struct WireStage {
    /// What it is called. Others find its output in `NEEDS_<NAME>`.
    pub(crate) name: At<Name>,
    /// The image that holds the command. Not needed where stages are processes of one machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<At<String>>,
    /// The program and its arguments; no shell reads them. `$(INPUT_FILE)`, `$(OUTPUT_DIR)` and the other variables that a stage is given are
    /// replaced, `$$(X)` is a plain `$(X)`. Without it: the image's own entry point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) command: Option<At<Vec<At<Text>>>>,
    /// Further arguments. Without a command they follow the image's entry point in place of its own arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) args: Option<At<Vec<At<Text>>>>,
    /// Where the command runs, an absolute path; the image's own directory without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) working_dir: Option<At<String>>,
    /// Variables that the command gets, as they stand.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) env: Variables,
    /// The stages that must have succeeded before this one begins. It reads their outputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) needs: Vec<At<Name>>,
    /// How long it may take until the stage is there and has begun, from the moment it is asked to; 2m without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) start_timeout: Option<At<Span>>,
    /// How long each attempt at it may run; for ever without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<At<Span>>,
    /// What is tried again within the item's attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retries: Option<At<WireRetries>>,
    /// What its failure means for the item: it has failed, too (`fail`), or those that need this stage begin all the same, and find nothing of
    /// it (`continue`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) on_error: Option<At<WireOnError>>,
    /// When it is run: once all that it needs has succeeded (`succeeded`), or whatever became of that and of the item (`always`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) when: Option<At<WireWhen>>,
    /// Its exit codes that say that the item is hopeless: no retry, no further attempt at the item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) permanent_exit: Option<At<Vec<At<Code>>>>,
    /// What its container has beside that, as in a pod's spec: `resources`, `volumeMounts`, `securityContext`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) container: Fields,
}

/// Which failures are tried again, and when.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Retries")]
pub(crate) struct WireRetries {
    /// How many attempts may follow the first.
    #[schemars(range(max = 1000))]
    pub(crate) limit: At<u32>,
    /// The pause before the second attempt, 1s without it; it doubles from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) backoff: Option<At<Span>>,
    /// The longest pause; 60s without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_backoff: Option<At<Span>>,
    /// Exit codes and reasons that are tried again. Without it: every failure but those of `permanentExit`, and a command that is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) on: Option<At<Vec<At<Retryable>>>>,
}

/// What the failure of a stage means.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "OnError")]
pub(crate) enum WireOnError {
    /// The item has failed.
    Fail,
    /// Those that need it begin all the same.
    Continue,
}

/// When a stage is run.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "When")]
pub(crate) enum WireWhen {
    /// Once all that it needs has succeeded.
    Succeeded,
    /// Whatever became of what it needs, and of the item.
    Always,
}
