//! What is said of a text that is no pipeline.

use super::*;

/// What is said of a text in which `old` is `new`.
fn refusal(old: &str, new: &str) -> String {
    assert!(FACES.contains(old), "{old:?} is not in the text");
    match Pipeline::parse(&FACES.replacen(old, new, 1), "faces.yaml") {
        Ok(_) => panic!("{new:?} passed"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn errors_say_where_and_what_next() {
    for (old, new, said) in [
        (
            "    timeout: 1h",
            "    timeout: 3600",
            "faces.yaml:13:14: 3600 of what? Write the unit, as 3600s, 3600m or 3600h",
        ),
        (
            "    timeout: 1h",
            "    timeout: soon",
            "faces.yaml:13:14: \"soon\" is no span of time; write it as 30s, 5m or 1h 30m",
        ),
        (
            "    timeout: 1h",
            "    timeout: 0s",
            "faces.yaml:13:14: \"0s\" is no time at all; leave the field out, or write 30s",
        ),
        (
            "    timeout: 1h",
            "    timeuot: 1h",
            "faces.yaml:13:5: there is no field \"timeuot\" here; did you mean \"timeout\"?",
        ),
        (
            "    timeout: 1h",
            "    needs: [detcet]",
            "faces.yaml:13:13: no stage is called detcet; did you mean \"detect\"?",
        ),
        ("    timeout: 1h", "    needs: [detect]", "faces.yaml:13:13: a stage cannot need itself; take this away"),
        (
            "    timeout: 1h",
            "    needs: [blur]",
            "faces.yaml:13:13: the stages wait for one another in a circle: blur needs detect, detect needs blur; take one of these needs away",
        ),
        ("needs: [detect]", "needs: [detect, detect]", "faces.yaml:18:38: detect is here twice; name it once"),
        (
            "- name: blur",
            "- name: detect",
            "faces.yaml:9:11: there is a stage detect already; each has a name of its own",
        ),
        ("publish: [blur]", "publish: [blurr]", "faces.yaml:19:11: no stage is called blurr; did you mean \"blur\"?"),
        (
            "publish: [blur]",
            "publish: []",
            "faces.yaml:19:10: no stage is published; leave `publish` out for those that no other needs",
        ),
        ("[4, 3]", "[256]", "faces.yaml:16:21: 256 is no exit code of a failure; those are 1 to 255"),
        ("[4, 3]", "[0]", "faces.yaml:16:21: 0 is no exit code of a failure; those are 1 to 255"),
        ("[4, 3]", "[75]", "faces.yaml:15:63: 75 is in permanentExit, too: either it is hopeless or tried again"),
        ("on: [75, ", "on: [-1, ", "faces.yaml:15:63: -1 is no exit code of a failure; those are 1 to 255"),
        (
            "OOMKilled",
            "OomKilled",
            "faces.yaml:15:67: \"OomKilled\" is neither an exit code nor a reason to try again; did you mean \"OOMKilled\"?",
        ),
        (
            "maxBackoff: 30s",
            "maxBackoff: 1ms",
            "faces.yaml:15:53: the longest pause is shorter than the first, 500ms; raise it",
        ),
        (
            "onError: continue",
            "onError: contiune",
            "faces.yaml:18:84: \"contiune\" is none of the words that may stand here; did you mean \"continue\"?",
        ),
        (
            "name: faces",
            "name: Faces",
            "faces.yaml:3:7: \"Faces\" is no stage name: 1 to 40 lower-case letters, digits and dashes, with a letter first and no dash last, as detect-faces",
        ),
        (
            "MODEL: small",
            "INPUT_FILE: small",
            "faces.yaml:12:23: every stage is given INPUT_FILE; call this one by another name",
        ),
        (
            "MODEL: small",
            "NEEDS_X: small",
            "faces.yaml:12:20: every stage is given NEEDS_X; call this one by another name",
        ),
        (
            "MODEL: small",
            "LONGSHORE_ROOT: /",
            "faces.yaml:12:27: LONGSHORE_ROOT would be a setting of the shim, not the command's; name it otherwise",
        ),
        (
            "MODEL: small",
            "'A-B': small",
            "faces.yaml:12:18: \"A-B\" is no name of a variable: letters, digits and underscores, no digit first",
        ),
        (
            "{resources:",
            "{image: x, resources:",
            "faces.yaml:17:24: `image` does not belong here: write it as the stage's own `image`",
        ),
        (
            "volumes: [",
            "containers: [",
            "faces.yaml:23:15: `containers` does not belong here: they are the stages and the adapter",
        ),
        (
            "registry.example/detect:1",
            "'two words'",
            "faces.yaml:10:12: \"two words\" is no image; write it as registry.example/name:tag",
        ),
        (
            "[detect, --in, $(INPUT_FILE), --out, $(OUTPUT_DIR)]",
            "[]",
            "faces.yaml:11:14: a command has a program; leave `command` out for the image's own",
        ),
        (
            "[detect, --in, $(INPUT_FILE), --out, $(OUTPUT_DIR)]",
            "[\"a\\0b\"]",
            "faces.yaml:11:15: there is a NUL character in it, which no command can be given",
        ),
        ("kind: Pipeline\n", "", "faces.yaml:21:1: `kind` is missing; add `kind: Pipeline`"),
        (
            "longshore.dev/v1",
            "longshore.dev/v2",
            "faces.yaml:1:13: \"longshore.dev/v2\" is none of the words that may stand here; did you mean \"longshore.dev/v1\"?",
        ),
        ("name: faces", "name: faces\nname: again", "faces.yaml:4:1: \"name\" is here twice; keep one of them"),
        (
            "name: faces",
            "name: null",
            "faces.yaml:3:7: there is no text here; write one, or leave the field out (quote \"null\" and \"~\" where they are meant)",
        ),
    ] {
        assert_eq!(refusal(old, new), said);
    }
}

#[test]
fn variables_that_a_stage_is_never_given_are_told() {
    let words = "[detect, --in, $(INPUT_FILE), --out, $(OUTPUT_DIR)]";
    let said = "faces.yaml:11:23: stage detect does not need identify, so there is no $(NEEDS_IDENTIFY); add identify to its `needs`";
    assert_eq!(refusal(words, "[detect, a=$(NEEDS_IDENTIFY)/x]"), said);
    let said = "faces.yaml:8:12: stage blur needs several, so there is no $(INPUT_FILE); take $(INPUT_DIR)/STAGE/FILE";
    assert_eq!(refusal("    when: always", "    args: [$(INPUT_FILE)]"), said);
    for plain in ["[detect, $$(NEEDS_IDENTIFY), $(NEEDS_NOBODY)]", "[detect, $(date), '${NEEDS_IDENTIFY}']"] {
        assert!(Pipeline::parse(&FACES.replacen(words, plain, 1), "x").is_ok(), "{plain}");
    }
}

#[test]
fn what_is_no_yaml_is_told_with_its_place() {
    for (text, place) in [
        ("a: [", "x:1:"),
        ("a: b: c", "x:1:"),
        ("\t- a", "x:1:"),
        ("", "x:"),
        ("--- a\n--- b\n", "x:"),
        ("name: *nowhere", "x:1:"),
    ] {
        let said = Pipeline::parse(text, "x").expect_err(text).to_string();
        assert!(said.starts_with(place), "{text:?}: {said}");
    }
}

#[test]
fn what_unfolds_to_more_than_a_pipeline_is_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..9 {
        let before = format!("*a{}, ", n - 1).repeat(10);
        bomb.push_str(&format!("a{n}: &a{n} [{before}x]\n"));
    }
    let within = format!("{FACES}  bomb:\n{}", bomb.lines().map(|line| format!("    {line}\n")).collect::<String>());
    let said = Pipeline::parse(&within, "bomb.yaml").expect_err("a bomb").to_string();
    assert!(said.starts_with("bomb.yaml:") && said.contains("aliases"), "{said}");
    let deep = format!("{FACES}  deep: {}{}", "[".repeat(500), "]".repeat(500));
    assert!(Pipeline::parse(&deep, "x").is_err());
    let long = format!("{FACES}#{}", "x".repeat(1 << 20));
    assert_eq!(Pipeline::parse(&long, "x").expect_err("long").message, "this is longer than 1 MiB, and so no pipeline");
    let word = format!("[detect, {}]", "x".repeat(128 * 1024));
    let said = refusal("[detect, --in, $(INPUT_FILE), --out, $(OUTPUT_DIR)]", &word);
    assert!(said.starts_with("faces.yaml:11:23: 131072 bytes are too much"), "{said}");
}
