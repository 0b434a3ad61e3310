//! Layout B: a fetch, stages that know nothing of us, a commit. Each is a process of its own, as each is a container of its own there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::world::{Ended, Layout, World};

impl World {
    fn verb(&self, verb: &str) -> Ended {
        let chained = self
            .program(env!("CARGO_BIN_EXE_multi-worker").as_ref(), verb)
            .arg(verb)
            .arg("--root")
            .arg(self.path("pod"));
        let chained = if verb == "commit" { chained.args(["--stages", "upper,count"]) } else { chained };
        chained.arg("--allow-input").arg(self.path("in")).arg("--output").arg(self.path("out/{key}/")).run()
    }

    /// A stage, with the directories that a manifest would name.
    fn stage(&self, name: &str, script: &str) {
        let pod = self.path("pod");
        let out = pod.join("stages").join(name).join("out");
        fs::create_dir_all(&out).expect("a volume");
        let status = Command::new("sh")
            .args(["-euc", script])
            .env("INPUT_FILE", pod.join("adapter/input"))
            .env("WORK_ITEM_FILE", pod.join("adapter/item.json"))
            .env("NEEDS_UPPER", pod.join("stages/upper/out"))
            .env("OUTPUT_DIR", out)
            .status();
        assert!(status.expect("sh runs").success(), "{name} failed");
    }

    fn stages_run(&self) {
        self.stage("upper", r#"tr a-z A-Z <"$INPUT_FILE" >"$OUTPUT_DIR/upper""#);
        self.stage("count", r#"wc -c <"$NEEDS_UPPER/upper" >"$OUTPUT_DIR/count"; grep -q a.txt "$WORK_ITEM_FILE""#);
    }
}

#[test]
fn what_the_last_stage_wrote_is_published_once() {
    let world = World::new(Layout::Pod);
    let fetched = world.verb("fetch");
    assert_eq!(fetched.code, 0, "{}", fetched.log);
    let mode = |name: &str| fs::metadata(world.path("pod/adapter").join(name)).expect("is there").permissions().mode();
    assert_eq!(mode("item.json") & 0o444, 0o444, "other users cannot read the item");
    assert!(world.names().is_empty(), "a fetch publishes nothing");
    world.stages_run();
    let committed = world.verb("commit");
    assert_eq!(committed.code, 0, "{}", committed.log);
    assert_eq!((world.names(), world.published("count").trim()), (vec!["count".to_owned()], "11"));

    // The pod was made again: its stages run for nothing.
    assert_eq!(world.verb("fetch").code, 0);
    world.stages_run();
    let again = world.verb("commit");
    assert_eq!((again.code, again.report().reason.as_str()), (0, "AlreadyPublished"));
    world.assert_clean();
}

#[test]
fn an_input_that_was_replaced_meanwhile_is_not_what_is_published() {
    let world = World::new(Layout::Pod);
    assert_eq!(world.verb("fetch").code, 0);
    world.stages_run();
    fs::write(world.path("in/a.txt"), "another input, and longer\n").expect("written");
    let committed = world.verb("commit");
    // The item names no version: nobody else would come for this one.
    assert_eq!((committed.code, committed.report().reason.as_str()), (75, "Busy"), "{}", committed.log);
    assert!(world.names().is_empty());

    assert_eq!(world.verb("fetch").code, 0, "an init container may be run again");
    world.stages_run();
    assert_eq!(world.verb("commit").code, 0);
    assert_eq!(world.published("count").trim(), "26");
}

#[test]
fn an_item_that_names_its_version_is_superseded_by_another() {
    let world = World::new(Layout::Pod);
    let input = world.path("in/a.txt");
    let version = || {
        let found = fs::metadata(&input).expect("is there");
        let mtime = found.modified().expect("a time").duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        format!("{}-{}", found.len(), mtime.as_nanos())
    };
    let item = format!(r#"{{"uri":"file://{}","key":"a.txt","etag":"{}"}}"#, input.display(), version());
    fs::write(world.path("item.json"), item).expect("an item");
    assert_eq!(world.verb("fetch").code, 0);
    world.stages_run();
    fs::write(&input, "another input, and longer\n").expect("written");
    let committed = world.verb("commit");
    assert_eq!((committed.code, committed.report().reason.as_str()), (0, "Superseded"), "{}", committed.log);
    assert!(world.names().is_empty());
}

#[test]
fn whatever_is_missing_is_said_with_the_next_step() {
    let world = World::new(Layout::Pod);
    let nothing = world.verb("commit");
    assert_eq!((nothing.code, nothing.report().reason.as_str()), (78, "NothingFetched"), "{}", nothing.log);
    assert!(nothing.report().message.contains("init container"), "{}", nothing.report().message);

    assert_eq!(world.verb("fetch").code, 0);
    let unmounted = world.verb("commit");
    assert_eq!((unmounted.code, unmounted.report().reason.as_str()), (78, "OutputNotMounted"), "{}", unmounted.log);

    world.stages_run();
    let other = format!(r#"{{"uri":"file://{}","key":"b.txt"}}"#, world.path("in/a.txt").display());
    fs::write(world.path("item.json"), other).expect("another item");
    let mixed = world.verb("commit");
    assert_eq!((mixed.code, mixed.report().reason.as_str()), (78, "FetchUnusable"), "{}", mixed.log);

    fs::remove_file(world.path("in/a.txt")).expect("removed");
    let gone = world.verb("fetch");
    assert_eq!((gone.code, gone.report().reason.as_str()), (66, "InputMissing"), "{}", gone.log);
    assert!(!world.path("pod/adapter/fetched.json").exists(), "what was fetched before would be taken for this");
    assert!(world.names().is_empty());
}
