//! A queue manager that nobody here wrote for us: Python's standard library, two GETs, and a file of names.

mod needs_python {
    use std::fs;
    use std::process::{Command, Output};

    use longshore_tests::http::ask;
    use longshore_tests::programs::{program, root};
    use longshore_tests::{Settling, World, wait_until};

    fn manager(world: &World, path: &str) -> Output {
        Command::new("python3")
            .arg(root().join("examples/get-only-manager.py"))
            .args([&world.url(), "--path", path, "--once", "--every", "0.05", "--done"])
            .arg(world.path().join("done.txt"))
            .arg("--")
            .arg(program("script-worker"))
            .args(["--permanent-exit", "3", "--allow-input"])
            .arg(format!("file://{}/", world.path().join("source").display()))
            .arg("--output")
            .arg(format!("{}/{{key}}/", world.path().join("out").display()))
            .arg("--")
            .arg(world.path().join("script"))
            .env("WORLD", world.path())
            .env("TMPDIR", world.path().join("tmp"))
            .output()
            .expect("python3 runs")
    }

    #[test]
    fn works_through_all_three_path_aliases() {
        for path in ["/v1/items", "/api/v1/items", "/items"] {
            let mut world = World::new(Settling::Nowhere);
            world.add_usual_files();
            let mut ambassador = world.ambassador(None);
            // All of them from the first list on, so that the poison is always among what is left.
            wait_until("the five files to be listed", || {
                let (_, list) = ask(&world.address().to_string(), "GET", path);
                let list: serde_json::Value = serde_json::from_str(&list).ok()?;
                (list.get("items")?.as_array()?.len() == 5).then_some(())
            });
            let verdict = wait_until("all but the poison to be done", || {
                let output = manager(&world, path);
                let shown = String::from_utf8_lossy(&output.stdout).into_owned();
                let done = fs::read_to_string(world.path().join("done.txt")).expect("its memory").lines().count();
                // Neither a success (the poison stays) nor, with its five files, ever more than four done.
                assert_ne!(output.status.code(), Some(0), "{path}: {shown}");
                (done == 4).then_some(shown)
            });
            assert!(verdict.contains("exit code 65"), "{path}: the poison is permanent: {verdict}");
            ambassador.terminate();
            world.check_one_committed(path);
        }
    }
}
