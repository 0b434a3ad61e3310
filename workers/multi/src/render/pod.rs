//! What both layouts have in common: the pod around the containers, its volumes, who it is and how long it lives.

use std::time::Duration;

use serde_json::{Value, json};
use sidecar::cli::value;
use stage::Root;

use super::container::{Container, lay_over, mount, plain, read_only};
use super::item::{ANNOTATION, FILE, Item};
use super::{RenderError, Rendering};
use crate::pipeline::Stage;

/// The container of the multi-worker, whose exit code is the pod's.
pub(super) const ADAPTER: &str = "multi-worker";
/// Names of containers that are not the stages', whatever the layout.
const TAKEN: [&str; 3] = [ADAPTER, "multi-worker-fetch", "stage-shim"];
/// Where the item's file lies, out of the way of what is written.
const ITEM_DIR: &str = "/longshore/item";
/// Who a pod is that says nothing else: nobody that anything of the node belongs to.
const USER: u32 = 65532;
/// How long the multi-worker may take to stop where nothing else is said, as its `--grace`.
const GRACE: Duration = Duration::from_secs(25);
/// What is left after that for writing the account, and for the sidecars to go.
const REST: Duration = Duration::from_secs(10);

/// The containers of a pod, and what they share.
#[derive(Debug)]
pub(super) struct Containers {
    /// In the order in which they start.
    pub(super) init: Vec<Value>,
    pub(super) app: Value,
    /// Volumes that are empty at first.
    pub(super) volumes: Vec<String>,
}

/// The volume that one stage writes.
pub(super) fn volume(stage: &Stage) -> String {
    format!("stage-{}", stage.name)
}

/// The tree that all containers share.
pub(super) fn root() -> Root {
    Root::new(Root::DEFAULT)
}

impl Rendering<'_> {
    /// The image of the multi-worker.
    pub(super) fn image(&self) -> &str {
        self.pipeline.adapter.image.as_deref().unwrap_or(&self.args.image)
    }

    /// The image of a stage, which a pod must have.
    pub(super) fn image_of<'a>(&self, stage: &'a Stage) -> Result<&'a str, RenderError> {
        let name = &stage.name;
        if TAKEN.contains(&name.as_str()) {
            let message = format!("a container is called {name} already; call the stage by another name");
            return Err(self.places.error(Some(name), "name", message).into());
        }
        stage.image.as_deref().ok_or_else(|| {
            let message = format!("stage {name} has no image, and a container needs one; add `image`");
            self.places.error(Some(name), "image", message).into()
        })
    }

    /// The multi-worker, as `role`.
    pub(super) fn adapter(&self, name: &str, role: &str) -> Result<Container, RenderError> {
        let text = self.pipeline.to_text();
        if text.len() >= 128 << 10 {
            let message =
                format!("what the multi-worker must know of it has {} bytes, and a variable takes 128 KiB", text.len());
            return Err(self.places.error(None, "name", message).into());
        }
        let item = format!("{ITEM_DIR}/{FILE}");
        let ours = [(contract::attempt::WORK_ITEM_FILE, item.as_str()), ("LONGSHORE_PIPELINE_TEXT", text.as_str())];
        Ok(Container::new(name, self.image())
            .with("command", json!(["multi-worker", role]))
            .env(ours.into_iter().chain(plain(&self.pipeline.adapter.env)))
            .mounts([mount("adapter", root().adapter().path().to_string_lossy()), read_only("item", ITEM_DIR)]))
    }

    /// The spec of the pod.
    pub(super) fn pod(&self, containers: Containers, item: &Item) -> Result<Value, RenderError> {
        let Containers { init, app, volumes } = containers;
        let mut volumes: Vec<Value> =
            volumes.into_iter().map(|name| json!({"name": name, "emptyDir": {}})).chain([item.volume()]).collect();
        let mut spec = json!({
            "restartPolicy": "Never",
            "activeDeadlineSeconds": self.args.deadline.as_secs().max(1),
            "terminationGracePeriodSeconds": (self.grace() + REST).as_secs(),
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"}
            },
            "initContainers": init,
            "containers": [app],
        });
        for (key, said) in &self.pipeline.pod {
            match (key.as_str(), said) {
                ("volumes", Value::Array(said)) => {
                    for volume in said {
                        let name = volume.get("name").and_then(Value::as_str).unwrap_or_default();
                        if volumes.iter().any(|ours| ours.get("name").is_some_and(|ours| ours == name)) {
                            let message = format!("there is a volume {name:?} already; call this one by another name");
                            return Err(self.places.error(None, "pod.volumes", message).into());
                        }
                        volumes.push(volume.clone());
                    }
                }
                _ => lay_over(&mut spec, &json!({key: said})),
            }
        }
        lay_over(&mut spec, &json!({"volumes": volumes}));
        self.outlives(spec.get("activeDeadlineSeconds").and_then(Value::as_u64))?;
        Ok(spec)
    }

    /// Whether the pod lives long enough for each stage to run into its own timeout.
    fn outlives(&self, deadline: Option<u64>) -> Result<(), RenderError> {
        let Some(deadline) = deadline.map(Duration::from_secs) else {
            let message = "activeDeadlineSeconds is a number of seconds".to_owned();
            return Err(self.places.error(None, "pod.activeDeadlineSeconds", message).into());
        };
        let too_long = |stage: &&Stage| stage.timeout.is_some_and(|timeout| timeout >= deadline);
        match self.pipeline.stages.iter().find(too_long) {
            None => Ok(()),
            Some(stage) => {
                let deadline = humantime::format_duration(deadline);
                let message = format!("the pod lives for {deadline}, so this is never reached; raise --deadline");
                Err(self.places.error(Some(&stage.name), "timeout", message).into())
            }
        }
    }

    /// How long the multi-worker may take to stop.
    fn grace(&self) -> Duration {
        let said = self.pipeline.adapter.env.get("LONGSHORE_GRACE");
        said.and_then(|text| value::duration(text).ok()).unwrap_or(GRACE)
    }

    /// Who a container is, unless it says so itself.
    pub(super) fn user(&self) -> u64 {
        let said = self.pipeline.pod.get("securityContext").and_then(|context| context.get("runAsUser"));
        said.and_then(Value::as_u64).unwrap_or(USER.into())
    }

    /// What the pod itself is called and labelled.
    pub(super) fn metadata(&self, item: Option<&Item>) -> Value {
        let labels = json!({"app.kubernetes.io/name": ADAPTER, "longshore.dev/pipeline": self.pipeline.name.as_str()});
        let mut metadata = json!({"labels": labels});
        if let Some(annotation) = item.and_then(Item::annotation) {
            lay_over(&mut metadata, &json!({"annotations": {ANNOTATION: annotation}}));
        }
        metadata
    }

    /// What the object that is printed is called.
    pub(super) fn named(&self, mut metadata: Value) -> Value {
        lay_over(&mut metadata, &json!({"name": self.pipeline.name.as_str()}));
        if let Some(namespace) = &self.args.namespace {
            lay_over(&mut metadata, &json!({"namespace": namespace}));
        }
        metadata
    }
}
