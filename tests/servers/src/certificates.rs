//! Certificates for servers of 127.0.0.1 and for their clients.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

const CONFIGURATION: &str = "\
[req]
distinguished_name = subject
prompt = no
[subject]
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1,DNS:localhost
[client]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
";

/// An authority of one server's own, made by openssl, and what it has signed: PEM files, with keys of the curve P-256 in PKCS #8.
/// They are readable as long as the server is not dropped.
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
    signing: Mutex<()>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM (PKCS #8), not encrypted.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes the authority and the server's certificate in a folder of their own.
    pub(crate) fn make(folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).expect("a folder for certificates");
        std::fs::write(folder.join("openssl.cnf"), CONFIGURATION).expect("openssl's configuration is written");
        let made = Self { folder, signing: Mutex::default() };
        made.sign("ca", "ca", "Longshore's tests");
        made.sign("server", "server", "localhost");
        made
    }

    /// The authority that signed what the server shows, and that the server takes clients' certificates of.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for a client, of this common name, which is the user it stands for; made now, if it was not.
    pub fn client(&self, name: &str) -> Identity {
        let identity = self.identity(&format!("client-{name}"));
        let _one = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        if !identity.certificate.exists() {
            self.sign(&format!("client-{name}"), "client", name);
        }
        identity
    }

    pub(crate) fn server(&self) -> Identity {
        self.identity("server")
    }

    fn identity(&self, file: &str) -> Identity {
        let path = |kind: &str| self.folder.join(format!("{file}.{kind}"));
        Identity { certificate: path("pem"), key: path("key") }
    }

    fn sign(&self, file: &str, extensions: &str, common_name: &str) {
        let identity = self.identity(file);
        let mut openssl = Command::new("openssl");
        openssl
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "3650"])
            .arg("-config")
            .arg(self.folder.join("openssl.cnf"))
            .args(["-extensions", extensions, "-subj", &format!("/CN={common_name}"), "-keyout"])
            .arg(&identity.key)
            .arg("-out")
            .arg(&identity.certificate);
        if file != "ca" {
            openssl.arg("-CA").arg(self.authority()).arg("-CAkey").arg(self.folder.join("ca.key"));
        }
        let done = openssl.output().expect("openssl runs");
        assert!(done.status.success(), "openssl signs nothing: {}", String::from_utf8_lossy(&done.stderr));
    }
}
