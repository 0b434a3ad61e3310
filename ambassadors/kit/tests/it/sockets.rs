//! The contract on a socket in the file system.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use ambassador_kit::serve;
use clap::Parser;
use sidecar::{Failure, Shutdown};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::serving::{Cli, PATIENCE, Shared, until};
use crate::sources::Shelf;

struct Running {
    path: PathBuf,
    shutdown: Shutdown,
    serving: JoinHandle<Result<ExitCode, Failure>>,
}

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("items.sock");
    (dir, path)
}

fn serving(path: &Path, more: &[&str], shutdown: &Shutdown) -> JoinHandle<Result<ExitCode, Failure>> {
    let listen = format!("--listen=unix:{}", path.display());
    let argv = ["test", &listen, "--probe-listen=127.0.0.1:0"].into_iter().chain(more.iter().copied());
    let args = Cli::parse_from(argv).serve;
    let source = Shelf::with(3);
    tokio::spawn(serve(args, shutdown.clone(), async move |_registry| Ok(Shared(source))))
}

async fn start(path: &Path, more: &[&str]) -> Running {
    let shutdown = Shutdown::new(Duration::from_secs(5));
    let serving = serving(path, more, &shutdown);
    until(async || UnixStream::connect(path).await.is_ok()).await;
    Running { path: path.to_owned(), shutdown, serving }
}

async fn get(path: &Path, what: &str) -> String {
    let mut stream = UnixStream::connect(path).await.expect("connected");
    let request = format!("GET {what} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer in time").expect("read");
    answer
}

impl Running {
    async fn end(self) {
        self.shutdown.drain();
        let ended = timeout(PATIENCE, self.serving).await.expect("it ended in time");
        assert_eq!(ended.expect("no panic").expect("no failure"), ExitCode::SUCCESS);
    }
}

async fn refused(path: &Path) -> String {
    let ended = timeout(PATIENCE, serving(path, &[], &Shutdown::default())).await.expect("it ended in time");
    let failure = ended.expect("no panic").expect_err("it cannot listen there");
    assert_eq!(failure.code(), 78, "{failure}");
    let said = failure.to_string();
    assert!(said.contains(path.to_str().expect("text")) && said.contains("--listen"), "{said}");
    said
}

#[tokio::test]
async fn it_is_served_to_owner_and_group_and_gone_in_the_end() {
    let (_dir, path) = place();
    let running = start(&path, &[]).await;
    assert!(get(&running.path, "/v1/items").await.ends_with("]}\n"));
    let metadata = fs::symlink_metadata(&path).expect("it is there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    running.end().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_that_nobody_answers_on_gives_way_and_one_that_is_answered_on_does_not() {
    let (_dir, path) = place();
    // As a process leaves it that was killed.
    drop(UnixListener::bind(&path).expect("bound"));
    assert!(path.exists());
    let running = start(&path, &[]).await;
    assert!(refused(&path).await.contains("another process answers there"));
    assert!(get(&path, "/v1").await.starts_with("HTTP/1.1 200"), "the one that was there is there");
    running.end().await;
}

#[tokio::test]
async fn of_two_that_start_at_once_one_listens() {
    let (_dir, path) = place();
    drop(UnixListener::bind(&path).expect("bound"));
    let shutdown = Shutdown::new(Duration::from_secs(5));
    let mut both = [serving(&path, &[], &shutdown), serving(&path, &[], &shutdown)];
    until(async || both.iter().any(JoinHandle::is_finished)).await;
    let over = both.iter().position(JoinHandle::is_finished).expect("one");
    let failure = (&mut both[over]).await.expect("no panic").expect_err("the other has it");
    assert_eq!(failure.code(), 78);
    assert!(get(&path, "/v1").await.starts_with("HTTP/1.1 200"));
    shutdown.drain();
    let other = timeout(PATIENCE, &mut both[1 - over]).await.expect("in time");
    assert_eq!(other.expect("no panic").expect("no failure"), ExitCode::SUCCESS);
}

#[tokio::test]
async fn what_is_no_socket_or_somebody_elses_is_left_alone() {
    let (dir, path) = place();
    fs::write(&path, "precious").expect("written");
    assert!(refused(&path).await.contains("no socket"));
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
    assert!(refused(dir.path()).await.contains("no socket"));
    refused(&dir.path().join("missing/items.sock")).await;
    refused(&dir.path().join("x".repeat(200))).await;

    fs::remove_file(&path).expect("removed");
    let running = start(&path, &[]).await;
    fs::remove_file(&path).expect("removed");
    fs::write(&path, "precious").expect("written");
    running.end().await;
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
}

#[tokio::test]
async fn whoever_asks_nothing_there_is_let_go_too() {
    let (_dir, path) = place();
    let running = start(&path, &["--request-timeout=50ms"]).await;
    let mut mute = UnixStream::connect(&path).await.expect("connected");
    let _ = timeout(PATIENCE, mute.read_to_end(&mut Vec::new())).await.expect("it is closed in time");
    running.end().await;
}

#[tokio::test]
async fn a_token_guards_it_and_a_file_without_one_is_refused() {
    let (dir, path) = place();
    let file = dir.path().join("token");
    let flag = format!("--token-file={}", file.display());
    for content in [None, Some("\n")] {
        content.iter().for_each(|content| fs::write(&file, content).expect("written"));
        let ended = serving(&path, &[&flag], &Shutdown::default()).await.expect("no panic");
        let failure = ended.expect_err("there is no token");
        assert!(failure.code() == 78 && failure.to_string().contains(file.to_str().expect("text")), "{failure}");
    }
    fs::write(&file, "secret").expect("written");
    let running = start(&path, &[&flag]).await;
    let answer = get(&path, "/v1/items").await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("www-authenticate: Bearer"), "{answer}");
    assert!(get(&path, "/v1/items HTTP/1.1\r\nauthorization: Bearer secret\r\nx: ").await.starts_with("HTTP/1.1 200"));
    running.end().await;
}
