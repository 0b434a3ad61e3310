//! What is published, what is refused, and what replaces what.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use contract::{MARKER_FILE, Outcome};

use crate::world::World;

const COPY: &str = r#"cp "$INPUT_FILE" "$OUTPUT_DIR/copy""#;
const NEVER: &str = r#"echo "it ran" >&2; exit 9"#;

#[test]
fn a_published_item_is_not_done_again() {
    let world = World::new();
    let item = world.item("a/b.mp4", "one");
    let first = world.worker(&item, COPY).run();
    assert_eq!(first.expect(0, "Published").outcome, Outcome::Published);
    let marker = world.published("a/b.mp4");

    let again = world.worker(&item, NEVER).run();
    let report = again.expect(0, "AlreadyPublished");
    assert_eq!(report.outcome, Outcome::AlreadyPublished);
    assert_eq!((&report.outputs, &report.output), (&marker.outputs, &first.report().output));
    assert_eq!(world.published("a/b.mp4"), marker);
    world.assert_clean();
}

#[test]
fn an_output_that_is_no_longer_whole_is_made_again() {
    let world = World::new();
    let item = world.item("a", "one");
    world.worker(&item, COPY).run().expect(0, "Published");
    for damage in ["rm copy", "echo more >> copy", "rm copy; mkdir copy", "rm copy; ln -s /etc/passwd copy"] {
        let script = format!("cd {} && {damage}", world.path("out/a").display());
        assert!(std::process::Command::new("sh").args(["-c", &script]).status().expect("it runs").success());
        world.worker(&item, COPY).run().expect(0, "Published");
        assert_eq!(fs::read_to_string(world.path("out/a/copy")).expect("is there"), "one", "after {damage}");
        world.published("a");
    }
    world.assert_clean();
}

#[test]
fn a_new_version_replaces_the_whole_old_one() {
    for exchange in [true, false] {
        let world = World::new();
        let item = world.item("a", "one");
        world.worker(&item, &format!("{COPY}; echo > \"$OUTPUT_DIR/only in one\"")).run().expect(0, "Published");
        let item = world.item("a", "another");
        let mut worker = world.worker(&item, COPY);
        if !exchange {
            // As on a file system that has no RENAME_EXCHANGE.
            worker = worker.env("LONGSHORE_FAULT", "worker.exchange.before=fail");
        }
        worker.run().expect(0, "Published");
        let marker = world.published("a");
        assert_eq!(marker.outputs.len(), 1);
        assert_eq!(fs::read_to_string(world.path("out/a/copy")).expect("is there"), "another");
        assert!(!world.path("out/a/only in one").exists());
        world.assert_clean();
    }
}

#[test]
fn a_failed_attempt_at_a_new_version_leaves_the_old_one() {
    let world = World::new();
    let item = world.item("a", "one");
    world.worker(&item, COPY).run().expect(0, "Published");
    let before = world.published("a");
    let item = world.item("a", "another");
    world.worker(&item, &format!("{COPY}; exit 1")).run().expect(1, "CommandFailed");
    world.worker(&item, "exit 0").run().expect(73, "OutputInvalid");
    assert_eq!(world.published("a"), before);
    world.assert_clean();
}

#[test]
fn revisions_only_go_up() {
    let world = World::new();
    let item = world.item("a", "one");
    world.worker(&item, COPY).args(["--revision", "2"]).run().expect(0, "Published");
    let lower = world.worker(&item, NEVER).args(["--revision", "1"]).run();
    assert_eq!(lower.expect(0, "Superseded").outcome, Outcome::Superseded);
    world.worker(&item, NEVER).args(["--revision", "2"]).run().expect(0, "AlreadyPublished");
    world.worker(&item, COPY).args(["--revision", "3"]).run().expect(0, "Published");
    assert_eq!(world.published("a").revision, 3);
    // A higher revision outranks a newer version too: whoever raised it knows of both.
    let item = world.item("a", "another");
    world.worker(&item, NEVER).args(["--revision", "2"]).run().expect(0, "Superseded");
    assert_eq!(world.published("a").revision, 3);
}

#[test]
fn what_is_no_file_is_not_published() {
    let world = World::new();
    let item = world.item("a", "x");
    for (body, says) in [
        ("true", "--allow-empty"),
        (r#"mkdir "$OUTPUT_DIR/empty""#, "--allow-empty"),
        (r#"ln -s /etc/passwd "$OUTPUT_DIR/link""#, "link, which is a symbolic link"),
        (r#"mkdir "$OUTPUT_DIR/d"; mkfifo "$OUTPUT_DIR/d/pipe""#, "d/pipe, which is a named pipe"),
        (r#"echo '{}' > "$OUTPUT_DIR/_SUCCESS.json""#, "_SUCCESS.json"),
        (r#"mkdir -p "$OUTPUT_DIR/d/.longshore""#, "d/.longshore"),
    ] {
        let ended = world.worker(&item, body).run();
        ended.expect_saying(73, "OutputInvalid", &[says]);
        assert!(world.try_published("a").is_none(), "after {body}");
    }
    // Nor is a directory that is not the one the command was given.
    let elsewhere = world.path("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    fs::write(elsewhere.join("precious"), "").expect("somebody's file");
    for (instead, says) in [
        ("true".to_owned(), "is gone"),
        (format!("ln -s {} \"$OUTPUT_DIR\"", elsewhere.display()), "is a symbolic link"),
        ("touch \"$OUTPUT_DIR\"".to_owned(), "is a regular file"),
    ] {
        let ended = world.worker(&item, &format!("rmdir \"$OUTPUT_DIR\"; {instead}")).run();
        ended.expect_saying(73, "OutputInvalid", &["OUTPUT_DIR", says]);
        assert!(world.try_published("a").is_none(), "after {instead}");
        assert_eq!(fs::read_dir(&elsewhere).expect("lists").count(), 1, "nothing was written elsewhere");
    }
    let swept = format!("rm -rf {}", world.path("out/.longshore").display());
    world.worker(&item, &swept).run().expect(74, "IoError");

    world.worker(&item, "true").arg("--allow-empty").run().expect(0, "Published");
    assert!(world.published("a").outputs.is_empty());
    world.assert_clean();
}

#[test]
fn a_place_that_is_taken_is_refused_before_anything_runs() {
    let world = World::new();
    let item = world.item("a", "x");
    let taken = |says: &str| world.worker(&item, NEVER).run().expect_saying(73, "OutputTaken", &[says, "out/a"]);
    let place = world.path("out/a");

    fs::write(&place, "").expect("a file");
    taken("a regular file");
    fs::remove_file(&place).expect("removed");
    symlink("/tmp", &place).expect("a link");
    taken("a symbolic link");
    fs::remove_file(&place).expect("removed");
    fs::create_dir(&place).expect("a directory");
    fs::write(place.join("precious"), "").expect("somebody's file");
    taken("no item's output");
    for bad in ["", "{", "{}", r#"{"kind":"Success","apiVersion":"v2"}"#] {
        fs::write(place.join(MARKER_FILE), bad).expect("a marker of sorts");
        taken("move the directory away");
    }
    assert!(place.join("precious").exists());

    fs::remove_dir_all(&place).expect("removed");
    fs::create_dir(&place).expect("an empty directory is as good as none");
    world.worker(&item, COPY).run().expect(0, "Published");
    world.assert_clean();
}

#[test]
fn a_root_that_cannot_hold_output_is_no_fault_of_the_item() {
    const NOBODY: u32 = 65_534;
    let world = World::new();
    let item = world.item("a", "x");
    fs::write(world.path("file"), "").expect("a file");
    fs::create_dir(world.path("locked")).expect("a directory");
    fs::set_permissions(world.path("locked"), fs::Permissions::from_mode(0o555)).expect("changed");
    for mode in ["", "--check"] {
        let to = |root: &str| {
            let worker = world.bare(&item).arg("--output").arg(world.path(root).join("{key}/"));
            worker.args((!mode.is_empty()).then_some(mode)).args(["--scratch", "/tmp"])
        };
        let ended = to("file").script("true").run();
        assert_eq!(ended.code, Some(74), "{}", ended.stderr);
        assert!(ended.stderr.contains("where --output begins, must be a directory"), "{}", ended.stderr);
        let ended = to("locked").script("true").under_user(NOBODY).run();
        assert_eq!(ended.code, Some(74), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("must be able to write to") && ended.stderr.contains("/locked"),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn two_items_cannot_have_one_place() {
    let world = World::new();
    let (first, second) = (world.item("a.mp4", "1"), world.item("a.mov", "2"));
    let by_stem = |item| {
        let script = world.script(COPY);
        world.bare(item).arg("--output").arg(world.path("out/{stem}/")).script(script).run()
    };
    by_stem(&first).expect(0, "Published");
    by_stem(&second).expect_saying(73, "OutputTaken", &["a.mp4", "a.mov", "{key}"]);
    assert_eq!(world.published("a").item.key.to_string(), "a.mp4");
    world.assert_clean();
}

#[test]
fn outputs_do_not_nest() {
    let world = World::new();
    let uri = |name: &str| crate::world::uri(&world.path("in").join(name));
    world.item("x", "1");
    let item = |key: &str| world.item_file(serde_json::json!({"uri": uri("x"), "key": key}).to_string());
    world.worker(&item("d"), COPY).run().expect(0, "Published");
    world.worker(&item("d/e"), NEVER).run().expect_saying(73, "OutputTaken", &["out/d", "itself the output"]);
    world.worker(&item("d/e/f/g"), NEVER).run().expect(73, "OutputTaken");

    world.worker(&item("p/q/r"), COPY).run().expect(0, "Published");
    world.worker(&item("p"), NEVER).run().expect_saying(73, "OutputTaken", &["out/p"]);
    world.worker(&item("p/q"), NEVER).run().expect(73, "OutputTaken");
    world.worker(&item("p/q/s"), COPY).run().expect(0, "Published");

    // Nor do they lead through a link to elsewhere.
    fs::create_dir(world.path("elsewhere")).expect("a directory");
    symlink(world.path("elsewhere"), world.path("out/link")).expect("a link");
    world.worker(&item("link/x"), NEVER).run().expect(73, "OutputTaken");
    assert_eq!(fs::read_dir(world.path("elsewhere")).expect("lists").count(), 0);
    world.assert_clean();
}

#[test]
fn a_template_may_be_a_uri_and_its_root_may_be_new() {
    let world = World::new();
    let item = world.item("d/film.tar.gz", "x");
    let root = format!("{}/new%20root/deep/v-{{stem}}-{{ext}}/{{name}}", crate::world::uri(world.root()));
    let script = world.script(COPY);
    let ended = world.bare(&item).arg("--output").arg(root).script(script).run();
    ended.expect(0, "Published");
    let name = ended.report().item.as_ref().expect("it has a name").to_string();
    assert!(world.path(format!("new root/deep/v-film.tar-gz/{name}/{MARKER_FILE}")).exists());
}

#[test]
fn deep_and_many_outputs_are_all_named() {
    let world = World::new();
    let item = world.item("a", "x");
    let body = r#"cd "$OUTPUT_DIR"; for n in $(seq 300); do mkdir -p "d$((n % 7))/e e"; echo $n > "d$((n % 7))/e e/$n"; done
        printf 'a\nb' > "$(printf 'new\nline')"; printf x > "$(printf '\377')"; chmod 500 d1"#;
    world.worker(&item, body).run().expect(0, "Published");
    let marker = world.published("a");
    assert_eq!(marker.outputs.len(), 302);
    assert!(marker.outputs.is_sorted_by(|a, b| a.path < b.path));
    world.worker(&item, NEVER).run().expect(0, "AlreadyPublished");
}
