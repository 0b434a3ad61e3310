//! Item files and inputs, good and bad.

use std::fs;
use std::os::unix::fs::symlink;

use contract::Outcome;

use crate::world::{World, uri, version};

const COPY: &str = r#"cp "$INPUT_FILE" "$OUTPUT_DIR/copy""#;
const NEVER: &str = r#"touch "$OUTPUT_DIR/../ran"; exit 9"#;

#[test]
fn bad_item_files() {
    let world = World::new();
    for (text, says) in [
        (String::new(), "is empty"),
        ("hello".into(), "is not JSON"),
        ("[]".into(), "no object"),
        (r#"{"key":"a"}"#.into(), "names no input"),
        (format!("{{\"uri\":\"{}\"}}", "x".repeat(10_000_000)), "larger"),
        (r#"{"uri":"in/a"}"#.into(), "unusable URI"),
        (r#"{"uri":"file://elsewhere/a"}"#.into(), "another host"),
        (r#"{"topic":"t","value":"x"}"#.into(), "WORK_ITEM_NAME"),
    ] {
        let item = world.item_file(text);
        world.worker(&item, NEVER).run().expect_saying(65, "BadItem", &[says]);
    }
    let whole = "must be a JSON object of at most 1 MiB with a \"uri\"";
    world.worker(&world.item_file("{}"), NEVER).run().expect_saying(65, "BadItem", &[whole, "items/"]);

    let absent = world.worker(&world.path("absent.json"), NEVER).run();
    absent.expect_saying(66, "ItemFileMissing", &["absent.json", "WORK_ITEM_FILE", "mounted"]);
    let directory = world.worker(&world.path("in"), NEVER).run();
    directory.expect_saying(78, "ItemFileUnreadable", &["/in", "WORK_ITEM_FILE", "the file in it"]);
    let unset = world.worker(&world.path("x"), NEVER).env_remove("WORK_ITEM_FILE").run();
    unset.expect_saying(78, "NoItemFile", &["WORK_ITEM_FILE", "--work-item-file"]);
    let empty = world.worker(&world.path("x"), NEVER).env("WORK_ITEM_FILE", "").run();
    empty.expect_saying(78, "NoItemFile", &["WORK_ITEM_FILE", "--work-item-file"]);
    world.assert_clean();
}

#[test]
fn nothing_is_read_that_was_not_allowed() {
    let world = World::new();
    let input = world.path("in/a");
    let secret = world.path("secret");
    fs::write(&secret, "s3cret").expect("a file outside");
    fs::create_dir(world.path("in2")).expect("a directory");
    fs::write(world.path("in2/a"), "x").expect("a file outside");
    world.item("a", "x");
    symlink(&secret, world.path("in/link")).expect("a link out");
    symlink("/", world.path("in/root")).expect("a link out");
    symlink("../secret", world.path("in/relative")).expect("a link out");
    let base = uri(&world.path("in"));
    for bad in [
        "file:///etc/passwd".to_owned(),
        uri(&secret),
        uri(&world.path("in2/a")),
        format!("{base}/../secret"),
        format!("{base}/%2e%2e/secret"),
        format!("{base}/x/%2E%2E/a"),
        format!("{base}/link"),
        format!("{base}/relative"),
        format!("{base}/root/etc/passwd"),
        "s3://bucket/key".to_owned(),
        "https://169.254.169.254/latest/meta-data".to_owned(),
    ] {
        let item = world.item_file(serde_json::json!({"uri": bad, "key": "a"}).to_string());
        let ended = world.worker(&item, COPY).run();
        ended.expect_saying(77, "Forbidden", &["--allow-input"]);
        assert!(world.try_published("a").is_none(), "{bad} was published");
    }
    let item = world.item_file(serde_json::json!({"uri": format!("{base}%2f..%2fsecret")}).to_string());
    world.worker(&item, COPY).run().expect_saying(65, "BadItem", &["escapes a slash"]);

    // Without the flag, nothing at all may be read.
    let item = world.item_of(b"a");
    let mut bare = std::process::Command::new(env!("CARGO_BIN_EXE_script-worker"));
    let ended =
        bare.env("WORK_ITEM_FILE", item).arg("--output").arg(world.path("out/{key}/")).args(["--", "true"]).output();
    let ended = ended.expect("it runs");
    assert_eq!(ended.status.code(), Some(77));
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(told.contains("--allow-input") && told.contains(&uri(&input)), "{told}");
    world.assert_clean();
}

#[test]
fn one_file_may_be_allowed_and_links_may_stay_inside() {
    let world = World::new();
    world.item("d/real.txt", "content");
    symlink("d/real.txt", world.path("in/link.txt")).expect("a link that stays inside");
    let item = world.item_of(b"link.txt");
    world.worker(&item, COPY).run().expect(0, "Published");

    fs::write(world.path("alone.txt"), "x").expect("a file");
    let data = serde_json::json!({"uri": uri(&world.path("alone.txt")), "etag": version(&world.path("alone.txt"))});
    let item = world.item_file(data.to_string());
    let ended = world.worker(&item, COPY).arg("--allow-input").arg(uri(&world.path("alone.txt"))).run();
    ended.expect(0, "Published");
    assert_eq!(world.published("alone.txt").outputs.len(), 1, "the key is made of the URI");
}

#[test]
fn a_root_given_by_a_link_is_the_root_under_both_names() {
    let world = World::new();
    fs::create_dir(world.path("volume")).expect("a directory");
    symlink(world.path("volume"), world.path("mnt")).expect("a link");
    for (n, name) in ["mnt", "volume"].into_iter().enumerate() {
        let (key, path) = (format!("{n}.txt"), world.path(format!("{name}/{n}.txt")));
        fs::write(&path, "content").expect("an input");
        let item = world.item_file(serde_json::json!({"uri": uri(&path)}).to_string());
        world.worker(&item, COPY).arg("--allow-input").arg(world.path("mnt")).run().expect(0, "Published");
        assert_eq!(world.published(&key).outputs.len(), 1, "the key is that below the root");
    }
    // A link that a root holds is no other name for what it leads to.
    let item = world.item_file(serde_json::json!({"uri": uri(&world.path("mnt/0.txt"))}).to_string());
    let ended = world.worker(&item, COPY).arg("--allow-input").arg(world.path("volume")).run();
    ended.expect_saying(77, "Forbidden", &["mnt/0.txt", "lies outside", "volume"]);
    assert!(!ended.report().message.contains(".."), "it holds none: {}", ended.report().message);
}

#[test]
fn what_is_no_readable_file_is_told_apart() {
    let world = World::new();
    fs::create_dir(world.path("in/dir")).expect("a directory");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        world.path("in/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .expect("a pipe");
    for (name, code, reason, says) in [
        ("missing", 66, "InputMissing", "in/missing"),
        ("dir", 65, "BadItem", "a directory"),
        ("pipe", 65, "BadItem", "a named pipe"),
        ("dir/x/y", 66, "InputMissing", "in/dir/x/y"),
    ] {
        let item = world.item_file(serde_json::json!({"uri": uri(&world.path("in").join(name))}).to_string());
        world.worker(&item, COPY).run().expect_saying(code, reason, &[says]);
    }
    let item = world.item_file(serde_json::json!({"uri": uri(&world.path("unmounted/a"))}).to_string());
    let ended = world.worker(&item, COPY).arg("--allow-input").arg(world.path("unmounted")).run();
    ended.expect_saying(69, "StorageUnavailable", &["unmounted", "is its volume mounted?"]);
    world.assert_clean();
}

#[test]
fn an_item_of_another_version_is_superseded_before_anything_runs() {
    let world = World::new();
    let item = world.item("a", "one");
    world.item("a", "another");
    let ended = world.worker(&item, &format!("touch {}/ran; {COPY}", world.root().display())).run();
    assert_eq!(ended.expect(0, "Superseded").outcome, Outcome::Superseded);
    assert!(!world.path("ran").exists() && world.try_published("a").is_none());
    world.assert_clean();
}

#[test]
fn an_input_that_changes_meanwhile_publishes_nothing() {
    let world = World::new();
    let item = world.item("a", "one");
    let replace = format!("{COPY}; echo two > \"$INPUT_FILE.new\"; mv \"$INPUT_FILE.new\" \"$INPUT_FILE\"");
    assert_eq!(world.worker(&item, &replace).run().expect(0, "Superseded").outcome, Outcome::Superseded);
    assert!(world.try_published("a").is_none());

    // Nor does a command's failure over it condemn the item.
    let item = world.item("a", "one");
    assert_eq!(
        world.worker(&item, &format!("{replace}; exit 65")).run().expect(0, "Superseded").outcome,
        Outcome::Superseded
    );

    // Nobody else would come for it: an item without a version stands for whatever is there.
    let item = world.item_file(serde_json::json!({"uri": uri(&world.path("in/a"))}).to_string());
    world.worker(&item, &replace).run().expect_saying(75, "Busy", &["changed while"]);
    assert!(world.try_published("a").is_none());

    let item = world.item("gone", "one");
    world.worker(&item, &format!("{COPY}; rm \"$INPUT_FILE\"")).run().expect(66, "InputMissing");
    assert!(world.try_published("gone").is_none());
    world.assert_clean();
}

#[test]
fn another_makes_versions_are_not_taken_for_ours() {
    let world = World::new();
    world.item("a", "one");
    let data = serde_json::json!({"uri": uri(&world.path("in/a")), "etag": "\"d41d8cd98f\""});
    world.worker(&world.item_file(data.to_string()), COPY).run().expect(0, "Published");
    assert_eq!(world.published("a").item.version, "\"d41d8cd98f\"");
}

#[test]
fn hostile_names_are_names() {
    let world = World::new();
    let long = "x".repeat(255);
    let keys: Vec<&[u8]> = vec![
        b"$(rm -rf .)",
        b"`touch pwned`",
        b"a b\n\tc",
        b"-rf",
        b"{key}",
        b"%2e%2e",
        b"quote'\"\\",
        b"\xff\xfe.mp4",
        "été/視頻.mp4".as_bytes(),
        b"...",
        long.as_bytes(),
        b"$INPUT_FILE;exit 3",
    ];
    let body = r#"cp "$INPUT_FILE" "$OUTPUT_DIR/copy"; printf %s "$WORK_ITEM_NAME" > "$OUTPUT_DIR/name""#;
    for key in keys {
        let item = world.item(key, "content");
        let shown = String::from_utf8_lossy(key).into_owned();
        let ended = world.worker(&item, body).run();
        ended.expect(0, "Published");
        let marker = world.try_published(key).unwrap_or_else(|| panic!("{shown:?} is not published"));
        assert_eq!(marker.item.key.to_bytes(), key, "{shown:?}");
        let name = fs::read_to_string(
            world.path("out").join(std::os::unix::ffi::OsStrExt::from_bytes(key) as &std::ffi::OsStr).join("name"),
        );
        assert_eq!(name.expect("is there"), marker.item.name.as_str());
    }
    assert!(!world.path("pwned").exists());
    for (key, code, reason) in [
        ("../x", 77, "Forbidden"),
        ("/etc/x", 77, "Forbidden"),
        ("a/../../x", 77, "Forbidden"),
        (".longshore/lock", 77, "Forbidden"),
        ("a/_SUCCESS.json", 77, "Forbidden"),
        ("a\0b", 65, "BadItem"),
        (&"y".repeat(256), 73, "OutputInvalid"),
        (".", 73, "OutputInvalid"),
    ] {
        let data = serde_json::json!({"uri": uri(&world.path("in/-rf")), "key": key});
        world.worker(&world.item_file(data.to_string()), NEVER).run().expect(code, reason);
    }
    world.assert_clean();
}

#[test]
fn several_inputs_and_none() {
    let world = World::new();
    world.item("a/x", "one");
    world.item("b/x", "two");
    let urls = [uri(&world.path("in/a/x")), uri(&world.path("in/b/x"))];
    let item = world.item_file(serde_json::json!({"urls": urls, "key": "both"}).to_string());
    let body = r#"cat "$INPUT_DIR"/* > "$OUTPUT_DIR/all"; cat "$INPUT_FILE" > "$OUTPUT_DIR/first""#;
    world.worker(&item, body).run().expect(0, "Published");
    assert_eq!(fs::read_to_string(world.path("out/both/first")).expect("is there"), "one");
    assert_eq!(fs::read_to_string(world.path("out/both/all")).expect("is there").len(), 6);

    // A message is all in the item; two with the same Kafka key are two items.
    for name in ["t-0-1", "t-0-2"] {
        let item = world.item_file(serde_json::json!({"topic": "t", "key": "same", "value": {"n": 1}}).to_string());
        let body = r#"test -z "$INPUT_FILE" && cp "$WORK_ITEM_FILE" "$OUTPUT_DIR/item""#;
        world.worker(&item, body).env("WORK_ITEM_NAME", name).run().expect(0, "Published");
        assert_eq!(world.published(name).item.name.as_str(), name);
    }
    world.assert_clean();
}
