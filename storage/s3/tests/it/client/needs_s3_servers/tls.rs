//! Stores whose certificate is signed by an authority of their own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use storage::Error;
use storage_s3::{ListQuery, Patience, S3, S3Args, TransferArgs};
use test_servers::S3Server;

use super::super::{LONG, NONE, args, said};

/// Speaks TLS in the name of a store, with a certificate for `localhost`.
struct Tls {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Tls {
    fn before(server: &S3Server) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=authority \
                      -keyout ca.key -out ca.pem 2>/dev/null &&
                      openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost \
                      -keyout key.pem -out request.pem 2>/dev/null &&
                      printf 'subjectAltName=DNS:localhost,IP:127.0.0.1' >names &&
                      openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names \
                      -out cert.pem 2>/dev/null";
        let made = Command::new("sh").args(["-c", script]).current_dir(dir.path()).status().expect("sh runs");
        assert!(made.success(), "openssl makes certificates");
        let certs = dir.path().join("certs");
        std::fs::create_dir_all(&certs).expect("a folder");
        std::fs::copy(dir.path().join("cert.pem"), certs.join("public.crt")).expect("a certificate");
        std::fs::copy(dir.path().join("key.pem"), certs.join("private.key")).expect("its key");
        let port = test_servers::free_port();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(minio())
            .args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}"), "--certs-dir"])
            .arg(&certs)
            .arg(dir.path().join("data"))
            .env("MINIO_ROOT_USER", server.access_key())
            .env("MINIO_ROOT_PASSWORD", server.secret_key())
            .env("MINIO_BROWSER", "off")
            .env("HOME", dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("MinIO starts");
        Self { child, port, dir }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    fn authority(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where the tests have MinIO built.
fn minio() -> PathBuf {
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/servers/s3/setup");
    let output = Command::new(setup).output().expect("the servers are built");
    Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("minio")
}

fn s3(args: S3Args, server: &S3Server, patience: Patience) -> S3 {
    S3::with_keys(args, TransferArgs::default(), server.access_key(), server.secret_key()).with_patience(patience)
}

#[tokio::test]
async fn a_bundle_is_what_makes_an_authority_trusted_and_only_that() {
    let server = S3Server::shared_minio();
    let tls = Tls::before(server);
    let with = |bundle: PathBuf| S3Args { s3_ca_bundle: Some(bundle), ..args(&tls.url()) };
    // It may not be up yet: that is outlived.
    let trusted = s3(with(tls.authority()), server, LONG).bucket("none").list(&ListQuery::default()).await;
    assert!(matches!(&trusted, Err(Error::Unsupported(text)) if text.contains("NoSuchBucket")), "{trusted:?}");

    // Asked once: with this patience it would be asked for an hour.
    let patience = Patience { total: Duration::from_secs(3600), ..LONG };
    let without = s3(args(&tls.url()), server, patience).bucket("none");
    let without = tokio::time::timeout(Duration::from_secs(120), without.list(&ListQuery::default())).await;
    let error = without.expect("it is not asked again").expect_err("nobody knows the authority");
    assert!(matches!(&error, Error::Unsupported(text) if text.contains("needs --s3-ca-bundle")), "{error:?}");
    // Another's authority, as when the system's would be: a bundle takes their place.
    let other = Tls::before(server);
    let error = s3(with(other.authority()), server, LONG).bucket("none").list(&ListQuery::default()).await;
    assert!(matches!(&error, Err(Error::Unsupported(text)) if text.contains("certificate")), "{error:?}");
    let plain = args(&tls.url().replace("https:", "http:"));
    let plain = s3(plain, server, NONE).bucket("none").list(&ListQuery::default()).await;
    let error = plain.expect_err("it speaks TLS");
    assert!(said(&error).contains("cannot list") || matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_bundle_that_cannot_be_used_is_named_with_its_flag() {
    let dir = tempfile::tempdir().expect("a folder");
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "nothing").expect("a file");
    for (bundle, what) in [(dir.path().join("none.pem"), "No such file"), (empty, "no certificate")] {
        let args = S3Args { s3_ca_bundle: Some(bundle.clone()), ..args("https://localhost:1") };
        let error = s3(args, S3Server::shared_minio(), NONE).identity().await.expect_err("it cannot be used");
        let good = |text: &str| {
            text.contains(what) && text.contains("--s3-ca-bundle") && text.contains(&*bundle.to_string_lossy())
        };
        assert!(matches!(&error, Error::Unsupported(text) if good(text)), "{error:?}");
    }
}
