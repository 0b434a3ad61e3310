//! Servers answer, keep what they hold over a kill, and are gone when they should be.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_s3::primitives::ByteStream;
use test_servers::{S3Server, Server};

/// Given to a run of this very program that a test starts: be a process that has a server, and be killed.
const VICTIM: &str = "LONGSHORE_TEST_VICTIM";

async fn keeps_what_it_holds(mut server: S3Server) {
    let bucket = server.bucket().await;
    let put = server.client().put_object().bucket(&bucket).key("k").body(ByteStream::from_static(b"held"));
    put.send().await.expect("put");
    let url = server.url();
    server.kill();
    assert!(server.client().list_buckets().send().await.is_err(), "a killed server answers");
    server.restart();
    assert_eq!(server.url(), url);
    let got = server.client().get_object().bucket(&bucket).key("k").send().await.expect("get");
    assert_eq!(got.body.collect().await.expect("the body").into_bytes(), "held");
}

#[tokio::test]
async fn minio_keeps_what_it_holds() {
    keeps_what_it_holds(S3Server::minio()).await;
}

#[tokio::test]
async fn versity_keeps_what_it_holds() {
    keeps_what_it_holds(S3Server::versity()).await;
}

#[tokio::test]
async fn a_paused_server_answers_nobody_until_it_goes_on() {
    let server = S3Server::minio();
    server.pause();
    let asked = tokio::spawn({
        let client = server.client();
        async move { client.list_buckets().send().await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!asked.is_finished(), "a paused server answered");
    server.resume();
    asked.await.expect("no panic").expect("an answer after all");
}

#[test]
fn a_dropped_server_leaves_no_process_and_no_data() {
    let server = S3Server::minio();
    let marks = marks_of(&server.url());
    assert!(marks.present(), "{marks:?} is not what a server looks like");
    drop(server);
    assert!(!marks.present(), "{marks:?} is still there");
}

#[test]
fn no_server_survives_its_process() {
    let mut victim = Command::new(std::env::current_exe().expect("this test has a path"))
        .args(["--exact", "needs_s3_servers::servers::is_killed_with_a_server", "--ignored", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("this very program runs");
    let url = std::io::BufRead::lines(std::io::BufReader::new(victim.stdout.take().expect("piped")))
        .map(|line| line.expect("a line"))
        .find_map(|line| line.split_once("listens: ").map(|(_, url)| url.to_owned()))
        .expect("the victim tells where its server is");
    let marks = marks_of(&url);
    assert!(marks.present(), "{marks:?} is not what a server looks like");
    victim.kill().expect("it can be killed");
    victim.wait().expect("it was a child");
    let begun = Instant::now();
    while marks.present() {
        assert!(begun.elapsed() < Duration::from_secs(240), "{marks:?} outlived the process");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
#[ignore = "run by no_server_survives_its_process, which kills it"]
fn is_killed_with_a_server() {
    println!("listens: {}", S3Server::shared_minio().url());
    std::thread::sleep(Duration::from_secs(600));
}

/// What shows that a server is there: its process and its folder.
#[derive(Debug)]
struct Marks {
    process: String,
    folder: String,
}

impl Marks {
    fn present(&self) -> bool {
        // A process whose parent has yet to reap it has no command line any more.
        std::fs::read(format!("/proc/{}/cmdline", self.process)).is_ok_and(|line| !line.is_empty())
            || Path::new(&self.folder).exists()
    }
}

fn marks_of(url: &str) -> Marks {
    let address = url.trim_start_matches("http://");
    std::fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .find_map(|entry| {
            let process = entry.file_name().into_string().ok().filter(|name| name.parse::<u32>().is_ok())?;
            let line = String::from_utf8(std::fs::read(entry.path().join("cmdline")).ok()?).ok()?;
            let words: Vec<_> = line.split('\0').collect();
            if !words.first()?.ends_with("minio") || !words.contains(&address) {
                return None;
            }
            let data = words.into_iter().rfind(|word| word.ends_with("/data"))?;
            Some(Marks { process, folder: data.trim_end_matches("/data").to_owned() })
        })
        .expect("the server's process")
}
