//! How the broker is reached: flags and files become an address, credentials and TLS.

mod address;
mod mended;
mod reactor;
mod tls;
mod wire;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lapin::ConnectionProperties;
use lapin::auth::AuthProvider;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use sidecar::Secret;
use sidecar::cli::value;

use self::address::Address;
use self::tls::Tls;
use self::wire::Turn;
pub(crate) use self::wire::{PARTING, Wire};

/// Which broker, and as whom.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "The broker")]
pub(crate) struct BrokerArgs {
    /// The broker: `amqp://HOST`, `amqps://HOST:5671/VHOST`. Where it holds a password, give it as LONGSHORE_URL: a command line is
    /// seen by all.
    #[arg(long, value_name = "URL", value_parser = secret)]
    url: Secret,
    /// Who we are; over what the URL says [default: guest].
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// A file with the password; over what the URL says. Read again for each connection.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Let our certificate say who we are (SASL EXTERNAL), and no name and password.
    #[arg(long, requires = "cert_file", conflicts_with_all = ["username", "password_file"])]
    external: bool,
    /// Certificates of the authorities that the broker is believed by, and no others [default: the system's].
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Our own certificate, where the broker asks for one.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// How long the broker may be silent before it counts as lost.
    #[arg(long, value_parser = heartbeat, value_name = "DURATION", default_value = "30s")]
    heartbeat: Duration,
}

/// A broker, and all that is needed to speak with it.
#[derive(Clone)]
pub(crate) struct Broker {
    address: Address,
    login: Login,
    tls: Option<Tls>,
    heartbeat: Duration,
    turn: Turn,
}

/// Who we are.
#[derive(Clone)]
enum Login {
    /// By name and password.
    Plain { name: String, password: Password },
    /// By our certificate.
    External,
}

#[derive(Clone)]
enum Password {
    /// As the URL has it.
    Known(Secret),
    /// As it is in a file whenever it is needed.
    In(PathBuf),
}

/// Why a broker cannot be spoken with, before it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BrokerError {
    /// What `--url` says is nowhere; said without it, since it may hold a password.
    #[error("--url: {0}")]
    Url(String),
    /// A file that a flag names cannot be used.
    #[error("{flag} {path:?}: {why}")]
    File {
        /// Which flag.
        flag: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A flag means nothing without TLS.
    #[error("{0} does nothing without TLS: write --url amqps://…")]
    NoTls(&'static str),
    /// What certificates and key come to is nothing that TLS could be spoken with.
    #[error("--ca-file, --cert-file, --key-file: {0}")]
    Tls(String),
}

/// Whatever is wrong with it is said later: clap would show it.
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::from(text))
}

fn heartbeat(text: &str) -> Result<Duration, String> {
    let heartbeat = value::positive_duration(text)?;
    match heartbeat.as_secs() {
        1..=3_600 if heartbeat.subsec_nanos() == 0 => Ok(heartbeat),
        _ => Err("the protocol has whole seconds, and RabbitMQ needs a few: write 5s to 1h".to_owned()),
    }
}

impl BrokerArgs {
    /// Reads the files once, so that what is wrong with them is known at once.
    ///
    /// # Errors
    /// [`BrokerError`], naming flag and file.
    pub(crate) fn broker(self) -> Result<Broker, BrokerError> {
        let address = Address::parse(self.url.expose()).map_err(BrokerError::Url)?;
        let for_tls = [("--ca-file", &self.ca_file), ("--cert-file", &self.cert_file)];
        if let Some((flag, _)) = for_tls.into_iter().find(|(_, file)| file.is_some() && !address.tls) {
            return Err(BrokerError::NoTls(flag));
        }
        let login = if self.external {
            Login::External
        } else {
            let guest = || "guest".to_owned();
            let known = address.password.clone().unwrap_or_else(|| Secret::from("guest"));
            Login::Plain {
                name: self.username.or_else(|| address.username.clone()).unwrap_or_else(guest),
                password: self.password_file.map_or(Password::Known(known), Password::In),
            }
        };
        let identity = self.cert_file.zip(self.key_file);
        let tls = address.tls.then_some(Tls { authorities: self.ca_file, identity });
        let broker = Broker { address, login, tls, heartbeat: self.heartbeat, turn: Turn::default() };
        broker.uri()?;
        broker.tls.as_ref().map(Tls::connector).transpose()?;
        Ok(broker)
    }
}

impl Broker {
    /// The virtual host.
    pub(crate) fn vhost(&self) -> &str {
        &self.address.vhost
    }

    /// Where it is, for people, and by which it is known.
    pub(crate) fn place(&self) -> String {
        self.address.to_string()
    }

    /// How long the broker may be silent, or take to answer.
    pub(crate) fn patience(&self) -> Duration {
        self.heartbeat
    }

    /// What is done to speak with it, for [`Trouble`](crate::trouble::Trouble).
    pub(crate) fn reaching(&self) -> String {
        format!("reach the broker at {}", self.whom())
    }

    /// Whom it speaks with and as whom, for people.
    pub(crate) fn whom(&self) -> String {
        let who = match (&self.login, &self.tls) {
            (Login::Plain { name, .. }, _) => format!("as {name}"),
            (Login::External, Some(Tls { identity: Some((certificate, _)), .. })) => {
                format!("as the holder of {}", certificate.display())
            }
            (Login::External, _) => "by certificate".to_owned(),
        };
        format!("{}, {who}", self.address)
    }

    fn uri(&self) -> Result<AMQPUri, BrokerError> {
        let userinfo = match &self.login {
            Login::Plain { name, password } => {
                AMQPUserInfo { username: name.clone(), password: password.get()?.expose().to_owned() }
            }
            Login::External => AMQPUserInfo { username: String::new(), password: String::new() },
        };
        let query = AMQPQueryString {
            heartbeat: Some(u16::try_from(self.heartbeat.as_secs()).unwrap_or(u16::MAX)),
            ..AMQPQueryString::default()
        };
        Ok(AMQPUri {
            scheme: if self.tls.is_some() { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
            authority: AMQPAuthority { userinfo, host: self.address.host.clone(), port: self.address.port },
            vhost: self.address.vhost.clone(),
            query,
        })
    }

    /// What a connection says of itself. lapin's own recovery stays off: what is to be done anew is ours to know.
    fn properties(&self) -> ConnectionProperties {
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("{} {}", env!("CARGO_PKG_NAME"), std::process::id()).into())
            .with_client_property("product".into(), env!("CARGO_PKG_NAME").into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
        match self.login {
            Login::Plain { .. } => properties,
            Login::External => properties.with_auth_provider(External),
        }
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whom())
    }
}

impl Password {
    fn get(&self) -> Result<Secret, BrokerError> {
        let path = match self {
            Self::Known(secret) => return Ok(secret.clone()),
            Self::In(path) => path,
        };
        let why = |error: std::io::Error| error.to_string();
        Secret::read(path).map_err(|error| BrokerError::File {
            flag: "--password-file",
            path: path.clone(),
            why: why(error),
        })
    }
}

/// What lapin's trait does by itself: EXTERNAL, without an answer.
struct External;

impl AuthProvider for External {}
