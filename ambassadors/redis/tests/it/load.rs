//! `--load`, looked at by redis-cli: what lines become, and what is no message.

use std::process::{Command, Output, Stdio};

use longshore_tests::Loader;

use crate::program::PROGRAM;

fn run(url: &str, flags: &[&str], input: &str) -> (Option<i32>, String) {
    use std::io::Write;
    let mut command = Command::new(PROGRAM);
    command.env("LONGSHORE_URL", url).args(["--load", "-", "--log", "warn"]).args(flags);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    // It may have refused all of it before it has read it.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout) + &text(&stderr))
}

#[tokio::test]
async fn a_server_that_is_not_there_is_waited_for_and_told_of() {
    let mut command = Command::new(PROGRAM);
    command.env("LONGSHORE_URL", "redis://127.0.0.1:1").args(["--load", "-", "--log", "warn", "--list", "l"]);
    Loader::start(command).says("127.0.0.1:1").await;
}

mod needs_redis {
    use super::*;
    use crate::keys::Keys;
    use crate::program::serving_list;

    fn load(keys: &Keys<'_>, flags: &[&str], input: &str) -> (Option<i32>, String) {
        run(&keys.redis.url(), flags, input)
    }

    #[test]
    fn each_line_is_an_element_in_its_order() {
        let keys = Keys::new();
        let lines: String = (0..2_500).map(|n| format!("line {n}\n")).collect();
        let (code, said) = load(&keys, &["--list", &keys.name], &lines);
        assert_eq!(
            (code, said.as_str()),
            (Some(0), format!("2500 lines are loaded into list {}\n", keys.name).as_str())
        );
        let there = keys.elements(&keys.name);
        assert_eq!(there.len(), 2_500);
        assert!(there.iter().enumerate().all(|(n, element)| *element == format!("line {n}")));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_taken_from_the_right_is_loaded_at_the_left() {
        let keys = Keys::new();
        let flags = ["--list", &keys.name, "--take", "right"];
        assert_eq!(load(&keys, &flags, "first\nsecond\n").0, Some(0));
        assert_eq!(keys.elements(&keys.name), ["second", "first"]);
        let ambassador = serving_list(&keys, &["--take", "right"]).await;
        let names = ambassador.holds(2).await;
        assert_eq!(ambassador.values(&names).await, ["first", "second"]);
    }

    #[test]
    fn each_line_is_an_entry_with_its_key_and_headers() {
        let keys = Keys::new();
        let lines = "{\"value\":{\"n\":1},\"key\":\"k\",\"headers\":{\"h\":\"1\"}}\n{\"valueBase64\":\"/w==\"}\n";
        let flags = ["--stream", &keys.name, "--group", "g", "--load-format", "json", "--load-header", "from=test"];
        let (code, said) = load(&keys, &flags, lines);
        assert_eq!(code, Some(0), "{said}");
        let entries =
            keys.redis.cli().args(["--json", "XRANGE", &keys.name, "-", "+"]).output().expect("redis-cli runs");
        let said = String::from_utf8_lossy(&entries.stdout);
        for fields in
            [r#"["value","{\"n\":1}","key","k","from","test","h","1"]"#, "[\"value\",\"\u{fffd}\",\"from\",\"test\"]"]
        {
            assert!(said.contains(fields), "{fields} in {said}");
        }
        assert_eq!(keys.redis.ask(&["XINFO", "GROUPS", &keys.name]), "", "no group is made by loading");
    }

    #[test]
    fn what_a_key_cannot_hold_is_65_and_its_line_is_named() {
        let keys = Keys::new();
        let (list, stream) = (["--list", &keys.name], ["--stream", &keys.name, "--group", "g"]);
        let json = ["--load-format", "json"];
        for (flags, line, says) in [
            ([&list[..], &json].concat(), r#"{"value":"v","headers":{"h":"1"}}"#, "headers"),
            ([&list[..], &json].concat(), r#"{"value":null}"#, "no value"),
            ([&list[..], &["--load-key", "line"]].concat(), "a", "key"),
            ([&stream[..], &json].concat(), r#"{"value":"v","partition":1}"#, "partition"),
            ([&stream[..], &json].concat(), r#"{"value":null}"#, "says nothing"),
            ([&stream[..], &json].concat(), r#"{"value":"v","headers":{"key":"1"}}"#, "\"key\""),
        ] {
            let good = if flags.contains(&"--load-key") { String::new() } else { "{\"value\":\"good\"}\n".to_owned() };
            let (code, said) = load(&keys, &flags, &format!("{good}{line}\n"));
            assert_eq!(code, Some(65), "{line}: {said}");
            let number = good.lines().count() + 1;
            assert!(said.contains(says) && said.contains(&format!("line {number}")), "{line}: {said}");
            let there = if flags.contains(&"--stream") { keys.of_key("XLEN") } else { keys.of_key("LLEN") };
            assert_eq!(there, good.lines().count().to_string(), "those before are there: {said}");
            keys.of_key("DEL");
        }
    }

    #[test]
    fn a_key_of_another_type_is_78() {
        let keys = Keys::new();
        keys.redis.ask(&["SET", &keys.name, "text"]);
        let (code, said) = load(&keys, &["--list", &keys.name], "a\n");
        assert!(code == Some(78) && said.contains("is a string"), "{code:?}: {said}");
    }
}
