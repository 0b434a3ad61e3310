//! What the program finds, over real connections.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::cli::{run, text};
use crate::sources::{by_hand, least, serve, serve_at, spoiled, words};

/// The names that failed, and the exit code, of a run with `--json`.
fn failed(target: &str, flags: &[&str]) -> (BTreeSet<String>, Option<i32>) {
    let output = run(&[&[target, "--json"], flags].concat());
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {} {}", text(&output.stdout), text(&output.stderr)));
    let rows = report.get("promises").and_then(Value::as_array).expect("promises");
    let failed = rows.iter().filter(|row| row.get("outcome").is_some_and(|outcome| outcome == "fail"));
    (
        failed.map(|row| row.get("name").and_then(Value::as_str).expect("a name").to_owned()).collect(),
        output.status.code(),
    )
}

fn only(name: &str) -> (BTreeSet<String>, Option<i32>) {
    (BTreeSet::from([name.to_owned()]), Some(1))
}

const NONE: (BTreeSet<String>, Option<i32>) = (BTreeSet::new(), Some(0));

#[test]
fn a_source_that_keeps_its_promises_is_green_over_tcp_and_over_a_socket() {
    assert_eq!(failed(&serve(words()), &["--settle"]), NONE);
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("items.sock");
    assert_eq!(failed(&serve_at(&socket, words()), &["--settle"]), NONE);
}

#[test]
fn a_source_below_a_path_is_found_there() {
    let url = serve(axum::Router::new().nest_service("/words", words()));
    for path in ["/words", "/words/", "/words/v1/items"] {
        assert_eq!(failed(&format!("{url}{path}"), &["--only", "list,page.joined,item"]), NONE, "{path}");
    }
    assert_eq!(run(&[&url]).status.code(), Some(69));
}

#[test]
fn whoever_breaks_a_promise_is_red_by_its_name() {
    type Spoil = fn(&str, &str, Response) -> Response;
    let saboteurs: [(&str, Spoil); 5] = [
        ("error.method", |_, _, mut response| {
            response.headers_mut().remove(header::ALLOW);
            response
        }),
        ("etag", |_, _, mut response| {
            if response.headers().contains_key(header::ETAG) {
                response.headers_mut().insert(header::ETAG, HeaderValue::from_static("W/\"of-its-own.1\""));
            }
            response
        }),
        ("body.json", |_, path, mut response| {
            if path == "/v1" {
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
            }
            response
        }),
        ("item.unknown", |_, path, response| {
            if path.contains("never") && response.status() == StatusCode::NOT_FOUND {
                let (mut head, body) = response.into_parts();
                head.status = StatusCode::GONE;
                return Response::from_parts(head, body);
            }
            response
        }),
        ("watch.refused", |_, path, response| {
            // It says that it cannot be watched, and can.
            if path == "/v1" { no_watch() } else { response }
        }),
    ];
    for (name, spoil) in saboteurs {
        let found = failed(&serve(spoiled(words(), spoil)), &["--only", name]);
        assert_eq!(found, only(name));
    }
    // The whole run, as people see it.
    let output = run(&[&serve(spoiled(words(), saboteurs[0].1))]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(table.starts_with("words-ambassador 0.0.0 at http://127.0.0.1:"), "{table}");
    let failed: Vec<&str> = table.lines().filter(|line| line.starts_with("fail")).collect();
    assert_eq!(failed.len(), 1, "{table}");
    assert!(failed[0].contains("error.method"), "{table}");
    assert!(table.contains(" pass, 1 fail, ") && table.contains("nothing was written"), "{table}");
    assert!(!table.contains('\x1b'), "colour, and no terminal");
}

fn no_watch() -> Response {
    let about = r#"{"kind":"Source","apiVersion":"v1","ambassador":"words-ambassador","version":"0.0.0","sourceId":"","order":"age",
        "incarnation":"x","capabilities":{"paging":true,"watch":false,"withheld":true,"settle":"none"}}"#;
    ([(header::CONTENT_TYPE, "application/json")], about).into_response()
}

fn answer(stream: &mut TcpStream, (code, body): (u16, &str), with_body: bool) -> std::io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {code} -\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    write!(stream, "{head}{}", if with_body { body } else { "" })
}

#[test]
fn a_body_behind_a_head_is_seen_on_the_wire() {
    let right = by_hand(|asked, stream| answer(stream, least(asked), !asked.starts_with("HEAD")));
    assert_eq!(failed(&right, &[]), NONE);
    let wrong = by_hand(|asked, stream| answer(stream, least(asked), true));
    assert_eq!(failed(&wrong, &[]), only("list.head"));
}

#[test]
fn a_body_behind_a_304_is_seen_on_the_wire() {
    fn tagged(asked: &str, stream: &mut TcpStream, stray: &str) -> std::io::Result<()> {
        let (code, body) = least(asked);
        if asked.starts_with("GET /items ") {
            // Whoever asks is told that it has the list already, or is given it, as the second line of the request says.
            let length = body.len();
            let head = format!("Content-Type: application/json\r\nETag: \"a\"\r\nContent-Length: {length}\r\n\r\n");
            return if asked.contains("if-none-match") {
                write!(stream, "HTTP/1.1 304 -\r\nETag: \"a\"\r\n\r\n{stray}")
            } else {
                write!(stream, "HTTP/1.1 200 -\r\n{head}{body}")
            };
        }
        answer(stream, (code, body), !asked.starts_with("HEAD"))
    }
    let right = by_hand(|asked, stream| tagged(asked, stream, ""));
    assert_eq!(failed(&right, &["--only", "list,etag.same"]), NONE);
    let wrong = by_hand(|asked, stream| tagged(asked, stream, "{}"));
    assert_eq!(failed(&wrong, &["--only", "list,etag.same"]), only("etag.same"));
}

#[test]
fn an_answer_that_breaks_off_or_drips_is_no_answer() {
    let cut = by_hand(|asked, stream| {
        let (code, body) = least(asked);
        if asked.starts_with("GET /items/a ") {
            return write!(
                stream,
                "HTTP/1.1 200 -\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{body}"
            );
        }
        answer(stream, (code, body), !asked.starts_with("HEAD"))
    });
    assert_eq!(failed(&cut, &["--only", "list,item"]), only("item"));
    let drip = by_hand(|asked, stream| {
        if asked.starts_with("GET /items/a ") {
            write!(stream, "HTTP/1.1 200 -\r\nContent-Type: application/json\r\n\r\n{{")?;
            loop {
                stream.write_all(b" ")?;
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        answer(stream, least(asked), !asked.starts_with("HEAD"))
    });
    assert_eq!(failed(&drip, &["--only", "list,item", "--timeout", "5s"]), only("item"));
    let flood = by_hand(|asked, stream| {
        if asked.starts_with("GET /items/a ") {
            write!(stream, "HTTP/1.1 200 -\r\nContent-Type: application/json\r\n\r\n{{")?;
            while stream.write_all(&[b' '; 1 << 16]).is_ok() {}
            return Ok(());
        }
        answer(stream, least(asked), !asked.starts_with("HEAD"))
    });
    assert_eq!(failed(&flood, &["--only", "list,item"]), only("item"));
}

#[test]
fn a_token_is_shown_and_never_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cret-token\n").expect("written");
    let guarded = by_hand(|asked, stream| answer(stream, least(asked), !asked.starts_with("HEAD")));
    // It answers whoever asks.
    let flags = ["--token-file", file.to_str().expect("text")];
    assert_eq!(failed(&guarded, &flags), only("auth"));
    let closed = by_hand(|asked, stream| answer(stream, (401, "{}"), !asked.starts_with("HEAD")));
    for (flags, says) in [(&[][..], "--token-file"), (&flags, "not the one")] {
        let output = run(&[&[closed.as_str()], flags].concat());
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{error}");
        assert!(error.contains(says) && !error.contains("s3cret"), "{error}");
    }
}
