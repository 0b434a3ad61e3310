//! Workers whose credentials do not reach as far as their items: users with fewer rights, tokens that end.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use test_servers::{S3Server, Seen, Spoil};

use super::remote::{COPY, NEVER, Remote};
use super::trouble::{is_input, is_output, proxy};

/// May do these things, each with the key it is about, and nothing else; by STS, as a role is assumed.
fn assume(remote: &mut Remote, allowed: &[(&[&str], &str)]) {
    let bucket = remote.bucket.name();
    let statement = |(actions, key): &(&[&str], &str)| {
        let resource =
            if key.is_empty() { format!("arn:aws:s3:::{bucket}") } else { format!("arn:aws:s3:::{bucket}/{key}") };
        json!({"Effect": "Allow", "Action": actions, "Resource": [resource]})
    };
    let statements: Vec<Value> = allowed.iter().map(statement).collect();
    let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    remote.env.extend(S3Server::shared_minio().assume(&policy));
}

const LIST: (&[&str], &str) = (&["s3:ListBucket", "s3:ListBucketMultipartUploads"], "");
const READ_INPUT: (&[&str], &str) = (&["s3:GetObject"], "in/*");
const READ_OUTPUT: (&[&str], &str) = (&["s3:GetObject"], "out/*");
const WRITE_OUTPUT: (&[&str], &str) = (&["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"], "out/*");

#[test]
fn a_user_who_may_not_do_all_of_it_is_77_and_told_what_is_missing() {
    let all = [LIST, READ_INPUT, READ_OUTPUT, WRITE_OUTPUT];
    let mut remote = Remote::on_minio();
    assume(&mut remote, &all);
    remote.worker(remote.item("a", "x"), COPY).run().expect(0, "Published");
    remote.assert_clean();

    for (missing, script, says) in [
        (LIST, NEVER, ["out/a", "AccessDenied", "s3:ListBucket on the bucket"]),
        (READ_INPUT, NEVER, ["in/a", "AccessDenied", "s3:GetObject"]),
        (WRITE_OUTPUT, COPY, ["out/a", "AccessDenied", "s3:PutObject"]),
    ] {
        let mut remote = Remote::on_minio();
        let left: Vec<_> = all.into_iter().filter(|right| *right != missing).collect();
        assume(&mut remote, &left);
        let ended = remote.worker(remote.item("a", "x"), script).run();
        ended.expect_saying(77, "Forbidden", &says);
        assert!(ended.report().permanent, "the next attempt has the same rights");
        assert!(remote.bucket.published("out/a").is_none());
        // The report lies with the others of failed attempts, if that much may be written.
        let report = ["a/_attempts/1/report.json".to_owned()];
        let kept = if missing == WRITE_OUTPUT { &[][..] } else { &report };
        assert_eq!(remote.output_keys(), kept, "{missing:?}");
        assert_eq!(ended.stderr.contains("cannot keep the report"), kept.is_empty(), "{}", ended.stderr);
        remote.assert_clean();
    }
}

#[test]
fn keys_that_the_store_does_not_know_are_77_and_the_secret_is_not_told() {
    let remote = Remote::on_minio();
    let item = remote.item("a", "x");
    for (name, says) in [
        ("AWS_ACCESS_KEY_ID", "does not know the access key"),
        ("AWS_SECRET_ACCESS_KEY", "is the secret key right"),
        ("AWS_SESSION_TOKEN", "token"),
    ] {
        let ended = remote.worker(item.clone(), NEVER).env(name, "mistaken-for-another").run();
        ended.expect_saying(77, "Forbidden", &[says]);
        assert!(!ended.stderr.contains(S3Server::shared_minio().secret_key()), "{}", ended.stderr);
    }
    assert_eq!(remote.output_keys(), Vec::<String>::new());
    remote.assert_clean();
}

/// As AWS refuses it, whatever is asked; the answer to a HEAD has no body.
fn expired() -> Spoil {
    let why = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
    Spoil::Answer(400, why.to_owned())
}

fn is_look_at_input(seen: &Seen) -> bool {
    seen.method == "HEAD" && seen.path.contains("/in/")
}

fn is_marker(seen: &Seen) -> bool {
    seen.method == "PUT" && seen.path.ends_with("/_SUCCESS.json")
}

#[test]
fn a_token_that_ends_on_the_way_is_69_and_said_to_have_expired() {
    let server = S3Server::shared_minio();
    // Before the command runs; and when it has.
    let before: [fn(&Seen) -> bool; 2] = [|_| true, is_input];
    let after: [fn(&Seen) -> bool; 3] = [is_output, is_look_at_input, is_marker];
    for (moment, is_it) in before.into_iter().chain(after).enumerate() {
        let script = if moment < before.len() { NEVER } else { COPY };
        let proxy = proxy(server);
        let over = AtomicBool::new(false);
        proxy.spoil(move |seen| {
            let now = is_it(seen) || over.load(Ordering::Relaxed);
            over.store(now, Ordering::Relaxed);
            now.then(expired)
        });
        let remote = Remote::on(server).through(&proxy);
        let ended = remote.worker(remote.item("a", "x"), script).run();
        ended.expect_saying(69, "StorageUnavailable", &["ExpiredToken", "the credentials have expired: give others"]);
        assert!(!ended.report().permanent, "others will do, and the item is as it was");
        assert!(proxy.seen().iter().any(is_it), "moment {moment} was never met");
        assert!(remote.bucket.published("out/a").is_none(), "moment {moment}");
        // With a token that is good it is done, whatever was there by then.
        proxy.spoil(|_| None);
        remote.worker(remote.item("a", "x"), COPY).env("ATTEMPT", "2").run().expect(0, "Published");
        assert_eq!(remote.read("a", "copy"), "x", "moment {moment}");
        remote.assert_clean();
    }
}
