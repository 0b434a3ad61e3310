//! A list and a stream that several copies of ambassador and manager drain, each of which ends when nothing is left.

mod needs_redis {
    use std::collections::BTreeSet;
    use std::process::{Command, Stdio};

    use longshore_tests::programs::program_alone;
    use longshore_tests::{Ambassador, Daemon, Ended, until};

    use crate::keys::Keys;
    use crate::program::{serving_list, serving_stream};

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    /// Notes its item, and fails for good where that is hopeless.
    const WORK: &str = r#"read -r item <"$WORK_ITEM_FILE" || [ "$item" ]
        echo "$item" >>"$0"; case $item in *hopeless*) exit 65 ;; esac"#;

    /// Two copies, which began before there was anything: what was worked on, and what the ambassadors said of it.
    async fn drained(start: impl AsyncFn() -> Ambassador, load: impl FnOnce()) -> (Vec<String>, String) {
        let dir = tempfile::tempdir().expect("a folder");
        let done = dir.path().join("done");
        let mut copies = Vec::new();
        for n in ["0", "1"] {
            let ambassador = start().await;
            let mut manager = Command::new(program_alone("queue-manager"));
            manager.args(["local", "--source", ambassador.url(), "--probe-listen", "127.0.0.1:0", "--state"]);
            manager.arg(dir.path().join(n)).args(["--until-empty", "--wait-for-first=60s", "--poll", "200ms"]);
            manager.args(["--parallelism", "2", "--", "sh", "-c", WORK]).arg(&done).env("TMPDIR", dir.path());
            let manager = Daemon::start(manager.stdout(Stdio::null()), &dir.path().join(format!("manager-{n}.log")));
            copies.push((ambassador, manager));
        }
        for (_, manager) in &copies {
            until("a manager that waits", async || manager.log().contains("waiting for a first item").then_some(()))
                .await;
        }
        load();
        let (mut codes, mut said) = (Vec::new(), String::new());
        for (mut ambassador, mut manager) in copies {
            codes.push(until("its end", async || manager.ended()).await);
            ambassador.terminate().await;
            said += &ambassador.log();
        }
        // Where one stood still for so long that the other took over what it held, both may have met what is hopeless.
        assert!(codes.contains(&Ended::Code(3)), "{codes:?}");
        assert!(codes.iter().all(|code| [Ended::Code(0), Ended::Code(3)].contains(code)), "{codes:?}");
        let done = std::fs::read_to_string(done).expect("something was done");
        (done.lines().map(str::to_owned).collect(), said)
    }

    fn values(done: &[String]) -> BTreeSet<&str> {
        done.iter().filter_map(|item| item.split("\"value\":\"").nth(1)?.split('"').next()).collect()
    }

    const LINES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "hopeless", "g", "h", "i", "j", "k"];

    #[tokio::test(flavor = "multi_thread")]
    async fn copies_that_share_a_list_end_when_it_is_empty_and_say_whether_all_is_well() {
        let keys = Keys::new();
        let dead = format!("{}:dead", keys.name);
        let flags = ["--window", "3", "--lease", "10s", "--dead-letter-key", &dead];
        let (done, _) = drained(async || serving_list(&keys, &flags).await, || keys.push(LINES)).await;
        assert_eq!(values(&done), LINES.into());
        assert_eq!(keys.elements(&dead), ["hopeless"]);
        keys.is_nowhere().await;
        assert_eq!(keys.redis.ask(&["SMEMBERS", &keys.beside("consumers")]), "", "who ended well is forgotten");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn copies_that_share_a_stream_end_when_all_is_settled_and_a_trace_goes_through() {
        let keys = Keys::new();
        let dead = format!("{}:dead", keys.name);
        let flags = ["--window", "3", "--lease", "10s", "--dead-letter-key", &dead];
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let load = || LINES.iter().for_each(|line| drop(keys.add(&["value", line, "traceparent", &parent])));
        let (done, said) = drained(async || serving_stream(&keys, &flags).await, load).await;
        assert_eq!(values(&done), LINES.into());
        assert!(done.iter().all(|item| item.contains(&parent)), "{done:?}");
        let buried = said.lines().find(|line| line.contains("written to the dead letter key")).expect("it is told of");
        assert!(buried.contains(TRACE), "{buried}");
        assert_eq!(keys.redis.ask(&["XLEN", &dead]), "1");
        assert!(keys.redis.ask(&["XPENDING", &keys.name, "media"]).starts_with('0'));
        assert_eq!(keys.redis.ask(&["XINFO", "CONSUMERS", &keys.name, "media"]), "", "who ended well is forgotten");
    }
}
