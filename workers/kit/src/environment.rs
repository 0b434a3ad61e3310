//! The environment a worker's commands get: inherited, less our own settings and what was denied, plus the item's.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use contract::attempt;

/// Variables whose values are nobody's to read, and that commands inherit.
const SECRET: [&str; 3] = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"];
/// What is shorter is no secret, and would be found everywhere.
const SHORTEST_SECRET: usize = 8;
const MASK: &str = "***";

/// What the worker itself was started with, less what its commands must not see.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    inherited: BTreeMap<OsString, OsString>,
    /// The longest first, as one may begin with another. Also those that are denied: a command may have read them elsewhere.
    secrets: Vec<String>,
}

impl Environment {
    /// `variables` are the worker's own; `ours` the variables of its flags, of which those that begin with `LONGSHORE_` stay
    /// here (what the ecosystem named, as RUST_LOG, is not ours to take away); `denied` the operator's.
    pub(crate) fn new(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        ours: &[OsString],
        denied: &[OsString],
    ) -> Self {
        let kept = |name: &OsStr| {
            let is_ours = name.as_bytes().starts_with(b"LONGSHORE_")
                && (ours.iter().any(|own| own == name) || sidecar::fault::is_variable(name));
            !is_ours && !denied.iter().any(|denied| denied == name)
        };
        let (mut inherited, mut secrets) = (BTreeMap::new(), Vec::new());
        for (name, value) in variables {
            if SECRET.iter().any(|secret| name == *secret) {
                secrets.extend(value.to_str().filter(|secret| secret.len() >= SHORTEST_SECRET).map(str::to_owned));
            }
            if kept(&name) {
                inherited.insert(name, value);
            }
        }
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { inherited, secrets }
    }

    /// A variable every command gets, in place of an inherited one.
    pub(crate) fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.inherited.insert(name.into(), value.as_ref().to_owned());
    }

    /// A variable no command gets.
    pub(crate) fn unset(&mut self, name: &str) {
        self.inherited.remove(OsStr::new(name));
    }

    /// Who carries this belongs to the attempt.
    pub(crate) fn set_attempt(&mut self, nonce: &str, number: u32) {
        self.set(attempt::ATTEMPT_ID, nonce);
        self.set(attempt::ATTEMPT, number.to_string());
    }

    /// What a command said, without the secrets that it was given: others read what is kept of it. At the beginning of a text
    /// there may be the end of a secret alone, where it was cut.
    pub(crate) fn masked(&self, mut text: String) -> String {
        for secret in &self.secrets {
            if text.contains(secret) {
                text = text.replace(secret, MASK);
            }
            let mut ends = (1..secret.len()).filter_map(|at| secret.get(at..));
            let cut = ends.find(|end| end.len() >= SHORTEST_SECRET && text.starts_with(end));
            if let Some(rest) = cut.and_then(|end| text.strip_prefix(end)) {
                text = format!("{MASK}{rest}");
            }
        }
        text
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.inherited.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_settings_and_denied_variables_stay_here() {
        let variables =
            ["PATH", "RUST_LOG", "LONGSHORE_OUTPUT", "LONGSHORE_FAULT", "LONGSHORE_OTHER", "AWS_SECRET", "ATTEMPT"];
        let variables = variables.map(|name| (OsString::from(name), OsString::from("x")));
        let ours = ["LONGSHORE_OUTPUT", "RUST_LOG", "LONGSHORE_ATTEMPT_ID"].map(OsString::from);
        let mut environment = Environment::new(variables, &ours, &["AWS_SECRET".into()]);
        environment.set_attempt("n-1", 2);
        let seen: Vec<_> = environment.iter().map(|(name, value)| (name.to_str(), value.to_str())).collect();
        let want = [
            ("ATTEMPT", "2"),
            ("LONGSHORE_ATTEMPT_ID", "n-1"),
            ("LONGSHORE_OTHER", "x"),
            ("PATH", "x"),
            ("RUST_LOG", "x"),
        ];
        assert_eq!(seen, want.map(|(name, value)| (Some(name), Some(value))));
    }

    #[test]
    fn what_is_kept_of_a_commands_words_holds_no_secret() {
        let variables =
            [("AWS_SECRET_ACCESS_KEY", "key-of-a-bucket"), ("AWS_SESSION_TOKEN", "key-of-a-bucket-for-a-day")];
        let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        for denied in [vec![], vec!["AWS_SECRET_ACCESS_KEY".into(), "AWS_SESSION_TOKEN".into()]] {
            let environment = Environment::new(variables.clone(), &[], &denied);
            for (said, kept) in [
                ("A=key-of-a-bucket B=key-of-a-bucket-for-a-day\n", "A=*** B=***\n"),
                ("a-bucket-for-a-day\nand more", "***\nand more"),
                ("a day at the bucket", "a day at the bucket"),
            ] {
                assert_eq!(environment.masked(said.to_owned()), kept);
            }
        }
        let short = [(OsString::from("AWS_SECRET_ACCESS_KEY"), OsString::from("x"))];
        assert_eq!(Environment::new(short, &[], &[]).masked("an x".to_owned()), "an x");
    }
}
