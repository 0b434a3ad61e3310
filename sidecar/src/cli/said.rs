//! What a command line that cannot be used says all the same.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::Command;

/// Arguments that were refused. Values are given as they were written: no rule has been held against them, so that one flag's
/// mistake does not hide another's value.
#[derive(Debug)]
pub struct Said {
    command: Command,
    arguments: Vec<OsString>,
}

impl Said {
    pub(super) fn new(command: Command, argv: impl IntoIterator<Item = OsString>) -> Self {
        let ours = |word: &OsString| word != "--";
        Self { command, arguments: argv.into_iter().skip(1).take_while(ours).collect() }
    }

    /// The value of `--<long>`, the last if there are several, or of its variable.
    pub fn value(&self, long: &str) -> Option<OsString> {
        let flag = format!("--{long}");
        let mut said = None;
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            let behind = argument.as_bytes().strip_prefix(flag.as_bytes());
            match behind {
                Some(b"") => said = arguments.next().cloned().or(said),
                Some([b'=', value @ ..]) => said = Some(OsString::from_vec(value.to_vec())),
                _ => {}
            }
        }
        #[expect(clippy::disallowed_methods, reason = "the command line is where variables are read")]
        let by_variable = || variable(&self.command, long).and_then(std::env::var_os).filter(|value| !value.is_empty());
        said.or_else(by_variable)
    }
}

/// The variable of a flag of this command, or of one of its own.
fn variable<'a>(command: &'a Command, long: &str) -> Option<&'a OsStr> {
    let flag = command.get_arguments().find(|flag| flag.get_long() == Some(long));
    flag.and_then(clap::Arg::get_env).or_else(|| command.get_subcommands().find_map(|command| variable(command, long)))
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn said(words: &[&str]) -> Said {
        let report = Arg::new("report").long("report").env("SAID_TEST_NOBODY_SETS_IT");
        let command = Command::new("p").subcommand(Command::new("run").arg(report));
        Said::new(command, words.iter().map(OsString::from))
    }

    #[test]
    fn a_value_is_found_whatever_stands_around_it() {
        for words in [
            &["p", "run", "--nonsense", "--report", "r"][..],
            &["p", "--report=r"],
            &["p", "--report", "x", "--report=r", "--width", "soon"],
            &["p", "--report=r", "--report"],
        ] {
            assert_eq!(said(words).value("report").as_deref(), Some(OsStr::new("r")), "{words:?}");
        }
        for words in [&["p", "run"][..], &["p", "--reports=r"], &["--report=r"], &["p", "--", "--report=r"]] {
            assert_eq!(said(words).value("report"), None, "{words:?}");
        }
        assert_eq!(variable(&said(&[]).command, "report"), Some(OsStr::new("SAID_TEST_NOBODY_SETS_IT")));
        assert_eq!(variable(&said(&[]).command, "other"), None);
    }
}
