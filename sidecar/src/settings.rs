//! With what settings a program runs: said once, in its first log line.

use std::ffi::OsStr;
use std::sync::OnceLock;

use clap::{Arg, ArgAction, ArgMatches, Command};
use tracing::field::display;
use tracing_core::callsite::{Callsite, Identifier};
use tracing_core::field::{FieldSet, Value};
use tracing_core::metadata::Kind;
use tracing_core::subscriber::Interest;
use tracing_core::{Event, Level, Metadata, dispatcher};

/// A text longer than this is said by its length.
const LONGEST: usize = 256;

/// What stands for what is not shown.
const HIDDEN: &str = "***";

/// A flag or a property whose name ends with one of these holds a secret, and not where one is.
const SECRETS: [&str; 6] = ["password", "passphrase", "secret", "token", "credential", "credentials"];

/// The settings of this process, by the names of their flags.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    program: String,
    version: String,
    flags: Vec<(String, String)>,
}

static OWN: OnceLock<Settings> = OnceLock::new();

/// What tracing's macros write into a program where an event is: here the names of its fields are known only when it runs.
static META: OnceLock<Metadata<'static>> = OnceLock::new();

impl Settings {
    /// Of a command line that was parsed by `command`: every flag that has a value, given or by default, and every switch that is
    /// on. The words of another's command (behind `--`) are left out: nobody knows what they hold.
    pub(crate) fn of(command: &Command, matches: &ArgMatches) -> Self {
        let mut all = Self {
            program: command.get_name().to_owned(),
            version: command.get_version().unwrap_or_default().to_owned(),
            flags: Vec::new(),
        };
        let (mut command, mut matches) = (command, matches);
        loop {
            all.add(command, matches);
            let Some((name, below)) = matches.subcommand() else { return all };
            let Some(named) = command.find_subcommand(name) else { return all };
            all.program = format!("{} {name}", all.program);
            (command, matches) = (named, below);
        }
    }

    fn add(&mut self, command: &Command, matches: &ArgMatches) {
        for arg in command.get_arguments().filter(|arg| !arg.is_last_set()) {
            let name = arg.get_long().map_or_else(|| arg.get_id().as_str().replace('_', "-"), str::to_owned);
            if self.flags.iter().any(|(known, _)| *known == name) {
                continue;
            }
            self.flags.extend(value(arg, &name, matches).map(|value| (name, value)));
        }
    }

    /// Makes these the settings of this process.
    pub(crate) fn own(self) {
        let _ = OWN.set(self);
    }

    fn log(&self) {
        let fields = self.fields();
        let meta = META.get_or_init(|| {
            let names: Vec<&'static str> = fields.iter().map(|(name, _)| &*String::leak((*name).to_owned())).collect();
            let names = FieldSet::new(names.leak(), Identifier(&Line));
            Metadata::new("settings", module_path!(), Level::INFO, None, None, Some(module_path!()), names, Kind::EVENT)
        });
        let values: Vec<_> = fields.iter().map(|(_, value)| Some(&**value)).collect();
        dispatcher::get_default(|to| {
            if to.enabled(meta) {
                to.event(&Event::new(meta, &meta.fields().value_set_all(&values)));
            }
        });
    }

    fn fields(&self) -> Vec<(&str, Box<dyn Value + '_>)> {
        let text = |text: &str| -> Box<dyn Value> {
            // Where a line is read by people, quotes help where there are spaces only.
            let is_plain =
                !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"');
            if is_plain { Box::new(display(text.to_owned())) } else { Box::new(text.to_owned()) }
        };
        let head = [("message", "starting"), ("program", &self.program), ("version", &self.version)];
        let flags = self.flags.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        head.into_iter().chain(flags).map(|(name, value)| (name, text(value))).collect()
    }
}

/// Says in the log with what settings this process runs, if its command line was parsed by [`crate::cli`].
pub(crate) fn log() {
    if let Some(own) = OWN.get() {
        own.log();
    }
}

/// The place in the program that the line comes from, as tracing knows places.
struct Line;

impl Callsite for Line {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        META.get().expect("made before anybody is told of this place")
    }
}

/// What is shown of a flag; nothing of one that has no value.
fn value(arg: &Arg, name: &str, matches: &ArgMatches) -> Option<String> {
    let id = arg.get_id().as_str();
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return matches!(matches.try_get_one::<bool>(id), Ok(Some(true))).then(|| "true".to_owned());
    }
    let values = matches.try_get_raw(id).ok().flatten()?;
    Some(values.map(|value| shown(name, value)).collect::<Vec<_>>().join(","))
}

fn shown(name: &str, value: &OsStr) -> String {
    let value = value.to_string_lossy();
    if is_secret(name) {
        return HIDDEN.to_owned();
    }
    if value.len() > LONGEST || value.contains('\n') {
        return format!("({} bytes)", value.len());
    }
    match value.split_once('=') {
        Some((property, _)) if is_secret(property) => format!("{property}={HIDDEN}"),
        _ => without_login(&value),
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    SECRETS.iter().any(|secret| name.ends_with(secret))
}

/// A URL without the user that it names and without its query, in which signatures are; any other text as it is.
fn without_login(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => authority.to_owned(),
    };
    format!("{scheme}://{authority}{path}{query}")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io;
    use std::sync::{Arc, Mutex};

    use clap::Parser;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "harbour-master", version = "1.2.3")]
    struct Args {
        #[command(subcommand)]
        verb: Verb,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Verb {
        Run {
            #[arg(long, default_value = "127.0.0.1:8080")]
            listen: String,
            #[arg(long)]
            source: String,
            #[arg(long, value_delimiter = ',')]
            glob: Vec<String>,
            #[arg(long)]
            property: Vec<String>,
            #[arg(long)]
            token: Option<String>,
            #[arg(long)]
            token_file: Option<String>,
            #[arg(long)]
            text: Option<String>,
            #[arg(long)]
            until_empty: bool,
            #[arg(long)]
            keep: bool,
            #[arg(long)]
            unset: Option<u8>,
            #[arg(last = true)]
            command: Vec<OsString>,
        },
    }

    fn settings() -> Settings {
        let mut command = crate::cli::command::<Args>();
        let words = "harbour-master|run|--source|https://me:hunter2@host:1/a/b?X-Amz-Signature=hunter2|--glob|*.mp4,a b\
                     |--property|sasl.password=hunter2|--property|client.id=me|--token|hunter2|--token-file|/t\
                     |--text|stages:\n  - hunter2|--until-empty|--|curl|-u|hunter2";
        let matches = command.try_get_matches_from_mut(words.split('|')).expect("parses");
        Settings::of(&command, &matches)
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Log {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    impl Log {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("no panic").clone()).expect("is text")
        }
    }

    #[test]
    fn a_start_is_one_line_of_fields_and_no_secret() {
        let (plain, json, quiet) = (Log::default(), Log::default(), Log::default());
        let builder = || tracing_subscriber::fmt().with_ansi(false);
        let to_plain = builder().with_writer(plain.clone()).with_target(false).finish();
        tracing::subscriber::with_default(to_plain, || settings().log());
        let to_json = builder().with_writer(json.clone()).json().flatten_event(true).finish();
        tracing::subscriber::with_default(to_json, || settings().log());
        let to_nobody = builder().with_writer(quiet.clone()).with_max_level(Level::WARN).finish();
        tracing::subscriber::with_default(to_nobody, || settings().log());

        let line = plain.text();
        let said = "INFO starting program=\"harbour-master run\" version=1.2.3 listen=127.0.0.1:8080 source=https://***@host:1/a/b?*** \
                    glob=\"*.mp4,a b\" property=sasl.password=***,client.id=me token=*** token-file=/t text=\"(19 bytes)\" \
                    until-empty=true\n";
        assert!(line.ends_with(said), "{line}");
        assert_eq!(line.lines().count(), 1);
        let text = json.text();
        for field in [
            r#""message":"starting""#,
            r#""program":"harbour-master run""#,
            r#""listen":"127.0.0.1:8080""#,
            r#""glob":"*.mp4,a b""#,
            r#""level":"INFO""#,
        ] {
            assert!(text.contains(field), "{field}: {text}");
        }
        assert!(!format!("{line}{text}").contains("hunter2"), "{line}{text}");
        assert_eq!(quiet.text(), "", "--log warn");
    }
}
