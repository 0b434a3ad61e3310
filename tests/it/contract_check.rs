//! `contract-check` over the real ambassadors: ours, and the one in Python that anybody could have written.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use longshore_tests::programs::program;
use longshore_tests::{Daemon, wait_until};
use serde_json::Value;

/// A folder of finished files, of the kinds that matter, and some that are withheld.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(dir.path().join("media/sub folder")).expect("folders");
        let folder = Self(dir);
        for n in 0..40 {
            folder.add(&format!("clip {n}.mp4"));
        }
        for key in ["sub folder/é $(rm -rf) %41.mp4", ".hidden", "upload.part", "-dashed-", "line\nbreak.mp4"] {
            folder.add(key);
        }
        folder
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("media")
    }

    fn add(&self, key: &str) {
        let mut file = File::create(self.root().join(key)).expect("a file");
        file.write_all(key.as_bytes()).expect("written");
        file.set_modified(SystemTime::now() - Duration::from_secs(3_600)).expect("an old file");
    }

    /// Every file with its content and time.
    fn tree(&self) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
        let (mut found, mut todo) = (BTreeMap::new(), vec![self.root()]);
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).expect("a folder").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    todo.push(path);
                } else {
                    let modified = entry.metadata().and_then(|meta| meta.modified()).expect("a time");
                    found.insert(path.clone(), (fs::read(&path).expect("a file"), modified));
                }
            }
        }
        found
    }

    fn serve(&self, flags: &[&str]) -> Daemon {
        let mut command = Command::new(program("files-ambassador"));
        command.arg("--root").arg(self.root()).args(["--stable-for", "0s", "--rescan", "1h"]);
        // A silent watch says something after half of it.
        command.args(["--request-timeout", "6s"]).args(flags);
        Daemon::start(&mut command, &self.0.path().join("log"))
    }
}

fn free_address() -> String {
    format!("127.0.0.1:{}", test_servers::free_port())
}

/// The report and the exit code.
fn check(target: &str, flags: &[&str]) -> (Value, Option<i32>) {
    let output =
        Command::new(program("contract-check")).args([target, "--json"]).args(flags).output().expect("it runs");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    });
    (report, output.status.code())
}

fn of(report: &Value, outcome: &str) -> Vec<String> {
    let rows = report.get("promises").and_then(Value::as_array).expect("promises");
    let text = |row: &Value, field: &str| row.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let chosen = rows.iter().filter(|row| text(row, "outcome") == outcome);
    chosen.map(|row| format!("{} {}", text(row, "name"), text(row, "why")).trim().to_owned()).collect()
}

fn green(report: &Value, code: Option<i32>) {
    assert_eq!((of(report, "fail"), code), (Vec::new(), Some(0)));
}

fn metrics(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the probes");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("read");
    text
}

fn reachable(address: &str) {
    wait_until("the source to be there", || TcpStream::connect(address).ok());
}

#[test]
fn a_folder_keeps_every_promise_and_loses_nothing_by_being_asked() {
    let folder = Folder::new();
    let settled = folder.0.path().join("settled");
    fs::create_dir(&settled).expect("a folder");
    let (address, probes) = (free_address(), free_address());
    let policy = format!("move:{}", settled.display());
    let mut ambassador = folder.serve(&["--listen", &address, "--probe-listen", &probes, "--on-settle", &policy]);
    reachable(&address);
    let before = folder.tree();

    let (report, code) = check(&format!("http://{address}"), &[]);
    green(&report, code);
    let pass = of(&report, "pass");
    for name in ["list.reading", "etag.same", "gzip", "page.expired", "withheld.reason", "item.data", "watch.bookmark"]
    {
        assert!(pass.iter().any(|row| row == name), "{name}: {report:#}");
    }
    assert_eq!(folder.tree(), before, "nothing was written");
    let metrics = metrics(&probes);
    assert!(metrics.contains("method=\"GET\""), "{metrics}");
    for method in ["DELETE", "POST", "PUT", "PATCH"] {
        assert!(!metrics.contains(&format!("method=\"{method}\"")), "{method} was sent:\n{metrics}");
    }

    let (report, code) = check(&format!("http://{address}"), &["--settle"]);
    green(&report, code);
    let pass = of(&report, "pass");
    for name in ["watch.continues", "settle.watched"] {
        assert!(pass.iter().any(|row| row == name), "{name}: {report:#}");
    }
    assert_eq!((before.len() - folder.tree().len(), fs::read_dir(&settled).expect("a folder").count()), (5, 5));
    ambassador.terminate();
}

#[test]
fn a_folder_that_settles_nothing_is_asked_that_too() {
    let folder = Folder::new();
    let address = free_address();
    let mut ambassador = folder.serve(&["--listen", &address, "--probe-listen", "127.0.0.1:0"]);
    reachable(&address);
    let before = folder.tree();
    let (report, code) =
        check(&format!("http://{address}/v1/items"), &["--settle", "--only", "settle.refused,settle.done,list"]);
    green(&report, code);
    assert_eq!(of(&report, "pass"), ["list", "settle.refused"]);
    assert_eq!(folder.tree(), before);
    ambassador.terminate();
}

#[test]
fn a_guarded_folder_behind_a_socket_answers_who_has_the_token() {
    let folder = Folder::new();
    let (socket, token) = (folder.0.path().join("items.sock"), folder.0.path().join("token"));
    fs::write(&token, "a-secret-of-this-test\n").expect("written");
    let target = format!("unix:{}", socket.display());
    let token = token.to_str().expect("text");
    let mut ambassador =
        folder.serve(&["--listen", &target, "--token-file", token, "--names", "raw", "--probe-listen", "127.0.0.1:0"]);
    wait_until("the socket", || Path::exists(&socket).then_some(()));

    let (report, code) = check(&target, &["--token-file", token]);
    green(&report, code);
    for name in ["auth", "item.slashes"] {
        assert!(of(&report, "pass").iter().any(|row| row == name), "{name}: {report:#}");
    }
    let output = Command::new(program("contract-check")).arg(&target).output().expect("it runs");
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--token-file"), "{output:?}");
    ambassador.terminate();
}

mod needs_python {
    use longshore_tests::programs::root;

    use super::*;

    #[test]
    fn the_example_in_python_is_green() {
        let folder = Folder::new();
        let address = free_address();
        let port = address.rsplit(':').next().expect("a port");
        let mut command = Command::new("python3");
        command.arg(root().join("examples/ambassador.py")).arg(folder.root()).arg(port);
        let _ambassador = Daemon::start(&mut command, &folder.0.path().join("log"));
        reachable(&address);
        let before = folder.tree();

        let (report, code) = check(&format!("http://{address}"), &["--settle"]);
        green(&report, code);
        let least = [
            "list",
            "list.once",
            "list.order",
            "list.head",
            "list.reading",
            "list.parameters",
            "item",
            "item.data",
            "item.unknown",
            "body.json",
        ];
        assert_eq!(of(&report, "pass"), least, "{report:#}");
        assert_eq!(folder.tree(), before);

        // Its names are those of files-ambassador.
        let ours = free_address();
        let mut ambassador = folder.serve(&["--listen", &ours, "--probe-listen", "127.0.0.1:0", "--max-depth", "1"]);
        reachable(&ours);
        let names = |address: &str| {
            wait_until("a list", || {
                let mut stream = TcpStream::connect(address).ok()?;
                write!(stream, "GET /v1/items HTTP/1.0\r\n\r\n").ok()?;
                let mut text = String::new();
                stream.read_to_string(&mut text).ok()?;
                let list: Value = serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()?;
                let names = list.get("items")?.as_array()?.iter().map(|name| name.as_str().map(str::to_owned));
                names.collect::<Option<std::collections::BTreeSet<String>>>()
            })
        };
        let (theirs, ours) = (names(&address), names(&ours));
        assert!(ours.len() >= 42 && ours.is_subset(&theirs), "{ours:?} {theirs:?}");
        ambassador.terminate();
    }

    #[test]
    fn what_the_example_cannot_look_at_is_no_item_less() {
        let folder = Folder::new();
        // Nobody can follow it, not even root.
        std::os::unix::fs::symlink("loop.mp4", folder.root().join("loop.mp4")).expect("a link to itself");
        let address = free_address();
        let port = address.rsplit(':').next().expect("a port");
        let mut command = Command::new("python3");
        command.arg(root().join("examples/ambassador.py")).arg(folder.root()).arg(port);
        let _ambassador = Daemon::start(&mut command, &folder.0.path().join("log"));
        reachable(&address);
        let mut stream = TcpStream::connect(&address).expect("it is there");
        write!(stream, "GET /v1/items HTTP/1.0\r\n\r\n").expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("read");
        assert!(text.starts_with("HTTP/1.0 503") && text.contains("Retry-After"), "{text}");
    }
}
