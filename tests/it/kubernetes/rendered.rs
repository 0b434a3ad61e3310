//! What `multi-worker render` prints, as a real API server sees it.

mod needs_kubernetes {
    use std::fs;
    use std::process::Command;

    use longshore_tests::images::{image, reference};
    use longshore_tests::programs::program;
    use test_servers::{Cluster, JobEnd, base_image};

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

    /// Three stages of an image that knows nothing of us: one after the other, and one that needs both. Words that the kubelet would
    /// take for its own are among them.
    const SHOUT: &str = r#"
apiVersion: longshore.dev/v1
kind: Pipeline
name: shout
stages:
- name: upper
  image: localhost/longshore-base/busybox:1
  command: [sh, -c, 'tr a-z A-Z <"$1" >"$2/text"', '--', $(INPUT_FILE), $(OUTPUT_DIR)]
  container: &beside {imagePullPolicy: Never, volumeMounts: [{name: videos, mountPath: /videos, readOnly: true}]}
- name: mark
  image: localhost/longshore-base/busybox:1
  command: [sh, -c, 'echo "$(cat "$INPUT_DIR/text")! \$\$(MARK) $MARK" >$OUTPUT_DIR/text']
  env: {MARK: '$(HOME) $$'}
  needs: [upper]
  container: *beside
- name: both
  image: localhost/longshore-base/busybox:1
  command: [sh, -c, 'id -u >$OUTPUT_DIR/user; cat $INPUT_DIR/upper/text $INPUT_DIR/mark/text "$ITEM_INPUT_FILE" >$OUTPUT_DIR/all']
  needs: [upper, mark]
  container: {imagePullPolicy: Never, volumeMounts: [{name: videos, mountPath: /videos}], securityContext: {runAsUser: 1000}}
adapter:
  env: {LONGSHORE_OUTPUT: '/results/{key}/', LONGSHORE_ALLOW_INPUT: /videos/}
  container:
    imagePullPolicy: Never
    volumeMounts: [{name: videos, mountPath: /videos, readOnly: true}, {name: results, mountPath: /results}]
pod:
  volumes:
  - {name: videos, hostPath: {path: VIDEOS, type: Directory}}
  - {name: results, hostPath: {path: RESULTS, type: Directory}}
"#;

    /// Runs it in a layout, and gives what is published.
    fn run(layout: &str, pipeline: &str) -> [String; 2] {
        let cluster = Cluster::shared();
        cluster.import(&base_image("busybox"));
        cluster.import(&image("multi-worker"));
        let space = cluster.namespace("shout");
        let of = |what: &str| cluster.node_path(&format!("{}-{what}", space.name()));
        let (videos, results) = (of("videos"), of("results"));
        fs::write(videos.join("a.txt"), "hello\n").expect("written");
        let text = pipeline.replace("VIDEOS", &videos.display().to_string());
        let text = text.replace("RESULTS", &results.display().to_string());
        let item = r#"{"uri": "file:///videos/a.txt", "key": "a.txt"}"#;
        let image = reference("multi-worker");
        space.apply(&rendered(&text, &["--layout", layout, "--image", &image, "--item", item]));
        assert_eq!(space.job_end("shout"), JobEnd::Complete, "{}", space.story());
        let read = |name: &str| fs::read_to_string(results.join("a.txt").join(name)).expect("it is published");
        [read("all"), read("user")]
    }

    const SHOUTED: &str = "HELLO\nHELLO! $$(MARK) $(HOME) $$\nhello\n";

    #[test]
    fn sidecars_run_a_pipeline_each_as_who_it_likes() {
        assert_eq!(run("A", SHOUT), [SHOUTED, "1000\n"]);
    }

    #[test]
    fn a_chain_publishes_the_same() {
        assert_eq!(run("B", &SHOUT.replace(", securityContext: {runAsUser: 1000}", "")), [SHOUTED, "65532\n"]);
    }
}
