//! Keys of a test's own, and what redis-cli says of them.

use std::io::Write;
use std::process::Stdio;

use longshore_tests::until;
use test_servers::Redis;

/// A key, and those that begin with it.
pub(crate) struct Keys<'a> {
    pub(crate) redis: &'a Redis,
    pub(crate) name: String,
}

impl Keys<'static> {
    /// On the Redis that tests share.
    pub(crate) fn new() -> Self {
        Self::of(Redis::shared())
    }
}

impl<'a> Keys<'a> {
    pub(crate) fn of(redis: &'a Redis) -> Self {
        Self { redis, name: format!("Videos_{:016x}.in", fastrand::u64(..)) }
    }

    /// Has redis-cli push each to the end of the list.
    pub(crate) fn push<T: AsRef<[u8]>>(&self, values: impl IntoIterator<Item = T>) {
        for value in values {
            self.tell(&["RPUSH", &self.name], value.as_ref());
        }
    }

    /// Has redis-cli send these commands, of words without blanks, all at once (`--pipe`).
    pub(crate) fn pipe(&self, commands: impl IntoIterator<Item = String>) {
        let mut bytes = Vec::new();
        for command in commands {
            let words: Vec<_> = command.split(' ').collect();
            bytes.extend(format!("*{}\r\n", words.len()).bytes());
            bytes.extend(words.iter().flat_map(|word| format!("${}\r\n{word}\r\n", word.len()).into_bytes()));
        }
        let mut cli = self.redis.cli();
        cli.arg("--pipe").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = cli.spawn().expect("redis-cli starts");
        child.stdin.take().expect("piped").write_all(&bytes).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("errors: 0"),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Has redis-cli add an entry with these fields; its id.
    pub(crate) fn add(&self, fields: &[&str]) -> String {
        self.redis.ask(&[&["XADD", &self.name, "*"], fields].concat())
    }

    /// Asks with a last argument that may be anything.
    pub(crate) fn tell(&self, words: &[&str], last: &[u8]) -> String {
        let mut cli = self.redis.cli();
        cli.arg("-x").args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = cli.spawn().expect("redis-cli starts");
        child.stdin.take().expect("piped").write_all(last).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        assert!(output.status.success(), "{words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// What a command says of the key itself: `LLEN`.
    pub(crate) fn of_key(&self, command: &str) -> String {
        self.redis.ask(&[command, &self.name])
    }

    /// All elements of a list, one a line.
    pub(crate) fn elements(&self, key: &str) -> Vec<String> {
        self.redis.ask(&["LRANGE", key, "0", "-1"]).lines().map(str::to_owned).collect()
    }

    /// A key beside that of the list, which ambassadors keep.
    pub(crate) fn beside(&self, rest: &str) -> String {
        format!("{{{}}}:longshore:{rest}", self.name)
    }

    /// Waits until nothing is left of a list that was taken, held, or known of those who held it.
    pub(crate) async fn is_nowhere(&self) {
        let ours = self.beside("*");
        until("nothing left at the server", async || {
            let kept = self.redis.ask(&["KEYS", &ours]);
            let left = |line: &&str| !line.ends_with(":consumers") && !line.contains(":alive:") && !line.is_empty();
            (self.of_key("LLEN") == "0" && !kept.lines().any(|line| left(&line))).then_some(())
        })
        .await;
    }
}
