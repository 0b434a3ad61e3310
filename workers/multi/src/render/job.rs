//! The object around the pod's spec: a Pod, or a Job that knows which failures no other attempt would mend.

use contract::exit::ExitClass;
use serde_json::{Value, json};

use super::item::Item;
use super::pod::ADAPTER;
use super::{Layout, RenderError, Rendering};

/// How often a Job tries again what may succeed.
const RETRIES: u32 = 3;
/// The most rules that a Job's `podFailurePolicy` may have.
const MOST_RULES: usize = 20;

impl Rendering<'_> {
    pub(super) fn as_pod(&self, spec: &Value, item: &Item) -> Value {
        let metadata = self.named(self.metadata(Some(item)));
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    }

    pub(super) fn as_job(&self, spec: &Value, item: &Item) -> Result<Value, RenderError> {
        Ok(json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": self.named(self.metadata(None)),
            "spec": {
                "backoffLimit": RETRIES,
                "podFailurePolicy": {"rules": self.rules()?},
                "template": {"metadata": self.metadata(Some(item)), "spec": spec},
            },
        }))
    }

    /// Exit codes that are permanent fail the Job, disruptions do not count, and the rest does. Each rule names its container, or the
    /// code of a sidecar that was told to go would match.
    fn rules(&self) -> Result<Vec<Value>, RenderError> {
        let permanent: Vec<u8> = (1..=u8::MAX).filter(|code| ExitClass::of(*code) == ExitClass::Permanent).collect();
        let fail = |container: &str, codes: &[u8]| {
            let codes = json!({"containerName": container, "operator": "In", "values": codes});
            json!({"action": "FailJob", "onExitCodes": codes})
        };
        let mut rules = vec![fail(ADAPTER, &permanent)];
        if self.args.layout == Layout::B {
            rules.push(fail("multi-worker-fetch", &permanent));
            let hopeless = self.pipeline.stages.iter().filter(|stage| !stage.permanent_exit.is_empty());
            rules.extend(hopeless.map(|stage| fail(stage.name.as_str(), &stage.permanent_exit)));
        }
        rules.push(json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}));
        if rules.len() > MOST_RULES {
            let message = format!(
                "a Job takes {MOST_RULES} rules on failures, and this layout needs one for each permanentExit; use layout A"
            );
            return Err(self.places.error(None, "name", message).into());
        }
        Ok(rules)
    }
}
