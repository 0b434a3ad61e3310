//! `--load`, looked at by kcat: what lines become, and that none is lost whatever happens meanwhile.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kafka-ambassador");

/// How many lines may be published twice by a loader that was killed, as the README says.
const TWICE: usize = 10_000;

fn command(brokers: &str, topic: &str, flags: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["--brokers", brokers, "--topic", topic, "--log", "info"]).args(flags);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(brokers: &str, topic: &str, flags: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command(brokers, topic, flags).output().expect("the program starts");
    (status.code(), text(&stdout) + &text(&stderr))
}

#[test]
fn a_key_is_asked_for_in_one_way_and_a_header_is_a_pair() {
    let with = |flags: &[&str]| run("127.0.0.1:1", "t", &[&["--load", "-"], flags].concat());
    let (code, said) = with(&["--load-format", "json", "--load-key", "tab"]);
    assert!(code == Some(78) && said.contains("--load-key"), "{said}");
    for flags in [&["--load-key", "comma"][..], &["--load-header", "none"], &["--check"]] {
        assert_eq!(with(flags).0, Some(64), "{flags:?}");
    }
}

/// Nobody answers where it asks, so that this is said before.
#[test]
fn a_file_that_is_not_there_is_told_of_before_brokers_are_waited_for() {
    let (code, said) = run("127.0.0.1:1", "t", &["--load", "/nowhere/lines.txt"]);
    assert!(code == Some(66) && said.contains("/nowhere/lines.txt"), "{code:?}: {said}");
}

mod needs_kafka {
    use test_servers::{Kafka, KafkaListener, KafkaOptions, queue_client};

    use super::*;

    const ALL: usize = 100_000;

    fn brokers(kafka: &Kafka) -> String {
        kafka.bootstrap(KafkaListener::Plain)
    }

    /// Every record of a topic, by kcat.
    fn records(brokers: &str, topic: &str) -> Vec<Value> {
        let read = Command::new(queue_client("kcat"))
            .args(["-C", "-b", brokers, "-t", topic, "-e", "-q", "-J", "-X", "isolation.level=read_committed"])
            .output()
            .expect("kcat runs");
        assert!(read.status.success(), "{}", text(&read.stderr));
        text(&read.stdout).lines().map(|line| serde_json::from_str(line).expect("kcat writes JSON")).collect()
    }

    /// How often each line was published.
    fn counts(brokers: &str, topic: &str) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for record in records(brokers, topic) {
            *counts.entry(record["payload"].as_str().expect("a value").to_owned()).or_default() += 1;
        }
        counts
    }

    fn big(folder: &Path) -> PathBuf {
        let path = folder.join("lines");
        let lines: String = (0..ALL).map(|line| format!("line {line} of a file that takes a while\n")).collect();
        std::fs::write(&path, lines).expect("a file");
        path
    }

    /// Waits until so many lines are known to be loaded.
    fn wait_for(file: &Path, lines: u64, loader: &mut Child) -> u64 {
        let state = file.with_file_name("lines.load-state");
        let began = Instant::now();
        loop {
            let kept = std::fs::read(&state).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
            let loaded = kept.and_then(|kept| kept["lines"].as_u64()).unwrap_or_default();
            if loaded >= lines {
                return loaded;
            }
            assert!(began.elapsed() < Duration::from_secs(120), "{loaded} lines are loaded");
            assert!(loader.try_wait().expect("a child").is_none(), "it ended when {loaded} lines were loaded");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn start(brokers: &str, topic: &str, file: &Path) -> Child {
        let file = file.to_str().expect("text");
        // Slowly, so that it is not at its end before somebody sees where it is: it has 10,000 lines under way at most.
        command(brokers, topic, &["--load", file, "--property", "linger.ms=500"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts")
    }

    #[test]
    fn killed_again_and_again_it_loses_nothing_and_repeats_no_more_than_was_under_way() {
        let kafka = Kafka::shared();
        let (brokers, topic) = (brokers(kafka), kafka.topic(3));
        let folder = tempfile::tempdir().expect("a folder");
        let file = big(folder.path());
        let kills = [15_000, 50_000];
        for at in kills {
            let mut loader = start(&brokers, &topic, &file);
            let loaded = wait_for(&file, at, &mut loader);
            loader.kill().expect("killed");
            loader.wait().expect("reaped");
            assert!(loaded < ALL as u64, "it was quicker than the kill");
        }
        let file = file.to_str().expect("text");
        let (code, said) = run(&brokers, &topic, &["--load", file]);
        assert!(code == Some(0) && said.contains("resuming") && said.contains("100000 lines are loaded"), "{said}");
        let counts = counts(&brokers, &topic);
        assert_eq!(counts.len(), ALL, "none is lost");
        let twice = counts.values().sum::<usize>() - ALL;
        assert!(twice <= TWICE * kills.len(), "{twice} were published again");

        // Loaded is loaded; and what is added to the file is.
        let (code, said) = run(&brokers, &topic, &["--load", file]);
        assert!(code == Some(0) && !said.contains("resuming"), "{said}");
        let mut more = std::fs::OpenOptions::new().append(true).open(file).expect("the file");
        std::io::Write::write_all(&mut more, b"one more\n").expect("written");
        assert_eq!(run(&brokers, &topic, &["--load", file]).0, Some(0));
        assert_eq!(kafka.end_offsets(&topic).iter().sum::<u64>(), (ALL + twice + 1) as u64);
    }

    #[test]
    fn a_broker_that_is_away_for_a_while_costs_nothing_and_repeats_nothing() {
        let mut kafka = Kafka::start(KafkaOptions::default());
        let (brokers, topic) = (brokers(&kafka), kafka.topic(2));
        let folder = tempfile::tempdir().expect("a folder");
        let file = big(folder.path());
        let mut loader = start(&brokers, &topic, &file);
        wait_for(&file, 10_000, &mut loader);
        kafka.kill([1]);
        assert!(loader.try_wait().expect("a child").is_none(), "it waits for the broker");
        kafka.restart([1]);
        assert!(loader.wait().expect("it ends").success());
        let counts = counts(&brokers, &topic);
        assert_eq!(counts.len(), ALL, "none is lost");
        assert!(counts.values().all(|count| *count == 1), "the brokers know a line that was sent twice");
    }

    #[test]
    fn a_line_says_all_of_its_record() {
        let kafka = Kafka::shared();
        let (brokers, topic) = (brokers(kafka), kafka.topic(3));
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines.jsonl");
        let lines = concat!(
            r#"{"key":"k","value":{"uri": "s3://b/a.mp4"},"headers":{"traceparent":"00-1-2-01"},"partition":2}"#,
            "\n\n",
            r#"{"key":"gone","value":null,"partition":2}"#,
            "\r\n",
            r#"{"value":"last","partition":2}"#,
        );
        std::fs::write(&path, lines).expect("a file");
        let flags = ["--load", path.to_str().expect("text"), "--load-format", "json", "--load-header", "from=a=b"];
        let (code, said) = run(&brokers, &topic, &flags);
        assert_eq!(code, Some(0), "{said}");
        let records = records(&brokers, &topic);
        let of = |name: &str| records.iter().map(|record| record[name].clone()).collect::<Vec<_>>();
        assert_eq!(of("partition"), [2, 2, 2]);
        assert_eq!(of("key"), [Value::from("k"), "gone".into(), Value::Null]);
        assert_eq!(of("payload"), [Value::from(r#"{"uri": "s3://b/a.mp4"}"#), Value::Null, "last".into()]);
        assert_eq!(records[0]["headers"], serde_json::json!(["from", "a=b", "traceparent", "00-1-2-01"]));
    }

    #[test]
    fn a_line_that_brokers_never_take_is_named_and_nothing_after_it_counts() {
        let kafka = Kafka::shared();
        let brokers = brokers(kafka);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines");
        let file = path.to_str().expect("text");
        let large = format!("{{\"value\":\"{}\"}}", "x".repeat(1_100_000));
        let good = "{\"value\":\"good\"}";
        for (bad, flags, says) in [
            ("no json", &[][..], "no JSON object"),
            ("{\"vaule\":1}", &[], "neither value nor valueBase64"),
            ("{\"value\":\"a\",\"partition\":7}", &[], "no such partition"),
            (&large, &[], "too large for the brokers"),
            (&large, &["--property", "message.max.bytes=2000000"], "too large for the brokers"),
        ] {
            let topic = kafka.topic(1);
            std::fs::write(&path, format!("{good}\n{good}\n{bad}\n{good}\n")).expect("a file");
            let flags = [&["--load", file, "--load-format", "json"][..], flags].concat();
            let (code, said) = run(&brokers, &topic, &flags);
            assert_eq!(code, Some(65), "{said}");
            assert!(said.contains("line 3: ") && said.contains(says) && said.contains("2 lines are loaded"), "{said}");
            // Mended, the rest is loaded, and what was before is not again.
            std::fs::write(&path, format!("{good}\n{good}\n{good}\n{good}\n")).expect("a file");
            let (code, said) = run(&brokers, &topic, &flags);
            assert!(code == Some(0) && said.contains("4 lines are loaded"), "{said}");
            let end = kafka.end_offsets(&topic)[0];
            assert!((4..=5).contains(&end), "{end}: the line after the bad one may have been under way");
            std::fs::remove_file(folder.path().join("lines.load-state")).expect("a state");
        }
        // Which one it is of those that were sent at once, brokers do not always say.
        let topic = format!("compacted-{:016x}", fastrand::u64(..));
        kafka.create_topic(&topic, 1, &[("cleanup.policy", "compact")]);
        let keyed = |n: u32| format!("{{\"key\":\"{n}\",\"value\":{n}}}\n");
        std::fs::write(&path, format!("{}{}{good}\n{}", keyed(1), keyed(2), keyed(3))).expect("a file");
        let (code, said) = run(&brokers, &topic, &["--load", file, "--load-format", "json"]);
        assert!(code == Some(65) && said.contains("takes none without a key"), "{code:?} {said}");
        std::fs::write(&path, (1..=4).map(keyed).collect::<String>()).expect("a file");
        let (code, said) = run(&brokers, &topic, &["--load", file, "--load-format", "json"]);
        assert!(code == Some(0) && said.contains("4 lines are loaded"), "{said}");
    }
}
