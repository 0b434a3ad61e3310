//! The memory of a process that does nothing but carry objects.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use storage::Meter;
use storage_s3::{S3, S3Args, ToFetch, ToUpload, TransferArgs, Upload, Wanted};
use test_servers::S3Server;
use tokio::process::Command;

use super::super::{Rig, content, etag};

/// What buffers may take.
const CAP: ByteSize = ByteSize::mib(32);
/// What else a process takes: the program, unoptimised, its threads, thirty-two connections, the authorities it trusts, and most of all what
/// the C library keeps of freed memory, for each of its arenas.
const ELSE: ByteSize = ByteSize::mib(128);
/// Nearly twice what the process may take in all.
const LARGE: usize = 288 << 20;
/// Nearly as much again.
const SMALL: (usize, usize) = (192, 768 << 10);
/// By which the process knows its work.
const BUCKET: &str = "CARRY_BUCKET";
const DIR: &str = "CARRY_DIR";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_takes_no_more_than_the_budget_and_a_constant() {
    let server = S3Server::shared_minio();
    let rig = Rig::new(server).await;
    let large = rig.file("sent", LARGE, 1).1;
    for n in 0..SMALL.0 {
        rig.file(&format!("sent-{n}"), SMALL.1, n as u64);
    }
    let (_, module) = module_path!().split_once("::").expect("a crate and a module");
    let child = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", "--ignored", "--nocapture", &format!("{module}::carries_for_the_test_above")])
        .env(BUCKET, rig.bucket.name())
        .env(DIR, rig.dir.path())
        .envs(server.env())
        .output();
    let ended = child.await.expect("run it");
    let told = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{told}{}", String::from_utf8_lossy(&ended.stderr));
    assert!(fs::read(rig.dir.path().join("fetched")).expect("read it") == large, "it was carried");
    for n in 0..SMALL.0 {
        let fetched = fs::read(rig.dir.path().join(format!("fetched-{n}"))).expect("read it");
        assert!(fetched == content(SMALL.1, n as u64), "{n} was carried");
    }
    let peak = told.lines().find_map(|line| line.split_once("peak ")?.1.parse().ok()).map(ByteSize::kib);
    let (peak, most) = (peak.expect("it tells its memory"), ByteSize::b(CAP.as_u64() + ELSE.as_u64()));
    assert!(peak <= most, "{peak} at most, of {most}");
}

/// The process of the test above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test above, in a process of its own"]
async fn carries_for_the_test_above() {
    #[expect(clippy::disallowed_methods, reason = "a test's process has no flags of its own")]
    let of = |name| env::var(name).expect("the test above says it");
    let (bucket, dir) = (of(BUCKET), of(DIR));
    let transfer = TransferArgs { transfer_memory: CAP, ..TransferArgs::default() };
    let bucket = S3::new(S3Args::default(), transfer).bucket(&bucket);
    let path = |name: &str| -> PathBuf { Path::new(&dir).join(name) };
    let meter = Meter::silent();

    let written = bucket.upload(&path("sent"), "large", &Upload::default(), &meter).await.expect("put it");
    let wanted = Wanted { etag: Some(etag(&written)), size: Some(LARGE as u64), version_id: None };
    bucket.fetch("large", &wanted, &path("fetched"), &meter).await.expect("fetch it");

    let key = |n: usize| format!("small/{n}");
    let uploads =
        (0..SMALL.0).map(|n| ToUpload { from: path(&format!("sent-{n}")), key: key(n), how: Upload::default() });
    let written = bucket.upload_all(uploads.collect(), &meter).await.expect("put them");
    let objects = written.iter().enumerate().map(|(n, written)| ToFetch {
        key: key(n),
        wanted: Wanted { etag: Some(etag(written)), size: Some(SMALL.1 as u64), version_id: None },
        to: path(&format!("fetched-{n}")),
    });
    bucket.fetch_all(objects.collect(), &meter).await.expect("fetch them");

    let status = fs::read_to_string("/proc/self/status").expect("look at this process");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    println!("\npeak {}", peak.expect("the kernel tells").trim());
}
