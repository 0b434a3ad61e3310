//! A trace goes through: from whoever published a message, by a client that is none of ours, to the command that works on it, and into the
//! logs of everyone between.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use longshore_tests::programs::program;
use serde_json::{Value, json};
use test_servers::RabbitMq;

use crate::program::serving;
use crate::queue::Queue;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn parent(trace: &str) -> String {
    format!("00-{trace}-00f067aa0ba902b7-01")
}

fn lines(log: &str) -> Vec<Value> {
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The trace that the line with this message says of an item, if it says one.
fn traced<'a>(lines: &'a [Value], message: &str, item: &str) -> Option<&'a str> {
    let said = |line: &&Value| line["message"].as_str().is_some_and(|said| said.starts_with(message));
    let mut of_item = lines.iter().filter(said).filter(|line| line["item"] == item || line["name"] == item);
    of_item.next().unwrap_or_else(|| panic!("{message} of {item}: {lines:?}"))["trace_id"].as_str()
}

/// Runs a manager until the queue is empty, with a worker for each item.
fn managed(dir: &Path, url: &str) -> Output {
    let worker = r#"grep -q hopeless "$WORK_ITEM_FILE" && exit 9
        printf '%s %s\n' "$TRACEPARENT" "$TRACESTATE" >"$OUTPUT_DIR/trace""#;
    Command::new(program("queue-manager"))
        .args(["local", "--source", url, "--until-empty", "--poll", "100ms", "--probe-listen", "127.0.0.1:0"])
        .args(["--log-format", "json", "--state"])
        .arg(dir.join("state"))
        .arg("--")
        .arg(program("script-worker"))
        .args(["--log-format", "json", "--permanent-exit", "9", "--output"])
        .arg(format!("{}/out/{{name}}/", dir.display()))
        .args(["--", "sh", "-c", worker])
        .env("TMPDIR", dir)
        .output()
        .expect("the manager starts")
}

mod needs_rabbitmq {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_trace_goes_from_a_message_to_its_worker_and_into_every_log() {
        let (rabbit, dir) = (RabbitMq::shared(), tempfile::tempdir().expect("a folder"));
        let dead = Queue::behind_an_exchange(rabbit);
        let queue = Queue::of(rabbit, json!({"x-dead-letter-exchange": dead.name}));
        let doomed = TRACE.replace("4bf9", "5bf9");
        queue.publish(&[
            json!({"body": "good", "headers": {"traceparent": parent(TRACE), "tracestate": "rojo=1,congo=t61"}}),
            json!({"body": "malformed", "headers": {"traceparent": parent("xyz")}}),
            json!({"body": "hopeless", "headers": {"traceparent": parent(&doomed)}}),
        ]);
        let mut ambassador = serving(&queue, &["--dead-letter"]).await;
        let names = ambassador.holds(3).await;
        let (path, url) = (dir.path().to_owned(), ambassador.url().to_owned());
        let manager = tokio::task::spawn_blocking(move || managed(&path, &url)).await.expect("no panic");
        let log = String::from_utf8_lossy(&manager.stderr).into_owned();
        assert_eq!(manager.status.code(), Some(3), "one is dead: {log}");

        let found =
            |name: &str| fs::read_to_string(dir.path().join("out").join(name).join("trace")).expect("an output");
        assert_eq!(found(&names[0]), format!("{} rojo=1,congo=t61\n", parent(TRACE)));
        assert_eq!(found(&names[1]), " \n");
        let manager = lines(&log);
        for message in ["started", "done"] {
            assert_eq!(traced(&manager, message, &names[0]), Some(TRACE), "{message}");
            assert_eq!(traced(&manager, message, &names[1]), None, "{message}");
        }
        assert_eq!(traced(&manager, "dead", &names[2]), Some(&*doomed));
        assert_eq!(traced(&lines(&ambassador.log()), "rejected", &names[2]), Some(&*doomed));
        let kept = fs::read_dir(dir.path().join("state/logs")).expect("logs").map(|entry| entry.expect("one").path());
        let worker: Vec<Value> = kept.flat_map(|path| lines(&fs::read_to_string(path).unwrap_or_default())).collect();
        assert_eq!(traced(&worker, "item read", &names[0]), Some(TRACE));

        ambassador.terminate().await;
        let letters = dead.drain();
        assert_eq!((letters.len(), &letters[0]["headers"]["traceparent"]), (1, &json!(parent(&doomed))));
        assert_eq!(queue.depth(), 0, "what is done or dead is settled");
    }
}
