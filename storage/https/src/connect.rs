//! Connections that lead only where they may: names are resolved here, every address is judged, and what is connected to is an
//! address that was judged, not a name that is looked up again.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use storage::BoxFuture;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::address::Admission;

/// How long one address may take to answer.
const CONNECT: Duration = Duration::from_secs(10);

/// Who knows the addresses of names.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// Every address of `host`.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The machine's own resolver, as every program here uses it.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// A host has no address that may be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Inadmissible {
    #[error("{host} is {address}, {what}; if that is meant, name it by --https-allow-private")]
    Private { host: String, address: IpAddr, what: &'static str },
    #[error("{host} is {address}, which --https-allow-private does not name: http: is spoken to nobody else")]
    Plain { host: String, address: IpAddr },
}

/// Makes connections to admitted addresses.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) admission: Arc<Admission>,
}

impl Connector {
    async fn connect(self, uri: Uri) -> io::Result<TcpStream> {
        let host = uri.host().ok_or_else(|| io::Error::other("the URL names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let plain = uri.scheme_str() == Some("http");
        let port = uri.port_u16().unwrap_or(if plain { 80 } else { 443 });
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => self.resolver.resolve(host).await?,
        };
        let addresses = self.admit(host, plain, addresses)?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        for address in addresses {
            match tokio::time::timeout(CONNECT, TcpStream::connect(SocketAddr::new(address, port))).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Ok(Err(error)) => last = io::Error::new(error.kind(), format!("{address} port {port}: {error}")),
                Err(_) => {
                    last = io::Error::new(io::ErrorKind::TimedOut, format!("{address} port {port} does not answer"));
                }
            }
        }
        Err(last)
    }

    /// Those of `addresses` that may be reached.
    fn admit(&self, host: &str, plain: bool, addresses: Vec<IpAddr>) -> io::Result<Vec<IpAddr>> {
        let mut refused = None;
        let mut admitted = Vec::with_capacity(addresses.len());
        for address in addresses {
            let host = || host.to_owned();
            match self.admission.judge(&host(), address) {
                Err(what) => refused = Some(Inadmissible::Private { host: host(), address, what }),
                Ok(()) if plain && !self.admission.names(&host(), address) => {
                    refused = Some(Inadmissible::Plain { host: host(), address });
                }
                Ok(()) => admitted.push(address),
            }
        }
        match refused {
            Some(refused) if admitted.is_empty() => Err(io::Error::new(io::ErrorKind::PermissionDenied, refused)),
            _ => Ok(admitted),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(uri).await.map(TokioIo::new) })
    }
}
