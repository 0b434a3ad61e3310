//! What stands between a client and the broker, and may let go of connections, and of what was said last on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore_tests::until;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A port of its own before an address.
pub(crate) struct Relay {
    port: u16,
    /// Counts up at each cut.
    cuts: watch::Sender<u64>,
    is_shut: Arc<AtomicBool>,
    /// Whether the broker hears nothing of a cut until the next.
    is_unnoticed: Arc<AtomicBool>,
    /// Whether what clients say is kept from the broker.
    is_deaf: watch::Sender<bool>,
    /// Held by us, by whoever accepts, and by each connection.
    held: Arc<()>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// Passes on what comes.
    pub(crate) async fn before(address: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (cuts, is_shut) = (watch::Sender::new(0), Arc::new(AtomicBool::new(false)));
        let is_deaf = watch::Sender::new(false);
        let held = Arc::new(());
        let (cut, shut, deaf, held_by) = (cuts.clone(), Arc::clone(&is_shut), is_deaf.clone(), Arc::clone(&held));
        let is_unnoticed = Arc::new(AtomicBool::new(false));
        let unnoticed = Arc::clone(&is_unnoticed);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if shut.load(Ordering::SeqCst) {
                    continue;
                }
                let (mut cut, deaf, address) = (cut.subscribe(), deaf.subscribe(), address.clone());
                let (held, unnoticed) = (Arc::clone(&held_by), Arc::clone(&unnoticed));
                tokio::spawn(async move {
                    let _held = held;
                    let Ok(broker) = TcpStream::connect(address).await else { return };
                    let ((said, hears), (mut answers, mut told)) = (client.into_split(), broker.into_split());
                    tokio::select! {
                        () = pass(said, &mut told, deaf) => {}
                        () = pass(&mut answers, hears, watch::Sender::new(false).subscribe()) => {}
                        _ = cut.changed() => {
                            if unnoticed.load(Ordering::SeqCst) {
                                // The client's half is let go of above, with what passed it on.
                                let _ = cut.changed().await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, cuts, is_shut, is_unnoticed, is_deaf, held, accepting }
    }

    /// The same URL, by this way.
    pub(crate) fn url(&self, url: &str) -> String {
        let (before, after) = url.rsplit_once('@').expect("a user");
        let (_, path) = after.split_once('/').expect("a virtual host");
        format!("{before}@127.0.0.1:{}/{path}", self.port)
    }

    /// Lets go of clients, of which the broker hears nothing until the next cut.
    pub(crate) fn cut_unnoticed(&self) {
        self.is_unnoticed.store(true, Ordering::SeqCst);
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Lets go of all connections.
    pub(crate) fn cut(&self) {
        self.is_unnoticed.store(false, Ordering::SeqCst);
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// From now on nothing that a client says arrives, and nobody is told; what is kept back until the next cut is lost with it.
    pub(crate) fn deafen(&self) {
        self.is_deaf.send_replace(true);
    }

    /// Lets go of all connections, with what they said since it was deaf; others are heard again.
    pub(crate) async fn cut_unheard(&self) {
        self.shut();
        until("the end of all connections", async || (Arc::strong_count(&self.held) == 2).then_some(())).await;
        self.is_deaf.send_replace(false);
        self.open();
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

/// Passes on what comes, until one of them is gone.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut deaf: watch::Receiver<bool>) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        // Where nobody could make it deaf, it never is.
        let _ = deaf.wait_for(|deaf| !deaf).await;
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
