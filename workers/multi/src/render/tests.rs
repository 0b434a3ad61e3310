//! What is printed, and what is refused.

use std::fs;
use std::path::Path;

use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;

use super::*;

const FACES: &str = include_str!("golden/faces.yaml");

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    render: RenderArgs,
}

/// What is made of a pipeline's text by flags.
fn rendered(text: &str, flags: &[&str]) -> Result<String, String> {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("faces.yaml");
    fs::write(&path, text).expect("written");
    let path = path.display().to_string();
    let words = ["render", &path].into_iter().chain(flags.iter().copied());
    let args = Cli::try_parse_from(words).map_err(|error| error.to_string())?.render;
    let hidden = |text: String| text.replace(&path, "faces.yaml");
    args.render().map(hidden).map_err(|error| hidden(sidecar::chain(&error)))
}

fn manifest(text: &str, flags: &[&str]) -> Value {
    let text = rendered(text, flags).unwrap_or_else(|error| panic!("{flags:?}: {error}"));
    serde_saphyr::from_str(&text).expect("what is printed is YAML")
}

/// What is said of the pipeline in which `old` is `new`.
fn refusal(old: &str, new: &str, flags: &[&str]) -> String {
    assert!(FACES.contains(old), "{old:?} is not in the text");
    rendered(&FACES.replacen(old, new, 1), flags).expect_err(new)
}

#[test]
fn manifests_are_what_they_were() {
    for (layout, golden) in [("A", "faces-a.yaml"), ("B", "faces-b.yaml")] {
        let found = rendered(FACES, &["--layout", layout]).expect("a manifest");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/render/golden").join(golden);
        let wanted = fs::read_to_string(&path).unwrap_or_default();
        if found != wanted {
            let beside = std::env::temp_dir().join(golden);
            fs::write(&beside, &found).expect("written");
            panic!("{} is not what is printed now; compare with {}", path.display(), beside.display());
        }
    }
}

#[test]
fn what_is_printed_reads_as_what_was_meant() {
    for layout in ["A", "B"] {
        let job =
            manifest(FACES, &["--layout", layout, "--namespace", "media", "--item", "{\"uri\": \"s3://videos/a\"}"]);
        let at = |pointer: &str| job.pointer(pointer).unwrap_or_else(|| panic!("{layout}: {pointer}")).clone();
        assert_eq!(at("/metadata/namespace"), "media");
        let annotation = at("/spec/template/metadata/annotations/longshore.dev~1item");
        assert_eq!(annotation, r#"{"uri":"s3://videos/a"}"#);
        assert_eq!(at("/spec/template/spec/restartPolicy"), "Never");
        assert_eq!(at("/spec/template/spec/activeDeadlineSeconds"), 86_400);
        let names: Vec<Value> = at("/spec/template/spec/initContainers").as_array().expect("a list").clone();
        let names: Vec<_> = names.iter().filter_map(|container| container.get("name")?.as_str()).collect();
        let first = if layout == "A" { "stage-shim" } else { "multi-worker-fetch" };
        assert_eq!(names, [first, "detect", "identify", "blur"], "in the order of their needs");
        let text = at("/spec/template/spec/containers/0/env");
        let text = text.as_array().into_iter().flatten().find(|entry| entry["name"] == "LONGSHORE_PIPELINE_TEXT");
        let text = text.and_then(|entry| entry["value"].as_str()).expect("the multi-worker is told");
        let told = Pipeline::parse(text, "told").expect("a pipeline");
        assert_eq!(told.stages.len(), 3);
    }
}

/// What the kubelet makes of a word, if none of its variables is known: `third_party/forked/golang/expansion`.
fn by_kubelet(word: &str) -> String {
    word.replace("$$", "$")
}

#[test]
fn words_arrive_as_they_were_written() {
    let nasty = r#"[sh, -c, 'echo $$ $(date) $$(INPUT_FILE) ${HOME} 5$ $$$', "a\nb", '$(MODEL)', 'ünï']"#;
    let text = FACES.replacen("[detect, --in, $(INPUT_FILE), --out, $(OUTPUT_DIR), --price, $5]", nasty, 1);
    let pipeline = Pipeline::parse(&text, "x").expect("a pipeline");
    let pod = manifest(&text, &["--as", "pod"]);
    let args = pod.pointer("/spec/initContainers/1/args").and_then(Value::as_array).expect("words");
    let arrived: Vec<_> = args.iter().filter_map(Value::as_str).map(by_kubelet).collect();
    assert_eq!(arrived, pipeline.stages.first().expect("a stage").command);
}

#[test]
fn in_a_chain_variables_are_replaced_at_once() {
    let old = "[detect, --in, $(INPUT_FILE), --out, $(OUTPUT_DIR), --price, $5]";
    let text = FACES.replacen(old, "[a, $(INPUT_FILE), $$(INPUT_FILE), $(date), $$]", 1);
    let job = manifest(&text, &["--layout", "b"]);
    let words = job.pointer("/spec/template/spec/initContainers/1/command").and_then(Value::as_array).expect("words");
    let arrived: Vec<_> = words.iter().filter_map(Value::as_str).map(by_kubelet).collect();
    assert_eq!(arrived, ["a", "/longshore/adapter/input", "$(INPUT_FILE)", "$(date)", "$$"]);
}

#[test]
fn what_an_author_says_of_pod_and_containers_holds() {
    let text = format!(
        "{FACES}  securityContext: {{runAsUser: 1000, supplementalGroups: [7]}}\n  serviceAccountName: faces\n  activeDeadlineSeconds: 60\n"
    );
    let text = text.replacen("LONGSHORE_OUTPUT:", "LONGSHORE_GRACE: 50s, LONGSHORE_OUTPUT:", 1);
    let pod = manifest(&text, &["--as", "pod"]);
    let at = |pointer: &str| pod.pointer(pointer).cloned().unwrap_or_default();
    assert_eq!(
        (at("/spec/securityContext/runAsUser"), at("/spec/securityContext/fsGroup")),
        (1000.into(), 65532.into())
    );
    assert_eq!(at("/spec/serviceAccountName"), "faces");
    assert_eq!((at("/spec/activeDeadlineSeconds"), at("/spec/terminationGracePeriodSeconds")), (60.into(), 60.into()));
    let volumes = at("/spec/volumes");
    let names: Vec<_> = volumes.as_array().into_iter().flatten().filter_map(|volume| volume["name"].as_str()).collect();
    assert_eq!(names, ["adapter", "bin", "tmp", "stage-detect", "stage-identify", "stage-blur", "item", "models"]);
}

#[test]
fn only_its_writer_mounts_a_volume_to_write() {
    for layout in ["A", "B"] {
        let job = manifest(FACES, &["--layout", layout]);
        let containers = ["/spec/template/spec/initContainers", "/spec/template/spec/containers"]
            .map(|at| job.pointer(at).cloned().unwrap_or_default());
        let containers = containers.iter().filter_map(Value::as_array).flatten();
        let mut writers: Vec<(String, String)> = Vec::new();
        for container in containers {
            for mount in container["volumeMounts"].as_array().into_iter().flatten() {
                let (volume, name) =
                    (mount["name"].as_str().expect("named"), container["name"].as_str().expect("named"));
                if mount.get("readOnly") != Some(&true.into()) && mount.get("subPath").is_none() {
                    writers.push((volume.to_owned(), name.to_owned()));
                }
            }
        }
        writers.sort();
        let stages = ["blur", "detect", "identify"].map(|stage| (format!("stage-{stage}"), stage.to_owned()));
        let ours: &[(&str, &str)] = if layout == "A" {
            &[("adapter", "multi-worker"), ("bin", "stage-shim")]
        } else {
            &[("adapter", "multi-worker"), ("adapter", "multi-worker-fetch")]
        };
        let ours = ours.iter().map(|(volume, name)| ((*volume).to_owned(), (*name).to_owned()));
        assert_eq!(writers, ours.chain(stages).collect::<Vec<_>>(), "{layout}");
    }
}

#[test]
fn what_a_layout_cannot_keep_is_refused_with_its_place() {
    let needs = "    needs: [detect]\n";
    let with = |line: &str| format!("{needs}    {line}\n");
    for (line, place, said) in [
        ("timeout: 1h", "13:14", "layout B cannot keep `timeout` of stage identify: nobody watches"),
        ("startTimeout: 2m", "13:19", "layout B cannot keep `startTimeout`"),
        ("retries: {limit: 1}", "13:14", "layout B cannot keep `retries`"),
        ("onError: continue", "13:14", "layout B cannot keep `onError`"),
        ("when: always", "13:11", "layout B cannot keep `when`"),
        (
            "args: [$(INPUT_FILE)]",
            "13:12",
            "layout B cannot know $(INPUT_FILE) of stage identify before it runs; take $(INPUT_DIR)",
        ),
        ("args: [a, $(ATTEMPT)]", "13:15", "layout B cannot know $(ATTEMPT)"),
        ("container: {securityContext: {runAsUser: 7}}", "13:34", "layout B cannot keep `runAsUser`"),
    ] {
        let found = refusal(needs, &with(line), &["--layout", "B"]);
        // The line that was put in is the one after `needs`.
        let number = FACES.lines().position(|line| line == needs.trim_end()).expect("it is there") + 2;
        let place = place.replacen("13", &number.to_string(), 1);
        assert!(found.starts_with(&format!("faces.yaml:{place}: {said}")), "{line}: {found}");
        rendered(&FACES.replacen(needs, &with(line), 1), &["--layout", "A"]).expect("layout A keeps it");
    }
    let found = refusal("name: faces", "name: faces", &["--layout", "B", "--as", "pod"]);
    assert!(found.contains(":9:20: a pod in layout B cannot keep `permanentExit` of stage detect"), "{found}");
}

#[test]
fn what_a_pod_cannot_be_is_refused() {
    let command = "    command: [identify, $(INPUT_DIR), $(OUTPUT_DIR)]\n";
    for (old, new, said) in [
        (command, "", "faces.yaml:14:12: stage identify has no command, and in layout A the shim stands in the place"),
        (
            "    image: registry.example/identify:1\n",
            "",
            "stage identify has no image, and a container needs one; add `image`",
        ),
        ("  - name: blur", "  - name: stage-shim", "a container is called stage-shim already"),
        ("volumes: [{name: models", "volumes: [{name: stage-blur", "there is a volume \"stage-blur\" already"),
        ("env: {MODEL: small}", "timeout: 24h", "the pod lives for 1day, so this is never reached; raise --deadline"),
        ("LONGSHORE_OUTPUT: '", "LONGSHORE_ROOT: '", "LONGSHORE_ROOT is set by whoever renders the pipeline"),
    ] {
        let found = refusal(old, new, &[]);
        assert!(found.contains(said), "{new:?}: {found}");
    }
    let long = format!("args: [{}]", vec!["x".repeat(100_000); 9].join(", "));
    let text = FACES.replacen("env: {MODEL: small}", &long, 1);
    assert!(rendered(&text, &[]).is_ok());
    let found = rendered(&FACES.replacen("env: {MODEL: small}", &long.replace('x', "$"), 1), &[]).expect_err("long");
    assert!(found.contains("put what is long into a ConfigMap"), "{found}");
    for flags in
        [["--namespace", "Media"], ["--namespace", &"a".repeat(64)], ["--item", "configmap/A"], ["--platform", "amd64"]]
    {
        assert!(rendered(FACES, &flags).expect_err("refused").contains("invalid value"), "{flags:?}");
    }
}

#[test]
fn more_than_a_job_may_say_of_failures_is_refused() {
    let stage = |n: usize| format!("- {{name: s{n}, image: i, command: [c], permanentExit: [3]}}\n");
    let stages: String = (0..18).map(stage).collect();
    let text = format!("apiVersion: longshore.dev/v1\nkind: Pipeline\nname: many\nstages:\n{stages}");
    let found = rendered(&text, &["--layout", "B"]).expect_err("too many rules");
    assert!(found.starts_with("faces.yaml:3:7: a Job takes 20 rules"), "{found}");
    assert!(rendered(&text, &["--layout", "A"]).is_ok());
}
