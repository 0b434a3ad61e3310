//! Whom to trust.

use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use storage::Error;

/// TLS that trusts the certificates of `ca_bundle`, or the system's without one. Reads files.
///
/// # Errors
/// [`Error::Unsupported`] when there is no certificate to trust, [`Error::Io`] when the bundle cannot be read.
pub(crate) fn config(ca_bundle: Option<&Path>) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    match ca_bundle {
        Some(path) => {
            let doing = || format!("read the certificates of --https-ca-bundle {}", path.display());
            let failed = |error: rustls::pki_types::pem::Error| match error {
                rustls::pki_types::pem::Error::Io(source) => Error::Io { doing: doing(), source },
                other => Error::Unsupported(format!("cannot {}: {other}", doing())),
            };
            for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
                let added = roots.add(certificate.map_err(failed)?);
                added.map_err(|error| Error::Unsupported(format!("cannot {}: {error}", doing())))?;
            }
            if roots.is_empty() {
                return Err(Error::Unsupported(format!("cannot {}: it holds none", doing())));
            }
        }
        None => {
            // Whatever cannot be read of a system's many is no reason to distrust the rest.
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(Error::Unsupported(
                    "no certificates to trust were found on this system: install ca-certificates, or give some by \
                     --https-ca-bundle"
                        .to_owned(),
                ));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| Error::Unsupported(format!("TLS cannot be set up: {error}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// What TLS had to say in a chain of causes, which wraps it in up to two I/O errors.
pub(crate) fn error<'a>(cause: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    if let Some(error) = cause.downcast_ref() {
        return Some(error);
    }
    let inner: &'a (dyn StdError + Send + Sync + 'static) = cause.downcast_ref::<io::Error>()?.get_ref()?;
    error(inner)
}
