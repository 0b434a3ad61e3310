//! Output that is there whole, once, and only where it belongs.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use contract::Key;
use contract::marker::MarkedItem;
use storage::{BoxFuture, Claim, Committed, Draft, Error, Outputs, Standing};

use crate::server::{Reply, Server, Tls, answer};
use crate::shelf::{Habits, Shelf};
use crate::world::{IMPATIENT, PATIENT, args, claim, content, local_names, outputs, store, uri};

async fn publish(outputs: &dyn Outputs, claim: Claim, files: &[(&str, &[u8])]) -> Result<Committed, Error> {
    publish_if(outputs, claim, files, async || Ok(())).await
}

async fn publish_if(
    outputs: &dyn Outputs,
    claim: Claim,
    files: &[(&str, &[u8])],
    verify: impl AsyncFnOnce() -> Result<(), Error> + Send,
) -> Result<Committed, Error> {
    let scratch = tempfile::tempdir().expect("a directory");
    let publication = outputs.begin(claim, scratch.path()).await?;
    for (path, bytes) in files {
        write(&publication.dir().join(path), bytes);
    }
    let verified = verify().await.is_ok();
    let refused = || Error::Changed { uri: "u".into(), wanted: "1".into(), found: "2".into() };
    publication
        .commit(Draft::default(), &|| Box::pin(async move { if verified { Ok(()) } else { Err(refused()) } }))
        .await
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
    std::fs::write(path, bytes).expect("written");
}

/// The claim with URLs for `paths`, signed as for `root`.
fn signed(root: &str, claim: Claim, paths: &[&str]) -> Claim {
    let key = claim.item.key.clone();
    let url = |path: &&str| ((*path).to_owned(), uri(&format!("{root}/{key}/{path}?sig=s3cretive")));
    Claim { uploads: paths.iter().map(url).collect(), ..claim }
}

#[tokio::test]
async fn output_is_put_and_the_marker_is_put_last() {
    let tls = Tls::new();
    let shelf = Shelf::start(&tls, Habits::default()).await;
    let out = outputs(&store(args(&tls), local_names(), PATIENT), &shelf.url("/out/"));
    let large = content(1_500_000);
    let files: &[(&str, &[u8])] = &[("a b.txt", b"text"), ("sub/large", &large), ("empty", b"")];
    assert_eq!(out.look(&claim("x/k", "1", "n1")).await.expect("seen"), Standing::Free);
    let Ok(Committed::Published(marker)) = publish(out.as_ref(), claim("x/k", "1", "n1"), files).await else {
        panic!("it is published")
    };
    assert_eq!(shelf.marker("/out/x/k/_SUCCESS.json"), *marker);
    assert!(shelf.read("/out/x/k/sub/large").expect("there") == large);
    assert_eq!(shelf.read("/out/x/k/a%20b.txt").expect("there"), b"text");
    assert_eq!(shelf.puts().last().map(String::as_str), Some("/out/x/k/_SUCCESS.json"));
    assert_eq!(shelf.paths().len(), 4);
    let last = shelf.server.asked().into_iter().rfind(|asked| asked.method == "PUT").expect("a PUT");
    assert_eq!(last.header("if-none-match"), Some("*"));

    // Seen again: published. By another attempt: already.
    assert_eq!(out.look(&claim("x/k", "1", "n2")).await.expect("seen"), Standing::Published(marker.clone()));
    assert_eq!(publish(out.as_ref(), claim("x/k", "1", "n2"), files).await.expect("seen"), Committed::Already(marker));
    // Not whole any more: to be made again.
    shelf.write("/out/x/k/empty", b"not any more");
    assert_eq!(out.look(&claim("x/k", "1", "n2")).await.expect("seen"), Standing::Replaceable);
}

#[tokio::test]
async fn an_older_marker_is_replaced_and_a_higher_revision_is_not() {
    let tls = Tls::new();
    let shelf = Shelf::start(&tls, Habits::default()).await;
    let out = outputs(&store(args(&tls), local_names(), PATIENT), &shelf.url("/out"));
    publish(out.as_ref(), claim("k", "1", "n1"), &[("f", b"1")]).await.expect("published");
    publish(out.as_ref(), claim("k", "2", "n2"), &[("f", b"2")]).await.expect("published");
    assert_eq!(shelf.marker("/out/k/_SUCCESS.json").attempt, "n2");
    let last = shelf.server.asked().into_iter().rfind(|asked| asked.method == "PUT").expect("a PUT");
    assert!(last.headers.contains_key("if-match"), "it is replaced only as it was seen");
    let higher = Claim { revision: 7, ..claim("k", "2", "n3") };
    publish(out.as_ref(), higher, &[("f", b"7")]).await.expect("published");
    let standing = out.look(&claim("k", "3", "n4")).await.expect("seen");
    assert_eq!(standing, Standing::Superseded { revision: 7 });
    assert_eq!(shelf.read("/out/k/f").expect("there"), b"7");
}

#[tokio::test]
async fn a_place_that_is_taken_is_left_alone() {
    let tls = Tls::new();
    let shelf = Shelf::start(&tls, Habits::default()).await;
    let out = outputs(&store(args(&tls), local_names(), PATIENT), &shelf.url("/out"));
    publish(out.as_ref(), claim("k", "1", "n1"), &[("f", b"1")]).await.expect("published");
    let other =
        Claim { item: MarkedItem { key: Key::new(b"other"), ..claim("k", "1", "n").item }, ..claim("k", "1", "n") };
    assert!(matches!(publish(out.as_ref(), other, &[("f", b"2")]).await, Err(Error::Taken(_))));
    // Nor does anybody's output lie within another's.
    assert!(matches!(publish(out.as_ref(), claim("k/below", "1", "n"), &[("f", b"2")]).await, Err(Error::Taken(_))));
    shelf.write("/out/broken/_SUCCESS.json", b"{");
    assert!(matches!(out.look(&claim("broken", "1", "n")).await, Err(Error::Taken(_))));
    assert_eq!(shelf.read("/out/k/f").expect("there"), b"1");
    assert_eq!(shelf.paths(), ["/out/broken/_SUCCESS.json", "/out/k/_SUCCESS.json", "/out/k/f"]);
}

#[tokio::test]
async fn of_two_that_commit_at_once_one_does() {
    let tls = Tls::new();
    let shelf = Shelf::start(&tls, Habits::default()).await;
    let out = outputs(&store(args(&tls), local_names(), PATIENT), &shelf.url("/out"));
    let scratch = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let late = out.begin(claim("k", "1", "late"), scratch[0].path()).await.expect("begun");
    let soon = out.begin(claim("k", "1", "soon"), scratch[1].path()).await.expect("begun");
    write(&late.dir().join("f"), b"same");
    write(&soon.dir().join("f"), b"same");
    // Between its look and its marker the other commits.
    let soon = Mutex::new(vec![None, Some(soon)]);
    let between = || -> BoxFuture<'_, Result<(), Error>> {
        // Asked before it uploads, and when it has.
        let soon = soon.lock().expect("whole").remove(0);
        Box::pin(async move {
            let Some(soon) = soon else { return Ok(()) };
            soon.commit(Draft::default(), &|| Box::pin(async { Ok(()) })).await.map(drop)
        })
    };
    let Ok(Committed::Already(marker)) = late.commit(Draft::default(), &between).await else {
        panic!("the other had committed")
    };
    assert_eq!(marker.attempt, "soon");
    assert_eq!(shelf.marker("/out/k/_SUCCESS.json").attempt, "soon");
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_known_by_its_nonce() {
    let tls = Tls::new();
    let shelf = Shelf::start(&tls, Habits { loses_reply: true, ..Habits::default() }).await;
    let out = outputs(&store(args(&tls), local_names(), PATIENT), &shelf.url("/out"));
    let committed = publish(out.as_ref(), claim("k", "1", "n1"), &[("f", b"1")]).await;
    assert!(matches!(committed, Ok(Committed::Published(marker)) if marker.attempt == "n1"));
    let markers = shelf.puts().iter().filter(|path| path.ends_with("/_SUCCESS.json")).count();
    assert_eq!(markers, 2, "it was tried again, and refused");
}

#[tokio::test]
async fn a_server_that_ignores_conditions_is_found_out_by_looking() {
    let tls = Tls::new();
    let shelf = Shelf::start(&tls, Habits { unconditional: true, ..Habits::default() }).await;
    let out = outputs(&store(args(&tls), local_names(), PATIENT), &shelf.url("/out"));
    let notes = out.check().await.expect("it can be written to");
    assert!(notes.iter().any(|note| note.contains("If-None-Match")), "{notes:?}");
    assert_eq!(shelf.paths(), Vec::<String>::new(), "what the check wrote is gone");

    let heeding = Shelf::start(&tls, Habits::default()).await;
    let out = outputs(&store(args(&tls), local_names(), PATIENT), &heeding.url("/out"));
    assert_eq!(out.check().await.expect("it can be written to"), Vec::<String>::new());
    assert_eq!(heeding.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn collections_are_made_where_they_must_be() {
    let tls = Tls::new();
    let shelf = Shelf::start(&tls, Habits { collections: true, ..Habits::default() }).await;
    let out = outputs(&store(args(&tls), local_names(), PATIENT), &shelf.url("/dav"));
    publish(out.as_ref(), claim("x/k", "1", "n1"), &[("sub/f", b"1")]).await.expect("published");
    assert_eq!(shelf.paths(), ["/dav/x/k/_SUCCESS.json", "/dav/x/k/sub/f"]);
    let empty = Claim { ..claim("e", "1", "n") };
    let scratch = tempfile::tempdir().expect("a directory");
    let publication = out.begin(empty, scratch.path()).await.expect("begun");
    let draft = Draft { allow_empty: true, result: None };
    publication.commit(draft, &|| Box::pin(async { Ok(()) })).await.expect("nothing but a marker is published");
    let record = out.record(&claim("failed", "1", "n"), b"{}").await.expect("kept");
    assert_eq!(record, Some(shelf.url("/dav/failed/_attempts/1/report.json")));
    assert_eq!(out.check().await.expect("it can be written to"), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_killed_attempt_left_is_in_nobodys_way() {
    let tls = Tls::new();
    let shelf = Shelf::start(&tls, Habits::default()).await;
    let out = outputs(&store(args(&tls), local_names(), PATIENT), &shelf.url("/out"));
    shelf.write("/out/k/f", b"half of");
    shelf.write("/out/k/other", b"what it wrote");
    let Ok(Committed::Published(marker)) = publish(out.as_ref(), claim("k", "1", "n2"), &[("f", b"whole")]).await
    else {
        panic!("it is published")
    };
    assert_eq!(shelf.read("/out/k/f").expect("there"), b"whole");
    let named: Vec<_> = marker.outputs.iter().map(|output| output.path.as_str()).collect();
    assert_eq!(named, ["f"], "and the marker says what is output");
}

#[tokio::test]
async fn an_input_that_changed_publishes_nothing() {
    let tls = Tls::new();
    let shelf = Shelf::start(&tls, Habits::default()).await;
    let out = outputs(&store(args(&tls), local_names(), PATIENT), &shelf.url("/out"));
    let changed = async || Err(Error::Changed { uri: "u".into(), wanted: "1".into(), found: "2".into() });
    let committed = publish_if(out.as_ref(), claim("k", "1", "n1"), &[("f", b"1")], changed).await;
    assert!(matches!(committed, Err(Error::Changed { .. })));
    assert_eq!(shelf.puts(), [""; 0], "what stands there may be of the newer input already");
}

#[tokio::test]
async fn what_a_server_has_not_kept_as_it_was_put_is_named_by_no_marker() {
    let tls = Tls::new();
    let shelf = Shelf::start(&tls, Habits { cuts: true, ..Habits::default() }).await;
    let out = outputs(&store(args(&tls), local_names(), IMPATIENT), &shelf.url("/out"));
    let committed = publish(out.as_ref(), claim("k", "1", "n1"), &[("f", b"text")]).await;
    let Err(Error::Unavailable { source, .. }) = &committed else { panic!("{committed:?}") };
    assert_eq!(source.to_string(), "an object of 3 bytes stands there after a PUT of 4 bytes");
    assert_eq!(shelf.paths(), ["/out/k/f"]);
}

#[tokio::test]
async fn a_marker_whose_answer_was_lost_and_that_may_not_be_read_may_be_our_own() {
    let tls = Tls::new();
    let habits = Habits { write_only: true, loses_reply: true, ..Habits::default() };
    let shelf = Shelf::start(&tls, habits).await;
    let out = outputs(&store(args(&tls), local_names(), PATIENT), &shelf.url("/out"));
    let claimed = signed(&shelf.url("/out"), claim("k", "1", "n1"), &["f", "_SUCCESS.json"]);
    let committed = publish(out.as_ref(), claimed, &[("f", b"1")]).await;
    let Err(Error::Unreadable(text)) = &committed else { panic!("{committed:?}") };
    assert!(text.contains("this attempt's own, whose answer was lost"), "{text}");
}

#[tokio::test]
async fn signed_urls_publish_without_any_other_right() {
    let tls = Tls::new();
    let shelf = Shelf::start(&tls, Habits { write_only: true, ..Habits::default() }).await;
    let out = outputs(&store(args(&tls), local_names(), PATIENT), &shelf.url("/out"));
    let root = shelf.url("/out");
    let claimed = signed(&root, claim("k", "1", "n1"), &["f", "_SUCCESS.json", "_attempts/1/report.json"]);
    assert_eq!(out.look(&claimed).await.expect("nobody can tell"), Standing::Free);
    let committed = publish(out.as_ref(), claimed.clone(), &[("f", b"1")]).await;
    assert!(matches!(committed, Ok(Committed::Published(_))), "{committed:?}");
    assert_eq!(shelf.marker("/out/k/_SUCCESS.json").attempt, "n1");
    let report = out.record(&claimed, b"{}").await.expect("kept");
    assert_eq!(report, Some(shelf.url("/out/k/_attempts/1/report.json")), "and the signature is not told");
    assert_eq!(out.record(&signed(&root, claim("k", "1", "n1"), &["_SUCCESS.json"]), b"{}").await.expect("no"), None);

    // What stands there cannot be read: no guess.
    let again =
        publish(out.as_ref(), signed(&root, claim("k", "1", "n2"), &["f", "_SUCCESS.json"]), &[("f", b"1")]).await;
    let Err(Error::Unreadable(text)) = again else { panic!("a marker stands there") };
    for says in ["may not be read", "an earlier attempt that was killed", "let it be read", "if it names k,"] {
        assert!(text.contains(says) && !text.contains("s3cretive"), "{text}");
    }
    assert_eq!(shelf.marker("/out/k/_SUCCESS.json").attempt, "n1");
    let notes = out.check().await.expect("reached");
    assert!(notes.iter().any(|note| note.contains("uploads")), "{notes:?}");
}

#[tokio::test]
async fn a_file_without_a_url_is_refused_before_anything_is_put() {
    let tls = Tls::new();
    let shelf = Shelf::start(&tls, Habits { write_only: true, ..Habits::default() }).await;
    let out = outputs(&store(args(&tls), local_names(), PATIENT), &shelf.url("/out"));
    let root = shelf.url("/out");
    let claimed = signed(&root, claim("k", "1", "n1"), &["a", "_SUCCESS.json"]);
    let Err(Error::Unpublishable(text)) = publish(out.as_ref(), claimed, &[("a", b"1"), ("sub/b", b"2")]).await else {
        panic!("there is no URL for b")
    };
    assert!(text.contains("sub/b"), "{text}");
    let elsewhere = signed(&shelf.url("/other"), claim("k", "1", "n1"), &["a", "_SUCCESS.json"]);
    assert!(matches!(out.look(&elsewhere).await, Err(Error::Forbidden(_))));
    assert!(matches!(publish(out.as_ref(), elsewhere, &[("a", b"1")]).await, Err(Error::Forbidden(_))));
    assert_eq!(shelf.puts(), Vec::<String>::new());
}

#[tokio::test]
async fn nothing_and_names_of_the_commits_own_are_no_output() {
    let tls = Tls::new();
    let shelf = Shelf::start(&tls, Habits::default()).await;
    let out = outputs(&store(args(&tls), local_names(), PATIENT), &shelf.url("/out"));
    for files in [
        &[][..],
        &[("_SUCCESS.json", &b"{}"[..])],
        &[("_attempts/1/x", b"x")],
        &[(".longshore/x", b"x")],
        &[("%2e%2e/f", b"x")],
    ] {
        let committed = publish(out.as_ref(), claim("k", "1", "n1"), files).await;
        assert!(matches!(committed, Err(Error::Unpublishable(_))), "{files:?}: {committed:?}");
    }
    assert_eq!(shelf.puts(), Vec::<String>::new());
}

#[tokio::test]
async fn a_put_is_tried_again_where_that_helps_and_not_where_not() {
    let tls = Tls::new();
    let server = Server::start(&tls, |asked| {
        let tried = asked.n;
        Reply::Answer(match (asked.method.as_str(), asked.path.as_str()) {
            ("PUT", "/out/busy/f") if tried < 5 => answer(503, &[], b""),
            ("PUT", "/out/denied/f") => answer(403, &[], b""),
            ("PUT", "/out/expired/f") => answer(403, &[], b"<Error><Code>ExpiredToken</Code></Error>"),
            ("PUT", "/out/elsewhere/f") => answer(307, &[("location", "https://other.test/")], b""),
            ("PUT", "/out/away/f") => answer(502, &[], b""),
            ("PUT", _) => answer(201, &[], b""),
            ("HEAD", _) => answer(405, &[], b""),
            _ if tried > 5 && asked.path == "/out/busy/_SUCCESS.json" => answer(403, &[], b""),
            _ => answer(404, &[], b""),
        })
    })
    .await;
    let root = format!("https://good.test:{}/out", server.port());
    let out = outputs(&store(args(&tls), local_names(), PATIENT), &root);
    publish(out.as_ref(), claim("busy", "1", "n"), &[("f", b"1")]).await.expect("published");
    for (key, want) in [("denied", "Forbidden"), ("expired", "Expired"), ("elsewhere", "Unsupported")] {
        let error = publish(out.as_ref(), claim(key, "1", "n"), &[("f", b"1")]).await.expect_err(key);
        assert!(format!("{error:?}").starts_with(want), "{key}: {error:?}");
    }
    let out = outputs(&store(args(&tls), local_names(), IMPATIENT), &root);
    let error = publish(out.as_ref(), claim("away", "1", "n"), &[("f", b"1")]).await.expect_err("it is away");
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(!server.asked().iter().any(|asked| asked.path == "/out/away/_SUCCESS.json" && asked.method == "PUT"));
}

/// By a clock that goes as the server takes the file, and stands still with the machine.
#[tokio::test(start_paused = true)]
async fn a_file_that_takes_long_to_put_is_not_given_up() {
    // It would go by itself whenever nobody runs, if nothing blocked.
    let (over, end) = std::sync::mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || end.recv());
    let tls = Tls::new();
    let server = Server::start_slow(&tls, |asked| {
        Reply::Answer(if asked.method == "PUT" { answer(201, &[], b"") } else { answer(403, &[], b"") })
    })
    .await;
    let silence = Duration::from_millis(800);
    let surroundings = storage_https::Surroundings { resolver: local_names(), patience: IMPATIENT, silence };
    let store = storage_https::HttpsStore::within(args(&tls), surroundings);
    let out = outputs(&store, &format!("https://good.test:{}/out", server.port()));
    // Taken for at least 6 seconds, which is longer than any silence that is borne.
    let large = content(120 * 128 * 1024);
    publish(out.as_ref(), claim("k", "1", "n"), &[("large", &large)]).await.expect("published");
    let puts: Vec<_> = server.asked().into_iter().filter(|asked| asked.method == "PUT").collect();
    assert_eq!(puts.len(), 2);
    assert!(puts[0].body == large);
    drop(over);
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_put_is_not_published() {
    let tls = Tls::new();
    let scratch = tempfile::tempdir().expect("a directory");
    let file = scratch.path().join("f");
    let written = file.clone();
    let server = Server::start(&tls, move |asked| {
        if asked.path == "/out/k/_SUCCESS.json" {
            std::fs::write(&written, b"other").expect("written");
        }
        Reply::Answer(if asked.method == "PUT" { answer(201, &[], b"") } else { answer(404, &[], b"") })
    })
    .await;
    let out = outputs(&store(args(&tls), local_names(), PATIENT), &format!("https://good.test:{}/out", server.port()));
    let publication = out.begin(claim("k", "1", "n"), scratch.path()).await.expect("begun");
    std::fs::write(&file, b"first").expect("written");
    let committed = publication.commit(Draft::default(), &|| Box::pin(async { Ok(()) })).await;
    assert!(matches!(&committed, Err(Error::Unpublishable(text)) if text.contains("f changed")), "{committed:?}");
    assert!(!server.asked().iter().any(|asked| asked.method == "PUT"));
}
