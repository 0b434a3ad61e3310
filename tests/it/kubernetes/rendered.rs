//! What `multi-worker render` prints, as a real API server sees it.

mod needs_kubernetes {
    use std::fs;
    use std::process::Command;

    use longshore_tests::programs::program;
    use test_servers::Cluster;

    const FACES: &str = include_str!("../../../workers/multi/src/render/golden/faces.yaml");

    /// What layout A keeps and B does not, and parts of manifests of every kind.
    const FULL: &str = r#"
apiVersion: longshore.dev/v1
kind: Pipeline
name: a-name-of-as-many-characters-as-may-be40
stages:
- name: a
  image: registry.example/a:1
  command: [a, '$(INPUT_FILE)']
  workingDir: /work
  env: {DEPTH: 3, WORDS: "two\nlines $(DEPTH) $$"}
  timeout: 1h
  startTimeout: 30s
  retries: {limit: 2, backoff: 500ms, on: [75, OOMKilled]}
  permanentExit: [5, 3]
  container:
    resources: {requests: {cpu: 100m}, limits: {memory: 1Gi}}
    securityContext: {runAsUser: 1000, capabilities: {add: [SYS_NICE]}}
    env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
    volumeMounts: [{name: models, mountPath: /models, readOnly: true}]
    imagePullPolicy: IfNotPresent
- {name: b, image: registry.example/b:1, command: [b], onError: continue}
- {name: c, image: registry.example/c:1, command: [c], needs: [a, b], when: always}
publish: [c, a]
adapter:
  env: {LONGSHORE_OUTPUT: '/results/{key}/', LONGSHORE_ALLOW_INPUT: /videos/, LONGSHORE_GRACE: 1m}
  container: {volumeMounts: [{name: videos, mountPath: /videos}], resources: {limits: {memory: 256Mi}}}
pod:
  volumes:
  - {name: models, configMap: {name: models, defaultMode: 0440}}
  - {name: videos, persistentVolumeClaim: {claimName: videos}}
  nodeSelector: {disk: fast}
  securityContext: {fsGroup: 2000, fsGroupChangePolicy: OnRootMismatch}
  priorityClassName: system-node-critical
  tolerations: [{key: spot, operator: Exists}]
"#;

    fn rendered(pipeline: &str, flags: &[&str]) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pipeline.yaml");
        fs::write(&path, pipeline).expect("written");
        let output = Command::new(program("multi-worker")).arg("render").arg(&path).args(flags).output();
        let output = output.expect("multi-worker runs");
        assert!(output.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    #[test]
    fn what_is_rendered_is_strictly_valid() {
        let cluster = Cluster::shared();
        let item = r#"{"uri": "s3://videos/a.mp4"}"#;
        for (name, pipeline, flags) in [
            ("faces", FACES, vec!["--layout", "A"]),
            ("faces", FACES, vec!["--layout", "B"]),
            ("faces", FACES, vec!["--layout", "A", "--as", "pod", "--item", item]),
            ("faces", FACES, vec!["--layout", "B", "--item", "configmap/item"]),
            ("full", FULL, vec!["--item", "secret/item", "--deadline", "2h"]),
            ("full", FULL, vec!["--as", "pod", "--namespace", "kube-system"]),
        ] {
            let manifest = rendered(pipeline, &flags);
            let verdict = cluster.validate(&manifest);
            assert_eq!(verdict, Ok(()), "{name} {flags:?}\n{manifest}");
        }
    }

    #[test]
    fn as_much_as_a_job_may_say_of_failures_is_valid() {
        let stage = |n: usize| format!("- {{name: s{n}, image: i, command: [c], permanentExit: [{}]}}\n", n + 1);
        let stages = |n: usize| (0..n).map(stage).collect::<String>();
        let head = "apiVersion: longshore.dev/v1\nkind: Pipeline\nname: many\nstages:\n";
        let manifest = rendered(&format!("{head}{}", stages(17)), &["--layout", "B"]);
        assert_eq!(Cluster::shared().validate(&manifest), Ok(()));
    }
}
