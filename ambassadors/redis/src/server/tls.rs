//! TLS by rustls: whom we believe, and who we are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::ServerError;

/// The files that say it, which are read for every connection: somebody may have renewed them.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    authorities: Option<PathBuf>,
    /// Certificate and key.
    ours: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    pub(super) fn new(authorities: Option<PathBuf>, ours: Option<(PathBuf, PathBuf)>) -> Self {
        Self { authorities, ours }
    }

    /// As what the server must show itself.
    pub(super) fn name(host: &str) -> Result<ServerName<'static>, ServerError> {
        ServerName::try_from(host.to_owned())
            .map_err(|_| ServerError::Url("names a host that no certificate can be of"))
    }

    /// With what the files say now.
    ///
    /// # Errors
    /// [`ServerError::File`].
    pub(super) fn connector(&self) -> Result<TlsConnector, ServerError> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| ServerError::Url("asks for TLS, and none is built in"))?
            .with_root_certificates(self.roots()?);
        let config = match &self.ours {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates("--cert-file", certificate)?;
                let ours = PrivateKeyDer::from_pem_file(key).map_err(|error| useless("--key-file", key, &error))?;
                config.with_client_auth_cert(chain, ours).map_err(|error| useless("--key-file", key, &error))?
            }
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn roots(&self) -> Result<RootCertStore, ServerError> {
        let mut roots = RootCertStore::empty();
        match &self.authorities {
            Some(file) => {
                for authority in certificates("--ca-file", file)? {
                    roots.add(authority).map_err(|error| useless("--ca-file", file, &error))?;
                }
            }
            // Where one of the system's cannot be read, the server's is none of those that can, and that is said then.
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        Ok(roots)
    }
}

fn certificates(flag: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, ServerError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = read.map_err(|error| useless(flag, file, &error))?;
    if all.is_empty() {
        return Err(useless(flag, file, &"there is no certificate in it"));
    }
    Ok(all)
}

fn useless(flag: &'static str, file: &Path, why: &dyn std::fmt::Display) -> ServerError {
    ServerError::File { flag, path: file.to_owned(), why: why.to_string() }
}
