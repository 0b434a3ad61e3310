//! What this project gives to a cluster, k8s/ and images, and the folder that stands for a team's data.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use contract::Marker;
use longshore_tests::images::image;
use longshore_tests::programs::{program, root};
use serde_json::Value;
use test_servers::{Cluster, Namespace, base_image};

/// Who every pod of k8s/ runs as.
const NOBODY: u32 = 65532;

/// A namespace with the claim `data`, as k8s/ expects it: a folder of the node, writable by all.
pub(super) struct Team {
    pub(super) space: Namespace<'static>,
    pub(super) data: PathBuf,
}

impl Team {
    /// In a namespace of its own, with these images of ours on the node, and the images of others.
    pub(super) fn new(name: &str, images: &[&str]) -> Self {
        let cluster = Cluster::shared();
        images.iter().for_each(|name| cluster.import(&image(name)));
        cluster.import(&base_image("busybox"));
        let (space, data) = (cluster.namespace(name), cluster.node_path(name));
        for folder in ["in", "out"] {
            fs::create_dir(data.join(folder)).expect("a folder");
            std::os::unix::fs::chown(data.join(folder), Some(NOBODY), Some(NOBODY)).expect("tests of pods run as root");
        }
        space.apply(&claim(space.name(), &data));
        Self { space, data }
    }

    /// A file of the team's, whole at once.
    pub(super) fn add(&self, name: &str, content: &[u8]) {
        let path = self.data.join(name);
        fs::write(&path, content).expect("written");
        std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).expect("tests of pods run as root");
    }

    /// What lies at a place below the folder, as text.
    pub(super) fn read(&self, name: &str) -> String {
        let path = self.data.join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}\n{}", self.space.story()))
    }

    /// What a worker has published at a place, but for its marker.
    pub(super) fn published(&self, place: &str) -> Vec<String> {
        let marker: Marker = serde_json::from_str(&self.read(&format!("{place}/_SUCCESS.json"))).expect("a marker");
        marker.outputs.into_iter().map(|output| output.path).collect()
    }

    /// Applies a folder of k8s/.
    pub(super) fn apply(&self, folder: &str) {
        self.space.apply(&kustomized(&root().join("k8s").join(folder)));
    }

    /// The state in which a container of a pod has ended, once it has: init containers are among them.
    pub(super) fn ended(&self, pod: &str, container: &str) -> Value {
        self.space.until(&format!("pod/{pod}"), |pod| {
            let lists = ["/status/containerStatuses", "/status/initContainerStatuses"]
                .map(|list| pod.pointer(list).and_then(Value::as_array));
            let mut all = lists.into_iter().flatten().flatten();
            all.find(|status| status.get("name").is_some_and(|name| name == container))?
                .pointer("/state/terminated")
                .cloned()
        })
    }
}

/// What `kubectl kustomize` makes of a folder, with the images of others that the node has in place of those it would pull.
/// Our own are called there as they are in k8s/.
pub(super) fn kustomized(folder: &Path) -> String {
    let folder = folder.to_str().expect("a path in UTF-8");
    let output = Cluster::shared().kubectl(&["kustomize", folder]);
    assert!(output.status.success(), "{folder}: {}", String::from_utf8_lossy(&output.stderr));
    known(&String::from_utf8(output.stdout).expect("text"))
}

/// A pipeline's manifest by `multi-worker render`, over one item, with images that the node has.
pub(super) fn rendered(pipeline: &str, flags: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pipeline.yaml");
    fs::write(&path, pipeline).expect("written");
    known(&render(Command::new(program("multi-worker")).arg("render").arg(&path).args(flags)))
}

/// What `multi-worker render` prints.
pub(super) fn render(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("multi-worker runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Gives the node images of others that are large: `media` is Debian's ffmpeg and ImageMagick, `rabbitmq` its RabbitMQ.
pub(super) fn foreign_images(archive: &str) {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let made = Command::new(root().join("tests/servers/podman/foreign")).stderr(Stdio::inherit()).output();
        let made = made.expect("bash runs");
        assert!(made.status.success(), "tests/servers/podman/foreign failed");
        PathBuf::from(String::from_utf8_lossy(&made.stdout).trim())
    });
    Cluster::shared().import(&FOLDER.join(archive).with_extension("tar"));
}

/// Manifests with images that the node has, where they name what it would pull.
pub(super) fn known(manifests: &str) -> String {
    manifests
        .replace("registry.example/", "localhost/longshore-foreign/")
        .replace("docker.io/library/rabbitmq:4.2-management", "localhost/longshore-foreign/rabbitmq:1")
        .replace("docker.io/library/busybox:1.37", "localhost/longshore-base/busybox:1")
}

/// What stands in k8s/nfs, with a folder of the node where there is an NFS server.
fn claim(name: &str, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteMany]
  storageClassName: ""
  claimRef: {{namespace: {name}, name: data}}
  hostPath: {{path: {folder}, type: Directory}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: data}}
spec:
  accessModes: [ReadWriteMany]
  storageClassName: ""
  volumeName: {name}
  resources: {{requests: {{storage: 1Gi}}}}
"#
    )
}
