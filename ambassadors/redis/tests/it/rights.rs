//! Who asks: passwords, users, certificates; and keys that are of another type.

use std::process::Command;

use crate::program::PROGRAM;

/// The exit code, and what was said on stdout and on stderr.
fn check(url: &str, flags: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(PROGRAM);
    command.env("LONGSHORE_URL", url).args(["--check", "--log", "warn", "--request-timeout", "60s"]).args(flags);
    let output = command.output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn wrong_settings_are_told_by_their_flags_and_show_no_password() {
    let url = "redis://media:hunter2@127.0.0.1:1";
    for (url, flags, code, says) in [
        (url, &["--list", "l", "--dead-letter-key", "l"][..], 78, "--dead-letter-key \"l\""),
        (url, &["--list", "l", "--ca-file", "/x"], 78, "rediss://"),
        (url, &["--list", "l", "--password-file", "/not/there"], 78, "--password-file \"/not/there\""),
        ("redis:/hunter2", &["--list", "l"], 78, "--url names no host"),
        (url, &["--stream", "s"], 64, "--group"),
        (url, &["--list", "l", "--stream", "s", "--group", "g"], 64, "--stream"),
        (url, &[], 64, "--list"),
        (url, &["--list", "l"], 69, "127.0.0.1:1"),
    ] {
        let (is, said, error) = check(url, flags);
        assert_eq!(is, Some(code), "{flags:?}: {error}");
        assert!(error.contains(says) && said.is_empty() && !error.contains("hunter2"), "{flags:?}: {error}");
    }
}

mod needs_redis {
    use std::path::Path;

    use longshore_tests::{Ambassador, until};
    use test_servers::Redis;

    use super::*;
    use crate::keys::Keys;
    use crate::program::{command, serving_list, serving_stream};

    /// The rights that the README names, of one kind of queue.
    fn rights(kind: &str) -> Vec<String> {
        let readme = include_str!("../../README.md");
        let block =
            readme.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of rights");
        let (list, stream) = block.split_once("stream ").expect("both");
        let ours = if kind == "list" { list } else { stream };
        ours.split_whitespace().filter(|word| word.starts_with('+')).map(str::to_owned).collect()
    }

    fn user(keys: &Keys<'_>, name: &str, words: &[&str]) -> String {
        keys.redis.ask(&[&["ACL", "SETUSER", name, "on", ">pw"], words].concat());
        format!("redis://{name}:pw@{}", keys.redis.address())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_rights_that_the_readme_names_are_enough_and_each_is_needed() {
        // Scripts that others had loaded would need no right to be.
        let redis = Redis::start(&[]);
        for kind in ["list", "stream"] {
            let keys = Keys::of(&redis);
            let rights = rights(kind);
            assert!(rights.len() > 10, "{rights:?}");
            let (key, beside) = (format!("~{}", keys.name), format!("~{}", keys.beside("*")));
            let words: Vec<&str> =
                [key.as_str(), &beside].into_iter().chain(rights.iter().map(String::as_str)).collect();
            let url = user(&keys, kind, &words);
            let dead = keys.beside("dead");
            let queue: &[&str] = match kind {
                "list" => &["--list", &keys.name, "--dead-letter-key", &dead],
                _ => &["--stream", &keys.name, "--group", "media", "--dead-letter-key", &dead, "--delete-settled"],
            };
            for right in &rights {
                let right = right.trim_start_matches('+');
                redis.ask(&["ACL", "SETUSER", kind, &format!("-{right}")]);
                redis.ask(&["SCRIPT", "FLUSH"]);
                let (code, _, error) = check(&url, queue);
                assert_eq!(code, Some(77), "without {right}: {error}");
                assert!(error.to_lowercase().contains(right), "{right} is named: {error}");
                redis.ask(&["ACL", "SETUSER", kind, &format!("+{right}")]);
            }
            let (code, said, error) = check(&url, queue);
            assert_eq!(code, Some(0), "{said}{error}");
            assert_eq!(redis.ask(&["KEYS", "*"]), "", "nothing is left of that");
            let mut program = command(&keys, queue);
            program.env("LONGSHORE_URL", &url);
            let ambassador = Ambassador::start(program).await;
            match kind {
                "list" => keys.push(["a", "b"]),
                _ => (0..2).for_each(|_| drop(keys.add(&["value", "v"]))),
            }
            let names = ambassador.holds(2).await;
            assert_eq!(ambassador.settle(&names[0]).await, Some(204));
            assert_eq!(ambassador.settle(&format!("{}?outcome=failed", names[1])).await, Some(204));
            ambassador.is_empty().await;
            drop(ambassador);
            redis.ask(&["FLUSHALL"]);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_right_that_is_missing_in_the_middle_of_a_step_loses_nothing() {
        let keys = Keys::new();
        keys.push(["a", "b", "c"]);
        let name = format!("u{:016x}", fastrand::u64(..));
        for right in ["hset", "lset"] {
            let (key, beside) = (format!("~{}", keys.name), format!("~{}", keys.beside("*")));
            let url = user(&keys, &name, &[&key, &beside, "+@all", &format!("-{right}")]);
            let mut program = command(&keys, &["--list", &keys.name, "--consumer", "me"]);
            program.env("LONGSHORE_URL", &url);
            let mut ambassador = Ambassador::start(program).await;
            ambassador.is_red("does not allow it").await;
            until("another attempt", async || {
                (ambassador.figure("longshore_redis_connections_total", "").await > 2.0).then_some(())
            })
            .await;
            assert_eq!(keys.elements(&keys.name), ["a", "b", "c"]);
            assert_eq!(keys.elements(&keys.beside("held:me")), [""; 0]);
            keys.redis.ask(&["ACL", "SETUSER", &name, "+@all"]);
            let names = ambassador.holds(3).await;
            assert_eq!(ambassador.values(&names).await, ["a", "b", "c"]);
            if right == "hset" {
                ambassador.terminate().await;
                keys.redis.ask(&["DEL", &keys.name, &keys.beside("held:me"), &keys.beside("values")]);
                keys.push(["a", "b", "c"]);
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_user_with_a_right_on_one_key_only_is_told_and_goes_on_once_it_has_the_others() {
        let keys = Keys::new();
        keys.push(["a"]);
        let name = format!("u{:016x}", fastrand::u64(..));
        let url = user(&keys, &name, &["+@all", &format!("~{}", keys.name)]);
        let (code, _, error) = check(&url, &["--list", &keys.name]);
        assert!(
            code == Some(77) && error.contains("does not allow it") && error.contains("ACL user"),
            "{code:?}: {error}"
        );
        let mut program = command(&keys, &["--list", &keys.name]);
        program.env("LONGSHORE_URL", &url);
        let ambassador = Ambassador::start(program).await;
        ambassador.is_red("does not allow it").await;
        keys.redis.ask(&["ACL", "SETUSER", &name, &format!("~{}", keys.beside("*"))]);
        ambassador.holds(1).await;
        keys.redis.ask(&["ACL", "SETUSER", &name, ">other", "<pw"]);
        // Who is known already stays it.
        keys.redis.ask(&["CLIENT", "KILL", "USER", &name]);
        ambassador.is_red("does not take our credentials").await;
        keys.redis.ask(&["ACL", "SETUSER", &name, ">pw"]);
        ambassador.holds(1).await;
    }

    #[test]
    fn wrong_credentials_are_77_and_another_type_is_78() {
        let keys = Keys::new();
        keys.redis.ask(&["SET", &keys.name, "text"]);
        let (list, stream) = (["--list", &keys.name], ["--stream", &keys.name, "--group", "g"]);
        for flags in [&list[..], &stream[..]] {
            let wrong = format!("redis://:wrong@{}", keys.redis.address());
            let nobody = format!("redis://{}", keys.redis.address());
            for url in [wrong, nobody] {
                let (code, _, error) = check(&url, flags);
                assert!(code == Some(77) && error.contains("--password-file"), "{url} {code:?}: {error}");
            }
            let (code, _, error) = check(&keys.redis.url(), flags);
            assert!(code == Some(78) && error.contains("it is a string"), "{code:?}: {error}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_key_of_another_type_is_told_of_and_mended() {
        let keys = Keys::new();
        keys.redis.ask(&["SET", &keys.name, "text"]);
        let list = serving_list(&keys, &[]).await;
        let stream = serving_stream(&keys, &[]).await;
        list.is_red("of another type").await;
        stream.is_red("of another type").await;
        drop(stream);
        keys.redis.ask(&["DEL", &keys.name]);
        keys.push(["a"]);
        list.holds(1).await;
    }

    fn text(path: impl AsRef<Path>) -> String {
        path.as_ref().to_str().expect("text").to_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_is_believed_by_its_authority_and_we_by_ours() {
        let redis = Redis::start(&["--tls-auth-clients", "yes"]);
        let (ca, ours) = (text(redis.certificates().authority()), redis.certificates().client("media"));
        let (cert, key) = (text(&ours.certificate), text(&ours.key));
        let all = ["--list", "l", "--ca-file", &ca, "--cert-file", &cert, "--key-file", &key];
        let (code, said, error) = check(&redis.tls_url(), &all);
        assert_eq!(code, Some(0), "{said}{error}");
        let (code, _, error) = check(&redis.tls_url(), &["--list", "l"]);
        assert!(code == Some(78) && error.contains("--ca-file"), "{code:?}: {error}");
        let (code, _, error) = check(&redis.tls_url(), &["--list", "l", "--ca-file", &ca]);
        assert!(code != Some(0) && error.contains("--cert-file"), "{code:?}: {error}");
        let (code, _, error) = check(&redis.tls_url(), &["--list", "l", "--ca-file", &key]);
        assert!(code == Some(78) && error.contains("no certificate in it"), "{code:?}: {error}");
        let shared = Redis::shared();
        let (code, _, error) =
            check(&shared.tls_url(), &["--list", "l", "--ca-file", &text(shared.certificates().authority())]);
        assert_eq!(code, Some(0), "by its authority alone: {error}");
        let keys = Keys::of(&redis);
        keys.push(["a"]);
        let mut program = command(&keys, &[&["--list", &keys.name], &all[2..]].concat());
        program.env("LONGSHORE_URL", redis.tls_url());
        let ambassador = Ambassador::start(program).await;
        let names = ambassador.holds(1).await;
        assert_eq!(ambassador.settle(&names[0]).await, Some(204));
        until("it to be gone", async || (keys.of_key("LLEN") == "0").then_some(())).await;
        redis.ask(&["CONFIG", "SET", "maxclients", "1"]);
        let (code, _, error) = check(&redis.url(), &["--list", "l"]);
        assert!(code == Some(69) && !error.contains("credentials"), "who asks is not to blame: {code:?}: {error}");
    }
}
