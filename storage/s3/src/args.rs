//! How a store is reached: the flags, named after what aws-cli calls them, with `s3-` before.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};

/// How S3 is reached; flatten it into a program's own flags. Whatever is not given is found as every AWS SDK finds it: `AWS_*`
/// variables, `~/.aws`, web identity (IRSA), Pod Identity, SSO, the instance's role.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "S3")]
pub struct S3Args {
    /// The store, if it is not AWS: `http://minio:9000`. AWS_ENDPOINT_URL_S3 and the profile's `endpoint_url` do the same.
    #[arg(long, value_name = "URL")]
    pub s3_endpoint_url: Option<String>,
    /// The region, where AWS_REGION and the profile do not say it [default: us-east-1 where there is an endpoint URL].
    #[arg(long, value_name = "REGION")]
    pub s3_region: Option<String>,
    /// The profile of `~/.aws` to be, whatever else the environment says. AWS_PROFILE names one where AWS_ACCESS_KEY_ID does not say
    /// who we are.
    #[arg(long, value_name = "NAME")]
    pub s3_profile: Option<String>,
    /// Certificates (PEM) of the authorities to trust, in place of the system's: for all that is asked, STS too.
    #[arg(long, value_name = "FILE", env = "AWS_CA_BUNDLE")]
    pub s3_ca_bundle: Option<PathBuf>,
    /// Whether the bucket stands in the path or in the host name; `auto` is the path wherever there is an endpoint URL.
    #[arg(long, value_enum, default_value_t = AddressingStyle::Auto)]
    pub s3_addressing_style: AddressingStyle,
    /// Ask without credentials, as for public buckets. Never done without being asked for.
    #[arg(long)]
    pub s3_no_sign_request: bool,
}

/// Where in a URL the bucket stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AddressingStyle {
    /// `path` with an endpoint URL, `virtual` without.
    #[default]
    Auto,
    /// `https://host/bucket/key`.
    Path,
    /// `https://bucket.host/key`.
    Virtual,
}

/// How objects are carried; flatten it into a program's own flags.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Transfers")]
pub struct TransferArgs {
    /// The most memory that parts of objects under way may take, whatever their size and number.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = budget)]
    pub transfer_memory: ByteSize,
    /// The most requests that carry parts at once.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub transfer_concurrency: u16,
}

impl Default for TransferArgs {
    fn default() -> Self {
        Self { transfer_memory: ByteSize::mib(256), transfer_concurrency: 32 }
    }
}

/// Less than a part of the smallest size could not carry anything.
fn budget(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    if size < ByteSize::mib(16) { Err("at least 16MiB is needed".to_owned()) } else { Ok(size) }
}
