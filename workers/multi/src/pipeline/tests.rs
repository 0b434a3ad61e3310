//! What is a pipeline, and what is said of what is none.

use std::time::Duration;

use proptest::prelude::*;
use stage::StageName;
use stage::protocol::Reason;

use super::*;

const FACES: &str = "\
apiVersion: longshore.dev/v1
kind: Pipeline
name: faces
stages:
  - name: blur
    image: registry.example/blur:1
    needs: [detect, identify]
    when: always
  - name: detect
    image: registry.example/detect:1
    command: [detect, --in, $(INPUT_FILE), --out, $(OUTPUT_DIR)]
    env: {MODEL: small, DEPTH: 3, VERBOSE: true}
    timeout: 1h
    startTimeout: 2m 30s
    retries: {limit: 2, backoff: 500ms, maxBackoff: 30s, on: [75, OOMKilled]}
    permanentExit: [4, 3]
    container: {resources: {limits: {memory: 1Gi}}}
  - {name: identify, needs: [detect], image: registry.example/identify:1, onError: continue}
publish: [blur]
adapter:
  env: {LONGSHORE_OUTPUT: 's3://results/{key}/'}
pod:
  volumes: [{name: models, configMap: {name: models, defaultMode: 0440}}]
";

fn names(names: &[&str]) -> Vec<StageName> {
    names.iter().map(|name| name.parse().expect("a name")).collect()
}

fn faces() -> Pipeline {
    Pipeline::parse(FACES, "faces.yaml").expect("a pipeline")
}

/// What is said of a text in which `old` is `new`.
fn refusal(old: &str, new: &str) -> String {
    assert!(FACES.contains(old), "{old:?} is not in the text");
    match Pipeline::parse(&FACES.replacen(old, new, 1), "faces.yaml") {
        Ok(_) => panic!("{new:?} passed"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn stages_stand_after_what_they_need() {
    let faces = faces();
    let order: Vec<_> = faces.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(order, ["detect", "identify", "blur"]);
    assert_eq!(faces.publish, names(&["blur"]));
}

#[test]
fn every_field_arrives() {
    let faces = faces();
    let [detect, identify, blur] = faces.stages.as_slice() else { panic!("three stages") };
    assert_eq!(detect.command, ["detect", "--in", "$(INPUT_FILE)", "--out", "$(OUTPUT_DIR)"]);
    let env: Vec<_> = detect.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("DEPTH", "3"), ("MODEL", "small"), ("VERBOSE", "true")]);
    assert_eq!(detect.timeout, Some(Duration::from_secs(3600)));
    assert_eq!(detect.start_timeout, Duration::from_secs(150));
    let on = vec![RetryOn::Code(75), RetryOn::Reason(Reason::OomKilled)];
    let (backoff, max_backoff) = (Duration::from_millis(500), Duration::from_secs(30));
    assert_eq!(detect.retries, Retries { limit: 2, backoff, max_backoff, on });
    assert_eq!(detect.permanent_exit, [3, 4]);
    assert_eq!(
        (identify.on_error, identify.timeout, &identify.retries),
        (OnError::Continue, None, &Retries::default())
    );
    assert_eq!((blur.when, &blur.needs), (When::Always, &names(&["detect", "identify"])));
    let mode = faces.pod.get("volumes").and_then(|volumes| volumes.pointer("/0/configMap/defaultMode"));
    assert_eq!(mode, Some(&0o440.into()), "0440 is octal, as Kubernetes reads it");
}

#[test]
fn json_is_yaml() {
    let text =
        r#"{"apiVersion":"longshore.dev/v1","kind":"Pipeline","name":"one","stages":[{"name":"a","timeout":"90s"}]}"#;
    let one = Pipeline::parse(text, "one.json").expect("a pipeline");
    assert_eq!(one.stages.first().and_then(|stage| stage.timeout), Some(Duration::from_secs(90)));
    assert_eq!(one.publish, names(&["a"]), "those that nobody needs");
}

#[test]
fn errors_say_where_and_what_next() {
    for (old, new, said) in [
        (
            "    timeout: 1h",
            "    timeout: 3600",
            "faces.yaml:13:14: 3600 of what? Write the unit, as 3600s, 3600m or 3600h",
        ),
        (
            "    timeout: 1h",
            "    timeout: soon",
            "faces.yaml:13:14: \"soon\" is no span of time; write it as 30s, 5m or 1h 30m",
        ),
        (
            "    timeout: 1h",
            "    timeout: 0s",
            "faces.yaml:13:14: \"0s\" is no time at all; leave the field out, or write 30s",
        ),
        (
            "    timeout: 1h",
            "    timeuot: 1h",
            "faces.yaml:13:5: there is no field \"timeuot\" here; did you mean \"timeout\"?",
        ),
        (
            "    timeout: 1h",
            "    needs: [detcet]",
            "faces.yaml:13:13: no stage is called detcet; did you mean \"detect\"?",
        ),
        ("    timeout: 1h", "    needs: [detect]", "faces.yaml:13:13: a stage cannot need itself; take this away"),
        (
            "    timeout: 1h",
            "    needs: [blur]",
            "faces.yaml:13:13: the stages wait for one another in a circle: blur needs detect, detect needs blur; take one of these needs away",
        ),
        ("needs: [detect]", "needs: [detect, detect]", "faces.yaml:18:38: detect is here twice; name it once"),
        (
            "- name: blur",
            "- name: detect",
            "faces.yaml:9:11: there is a stage detect already; each has a name of its own",
        ),
        ("publish: [blur]", "publish: [blurr]", "faces.yaml:19:11: no stage is called blurr; did you mean \"blur\"?"),
        (
            "publish: [blur]",
            "publish: []",
            "faces.yaml:19:10: no stage is published; leave `publish` out for those that no other needs",
        ),
        ("[4, 3]", "[256]", "faces.yaml:16:21: 256 is no exit code of a failure; those are 1 to 255"),
        ("[4, 3]", "[0]", "faces.yaml:16:21: 0 is no exit code of a failure; those are 1 to 255"),
        ("[4, 3]", "[75]", "faces.yaml:15:63: 75 is in permanentExit, too: either it is hopeless or tried again"),
        ("on: [75, ", "on: [-1, ", "faces.yaml:15:63: -1 is no exit code of a failure; those are 1 to 255"),
        (
            "OOMKilled",
            "OomKilled",
            "faces.yaml:15:67: \"OomKilled\" is neither an exit code nor a reason to try again; did you mean \"OOMKilled\"?",
        ),
        (
            "maxBackoff: 30s",
            "maxBackoff: 1ms",
            "faces.yaml:15:53: the longest pause is shorter than the first, 500ms; raise it",
        ),
        (
            "onError: continue",
            "onError: contiune",
            "faces.yaml:18:84: \"contiune\" is none of the words that may stand here; did you mean \"continue\"?",
        ),
        (
            "name: faces",
            "name: Faces",
            "faces.yaml:3:7: \"Faces\" is no stage name: 1 to 40 lower-case letters, digits and dashes, with a letter first and no dash last, as detect-faces",
        ),
        (
            "MODEL: small",
            "INPUT_FILE: small",
            "faces.yaml:12:23: every stage is given INPUT_FILE; call this one by another name",
        ),
        (
            "MODEL: small",
            "NEEDS_X: small",
            "faces.yaml:12:20: every stage is given NEEDS_X; call this one by another name",
        ),
        (
            "MODEL: small",
            "LONGSHORE_ROOT: /",
            "faces.yaml:12:27: LONGSHORE_ROOT would be a setting of the shim, not the command's; name it otherwise",
        ),
        (
            "MODEL: small",
            "'A-B': small",
            "faces.yaml:12:18: \"A-B\" is no name of a variable: letters, digits and underscores, no digit first",
        ),
        (
            "{resources:",
            "{image: x, resources:",
            "faces.yaml:17:24: `image` does not belong here: write it as the stage's own `image`",
        ),
        (
            "volumes: [",
            "containers: [",
            "faces.yaml:23:15: `containers` does not belong here: they are the stages and the adapter",
        ),
        (
            "registry.example/detect:1",
            "'two words'",
            "faces.yaml:10:12: \"two words\" is no image; write it as registry.example/name:tag",
        ),
        (
            "[detect, --in, $(INPUT_FILE), --out, $(OUTPUT_DIR)]",
            "[]",
            "faces.yaml:11:14: a command has a program; leave `command` out for the image's own",
        ),
        (
            "[detect, --in, $(INPUT_FILE), --out, $(OUTPUT_DIR)]",
            "[\"a\\0b\"]",
            "faces.yaml:11:15: there is a NUL character in it, which no command can be given",
        ),
        ("kind: Pipeline\n", "", "faces.yaml:21:1: `kind` is missing; add `kind: Pipeline`"),
        (
            "longshore.dev/v1",
            "longshore.dev/v2",
            "faces.yaml:1:13: \"longshore.dev/v2\" is none of the words that may stand here; did you mean \"longshore.dev/v1\"?",
        ),
        ("name: faces", "name: faces\nname: again", "faces.yaml:4:1: \"name\" is here twice; keep one of them"),
        (
            "name: faces",
            "name: null",
            "faces.yaml:3:7: there is no text here; write one, or leave the field out (quote \"null\" and \"~\" where they are meant)",
        ),
    ] {
        assert_eq!(refusal(old, new), said);
    }
}

#[test]
fn what_is_no_yaml_is_told_with_its_place() {
    for (text, place) in [
        ("a: [", "x:1:"),
        ("a: b: c", "x:1:"),
        ("\t- a", "x:1:"),
        ("", "x:"),
        ("--- a\n--- b\n", "x:"),
        ("name: *nowhere", "x:1:"),
    ] {
        let said = Pipeline::parse(text, "x").expect_err(text).to_string();
        assert!(said.starts_with(place), "{text:?}: {said}");
    }
}

#[test]
fn what_unfolds_to_more_than_a_pipeline_is_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..9 {
        let before = format!("*a{}, ", n - 1).repeat(10);
        bomb.push_str(&format!("a{n}: &a{n} [{before}x]\n"));
    }
    let within = format!("{FACES}  bomb:\n{}", bomb.lines().map(|line| format!("    {line}\n")).collect::<String>());
    let said = Pipeline::parse(&within, "bomb.yaml").expect_err("a bomb").to_string();
    assert!(said.starts_with("bomb.yaml:") && said.contains("aliases"), "{said}");
    let deep = format!("{FACES}  deep: {}{}", "[".repeat(500), "]".repeat(500));
    assert!(Pipeline::parse(&deep, "x").is_err());
    let long = format!("{FACES}#{}", "x".repeat(1 << 20));
    assert_eq!(Pipeline::parse(&long, "x").expect_err("long").message, "this is longer than 1 MiB, and so no pipeline");
    let word = format!("[detect, {}]", "x".repeat(128 * 1024));
    let said = refusal("[detect, --in, $(INPUT_FILE), --out, $(OUTPUT_DIR)]", &word);
    assert!(said.starts_with("faces.yaml:11:23: 131072 bytes are too much"), "{said}");
}

#[test]
fn a_chain_needs_what_came_before() {
    let chain = Pipeline::chain(&names(&["a", "b", "c"])).expect("a chain");
    let needs: Vec<_> = chain.stages.iter().map(|stage| stage.needs.clone()).collect();
    assert_eq!(needs, [names(&[]), names(&["a"]), names(&["b"])]);
    assert_eq!(chain.publish, names(&["c"]));
    let said = |chain: &[&str]| Pipeline::chain(&names(chain)).expect_err("no chain").to_string();
    assert_eq!(said(&["a", "a"]), "--stages: there is a stage a already; each has a name of its own");
    assert_eq!(said(&[]), "--stages: a pipeline has 1 to 200 stages, here are 0");
}

#[test]
fn what_an_adapter_is_told_is_all_but_containers() {
    let faces = faces();
    let text = faces.to_text();
    let told = Pipeline::parse(&text, "--pipeline-text").expect("it reads what it writes");
    assert!(!text.contains("image") && !text.contains("INPUT_FILE") && !text.contains("1Gi"), "{text}");
    for (stage, told) in faces.stages.iter().zip(&told.stages) {
        let bare = Stage {
            image: None,
            command: Vec::new(),
            args: Vec::new(),
            working_dir: None,
            env: Default::default(),
            container: Manifest::new(),
            ..stage.clone()
        };
        assert_eq!(bare, *told);
    }
    assert_eq!(told.publish, faces.publish);
}

proptest! {
    #[test]
    fn no_text_is_a_panic(text in "\\PC*") {
        let _ = Pipeline::parse(&text, "x");
    }

    #[test]
    fn no_damage_to_a_pipeline_is_a_panic(at in 0..FACES.len(), less in 0_usize..6, more in "[\\[\\]{}:,&*!|>'\"%@`#\\n\\t -0-9a-z]{0,4}") {
        let mut text = FACES.to_owned();
        text.replace_range(at..(at + less).min(FACES.len()), &more);
        if let Ok(pipeline) = Pipeline::parse(&text, "x") {
            prop_assert!(Pipeline::parse(&pipeline.to_text(), "x").is_ok());
        }
    }
}
