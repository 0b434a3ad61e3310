//! What keeps us from a queue, in the words of people, classed by what they do next.

use std::fmt;
use std::time::Duration;

use ambassador_kit::source::SourceError;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::{Error, ErrorKind};
use sidecar::Failure;

/// When to ask again for what could not be seen.
pub(crate) const RETRY: Duration = Duration::from_secs(2);

/// What to ask oneself where nobody understands us.
const TLS_OR_NOT: &str = "does it speak TLS there (amqps) or not (amqp)?";

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The broker cannot be reached, or does not answer: it passes.
    Away,
    /// It does not take our credentials.
    Refused,
    /// It knows us, and does not allow it.
    Forbidden,
    /// There is no such queue, or exchange.
    NotThere,
    /// We are set up wrongly.
    Config,
    /// We have held a message for longer than it allows.
    HeldTooLong,
    /// A message has more bytes than it allows.
    TooLarge,
    /// A message is not what the protocol says, or larger than it allows.
    Unreadable,
}

/// What keeps us from a queue. Says, without internals, what is wrong, and what to do about it.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) kind: Kind,
    /// Whether the broker knows of it, too.
    pub(crate) is_noticed: bool,
    doing: String,
    what: String,
}

impl Trouble {
    /// What is wrong is known without asking anybody.
    pub(crate) fn config(doing: &str, error: impl fmt::Display) -> Self {
        Self::new(Kind::Config, doing, error.to_string())
    }

    /// Nothing came for so long, as `flag` has it.
    pub(crate) fn silent(doing: &str, patience: Duration, flag: &str) -> Self {
        let what = format!("it says nothing for {}; see {flag}, and --url", humantime::format_duration(patience));
        Self::new(Kind::Away, doing, what)
    }

    /// It answers, and does not know.
    pub(crate) fn unknown(doing: &str) -> Self {
        let what = "the broker does not know how much waits there: the queue has no leader, or is too slow".to_owned();
        Self { is_noticed: true, ..Self::new(Kind::Away, doing, what) }
    }

    /// It answers, and confirms nothing.
    pub(crate) fn unconfirmed(doing: &str, patience: Duration) -> Self {
        let what = format!("the broker confirms nothing for {}", humantime::format_duration(patience));
        Self::new(Kind::Away, doing, what)
    }

    /// There is no such queue any more: the broker has ended its consumers.
    pub(crate) fn cancelled(queue: &str) -> Self {
        let what =
            "the broker has cancelled the consumer: the queue was deleted or moves, or a message was held for too long";
        Self::new(Kind::NotThere, &taking(queue), what.to_owned())
    }

    /// It takes no messages, and does not say why.
    pub(crate) fn refusing(doing: &str) -> Self {
        let what = "the broker refuses it: the queue is full (x-max-length with x-overflow), or too few of its nodes are there";
        Self::new(Kind::Away, doing, what.to_owned())
    }

    /// What `error` means, which came of connecting: `doing` says where, and as whom.
    pub(crate) fn connecting(error: &Error, doing: &str) -> Self {
        let (kind, what) = match error.kind() {
            ErrorKind::IOError(error) => {
                let (kind, what) = unreachable(error);
                (kind, format!("{what}; see --url"))
            }
            ErrorKind::ProtocolError(error) => match error.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => (
                    Kind::Refused,
                    "it does not take our credentials; see --username, --password-file, --external, and what its log says of \
                     us (guest may only come from its own machine)"
                        .to_owned(),
                ),
                // Of connections, which the broker may still count that are over.
                // Of the node, the virtual host, or the user. One that has broken off counts until the broker knows of it.
                AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) if error.get_message().as_str().contains(" limit (") => {
                    (Kind::Away, format!("{}: wait for others to end, or raise it", plain(error.get_message())))
                }
                AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => (
                    Kind::Forbidden,
                    format!("{}; see the end of --url, and give the user permissions there", plain(error.get_message())),
                ),
                _ => (Kind::Away, plain(error.get_message())),
            },
            ErrorKind::ParsingError(_) => (Kind::Config, format!("what answers speaks another protocol; {TLS_OR_NOT}")),
            ErrorKind::AuthProviderError(why) => (Kind::Refused, why.clone()),
            other => (Kind::Away, Error::from(other.clone()).to_string()),
        };
        Self::new(kind, doing, what)
    }

    /// What `error` means, which came of doing something (`take messages of queue "videos"`).
    pub(crate) fn of(error: &Error, doing: &str) -> Self {
        let (kind, what) = match error.kind() {
            ErrorKind::ProtocolError(error) => match error.kind() {
                AMQPErrorKind::Soft(soft) => refused(soft, &plain(error.get_message())),
                AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED) => {
                    (Kind::Away, format!("it has closed the connection: {}", plain(error.get_message())))
                }
                // Of ourselves: RabbitMQ does not look how large headers have become by what it adds to them (x-death).
                AMQPErrorKind::Hard(AMQPHardError::FRAMEERROR)
                    if error.get_message().as_str().starts_with("frame too large:") =>
                {
                    unreadable("its headers are larger than a frame may be (frame_max)")
                }
                AMQPErrorKind::Hard(_) => (Kind::Away, plain(error.get_message())),
            },
            ErrorKind::IOError(error) => unreachable(error),
            ErrorKind::ParsingError(_) => unreadable("it is not as AMQP 0-9-1 has it"),
            ErrorKind::MissingHeartbeatError => (Kind::Away, "the broker says nothing any more".to_owned()),
            other => (Kind::Away, format!("the connection is over ({})", Error::from(other.clone()))),
        };
        let is_noticed = matches!(error.kind(), ErrorKind::ProtocolError(_));
        Self { is_noticed, ..Self::new(kind, doing, what) }
    }

    fn new(kind: Kind, doing: &str, what: String) -> Self {
        Self { kind, is_noticed: kind != Kind::Away, doing: doing.to_owned(), what }
    }

    /// One word for the metric.
    pub(crate) fn word(&self) -> &'static str {
        match self.kind {
            Kind::Away => "away",
            Kind::Refused => "refused",
            Kind::Forbidden => "forbidden",
            Kind::NotThere => "not-there",
            Kind::Config => "config",
            Kind::HeldTooLong => "held-too-long",
            Kind::TooLarge => "too-large",
            Kind::Unreadable => "unreadable",
        }
    }

    /// For those who asked for something.
    pub(crate) fn unavailable(&self) -> SourceError {
        SourceError::Unavailable { why: self.to_string(), retry: RETRY }
    }

    /// For those who started the program: 69, 77 (`EX_NOPERM`) or 78.
    pub(crate) fn failure(self) -> Failure {
        match self.kind {
            Kind::Away | Kind::HeldTooLong | Kind::Unreadable => Failure::unavailable(self),
            Kind::Refused | Kind::Forbidden => Failure::new(77, self),
            Kind::NotThere | Kind::Config => Failure::config(self),
            Kind::TooLarge => Failure::new(65, self),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.what)
    }
}

impl std::error::Error for Trouble {}

/// What is done, for [`Trouble::of`].
pub(crate) fn taking(queue: &str) -> String {
    format!("take messages of queue {queue:?}")
}

/// A message that ends each connection that it comes by.
fn unreadable(why: &str) -> (Kind, String) {
    let what = format!(
        "a message cannot be read: {why}; nothing behind it can be had until somebody takes it out, as the management page \
         does (Get messages, Reject requeue false)"
    );
    (Kind::Unreadable, what)
}

/// No connection, or none any more.
fn unreachable(error: &std::io::Error) -> (Kind, String) {
    let text = error.to_string();
    match error.kind() {
        _ if text.contains("certificate") || text.contains("fatal alert") => (
            Kind::Config,
            format!(
                "no TLS with the broker: {text}; see --ca-file for its certificate, --cert-file and --key-file for ours"
            ),
        ),
        std::io::ErrorKind::InvalidData => (Kind::Config, format!("no TLS with the broker: {text}; {TLS_OR_NOT}")),
        std::io::ErrorKind::ConnectionAborted
        | std::io::ErrorKind::ConnectionReset
        | std::io::ErrorKind::UnexpectedEof => {
            (Kind::Away, format!("the broker hangs up; if it always does: {TLS_OR_NOT}"))
        }
        _ => (Kind::Away, format!("no broker answers: {text}")),
    }
}

/// The broker has closed the channel: what kind that is, and what to do.
fn refused(error: &AMQPSoftError, reason: &str) -> (Kind, String) {
    match error {
        AMQPSoftError::NOTFOUND => {
            (Kind::NotThere, format!("{reason}; make it, give --declare, or write its name as it is, capitals and all"))
        }
        AMQPSoftError::ACCESSREFUSED if reason.contains("exclusive") => {
            (Kind::Forbidden, format!("{reason}; somebody else has the queue for himself"))
        }
        AMQPSoftError::ACCESSREFUSED if reason.contains("exchange") => {
            (Kind::Forbidden, format!("{reason}; allow the user to write to it"))
        }
        AMQPSoftError::ACCESSREFUSED => {
            (Kind::Forbidden, format!("{reason}; allow the user to read the queue, and with --declare to configure it"))
        }
        AMQPSoftError::RESOURCELOCKED => (Kind::Forbidden, format!("{reason}; somebody else has the queue for himself")),
        AMQPSoftError::PRECONDITIONFAILED if reason.contains("timed out") => (
            Kind::HeldTooLong,
            "the broker has taken its messages back, since one was held for longer than its consumer_timeout (30 minutes where \
             nothing is said): settle earlier (--settle on-get), take fewer (--window), have the broker wait longer, or see to what \
             /v1/withheld tells, which is held as long (--dead-letter)"
                .to_owned(),
        ),
        // Of an argument that only queues know.
        AMQPSoftError::PRECONDITIONFAILED if reason.contains("rabbit_stream_queue") => (
            Kind::Config,
            "it is a stream, from which nothing is ever taken: bind a queue to where its messages come from".to_owned(),
        ),
        AMQPSoftError::PRECONDITIONFAILED if reason.contains("message size") => (Kind::TooLarge, reason.to_owned()),
        AMQPSoftError::PRECONDITIONFAILED => {
            (Kind::Config, format!("{reason}; leave --declare out, or give what the queue was made with"))
        }
        AMQPSoftError::CONTENTTOOLARGE | AMQPSoftError::NOROUTE | AMQPSoftError::NOCONSUMERS => (Kind::Away, reason.to_owned()),
    }
}

/// Without the protocol's word for it before.
fn plain(reason: impl fmt::Display) -> String {
    let reason = reason.to_string();
    let text = match reason.split_once(" - ") {
        Some((word, text)) if word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') => text,
        _ => reason.as_str(),
    };
    text.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    fn closed(kind: AMQPErrorKind, message: &str) -> Error {
        ErrorKind::ProtocolError(AMQPError::new(kind, message.into())).into()
    }

    #[test]
    fn what_a_broker_says_is_classed_by_what_to_do() {
        let soft = |soft: AMQPSoftError, message| Trouble::of(&closed(soft.into(), message), &taking("q"));
        let no_queue = soft(AMQPSoftError::NOTFOUND, "NOT_FOUND - no queue 'q' in vhost '/'");
        assert_eq!(no_queue.kind, Kind::NotThere);
        assert!(
            no_queue.to_string().starts_with("cannot take messages of queue \"q\": no queue 'q' in vhost '/'; make it")
        );
        let late =
            "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 5000 ms.";
        assert_eq!(soft(AMQPSoftError::PRECONDITIONFAILED, late).kind, Kind::HeldTooLong);
        let other = "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost '/'";
        assert_eq!(soft(AMQPSoftError::PRECONDITIONFAILED, other).kind, Kind::Config);
        assert_eq!(soft(AMQPSoftError::ACCESSREFUSED, "ACCESS_REFUSED - no").kind, Kind::Forbidden);
        let login = closed(AMQPSoftError::ACCESSREFUSED.into(), "ACCESS_REFUSED - Login was refused");
        assert_eq!(Trouble::connecting(&login, "x").kind, Kind::Refused);
        let hard = |text| Trouble::connecting(&closed(AMQPHardError::NOTALLOWED.into(), text), "x").kind;
        let crowded = "NOT_ALLOWED - access to vhost '/' refused for user 'u': connection limit (9) is reached";
        assert_eq!((hard(crowded), hard("NOT_ALLOWED - vhost x not found")), (Kind::Away, Kind::Forbidden));
        let large = closed(AMQPHardError::FRAMEERROR.into(), "frame too large: 131099 bytes");
        assert_eq!(Trouble::of(&large, "x").kind, Kind::Unreadable);
        let shut =
            closed(AMQPHardError::CONNECTIONFORCED.into(), "CONNECTION_FORCED - broker forced it, reason 'shutdown'");
        assert!(Trouble::of(&shut, "x").to_string().ends_with("broker forced it, reason 'shutdown'"));
    }
}
