//! What is a pipeline, and what is said of what is none.

use std::time::Duration;

use proptest::prelude::*;
use stage::StageName;
use stage::protocol::Reason;

use super::*;

mod refusals;

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
