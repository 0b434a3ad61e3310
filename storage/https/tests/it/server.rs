//! A TLS server that answers as it is told, down to the bytes on the wire.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// From 0, over all connections.
    pub(crate) n: usize,
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Where its `Range` begins.
    pub(crate) fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.split('-').next()?.parse().ok()
    }
}

/// What is done in answer.
pub(crate) enum Reply {
    /// These bytes, and the connection stays.
    Answer(Vec<u8>),
    /// These bytes, and the connection is cut, without a word of TLS.
    Cut(Vec<u8>),
    /// These bytes, and then a byte now and then, for ever.
    Drip(Vec<u8>),
    /// These bytes, and then as many as are taken, for ever.
    Flood(Vec<u8>),
    /// These bytes, and then nothing, for ever.
    Silence(Vec<u8>),
}

/// An answer's head and body; the length is said unless `headers` do.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} X\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    [text.into_bytes(), body.to_vec()].concat()
}

pub(crate) type Handler = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// A listener on an address of its own; ends with the test's runtime.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Speaks TLS with a certificate of `tls` on 127.0.0.1.
    pub(crate) async fn start(tls: &Tls, handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), 0, Some(tls), Arc::new(handler)).await
    }

    /// Speaks no TLS.
    pub(crate) async fn start_plain(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), 0, None, Arc::new(handler)).await
    }

    pub(crate) async fn start_on(ip: IpAddr, port: u16, tls: Option<&Tls>, handler: Handler) -> Self {
        let listener = TcpListener::bind((ip, port)).await.expect("an address to listen on");
        Self::serve(listener, tls, handler, Duration::ZERO)
    }

    /// Takes bodies a little at a time, 20 times a second: by a clock that is paused, and goes on by that.
    pub(crate) async fn start_slow(tls: &Tls, handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(64 * 1024).expect("set");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("an address to listen on");
        let listener = socket.listen(8).expect("listening");
        Self::serve(listener, Some(tls), Arc::new(handler), Duration::from_millis(50))
    }

    fn serve(listener: TcpListener, tls: Option<&Tls>, handler: Handler, pause: Duration) -> Self {
        let address = listener.local_addr().expect("bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (noted, acceptor) = (Arc::clone(&asked), tls.map(Tls::acceptor));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, noted, acceptor) = (Arc::clone(&handler), Arc::clone(&noted), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(stream, handler, noted, pause).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, handler, noted, pause).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, asked }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Everything that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    handler: Handler,
    noted: Arc<Mutex<Vec<Asked>>>,
    pause: Duration,
) {
    while let Some(mut asked) = read(&mut stream, pause).await {
        {
            let mut noted = noted.lock().expect("not poisoned");
            asked.n = noted.len();
            noted.push(asked.clone());
        }
        let (bytes, then) = match handler(&asked) {
            Reply::Answer(bytes) => (bytes, None),
            Reply::Cut(bytes) => (bytes, Some(Then::Cut)),
            Reply::Drip(bytes) => (bytes, Some(Then::Drip)),
            Reply::Flood(bytes) => (bytes, Some(Then::Flood)),
            Reply::Silence(bytes) => (bytes, Some(Then::Silence)),
        };
        if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        let Some(then) = then else { continue };
        let bytes = match then {
            Then::Cut => return,
            Then::Silence => std::future::pending().await,
            Then::Drip => vec![b'.'],
            Then::Flood => vec![b'.'; 64 * 1024],
        };
        while stream.write_all(&bytes).await.is_ok() && stream.flush().await.is_ok() {
            if bytes.len() == 1 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        return;
    }
}

enum Then {
    Cut,
    Drip,
    Flood,
    Silence,
}

async fn read(stream: &mut (impl AsyncRead + Unpin), pause: Duration) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("requests are ASCII");
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let headers: BTreeMap<_, _> = lines.filter_map(pair).collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0; length];
    for part in body.chunks_mut(128 * 1024) {
        stream.read_exact(part).await.ok()?;
        if !pause.is_zero() {
            tokio::time::advance(pause).await;
        }
    }
    Some(Asked { n: 0, method, path, headers, body })
}

/// An authority of the test's own, and a certificate for every name it uses.
pub(crate) struct Tls {
    /// To be trusted.
    pub(crate) ca_bundle: PathBuf,
    config: Arc<ServerConfig>,
    _dir: tempfile::TempDir,
}

impl Tls {
    pub(crate) fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).expect("an authority");
        let issuer = rcgen::Issuer::new(params, key);
        let names = ["good.test", "other.test", "127.0.0.1", "127.0.0.2", "127.0.0.3"].map(str::to_owned).to_vec();
        let leaf_key = rcgen::KeyPair::generate().expect("a key");
        let leaf = rcgen::CertificateParams::new(names).expect("names").signed_by(&leaf_key, &issuer);
        let chain = vec![leaf.expect("a certificate").der().clone()];
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::try_from(leaf_key.serialize_der()).expect("a key"))
            .expect("a configuration");
        let dir = tempfile::tempdir().expect("a directory");
        let ca_bundle = dir.path().join("ca.pem");
        std::fs::write(&ca_bundle, authority.pem()).expect("written");
        Self { ca_bundle, config: Arc::new(config), _dir: dir }
    }

    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}
