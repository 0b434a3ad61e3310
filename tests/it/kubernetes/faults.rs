//! Pods that something befalls: what becomes of the stages, of the output, and of the pod's exit code.

mod needs_kubernetes {
    use serde_json::Value;
    use test_servers::JobEnd;

    use crate::kubernetes::ours::{Team, rendered};

    const ITEM: &str = r#"{"uri": "file:///data/in/a.txt", "key": "a.txt"}"#;

    /// One stage after `first`, over busybox; what is told of an attempt lies in the team's folder.
    fn pipeline(first: &str) -> String {
        format!(
            r#"
apiVersion: longshore.dev/v1
kind: Pipeline
name: two
stages:
- name: first
{first}
  container: {{resources: {{limits: {{memory: 64Mi}}}}, volumeMounts: [{{name: data, mountPath: /data}}]}}
- name: second
  image: docker.io/library/busybox:1.37
  needs: [first]
  command: [cp, $(INPUT_DIR)/copy, $(OUTPUT_DIR)/copy]
adapter:
  env: {{LONGSHORE_ALLOW_INPUT: "file:///data/in/", LONGSHORE_OUTPUT: "file:///data/out/{{key}}/", LONGSHORE_REPORT: /data/report.json}}
  container: {{volumeMounts: [{{name: data, mountPath: /data}}]}}
pod:
  volumes: [{{name: data, persistentVolumeClaim: {{claimName: data}}}}]
"#
        )
    }

    fn shell(script: &str) -> String {
        format!("  image: docker.io/library/busybox:1.37\n  command: [sh, -c, '{script}']")
    }

    fn team(name: &str) -> Team {
        let team = Team::new(name, &["multi-worker"]);
        team.add("in/a.txt", b"a\n");
        team
    }

    /// The pod by itself, kept by the API server for us when it is deleted.
    fn pod(first: &str, flags: &[&str]) -> String {
        let pod = rendered(&pipeline(first), &[&["--as", "pod", "--item", ITEM], flags].concat());
        pod.replacen("\n  name: two\n", "\n  name: two\n  finalizers: [longshore.dev/looked-at]\n", 1)
    }

    fn let_go(team: &Team) {
        let patch = r#"{"metadata": {"finalizers": null}}"#;
        assert!(team.space.kubectl(&["patch", "pod/two", "--type=merge", "--patch", patch]).status.success());
    }

    fn report(team: &Team) -> Value {
        serde_json::from_str(&team.read("report.json")).expect("JSON")
    }

    fn published(team: &Team) -> bool {
        team.data.join("out/a.txt").exists()
    }

    #[test]
    fn a_stage_without_memory_is_told_of_as_such() {
        let team = team("memory");
        team.space.apply(&pod("  image: docker.io/library/busybox:1.37\n  command: [tail, /dev/zero]", &[]));
        assert_eq!(team.ended("two", "multi-worker")["exitCode"], 137, "{}", team.space.story());
        let report = report(&team);
        let first = &report["result"]["stages"]["first"];
        // With version 2 of control groups the shim is killed too, and only the pod's status knows why.
        let groups =
            if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "Lost" } else { "OOMKilled" };
        assert_eq!(first["reason"], groups, "{report}");
        assert_eq!((&report["exitCode"], published(&team)), (&137.into(), false), "{report}");
        let_go(&team);
    }

    #[test]
    fn a_pod_of_which_one_image_cannot_be_pulled_ends() {
        let team = team("image");
        let nowhere = "  image: localhost/longshore-base/nowhere:1\n  command: [x]";
        team.space.apply(&pod(nowhere, &["--deadline", "10s"]));
        let reason = team
            .space
            .until("pod/two", |pod| (pod["status"]["phase"] == "Failed").then(|| pod["status"]["reason"].clone()));
        assert_eq!((reason.as_str(), published(&team)), (Some("DeadlineExceeded"), false), "{}", team.space.story());
        let_go(&team);
    }

    #[test]
    fn a_pod_that_is_deleted_tells_its_stages_and_publishes_nothing() {
        let team = team("deleted");
        let first = shell(
            r#"trap "echo TERM >/data/heard; exit 1" TERM; echo x >$OUTPUT_DIR/copy; touch /data/begun; while :; do sleep 60 & wait $!; done"#,
        );
        team.space.apply(&pod(&first, &[]));
        team.space.until("pod/two", |_| team.data.join("begun").exists().then_some(()));
        team.space.delete("pod/two");
        assert_eq!(team.ended("two", "multi-worker")["exitCode"], 143, "{}", team.space.story());
        assert_eq!(team.read("heard"), "TERM\n");
        let report = report(&team);
        assert_eq!(report["result"]["stages"]["first"]["reason"], "Cancelled", "{report}");
        assert!(!published(&team), "{report}");
        let_go(&team);
    }

    #[test]
    fn a_drained_node_costs_an_item_nothing() {
        let team = team("drained");
        // The first attempt would run for ever.
        let first =
            shell(r#"cp $INPUT_FILE $OUTPUT_DIR/copy; [ ! -e /data/begun ] || exit 0; touch /data/begun; sleep 3600"#);
        team.space.apply(&rendered(&pipeline(&first), &["--item", ITEM]));
        team.space.until("job/two", |_| team.data.join("begun").exists().then_some(()));
        let node = team.space.until("pods", |pods| pods["items"][0]["spec"]["nodeName"].as_str().map(str::to_owned));
        // Other tests' pods stay, and wait the moment until it is open again.
        let only =
            format!("--pod-selector=longshore.dev/pipeline=two,batch.kubernetes.io/controller-uid={}", uid(&team));
        let drain =
            ["drain", &node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", &only, "--timeout=120s"];
        let drained = team.space.cluster().kubectl(&drain);
        assert!(team.space.cluster().kubectl(&["uncordon", &node]).status.success());
        assert!(drained.status.success(), "{}\n{}", String::from_utf8_lossy(&drained.stderr), team.space.story());
        assert_eq!(team.space.job_end("two"), JobEnd::Complete, "{}", team.space.story());
        assert_eq!(team.read("out/a.txt/copy"), "a\n");
        let job = team.space.get("job/two").expect("it is there");
        let failed = job["status"]["failed"].as_u64().unwrap_or(0);
        assert_eq!(
            (failed, job["status"]["succeeded"].as_u64()),
            (0, Some(1)),
            "what a drain ends is not counted: {job}"
        );
    }

    fn uid(team: &Team) -> String {
        let job = team.space.get("job/two").expect("it is there");
        job.pointer("/metadata/uid").and_then(Value::as_str).expect("it has one").to_owned()
    }
}
