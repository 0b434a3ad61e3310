//! The node itself: what every other test of this folder builds on.

mod needs_kubernetes {
    use std::fs;

    use test_servers::{Cluster, JobEnd, base_image};

    /// A pod as ours are: a native sidecar beside it, nobody in particular who may write nothing but its volumes.
    const JOB: &str = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: greeting}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      securityContext: {runAsNonRoot: true, runAsUser: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
      initContainers:
      - name: beside
        image: localhost/longshore-base/busybox:1
        imagePullPolicy: Never
        restartPolicy: Always
        command: [sh, -c, "trap 'echo over >/out/beside; exit 0' TERM; echo hello >/shared/word; while :; do sleep 60 & wait $!; done"]
        startupProbe: {exec: {command: [test, -e, /shared/word]}, periodSeconds: 1}
        securityContext: &nobody {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
        volumeMounts: &mounts [{name: shared, mountPath: /shared}, {name: out, mountPath: /out}]
      containers:
      - name: main
        image: localhost/longshore-base/busybox:1
        imagePullPolicy: Never
        command: [sh, -c, "cat /shared/word; until nslookup kubernetes.default.svc.cluster.local >/out/name; do sleep 1; done"]
        securityContext: *nobody
        volumeMounts: *mounts
      volumes: [{name: shared, emptyDir: {}}, {name: out, hostPath: {path: OUT, type: Directory}}]
"#;

    #[test]
    fn a_job_with_a_sidecar_runs_to_its_end() {
        let cluster = Cluster::shared();
        cluster.import(&base_image("busybox"));
        let space = cluster.namespace("greeting");
        let out = cluster.node_path("out");
        space.apply(&JOB.replace("OUT", out.to_str().expect("a path in UTF-8")));
        assert_eq!(space.job_end("greeting"), JobEnd::Complete, "{}", space.story());
        assert_eq!(space.logs("job/greeting", "main"), "hello\n");
        let name = fs::read_to_string(out.join("name")).expect("the pod wrote to the node's folder");
        assert!(name.contains("10.96.0.1"), "a pod finds the API server by its name: {name}");
        assert_eq!(fs::read_to_string(out.join("beside")).expect("the sidecar was ended in time"), "over\n");
    }

    #[test]
    fn a_field_that_nobody_knows_is_refused() {
        let cluster = Cluster::shared();
        assert_eq!(cluster.validate(&JOB.replace("OUT", "/out")), Ok(()));
        let refused = cluster.validate(&JOB.replace("startupProbe", "startProbe")).expect_err("no such field");
        assert!(refused.contains("startProbe"), "{refused}");
    }

    #[test]
    fn a_container_past_its_limit_is_killed_as_such() {
        let cluster = Cluster::shared();
        cluster.import(&base_image("busybox"));
        let space = cluster.namespace("limit");
        space.apply(
            r#"
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: localhost/longshore-base/busybox:1
    imagePullPolicy: Never
    command: [tail, /dev/zero]
    resources: {limits: {memory: 32Mi}}
"#,
        );
        let ended = space.until("pod/greedy", |pod| {
            let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
            ended.is_object().then(|| ended.clone())
        });
        assert_eq!((ended["reason"].as_str(), ended["exitCode"].as_i64()), (Some("OOMKilled"), Some(137)));
    }
}
