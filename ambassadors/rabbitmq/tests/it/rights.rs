//! Who may: credentials, rights and TLS, and what is said where they do not suffice.

use std::path::Path;
use std::process::Command;

use longshore_tests::Ambassador;
use serde_json::json;
use test_servers::RabbitMq;

use crate::program::{PROGRAM, command, serving};
use crate::queue::Queue;

/// The exit code of `--check`, and what was said.
fn check(mut command: Command) -> (Option<i32>, String) {
    let output = command.args(["--check", "--log", "warn"]).output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// What is rejected goes to a queue by its name.
const DEFAULT_EXCHANGE: [&str; 8] =
    ["--url", "amqp://h", "--queue", "q", "--declare", "quorum", "--dead-letter-exchange", ""];

#[test]
fn wrong_settings_are_78_or_64_and_name_the_flag_and_no_secret() {
    for (flags, code, says) in [
        (&["--url", "amqp://u:hunter2@h/a/b", "--queue", "q"][..], 78, "%2F"),
        (&["--url", "amqp://h?heartbeat=1", "--queue", "q"], 78, "--heartbeat"),
        (&["--url", "amqp://h", "--queue", "q", "--ca-file", "ca.pem"], 78, "--ca-file does nothing without TLS"),
        (&["--url", "amqps://h", "--queue", "q", "--ca-file", "/not/there"], 78, "--ca-file \"/not/there\""),
        (&["--url", "amqps://h", "--queue", "q", "--ca-file", "/dev/null"], 78, "no certificate"),
        (
            &["--url", "amqp://h", "--queue", "q", "--username", "u", "--password-file", "/not/there"],
            78,
            "--password-file \"/not/there\"",
        ),
        (&["--queue", "q"], 64, "--url"),
        (&["--url", "amqp://h", "--queue", "q", "--delivery-limit", "3"], 64, "--declare"),
        (&["--url", "amqp://h", "--queue", "q", "--external"], 64, "--cert-file"),
        (&["--url", "amqp://h", "--queue", "q", "--identity", "body"], 64, "header:NAME"),
        (&[&DEFAULT_EXCHANGE[..], &["--dead-letter-routing-key", "q"]].concat(), 78, "\"q\" is --queue itself"),
        (&DEFAULT_EXCHANGE, 78, "say it by --dead-letter-routing-key"),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(flags).env_remove("LONGSHORE_URL");
        let (is, said) = check(command);
        assert_eq!(is, Some(code), "{flags:?}: {said}");
        assert!(said.contains(says) && !said.contains("hunter2"), "{flags:?}: {said}");
    }
}

mod needs_rabbitmq {
    use super::*;

    const PASSWORD: &str = "its-secret";

    /// A user, who may do this.
    fn user(rabbit: &RabbitMq, configure: &str, write: &str, read: &str) -> String {
        let name = format!("user-{:x}", fastrand::u64(..));
        rabbit.ask(&["declare", "user", &format!("name={name}"), &format!("password={PASSWORD}"), "tags="]);
        allow(rabbit, &name, configure, write, read);
        name
    }

    fn allow(rabbit: &RabbitMq, user: &str, configure: &str, write: &str, read: &str) {
        let of = |what: &str, which: &str| format!("{what}=^{which}$");
        let (configure, write, read) = (of("configure", configure), of("write", write), of("read", read));
        rabbit.ask(&["declare", "permission", "vhost=/", &format!("user={user}"), &configure, &write, &read]);
    }

    fn as_user(queue: &Queue<'_>, user: &str, password: &str) -> Command {
        let mut command = command(queue, &[]);
        command.env("LONGSHORE_URL", format!("amqp://{user}:{password}@{}", queue.rabbit.address()));
        command
    }

    async fn checked(command: Command) -> (Option<i32>, String) {
        tokio::task::spawn_blocking(|| check(command)).await.expect("no panic")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_check_says_who_asks_and_how_much_waits_and_takes_nothing() {
        let queue = Queue::of(RabbitMq::shared(), json!({"x-queue-type": "quorum"}));
        queue.fill(3);
        let (code, said) = checked(command(&queue, &["--window", "2"])).await;
        assert_eq!(code, Some(0), "{said}");
        for says in [&*queue.name, "as longshore", "3 messages wait", "2 would be listed"] {
            assert!(said.contains(says), "{said}");
        }
        assert!(queue.drain().iter().all(|message| message["redelivered"] == false));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_wrong_is_named_with_what_to_do_and_heals_by_itself() {
        let rabbit = RabbitMq::shared();
        let (queue, none) = (Queue::new(), Queue::unmade(rabbit));
        queue.fill(1);
        let nobody = user(rabbit, "", "", "");
        let reader = user(rabbit, "", "", &queue.name);
        let mut elsewhere = command(&queue, &[]);
        elsewhere.env("LONGSHORE_URL", format!("{}nowhere", rabbit.url().trim_end_matches("%2f")));
        let mut away = command(&queue, &[]);
        away.env("LONGSHORE_URL", "amqp://127.0.0.1:1");
        let stream = Queue::of(rabbit, json!({"x-queue-type": "stream"}));
        let declaring = |user: &str, kind: &str| {
            let password = if user == RabbitMq::USER { RabbitMq::PASSWORD } else { PASSWORD };
            let mut command = as_user(&queue, user, password);
            command.args(["--declare", kind]);
            command
        };
        for (command, code, says) in [
            (as_user(&queue, &reader, "wrong"), 77, "does not take our credentials"),
            (as_user(&queue, &nobody, PASSWORD), 77, "allow the user to read"),
            (as_user(&queue, &reader, PASSWORD), 0, "1 messages wait"),
            (as_user(&none, &reader, PASSWORD), 78, "no queue"),
            (elsewhere, 77, "nowhere"),
            (
                away,
                69,
                "reach the broker at amqp://127.0.0.1:1, virtual host /, as guest: no broker answers: Connection refused",
            ),
            (declaring(&reader, "classic"), 77, "with --declare to configure it"),
            (declaring(RabbitMq::USER, "quorum"), 78, "leave --declare out"),
            (command(&stream, &[]), 78, "it is a stream"),
        ] {
            let (is, said) = checked(command).await;
            assert!(is == Some(code) && said.contains(says) && !said.contains("wrong@"), "{is:?}, not {code}: {said}");
        }
        // And of one that serves: red until it is mended, and then not.
        let program = Ambassador::start(as_user(&queue, &nobody, PASSWORD)).await;
        program.is_red("allow the user to read").await;
        assert_eq!(program.ask("/v1/items").await.expect("an answer").0, 503, "what may not be read is not nothing");
        allow(rabbit, &nobody, "", "", &queue.name);
        program.ready(200).await;
        program.holds(1).await;
        let program = serving(&none, &[]).await;
        program.is_red("give --declare").await;
        none.make(&json!({}));
        none.fill(2);
        program.ready(200).await;
        let names = program.holds(2).await;
        none.delete();
        program.is_red(&none.name).await;
        none.make(&json!({}));
        none.fill(1);
        program.ready(200).await;
        assert_eq!(program.holds(1).await[0], names[0], "the same message is the same item");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tls_believes_one_authority_and_a_certificate_says_who_we_are() {
        let rabbit = RabbitMq::shared();
        let (queue, other) = (Queue::new(), tempfile::tempdir().expect("a folder"));
        queue.fill(1);
        let path = |path: &Path| path.to_str().expect("text").to_owned();
        let authority = path(&rabbit.certificates().authority());
        let alice = rabbit.certificates().client(RabbitMq::USER);
        let (certificate, key) = (path(&alice.certificate), path(&alice.key));
        let tls = |flags: &[&str], url: String| {
            let mut command = command(&queue, flags);
            command.env("LONGSHORE_URL", url);
            command
        };
        let named = format!("amqps://localhost:{}", rabbit.tls_address().rsplit_once(':').expect("a port").1);
        let by_certificate = ["--ca-file", &authority, "--cert-file", &certificate, "--key-file", &key, "--external"];
        let password = path(&other.path().join("password"));
        std::fs::write(&password, format!("{}\n", RabbitMq::PASSWORD)).expect("written");
        let by_file = ["--ca-file", &authority, "--username", RabbitMq::USER, "--password-file", &password];
        for (command, code, says) in [
            (tls(&["--ca-file", &authority], rabbit.tls_url()), 0, "as longshore"),
            (tls(&by_file, named.clone()), 0, "as alice"),
            (tls(&by_certificate, named.clone()), 0, "as the holder of"),
            (
                tls(&["--ca-file", &authority, "--cert-file", &certificate, "--key-file", &key], rabbit.tls_url()),
                0,
                "longshore",
            ),
            (tls(&["--ca-file", &certificate], rabbit.tls_url()), 78, "--ca-file"),
        ] {
            let (is, said) = checked(command).await;
            assert!(is == Some(code) && said.contains(says), "{is:?}, not {code}: {said}");
        }
        // What a broker says to whom it does not understand may be lost as it hangs up.
        for url in [rabbit.tls_url().replace("amqps", "amqp"), rabbit.url().replace("amqp:", "amqps:")] {
            let (is, said) = checked(tls(&[], url)).await;
            assert!([Some(78), Some(69)].contains(&is) && said.contains("speak TLS there"), "{is:?}: {said}");
        }
        let program = Ambassador::start(tls(&by_certificate, named)).await;
        program.holds(1).await;
    }
}
