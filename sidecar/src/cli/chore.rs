//! What every program can do beside its own work: copy itself, complete its command line, print its manual.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

use crate::install;

/// One of them, with what it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chore {
    /// `install DIR`.
    Install(PathBuf),
    /// `completion SHELL`: the script goes to stdout.
    Completion(Shell),
    /// `man`: the program's page to stdout, as roff; with a directory, one file there for each of its commands.
    Man(Option<PathBuf>),
}

/// The subcommands that ask for them.
pub(super) fn commands() -> [Command; 3] {
    let install = Command::new("install")
        .about("Copy this program into a directory, so that it can run inside an image that does not hold it")
        .arg(Arg::new("dir").value_name("DIR").required(true).value_parser(value_parser!(PathBuf)));
    let completion = Command::new("completion")
        .about("Print the script that completes this program's command line in a shell")
        .arg(Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell)));
    let man = Command::new("man")
        .about("Print this program's manual page; or write the pages of all its commands into a directory")
        .arg(Arg::new("dir").value_name("DIR").value_parser(value_parser!(PathBuf)));
    [install, completion, man]
}

impl Chore {
    pub(super) fn of(matches: &ArgMatches) -> Option<Self> {
        let (name, given) = matches.subcommand()?;
        let dir = || given.try_get_one::<PathBuf>("dir").ok().flatten().cloned();
        match name {
            "install" => Some(Self::Install(dir()?)),
            "completion" => Some(Self::Completion(*given.get_one::<Shell>("shell")?)),
            "man" => Some(Self::Man(dir())),
            _ => None,
        }
    }

    /// Does it for the program of this command line.
    pub(super) fn main(&self, command: Command) -> ExitCode {
        match self {
            Self::Install(dir) => install::main(dir),
            Self::Completion(shell) => {
                let (mut command, mut script) = (command, Vec::new());
                let name = command.get_name().to_owned();
                clap_complete::generate(*shell, &mut command, name, &mut script);
                finish(io::stdout().write_all(&script), "print the completion script")
            }
            Self::Man(None) => {
                let mut page = Vec::new();
                let rendered = clap_mangen::Man::new(command).render(&mut page);
                finish(rendered.and_then(|()| io::stdout().write_all(&page)), "print the manual page")
            }
            Self::Man(Some(dir)) => finish(write_pages(command, dir), &format!("write to {}", dir.display())),
        }
    }
}

fn write_pages(command: Command, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(command, dir)
}

#[expect(clippy::print_stderr, reason = "logging is not set up yet, and this is the command's whole output")]
fn finish(done: io::Result<()>, what: &str) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // `… completion bash | head` has what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot {what}: {error}");
            ExitCode::from(74)
        }
    }
}
