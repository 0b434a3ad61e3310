//! The environment a worker's commands get: inherited, less our own settings and what was denied, plus the item's.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use contract::attempt;

/// What the worker itself was started with, less what its commands must not see.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    inherited: BTreeMap<OsString, OsString>,
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
        Self { inherited: variables.into_iter().filter(|(name, _)| kept(name)).collect() }
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
}
