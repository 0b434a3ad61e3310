//! The policies of docs/s3.md, on a server that enforces them: with each, the programs work; with any action less, they say what the
//! page says that they say.

use std::collections::BTreeMap;
use std::fs;
use std::process::Output;

use longshore_tests::http::ask;
use longshore_tests::programs::root;
use longshore_tests::wait_until;
use serde_json::{Value, json};
use test_servers::S3Server;

use super::clients::{Client, ran};
use super::programs::{Site, now, text};

/// A policy of the page.
struct Policy {
    document: Value,
    /// By statement and action, what is said where that is missing.
    without: BTreeMap<(String, String), String>,
}

/// What `script-worker` or `s3-ambassador` made of the rights it had: all that it said, and whether it did what it should.
struct Came {
    well: bool,
    said: String,
}

/// The policies of the page, by the name in the comment before each.
fn policies() -> BTreeMap<String, Policy> {
    let page = fs::read_to_string(root().join("docs/s3.md")).expect("docs/s3.md");
    let mut found = BTreeMap::new();
    for part in page.split("<!-- policy: ").skip(1) {
        let (name, rest) = part.split_once(" -->").expect("the comment ends");
        let (_, rest) = rest.split_once("```json\n").expect("a block of JSON follows");
        let (json, rest) = rest.split_once("```").expect("the block ends");
        let document = serde_json::from_str(json).unwrap_or_else(|error| panic!("policy {name}: {error}"));
        // The table follows at once; its rows are | `Sid` `action` | `text` |.
        let rows = rest.trim_start().lines().take_while(|line| line.starts_with('|'));
        let without = rows.filter_map(|row| match row.split('`').collect::<Vec<_>>()[..] {
            [_, sid, _, action, _, says, _] => Some(((sid.to_owned(), action.to_owned()), says.to_owned())),
            _ => None,
        });
        found.insert(name.to_owned(), Policy { document, without: without.collect() });
    }
    found
}

impl Policy {
    /// Of both together.
    fn and(mut self, other: Self) -> Self {
        let theirs = statements(&other.document).clone();
        self.document.pointer_mut("/Statement").and_then(Value::as_array_mut).expect("statements").extend(theirs);
        self.without.extend(other.without);
        self
    }

    /// Less one action of one statement.
    fn less(&self, sid: &str, action: &str) -> Value {
        let mut document = self.document.clone();
        let all = document.pointer_mut("/Statement").and_then(Value::as_array_mut).expect("statements");
        let mut taken = false;
        for statement in all.iter_mut().filter(|statement| text(statement, "/Sid") == sid) {
            let (gone, left): (Vec<_>, Vec<_>) = actions(statement).into_iter().partition(|allowed| allowed == action);
            taken |= !gone.is_empty();
            if let Some(allowed) = statement.get_mut("Action") {
                *allowed = Value::from(left);
            }
        }
        assert!(taken, "the page's table has {action} in {sid}, and its policy has not");
        all.retain(|statement| !actions(statement).is_empty());
        document
    }
}

fn statements(document: &Value) -> &Vec<Value> {
    document.get("Statement").and_then(Value::as_array).expect("statements")
}

fn actions(statement: &Value) -> Vec<String> {
    match statement.get("Action").expect("an action") {
        Value::String(one) => vec![one.clone()],
        many => many.as_array().expect("a list").iter().map(|one| one.as_str().expect("text").to_owned()).collect(),
    }
}

/// Buckets in the places of `videos` and `thumbnails`, with one object to work on.
struct Stage<'a> {
    site: Site<'a>,
    thumbnails: String,
}

impl<'a> Stage<'a> {
    fn new(server: &'a S3Server) -> Self {
        let site = Site::new(server);
        let stage = Self { thumbnails: now(server.bucket()), site };
        stage.put("incoming/a.txt", "first");
        stage
    }

    fn put(&self, key: &str, content: &str) {
        let file = self.site.path().join("content");
        fs::write(&file, content).expect("written");
        let object = ["s3api", "put-object", "--bucket", &self.site.bucket, "--key", key, "--body"];
        ran(Client::Aws.command(self.site.server).args(object).arg(file));
    }

    fn keep_versions(&self) {
        let settings = ["--bucket", &self.site.bucket, "--versioning-configuration", "Status=Enabled"];
        ran(Client::Aws.command(self.site.server).args(["s3api", "put-bucket-versioning"]).args(settings));
    }

    /// A text of the page with the names of these buckets.
    fn here(&self, text: &str) -> String {
        let text = text.replace(":::videos", &format!(":::{}", self.site.bucket));
        let text = text.replace(":::thumbnails", &format!(":::{}", self.thumbnails));
        text.replace("s3://videos", &format!("s3://{}", self.site.bucket))
            .replace("s3://thumbnails", &format!("s3://{}", self.thumbnails))
    }

    /// From now on our programs are a role that may do this and nothing else.
    fn assume(&mut self, policy: &Value) {
        self.site.env = self.site.server.assume(&self.here(&policy.to_string()));
    }

    fn check_ambassador(&self, flags: &[&str]) -> Came {
        let mut command = self.site.command("s3-ambassador");
        command.args(["--bucket", &self.site.bucket, "--prefix", "incoming/", "--check"]).args(flags);
        came(&command.output().expect("s3-ambassador runs"))
    }

    /// Lists an item, reads it, settles it.
    fn settle(&self, policy: &str) -> Came {
        let flags = ["--prefix", "incoming/", "--on-settle", policy, "--poll", "1s"];
        let (ambassador, source) = self.site.start_ambassador(&flags);
        let reads = wait_until("the ambassador to list, or to be refused", || match source.is_ready() {
            true => Some(true),
            false => ambassador.log().contains("AccessDenied").then_some(false),
        });
        if !reads {
            return Came { well: false, said: ambassador.log() };
        }
        let names = source.names();
        let name = names.first().expect("an item");
        let (status, body) = ask(&source.address, "DELETE", &format!("/v1/items/{name}"));
        let said = format!("{body}\n{}", ambassador.log());
        if status == 204 {
            wait_until("the item to be listed no more", || source.names().is_empty().then_some(()));
        }
        Came { well: status == 204, said }
    }

    fn check_worker(&self) -> Came {
        let mut command = self.site.command("script-worker");
        command.args(["--check", "--allow-input", &self.here("s3://videos/incoming/"), "--output"]);
        command.args([&self.here("s3://thumbnails/{key}/"), "--", "true"]);
        came(&command.output().expect("script-worker runs"))
    }

    /// Publishes one item, in one part and in several, and then again with less of it.
    fn work(&self) -> Came {
        let (allowed, output) = (self.here("s3://videos/incoming/"), self.here("s3://thumbnails/{key}/"));
        let item = json!({"uri": format!("{allowed}a.txt"), "key": "incoming/a.txt", "size": 5});
        let flags = ["--allow-input", &allowed, "--output", &output];
        let first = r#"cat "$INPUT_FILE" >"$OUTPUT_DIR/copy"; head -c 20000000 /dev/zero >"$OUTPUT_DIR/large""#;
        let first = came(&self.site.worker(&item, &flags, first));
        if !first.well {
            return first;
        }
        let again = [&flags[..], &["--revision", "1"]].concat();
        came(&self.site.worker(&item, &again, r#"cat "$INPUT_FILE" >"$OUTPUT_DIR/copy""#))
    }
}

fn came(output: &Output) -> Came {
    let texts = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    Came { well: output.status.success(), said: texts.join("\n") }
}

/// What a policy allows works; and less any action that the page has a word for, that word is said.
fn holds(policy: &Policy, stage: impl Fn() -> Stage<'static>, act: impl Fn(&Stage<'_>) -> Came) {
    let mut whole = stage();
    whole.assume(&policy.document);
    let came = act(&whole);
    assert!(came.well, "the policy as it stands on the page is not enough:\n{}", came.said);
    for ((sid, action), says) in &policy.without {
        let mut less = stage();
        less.assume(&policy.less(sid, action));
        let (came, says) = (act(&less), less.here(says));
        assert!(came.said.contains(&says), "without {action} of {sid} it does not say {says:?}:\n{}", came.said);
    }
}

fn stage() -> Stage<'static> {
    Stage::new(S3Server::shared_minio())
}

#[test]
fn every_policy_of_the_page_is_tested() {
    let names = ["ambassador", "ambassador-versions", "settle-delete", "settle-move", "settle-tag", "worker"];
    assert_eq!(policies().into_keys().collect::<Vec<_>>(), names);
}

mod needs_s3_servers {
    mod needs_s3_clients {
        use super::super::{Came, holds, policies, stage};

        #[test]
        fn the_ambassador_lists_and_reads() {
            let mut policies = policies();
            let policy = policies.remove("ambassador").expect("on the page");
            holds(&policy, stage, |stage| stage.check_ambassador(&[]));
        }

        #[test]
        fn the_ambassador_lists_versions() {
            let policy = policies().remove("ambassador-versions").expect("on the page");
            let versioned = || {
                let stage = stage();
                stage.keep_versions();
                stage.put("incoming/a.txt", "second");
                stage
            };
            holds(&policy, versioned, |stage| stage.check_ambassador(&["--identity", "version-id"]));
        }

        fn settles(name: &str, on_settle: &str) {
            let mut policies = policies();
            let own = policies.remove(name).expect("on the page");
            let base = policies.remove("ambassador").expect("on the page");
            let words = own.without.clone();
            let mut policy = base.and(own);
            policy.without = words;
            let act = |stage: &super::super::Stage<'_>| -> Came { stage.settle(on_settle) };
            holds(&policy, stage, act);
        }

        #[test]
        fn settling_deletes() {
            settles("settle-delete", "delete");
        }

        #[test]
        fn settling_moves() {
            settles("settle-move", "move:done/");
        }

        #[test]
        fn settling_tags() {
            settles("settle-tag", "tag:longshore=done");
        }

        #[test]
        fn the_worker_checks_what_it_needs() {
            let policy = policies().remove("worker").expect("on the page");
            holds(&policy, stage, |stage| stage.check_worker());
        }

        #[test]
        fn the_worker_works() {
            let mut policy = policies().remove("worker").expect("on the page");
            policy.without.clear();
            holds(&policy, stage, |stage| stage.work());
        }
    }
}
