//! From close(2) to the name in the list, as whoever watches the list hears of it; beside a process that does nothing but
//! wait for inotify.

use std::fs::File;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::harness::{Aim, Bench, Row};
use crate::http;
use crate::program::Ambassador;
use crate::sample::{Sample, Unit};

/// Files closed, one after the other.
const FILES: usize = 500;
/// Between two of them: longer than either takes, so that none waits for the one before.
const PAUSE: Duration = Duration::from_millis(5);
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let files = bench.scaled(FILES).max(20);
    let ours = {
        let root = bench.scratch().join("closed-ours");
        std::fs::create_dir_all(&root).context("make a folder")?;
        let ambassador = Ambassador::start(bench, &root, &[])?;
        ambassador.ready()?;
        let heard = names(http::follow(ambassador.contract, "/v1/items?watch=true")?);
        close_files(&root, files, &heard)?
    };
    let bare = {
        let root = bench.scratch().join("closed-bare");
        std::fs::create_dir_all(&root).context("make a folder")?;
        let heard = events(&root)?;
        close_files(&root, files, &heard)?
    };
    let at = |sample: &Sample, part| Sample::new(Unit::Seconds, vec![sample.quantile(part)]);
    let row = |word: &str, part| Row {
        work: format!("close(2) → listed, {word} of {files}"),
        ours: at(&ours, part),
        peer: Some(("bare inotify", at(&bare, part))),
        aim: Aim::AtMost(0.010),
    };
    Ok(vec![row("p50", 0.5), row("p99", 0.99)])
}

/// Closes file after file, and takes the time until each is heard of.
fn close_files(root: &Path, files: usize, heard: &Receiver<(String, Instant)>) -> Result<Sample> {
    let mut times = Vec::new();
    for n in 0..files {
        let mut file = File::create(root.join(format!("clip-{n:05}.mp4"))).context("make a file")?;
        file.write_all(b"content").context("write a file")?;
        let began = Instant::now();
        drop(file);
        let wanted = format!("clip-{n:05}-mp4");
        loop {
            let (name, at) = heard.recv_timeout(PATIENCE).with_context(|| format!("hear of {wanted}"))?;
            if name.starts_with(&wanted) {
                times.push(at.saturating_duration_since(began));
                break;
            }
        }
        thread::sleep(PAUSE);
    }
    ensure!(!times.is_empty(), "no file was heard of");
    Ok(Sample::seconds(&times))
}

/// The names that a watch of the list tells of, as they come.
fn names(mut watch: TcpStream) -> Receiver<(String, Instant)> {
    let (tell, heard) = mpsc::channel();
    thread::spawn(move || {
        let (mut text, mut buffer) = (Vec::new(), [0; 64 * 1024]);
        while let Ok(read @ 1..) = watch.read(&mut buffer) {
            let at = Instant::now();
            text.extend_from_slice(buffer.get(..read).unwrap_or_default());
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                // Lines between are chunk sizes, bookmarks and the like.
                let event: serde_json::Value = serde_json::from_slice(&line).unwrap_or_default();
                let added = event.get("type").and_then(|kind| kind.as_str()) == Some("ADDED");
                if let Some(name) = event.get("item").and_then(|item| item.as_str()).filter(|_| added)
                    && tell.send((name.to_owned(), at)).is_err()
                {
                    return;
                }
            }
        }
    });
    heard
}

/// The files that inotify says were closed, by the name they would have in a list.
fn events(root: &Path) -> Result<Receiver<(String, Instant)>> {
    let inotify = inotify::init(CreateFlags::CLOEXEC).context("have inotify")?;
    inotify::add_watch(&inotify, root, WatchFlags::CLOSE_WRITE).context("watch a folder")?;
    let (tell, heard) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = Reader::new(inotify, &mut buffer);
        while let Ok(event) = reader.next() {
            let at = Instant::now();
            let name = event.file_name().map(|name| name.to_string_lossy().replace('.', "-"));
            if event.events().contains(ReadFlags::CLOSE_WRITE)
                && let Some(name) = name
                && tell.send((name, at)).is_err()
            {
                return;
            }
        }
    });
    Ok(heard)
}
