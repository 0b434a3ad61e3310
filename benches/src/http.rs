//! The least HTTP that a measurement needs: nothing between us and the socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// How long an answer may take; the slowest peer takes minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let values = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        values.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// Asks, and reads the answer to its end.
///
/// HTTP/1.0, so that the end of the connection is the end of the body and no chunk has to be unpacked.
///
/// # Errors
/// When there is no connection, or no answer in it.
pub(crate) fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    let mut stream = send(address, path, "1.0", headers)?;
    let mut answer = Vec::with_capacity(64 * 1024);
    stream.read_to_end(&mut answer).with_context(|| format!("read the answer to {path}"))?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("an answer has a head")?;
    let body = answer.split_off(end + 4);
    let head = String::from_utf8(answer).context("read the head of the answer")?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).context("an answer has a status")?;
    Ok(Answer { status, head, body })
}

/// Asks for an answer without end, and leaves it to the caller.
///
/// # Errors
/// When there is no connection, or the status is not 200.
pub(crate) fn follow(address: SocketAddr, path: &str) -> Result<TcpStream> {
    let mut stream = send(address, path, "1.1", &[("host", "bench")])?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).with_context(|| format!("read the head of the answer to {path}"))?;
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8_lossy(&head);
    ensure!(head.starts_with("HTTP/1.1 200 "), "{path} is answered {}", head.lines().next().unwrap_or_default());
    Ok(stream)
}

/// A connection that is used again and again, as a manager's is.
#[derive(Debug)]
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    /// # Errors
    /// When there is none to be had.
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        connect(address).map(|stream| Self(BufReader::with_capacity(64 * 1024, stream)))
    }

    /// Asks, and reads the answer's body into `body`, whatever was there; the status.
    ///
    /// # Errors
    /// When there is no answer, or one whose length is not told.
    pub(crate) fn get(&mut self, path: &str, body: &mut Vec<u8>) -> Result<u16> {
        self.ask("GET", path, body)
    }

    /// Settles an item as done; the status.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) fn delete(&mut self, path: &str, body: &mut Vec<u8>) -> Result<u16> {
        self.ask("DELETE", path, body)
    }

    fn ask(&mut self, method: &str, path: &str, body: &mut Vec<u8>) -> Result<u16> {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: bench\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).with_context(|| format!("ask for {path}"))?;
        let (mut line, mut status, mut length) = (String::new(), None, None);
        loop {
            line.clear();
            self.0.read_line(&mut line).with_context(|| format!("read the answer to {path}"))?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().ok(),
                Some(_) => {}
                None if status.is_none() => status = line.split(' ').nth(1).and_then(|word| word.parse().ok()),
                None => break,
            }
        }
        let status = status.with_context(|| format!("the answer to {path} has a status"))?;
        // An answer that says that there is nothing to say has no length (RFC 9110, 8.6).
        let length = if status == 204 { Some(0) } else { length };
        body.resize(length.with_context(|| format!("the answer to {path} has a length"))?, 0);
        self.0.read_exact(body).with_context(|| format!("read the answer to {path}"))?;
        Ok(status)
    }
}

fn send(address: SocketAddr, path: &str, version: &str, headers: &[(&str, &str)]) -> Result<TcpStream> {
    let mut stream = connect(address)?;
    let mut request = format!("GET {path} HTTP/{version}\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).with_context(|| format!("ask for {path}"))?;
    Ok(stream)
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE)).context("set a deadline")?;
    stream.set_nodelay(true).context("send at once")?;
    Ok(stream)
}
