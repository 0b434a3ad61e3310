//! Who is reached, and who never is.

use std::net::IpAddr;
use std::sync::Arc;

use storage::Error;
use storage_https::HttpsArgs;

use crate::server::{Reply, Server, Tls, answer};
use crate::world::{IMPATIENT, Names, PATIENT, args, fetch, local_names, object, store};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[tokio::test]
async fn a_private_address_is_refused_after_the_name_is_resolved() {
    let tls = Tls::new();
    let names = Names::new(&[
        ("private.test", &[&["10.0.0.1"]]),
        ("metadata.test", &[&["169.254.169.254"]]),
        ("local.test", &[&["::1", "127.0.0.2"]]),
    ]);
    let store = store(args(&tls), names, PATIENT);
    let dir = tempfile::tempdir().expect("a directory");
    for (url, what) in [
        ("https://private.test/a?sig=s3cretive", "a private address"),
        ("https://metadata.test/a", "metadata"),
        ("https://local.test/a", "loopback"),
        ("https://169.254.169.254/latest/meta-data/x", "metadata"),
        ("https://0xa9fea9fe/x", "metadata"),
        ("https://2852039166/x", "metadata"),
        ("https://0251.0376.0251.0376/x", "metadata"),
        ("https://[::ffff:169.254.169.254]/x", "metadata"),
        ("https://[64:ff9b::a9fe:a9fe]/x", "metadata"),
        ("https://[fd00:ec2::254]/x", "metadata"),
        ("https://[::1]/x", "loopback"),
        ("https://0/x", "this machine"),
    ] {
        let Err(Error::Forbidden(text)) = fetch(&store, &object(url), dir.path()).await else {
            panic!("{url} is reached")
        };
        assert!(text.contains(what) && text.contains("--https-allow-private"), "{url}: {text}");
        assert!(!text.contains("s3cretive"), "{text}");
    }
}

#[tokio::test]
async fn a_name_that_changes_its_address_wins_nothing() {
    let tls = Tls::new();
    // The first answer may be reached, the second may not, though somebody listens there.
    let good = Server::start(&tls, |asked| {
        let head = answer(200, &[("etag", "\"v1\"")], b"0123456789");
        if asked.n == 0 { Reply::Cut(head[..head.len() - 5].to_vec()) } else { Reply::Answer(head) }
    })
    .await;
    let secret = Arc::new(|_: &crate::server::Asked| Reply::Answer(answer(200, &[], b"secret")));
    let secret = Server::start_on(ip("127.0.0.2"), good.port(), Some(&tls), secret).await;
    let names = Names::new(&[("good.test", &[&["127.0.0.1"], &["127.0.0.2"]])]);
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("https://good.test:{}/a", good.port());
    let store = store(args(&tls), names, PATIENT);
    assert!(matches!(fetch(&store, &object(&url), dir.path()).await, Err(Error::Forbidden(_))));
    assert_eq!((good.asked().len(), secret.asked().len()), (1, 0));
}

#[tokio::test]
async fn of_several_addresses_only_the_admitted_are_tried() {
    let tls = Tls::new();
    let good = Server::start(&tls, |_| Reply::Answer(answer(200, &[], b"good"))).await;
    let secret = Arc::new(|_: &crate::server::Asked| Reply::Answer(answer(200, &[], b"secret")));
    let secret = Server::start_on(ip("127.0.0.2"), good.port(), Some(&tls), secret).await;
    let names = Names::new(&[("good.test", &[&["127.0.0.2", "127.0.0.1"]])]);
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(args(&tls), names, PATIENT);
    let url = format!("https://good.test:{}/a", good.port());
    let input = fetch(&store, &object(&url), dir.path()).await.expect("fetched");
    assert_eq!(std::fs::read(input.path()).expect("a file"), b"good");
    assert_eq!(secret.asked().len(), 0);
}

#[tokio::test]
async fn a_redirect_is_followed_to_where_a_request_may_go() {
    let tls = Tls::new();
    let other = Server::start(&tls, |_| Reply::Answer(answer(200, &[], b"redirected"))).await;
    let target = format!("https://other.test:{}/b?sig=s3cretive", other.port());
    let good = Server::start(&tls, move |asked| match asked.path.as_str() {
        "/other" => Reply::Answer(answer(302, &[("location", &target)], b"")),
        "/private" => Reply::Answer(answer(307, &[("location", "https://10.0.0.1/?sig=s3cretive")], b"")),
        "/metadata" => Reply::Answer(answer(301, &[("location", "https://[::ffff:a9fe:a9fe]/")], b"")),
        "/plain" => Reply::Answer(answer(302, &[("location", "http://other.test/?sig=s3cretive")], b"")),
        "/file" => Reply::Answer(answer(302, &[("location", "file:///etc/passwd")], b"")),
        "/user" => Reply::Answer(answer(303, &[("location", "https://me:s3cretive@other.test/")], b"")),
        path => {
            let n: u32 = path.trim_start_matches("/chain/").parse().expect("a number");
            let next = format!("/chain/{}", n.saturating_sub(1));
            let location: &[(&str, &str)] = &[("location", &next)];
            Reply::Answer(if n == 0 { answer(200, &[], b"the end") } else { answer(308, location, b"") })
        }
    })
    .await;
    let store = store(args(&tls), local_names(), PATIENT);
    let dir = tempfile::tempdir().expect("a directory");
    let at = |path: &str| object(&format!("https://good.test:{}{path}", good.port()));
    for (path, want) in [("/other", "redirected"), ("/chain/10", "the end")] {
        let input = fetch(&store, &at(path), dir.path()).await.expect(path);
        assert_eq!(std::fs::read_to_string(input.path()).expect("a file"), want);
    }
    for path in ["/private", "/metadata", "/plain", "/file", "/user", "/chain/11"] {
        let error = fetch(&store, &at(path), dir.path()).await.expect_err(path);
        assert!(matches!(error, Error::Forbidden(_)), "{path}: {error:?}");
        assert!(!error.to_string().contains("s3cretive"), "{path}: {error}");
    }
}

#[tokio::test]
async fn http_is_spoken_only_where_it_was_asked_for() {
    let tls = Tls::new();
    let server = Server::start_plain(|_| Reply::Answer(answer(200, &[], b"plain"))).await;
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("http://good.test:{}/a", server.port());
    let refusing = store(args(&tls), local_names(), PATIENT).plain();
    let error = storage::Store::inputs(&refusing, &object(&url).uri).expect_err("it was not asked for");
    assert!(matches!(&error, Error::Unsupported(text) if text.contains("--https-allow-http")), "{error:?}");

    let allowing = HttpsArgs { https_allow_http: true, ..args(&tls) };
    let input = fetch(&store(allowing.clone(), local_names(), PATIENT).plain(), &object(&url), dir.path()).await;
    assert_eq!(std::fs::read(input.expect("fetched").path()).expect("a file"), b"plain");

    // A public address is not what was named.
    let names = Names::new(&[("good.test", &[&["93.184.215.14"]])]);
    let Err(Error::Forbidden(text)) = fetch(&store(allowing, names, PATIENT).plain(), &object(&url), dir.path()).await
    else {
        panic!("a public address is spoken to without encryption")
    };
    assert!(text.contains("--https-allow-private"), "{text}");
}

#[tokio::test]
async fn only_whom_the_bundle_vouches_for_is_trusted() {
    let (tls, other) = (Tls::new(), Tls::new());
    let server = Server::start(&other, |_| Reply::Answer(answer(200, &[], b"secret"))).await;
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("https://good.test:{}/a", server.port());
    let error =
        fetch(&store(args(&tls), local_names(), PATIENT), &object(&url), dir.path()).await.expect_err("a stranger");
    assert!(matches!(&error, Error::Unsupported(text) if text.contains("--https-ca-bundle")), "{error:?}");
    // Nor under a name that its certificate has not.
    let names = Names::new(&[("wrong.test", &[&["127.0.0.1"]])]);
    let url = format!("https://wrong.test:{}/a", server.port());
    let error = fetch(&store(args(&other), names, PATIENT), &object(&url), dir.path()).await.expect_err("a stranger");
    assert!(matches!(&error, Error::Unsupported(_)), "{error:?}");
    assert_eq!(server.asked().len(), 0);
    for (text, want) in
        [("", "holds none"), ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot read")]
    {
        let bundle = dir.path().join("bundle.pem");
        std::fs::write(&bundle, text).expect("written");
        let broken = HttpsArgs { https_ca_bundle: Some(bundle), ..args(&tls) };
        let error =
            fetch(&store(broken, local_names(), IMPATIENT), &object(&url), dir.path()).await.expect_err("no bundle");
        assert!(matches!(&error, Error::Unsupported(text) if text.contains(want)), "{error:?}");
    }
}

#[tokio::test]
async fn a_secret_header_goes_to_whom_it_is_for() {
    let tls = Tls::new();
    let other = Server::start(&tls, |_| Reply::Answer(answer(200, &[], b"x"))).await;
    let target = format!("https://other.test:{}/b", other.port());
    let good = Server::start(&tls, move |_| Reply::Answer(answer(302, &[("location", &target)], b""))).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("headers");
    let line = format!("https://good.test:{}/in Authorization: Bearer t0ken\n", good.port());
    std::fs::write(&file, line).expect("written");
    let args = HttpsArgs { https_header_file: Some(file), ..args(&tls) };
    let store = store(args, local_names(), PATIENT);
    fetch(&store, &object(&format!("https://good.test:{}/in/a", good.port())), dir.path()).await.expect("fetched");
    fetch(&store, &object(&format!("https://good.test:{}/out/a", good.port())), dir.path()).await.expect("fetched");
    let sent = |server: &Server| {
        server.asked().iter().map(|asked| asked.headers.contains_key("authorization")).collect::<Vec<_>>()
    };
    assert_eq!((sent(&good), sent(&other)), (vec![true, false], vec![false, false]));
}
