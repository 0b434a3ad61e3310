//! Where the contract is: a port, or a socket in the file system.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use sidecar::cli::value;
use sidecar::{Failure, FailureExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixSocket, UnixStream};
use tracing::debug;

/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: u32 = 1_024;
/// Who may connect: the owner and the group.
const MODE: u32 = 0o660;

/// What `--listen` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port; 0 for a free one.
    Tcp(SocketAddr),
    /// The path of a socket.
    Unix(PathBuf),
}

impl Listen {
    /// Reads `127.0.0.1:8080` or `unix:/run/longshore/items.sock`.
    ///
    /// # Errors
    /// What is wrong with it, for clap.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("write unix:PATH, such as unix:/run/longshore/items.sock".into()),
            // Written as a URL, its host is empty.
            Some(path) => {
                let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
                Ok(Self::Unix(path.into()))
            }
            None => value::address(text).map(Self::Tcp).map_err(|error| format!("{error}; or unix:PATH for a socket")),
        }
    }

    /// Takes the place. Of a socket whose owner was killed, the new one takes the place.
    ///
    /// # Errors
    /// Exit 78, when it is taken by somebody or something else, naming it and the flag.
    pub(super) async fn bind(&self) -> Result<Listener, Failure> {
        let doing = format!("listen on {self} (choose another address with --listen)");
        match self {
            Self::Tcp(address) => TcpListener::bind(address).await.map(Listener::Tcp).or_exit(78, doing),
            Self::Unix(path) => bind_unix(path).await.or_exit(78, doing),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A place that is taken.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    /// The file goes before the socket is closed, so that nobody takes it for one that nobody answers on.
    Unix(SocketFile, UnixListener),
}

/// A connection of either kind.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin> Connection for C {}

impl Listener {
    /// Where it is, with the port that was chosen.
    pub(super) fn place(&self) -> io::Result<Listen> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Listen::Tcp),
            Self::Unix(file, _) => Ok(Listen::Unix(file.path.clone())),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Box<dyn Connection>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _peer) = listener.accept().await?;
                // A line of a watch goes out by itself, however small it is.
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(%error, "small writes may be late");
                }
                Ok(Box::new(stream))
            }
            Self::Unix(_, listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// The file of a socket of ours; removed when it is dropped, unless something else has its place by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    is: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nobody puts another socket in its place between the look and the removal.
        let _turn = turn(&self.path);
        let there = std::fs::symlink_metadata(&self.path).ok().map(|metadata| identity(&metadata));
        if there == Some(self.is) {
            // What remains is replaced by whoever comes next.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

async fn bind_unix(path: &Path) -> io::Result<Listener> {
    // Two that start at once must not each take the other's socket for one that nobody answers on.
    let _turn = turn(path);
    clear(path).await?;
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    let file = SocketFile { path: path.to_owned(), is: identity(&std::fs::symlink_metadata(path)?) };
    // Before it listens, nobody can connect.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
    Ok(Listener::Unix(file, socket.listen(BACKLOG)?))
}

/// The right to look at a socket of this directory and replace it, where the file system has locks.
fn turn(path: &Path) -> Option<impl Sized> {
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let dir = rustix::fs::open(dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    rustix::fs::flock(&dir, FlockOperation::LockExclusive).ok()?;
    Some(dir)
}

/// Removes a socket that nobody answers on.
async fn clear(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something else, which is no socket"));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // With its queue full, there is somebody all the same.
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        Ok(_) | Err(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_port_or_a_path() {
        let read = |text: &str| Listen::parse(text).map(|listen| listen.to_string());
        assert_eq!(read("127.0.0.1:0").as_deref(), Ok("127.0.0.1:0"));
        assert_eq!(read("unix:/run/a b.sock").as_deref(), Ok("unix:/run/a b.sock"));
        assert_eq!(read("unix:///run/a.sock").as_deref(), Ok("unix:/run/a.sock"));
        assert_eq!(read("unix:a.sock").as_deref(), Ok("unix:a.sock"));
        assert!(read("unix:").is_err_and(|error| error.contains("unix:/run")));
        assert!(
            read("/run/a.sock").is_err_and(|error| error.contains("127.0.0.1:8080") && error.contains("unix:PATH"))
        );
    }
}
