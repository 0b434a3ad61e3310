//! What stands in k8s/, as a real API server sees it.

mod needs_kubernetes {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use longshore_tests::programs::{program, root};
    use longshore_tests::wait_until;
    use tempfile::TempDir;
    use test_servers::Cluster;

    use crate::kubernetes::ours::{kustomized, render};

    /// Managers as others write them.
    const MANAGERS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: plain}
spec:
  selector: {matchLabels: {app: plain}}
  template:
    metadata: {labels: {app: plain}}
    spec:
      containers: [{name: manager, image: i}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: full}
spec:
  selector: {matchLabels: {app: full}}
  template:
    metadata: {labels: {app: full}, annotations: {prometheus.io/port: "80"}}
    spec:
      securityContext: {runAsUser: 0}
      initContainers: [{name: first, image: i, volumeMounts: [{name: data, mountPath: /x}]}]
      containers:
      - {name: manager, image: i, ports: [{name: http, containerPort: 80}], readinessProbe: {httpGet: {path: /, port: http}}}
      - {name: other, image: i}
      volumes: [{name: data, emptyDir: {}}]
"#;

    #[test]
    fn every_folder_of_k8s_is_strictly_valid() {
        know_service_monitors();
        let mut seen = BTreeSet::new();
        for file in below(&root().join("k8s")) {
            let folder = file.parent().expect("a file lies in a folder");
            let text = fs::read_to_string(&file).expect("text");
            if file.file_name().is_some_and(|name| name == "kustomization.yaml") {
                let manifests =
                    if text.contains("kind: Component\n") { beside_managers(folder) } else { kustomized(folder) };
                valid(folder, &manifests);
                seen.insert(folder.to_owned());
            } else if file.extension().is_some_and(|extension| extension == "yaml" || extension == "sh") {
                // Whatever nobody names would be in no cluster and in no test.
                let name = file.file_name().and_then(|name| name.to_str()).expect("text");
                let kustomization =
                    fs::read_to_string(folder.join("kustomization.yaml")).expect("there is one in each folder");
                assert!(kustomization.contains(name), "{} names {name}", folder.display());
            }
        }
        assert!(seen.len() > 10, "{seen:?}");
    }

    #[test]
    fn a_component_leaves_managers_as_they_are() {
        for kind in ["files", "s3", "kafka", "rabbitmq", "redis"] {
            let component = |name: &str| beside_managers(&root().join("k8s/components/beside").join(name));
            let (sidecar, container) = (component(kind), component(&format!("{kind}-container")));
            for (manifests, list) in [(&sidecar, "initContainers"), (&container, "containers")] {
                let image = format!("image: ghcr.io/longshore-dev/{kind}-ambassador:");
                assert_eq!(manifests.matches(&image).count(), 2, "beside each of the two\n{manifests}");
                for kept in [
                    "prometheus.io/port: \"80\"",
                    "path: /\n",
                    "runAsUser: 0",
                    "name: other",
                    "emptyDir: {}",
                    "name: first",
                ] {
                    assert!(manifests.contains(kept), "{list}: {kept}\n{manifests}");
                }
                assert_eq!(manifests.matches("readinessProbe").count(), 1, "only the manager's own\n{manifests}");
            }
            assert_eq!(sidecar.matches("restartPolicy: Always").count(), 2);
            assert!(!container.contains("restartPolicy"));
            // They are one text but for where it stands.
            let patch = |folder: &str| {
                let path = root().join("k8s/components/beside").join(folder).join("patch.yaml");
                fs::read_to_string(path).expect("a patch")
            };
            let moved =
                patch(kind).replace("initContainers:", "containers:").replace("        restartPolicy: Always\n", "");
            assert_eq!(moved, patch(&format!("{kind}-container")));
        }
    }

    #[test]
    fn pipelines_are_what_is_rendered_of_them() {
        for (folder, layout) in [("pipeline-a", "A"), ("pipeline-b", "B")] {
            let folder = root().join("k8s").join(folder);
            let mut command = Command::new(program("multi-worker"));
            let command = command.args(["render", "pipeline.yaml", "--layout", layout, "--item", "item.json"]);
            let found = render(command.current_dir(&folder));
            let stands = fs::read_to_string(folder.join("job.yaml")).expect("a manifest");
            assert!(found == stands, "{0}: say `{command:?} >job.yaml` there", folder.display());
        }
    }

    #[test]
    fn images_of_ours_are_of_this_version() {
        for file in below(&root().join("k8s")) {
            let text = fs::read_to_string(&file).expect("text");
            for (_, after) in
                text.match_indices("ghcr.io/longshore-dev/").map(|(at, found)| (at, text.split_at(at + found.len()).1))
            {
                let reference = after.split_whitespace().next().unwrap_or_default();
                let version = reference.split_once(':').map(|(_, version)| version.trim_end_matches(['`', ',', '"']));
                assert_eq!(version, Some(env!("CARGO_PKG_VERSION")), "{}: {reference}", file.display());
            }
        }
    }

    /// A component, in a kustomization of managers that it was not written for.
    fn beside_managers(component: &Path) -> String {
        let dir = TempDir::new().expect("a directory");
        let here = dir.path().canonicalize().expect("it is there");
        // Kustomize takes no absolute path.
        let up = "../".repeat(here.components().count() - 1);
        let component = component.strip_prefix("/").expect("an absolute path").display();
        fs::write(here.join("managers.yaml"), MANAGERS).expect("written");
        fs::write(
            here.join("kustomization.yaml"),
            format!(
                "resources: [managers.yaml]\ncomponents: [{up}{component}]\nconfigMapGenerator:\n\
                 - {{name: files-ambassador, literals: [LONGSHORE_ROOT=/data/in]}}\n\
                 - {{name: s3-ambassador, literals: [LONGSHORE_BUCKET=videos]}}\n\
                 - {{name: kafka-ambassador, literals: [LONGSHORE_TOPIC=videos]}}\n\
                 - {{name: rabbitmq-ambassador, literals: [LONGSHORE_QUEUE=videos]}}\n\
                 - {{name: redis-ambassador, literals: [LONGSHORE_LIST=videos]}}\n"
            ),
        )
        .expect("written");
        kustomized(&here)
    }

    fn valid(folder: &Path, manifests: &str) {
        let cluster = Cluster::shared();
        assert_eq!(cluster.validate(manifests), Ok(()), "{}", folder.display());
        if folder.ends_with("components/monitoring") {
            let misspelt = manifests.replace("interval: 30s", "intervall: 30s");
            let refused = cluster.validate(&misspelt).expect_err("ServiceMonitors are looked at too");
            assert!(refused.contains("intervall"), "{refused}");
        }
    }

    /// The kind that only a cluster with a Prometheus operator knows.
    fn know_service_monitors() {
        let setup = Command::new(root().join("tests/servers/prometheus-operator/setup")).output().expect("bash runs");
        let definition = String::from_utf8_lossy(&setup.stdout);
        assert!(setup.status.success(), "{}", String::from_utf8_lossy(&setup.stderr));
        for args in [
            &["apply", "--server-side", "--filename", definition.trim()][..],
            &["wait", "--for=condition=Established", "--timeout=120s", "crd/servicemonitors.monitoring.coreos.com"],
        ] {
            let done = Cluster::shared().kubectl(args);
            assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        }
        // Established is not yet served.
        wait_until("ServiceMonitors to be listed", || {
            let listed = Cluster::shared().kubectl(&["get", "servicemonitors", "--all-namespaces"]);
            listed.status.success().then_some(())
        });
    }

    fn below(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path());
        entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
    }
}
