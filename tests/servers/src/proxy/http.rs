//! As much of HTTP/1.1 as passing it on takes (RFC 9112): heads, and where bodies end.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The head of a request or of an answer.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// The request or status line, without its end.
    pub(super) start: String,
    /// The fields in their order, with names as they were sent.
    pub(super) fields: Vec<(String, String)>,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClosed,
}

/// Which side failed while a body passed from one to the other.
#[derive(Debug)]
pub(super) enum Broken {
    Reading,
    Writing,
}

impl Head {
    /// Reads one; nothing if the other side closed before its first byte.
    pub(super) async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Self>> {
        let Some(start) = line(from).await? else { return Ok(None) };
        let mut fields = Vec::new();
        loop {
            let text = line(from).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if text.is_empty() {
                return Ok(Some(Self { start, fields }));
            }
            let (name, value) = text.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.fields.retain(|(found, _)| !found.eq_ignore_ascii_case(name));
    }

    pub(super) fn set(&mut self, name: &str, value: String) {
        self.remove(name);
        self.fields.push((name.to_owned(), value));
    }

    /// Gives the query of a request this parameter, in place of one that it has. `value` is percent-encoded already.
    pub(super) fn set_query(&mut self, name: &str, value: &str) {
        let mut words = self.start.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let others = query.split('&').filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(name));
        let query: Vec<_> = others.map(str::to_owned).chain([format!("{name}={value}")]).collect();
        self.start = format!("{method} {path}?{} HTTP/1.1", query.join("&"));
    }

    /// The status of an answer.
    pub(super) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    fn chunked(&self) -> bool {
        self.get("transfer-encoding").is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked"))
    }

    fn length(&self) -> Option<u64> {
        self.get("content-length")?.parse().ok()
    }

    /// Where the body of this request ends.
    pub(super) fn request_framing(&self) -> Framing {
        if self.chunked() { Framing::Chunked } else { Framing::Length(self.length().unwrap_or(0)) }
    }

    /// Where the body of this answer to a request of `method` ends.
    pub(super) fn answer_framing(&self, method: &str) -> Framing {
        match self.status() {
            _ if method == "HEAD" => Framing::Length(0),
            204 | 304 => Framing::Length(0),
            _ if self.chunked() => Framing::Chunked,
            _ => self.length().map_or(Framing::UntilClosed, Framing::Length),
        }
    }

    pub(super) async fn write(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        to.write_all(text.as_bytes()).await?;
        to.flush().await
    }
}

async fn line(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if from.read_until(b'\n', &mut bytes).await? == 0 {
        return Ok(None);
    }
    let text = bytes.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    // Not UTF-8 is legal in a field; nothing here sends it.
    String::from_utf8(text.to_vec()).map(Some).map_err(io::Error::other)
}

/// Passes a body on as it comes, chunks as chunks, but no more than `most` bytes of it. Tells whether it passed whole.
pub(super) async fn pass(
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    framing: Framing,
    mut most: u64,
) -> Result<bool, Broken> {
    match framing {
        Framing::Length(length) => {
            let passed = bytes(from, to, length.min(most)).await?;
            if passed < length.min(most) { Err(Broken::Reading) } else { Ok(passed == length) }
        }
        Framing::UntilClosed => Ok(bytes(from, to, most).await? < most),
        Framing::Chunked => loop {
            let size = line(from).await.ok().flatten().ok_or(Broken::Reading)?;
            let length =
                u64::from_str_radix(size.split(';').next().unwrap_or("").trim(), 16).or(Err(Broken::Reading))?;
            write(to, format!("{size}\r\n").as_bytes()).await?;
            if length == 0 {
                return trailers(from, to).await.map(|()| true);
            }
            let passed = bytes(from, to, length.min(most)).await?;
            if passed < length.min(most) {
                return Err(Broken::Reading);
            }
            if passed < length {
                return Ok(false);
            }
            most -= passed;
            if !line(from).await.ok().flatten().is_some_and(|end| end.is_empty()) {
                return Err(Broken::Reading);
            }
            write(to, b"\r\n").await?;
        },
    }
}

async fn trailers(from: &mut (impl AsyncBufRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> Result<(), Broken> {
    loop {
        let text = line(from).await.ok().flatten().ok_or(Broken::Reading)?;
        write(to, format!("{text}\r\n").as_bytes()).await?;
        if text.is_empty() {
            return Ok(());
        }
    }
}

/// Passes up to `most` bytes on; fewer if the input ends before.
async fn bytes(
    from: &mut (impl AsyncBufRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    most: u64,
) -> Result<u64, Broken> {
    let (mut passed, mut buffer) = (0, vec![0; 64 * 1024]);
    let mut limited = from.take(most);
    loop {
        let read = limited.read(&mut buffer).await.or(Err(Broken::Reading))?;
        if read == 0 {
            return Ok(passed);
        }
        write(to, buffer.get(..read).expect("read into it")).await?;
        passed += read as u64;
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Broken> {
    to.write_all(bytes).await.or(Err(Broken::Writing))?;
    to.flush().await.or(Err(Broken::Writing))
}
