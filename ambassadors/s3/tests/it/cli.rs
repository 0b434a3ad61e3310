//! The command line, `--check`, and how the program ends.

use std::process::Command;

use longshore_tests::{Ambassador, Ended, until};
use test_servers::S3Server;

use crate::program::{command, run, serving, text};
use crate::served::Bucket;

const PROGRAM: &str = env!("CARGO_BIN_EXE_s3-ambassador");

fn alone(flags: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(PROGRAM).args(flags).output().expect("the program starts");
    (output.status.code(), text(&output.stderr))
}

#[test]
fn wrong_usage_is_64_and_names_the_flag() {
    for (flags, flag, says) in [
        (&["--check"][..], "--bucket", ""),
        (&["--bucket", "b", "--on-settle", "shred"], "--on-settle", "move:PREFIX"),
        (&["--bucket", "b", "--on-settle", "tag:done"], "--on-settle", "tag:longshore=done"),
        (&["--bucket", "b", "--presign", "0s"], "--presign", "longer than nothing"),
        (&["--bucket", "b", "--min-age", "soon"], "--min-age", "write 30s"),
        (&["--bucket", "b", "--min-size", "5x"], "--min-size", "write 500KB, 64MiB"),
        (&["--bucket", "b", "--max-size", "much"], "--max-size", "or a number of bytes"),
    ] {
        let (code, error) = alone(flags);
        assert_eq!(code, Some(64), "{flags:?}: {error}");
        assert!(error.contains(flag) && error.contains(says), "{flags:?}: {error}");
    }
}

#[test]
fn a_wrong_configuration_is_78_and_names_what_to_change() {
    for (flags, says) in [
        (&["--glob", "[x"][..], "--glob"),
        (&["--dead-letter", "x"], "--on-settle"),
        (&["--prefix", "in/", "--on-settle", "move:in"], "listed again"),
        (&["--min-size", "2KB", "--max-size", "1KB"], "--max-size"),
        (&["--order", "key"], "--names raw"),
        (&["--names", "raw", "--on-settle", "tag:a=b"], "--order age"),
    ] {
        let (code, error) = alone(&[&["--bucket", "b", "--check"], flags].concat());
        assert_eq!(code, Some(78), "{flags:?}: {error}");
        assert!(error.contains(says), "{flags:?}: {error}");
    }
}

#[test]
fn its_help_ends_with_examples() {
    let output = Command::new(PROGRAM).arg("--help").output().expect("the program starts");
    let help = text(&output.stdout);
    for says in ["--on-settle", "--presign", "--s3-endpoint-url", "LONGSHORE_BUCKET", "Examples:", "--check"] {
        assert!(help.contains(says), "{says}: {help}");
    }
}

mod needs_s3_servers {
    use super::*;

    #[tokio::test]
    async fn a_check_says_who_asks_what_is_listed_and_what_settling_rests_on() {
        for (server, settles) in [
            (S3Server::shared_minio(), "best-effort: this store does not honour"),
            (S3Server::shared_versity(), "exactly"),
        ] {
            let bucket = Bucket::new(server).await;
            bucket.put("in/a.mp4", "a").await;
            bucket.put("in/b.txt", "b").await;
            let flags =
                ["--bucket", &bucket.name, "--prefix", "in/", "--glob", "*.mp4", "--on-settle", "delete", "--check"];
            // What one that was killed has left is taken away, and never an item.
            bucket.put("in/.longshore/probe", "").await;
            let output = run(&bucket, &[&flags[..], &["--own-output", "list"]].concat());
            let said = text(&output.stdout);
            assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
            for says in [&format!("s3://{}/in/", bucket.name), &bucket.endpoint, server.access_key(), settles] {
                assert!(said.contains(says), "{says}: {said}");
            }
            assert!(said.contains("a-mp4-") && said.contains("1 would be listed"), "{said}");
            assert!(said.contains("no-match  in/b.txt") && said.contains("1 withheld"), "{said}");
            assert!(!said.contains(server.secret_key()), "{said}");
            assert_eq!(bucket.all_keys().await, ["in/a.mp4", "in/b.txt"], "nothing is changed, and nothing left");
        }
    }

    #[tokio::test]
    async fn a_check_says_whose_fault_it_is() {
        let bucket = Bucket::new(S3Server::shared_versity()).await;
        let check = |variables: &[(&str, &str)], flags: &[&str]| {
            let flags = [&["--check"], flags].concat();
            let mut command = command(&bucket, &flags);
            command.env("LONGSHORE_STALL_AFTER", "20s").envs(variables.iter().copied());
            let output = command.output().expect("it starts");
            (output.status.code(), text(&output.stderr))
        };
        for (variables, flags, code, says) in [
            (&[][..], &["--bucket", "not-there"][..], 78, "NoSuchBucket"),
            (&[("AWS_SECRET_ACCESS_KEY", "wrong")], &["--bucket", &bucket.name], 78, "secret key"),
            (&[("AWS_ACCESS_KEY_ID", "NOBODY")], &["--bucket", &bucket.name], 78, "access key"),
            (&[("AWS_REGION", "eu-north-1")], &["--bucket", &bucket.name], 78, "region"),
            (&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")], &["--bucket", &bucket.name], 69, "127.0.0.1:1"),
            // Given up while it is still being tried.
            (
                &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("LONGSHORE_STALL_AFTER", "2s")],
                &["--bucket", &bucket.name],
                69,
                "within 2s (--stall-after); the last attempt: connection refused",
            ),
        ] {
            let (found, error) = check(variables, flags);
            assert_eq!(found, Some(code), "{variables:?} {flags:?}: {error}");
            assert!(error.contains(says), "{variables:?} {flags:?}: {error}");
        }
    }

    const MOVES: [&str; 7] = ["--prefix", "in/", "--on-settle", "move:done/", "--dead-letter", "dead/", "--check"];

    #[tokio::test]
    async fn a_check_tries_where_settled_objects_are_moved_and_leaves_nothing_there() {
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            let mut bucket = Bucket::new(server).await;
            bucket.put("in/a", "a").await;
            let proxy = bucket.through_proxy().await;
            // Also by a store that takes the condition for none.
            for takes in [true, false] {
                proxy.spoil(move |seen| {
                    (seen.method == "PUT" && !takes).then_some(test_servers::Spoil::DropHeader("if-match"))
                });
                let asked = proxy.seen().len();
                let output = run(&bucket, &[&["--bucket", &bucket.name][..], &MOVES].concat());
                let said = text(&output.stdout);
                assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
                for to in ["done/", "dead/"] {
                    let says = format!("can look at what lies in s3://{}/{to}, and write there", bucket.name);
                    assert!(said.contains(&says), "{says}: {said}");
                    let path = format!("/{}/{to}.longshore/probe", bucket.name);
                    let tried =
                        proxy.seen()[asked..].iter().filter(|seen| seen.method == "PUT" && seen.path == path).count();
                    assert_eq!(tried, 1, "{path}");
                }
                assert!(said.contains("that tags may be copied"), "{said}");
                assert_eq!(bucket.all_keys().await, ["in/a"], "nothing is left");
            }
            // What may be written and not deleted is named.
            proxy.spoil(|seen| match seen.method.as_str() {
                "PUT" => Some(test_servers::Spoil::DropHeader("if-match")),
                "DELETE" if seen.path.contains("/done/") => Some(test_servers::Spoil::Answer(403, String::new())),
                _ => None,
            });
            let output = run(&bucket, &[&["--bucket", &bucket.name][..], &MOVES].concat());
            let said = text(&output.stdout);
            let left = format!("has left s3://{}/done/.longshore/probe there", bucket.name);
            assert!(said.contains(&left) && said.contains("s3:DeleteObject"), "{said}{}", text(&output.stderr));
        }
    }

    #[tokio::test]
    async fn a_check_names_the_right_that_is_missing_where_settled_objects_are_moved() {
        let server = S3Server::shared_minio();
        let bucket = Bucket::new(server).await;
        bucket.put("in/a", "a").await;
        let all = format!("arn:aws:s3:::{}", bucket.name);
        let allow = |actions: &[&str], resource: String| serde_json::json!({"Effect": "Allow", "Action": actions, "Resource": resource});
        for (there, dead, says) in [
            (&["s3:GetObject", "s3:PutObject"][..], &["s3:GetObject", "s3:PutObject"][..], None),
            (&["s3:GetObject"], &["s3:GetObject", "s3:PutObject"], Some("/done/.longshore/probe: AccessDenied")),
            (
                &["s3:PutObject"],
                &["s3:GetObject", "s3:PutObject"],
                Some("s3:ListBucket on the bucket, of what begins with \"done/\""),
            ),
            (&["s3:GetObject", "s3:PutObject"], &["s3:GetObject"], Some("/dead/.longshore/probe: AccessDenied")),
        ] {
            let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": all, "Condition": {"StringLike": {"s3:prefix": "in/*"}}},
                allow(&["s3:GetObject", "s3:DeleteObject"], format!("{all}/in/*")),
                allow(there, format!("{all}/done/*")),
                allow(dead, format!("{all}/dead/*")),
            ]});
            let mut checked = command(&bucket, &[&["--bucket", &bucket.name][..], &MOVES].concat());
            let output = checked.envs(server.assume(&policy.to_string())).output().expect("it starts");
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(if says.is_some() { 78 } else { 0 }), "{there:?} {dead:?}: {error}");
            assert!(
                says.is_none_or(|says| error.contains(says) && error.contains("objects are moved there, allow")),
                "{says:?}: {error}"
            );
            assert_eq!(bucket.all_keys().await, ["in/a"], "nothing is left");
        }
    }

    #[tokio::test]
    async fn a_check_says_that_nobody_knows_when_a_url_ends() {
        let server = S3Server::shared_minio();
        let bucket = Bucket::new(server).await;
        let all = serde_json::json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::*"},
        ]});
        let flags = ["--bucket", &bucket.name, "--presign", "1h", "--check"];
        for (env, says) in [(Vec::new(), false), (server.assume(&all.to_string()), true)] {
            let output = command(&bucket, &flags).envs(env).output().expect("it starts");
            let said = text(&output.stdout);
            assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
            assert_eq!(said.contains("end with the session token"), says, "{said}");
        }
    }

    #[tokio::test]
    async fn variables_alone_are_enough_and_a_signal_ends_it() {
        let bucket = Bucket::new(S3Server::shared_minio()).await;
        bucket.put("a.mp4", "a").await;
        bucket.put("b.txt", "b").await;
        let mut started = command(&bucket, &[]);
        started
            .env("LONGSHORE_BUCKET", &bucket.name)
            .env("LONGSHORE_GLOB", "*.mp4\n*.mov")
            .env("LONGSHORE_PRESIGN", "10m");
        let mut program = Ambassador::start(started).await;
        let names = program.holds(1).await;
        let (status, item) = program.ask(&format!("/v1/items/{}", names[0])).await.expect("an answer");
        assert_eq!(status, 200);
        let url = item["data"]["url"].as_str().expect("a URL");
        let got = reqwest::get(url).await.expect("an answer").text().await.expect("a body");
        assert_eq!(got, "a", "whoever has the URL reads it");
        assert!(item["data"]["urlExpires"].as_str().is_some_and(|time| time.ends_with('Z')), "{item}");
        assert!(!program.log().contains("X-Amz-Signature"), "the URL is as secret as what signed it");
        program.terminate().await;
    }

    #[tokio::test]
    async fn a_bucket_that_may_be_listed_and_not_read_is_said_before_work_fails() {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        bucket.put("a.mp4", "a").await;
        let proxy = test_servers::Proxy::before(&bucket.endpoint).await;
        proxy.spoil(|seen| (seen.method == "HEAD").then(|| test_servers::Spoil::Answer(403, String::new())));
        bucket.endpoint = proxy.url();
        let output = run(&bucket, &["--bucket", &bucket.name, "--check"]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{error}");
        assert!(error.contains("s3:GetObject"), "{error}");
    }

    /// Kills it where state changes hands, and has another settle the same.
    #[tokio::test]
    async fn killed_at_any_step_of_a_settle_the_next_finishes() {
        for (point, policy, left) in [
            ("s3.settle.copy.before", "move:done/", "done/a.mp4"),
            ("s3.settle.delete.before", "move:done/", "done/a.mp4"),
            ("s3.settle.delete.after", "move:done/", "done/a.mp4"),
            ("s3.settle.tag.before", "tag:k=done", "a.mp4"),
            ("s3.settle.tag.after", "tag:k=done", "a.mp4"),
        ] {
            let bucket = Bucket::new(S3Server::shared_minio()).await;
            bucket.put("a.mp4", "a").await;
            let flags = ["--bucket", &bucket.name, "--on-settle", policy, "--poll", "100ms", "--reconcile", "100ms"];
            let mut killed = command(&bucket, &flags);
            killed.env("LONGSHORE_FAULT", format!("{point}=kill"));
            let mut program = Ambassador::start(killed).await;
            let name = program.holds(1).await.remove(0);
            assert!(program.settle(&name).await.is_none(), "{point}");
            assert_eq!(program.ended().await, Ended::Signal(9), "{point}");
            let next = serving(&bucket, &flags).await;
            next.settles(&name).await;
            next.holds(0).await;
            until("done once", async || (bucket.keys().await == [left]).then_some(())).await;
            assert_eq!(bucket.get(left).await.as_deref(), Some("a"), "{point}");
            let tags = bucket.tags(left).await;
            assert_eq!(tags.len(), usize::from(policy.starts_with("tag:")), "{point}: {tags:?}");
        }
    }
}
