//! Where one test has its objects.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Cluster;

/// Longest that anything is waited for.
const DEADLINE: Duration = Duration::from_secs(240);

/// Between two looks: each is a kubectl, which takes a processor for as long as many a pod does.
const BETWEEN_LOOKS: Duration = Duration::from_millis(400);

/// A namespace of a [`Cluster`]; dropped, it is deleted with all that is in it, which takes its time in the background.
#[derive(Debug)]
pub struct Namespace<'a> {
    cluster: &'a Cluster,
    name: String,
}

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// `Complete`.
    Complete,
    /// `Failed`, with the condition's reason (`PodFailurePolicy`, `BackoffLimitExceeded`, …) and message.
    Failed {
        /// The condition's reason.
        reason: String,
        /// The condition's message.
        message: String,
    },
}

impl<'a> Namespace<'a> {
    pub(super) fn new(cluster: &'a Cluster, prefix: &str) -> Self {
        let name = format!("{prefix}-{:08x}", fastrand::u32(..));
        said(&cluster.kubectl(&["create", "namespace", &name]));
        let namespace = Self { cluster, name };
        // Without the one the API server refuses pods, without the other the kubelet starts them late.
        for given in ["serviceaccount/default", "configmap/kube-root-ca.crt"] {
            namespace.until(given, |_| Some(()));
        }
        namespace
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster it is in.
    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// What `kubectl` answers, in this namespace.
    ///
    /// # Panics
    /// If it cannot be run.
    pub fn kubectl(&self, args: &[&str]) -> Output {
        self.cluster.kubectl(&[&["--namespace", &self.name], args].concat())
    }

    /// Applies these documents server-side, with strict validation, into this namespace where they name none.
    ///
    /// # Panics
    /// If the API server refuses one.
    pub fn apply(&self, yaml: &str) {
        let args = ["--namespace", &self.name, "apply", "--server-side", "--validate=strict", "--filename=-"];
        said(&self.cluster.kubectl_fed(yaml, &args));
    }

    /// Deletes without waiting for the end: `pod/x`, `job/y`; what is not there is left alone.
    ///
    /// # Panics
    /// If the API server refuses.
    pub fn delete(&self, what: &str) {
        said(&self.kubectl(&["delete", "--wait=false", "--ignore-not-found", what]));
    }

    /// What the API server knows of `what` now, a name (`job/x`) or a kind (`pods`): the object, or the List of them.
    pub fn get(&self, what: &str) -> Option<Value> {
        let output = self.kubectl(&["get", what, "--output=json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("kubectl prints JSON"))
    }

    /// Waits until `condition` finds something in `what`, asked for as by [`get`](Self::get).
    ///
    /// # Panics
    /// After four minutes, with the events and pods of this namespace.
    pub fn until<T>(&self, what: &str, mut condition: impl FnMut(&Value) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = self.get(what).and_then(|object| condition(&object)) {
                return found;
            }
            assert!(begun.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what} in vain\n{}", self.story());
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }

    /// Waits for the end of a Job, whichever it is.
    ///
    /// # Panics
    /// As [`until`](Self::until).
    pub fn job_end(&self, name: &str) -> JobEnd {
        self.until(&format!("job/{name}"), |job| {
            let conditions = job.pointer("/status/conditions")?.as_array()?;
            conditions.iter().filter(|condition| condition["status"] == "True").find_map(|condition| {
                let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
                match condition["type"].as_str() {
                    Some("Complete") => Some(JobEnd::Complete),
                    Some("Failed") => Some(JobEnd::Failed { reason: text("reason"), message: text("message") }),
                    _ => None,
                }
            })
        })
    }

    /// The log of a container, as far as there is one: of a pod (`x`) or of the pod of a Job (`job/x`).
    pub fn logs(&self, of: &str, container: &str) -> String {
        String::from_utf8_lossy(&self.kubectl(&["logs", of, "--container", container]).stdout).into_owned()
    }

    /// What has happened here, for who has to find out why something did not.
    pub fn story(&self) -> String {
        let told = |args: &[&str]| String::from_utf8_lossy(&self.kubectl(args).stdout).into_owned();
        let pods = told(&["get", "pods", "--output=name"]);
        let logs = pods
            .lines()
            .map(|pod| told(&["logs", pod, "--all-containers", "--prefix", "--tail=30", "--ignore-errors"]));
        let logs: String = logs.collect();
        let events = told(&["get", "events", "--sort-by=.lastTimestamp", "--output=wide"]);
        format!("{}\n{events}\n{logs}", told(&["get", "jobs,pods", "--output=wide"]))
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let _ = self.cluster.kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}

/// Waits until `condition` gives something.
pub(super) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what} in vain");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a `kubectl` that has to succeed printed.
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
