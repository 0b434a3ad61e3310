//! What stands between a client and the brokers, and may let go of connections when it hurts most.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use test_servers::{Kafka, KafkaListener};

const HOST: &[u8] = b"127.0.0.1";
/// Numbers in Kafka's protocol.
const FETCH: i16 = 1;
const METADATA: i16 = 3;
/// Answers to Fetch that are larger have records.
const SMALL: usize = 1_024;

/// A port for each broker. In whatever brokers say of where they are, these ports take the place of theirs.
pub(crate) struct Relay {
    shared: Arc<Shared>,
}

struct Shared {
    /// Those of brokers, and ours.
    ports: Vec<(u16, u16)>,
    connections: Mutex<Vec<Arc<Connection>>>,
    is_shut: AtomicBool,
    /// Every so many-th answer with records is cut; 0: none.
    cut_every: AtomicUsize,
    fetched: AtomicUsize,
    cuts: AtomicUsize,
    late: Mutex<Option<Late>>,
}

/// Brokers that have not heard that a topic was made again, all but one.
struct Late {
    knows: u32,
    now: [u8; 16],
    before: [u8; 16],
}

struct Connection {
    /// From 1, as brokers are named.
    number: u32,
    client: TcpStream,
    broker: TcpStream,
    /// What was asked, by the number of the question.
    asked: Mutex<HashMap<[u8; 4], i16>>,
    fetches: AtomicBool,
    is_frozen: AtomicBool,
}

impl Relay {
    pub(crate) fn start(kafka: &Kafka) -> Self {
        let brokers = kafka.bootstrap(KafkaListener::Plain);
        let brokers =
            brokers.split(',').map(|broker| broker.rsplit(':').next().expect("a port").parse().expect("a port"));
        let listeners: Vec<_> =
            brokers.map(|broker: u16| (broker, TcpListener::bind("127.0.0.1:0").expect("a port"))).collect();
        let port = |listener: &TcpListener| listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            ports: listeners.iter().map(|(broker, ours)| (*broker, port(ours))).collect(),
            connections: Mutex::default(),
            is_shut: AtomicBool::new(false),
            cut_every: AtomicUsize::new(0),
            fetched: AtomicUsize::new(0),
            cuts: AtomicUsize::new(0),
            late: Mutex::default(),
        });
        for (number, (broker, listener)) in (1..).zip(listeners) {
            let shared = Arc::clone(&shared);
            // They end with the process: nothing wakes who waits for a connection.
            std::thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    if let Ok(broker) = TcpStream::connect(("127.0.0.1", broker)) {
                        shared.join(number, client, broker);
                    }
                }
            });
        }
        Self { shared }
    }

    /// The flag by which an ambassador knows of no other way.
    pub(crate) fn flag(&self) -> String {
        let ports: Vec<_> = self.shared.ports.iter().map(|(_, ours)| format!("127.0.0.1:{ours}")).collect();
        format!("--property=bootstrap.servers={}", ports.join(","))
    }

    /// From now on every so many-th answer with records ends in its middle, and with it the connection.
    pub(crate) fn cut_every(&self, answers: usize) {
        self.shared.cut_every.store(answers, Ordering::Relaxed);
    }

    /// How many were cut.
    pub(crate) fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::Relaxed)
    }

    /// No connection over which records were asked for gets another answer, but stays open. New ones do.
    pub(crate) fn freeze_readers(&self) {
        self.freeze(|_| true);
    }

    /// The same, of those who read from one broker.
    pub(crate) fn freeze_readers_of(&self, number: u32) {
        self.freeze(|connection| connection.number == number);
    }

    fn freeze(&self, which: impl Fn(&Connection) -> bool) {
        for connection in self.shared.connections.lock().expect("no panic").iter().filter(|one| which(one)) {
            let reads = connection.fetches.load(Ordering::Relaxed);
            connection.is_frozen.store(reads, Ordering::Relaxed);
        }
    }

    /// From now on only one broker knows the id that a topic has now; all others say the one that it had before.
    pub(crate) fn has_all_but(&self, knows: u32, now: [u8; 16], before: [u8; 16]) {
        *self.shared.late.lock().expect("no panic") = Some(Late { knows, now, before });
    }

    /// All have heard of it.
    pub(crate) fn has_none_late(&self) {
        *self.shared.late.lock().expect("no panic") = None;
    }

    /// Ends all connections, and every new one at once.
    pub(crate) fn shut(&self) {
        self.shared.is_shut.store(true, Ordering::SeqCst);
        self.shared.connections.lock().expect("no panic").drain(..).for_each(|connection| connection.end());
    }

    /// Lets connections be made again.
    pub(crate) fn open(&self) {
        self.shared.is_shut.store(false, Ordering::SeqCst);
    }
}

impl Shared {
    fn join(self: &Arc<Self>, number: u32, client: TcpStream, broker: TcpStream) {
        let connection = Arc::new(Connection {
            number,
            client,
            broker,
            asked: Mutex::default(),
            fetches: AtomicBool::new(false),
            is_frozen: AtomicBool::new(false),
        });
        let mut connections = self.connections.lock().expect("no panic");
        if self.is_shut.load(Ordering::SeqCst) {
            return connection.end();
        }
        connections.push(Arc::clone(&connection));
        drop(connections);
        let asking = Arc::clone(&connection);
        std::thread::spawn(move || {
            while asking.pass_question().is_some() {}
            asking.end();
        });
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            while shared.pass_answer(&connection).is_some() {}
            connection.end();
        });
    }

    /// `None` at the end of the connection.
    fn pass_answer(&self, connection: &Connection) -> Option<()> {
        let mut frame = frame(&connection.broker)?;
        let number: [u8; 4] = frame.get(4..8)?.try_into().ok()?;
        let asked = connection.asked.lock().expect("no panic").remove(&number);
        if connection.is_frozen.load(Ordering::Relaxed) {
            return Some(());
        }
        self.put_ours(&mut frame);
        if asked == Some(METADATA)
            && let Some(late) = &*self.late.lock().expect("no panic")
            && late.knows != connection.number
        {
            late.forget(&mut frame);
        }
        if asked == Some(FETCH) && frame.len() > SMALL {
            let (every, n) = (self.cut_every.load(Ordering::Relaxed), self.fetched.fetch_add(1, Ordering::Relaxed) + 1);
            if every > 0 && n % every == 0 {
                self.cuts.fetch_add(1, Ordering::Relaxed);
                let _ = (&connection.client).write_all(&frame[..frame.len() / 2]);
                return None;
            }
        }
        (&connection.client).write_all(&frame).ok()
    }

    /// Puts our ports where brokers say theirs.
    fn put_ours(&self, frame: &mut [u8]) {
        for at in 0..frame.len().saturating_sub(HOST.len() + 3) {
            if frame[at..].starts_with(HOST) {
                let port = &mut frame[at + HOST.len()..at + HOST.len() + 4];
                let ours = self.ports.iter().find(|(broker, _)| *port == u32::from(*broker).to_be_bytes());
                if let Some((_, ours)) = ours {
                    port.copy_from_slice(&u32::from(*ours).to_be_bytes());
                }
            }
        }
    }
}

impl Late {
    /// Puts the former id where the answer says the new one.
    fn forget(&self, frame: &mut [u8]) {
        for at in 0..frame.len().saturating_sub(self.now.len() - 1) {
            if frame[at..].starts_with(&self.now) {
                frame[at..at + self.now.len()].copy_from_slice(&self.before);
            }
        }
    }
}

impl Connection {
    fn pass_question(&self) -> Option<()> {
        let frame = frame(&self.client)?;
        let kind = i16::from_be_bytes(frame.get(4..6)?.try_into().ok()?);
        if kind == FETCH {
            self.fetches.store(true, Ordering::Relaxed);
        }
        self.asked.lock().expect("no panic").insert(frame.get(8..12)?.try_into().ok()?, kind);
        (&self.broker).write_all(&frame).ok()
    }

    fn end(&self) {
        for stream in [&self.client, &self.broker] {
            // Fails when it is over already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A question or an answer, its length before it.
fn frame(mut from: &TcpStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame).ok()?;
    let length = usize::try_from(u32::from_be_bytes(frame[..4].try_into().ok()?)).ok()?;
    frame.resize(4 + length, 0);
    from.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}
