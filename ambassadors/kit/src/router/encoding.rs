//! gzip, for whoever accepts it (RFC 9110, 12.5.3).
//!
//! Each part of a list goes out as soon as it is compressed. A list that breaks off leaves a stream without its end, which no
//! reader takes for whole.

use std::io::{self, Write};

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::answer::JSON;

/// What an answer that may be compressed depends on.
pub(super) const VARY: HeaderValue = HeaderValue::from_static("accept-encoding");
/// Smaller bodies fit in one packet anyway, in bytes.
const LEAST: u64 = 1_024;
/// How much is compressed at once, in bytes: about a millisecond, in which the thread answers nobody else.
const PIECE: usize = 64 << 10;

/// The answer, compressed if that is worth it and the asker can read it. A watch never is: its lines are small, and each is
/// wanted at once.
pub(super) fn encode(mut answer: Response, asker: &HeaderMap) -> Response {
    let is_json = answer.headers().get(header::CONTENT_TYPE) == Some(&JSON);
    if answer.status() != StatusCode::OK || !is_json {
        return answer;
    }
    answer.headers_mut().insert(header::VARY, VARY);
    let is_small = answer.body().size_hint().upper().is_some_and(|bytes| bytes < LEAST);
    if is_small || !accepts_gzip(asker) {
        return answer;
    }
    answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    answer.headers_mut().remove(header::CONTENT_LENGTH);
    answer.map(|body| {
        let encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let pieces = Pieces { body: body.into_data_stream(), rest: Bytes::new(), encoder };
        Body::from_stream(stream::try_unfold(Some(pieces), |pieces| async move {
            match pieces {
                None => Ok(None),
                Some(pieces) => pieces.next().await.map(Some),
            }
        }))
    })
}

/// A body being compressed.
struct Pieces {
    body: BodyDataStream,
    /// Read, and not compressed yet.
    rest: Bytes,
    encoder: GzEncoder<Vec<u8>>,
}

impl Pieces {
    /// The next compressed piece, and what is left after it; nothing after the last.
    async fn next(mut self) -> io::Result<(Bytes, Option<Self>)> {
        if self.rest.is_empty() {
            match self.body.next().await {
                Some(chunk) => self.rest = chunk.map_err(io::Error::other)?,
                None => return Ok((self.encoder.finish()?.into(), None)),
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        self.encoder.write_all(&piece)?;
        if self.rest.is_empty() {
            // Whoever reads is shown all there is, since what follows may be long in coming.
            self.encoder.flush()?;
        }
        Ok((std::mem::take(self.encoder.get_mut()).into(), Some(self)))
    }
}

/// Whether gzip is acceptable, and liked at least as much as no encoding at all.
fn accepts_gzip(asker: &HeaderMap) -> bool {
    let (mut gzip, mut identity, mut other) = (None, None, None);
    for value in asker.get_all(header::ACCEPT_ENCODING) {
        for part in value.to_str().unwrap_or_default().split(',') {
            let (coding, parameter) = part.split_once(';').unwrap_or((part, ""));
            let weight = weight(parameter);
            match coding.trim().to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => gzip = Some(weight),
                "identity" => identity = Some(weight),
                "*" => other = Some(weight),
                _ => {}
            }
        }
    }
    let gzip = gzip.or(other).unwrap_or(0);
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

/// A weight in thousandths; 1,000 where none is given, and 0 where what is given is none.
fn weight(parameter: &str) -> u16 {
    let Some((name, value)) = parameter.split_once('=') else {
        return if parameter.trim().is_empty() { 1_000 } else { 0 };
    };
    let value = value.trim().parse::<f32>().ok().filter(|value| (0.0..=1.0).contains(value));
    match value {
        // Three decimals at most, and never negative.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1,000")]
        Some(value) if name.trim().eq_ignore_ascii_case("q") => (value * 1_000.0).round() as u16,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(values: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
        }
        accepts_gzip(&headers)
    }

    #[test]
    fn gzip_is_for_whoever_says_so() {
        for yes in [
            "gzip",
            "GZIP",
            "x-gzip",
            "deflate, gzip;q=1.0, *;q=0.5",
            "gzip ; q=0.5",
            "br, gzip, zstd",
            "*",
            "gzip;q=0.001",
            "identity;q=0.5, gzip;q=0.5",
            "identity;q=0, *",
        ] {
            assert!(accepts(&[yes]), "{yes}");
        }
        assert!(accepts(&["br", "gzip"]), "in a header of its own");
    }

    #[test]
    fn and_for_nobody_else() {
        for no in [
            "",
            "identity",
            "br",
            "gzip;q=0",
            "gzip;q=0.000",
            "gzip;q=0, *",
            "*;q=0",
            "gzip;q=0.3, identity",
            "gzip;q=x",
            "gzip;q=-1",
            "gzip;q=NaN",
            "gzip;level=1",
            "gzipped",
            "bgzip",
        ] {
            assert!(!accepts(&[no]), "{no}");
        }
        assert!(!accepts(&[]), "whoever does not say gets it as it is");
    }
}
