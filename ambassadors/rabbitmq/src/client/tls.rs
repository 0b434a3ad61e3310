//! TLS: whom we believe, and who we are.

use std::path::{Path, PathBuf};

use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::BrokerError;

/// Files that TLS is spoken with. They are read again for each connection, since whoever renews certificates replaces them.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    /// Whose authorities are believed; the system's where there is none.
    pub(super) authorities: Option<PathBuf>,
    /// Certificate and key of ours.
    pub(super) identity: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`BrokerError`], naming flag and file.
    pub(super) fn connector(&self) -> Result<RustlsConnector, BrokerError> {
        let tls = |error: std::io::Error| BrokerError::Tls(error.to_string());
        let config = match &self.authorities {
            Some(path) => RustlsConnectorConfig::default().with_parsable_certificates(certificates("--ca-file", path)?),
            None => RustlsConnectorConfig::new_with_native_certs().map_err(tls)?,
        };
        let Some((certificate, key)) = &self.identity else {
            return config.connector_with_no_client_auth().map_err(tls);
        };
        let chain = certificates("--cert-file", certificate)?;
        let of = |why| BrokerError::File { flag: "--key-file", path: key.clone(), why };
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| of(error.to_string()))?;
        config.connector_with_single_cert(chain, key).map_err(tls)
    }
}

fn certificates(flag: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, BrokerError> {
    let of = |why: String| BrokerError::File { flag, path: path.to_owned(), why };
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| of(error.to_string()))?;
    if read.is_empty() { Err(of("it holds no certificate in PEM".to_owned())) } else { Ok(read) }
}
