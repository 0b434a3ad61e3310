//! What stands between a client and a server of any protocol, and lets go of connections while bytes are under way.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Passes bytes on as they come. It lives on threads of its own, as long as the process.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: String,
    /// After how many bytes of the server's a connection is cut, and how many are to be.
    after: AtomicU64,
    left: AtomicUsize,
    cuts: AtomicUsize,
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
}

impl Relay {
    /// Before the server at `HOST:PORT`. It cuts nothing yet.
    ///
    /// # Panics
    /// If no port is to be had.
    pub fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the relay");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            after: AtomicU64::new(0),
            left: AtomicUsize::new(0),
            cuts: AtomicUsize::new(0),
        });
        let joining = Arc::clone(&shared);
        // It ends with the process: nothing wakes who waits for a connection.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                joining.join(client);
            }
        });
        Self { address, shared }
    }

    /// Where it listens: `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// So many times from now on, a connection ends in the middle of what the server says, when it has said so many bytes, the first
    /// of which may be long ago.
    pub fn cut(&self, after: u64, times: usize) {
        self.shared.after.store(after, Ordering::SeqCst);
        self.shared.left.store(times, Ordering::SeqCst);
    }

    /// How many were cut in the middle.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn join(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(&self.server) else { return };
        // Fails only where it is over already.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let connection = Arc::new(Connection { client, server });
        let asking = Arc::clone(&connection);
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut &asking.client, &mut &asking.server);
            asking.end();
        });
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            shared.answer(&connection);
            connection.end();
        });
    }

    /// Until the connection ends, or is cut.
    fn answer(&self, connection: &Connection) {
        let (mut bytes, mut passed) = (vec![0; 16 << 10], 0);
        while let Ok(read @ 1..) = (&connection.server).read(&mut bytes) {
            passed += read as u64;
            let whole = bytes.get(..read).unwrap_or_default();
            if passed > self.after.load(Ordering::SeqCst)
                && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
            {
                let _ = (&connection.client).write_all(whole.get(..read / 2).unwrap_or_default());
                self.cuts.fetch_add(1, Ordering::SeqCst);
                return;
            }
            if (&connection.client).write_all(whole).is_err() {
                return;
            }
        }
    }
}

impl Connection {
    fn end(&self) {
        for stream in [&self.client, &self.server] {
            // Fails where it is over already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
