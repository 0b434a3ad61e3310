//! A node is gone when it should be, pods and all.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use test_servers::{Cluster, base_image};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: sleeper}
spec:
  containers:
  - {name: main, image: localhost/longshore-base/busybox:1, imagePullPolicy: Never, command: [sleep, '3600']}
";

#[test]
fn no_node_survives_its_process() {
    let (mut victim, marks) = victim();
    assert!(marks.processes() > 9, "{marks:?} is not what a node looks like");
    assert!(!marks.groups().is_empty(), "a pod of {marks:?} is in no control group");
    victim.kill().expect("it can be killed");
    victim.wait().expect("it was a child");
    let begun = Instant::now();
    while marks.processes() != 0 || marks.folder.exists() || !marks.groups().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(240), "{marks:?} outlived the process: {:?}", marks.groups());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_a_node_leaves_whose_keeper_was_killed_too_the_next_sweeps() {
    let (mut victim, marks) = victim();
    // The node's first process is a child of unshare, which the keeper waits for.
    let keeper = parent(&parent(&marks.process));
    kill_process(keeper.parse().ok().and_then(Pid::from_raw).expect("a pid"), Signal::KILL).expect("it can be killed");
    victim.kill().expect("it can be killed");
    victim.wait().expect("it was a child");
    let begun = Instant::now();
    // Whoever waited for its first process holds the lock a moment longer.
    while marks.processes() != 0 || !marks.is_unlocked() {
        assert!(begun.elapsed() < Duration::from_secs(240), "{marks:?} outlived the process");
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(Cluster::start());
    assert!(!marks.folder.exists(), "{marks:?} is still there");
    assert_eq!(marks.groups(), Vec::<PathBuf>::new());
}

#[test]
#[ignore = "run by the others, which kill it"]
fn is_killed_with_a_node() {
    let cluster = Cluster::shared();
    cluster.import(&base_image("busybox"));
    let space = cluster.namespace("victim");
    space.apply(POD);
    space.until("pod/sleeper", |pod| (pod["status"]["phase"] == "Running").then_some(()));
    println!("\nnode: {} {}", cluster.process(), cluster.kubeconfig().display());
    std::thread::sleep(Duration::from_secs(600));
}

/// A process that has a node with a pod that runs.
fn victim() -> (Child, Marks) {
    let mut victim = Command::new(std::env::current_exe().expect("this test has a path"))
        .args(["--exact", "needs_kubernetes::cluster::is_killed_with_a_node", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("this very program runs");
    let marks = BufReader::new(victim.stdout.take().expect("piped"))
        .lines()
        .map(|line| line.expect("a line"))
        .find_map(|line| {
            let (process, kubeconfig) = line.strip_prefix("node: ")?.split_once(' ')?;
            let folder = Path::new(kubeconfig).parent()?.to_owned();
            Some(Marks { process: process.to_owned(), namespace: namespace(process)?, folder })
        })
        .expect("the victim tells where its node is");
    (victim, marks)
}

/// What shows that a node is there.
#[derive(Debug)]
struct Marks {
    process: String,
    namespace: PathBuf,
    folder: PathBuf,
}

impl Marks {
    /// How many processes it has.
    fn processes(&self) -> usize {
        let processes = fs::read_dir("/proc").expect("/proc").flatten();
        processes
            .filter(|entry| namespace(&entry.file_name().to_string_lossy()).as_ref() == Some(&self.namespace))
            .count()
    }

    /// Whether nobody holds the lock that every process of it does, and who started it.
    fn is_unlocked(&self) -> bool {
        // Another that starts meanwhile may have swept it all.
        fs::File::open(self.folder.join("lock")).map_or(true, |lock| lock.try_lock().is_ok())
    }

    /// Its control groups, of which there is one in each hierarchy.
    fn groups(&self) -> Vec<PathBuf> {
        let root = Path::new("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(root).expect("control groups").flatten().map(|entry| entry.path());
        let name = self.folder.file_name().expect("it has a name");
        hierarchies
            .chain([root.to_owned()])
            .map(|hierarchy| hierarchy.join(name))
            .filter(|group| group.exists())
            .collect()
    }
}

fn namespace(process: &str) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{process}/ns/pid")).ok()
}

fn parent(process: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it lives");
    status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("it has one").trim().to_owned()
}
