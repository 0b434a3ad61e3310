//! What keeps us from a topic, in the words of people, classed by what they do next.

use std::fmt;
use std::time::Duration;

use ambassador_kit::source::SourceError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use sidecar::Failure;

use crate::client::{Context, Role};

/// What librdkafka's log says of brokers that hang up, as those do that speak another protocol than we.
pub(crate) const HUNG_UP: &str = ": Disconnected";

/// When to ask again for what could not be seen.
pub(crate) const RETRY: Duration = Duration::from_secs(2);

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Brokers cannot be reached, or do not answer: it passes.
    Away,
    /// They do not take our credentials.
    Refused,
    /// They know us, and do not allow it.
    Forbidden,
    /// There is no such topic.
    NoTopic,
    /// We are set up wrongly.
    Config,
}

/// What keeps us from a topic. Says, without internals, what is wrong, and what to do about it.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    kind: Kind,
    doing: String,
    what: String,
}

impl Trouble {
    /// What `error` means, which came of trying to do something (`read topic "videos"`).
    pub(crate) fn of(error: &KafkaError, doing: &str, context: &Context) -> Self {
        let of = |(kind, what)| Self { kind, doing: doing.to_owned(), what };
        match error {
            KafkaError::ClientCreation(why) | KafkaError::AdminOpCreation(why) => of((Kind::Config, why.clone())),
            KafkaError::ClientConfig(_, why, name, _) => of((Kind::Config, format!("{name}: {why}"))),
            error => match error.rdkafka_error_code() {
                Some(code) => Self::coded(code, None, doing, context),
                None => of((Kind::Away, error.to_string())),
            },
        }
    }

    /// What `code` means, which came with `reason`, or, where it says no more than that nothing came, what librdkafka complained of.
    pub(crate) fn coded(code: RDKafkaErrorCode, reason: Option<&str>, doing: &str, context: &Context) -> Self {
        let complaint = context.complaints().worst.filter(|_| says_little(code));
        let (kind, what) = match complaint {
            Some((code, reason)) => classed(code, &plain(&reason), context.topic()),
            None => classed(code, &reason.map_or_else(|| code.to_string(), plain), context.topic()),
        };
        Self { kind, doing: doing.to_owned(), what }
    }

    /// A broker tells of the topic of this name that was there before, and is no more.
    pub(crate) fn late(topic: &str) -> Self {
        let what = "a broker has not heard yet that it was deleted and made again".to_owned();
        Self { kind: Kind::Away, doing: format!("look at topic {topic:?}"), what }
    }

    /// Whether it may be over in a moment, with nobody having done anything.
    pub(crate) fn passes(&self) -> bool {
        self.kind == Kind::Away
    }

    /// One word for the metric.
    pub(crate) fn word(&self) -> &'static str {
        match self.kind {
            Kind::Away => "away",
            Kind::Refused => "refused",
            Kind::Forbidden => "forbidden",
            Kind::NoTopic => "no-topic",
            Kind::Config => "config",
        }
    }

    /// For those who asked for an item.
    pub(crate) fn unavailable(&self) -> SourceError {
        SourceError::Unavailable { why: self.to_string(), retry: RETRY }
    }

    /// For those who started the program: 69, 77 (`EX_NOPERM`) or 78.
    pub(crate) fn failure(self) -> Failure {
        match self.kind {
            Kind::Away => Failure::unavailable(self),
            Kind::Refused | Kind::Forbidden => Failure::new(77, self),
            Kind::NoTopic | Kind::Config => Failure::config(self),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.what)
    }
}

impl std::error::Error for Trouble {}

/// Whether it is what librdkafka says when brokers could not be asked, whatever kept it from that.
fn says_little(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::MessageTimedOut
            | Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::WaitingForCoordinator
            | Code::Authentication
            | Code::SSL
            | Code::Resolve
            | Code::Retry
            | Code::Partial
    )
}

/// What kind it is, and what to do, where it concerns a topic that is this to us.
fn classed(code: RDKafkaErrorCode, reason: &str, topic: Role) -> (Kind, String) {
    use RDKafkaErrorCode as Code;
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => (
            Kind::Refused,
            format!(
                "the brokers do not take our credentials: {reason}; see --sasl, --username, --password-file, --oauth-token-file"
            ),
        ),
        Code::SSL | Code::BrokerTransportFailure if reason.contains("certificate") => (
            Kind::Config,
            format!("no TLS with the brokers: {reason}; see --ca-file for theirs, --cert-file and --key-file for ours"),
        ),
        Code::SSL => (Kind::Away, format!("no TLS with the brokers: {reason}; do they speak it there?")),
        Code::TopicAuthorizationFailed => (
            Kind::Forbidden,
            format!(
                "the brokers do not allow it, if there is such a topic; allow {}",
                match topic {
                    Role::Served => "Describe and Read on the topic, to load it Write",
                    Role::DeadLetters => "Write on the topic",
                }
            ),
        ),
        Code::GroupAuthorizationFailed => {
            (Kind::Forbidden, "the brokers do not allow it; allow Describe and Read on the group".to_owned())
        }
        Code::ClusterAuthorizationFailed => (
            Kind::Forbidden,
            "the brokers do not allow it; allow IdempotentWrite on the cluster, or Write on the topic".to_owned(),
        ),
        Code::InconsistentGroupProtocol => (
            Kind::Config,
            "its members share the topic out in another way than cooperative-sticky, which we do; let them do so too, or give --group another \
             name"
                .to_owned(),
        ),
        Code::InvalidGroupId => (Kind::Config, "that is no group's name; see --group".to_owned()),
        Code::InvalidSessionTimeout => (
            Kind::Config,
            "the brokers allow no such session.timeout.ms; see --property, and theirs group.min.session.timeout.ms and \
             group.max.session.timeout.ms"
                .to_owned(),
        ),
        Code::GroupMaxSizeReached => {
            (Kind::Away, "it has as many members as the brokers allow (group.max.size)".to_owned())
        }
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => (
            Kind::Away,
            "of the brokers that hold the topic, fewer are there than it asks for (min.insync.replicas)".to_owned(),
        ),
        Code::FencedInstanceId => (
            Kind::Config,
            "another member says that it is the same, and came later; give each a name of its own".to_owned(),
        ),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => (
            Kind::NoTopic,
            format!(
                "there is no such topic; make it, or write {} as it is written, capitals and all",
                match topic {
                    Role::Served => "--topic",
                    Role::DeadLetters => "--dead-letter-topic",
                }
            ),
        ),
        Code::InvalidTopic => (Kind::NoTopic, "that is no topic's name".to_owned()),
        Code::InvalidArgument | Code::InvalidConfig | Code::NotConfigured | Code::UnsupportedFeature => {
            (Kind::Config, format!("{reason}; see --property"))
        }
        Code::BrokerTransportFailure if reason.starts_with("Disconnected") => (
            Kind::Away,
            "the brokers hang up; if they always do: do they speak TLS (--tls) or SASL (--sasl) there, or not?"
                .to_owned(),
        ),
        // What brokers say has a number above zero; what librdkafka says, one below.
        code if code as i32 > 0 => (Kind::Away, format!("the brokers do not do it: {reason}")),
        _ => (Kind::Away, format!("no broker answers: {reason}")),
    }
}

/// Without librdkafka's name of the connection before, OpenSSL's numbers, and how long it took behind.
fn plain(reason: &str) -> String {
    // In the log, but not in errors, a thread precedes it.
    let text =
        reason.split_once("]: ").filter(|(thread, _)| thread.starts_with("[thrd:")).map_or(reason, |(_, text)| text);
    let text = match text.split_once(": ") {
        Some((place, words)) if place.contains('/') && !place.contains(' ') => words,
        _ => text,
    };
    let text = text.rfind(" (after ").and_then(|end| text.get(..end)).unwrap_or(text);
    let text = match (text.find("error:"), text.split_once("SSL routines::")) {
        (Some(number), Some((_, words))) => format!("{}{words}", text.get(..number).unwrap_or_default()),
        _ => text.to_owned(),
    };
    text.trim_end_matches([' ', '.', ':']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_fault_it_is_is_said_and_what_to_do_and_nothing_else() {
        use RDKafkaErrorCode as Code;
        use Role::{DeadLetters, Served};
        for (code, topic, kind, says) in [
            (Code::UnknownTopicOrPartition, Served, Kind::NoTopic, "write --topic as"),
            (Code::UnknownTopic, DeadLetters, Kind::NoTopic, "write --dead-letter-topic as"),
            (Code::TopicAuthorizationFailed, Served, Kind::Forbidden, "allow Describe and Read on the topic"),
            (Code::TopicAuthorizationFailed, DeadLetters, Kind::Forbidden, "allow Write on the topic"),
            (Code::InconsistentGroupProtocol, Served, Kind::Config, "cooperative-sticky"),
            (Code::InvalidGroupId, Served, Kind::Config, "--group"),
            (Code::InvalidSessionTimeout, Served, Kind::Config, "session.timeout.ms"),
            (Code::GroupMaxSizeReached, Served, Kind::Away, "group.max.size"),
            (Code::NotEnoughReplicas, DeadLetters, Kind::Away, "min.insync.replicas"),
            (Code::NotEnoughReplicasAfterAppend, Served, Kind::Away, "min.insync.replicas"),
            (Code::CoordinatorNotAvailable, Served, Kind::Away, "the brokers do not do it: why"),
            (Code::LeaderNotAvailable, Served, Kind::Away, "the brokers do not do it: why"),
            (Code::OperationTimedOut, Served, Kind::Away, "no broker answers: why"),
        ] {
            let (found, what) = classed(code, "why", topic);
            assert!(found == kind && what.contains(says), "{code:?}: {found:?}, {what}");
            assert_eq!(what.contains("no broker answers"), says.contains("no broker answers"), "{code:?}: {what}");
        }
    }

    #[test]
    fn what_librdkafka_says_is_said_without_its_internals() {
        for (reason, says) in [
            (
                "sasl_plaintext://127.0.0.1:9094/bootstrap: SASL authentication error: bad password (after 303ms in state AUTH_REQ)",
                "SASL authentication error: bad password",
            ),
            (
                "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT, 1 identical \
                 error(s) suppressed)",
                "Connect to ipv4#127.0.0.1:1 failed: Connection refused",
            ),
            (
                "ssl://127.0.0.1:9093/1: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: why (after 5ms in \
                 state SSL_HANDSHAKE)",
                "SSL handshake failed: certificate verify failed: why",
            ),
            (
                "[thrd:127.0.0.1:9094/bootstrap]: 127.0.0.1:9094/bootstrap: Disconnected: receive 0 after POLLIN (after 7ms in state UP)",
                "Disconnected: receive 0 after POLLIN",
            ),
            ("Local: Timed out", "Local: Timed out"),
        ] {
            assert_eq!(plain(reason), says);
        }
    }
}
