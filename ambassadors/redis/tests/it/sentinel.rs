//! A primary that Sentinels know, and whose place a replica takes.

mod needs_redis {
    use std::process::Command;

    use longshore_tests::{Ambassador, until};
    use test_servers::{Redis, Sentinel, Server};

    use crate::keys::Keys;
    use crate::program::command;

    /// The ambassador of the list, at the primary of this name.
    fn of_primary(keys: &Keys<'_>, name: &str, sentinel: &Sentinel, flags: &[&str]) -> Command {
        let mut command = command(keys, &["--list", &keys.name, "--consumer", "us"]);
        command.env("LONGSHORE_URL", format!("redis://:{}@{name}", keys.redis.password()));
        // The first of them is gone.
        command.env("LONGSHORE_SENTINEL", format!("127.0.0.1:{},{}", test_servers::free_port(), sentinel.address()));
        command.args(flags);
        command
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_replica_that_takes_the_place_of_a_killed_primary_is_found_and_has_what_was_held() {
        let mut primary = Redis::start(&[]);
        let replica = primary.beside(&["--replicaof", &primary.address().replace(':', " ")]);
        let sentinel = Sentinel::watching(&primary, "my_Primary");
        let secret = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(secret.path(), sentinel.password()).expect("it is written");
        let password = ["--sentinel-password-file", secret.path().to_str().expect("text")];

        let keys = Keys::of(&primary);
        keys.push(["a", "b", "c"]);
        let mut ambassador = Ambassador::start(of_primary(&keys, "my_Primary", &sentinel, &password)).await;
        let names = ambassador.holds(3).await;
        assert_eq!(ambassador.settle(&names[0]).await, Some(204));
        let there = Keys { redis: &replica, name: keys.name.clone() };
        until("the replica has it all", async || {
            (there.elements(&there.beside("held:us")).len() == 2 && there.of_key("EXISTS") == "0").then_some(())
        })
        .await;

        let wrong = |name: &str, flags: &[&str]| {
            let output = of_primary(&keys, name, &sentinel, flags).arg("--check").output().expect("it runs");
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let (code, said) = wrong("another", &password);
        assert!(code == Some(78) && said.contains("it knows no primary of that name"), "{said}");
        let (code, said) = wrong("my_Primary", &[]);
        assert!(code == Some(77) && said.contains("ask Sentinel 127.0.0.1:"), "{said}");
        let mut no_sentinel = command(&keys, &["--list", &keys.name, "--check", "--sentinel", &primary.address()]);
        no_sentinel.env("LONGSHORE_URL", format!("redis://:{}@my_Primary", primary.password()));
        let output = no_sentinel.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(78) && said.contains("it is no Sentinel; see --sentinel"), "{said}");

        primary.kill();
        ambassador.ready(503).await;
        let old = ambassador.ready(200).await;
        there.push(["d"]);
        assert_eq!(ambassador.holds(3).await[..2], names[1..], "they are the same, at the other server: {old}");
        for name in ambassador.holds(3).await {
            assert_eq!(ambassador.settle(&name).await, Some(204));
        }
        ambassador.is_empty().await;
        there.is_nowhere().await;
        ambassador.terminate().await;
    }
}
