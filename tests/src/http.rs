//! The plainest HTTP client there is, for tests that want to see an answer as it is.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Status and body of an answer; 0 when nobody answers.
pub fn ask(address: &str, method: &str, path: &str) -> (u16, String) {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        // 1.0, so that the body is neither chunked nor followed by anything.
        write!(stream, "{method} {path} HTTP/1.0\r\nhost: test\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = exchange().unwrap_or_default();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}
