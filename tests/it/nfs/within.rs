//! What runs in the guest: `/srv/export` is the server's side, `/mnt` the mount, and programs lie in `/payload`.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use longshore_tests::http::ask;
use longshore_tests::supervised::{Daemon, Ended, wait_until};
use longshore_tests::world::whole;
use rustix::process::Signal;
use serde_json::{Value, json};

const SERVER: &str = "/srv/export";
const MOUNT: &str = "/mnt";

struct Ambassador {
    daemon: Daemon,
    port: u16,
    probes: u16,
}

impl Ambassador {
    /// Over a folder of the mount, new; reading it again every second.
    fn start(folder: &str, more: &[&str]) -> Self {
        static PORT: AtomicU16 = AtomicU16::new(8000);
        let (port, probes) = (PORT.fetch_add(1, Ordering::Relaxed), PORT.fetch_add(1, Ordering::Relaxed));
        fs::create_dir_all(server(folder)).expect("made");
        fs::set_permissions(server(folder), fs::Permissions::from_mode(0o777)).expect("opened to the client");
        let mut command = Command::new("/payload/files-ambassador");
        command
            .args(["--root", &format!("{MOUNT}/{folder}"), "--request-timeout", "5s", "--stall-after", "3s"])
            .args(["--listen", &format!("127.0.0.1:{port}"), "--probe-listen", &format!("127.0.0.1:{probes}")])
            .args(more);
        let daemon = Daemon::start(&mut command, Path::new(&format!("/tmp/{folder}-{port}.log")));
        let ambassador = Self { daemon, port, probes };
        wait_until("the first scan", || (ambassador.status("/readyz") == 200).then_some(()));
        ambassador
    }

    fn ask(port: u16, method: &str, path: &str) -> (u16, String) {
        ask(&format!("127.0.0.1:{port}"), method, path)
    }

    fn status(&self, probe: &str) -> u16 {
        Self::ask(self.probes, "GET", probe).0
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = Self::ask(self.port, "GET", path);
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// What is listed; `None` when that cannot be told.
    fn listed(&self) -> Option<Vec<String>> {
        let (status, list) = self.get("/v1/items");
        assert!(matches!(status, 200 | 503 | 504), "the list answered {status}");
        let names = list.get("items")?.as_array()?;
        Some(names.iter().map(|name| name.as_str().expect("a name").to_owned()).collect())
    }

    fn wait_for(&self, count: usize) -> Vec<String> {
        wait_until(&format!("{count} items"), || self.listed().filter(|names| names.len() == count))
    }

    fn log(&self) -> String {
        self.daemon.log()
    }
}

fn server(path: &str) -> PathBuf {
    Path::new(SERVER).join(path)
}

/// Put there whole, by another machine.
fn put(path: &str, content: &[u8]) {
    fs::write(server("incoming"), content).expect("written");
    fs::rename(server("incoming"), server(path)).expect("renamed");
}

fn run(program: &str) {
    assert!(Command::new(program).status().expect("runs").success(), "{program}");
}

#[test]
#[ignore = "runs in the guest"]
fn growing() {
    // Far longer than the writer ever pauses, and only half as long as it writes.
    let ambassador = Ambassador::start("growing", &["--rescan", "500ms", "--stable-for", "6s"]);
    let finished = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::create(server("growing/camera.mp4")).expect("made");
            for _ in 0..60 {
                file.write_all(&[7; 4096]).expect("written");
                std::thread::sleep(Duration::from_millis(200));
            }
            finished.store(true, Ordering::SeqCst);
        });
        let names = ambassador.wait_for(1);
        assert!(finished.load(Ordering::SeqCst), "listed while it was written:\n{}", ambassador.log());
        let (status, item) = ambassador.get(&format!("/v1/items/{}", names[0]));
        assert_eq!((status, item["data"]["size"].as_u64()), (200, Some(60 * 4096)), "{item}");
    });
}

#[test]
#[ignore = "runs in the guest"]
fn replaced() {
    let ambassador = Ambassador::start("replaced", &["--rescan", "1s", "--stable-for", "1s"]);
    put("replaced/a.mp4", b"first");
    let first = ambassador.wait_for(1).remove(0);
    put("replaced/a.mp4", b"second, and longer");
    let second = wait_until("the new version", || ambassador.listed()?.into_iter().find(|name| *name != first));
    assert_eq!(ambassador.get(&format!("/v1/items/{first}")).0, 410);
    let (status, item) = ambassador.get(&format!("/v1/items/{second}"));
    assert_eq!((status, item["data"]["size"].as_u64()), (200, Some(18)));
    fs::remove_file(server("replaced/a.mp4")).expect("removed");
    ambassador.wait_for(0);
    assert_eq!(ambassador.get(&format!("/v1/items/{second}")).0, 410);
}

#[test]
#[ignore = "runs in the guest"]
fn removed() {
    for n in 0..200 {
        fs::create_dir_all(server(&format!("removed/deep/{n}"))).expect("made");
        put(&format!("removed/deep/{n}/a.mp4"), b"content");
    }
    put("removed/stays.mp4", b"content");
    let ambassador = Ambassador::start("removed", &["--rescan", "200ms", "--stable-for", "1s"]);
    ambassador.wait_for(201);
    // Scans go on meanwhile, with descriptors of what is removed.
    fs::remove_dir_all(server("removed/deep")).expect("removed");
    let left = wait_until("the removed to be gone", || ambassador.listed().filter(|names| names.len() < 201));
    let stays = |names: &[String]| names.iter().any(|name| name.starts_with("stays-mp4-"));
    assert!(stays(&left));
    assert!(stays(&ambassador.wait_for(1)));
    assert_eq!(ambassador.status("/livez"), 200);
    wait_until("a complete list", || ambassador.get("/v1/items").1["metadata"]["complete"].as_bool()?.then_some(()));
}

#[test]
#[ignore = "runs in the guest"]
fn settled() {
    for action in ["delete", "move:/mnt/settled-done"] {
        let folder = format!("settled-{}", &action[..4]);
        let options = ["--rescan", "1h", "--stable-for", "1s", "--on-settle", action];
        fs::create_dir_all(server("settled-done")).expect("made");
        fs::set_permissions(server("settled-done"), fs::Permissions::from_mode(0o777)).expect("opened to the client");
        fs::create_dir_all(server(&folder)).expect("made");
        put(&format!("{folder}/kept.mp4"), b"first");
        put(&format!("{folder}/done.mp4"), b"first");
        let ambassador = Ambassador::start(&folder, &options);
        let names = ambassador.wait_for(2);
        // Nobody here has heard of it, and what the mount has cached says otherwise.
        put(&format!("{folder}/kept.mp4"), b"other");
        for name in &names {
            let (status, body) = Ambassador::ask(ambassador.port, "DELETE", &format!("/v1/items/{name}"));
            assert_eq!(status, 204, "{action} {name}: {body}\n{}", ambassador.log());
        }
        assert_eq!(fs::read(server(&format!("{folder}/kept.mp4"))).expect("is there"), b"other", "{action}");
        assert!(!server(&format!("{folder}/done.mp4")).exists(), "{action}");
        assert_eq!(server("settled-done/done.mp4").exists(), action != "delete");
        let left: Vec<_> = fs::read_dir(server(&folder)).expect("reads").flatten().map(|e| e.file_name()).collect();
        assert_eq!(left, ["kept.mp4"], "{action}");
    }
}

#[test]
#[ignore = "runs in the guest"]
fn stopped() {
    fs::create_dir_all(server("stopped")).expect("made");
    put("stopped/a.mp4", b"content");
    let patient = Ambassador::start("stopped", &["--rescan", "1s", "--stable-for", "1s", "--max-stale", "1h"]);
    let mut strict = Ambassador::start("stopped", &["--rescan", "1s", "--stable-for", "1s"]);
    let name = patient.wait_for(1).remove(0);
    strict.wait_for(1);
    run("/bin/server_down");
    for ambassador in [&patient, &strict] {
        wait_until("readiness to turn red", || (ambassador.status("/readyz") == 503).then_some(()));
        assert_eq!(ambassador.status("/livez"), 200);
    }
    assert_eq!(patient.listed(), Some(vec![name.clone()]), "what was seen last stands for as long as it may");
    wait_until("the list to be refused", || (strict.get("/v1/items").0 == 503).then_some(()));
    assert!(matches!(patient.get(&format!("/v1/items/{name}")).0, 503 | 504));
    assert_eq!(patient.status("/livez"), 200);
    // It ends, whatever hangs.
    strict.daemon.signal(Signal::TERM);
    assert_eq!(strict.daemon.wait(), Ended::Code(0));
    put("stopped/b.mp4", b"while nobody could see");
    run("/bin/server_up");
    wait_until("readiness to return", || (patient.status("/readyz") == 200).then_some(()));
    patient.wait_for(2);
    assert_eq!(patient.get(&format!("/v1/items/{name}")).0, 200);
}

#[test]
#[ignore = "runs in the guest"]
fn published() {
    let folder = Path::new(MOUNT).join("published");
    fs::create_dir_all(server("published")).expect("made");
    fs::set_permissions(server("published"), fs::Permissions::from_mode(0o777)).expect("opened to the client");
    let item = Path::new("/tmp/item.json");
    let work = |content: &str| {
        fs::write(folder.join("input"), content).expect("written");
        let stat = fs::metadata(folder.join("input")).expect("is there");
        let etag =
            format!("{}-{}", stat.size(), i128::from(stat.mtime()) * 1_000_000_000 + i128::from(stat.mtime_nsec()));
        let data = json!({ "uri": format!("file://{}/input", folder.display()), "key": "input", "etag": etag });
        fs::write(item, data.to_string()).expect("written");
        // Two machines at once have the same item.
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let mut worker = Command::new("/payload/script-worker");
                worker
                    .env("WORK_ITEM_FILE", item)
                    .args(["--output", "/mnt/published/{key}.out/", "--allow-input", "/mnt/published", "--"])
                    .args(["/bin/sh", "-c", r#"cat "$INPUT_FILE" "$INPUT_FILE" > "$OUTPUT_DIR/twice""#])
                    .stderr(Stdio::inherit());
                worker.spawn().expect("starts")
            })
            .collect();
        for mut worker in workers {
            assert!(worker.wait().expect("ends").success());
        }
        let output = server("published/input.out");
        whole(&output).expect("whole on the server");
        assert_eq!(fs::read_to_string(output.join("twice")).expect("reads"), content.repeat(2));
    };
    work("one");
    work("another");
    let staging = server("published/.longshore");
    let left = fs::read_dir(&staging).map_or(0, |entries| entries.flatten().filter(|e| e.path().is_dir()).count());
    assert_eq!(left, 0, "staging is swept");
}
