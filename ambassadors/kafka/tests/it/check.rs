//! `--check`: who asks, what is there, and, where something is wrong, whose fault it is and what to do.

use std::path::PathBuf;
use std::process::Command;

use test_servers::{Kafka, KafkaListener, KafkaResource};

use crate::topic::token;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kafka-ambassador");

/// The exit code, and what was said on stdout and on stderr.
fn check(flags: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(PROGRAM)
        .args(["--check", "--log", "warn"])
        .env("LONGSHORE_REQUEST_TIMEOUT", "120s")
        .args(flags)
        .output()
        .expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn wrong_settings_are_78_and_name_the_flag_and_no_secret() {
    for (flags, says) in [
        (&["--brokers", "b:1", "--topic", "a/b"][..], "--topic \"a/b\""),
        (&["--brokers", "b:1", "--topic", "t", "--start", "committed"], "--start committed needs --group"),
        (&["--brokers", "b:1", "--topic", "t", "--ca-file", "/not/there"], "--ca-file \"/not/there\""),
        (&["--brokers", "b:1", "--topic", "t", "--sasl", "oauthbearer"], "--oauth-token-file"),
        (&["--brokers", "b:1", "--topic", "t", "--property", "sasl.pasword=hunter2"], "sasl.pasword"),
        (&["--brokers", "b:1", "--topic", "t", "--property", "fetch.min.bytes=few"], "fetch.min.bytes"),
    ] {
        let (code, said, error) = check(flags);
        assert_eq!(code, Some(78), "{flags:?}: {error}");
        assert!(error.contains(says) && said.is_empty() && !error.contains("hunter2"), "{flags:?}: {error}");
    }
}

mod needs_kafka {
    use super::*;

    /// Files that flags name, in a folder that lasts as long as this.
    struct Files(tempfile::TempDir);

    impl Files {
        fn with(&self, name: &str, text: &str) -> String {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path.to_str().expect("text").to_owned()
        }
    }

    fn files() -> Files {
        Files(tempfile::tempdir().expect("a folder"))
    }

    fn text(path: PathBuf) -> String {
        path.into_os_string().into_string().expect("text")
    }

    /// The same key, encrypted with what is in a file.
    fn encrypted(key: &str, password: &str) -> String {
        let made = Command::new("openssl")
            .args(["pkey", "-in", key, "-aes256", "-passout", &format!("file:{password}")])
            .output()
            .expect("openssl runs");
        assert!(made.status.success(), "{made:?}");
        String::from_utf8(made.stdout).expect("PEM")
    }

    #[test]
    fn every_way_into_a_broker_leads_in() {
        let (kafka, files) = (Kafka::shared(), files());
        let topic = kafka.topic(2);
        kafka.allow(Kafka::USER, KafkaResource::Topic(&topic), &["DESCRIBE", "READ"]);
        let password = files.with("password", &format!("{}\n", Kafka::PASSWORD));
        let token = files.with("token", &token(Kafka::USER, 3_600));
        let authority = text(kafka.certificates().authority());
        let own = kafka.certificates().client(Kafka::USER);
        let (certificate, key) = (text(own.certificate), text(own.key));
        let unlocks = files.with("unlocks", "of the key\n");
        let locked = files.with("locked", &encrypted(&key, &unlocks));
        // As the tools of others have them, their flags' own being weaker.
        let properties = format!(
            "# of kcat\nsecurity.protocol = SASL_PLAINTEXT\n\nsasl.mechanism=SCRAM-SHA-256\nsasl.username={}\nsasl.password={}\n",
            Kafka::USER,
            Kafka::PASSWORD
        );
        let properties = files.with("client.properties", &properties);
        let named = ["--username", Kafka::USER, "--password-file", &password];
        let ca = ["--ca-file", authority.as_str()];
        let scram = |bits: &'static str| [&["--sasl", bits][..], &named].concat();
        for (listener, flags, says) in [
            (KafkaListener::Plain, vec![], "plaintext"),
            (KafkaListener::Sasl, named.to_vec(), "by PLAIN"),
            (KafkaListener::Sasl, scram("scram-sha-256"), "by SCRAM-SHA-256"),
            (KafkaListener::SaslTls, [&scram("scram-sha-512")[..], &ca].concat(), "by SCRAM-SHA-512, sasl_ssl"),
            (KafkaListener::Sasl, vec!["--oauth-token-file", &token], "by OAUTHBEARER"),
            (KafkaListener::Tls, ca.to_vec(), "ssl"),
            (
                KafkaListener::MutualTls,
                [&["--cert-file", &certificate, "--key-file", &key][..], &ca].concat(),
                "as the holder of",
            ),
            (
                KafkaListener::MutualTls,
                [&["--cert-file", &certificate, "--key-file", &locked, "--key-password-file", &unlocks][..], &ca]
                    .concat(),
                "as the holder of",
            ),
            (KafkaListener::Sasl, vec!["--properties-file", &properties], "as alice by SCRAM-SHA-256"),
        ] {
            let brokers = kafka.bootstrap(listener);
            let (code, said, error) = check(&[&["--brokers", &brokers, "--topic", &topic][..], &flags].concat());
            assert_eq!(code, Some(0), "{listener:?} {flags:?}: {said}{error}");
            assert!(said.contains(says) && said.contains("2 partitions"), "{listener:?} {flags:?}: {said}");
            assert!(!said.contains(Kafka::PASSWORD), "{said}");
        }
    }

    #[test]
    fn a_key_that_its_password_does_not_open_and_a_line_that_is_no_setting_are_named() {
        let (kafka, files) = (Kafka::shared(), files());
        let own = kafka.certificates().client(Kafka::USER);
        let (certificate, key) = (text(own.certificate), text(own.key));
        let (unlocks, wrong) = (files.with("unlocks", "of the key"), files.with("wrong", "hunter2"));
        let locked = files.with("locked", &encrypted(&key, &unlocks));
        let bad = files.with("client.properties", "security.protocol=ssl\nsasl.password hunter2\n");
        let own = ["--cert-file", &certificate, "--key-file", &locked];
        let none = files.with("none", "not one\n");
        for (flags, says) in [
            (vec!["--ca-file", &none], "--ca-file"),
            (vec!["--cert-file", &none, "--key-file", &key], "--cert-file"),
            (vec!["--cert-file", &certificate, "--key-file", &none], "--key-file"),
            ([&own[..], &["--key-password-file", &wrong]].concat(), "--key-password-file"),
            (own.to_vec(), "--key-password-file"),
            (vec!["--properties-file", &bad], "client.properties\", line 2: "),
        ] {
            let (code, said, error) = check(&[&["--brokers", "b:1", "--topic", "t"][..], &flags].concat());
            assert_eq!(code, Some(78), "{flags:?}: {said}{error}");
            assert!(error.contains(says) && !error.contains("hunter2"), "{flags:?}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        let (kafka, files) = (Kafka::shared(), files());
        let topic = kafka.topic(1);
        let user = format!("user-{:016x}", fastrand::u64(..));
        kafka.add_user(&user, "its-secret");
        kafka.allow(&user, KafkaResource::Topic(&topic), &["DESCRIBE"]);
        let hidden = kafka.topic(1);
        let open = kafka.topic(1);
        kafka.allow(&user, KafkaResource::Topic(&open), &["DESCRIBE", "READ"]);
        let (right, wrong) = (files.with("right", "its-secret"), files.with("wrong", "hunter2"));
        let bad_token = files.with("token", "nonsense");
        let authority = text(kafka.certificates().authority());
        let of = |listener| kafka.bootstrap(listener);
        let (plain, sasl, tls) = (of(KafkaListener::Plain), of(KafkaListener::Sasl), of(KafkaListener::Tls));
        let mutual = of(KafkaListener::MutualTls);
        let user_by = |file| ["--username", user.as_str(), "--password-file", file, "--sasl", "scram-sha-256"];
        for (brokers, topic, flags, code, says) in [
            (sasl.as_str(), &open, user_by(&wrong).to_vec(), 77, "--password-file"),
            (&sasl, &open, vec!["--username", &user, "--password-file", &wrong], 77, "--password-file"),
            (&sasl, &open, vec!["--oauth-token-file", &bad_token], 77, "--oauth-token-file"),
            (&sasl, &hidden, user_by(&right).to_vec(), 77, "allow Describe and Read on the topic"),
            (&sasl, &topic, user_by(&right).to_vec(), 77, "cannot read partition 0"),
            (&plain, &"not-there".to_owned(), vec![], 78, "there is no such topic"),
            (&tls, &open, vec!["--tls"], 78, "--ca-file"),
            (&mutual, &open, vec!["--ca-file", &authority], 78, "--cert-file"),
            (&tls, &open, vec!["--request-timeout", "3s"], 69, "--tls"),
            (&sasl, &open, vec!["--request-timeout", "3s"], 69, "--sasl"),
            ("127.0.0.1:1", &open, vec!["--request-timeout", "3s"], 69, "Connection refused"),
        ] {
            let (found, said, error) = check(&[&["--brokers", brokers, "--topic", topic][..], &flags].concat());
            assert_eq!(found, Some(code), "{brokers} {topic} {flags:?}: {said}{error}");
            assert!(error.contains(says) && said.is_empty(), "{brokers} {topic} {flags:?}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_group_and_a_dead_letter_topic_that_may_not_be_used_are_named() {
        let (kafka, files) = (Kafka::shared(), files());
        let (topic, dead) = (kafka.topic(1), kafka.topic(1));
        let user = format!("user-{:016x}", fastrand::u64(..));
        kafka.add_user(&user, "its-secret");
        kafka.allow(&user, KafkaResource::Topic(&topic), &["DESCRIBE", "READ"]);
        let password = files.with("password", "its-secret");
        let brokers = kafka.bootstrap(KafkaListener::Sasl);
        let flags = ["--brokers", &brokers, "--topic", &topic, "--username", &user, "--password-file", &password];
        let group = format!("theirs-{:016x}", fastrand::u64(..));
        let sasl = ["--sasl", "scram-sha-512", "--mode", "group", "--group", &group, "--request-timeout", "60s"];
        let check_with = |dead: &str| check(&[&flags[..], &sasl, &["--dead-letter-topic", dead]].concat());
        let wrong = |dead: &str, code: i32, says: &str| {
            let (found, said, error) = check_with(dead);
            assert_eq!(found, Some(code), "{said}{error}");
            assert!(error.contains(says), "{says}: {error}");
        };
        wrong(&dead, 77, "on the group");
        // Whoever may look at a group may not be in it, and whoever may look at a topic may not write to it.
        kafka.allow(&user, KafkaResource::Group(&group), &["DESCRIBE"]);
        wrong(&dead, 77, "cannot join the group");
        kafka.allow(&user, KafkaResource::Group(&group), &["READ"]);
        kafka.allow(&user, KafkaResource::Topic(&dead), &["DESCRIBE"]);
        wrong(&dead, 77, "allow Write on the topic");
        kafka.allow(&user, KafkaResource::Topic("longshore-none"), &["DESCRIBE"]);
        wrong("longshore-none", 78, "write --dead-letter-topic as it is written");
        kafka.allow(&user, KafkaResource::Topic(&dead), &["WRITE"]);
        let (code, said, error) = check_with(&dead);
        assert!(code == Some(0) && said.contains(&format!("dead letter topic {dead} is there")), "{said}{error}");
    }
}
