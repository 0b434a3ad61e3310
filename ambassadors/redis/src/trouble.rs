//! What keeps us from a list or stream, in the words of people, classed by what they do next.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use ambassador_kit::source::SourceError;
use redis::{ErrorKind, RedisError};
use sidecar::Failure;

/// When to ask again for what could not be seen.
pub(crate) const RETRY: Duration = Duration::from_secs(2);

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The server cannot be reached, or cannot answer now: it passes.
    Away,
    /// It does not take our credentials.
    Refused,
    /// It knows us, and does not allow it.
    Forbidden,
    /// It answers, and refuses for a reason that we do not know.
    Unknown,
    /// We are set up wrongly.
    Config,
    /// There is no such group: it is made again.
    NoGroup,
    /// What we held may be others' by now: to be looked at anew.
    Lapsed,
}

/// What keeps us from a list or stream. Says what is wrong, and what to do about it.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    kind: Kind,
    doing: String,
    what: String,
}

impl Trouble {
    /// What `error` means, which came of trying to do something (`take from list videos`).
    pub(crate) fn of(error: &RedisError, doing: &str) -> Self {
        // A certificate that the server does not like is told only with its first answer.
        if let Some(error) = transport(error) {
            return Self::transport(doing, error);
        }
        let (kind, what) = match (error.kind(), error.clone().into_server_errors().as_deref()) {
            // Of many at once the first tells.
            (_, Some([(_, first), ..])) => {
                let (code, why) = met(first.code(), first.details().unwrap_or_default());
                classed(code, plain(why))
            }
            (ErrorKind::InvalidClientConfig, _) => (Kind::Config, error.to_string()),
            _ => away(&error.to_string()),
        };
        Self { kind, doing: doing.to_owned(), what }
    }

    /// There is no connection.
    pub(crate) fn transport(doing: &str, error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let (kind, what) = match tls {
            None => away(&error.to_string()),
            Some(rustls::Error::InvalidMessage(_)) => {
                (Kind::Config, format!("no TLS with the server: {error}; does it speak it on this port?"))
            }
            Some(why) => (
                Kind::Config,
                format!(
                    "no TLS with the server: {why}; see --ca-file for its certificate, --cert-file and --key-file for ours"
                ),
            ),
        };
        Self { kind, doing: doing.to_owned(), what }
    }

    /// There was no answer.
    pub(crate) fn silent(doing: &str, stall_after: Duration) -> Self {
        let what = format!("the server says nothing for {stall_after:?} (--stall-after)");
        Self { kind: Kind::Away, doing: doing.to_owned(), what }
    }

    /// There never was an answer.
    pub(crate) fn mute(doing: &str, stall_after: Duration) -> Self {
        let what = format!(
            "the server says nothing for {stall_after:?} (--stall-after); does it speak TLS there (rediss://), or not?"
        );
        Self { kind: Kind::Away, doing: doing.to_owned(), what }
    }

    /// We are set up wrongly.
    pub(crate) fn config(doing: &str, why: impl fmt::Display) -> Self {
        Self { kind: Kind::Config, doing: doing.to_owned(), what: why.to_string() }
    }

    /// What we held may be others' by now.
    pub(crate) fn lapsed(doing: &str) -> Self {
        let what = "nothing was heard of us for longer than --lease".to_owned();
        Self { kind: Kind::Lapsed, doing: doing.to_owned(), what }
    }

    /// What was answered is not what the question's answer is.
    pub(crate) fn nonsense(doing: &str) -> Self {
        Self { kind: Kind::Away, doing: doing.to_owned(), what: "the server answers what Redis would not".to_owned() }
    }

    /// The servers of a cluster send us from one to another.
    pub(crate) fn adrift(doing: &str, last: &str) -> Self {
        let what =
            format!("each server of the cluster sends us on to another, at last to {last}; see its CLUSTER SLOTS");
        Self { kind: Kind::Away, doing: doing.to_owned(), what }
    }

    /// There is no such group.
    pub(crate) fn no_group(doing: &str, group: &str) -> Self {
        Self { kind: Kind::NoGroup, doing: doing.to_owned(), what: format!("it has no group {group}") }
    }

    /// Whether the server said this code.
    pub(crate) fn says(&self, code: &str) -> bool {
        self.what.contains(code)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// One word for the metric.
    pub(crate) fn word(&self) -> &'static str {
        match self.kind {
            Kind::Away => "away",
            Kind::Unknown => "unknown",
            Kind::Refused => "refused",
            Kind::Forbidden => "forbidden",
            Kind::Config => "config",
            Kind::NoGroup => "no-group",
            Kind::Lapsed => "lapsed",
        }
    }

    /// For those who asked for an item.
    pub(crate) fn unavailable(&self) -> SourceError {
        SourceError::Unavailable { why: self.to_string(), retry: RETRY }
    }

    /// For those who started the program: 69, 77 (`EX_NOPERM`) or 78.
    pub(crate) fn failure(self) -> Failure {
        match self.kind {
            Kind::Away | Kind::Lapsed | Kind::Unknown => Failure::unavailable(self),
            Kind::Refused | Kind::Forbidden => Failure::new(77, self),
            Kind::Config | Kind::NoGroup => Failure::config(self),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.what)
    }
}

impl Error for Trouble {}

/// What the client met below what it understands.
fn transport(error: &RedisError) -> Option<&io::Error> {
    let inner = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    inner.downcast_ref()
}

/// What a script met: servers before Redis 7 say first that one did, and where.
fn met<'a>(code: &'a str, details: &'a str) -> (&'a str, &'a str) {
    let Some((_, met)) = details.rsplit_once("user_script:").filter(|_| details.starts_with("Error running script"))
    else {
        return (code, details);
    };
    let met = met.trim_start_matches(|at: char| at.is_ascii_digit() || matches!(at, ':' | ' ' | '-'));
    let coded = met.split_once(' ').filter(|(code, _)| code.bytes().all(|byte| byte.is_ascii_uppercase()));
    coded.unwrap_or((code, met))
}

/// What the server said behind its code, without what follows about the script that it came of, which is ours.
fn plain(details: &str) -> &str {
    details.split(" script: ").next().unwrap_or(details).trim_end_matches(['.', ','])
}

fn away(why: &str) -> (Kind, String) {
    (Kind::Away, format!("no server answers: {why}; if none ever does: does it speak TLS there (rediss://), or not?"))
}

fn refused(why: &str) -> (Kind, String) {
    let what = format!("the server does not take our credentials: {why}; see --url, --username, --password-file");
    (Kind::Refused, what)
}

/// What kind it is, and what to do.
fn classed(code: &str, why: &str) -> (Kind, String) {
    match code {
        "NOAUTH" | "WRONGPASS" => refused(why),
        "ERR" if why.contains("without any password configured") => refused("it has no password for the default user"),
        "ERR" if why.contains("max number of clients") => {
            (Kind::Away, "the server has as many clients as it takes; see its maxclients".to_owned())
        }
        "DENIED" => (Kind::Config, format!("the server is in protected mode (DENIED): give it a password or a bind address; {why}")),
        "NOPERM" => forbidden(why),
        // Of scripts: up to Redis 7.0, and since.
        "ERR" if why.contains("executing the script") || why.contains("ACL failure in script") => forbidden(why),
        "NOGROUP" => (Kind::NoGroup, why.to_owned()),
        "WRONGTYPE" => (
            Kind::Config,
            "a key is of another type than we take it for; see --list, --stream, --dead-letter-key and the server's TYPE".to_owned(),
        ),
        "MOVED" => (Kind::Away, format!("another server of the cluster has the key now (MOVED {why}): it is asked next")),
        "ASK" | "TRYAGAIN" => {
            (Kind::Away, format!("the key is on its way to another server of the cluster ({code} {why}); wait"))
        }
        "CROSSSLOT" => (
            Kind::Config,
            "in a cluster all keys have to lie in one slot (CROSSSLOT); tag --dead-letter-key and --processing-key as the key is: {videos}:dead beside videos".to_owned(),
        ),
        "CLUSTERDOWN" => (
            Kind::Away,
            format!("the cluster does not serve the key now (CLUSTERDOWN {why}); see its CLUSTER INFO, and wait or have the slot served again"),
        ),
        "LOADING" => (Kind::Away, "the server reads its data (LOADING); wait".to_owned()),
        "READONLY" => (
            Kind::Away,
            "the server is a replica, which takes no writes (READONLY); name the primary in --url, by a name that stays with it, or let Sentinels tell it (--sentinel)".to_owned(),
        ),
        "OOM" => (Kind::Away, "the server's memory is full (OOM); see its maxmemory".to_owned()),
        "MISCONF" => (Kind::Away, "the server cannot write its data down (MISCONF); see its disk and its log".to_owned()),
        "NOREPLICAS" => {
            (Kind::Away, "the server has fewer replicas than it is told to have (NOREPLICAS); see its min-replicas-to-write".to_owned())
        }
        "BUSY" => (Kind::Away, "the server is busy with a script of others (BUSY)".to_owned()),
        "MASTERDOWN" | "UNBLOCKED" => (Kind::Away, format!("the server takes no writes now: {code} {why}")),
        "ERR" if why.contains("unknown command") || why.contains("Unknown Redis command") => (
            Kind::Config,
            format!("the server is older than what we speak with, which is Redis 6.2, or a Sentinel, which is to be named in --sentinel: {why}"),
        ),
        "ERR" if why.contains("DB index") => (Kind::Config, "it has no such database; see --url".to_owned()),
        _ => (Kind::Unknown, format!("the server refuses: {code} {why}")),
    }
}

fn forbidden(why: &str) -> (Kind, String) {
    let what = format!(
        "the server does not allow it: {why}; --check names a command that is refused, and the README all rights of an ACL user"
    );
    (Kind::Forbidden, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_met_is_known_as_older_servers_say_it() {
        let running = "Error running script (call to f_1f51aca1a559ef06): @user_script:1:";
        for (said, code, why) in [
            ("WRONGTYPE Operation against a key", "WRONGTYPE", "Operation against a key"),
            ("@user_script: 1: -READONLY You can't write", "READONLY", "You can't write"),
            ("ERR no such key", "ERR", "no such key"),
            (
                "@user_script: 1: The user executing the script can't run",
                "ERR",
                "The user executing the script can't run",
            ),
        ] {
            assert_eq!(met("ERR", &format!("{running} {said}")), (code, why));
        }
        assert_eq!(met("NOPERM", "no right on user_script:1"), ("NOPERM", "no right on user_script:1"));
    }

    #[test]
    fn what_a_sentinel_answers_names_its_flag() {
        let (kind, what) = classed("ERR", "unknown command 'TYPE', with args beginning with: 'videos'");
        assert!(kind == Kind::Config && what.contains("in --sentinel"), "{what}");
    }
}
