//! A real NFSv4.2 mount with its default caching, in a guest: its server's side stands for every other machine that writes.
//!
//! What is in [`within`] runs in the guest, once, and one test after the other since the server is stopped in between; each is
//! asked after here by its own name.

mod within;

mod needs_nfs_guest {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::sync::LazyLock;

    use longshore_tests::programs::{program, root};

    /// The tests in the guest and how each ended, and all it said.
    static GUEST: LazyLock<(BTreeMap<String, bool>, String)> = LazyLock::new(|| {
        let scripts = root().join("tests/servers/nfs");
        let made = Command::new(scripts.join("setup")).stderr(Stdio::inherit()).output().expect("setup runs");
        assert!(made.status.success(), "the guest cannot be made");
        let guest = String::from_utf8(made.stdout).expect("a path");
        let work = tempfile::tempdir().expect("a directory");
        let test = work.path().join("test.sh");
        let run = "cd /tmp && RUST_BACKTRACE=0 RUST_TEST_THREADS=1 /payload/it --ignored --nocapture nfs::within::";
        std::fs::write(&test, run).expect("written");
        let own = std::env::current_exe().expect("own path");
        std::fs::copy(own, work.path().join("it")).expect("copied");
        let output = Command::new(scripts.join("boot"))
            .args([Path::new(guest.trim()), &work.path().join("guest"), &test, &work.path().join("it")])
            .args([program("files-ambassador"), program("script-worker")])
            .stderr(Stdio::inherit())
            .output()
            .expect("the guest boots");
        let console = String::from_utf8_lossy(&output.stdout).into_owned();
        (verdicts(&console), console)
    });

    /// What libtest says, though what its tests say may stand between: `test nfs::within::a ... ` and, later, `ok`.
    fn verdicts(console: &str) -> BTreeMap<String, bool> {
        let mut verdicts = BTreeMap::new();
        for part in console.split("test nfs::within::").skip(1) {
            let Some((name, rest)) = part.split_once(" ... ") else { continue };
            let own = rest.split("\ntest ").next().unwrap_or_default();
            verdicts.insert(name.to_owned(), own.lines().any(|line| line == "ok"));
        }
        verdicts
    }

    fn passed_in_the_guest(name: &str) {
        let (verdicts, console) = &*GUEST;
        assert!(verdicts.get(name) == Some(&true), "{name} in the guest; its console:\n{console}");
    }

    #[test]
    fn what_grows_on_the_server_is_listed_when_it_is_whole() {
        passed_in_the_guest("growing");
    }

    #[test]
    fn what_is_replaced_or_removed_on_the_server_is_another_item_or_none() {
        passed_in_the_guest("replaced");
    }

    #[test]
    fn a_directory_removed_under_a_scan_is_gone_and_nothing_else_is() {
        passed_in_the_guest("removed");
    }

    #[test]
    fn what_was_replaced_behind_the_cache_is_not_settled() {
        passed_in_the_guest("settled");
    }

    #[test]
    fn a_server_that_stops_is_told_and_one_that_returns_is_read_again() {
        passed_in_the_guest("stopped");
    }

    #[test]
    fn workers_publish_whole_and_once() {
        passed_in_the_guest("published");
    }

    #[test]
    fn every_test_in_the_guest_is_asked_after() {
        let (verdicts, console) = &*GUEST;
        let names: Vec<_> = verdicts.keys().map(String::as_str).collect();
        assert_eq!(names, ["growing", "published", "removed", "replaced", "settled", "stopped"], "{console}");
    }
}
