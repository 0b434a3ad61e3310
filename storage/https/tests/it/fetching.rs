//! Bytes that arrive, whatever happens to them on the way.

use std::time::Duration;

use bytesize::ByteSize;
use storage::{Error, Store};
use storage_https::HttpsArgs;

use crate::server::{Asked, Reply, Server, Tls, answer};
use crate::world::{IMPATIENT, PATIENT, args, content, fetch, inputs, listed, local_names, object, store, uri};

const ETAG: (&str, &str) = ("etag", "\"v1\"");

/// Serves `body` as a server does that knows ranges.
fn ranged(body: &[u8], asked: &Asked) -> Vec<u8> {
    match asked.from() {
        Some(from) if asked.header("if-range") == Some("\"v1\"") => {
            let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
            answer(206, &[ETAG, ("content-range", &range)], body.get(from..).unwrap_or_default())
        }
        _ => answer(200, &[ETAG], body),
    }
}

/// The first `keep` bytes of an answer's body.
fn cut(mut answer: Vec<u8>, keep: usize) -> Vec<u8> {
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head") + 4;
    answer.truncate(head + keep);
    answer
}

#[tokio::test]
async fn an_input_is_fetched_whole_under_its_own_name() {
    let tls = Tls::new();
    let body = content(3_000_000);
    let sent = body.clone();
    let server = Server::start(&tls, move |_| Reply::Answer(answer(200, &[ETAG], &sent))).await;
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(args(&tls), local_names(), PATIENT);
    let url = format!("https://good.test:{}/in/a%20film.mp4?X-Amz-Signature=s3cret", server.port());
    let input = fetch(&store, &object(&url), dir.path()).await.expect("fetched");
    assert_eq!(input.path(), dir.path().join("a film.mp4"));
    assert!(std::fs::read(input.path()).expect("a file") == body);
    assert_eq!(listed(dir.path()), ["a film.mp4"]);
    let asked = server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, "/in/a%20film.mp4?X-Amz-Signature=s3cret");
    assert_eq!(asked[0].header("accept-encoding"), Some("identity"));
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_of_one_name_do_not_get_into_each_others_way() {
    let tls = Tls::new();
    let server = Server::start(&tls, |asked| Reply::Answer(answer(200, &[ETAG], asked.path.as_bytes()))).await;
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(args(&tls), local_names(), PATIENT);
    let each = (0..32).map(|n| {
        let (store, dir) = (store.clone(), dir.path().to_owned());
        let object = object(&format!("https://good.test:{}/{n}/same", server.port()));
        tokio::spawn(async move { fetch(&store, &object, &dir).await.expect("fetched").path().to_owned() })
    });
    let each: Vec<_> = each.collect();
    for (n, fetched) in each.into_iter().enumerate() {
        let path = fetched.await.expect("no panic");
        assert_eq!(std::fs::read_to_string(path).expect("a file"), format!("/{n}/same"));
    }
    assert_eq!(listed(dir.path()).len(), 32);
}

#[tokio::test]
async fn a_transfer_goes_on_where_it_was_cut() {
    let tls = Tls::new();
    let body = content(1_000_000);
    let sent = body.clone();
    let server = Server::start(&tls, move |asked| {
        let whole = ranged(&sent, asked);
        if asked.n < 4 { Reply::Cut(cut(whole, 200_000)) } else { Reply::Answer(whole) }
    })
    .await;
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(args(&tls), local_names(), PATIENT);
    let url = format!("https://good.test:{}/a", server.port());
    let input = fetch(&store, &object(&url), dir.path()).await.expect("fetched");
    assert!(std::fs::read(input.path()).expect("a file") == body);
    let ranges: Vec<_> = server.asked().iter().map(Asked::from).collect();
    assert_eq!(ranges, [None, Some(200_000), Some(400_000), Some(600_000), Some(800_000)]);
    assert_eq!(server.asked()[1].header("if-range"), Some("\"v1\""));
}

#[tokio::test]
async fn a_transfer_begins_anew_where_nothing_says_that_it_is_the_same() {
    // A weak ETag says nothing of bytes; neither does none.
    for header in [("x-none", "x"), ("etag", "W/\"v1\"")] {
        let tls = Tls::new();
        let body = content(500_000);
        let sent = body.clone();
        let server = Server::start(&tls, move |asked| {
            let whole = answer(200, &[header], &sent);
            if asked.n < 2 { Reply::Cut(cut(whole, 200_000)) } else { Reply::Answer(whole) }
        })
        .await;
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(args(&tls), local_names(), PATIENT);
        let url = format!("https://good.test:{}/a", server.port());
        let input = fetch(&store, &object(&url), dir.path()).await.expect("fetched");
        assert!(std::fs::read(input.path()).expect("a file") == body);
        assert!(server.asked().iter().all(|asked| asked.header("range").is_none()), "{header:?}");
    }
}

#[tokio::test]
async fn a_server_that_answers_another_range_does_not_spoil_the_file() {
    // What is sent to the second request, after 200,000 bytes: ranges that begin elsewhere, that belong to another version,
    // that say nothing; the whole; that there is no such range.
    let wrong = [
        answer(206, &[ETAG, ("content-range", "bytes 100000-499999/500000")], &[b'x'; 400_000]),
        answer(206, &[("etag", "\"v2\""), ("content-range", "bytes 200000-499999/500000")], &[b'x'; 300_000]),
        answer(206, &[ETAG, ("content-range", "bytes 200000-599999/600000")], &[b'x'; 400_000]),
        answer(206, &[ETAG], &[b'x'; 300_000]),
        answer(416, &[ETAG, ("content-range", "bytes */100")], b""),
    ];
    for wrong in wrong {
        let tls = Tls::new();
        let body = content(500_000);
        let sent = body.clone();
        let server = Server::start(&tls, move |asked| match asked.n {
            0 => Reply::Cut(cut(answer(200, &[ETAG], &sent), 200_000)),
            1 => Reply::Answer(wrong.clone()),
            _ => Reply::Answer(ranged(&sent, asked)),
        })
        .await;
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(args(&tls), local_names(), PATIENT);
        let url = format!("https://good.test:{}/a", server.port());
        let input = fetch(&store, &object(&url), dir.path()).await.expect("fetched");
        assert!(std::fs::read(input.path()).expect("a file") == body);
        assert_eq!(server.asked()[2].from(), None, "it begins anew");
    }
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_read_from_the_start() {
    let tls = Tls::new();
    let body = content(500_000);
    let sent = body.clone();
    let server = Server::start(&tls, move |asked| {
        let whole = answer(200, &[ETAG], &sent);
        if asked.n == 0 { Reply::Cut(cut(whole, 200_000)) } else { Reply::Answer(whole) }
    })
    .await;
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(args(&tls), local_names(), PATIENT);
    let url = format!("https://good.test:{}/a", server.port());
    let input = fetch(&store, &object(&url), dir.path()).await.expect("fetched");
    assert!(std::fs::read(input.path()).expect("a file") == body);
    assert_eq!(server.asked()[1].from(), Some(200_000));
}

#[tokio::test]
async fn an_object_replaced_in_the_middle_is_not_stitched_together() {
    let tls = Tls::new();
    let new = content(400_000);
    let sent = new.clone();
    let server = Server::start(&tls, move |asked| match asked.n {
        0 => Reply::Cut(cut(answer(200, &[ETAG], &[b'o'; 500_000]), 200_000)),
        // If-Range fails: the whole of the new version.
        _ => Reply::Answer(answer(200, &[("etag", "\"v2\"")], &sent)),
    })
    .await;
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(args(&tls), local_names(), PATIENT);
    let url = format!("https://good.test:{}/a", server.port());
    let input = fetch(&store, &object(&url), dir.path()).await.expect("fetched");
    assert!(std::fs::read(input.path()).expect("a file") == new);
    // And an item that names the old version is told.
    let mut pinned = object(&url);
    pinned.version = Some("v1".to_owned());
    let Err(Error::Changed { wanted, found, .. }) = fetch(&store, &pinned, dir.path()).await else {
        panic!("it changed")
    };
    assert_eq!((wanted.as_str(), found.as_str()), ("v1", "v2"));
}

#[tokio::test]
async fn a_server_that_is_busy_or_away_is_asked_again() {
    let tls = Tls::new();
    let server = Server::start(&tls, |asked| match asked.n {
        0 => Reply::Answer(answer(503, &[("retry-after", "1")], b"<Error><Code>SlowDown</Code></Error>")),
        1 => Reply::Answer(answer(429, &[], b"")),
        2 => Reply::Cut(Vec::new()),
        3 => Reply::Answer(answer(500, &[], b"")),
        _ => Reply::Answer(answer(200, &[ETAG], b"whole")),
    })
    .await;
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(args(&tls), local_names(), PATIENT);
    let url = format!("https://good.test:{}/a", server.port());
    let input = fetch(&store, &object(&url), dir.path()).await.expect("fetched");
    assert_eq!(std::fs::read(input.path()).expect("a file"), b"whole");
}

#[tokio::test]
async fn what_does_not_pass_is_told_by_what_it_is() {
    let tls = Tls::new();
    let expired = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
    let server = Server::start(&tls, move |asked| {
        let status = asked.path.trim_start_matches('/').split('?').next().expect("a part").parse().expect("a status");
        Reply::Answer(answer(status, &[], if asked.path.contains("sig") { expired.as_bytes() } else { b"" }))
    })
    .await;
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(args(&tls), local_names(), IMPATIENT);
    for (path, want) in [
        ("403?sig=s3cretive", "Expired"),
        ("403", "Forbidden"),
        ("401", "Forbidden"),
        ("404", "NotFound"),
        ("410", "NotFound"),
        ("400", "Invalid"),
        ("503", "Unavailable"),
        ("204", "Unsupported"),
    ] {
        let url = format!("https://good.test:{}/{path}", server.port());
        let error = fetch(&store, &object(&url), dir.path()).await.expect_err(path);
        assert!(format!("{error:?}").starts_with(want), "{path}: {error:?}");
        assert!(!format!("{error:?}").contains("s3cretive"), "{error:?}");
    }
    assert_eq!(listed(dir.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_body_without_end_ends_at_the_size_that_is_allowed() {
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let tls = Tls::new();
    let server = Server::start(&tls, move |_| Reply::Flood(head.clone())).await;
    let dir = tempfile::tempdir().expect("a directory");
    let args = HttpsArgs { https_max_size: ByteSize::mib(1), ..args(&tls) };
    let store = store(args, local_names(), PATIENT);
    let url = format!("https://good.test:{}/a", server.port());
    let Err(Error::Forbidden(text)) = fetch(&store, &object(&url), dir.path()).await else { panic!("it is too large") };
    assert!(text.contains("--https-max-size"), "{text}");
    assert_eq!(listed(dir.path()), Vec::<String>::new());
}

#[tokio::test]
async fn what_says_that_it_is_too_large_is_not_begun() {
    let tls = Tls::new();
    let server = Server::start(&tls, |_| Reply::Silence(answer(200, &[("content-length", "1048577")], b""))).await;
    let dir = tempfile::tempdir().expect("a directory");
    let args = HttpsArgs { https_max_size: ByteSize::mib(1), ..args(&tls) };
    let store = store(args, local_names(), PATIENT);
    let url = format!("https://good.test:{}/a", server.port());
    assert!(matches!(fetch(&store, &object(&url), dir.path()).await, Err(Error::Forbidden(_))));
}

#[tokio::test]
async fn a_body_that_drips_ends_at_the_time_that_is_allowed() {
    let tls = Tls::new();
    let server = Server::start(&tls, |_| Reply::Drip(answer(200, &[("content-length", "1000000")], b""))).await;
    let dir = tempfile::tempdir().expect("a directory");
    let args = HttpsArgs { https_timeout: Duration::from_secs(1), ..args(&tls) };
    let store = store(args, local_names(), PATIENT);
    let url = format!("https://good.test:{}/a", server.port());
    let Err(Error::Unavailable { source, .. }) = fetch(&store, &object(&url), dir.path()).await else {
        panic!("it takes too long")
    };
    assert!(source.to_string().contains("--https-timeout"), "{source}");
    assert_eq!(listed(dir.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left_and_asked_again() {
    let tls = Tls::new();
    let body = content(300_000);
    let sent = body.clone();
    let server = Server::start(&tls, move |asked| {
        let whole = ranged(&sent, asked);
        match asked.from() {
            _ if asked.n == 0 => Reply::Silence(Vec::new()),
            // As often as it takes: who stands still himself leaves before anything has come.
            None => Reply::Silence(cut(whole, 100_000)),
            Some(_) => Reply::Answer(whole),
        }
    })
    .await;
    let dir = tempfile::tempdir().expect("a directory");
    let surroundings =
        storage_https::Surroundings { resolver: local_names(), patience: PATIENT, silence: Duration::from_secs(1) };
    let store = storage_https::HttpsStore::within(args(&tls), surroundings);
    let url = format!("https://good.test:{}/a", server.port());
    let input = fetch(&store, &object(&url), dir.path()).await.expect("fetched");
    assert!(std::fs::read(input.path()).expect("a file") == body);
    let from = server.asked().last().and_then(Asked::from);
    assert!(from > Some(0), "what there was is not asked for again: {from:?}");
}

#[tokio::test]
async fn a_body_that_ends_too_soon_is_not_taken_for_whole() {
    let tls = Tls::new();
    // Without a length only TLS tells an end from a cut.
    let server = Server::start(&tls, |_| Reply::Cut(b"HTTP/1.1 200 OK\r\n\r\nhalf".to_vec())).await;
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(args(&tls), local_names(), IMPATIENT);
    let url = format!("https://good.test:{}/a", server.port());
    assert!(matches!(fetch(&store, &object(&url), dir.path()).await, Err(Error::Unavailable { .. })));
    // Without TLS the item's size tells.
    let server = Server::start_plain(|_| Reply::Cut(b"HTTP/1.1 200 OK\r\n\r\nhalf".to_vec())).await;
    let plain =
        crate::world::store(HttpsArgs { https_allow_http: true, ..args(&tls) }, local_names(), IMPATIENT).plain();
    let mut sized = object(&format!("http://good.test:{}/a", server.port()));
    sized.size = Some(8);
    assert!(matches!(fetch(&plain, &sized, dir.path()).await, Err(Error::Busy(_))));
    assert_eq!(listed(dir.path()), Vec::<String>::new());
}

#[tokio::test]
async fn nothing_is_an_input_too() {
    let tls = Tls::new();
    let server = Server::start(&tls, |_| Reply::Answer(answer(200, &[ETAG], b""))).await;
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(args(&tls), local_names(), PATIENT);
    let url = format!("https://good.test:{}/a", server.port());
    let input = fetch(&store, &object(&url), dir.path()).await.expect("fetched");
    assert_eq!(std::fs::read(input.path()).expect("a file"), b"");
}

#[tokio::test]
async fn a_full_disk_is_found_before_it_is_filled() {
    let tls = Tls::new();
    let server =
        Server::start(&tls, |_| Reply::Silence(answer(200, &[("content-length", "1000000000000000")], b""))).await;
    let dir = tempfile::tempdir().expect("a directory");
    let args = HttpsArgs { https_max_size: ByteSize::pib(8), ..args(&tls) };
    let store = store(args, local_names(), PATIENT);
    let url = format!("https://good.test:{}/a", server.port());
    let Err(Error::Io { doing, source }) = fetch(&store, &object(&url), dir.path()).await else {
        panic!("there is no room")
    };
    let full = [std::io::ErrorKind::StorageFull, std::io::ErrorKind::FileTooLarge, std::io::ErrorKind::QuotaExceeded];
    assert!(full.contains(&source.kind()), "{doing}: {source}");
}

#[tokio::test]
async fn a_root_can_be_looked_at_before_there_is_work() {
    let tls = Tls::new();
    let server = Server::start(&tls, |_| Reply::Answer(answer(403, &[], b""))).await;
    let store = store(args(&tls), local_names(), IMPATIENT);
    let root = format!("https://good.test:{}/in/", server.port());
    inputs(&store, &root).check().await.expect("a root that cannot be read itself can be reached");
    let nowhere = inputs(&store, "https://nowhere.test/").check().await.expect_err("there is no such host");
    assert!(sidecar::chain(&nowhere).contains("no such host"), "{}", sidecar::chain(&nowhere));
    for root in ["https://h/?a=b", "https://u:s3cret@h/", "https://"] {
        let error = store.inputs(&uri(root)).expect_err(root);
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
