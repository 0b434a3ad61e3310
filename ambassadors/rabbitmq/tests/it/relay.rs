//! What stands between a client and the broker, and may let go of connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A port of its own before an address.
pub(crate) struct Relay {
    port: u16,
    /// Counts up at each cut.
    cuts: watch::Sender<u64>,
    is_shut: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// Passes on what comes.
    pub(crate) async fn before(address: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (cuts, is_shut) = (watch::Sender::new(0), Arc::new(AtomicBool::new(false)));
        let (cut, shut) = (cuts.clone(), Arc::clone(&is_shut));
        let accepting = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if shut.load(Ordering::SeqCst) {
                    continue;
                }
                let (mut cut, address) = (cut.subscribe(), address.clone());
                tokio::spawn(async move {
                    let Ok(mut broker) = TcpStream::connect(address).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut broker) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { port, cuts, is_shut, accepting }
    }

    /// The same URL, by this way.
    pub(crate) fn url(&self, url: &str) -> String {
        let (before, after) = url.rsplit_once('@').expect("a user");
        let (_, path) = after.split_once('/').expect("a virtual host");
        format!("{before}@127.0.0.1:{}/{path}", self.port)
    }

    /// Lets go of all connections.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Lets go of all connections, and takes none for now.
    pub(crate) fn shut(&self) {
        self.is_shut.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Takes connections again.
    pub(crate) fn open(&self) {
        self.is_shut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
