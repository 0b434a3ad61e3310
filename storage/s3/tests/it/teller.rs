//! A server that tells what a test says: STS, a container's agent, a machine's metadata, or no S3 at all.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Status and further headers, body; with the status 0 the connection is closed in place of an answer.
pub(crate) type Told = (u16, &'static str, String);

/// Listens until the test process ends.
pub(crate) struct Teller {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Teller {
    pub(crate) fn new(tell: impl Fn(&Asked) -> Told + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (seen, tell) = (Arc::clone(&asked), Arc::new(tell));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, tell) = (Arc::clone(&seen), Arc::clone(&tell));
                std::thread::spawn(move || answer(stream, &seen, &*tell));
            }
        });
        Self { address, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no test panics while it holds it").clone()
    }
}

/// One request a connection.
fn answer(stream: TcpStream, seen: &Mutex<Vec<Asked>>, tell: &dyn Fn(&Asked) -> Told) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let asked = Asked { method, target, head, body: String::from_utf8_lossy(&body).into_owned() };
    seen.lock().expect("no test panics while it holds it").push(asked.clone());
    let (status, headers, body) = tell(&asked);
    if status == 0 {
        return None;
    }
    let length = body.len();
    let body = if asked.method == "HEAD" { String::new() } else { body };
    let answer = format!("HTTP/1.1 {status} x\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    (&stream).write_all(answer.as_bytes()).ok()
}
