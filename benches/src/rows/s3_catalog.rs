//! What the catalog of an s3-ambassador takes of memory. No store here holds a million objects in reasonable time, so a server of
//! this file's own makes up the pages of such a bucket: for the memory, and nothing else.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};

use crate::harness::{Aim, Bench, Row};
use crate::program::Ambassador;
use crate::sample::{Sample, Unit};

const OBJECTS: usize = 1_000_000;
const PAGE: usize = 1_000;
/// What a million objects may take, and everything else of the program.
const CAP: f64 = 175e6;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let objects = bench.scaled(OBJECTS);
    let empty = resident(bench, 0)?;
    let full = resident(bench, objects)?;
    #[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
    let million = (full - empty) * 1e6 / objects as f64;
    let row = |work: String, bytes, aim| Row { work, ours: Sample::new(Unit::Bytes, vec![bytes]), peer: None, aim };
    Ok(vec![
        row("s3-ambassador: memory (RSS), empty bucket".into(), empty, Aim::Stated),
        row(format!("s3-ambassador: memory (RSS), {objects} objects listed"), full, Aim::AtMost(CAP)),
        row("s3-ambassador: memory for each million objects more".into(), million, Aim::Stated),
    ])
}

/// The memory of an ambassador that has read a bucket of so many.
fn resident(bench: &Bench, objects: usize) -> Result<f64> {
    let endpoint = format!("http://{}", made_up(objects)?);
    let environment = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "any"),
        ("AWS_SECRET_ACCESS_KEY", "any"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ];
    let flags = ["--bucket", "made-up", "--s3-region", "us-east-1", "--poll", "1h", "--reconcile", "1h"];
    let ambassador = Ambassador::of(bench, "s3-ambassador", |command| {
        command.args(flags).env_clear().envs(environment);
    })?;
    ambassador.ready()?;
    let resident = ambassador.resident()?;
    if objects > 0 {
        ambassador.list(objects)?;
    }
    Ok(resident)
}

/// A server on which every bucket has so many objects, `in/video-00000000.mp4` and on.
fn made_up(objects: usize) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("open a port")?;
    let address = listener.local_addr().context("open a port")?;
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            // Whoever asks may go away at any time.
            thread::spawn(move || answer(&connection, objects));
        }
    });
    Ok(address)
}

fn answer(connection: &TcpStream, objects: usize) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    let (mut lines, mut out) = (BufReader::new(connection), connection);
    loop {
        let (mut first, mut line) = (String::new(), String::new());
        if lines.read_line(&mut first)? == 0 {
            return Ok(());
        }
        while lines.read_line(&mut line)? > "\r\n".len() {
            line.clear();
        }
        let query = first.split([' ', '?']).nth(2).unwrap_or_default();
        let of = |name: &str| query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        let after = of("continuation-token").or(of("start-after")).map(|key| key.replace("%2F", "/"));
        let max = of("max-keys").and_then(|text| text.parse().ok()).unwrap_or(PAGE);
        let body = page(objects, after.as_deref().unwrap_or_default(), max);
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n", body.len());
        out.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    }
}

fn key(n: usize) -> String {
    format!("in/video-{n:08}.mp4")
}

/// Up to `max` objects behind the key `after`, as ListObjectsV2 shows them.
fn page(objects: usize, after: &str, max: usize) -> String {
    let (mut from, mut behind) = (0, objects);
    while from < behind {
        let middle = usize::midpoint(from, behind);
        if key(middle).as_str() > after { behind = middle } else { from = middle + 1 }
    }
    let to = objects.min(from + max);
    let mut page = format!("<ListBucketResult><IsTruncated>{}</IsTruncated>", to < objects);
    page.push_str("<EncodingType>url</EncodingType>");
    if to < objects {
        let _ = write!(page, "<NextContinuationToken>{}</NextContinuationToken>", key(to.saturating_sub(1)));
    }
    for n in from..to {
        let _ = write!(
            page,
            "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{n:032x}&quot;</ETag>\
             <Size>1</Size></Contents>",
            key(n)
        );
    }
    page.push_str("</ListBucketResult>");
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_behind_any_key() {
        let keys = |after: &str| page(30, after, 3).matches("<Key>in/video-0000000").count();
        assert_eq!([keys(""), keys(&key(6)), keys(&key(7)), keys("in/video-00000008"), keys("j")], [3, 3, 2, 2, 0]);
    }
}
