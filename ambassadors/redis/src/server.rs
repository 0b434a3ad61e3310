//! How the server is reached: flags and files become connections.

mod address;
mod connection;
mod sentinel;
mod step;
mod tls;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use redis::{Value, cmd};
use sidecar::Secret;
use sidecar::cli::value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use self::address::Address;
pub(crate) use self::connection::Connection;
use self::sentinel::{SentinelArgs, Sentinels};
pub(crate) use self::step::{Call, MAY, Step};
use self::tls::Tls;
use crate::trouble::Trouble;

/// Redis' own.
const PORT: u16 = 6379;

/// How often a cluster may send us on to another of its servers, before we take it for one that does not know itself.
const REDIRECTIONS: usize = 5;

/// Which server, and as whom.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "The server")]
pub(crate) struct ServerArgs {
    /// `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]`, over TLS `rediss://…`. With a password in it, give it as the variable. Of a cluster
    /// any server will do.
    #[arg(long, value_name = "URL")]
    url: Place,
    #[command(flatten)]
    sentinel: SentinelArgs,
    /// Who we are: a user of the server's ACL, over what the URL says.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// A file with the password, over what the URL says; read again for every connection.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Certificates of the authorities that the server is believed by [default: the system's]. They are read again for every
    /// connection, as are the other two.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Our own certificate, where the server asks for one.
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// After how long without an answer the connection is made anew.
    #[arg(long, value_parser = value::positive_duration, value_name = "DURATION", default_value = "10s")]
    stall_after: Duration,
}

/// What may hold a password.
#[derive(Clone)]
struct Place(Secret);

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<String> for Place {
    fn from(text: String) -> Self {
        Self(Secret::from(text.as_str()))
    }
}

/// A server, and all that is needed to speak with it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// By its name alone, where Sentinels know the rest.
    address: Address,
    sentinels: Option<Sentinels>,
    /// What is asked of it: in a cluster that says which server is ours.
    key: String,
    db: i64,
    user: Option<String>,
    password: Password,
    tls: Option<Tls>,
    stall_after: Duration,
}

#[derive(Clone, Debug)]
enum Password {
    None,
    Known(Secret),
    In(PathBuf),
}

/// Why a server cannot be spoken with, before it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The URL is none. It is not shown: it may hold a password.
    #[error("--url {0}; it is redis://[USER[:PASSWORD]@]HOST[:PORT][/DB], or rediss://… over TLS")]
    Url(&'static str),
    /// TLS is spoken where the URL says so.
    #[error("{0} is for TLS, and --url does not say rediss://")]
    NoTls(&'static str),
    /// A file that a flag names is of no use.
    #[error("{flag} {path:?}: {why}")]
    File {
        /// Which flag.
        flag: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

impl ServerArgs {
    /// Reads the URL, and looks at the files. The key is what is to be served there.
    ///
    /// # Errors
    /// [`ServerError`], naming the flag.
    pub(crate) fn server(self, key: &str) -> Result<Server, ServerError> {
        let url = Url::parse(self.url.0.expose()).map_err(|_| ServerError::Url("is no URL"))?;
        let over_tls = match url.scheme() {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(ServerError::Url("is of another scheme")),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(ServerError::Url("names no host"))?;
        let path = url.path().trim_matches('/');
        let db = if path.is_empty() { Some(0) } else { path.parse().ok().filter(|db| *db >= 0) };
        let said = |text: &str| {
            let text = percent_encoding::percent_decode_str(text).decode_utf8();
            text.map(std::borrow::Cow::into_owned).map_err(|_| ServerError::Url("says who we are in no UTF-8"))
        };
        let user = Some(url.username()).filter(|user| !user.is_empty()).map(said).transpose()?;
        let password = url.password().map(said).transpose()?;
        let files = [("--ca-file", &self.ca_file), ("--cert-file", &self.cert_file)];
        if let Some((flag, _)) = files.into_iter().find(|(_, file)| file.is_some() && !over_tls) {
            return Err(ServerError::NoTls(flag));
        }
        let sentinels = self.sentinel.sentinels();
        if sentinels.is_some() && url.port().is_some() {
            return Err(ServerError::Url("says a port, which the Sentinels (--sentinel) tell"));
        }
        let server = Server {
            // As an address of the sixth version is written outside of a URL.
            address: Address {
                host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
                port: url.port().unwrap_or(PORT),
            },
            sentinels,
            key: key.to_owned(),
            db: db.ok_or(ServerError::Url("names no database by its number"))?,
            user: self.username.or(user),
            password: match (self.password_file, password) {
                (Some(file), _) => Password::In(file),
                (None, Some(password)) => Password::Known(Secret::from(password.as_str())),
                (None, None) => Password::None,
            },
            tls: over_tls.then(|| Tls::new(self.ca_file, self.cert_file.zip(self.key_file))),
            stall_after: self.stall_after,
        };
        server.password()?;
        server.sentinels.as_ref().map(Sentinels::password).transpose()?;
        server.tls.as_ref().map(Tls::connector).transpose()?;
        Ok(server)
    }
}

impl Server {
    /// A connection that is ready to be asked.
    ///
    /// # Errors
    /// [`Trouble`], also where nobody answers within `--stall-after`.
    pub(crate) async fn connect(&self) -> Result<Connection, Trouble> {
        let made = timeout(self.stall_after, self.connected()).await;
        made.unwrap_or_else(|_| Err(Trouble::mute(&self.doing(), self.stall_after)))
    }

    /// For people: where it is, and as whom it is asked. Without the password.
    pub(crate) fn whom(&self) -> String {
        let user = self.user.as_deref().unwrap_or("default");
        format!("{} as {user}, database {}", self.place(), self.db)
    }

    /// Which of its databases, for machines.
    pub(crate) fn database(&self) -> String {
        format!("database {}", self.db)
    }

    /// Where it is; a primary that Sentinels know is where they say.
    pub(crate) fn place(&self) -> String {
        match self.sentinels {
            None => self.address.to_string(),
            Some(_) => format!("primary {}", self.address.host),
        }
    }

    fn doing(&self) -> String {
        format!("connect to {}", self.place())
    }

    async fn connected(&self) -> Result<Connection, Trouble> {
        let mut at = match &self.sentinels {
            None => self.address.clone(),
            Some(sentinels) => sentinels.primary(self).await?,
        };
        for _ in 0..=REDIRECTIONS {
            let doing = if at == self.address { self.doing() } else { format!("{} at {at}", self.doing()) };
            let password = self.password().map_err(|error| Trouble::config(&doing, error))?;
            let connection = self.dial(&at, self.user.as_deref(), password, &doing).await?;
            if self.db != 0 {
                connection.ask::<Value>(cmd("SELECT").arg(self.db), &doing).await?;
            }
            match connection.moved(&self.key).await.and_then(|to| Address::moved(&to, &at)) {
                None => return Ok(connection),
                Some(to) => at = to,
            }
        }
        Err(Trouble::adrift(&self.doing(), &at.to_string()))
    }

    /// A connection to this one, which knows who we are. Not the client's own way, which does not tell what was answered to that.
    async fn dial(
        &self,
        at: &Address,
        user: Option<&str>,
        password: Option<Secret>,
        doing: &str,
    ) -> Result<Connection, Trouble> {
        let tls = self.tls.as_ref().map(Tls::connector).transpose();
        let tls = tls.map_err(|error| Trouble::config(doing, error))?;
        let away = |error: std::io::Error| Trouble::transport(doing, &error);
        let stream = TcpStream::connect((at.host.as_str(), at.port)).await.map_err(away)?;
        stream.set_nodelay(true).map_err(away)?;
        let connection = match tls {
            None => Connection::over(stream, self.stall_after, doing).await?,
            Some(connector) => {
                let name = Tls::name(&at.host).map_err(|error| Trouble::config(doing, error))?;
                let stream = connector.connect(name, stream).await.map_err(away)?;
                Connection::over(stream, self.stall_after, doing).await?
            }
        };
        if user.is_some() || password.is_some() {
            let auth = cmd("AUTH").arg(user).arg(password.as_ref().map_or("", Secret::expose)).take();
            connection.ask::<Value>(&auth, doing).await?;
        }
        Ok(connection)
    }

    /// What we are known by, as of now.
    fn password(&self) -> Result<Option<Secret>, ServerError> {
        Ok(match &self.password {
            Password::None => None,
            Password::Known(password) => Some(password.clone()),
            Password::In(path) => Some(read("--password-file", path)?),
        })
    }
}

/// What a file holds that a flag names, as of now.
fn read(flag: &'static str, path: &Path) -> Result<Secret, ServerError> {
    Secret::read(path).map_err(|error| ServerError::File { flag, path: path.to_owned(), why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        server: ServerArgs,
    }

    fn server(flags: &[&str]) -> Result<Server, ServerError> {
        let line = Line::try_parse_from(["test"].iter().chain(flags)).expect("flags");
        assert!(!format!("{:?}", line.server).contains("hunter2"));
        line.server.server("videos")
    }

    #[test]
    fn a_url_says_where_and_as_whom() {
        let plain = server(&["--url", "redis://:hunter2@[::1]/3"]).expect("a server");
        assert_eq!(plain.whom(), "[::1]:6379 as default, database 3");
        let named = server(&["--url", "redis://media:hunter%32@redis.example:1"]).expect("a server");
        assert_eq!(named.whom(), "redis.example:1 as media, database 0");
        assert!(!format!("{named:?}").contains("hunter2"));
        for (url, says) in [
            ("redis.example:6379", "is of another scheme"),
            ("http://redis.example", "is of another scheme"),
            ("redis://", "names no host"),
            ("redis://h/x", "names no database"),
            ("redis://h/-1", "names no database"),
            ("//", "is no URL"),
        ] {
            let error = server(&["--url", url]).expect_err(url).to_string();
            assert!(error.contains(says) && !error.contains("hunter2"), "{url}: {error}");
        }
        let primary = server(&["--url", "redis://my_Master", "--sentinel", "a:1,b"]).expect("a server");
        assert_eq!(primary.whom(), "primary my_Master as default, database 0");
        let port = server(&["--url", "redis://mymaster:6379", "--sentinel", "a"]).expect_err("a port of no use");
        assert!(port.to_string().contains("--sentinel"), "{port}");
        let over = server(&["--url", "redis://a:b@h", "--username", "c", "--password-file", "/not/there"]);
        assert!(over.expect_err("no file").to_string().contains("--password-file"), "the file is what counts");
        let no_tls = server(&["--url", "redis://h", "--ca-file", "/x"]).expect_err("no TLS");
        assert!(no_tls.to_string().contains("rediss://"), "{no_tls}");
        let absent = server(&["--url", "rediss://h", "--ca-file", "/not/there"]).expect_err("no file");
        assert!(absent.to_string().contains("--ca-file \"/not/there\""), "{absent}");
    }
}
