//! One store as one identity: the SDK's client, made when it is first needed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use aws_smithy_http_client::tls;
use storage::Error;
use tokio::sync::OnceCell;

use crate::transfer::Limits;
use crate::{AddressingStyle, Bucket, S3Args, TransferArgs};

/// One store, reached as one identity. Cheap to clone; all clones share connections, memory and credentials. Nothing is read
/// or asked before the first request.
#[derive(Clone)]
pub struct S3(Arc<Inner>);

struct Inner {
    args: S3Args,
    keys: Option<Credentials>,
    limits: Arc<Limits>,
    client: OnceCell<aws_sdk_s3::Client>,
}

impl S3 {
    /// The store that `args` describe.
    pub fn new(args: S3Args, transfer: TransferArgs) -> Self {
        Self(Arc::new(Inner { args, keys: None, limits: Arc::new(Limits::new(&transfer)), client: OnceCell::new() }))
    }

    /// As [`new`](Self::new), with keys that the caller has, in place of those that the environment tells.
    pub fn with_keys(args: S3Args, transfer: TransferArgs, access_key_id: &str, secret_access_key: &str) -> Self {
        let keys = Credentials::new(access_key_id, secret_access_key, None, None, "given");
        Self(Arc::new(Inner { args, keys: Some(keys), limits: Arc::new(Limits::new(&transfer)), client: OnceCell::new() }))
    }

    /// A bucket of it. Asks nothing.
    pub fn bucket(&self, name: &str) -> Bucket {
        Bucket::new(self.clone(), name)
    }

    /// What all transfers share.
    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.0.limits
    }

    /// What signs requests now; `None` where nothing is signed.
    pub(crate) async fn credential(&self) -> Result<Option<Credentials>, Error> {
        Ok(self.0.keys.clone())
    }

    /// The client, with its configuration read.
    pub(crate) async fn client(&self) -> Result<&aws_sdk_s3::Client, Error> {
        self.0.client.get_or_try_init(|| connect(&self.0.args, self.0.keys.clone())).await
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("args", &self.0.args).field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

async fn connect(args: &S3Args, keys: Option<Credentials>) -> Result<aws_sdk_s3::Client, Error> {
    let mut trust = tls::TrustStore::default();
    if let Some(bundle) = &args.s3_ca_bundle {
        let read = tokio::fs::read(bundle).await;
        let pem = read.map_err(|source| Error::Io { doing: format!("read {}", bundle.display()), source })?;
        trust = tls::TrustStore::empty().with_pem_certificate(pem);
    }
    let context = tls::TlsContext::builder().with_trust_store(trust).build();
    let context = context.map_err(|error| Error::Unsupported(format!("the certificates cannot be used: {error}")))?;
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::rustls(tls::rustls_provider::CryptoMode::AwsLc))
        .tls_context(context)
        .build_https();

    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(8)
                .with_initial_backoff(Duration::from_millis(200))
                .with_max_backoff(Duration::from_secs(20)),
        )
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(5))
                .read_timeout(Duration::from_secs(60))
                .build(),
        )
        // Not every store knows the SDK's own checksums; where bytes must be proven, it is done by us.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some(profile) = &args.s3_profile {
        loader = loader.profile_name(profile);
    }
    if let Some(url) = &args.s3_endpoint_url {
        loader = loader.endpoint_url(url);
    }
    if let Some(region) = &args.s3_region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(keys) = keys {
        loader = loader.credentials_provider(keys);
    }
    if args.s3_no_sign_request {
        loader = loader.no_credentials();
    }
    let shared = loader.load().await;
    let mut config = aws_sdk_s3::config::Builder::from(&shared);
    let elsewhere = args.s3_endpoint_url.is_some() || shared.endpoint_url().is_some();
    if shared.region().is_none() {
        config = config.region(Region::from_static("us-east-1"));
    }
    config = config.force_path_style(match args.s3_addressing_style {
        AddressingStyle::Auto => elsewhere,
        AddressingStyle::Path => true,
        AddressingStyle::Virtual => false,
    });
    Ok(aws_sdk_s3::Client::from_conf(config.build()))
}
