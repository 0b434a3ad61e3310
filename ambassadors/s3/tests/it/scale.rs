//! Ten million keys. No real server here holds as many, so one of this file's own makes up the pages of such a bucket: for what
//! memory that takes, and nothing else; what a listing looks like is told by real ones.

use std::process::Command;

use futures_util::StreamExt;
use longshore_tests::{Ambassador, until};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How many keys there are.
const KEYS: u64 = 10_000_000;
/// How many of them are read.
const READ: usize = 60_000;

/// A server on which each bucket has [`KEYS`] keys, `key-00000000` and on.
async fn virtual_bucket() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(answer(connection));
        }
    });
    url
}

async fn answer(connection: TcpStream) {
    let mut connection = BufReader::new(connection);
    loop {
        let (mut first, mut line) = (String::new(), String::new());
        if connection.read_line(&mut first).await.unwrap_or(0) == 0 {
            return;
        }
        while connection.read_line(&mut line).await.is_ok_and(|read| read > 2) {
            line.clear();
        }
        let query = first.split([' ', '?']).nth(2).unwrap_or_default();
        let of = |name: &str| query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
        let number = |text: &str| text.trim_start_matches("key-").parse::<u64>().ok();
        let after = of("continuation-token").or(of("start-after")).and_then(number);
        let max: u64 = of("max-keys").and_then(|text| text.parse().ok()).unwrap_or(1_000);
        let body = page(after.map_or(0, |after| after + 1), max);
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n", body.len());
        if connection.get_mut().write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.is_err() {
            return;
        }
    }
}

fn page(from: u64, max: u64) -> String {
    let to = KEYS.min(from + max);
    let objects = (from..to).map(|n| {
        format!(
            "<Contents><Key>key-{n:08}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
             <ETag>&quot;{n:032x}&quot;</ETag><Size>1</Size></Contents>"
        )
    });
    let objects: String = objects.collect();
    let next = if to < KEYS {
        format!("<NextContinuationToken>key-{:08}</NextContinuationToken>", to - 1)
    } else {
        String::new()
    };
    format!(
        "<ListBucketResult><IsTruncated>{}</IsTruncated><EncodingType>url</EncodingType>{next}{objects}</ListBucketResult>",
        to < KEYS
    )
}

#[tokio::test]
async fn ten_million_keys_are_served_by_pages_in_memory_that_does_not_grow() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_s3-ambassador"));
    command
        .args(["--bucket", "endless", "--names", "raw", "--s3-region", "us-east-1"])
        .env("AWS_ENDPOINT_URL", virtual_bucket().await)
        .env("AWS_ACCESS_KEY_ID", "any")
        .env("AWS_SECRET_ACCESS_KEY", "any")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    let program = Ambassador::start(command).await;
    let url = program.url();
    let first: serde_json::Value = until("a first page", async || {
        let (status, page) = program.ask("/v1/items?limit=2").await?;
        (status == 200).then_some(page)
    })
    .await;
    assert_eq!(
        first["items"],
        serde_json::json!([format!("key-00000000@{:032x}", 0), format!("key-00000001@{:032x}", 1)])
    );
    // The list as one stream, as far as is read of it.
    let read = async |count: usize| {
        let answer = reqwest::get(format!("{url}/v1/items")).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let (mut stream, mut names) = (answer.bytes_stream(), 0);
        while let Some(chunk) = stream.next().await {
            names += chunk.expect("a chunk").iter().filter(|byte| **byte == b'@').count();
            if names >= count {
                return;
            }
        }
        panic!("the list ended after {names} names");
    };
    read(READ / 10).await;
    let before = program.peak_memory();
    read(READ).await;
    let after = program.peak_memory();
    // As many names and no more would take 60 bytes each.
    assert!(after < before + (8 << 20), "{before} bytes at first, {after} after ten times as many names");
    assert!(after < 256 << 20, "{after} bytes");
}
