//! The command line, with the rules every program keeps: each flag `--some-flag` can be given as `LONGSHORE_SOME_FLAG`,
//! where an empty variable is none and a switch takes `1`, `true`, `yes`, `on` and their opposites; and `install DIR`
//! copies the program there, `completion SHELL` and `man` print what shells and readers want.

mod chore;
mod said;
pub mod value;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::{BoolishValueParser, Resettable};
use clap::{ArgAction, ArgMatches, Command, CommandFactory, Parser};

pub use self::chore::Chore;
pub use self::said::Said;
use crate::settings::Settings;

/// Parses the process's arguments and hands them to `run`; `--help`, wrong usage (64) and chores end here.
pub fn main<A: Parser>(run: impl FnOnce(A) -> ExitCode) -> ExitCode {
    main_or(run, |_, _| ())
}

/// As [`main`], for programs that owe somebody an account of wrong usage too: `misused` gets the error, which has been
/// printed, and what the command line says all the same.
pub fn main_or<A: Parser>(run: impl FnOnce(A) -> ExitCode, misused: impl FnOnce(&clap::Error, &Said)) -> ExitCode {
    match parse_all::<A>(std::env::args_os()) {
        Ok((Parsed::Run(args), settings)) => {
            settings.own();
            run(args)
        }
        Ok((Parsed::Chore(chore), _)) => chore.main(command::<A>()),
        Err(error) => {
            let printed = error.print();
            if !error.use_stderr() {
                return ExitCode::from(if printed.is_err() { 64 } else { 0 });
            }
            misused(&error, &Said::new(command::<A>(), std::env::args_os()));
            ExitCode::from(64)
        }
    }
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Parsed<A> {
    /// The program's own work.
    Run(A),
    /// What every program can do.
    Chore(Chore),
}

/// Parses `argv` by the rules above.
///
/// # Errors
/// clap's own, ready to be printed.
pub fn parse<A: Parser>(argv: impl IntoIterator<Item = OsString>) -> Result<Parsed<A>, clap::Error> {
    parse_all(argv).map(|(parsed, _)| parsed)
}

fn parse_all<A: Parser>(argv: impl IntoIterator<Item = OsString>) -> Result<(Parsed<A>, Settings), clap::Error> {
    let mut command = without_empty(command::<A>());
    let mut matches = command.try_get_matches_from_mut(argv)?;
    let settings = Settings::of(&command, &matches);
    let parsed = match Chore::of(&matches) {
        Some(chore) => Parsed::Chore(chore),
        None => Parsed::Run(from_matches(&mut matches)?),
    };
    Ok((parsed, settings))
}

fn from_matches<A: Parser>(matches: &mut ArgMatches) -> Result<A, clap::Error> {
    A::from_arg_matches_mut(matches).map_err(|error| error.format(&mut A::command()))
}

/// The program's command line, as completions, man pages and tests see it.
pub fn command<A: CommandFactory>() -> Command {
    with_variables(A::command()).subcommands(chore::commands()).subcommand_negates_reqs(true)
}

fn with_variables(command: Command) -> Command {
    command
        .mut_args(|arg| match arg.get_action() {
            ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
            _ => arg,
        })
        .mut_args(|arg| match arg.get_long() {
            Some(long) if arg.get_env().is_none() && !matches!(long, "help" | "version") => {
                let name = variable(long);
                arg.env(name).hide_env_values(true)
            }
            _ => arg,
        })
        .mut_subcommands(with_variables)
}

/// A variable that is there and empty is how manifests say that it is not given.
fn without_empty(command: Command) -> Command {
    command
        .mut_args(|arg| {
            #[expect(clippy::disallowed_methods, reason = "the command line is where variables are read")]
            let is_empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
            if is_empty { arg.env(Resettable::Reset) } else { arg }
        })
        .mut_subcommands(without_empty)
}

/// The variable of a flag: `probe-listen` → `LONGSHORE_PROBE_LISTEN`.
pub fn variable(long: &str) -> String {
    format!("LONGSHORE_{}", long.replace('-', "_").to_uppercase())
}

/// The variables of every flag a program has, so that it can keep them from its children.
pub fn variables<A: CommandFactory>() -> Vec<OsString> {
    fn collect(command: &Command, into: &mut Vec<OsString>) {
        into.extend(command.get_arguments().filter_map(|arg| arg.get_env().map(ToOwned::to_owned)));
        for sub in command.get_subcommands() {
            collect(sub, into);
        }
    }
    let mut all = Vec::new();
    collect(&command::<A>(), &mut all);
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Args {
        /// A flag.
        #[arg(long, default_value = "x")]
        some_flag: String,
        /// What to run.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    }

    fn argv(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn every_flag_has_its_variable() {
        assert_eq!(variables::<Args>(), ["LONGSHORE_SOME_FLAG"]);
        command::<Args>().debug_assert();
    }

    #[test]
    fn chores_need_nothing_else() {
        let chore = |words: &[&str]| match parse::<Args>(argv(words)) {
            Ok(Parsed::Chore(chore)) => chore,
            other => panic!("{words:?}: {other:?}"),
        };
        assert_eq!(chore(&["p", "install", "/d"]), Chore::Install("/d".into()));
        assert_eq!(chore(&["p", "completion", "zsh"]), Chore::Completion(clap_complete::Shell::Zsh));
        assert_eq!(chore(&["p", "man"]), Chore::Man(None));
        assert!(parse::<Args>(argv(&["p", "completion", "tcsh"])).is_err());
        let Ok(Parsed::Run(args)) = parse::<Args>(argv(&["p", "--", "install", "/d"])) else { panic!("no run") };
        assert_eq!((args.some_flag.as_str(), args.command.len()), ("x", 2));
        assert!(parse::<Args>(argv(&["p", "--nonsense"])).is_err());
    }
}
