//! A list that would not fit anywhere goes out whole.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ambassador_kit::router::{Options, router};
use axum::body::Body;
use futures_util::StreamExt;
use http::Request;
use tower::ServiceExt;

use crate::sources::Log;

const ITEMS: u64 = 10_000_000;

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number of pages");
    pages * 4096
}

/// Reads names out of a list's bytes, however they are cut.
#[derive(Default)]
struct Names {
    text: Vec<u8>,
    inside: bool,
}

impl Names {
    fn feed(&mut self, mut bytes: &[u8], mut name: impl FnMut(&[u8])) {
        while let Some(quote) = bytes.iter().position(|byte| *byte == b'"') {
            let (head, tail) = bytes.split_at(quote);
            if self.inside {
                self.text.extend_from_slice(head);
                name(&self.text);
                self.text.clear();
            }
            self.inside = !self.inside;
            bytes = tail.split_first().expect("the quote").1;
        }
        if self.inside {
            self.text.extend_from_slice(bytes);
        }
    }
}

/// In a process of its own, whose memory is that of this list alone.
#[test]
fn ten_million_names_are_streamed_once_each_in_bounded_memory() {
    let mut alone = std::process::Command::new(std::env::current_exe().expect("own path"));
    alone.args(["--exact", "endless::streaming", "--ignored", "--nocapture", "--test-threads=1"]);
    assert!(alone.status().expect("runs").success());
}

#[tokio::test]
#[ignore = "run by ten_million_names_are_streamed_once_each_in_bounded_memory in a process of its own"]
async fn streaming() {
    let log = Log::with(ITEMS);
    let app = router(Arc::clone(&log), Options::default());
    let response =
        app.oneshot(Request::get("/items").body(Body::empty()).expect("a request")).await.expect("infallible");
    assert_eq!(response.status(), 200);
    let mut chunks = response.into_body().into_data_stream();

    // From half-way on, when every buffer has its size; five million names would be 300 MB.
    let mut settled = None;
    let (mut names, mut expected, mut count, mut last) = (Names::default(), 0, 0, Vec::new());
    let mut opened = false;
    while let Some(chunk) = chunks.next().await {
        let mut chunk = &*chunk.expect("the list is whole");
        assert!(chunk.len() < 1 << 20, "a chunk of {} bytes", chunk.len());
        if !opened {
            let opening = br#"{"kind":"ItemList","apiVersion":"v1","metadata":{"complete":true},"items":["#;
            chunk = chunk.strip_prefix(opening).expect("the opening of a list");
            opened = true;
        }
        names.feed(chunk, |text| {
            if log.gap.start == expected {
                expected = log.gap.end;
            }
            // In order, none left out: so each is there exactly once.
            let offset = text.strip_prefix(b"orders-0-").and_then(|rest| rest.split(|byte| *byte == b'-').next());
            let offset: Option<u64> = offset.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            assert_eq!(offset, Some(expected), "{}", String::from_utf8_lossy(text));
            expected += 1;
            count += 1;
        });
        // Nothing is read ahead of whoever reads.
        let ahead = log.given.load(Ordering::Relaxed) - count;
        assert!(ahead <= 4_000, "{ahead} names were taken from the source and not yet asked for");
        if count > ITEMS / 2 && count % 500_000 < 4_000 {
            let grown = resident().saturating_sub(*settled.get_or_insert_with(resident));
            assert!(grown < 64 << 20, "{grown} bytes more after {count} names");
        }
        last = chunk.to_vec();
    }
    assert_eq!((count, expected), (ITEMS, log.end));
    assert!(last.ends_with(b"\"]}\n"), "the list is closed");
    assert!(log.asked.load(Ordering::Relaxed) <= 4_000);
}
