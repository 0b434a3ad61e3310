//! What stands in `monitoring/` and `docs/operations.md`, held to the metrics that the programs really show, and every
//! program's help, completions and manual to what they really do.

mod queues;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use cargo_metadata::MetadataCommand;
use longshore_tests::http::ask;
use longshore_tests::programs::{program, root};
use longshore_tests::supervised::{Daemon, wait_until};

/// Every series that an ambassador and a manager with something to do show, and the labels it has.
static SHOWN: LazyLock<BTreeMap<String, BTreeSet<String>>> = LazyLock::new(|| {
    let world = tempfile::tempdir().expect("a directory");
    let folder = world.path().join("folder");
    fs::create_dir(&folder).expect("made");
    for name in ["good", "hopeless", "unfinished.part"] {
        fs::write(folder.join(name), name).expect("written");
    }
    let port = || format!("127.0.0.1:{}", test_servers::free_port());
    let (contract, ambassador_probes, manager_probes) = (port(), port(), port());
    // No store answers there: what it counts is shown all the same.
    let (s3_contract, s3_probes) = (port(), port());
    let mut bucket = Command::new(program("s3-ambassador"));
    bucket.args(["--bucket", "none", "--s3-endpoint-url", "http://127.0.0.1:1", "--s3-no-sign-request"]);
    bucket.args(["--listen", &s3_contract, "--probe-listen", &s3_probes]);
    let _bucket = Daemon::start(&mut bucket, &world.path().join("bucket.log"));
    let bucket_shows = wait_until("the bucket's ambassador", || {
        let text = ask(&s3_probes, "GET", "/metrics").1;
        // Its families are shown from the first thing that is counted in each.
        ["longshore_s3_requests_total{", "longshore_s3_errors_total{"].iter().all(|f| text.contains(f)).then_some(text)
    });
    let mut ambassador = Command::new(program("files-ambassador"));
    ambassador.arg("--root").arg(&folder).args(["--stable-for", "0s", "--listen", &contract]);
    ambassador.args(["--probe-listen", &ambassador_probes]);
    let _ambassador = Daemon::start(&mut ambassador, &world.path().join("ambassador.log"));
    wait_until("the ambassador", || (ask(&ambassador_probes, "GET", "/readyz").0 == 200).then_some(()));
    let mut manager = Command::new(program("queue-manager"));
    manager.args(["local", "--source", &format!("http://{contract}"), "--probe-listen", &manager_probes, "--state"]);
    manager.arg(world.path().join("state")).args(["--parallelism", "1..2"]);
    manager.args(["--", "sh", "-c", r#"! grep -q hopeless "$WORK_ITEM_FILE" || exit 65"#]);
    let _manager = Daemon::start(&mut manager, &world.path().join("manager.log"));
    wait_until("one item done and one given up", || {
        let text = ask(&manager_probes, "GET", "/metrics").1;
        ["messages_processed_total 1", "messages_failed_total 1"].iter().all(|line| text.contains(line)).then_some(())
    });
    let texts = [ask(&ambassador_probes, "GET", "/metrics").1, ask(&manager_probes, "GET", "/metrics").1, bucket_shows];
    families(texts.iter().map(String::as_str))
});

/// Every series in these texts of `/metrics`, and the labels it has.
pub(crate) fn families<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeMap<String, BTreeSet<String>> {
    let mut shown = BTreeMap::new();
    for line in texts.flat_map(str::lines) {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').expect("a type");
            // A family that nothing was counted in yet is known by its type alone.
            let series = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            shown.entry(series).or_insert_with(BTreeSet::new);
        } else if !line.starts_with('#') {
            let end = line.find(['{', ' ']).expect("a value");
            let (name, rest) = line.split_at(end);
            let labels = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(labels, _)| labels);
            let labels = labels.split(',').filter_map(|label| label.split_once('=')).map(|(label, _)| label.to_owned());
            shown.entry(name.to_owned()).or_insert_with(BTreeSet::new).extend(labels);
        }
    }
    shown
}

/// Metrics that are shown only where there is a broker, by what they begin with: [`queue_s_metrics_are_on_the_page`] holds the page to them.
const BROKERS: [&str; 3] = ["longshore_kafka_", "longshore_rabbitmq_", "longshore_redis_"];
/// Those that several brokers' ambassadors have.
const QUEUES: [&str; 3] = ["longshore_window_full", "longshore_window_messages", "longshore_items_backlog"];

fn is_of_a_queue(metric: &str) -> bool {
    BROKERS.iter().any(|broker| metric.starts_with(broker)) || QUEUES.contains(&metric)
}

/// Holds docs/operations.md to what an ambassador shows whose metrics begin so, as these texts of `/metrics` have them: each metric of its
/// own is there, with no label that it has not, and no other of that name is.
pub(crate) fn queue_s_metrics_are_on_the_page(begin: &str, texts: &[String]) {
    assert!(BROKERS.contains(&begin), "{begin}");
    let shown = families(texts.iter().map(String::as_str));
    let mut documented = BTreeSet::new();
    for (metric, labels) in named(&read("docs/operations.md")) {
        match shown.get(&metric) {
            Some(has) => {
                assert!(
                    labels.iter().all(|label| has.contains(label)),
                    "the page has {metric} of {labels:?}; it has {has:?}"
                );
            }
            None => assert!(!metric.starts_with(begin), "the page names {metric}, which is not shown"),
        }
        documented.insert(metric);
    }
    let missing: Vec<_> = shown.keys().filter(|name| is_of_a_queue(name) && !documented.contains(*name)).collect();
    assert!(missing.is_empty(), "the page says nothing of {missing:?}");
}

/// Every metric of ours that a text names, with the labels it asks of it.
pub(crate) fn named(text: &str) -> Vec<(String, Vec<String>)> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_name) {
        let (word, after) = rest[at..].split_at(rest[at..].find(|c| !is_name(c)).unwrap_or(rest.len() - at));
        rest = after;
        if ["longshore_", "queue_length", "messages_"].iter().any(|ours| word.starts_with(ours)) {
            let matchers = after.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(m, _)| m);
            let label = |matcher: &str| Some(matcher[..matcher.find(['=', '!'])?].trim().to_owned());
            found.push((word.to_owned(), matchers.split(',').filter_map(label).collect()));
        }
    }
    found
}

/// What Prometheus adds to what it scrapes.
const ADDED: [&str; 2] = ["instance", "job"];

fn all_exist(what: &str, text: &str) {
    for (metric, labels) in named(text).into_iter().filter(|(metric, _)| !is_of_a_queue(metric)) {
        let has = SHOWN.get(&metric).unwrap_or_else(|| panic!("{what} names {metric}, which no program shows"));
        for label in labels.iter().filter(|label| !ADDED.contains(&label.as_str())) {
            // A family in which nothing was counted shows no labels.
            assert!(has.is_empty() || has.contains(label), "{what} asks {metric} for {label}; it has {has:?}");
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn alerts() -> Vec<String> {
    let rules = read("monitoring/alerts.yaml");
    let names = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

#[test]
fn alerts_ask_for_metrics_that_exist() {
    all_exist("monitoring/alerts.yaml", &read("monitoring/alerts.yaml"));
    all_exist("monitoring/alerts.test.yaml", &read("monitoring/alerts.test.yaml"));
}

#[test]
fn every_alert_is_tried_and_explained() {
    let (tried, explained) = (read("monitoring/alerts.test.yaml"), read("docs/operations.md"));
    let alerts = alerts();
    assert!(alerts.len() > 15);
    for alert in &alerts {
        assert!(tried.contains(&format!("alertname=\"{alert}\"")), "no test lets {alert} fire");
        assert!(explained.contains(&format!("### {alert}\n")), "docs/operations.md does not say what to do at {alert}");
    }
    for heading in explained.lines().filter_map(|line| line.strip_prefix("### Longshore")) {
        assert!(alerts.iter().any(|alert| alert.ends_with(heading)), "there is no alert Longshore{heading}");
    }
}

#[test]
fn the_dashboard_shows_metrics_that_exist() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("monitoring/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "two panels have one id: {panel}");
        if panel["type"] == "row" {
            continue;
        }
        assert!(!panel["title"].as_str().expect("a title").is_empty());
        assert!(!panel["description"].as_str().expect("a description").is_empty(), "{}", panel["title"]);
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{}", panel["title"]);
        for target in targets {
            let expression = target["expr"].as_str().expect("an expression");
            assert!(!named(expression).is_empty(), "{expression}");
            all_exist("monitoring/dashboard.json", expression);
        }
    }
}

#[test]
fn operations_md_names_every_metric_and_no_other() {
    let text = read("docs/operations.md");
    all_exist("docs/operations.md", &text);
    let documented: BTreeSet<String> = named(&text).into_iter().map(|(name, _)| name).collect();
    let part_of_histogram = |name: &str| {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        family.is_some_and(|family| SHOWN.contains_key(family))
    };
    let missing: Vec<_> = SHOWN.keys().filter(|name| !documented.contains(*name) && !part_of_histogram(name)).collect();
    assert!(missing.is_empty(), "docs/operations.md says nothing of {missing:?}");
}

/// Every program of the workspace, as cargo knows them.
fn programs() -> Vec<String> {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().expect("metadata");
    let targets = metadata.packages.iter().filter(|package| package.name != "longshore-benches");
    let targets = targets.flat_map(|package| &package.targets).filter(|target| target.is_bin());
    targets.map(|target| target.name.clone()).collect()
}

fn output(path: &Path, words: &[&str]) -> String {
    let output = Command::new(path).args(words).env("COLUMNS", "100").output().expect("runs");
    assert!(output.status.success(), "{} {words:?}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn every_program_has_examples_a_manual_and_completions() {
    let programs = programs();
    assert!(programs.len() >= 4, "{programs:?}");
    for name in programs {
        let path = program(&name);
        let help = output(&path, &["--help"]);
        assert!(help.contains("\nExamples:\n"), "{name} --help has no examples:\n{help}");
        assert!(output(&path, &["--version"]).starts_with(&format!("{name} ")));
        for shell in ["bash", "zsh", "fish"] {
            assert!(output(&path, &["completion", shell]).contains(&name), "{name} completion {shell}");
        }
        let bash = Command::new("bash").args(["-n", "-c", &output(&path, &["completion", "bash"])]).status();
        assert!(bash.expect("bash runs").success(), "{name} completion bash");
        let manual = output(&path, &["man"]);
        assert!(manual.contains(".SH NAME") && manual.contains("Examples"), "{name} man");
        let dir = tempfile::tempdir().expect("a directory");
        output(&path, &["man", dir.path().to_str().expect("UTF-8")]);
        assert!(dir.path().join(format!("{name}.1")).is_file(), "{name} man DIR");
        // Each command of a program with several has its own help, with its own examples where it is the one that works.
        for line in help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty()) {
            let Some(command) = line.strip_prefix("  ").and_then(|line| line.split(' ').next()) else { continue };
            if !command.is_empty() && command != "help" {
                output(&path, &[command, "--help"]);
            }
        }
    }
}

mod needs_promtool {
    use super::*;

    fn promtool(words: &[&str]) {
        let made = Command::new(root().join("tests/servers/prometheus/setup")).output().expect("setup runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let promtool = String::from_utf8(made.stdout).expect("a path");
        let output = Command::new(promtool.trim()).args(words).current_dir(root()).output().expect("runs");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }

    #[test]
    fn rules_are_rules_and_each_fires_on_what_it_names_alone() {
        promtool(&["check", "rules", "monitoring/alerts.yaml"]);
        promtool(&["test", "rules", "monitoring/alerts.test.yaml"]);
    }
}
