//! The flags.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use sidecar::cli::value;

use crate::address::Private;

/// How `https:` is spoken; flatten it into a program's own flags.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "HTTPS inputs and outputs")]
pub struct HttpsArgs {
    /// The largest input that is fetched; a larger one is refused (exit 77).
    #[arg(long, value_name = "SIZE", default_value = "1TiB")]
    pub https_max_size: ByteSize,
    /// The longest that the transfer of one file may take, everything that is tried again within it included.
    #[arg(long, value_name = "DURATION", default_value = "6h", value_parser = value::positive_duration)]
    pub https_timeout: Duration,
    /// Certificates (PEM) to trust in place of the system's.
    #[arg(long, value_name = "FILE")]
    pub https_ca_bundle: Option<PathBuf>,
    /// A host name, address or network (10.1.0.0/16) that may be reached although it is private; repeatable. A name stands
    /// for private and loopback addresses only; link-local ones need their network, a metadata service its very address.
    #[arg(long, value_name = "HOST|CIDR", value_delimiter = ',')]
    pub https_allow_private: Vec<Private>,
    /// Speak http: too, without encryption, to what --https-allow-private names and to nothing else.
    #[arg(long)]
    pub https_allow_http: bool,
    /// Headers to send, a line each with the URL below which they are sent and nowhere else:
    /// `https://host/path/ Authorization: Bearer …`. Read anew for every request.
    #[arg(long, value_name = "FILE")]
    pub https_header_file: Option<PathBuf>,
}

impl Default for HttpsArgs {
    fn default() -> Self {
        Self {
            https_max_size: ByteSize::tib(1),
            https_timeout: Duration::from_secs(6 * 60 * 60),
            https_ca_bundle: None,
            https_allow_private: Vec::new(),
            https_allow_http: false,
            https_header_file: None,
        }
    }
}
