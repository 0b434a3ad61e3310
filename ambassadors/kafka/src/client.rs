//! How brokers are reached: flags and files become the settings of librdkafka, its log becomes ours.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use sidecar::Secret;
use tracing::{debug, info, warn};

use crate::trouble::HUNG_UP;

/// Which brokers, and as whom.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "The brokers")]
pub(crate) struct ClientArgs {
    /// Brokers to begin with.
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    brokers: Vec<String>,
    /// Any setting of librdkafka's, as often as needed; wins over every other flag.
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,
    /// A file of such settings, one to a line; of Kafka's own tools' file too, but for what only Java has (`sasl.jaas.config`).
    #[arg(long, value_name = "FILE")]
    properties_file: Option<PathBuf>,
    /// Speak TLS; said by --ca-file and --cert-file too.
    #[arg(long)]
    tls: bool,
    /// Certificates of the authorities that brokers are believed by [default: the system's].
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Our own certificate, where brokers ask for one.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// What its key is encrypted with.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    key_password_file: Option<PathBuf>,
    /// How to say who we are [default: `plain` with --username].
    #[arg(long, value_enum)]
    sasl: Option<Mechanism>,
    /// Who we are.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// A file with the password.
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// A file with a token, which somebody keeps fresh (of --sasl oauthbearer).
    #[arg(long, value_name = "FILE")]
    oauth_token_file: Option<PathBuf>,
}

/// `--sasl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
enum Mechanism {
    /// Name and password, as they are: only over TLS.
    Plain,
    /// Name and password, which are not sent.
    #[value(name = "scram-sha-256")]
    ScramSha256,
    /// The same with a longer hash.
    #[value(name = "scram-sha-512")]
    ScramSha512,
    /// A token, of --oauth-token-file.
    Oauthbearer,
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::Oauthbearer => "OAUTHBEARER",
        }
    }
}

/// The second names that librdkafka has for settings (`_RK_C_ALIAS` in its `rdkafka_conf.c`), and the first. It is handed settings in no
/// order, so that of two names of one either would win. Those of settings that this build of it knows.
const ALIASES: [(&str, &str); 9] = [
    ("acks", "request.required.acks"),
    ("bootstrap.servers", "metadata.broker.list"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
];

/// The one name of a setting by which it is kept.
fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, first)| first)
}

/// Brokers, and all that is needed to speak with them.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// By their [`canonical`] names.
    properties: BTreeMap<String, String>,
    token: Option<PathBuf>,
}

/// Why brokers cannot be spoken with, before they were asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A file that a flag names cannot be read.
    #[error("{flag} {path:?}: {error}")]
    File {
        /// Which flag.
        flag: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A line of the file is no setting.
    #[error("--properties-file {path:?}, line {line}: {why}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why not.
        why: String,
    },
    /// A file of TLS's does not hold what its flag says.
    #[error("{flag} {path:?} holds no {what}: {why}")]
    Pem {
        /// Which flag.
        flag: &'static str,
        /// Which file.
        path: String,
        /// What it should hold.
        what: &'static str,
        /// As librdkafka says it.
        why: String,
    },
    /// Tokens come from nowhere.
    #[error("--sasl oauthbearer needs --oauth-token-file, which somebody keeps fresh: tokens are fetched from nowhere")]
    NoToken,
    /// librdkafka does not take a setting.
    #[error(
        "librdkafka refuses the settings: {0}; see --property and https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md"
    )]
    Property(String),
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a setting is NAME=VALUE")?;
    match name.trim() {
        "" => Err("a setting is NAME=VALUE".to_owned()),
        name => Ok((name.to_owned(), value.trim().to_owned())),
    }
}

impl ClientArgs {
    /// Reads the files, and lets librdkafka judge the settings.
    ///
    /// # Errors
    /// [`ClusterError`], naming flag and file.
    pub(crate) fn cluster(self) -> Result<Cluster, ClusterError> {
        let mut properties = BTreeMap::new();
        let mut set = |name: &str, value: String| drop(properties.insert(canonical(name).to_owned(), value));
        set("bootstrap.servers", self.brokers.join(","));
        set("client.id", env!("CARGO_PKG_NAME").to_owned());
        let tls = self.tls || self.ca_file.is_some() || self.cert_file.is_some();
        let token = self.oauth_token_file;
        let mechanism = self.sasl.or_else(|| token.is_some().then_some(Mechanism::Oauthbearer));
        let mechanism = mechanism.or_else(|| self.username.is_some().then_some(Mechanism::Plain));
        let protocol = match (tls, mechanism.is_some()) {
            (false, false) => "plaintext",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        };
        set("security.protocol", protocol.to_owned());
        for (flag, name, file) in [
            ("--ca-file", "ssl.ca.location", &self.ca_file),
            ("--cert-file", "ssl.certificate.location", &self.cert_file),
            ("--key-file", "ssl.key.location", &self.key_file),
        ] {
            if let Some(file) = file {
                // librdkafka says that it cannot, and not of what.
                std::fs::File::open(file).map_err(|error| ClusterError::File { flag, path: file.clone(), error })?;
                set(name, file.display().to_string());
            }
        }
        if let Some(mechanism) = mechanism {
            set("sasl.mechanism", mechanism.name().to_owned());
        }
        if let Some(name) = self.username {
            set("sasl.username", name);
        }
        for (flag, name, file) in [
            ("--password-file", "sasl.password", &self.password_file),
            ("--key-password-file", "ssl.key.password", &self.key_password_file),
        ] {
            if let Some(file) = file {
                set(name, secret(flag, file)?.expose().to_owned());
            }
        }
        if let Some(file) = &token {
            secret("--oauth-token-file", file)?;
        }
        if let Some(file) = &self.properties_file {
            let text = std::fs::read_to_string(file).map_err(|error| ClusterError::File {
                flag: "--properties-file",
                path: file.clone(),
                error,
            })?;
            for (line, text) in (1..).zip(text.lines()) {
                if text.trim().is_empty() || text.trim_start().starts_with('#') {
                    continue;
                }
                let (name, value) =
                    property(text).map_err(|why| ClusterError::Line { path: file.clone(), line, why })?;
                set(&name, value);
            }
        }
        for (name, value) in self.properties {
            set(&name, value);
        }
        if mechanism == Some(Mechanism::Oauthbearer) && token.is_none() {
            return Err(ClusterError::NoToken);
        }
        let cluster = Cluster { properties, token };
        cluster.judge()?;
        Ok(cluster)
    }
}

fn secret(flag: &'static str, file: &Path) -> Result<Secret, ClusterError> {
    Secret::read(file).map_err(|error| ClusterError::File { flag, path: file.to_owned(), error })
}

impl Cluster {
    /// Lets librdkafka read the settings, and the files that they name, by a client that has nobody to speak with.
    fn judge(&self) -> Result<(), ClusterError> {
        let mut config = self.config([]);
        config.remove(canonical("bootstrap.servers"));
        let judged: Result<BaseConsumer<Context>, _> = config.create_with_context(self.context());
        match judged {
            Ok(_) => Ok(()),
            // Without the value, which may be a secret whose name is misspelt.
            Err(KafkaError::ClientConfig(_, why, ..)) => Err(ClusterError::Property(why)),
            Err(KafkaError::ClientCreation(why)) => Err(self.blame(why)),
            Err(error) => Err(ClusterError::Property(error.to_string())),
        }
    }

    /// Which file it is, where it is one, that librdkafka cannot use.
    fn blame(&self, why: String) -> ClusterError {
        for (name, flag, what) in [
            ("ssl.ca.location", "--ca-file", "certificates in PEM"),
            ("ssl.certificate.location", "--cert-file", "certificate in PEM"),
            ("ssl.key.location", "--key-file", "key in PEM that --key-password-file opens, where it is encrypted"),
        ] {
            if let Some(why) = why.strip_prefix(name).and_then(|why| why.strip_prefix(" failed: ")) {
                let path = self.properties.get(name).cloned().unwrap_or_default();
                return ClusterError::Pem { flag, path, what, why: why.trim().to_owned() };
            }
        }
        ClusterError::Property(why)
    }

    /// The settings of a client: the user's, but for those of `ours` that what we promise rests on.
    pub(crate) fn config<const N: usize>(&self, ours: [(&str, &str); N]) -> ClientConfig {
        self.config_over(&[], &ours)
    }

    /// As [`config`](Self::config), over `defaults`, which the user may overrule.
    pub(crate) fn config_over(&self, defaults: &[(&str, &str)], ours: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Info);
        let users = self.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in defaults.iter().copied().chain(users).chain(ours.iter().copied()) {
            config.set(canonical(name), value);
        }
        config
    }

    /// Where librdkafka says what happens to it.
    pub(crate) fn context(&self) -> Context {
        Context { token: self.token.clone(), topic: Role::Served, complaints: Arc::default() }
    }

    /// Whom it speaks with and as whom, for people.
    pub(crate) fn whom(&self) -> String {
        let of = |name: &str| self.properties.get(canonical(name)).map(String::as_str);
        let protocol = of("security.protocol").unwrap_or("plaintext").to_ascii_lowercase();
        let who = match of("sasl.mechanism") {
            Some(mechanism) => match of("sasl.username") {
                Some(name) => format!("as {name} by {mechanism}"),
                None => format!("by {mechanism}"),
            },
            None => match of("ssl.certificate.location") {
                Some(certificate) => format!("as the holder of {certificate}"),
                None => "as nobody in particular".to_owned(),
            },
        };
        format!("{}, {who}, {protocol}", of("bootstrap.servers").unwrap_or_default())
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("brokers", &self.properties.get(canonical("bootstrap.servers")))
            .finish_non_exhaustive()
    }
}

/// What a client of librdkafka's tells, and asks for.
///
/// Its calls fail with "timed out" whatever keeps the brokers from answering; what does, it tells here, once, beside them. So the worst of
/// it is remembered until something succeeds.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    token: Option<PathBuf>,
    topic: Role,
    complaints: Arc<Mutex<Complaints>>,
}

/// What the topic that a client speaks of is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// That of --topic.
    Served,
    /// That of --dead-letter-topic.
    DeadLetters,
}

/// What librdkafka complained of since it last succeeded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Complaints {
    /// The worst: what it is, and its words.
    pub(crate) worst: Option<(RDKafkaErrorCode, String)>,
    /// No broker is left that it could ask.
    pub(crate) all_down: bool,
}

impl Complaints {
    fn add(&mut self, code: RDKafkaErrorCode, reason: &str) {
        if code == RDKafkaErrorCode::AllBrokersDown {
            self.all_down = true;
            return;
        }
        // Of two as bad the later: what is mended is not said any more.
        if self.worst.as_ref().is_none_or(|(worst, _)| badness(code) >= badness(*worst)) {
            self.worst = Some((code, reason.to_owned()));
        }
    }
}

/// Refused credentials are told although, of three brokers, one is merely away.
fn badness(code: RDKafkaErrorCode) -> u8 {
    match code {
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => 2,
        RDKafkaErrorCode::SSL => 1,
        _ => 0,
    }
}

impl Context {
    /// For a client that speaks of the dead letter topic.
    pub(crate) fn of_dead_letters(self) -> Self {
        Self { topic: Role::DeadLetters, ..self }
    }

    /// Which topic its client speaks of.
    pub(crate) fn topic(&self) -> Role {
        self.topic
    }

    /// What was complained of since the last [`content`](Self::content).
    pub(crate) fn complaints(&self) -> Complaints {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn complain(&self, code: RDKafkaErrorCode, reason: &str) {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).add(code, reason);
    }

    /// Something succeeded: what was complained of before is over.
    pub(crate) fn content(&self) {
        *self.complaints.lock().unwrap_or_else(PoisonError::into_inner) = Complaints::default();
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if message.contains(HUNG_UP) {
            // The one thing that it tells nowhere else.
            self.complain(RDKafkaErrorCode::BrokerTransportFailure, message);
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                warn!(facility, message, "librdkafka");
            }
            // Whatever concerns us comes as an error too, and is told once, by whoever it keeps from working.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
                info!(facility, message, "librdkafka");
            }
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => debug!(facility, message, "librdkafka"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(%error, reason, "librdkafka");
        if let Some(code) = error.rdkafka_error_code() {
            self.complain(code, reason);
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        let file = self.token.as_deref().ok_or("--sasl oauthbearer needs --oauth-token-file")?;
        let token = Secret::read(file).map_err(|error| format!("--oauth-token-file {file:?}: {error}"))?;
        token_of(&token).map_err(Into::into)
    }
}

impl ConsumerContext for Context {}

/// A JSON Web Token says itself whose it is and how long it holds (RFC 7519); any other holds for as long as it takes to look again.
fn token_of(token: &Secret) -> Result<OAuthToken, String> {
    let claims = token.expose().split('.').nth(1).and_then(|claims| {
        let claims = data_encoding::BASE64URL_NOPAD.decode(claims.as_bytes()).ok()?;
        serde_json::from_slice::<serde_json::Value>(&claims).ok()
    });
    let claim = |name: &str| claims.as_ref().and_then(|claims| claims.get(name));
    let lifetime = match claim("exp").and_then(serde_json::Value::as_f64) {
        Some(seconds) => (seconds * 1_000.0) as i64,
        None => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
            i64::try_from(now.as_millis()).unwrap_or(i64::MAX).saturating_add(60_000)
        }
    };
    let principal = claim("sub").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    Ok(OAuthToken { token: token.expose().to_owned(), principal_name: principal, lifetime_ms: lifetime })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        client: ClientArgs,
    }

    fn cluster(properties: &[String]) -> Cluster {
        let line = ["p", "--brokers", "flag:1", "--sasl", "plain"].map(str::to_owned);
        let credentials = ["sasl.username=us", "sasl.password=secret"].map(str::to_owned);
        let properties = credentials.iter().chain(properties).map(|property| format!("--property={property}"));
        let line = Line::try_parse_from(line.into_iter().chain(properties)).unwrap_or_else(|error| panic!("{error}"));
        line.client.cluster().expect("librdkafka takes it")
    }

    /// What a client made of it would be told.
    fn told(config: &ClientConfig, name: &str) -> String {
        config.create_native_config().and_then(|native| native.get(name)).expect("a setting")
    }

    #[test]
    fn by_whichever_name_a_setting_is_said_the_last_word_is_the_users_and_never_chance() {
        let ours = |name: &str| match name {
            "bootstrap.servers" => "ours:1",
            "compression.type" => "zstd",
            "sasl.mechanism" => "SCRAM-SHA-256",
            _ => "2",
        };
        let theirs = |name: &str| match name {
            "bootstrap.servers" => "theirs:1",
            "compression.type" => "gzip",
            "sasl.mechanism" => "SCRAM-SHA-512",
            _ => "1",
        };
        for (alias, first) in ALIASES {
            for (weak, strong) in [(alias, first), (first, alias)] {
                let cluster = cluster(&[format!("{weak}={}", ours(alias)), format!("{strong}={}", theirs(alias))]);
                // As often as it takes for one order of two to be the other.
                for _ in 0..8 {
                    for name in [alias, first] {
                        assert_eq!(
                            told(&cluster.config_over(&[(weak, ours(alias))], &[]), name),
                            theirs(alias),
                            "{name}"
                        );
                        assert_eq!(told(&cluster.config([(weak, ours(alias))]), name), ours(alias), "{name}");
                    }
                }
            }
        }
        let cluster = cluster(&["sasl.mechanisms=SCRAM-SHA-512".to_owned(), "metadata.broker.list=b:1".to_owned()]);
        assert_eq!(cluster.whom(), "b:1, as us by SCRAM-SHA-512, sasl_plaintext");
    }
}
