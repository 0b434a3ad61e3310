//! The SDK's client, as the flags and the environment describe it.

use std::sync::Arc;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::identity::IdentityCache;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{Connector, tls};
use aws_types::os_shim_internal::{Env, Fs};
use aws_types::service_config::ServiceConfigKey;
use storage::Error;

use crate::clock::Clock;
use crate::credentials::{Keeper, Signer, Way};
use crate::home::Home;
use crate::retry::{Deadline, Judge, LastAttempt, Patience, allowance};
use crate::whole::Whole;
use crate::{AddressingStyle, S3Args};

/// A client and what is known about it.
pub(super) struct Connected {
    pub(super) client: aws_sdk_s3::Client,
    /// `None` where nothing is signed.
    pub(super) keeper: Option<Arc<Keeper>>,
    /// `None` for AWS.
    pub(super) endpoint: Option<String>,
    pub(super) region: String,
}

/// Reads what there is to read; asks nobody but, where nothing else says the region, the machine's metadata service.
pub(super) async fn connect(
    args: &S3Args,
    given: Option<Credentials>,
    patience: Patience,
    clock: Clock,
    last: LastAttempt,
) -> Result<Connected, Error> {
    let context = trust(args).await?;
    let http = http(context.clone(), ProxyConfig::from_env());
    let direct = ProviderConfig::without_region().with_http_client(self::http(context, ProxyConfig::disabled()));
    let way = match (&given, args.s3_no_sign_request) {
        (_, true) => Way::Anonymous,
        (Some(_), false) => Way::Given,
        (None, false) => {
            let found = Way::find(args.s3_profile.as_deref(), &Env::real(), &Fs::real()).await;
            found.map_err(|failure| failure.error())?
        }
    };
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http.clone())
        .retry_config(Patience::retries())
        .timeout_config(patience.timeouts())
        // Ours keeps it, so that who signs URLs knows when it ends.
        .identity_cache(IdentityCache::no_cache())
        // Not every store knows the SDK's own checksums; where bytes must be proven, it is done by us.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .no_credentials();
    if let Some(profile) = &args.s3_profile {
        loader = loader.profile_name(profile);
    }
    let named = region(args, &direct).await;
    let keeper = (way != Way::Anonymous).then(|| {
        let region = named.clone().unwrap_or(FALLBACK);
        let conf = ProviderConfig::without_region().with_http_client(http.clone()).with_region(Some(region));
        Arc::new(Keeper::new(way, given, conf, direct.clone(), clock.clone(), patience.total))
    });
    // Decided before the SDK loads: without one it asks the machine's metadata for its own ends.
    let region = match (named, &keeper) {
        (Some(region), _) => region,
        (None, Some(keeper)) if matches!(keeper.way(), Way::Instance { .. }) && args.s3_endpoint_url.is_none() => {
            // The role first, which is waited for: who is away tells no region either, and it would be taken for another.
            keeper.credential().await.map_err(|failure| failure.error())?;
            ImdsRegionProvider::builder().configure(&direct).build().region().await.unwrap_or(FALLBACK)
        }
        (None, _) => FALLBACK,
    };
    let shared = loader.region(region.clone()).load().await;
    let endpoint = args.s3_endpoint_url.clone().or_else(|| configured_endpoint(&shared));
    if let Some(url) = &endpoint {
        check_endpoint(url)?;
    }
    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .retry_partition(allowance())
        .retry_classifier(Judge(keeper.clone()))
        .interceptor(Deadline(patience, last))
        .interceptor(Whole)
        .interceptor(Home(region.to_string()))
        .interceptor(clock)
        .force_path_style(match args.s3_addressing_style {
            AddressingStyle::Auto => endpoint.is_some(),
            AddressingStyle::Path => true,
            AddressingStyle::Virtual => false,
        });
    if let Some(url) = &endpoint {
        config = config.endpoint_url(url);
    }
    if let Some(keeper) = &keeper {
        config = config.credentials_provider(Signer(Arc::clone(keeper)));
    } else {
        config = config.allow_no_auth();
    }
    let client = aws_sdk_s3::Client::from_conf(config.build());
    Ok(Connected { client, keeper, endpoint, region: region.to_string() })
}

const FALLBACK: Region = Region::from_static("us-east-1");

/// The authorities whose word on a server's name is taken: those of the bundle, as aws-cli has it, or those of the system.
async fn trust(args: &S3Args) -> Result<tls::TlsContext, Error> {
    let mut store = tls::TrustStore::default();
    if let Some(bundle) = &args.s3_ca_bundle {
        let shown = bundle.display();
        let pem = tokio::fs::read(bundle).await;
        let pem = pem.map_err(|error| Error::Unsupported(format!("cannot read {shown} (--s3-ca-bundle): {error}")))?;
        let text = String::from_utf8_lossy(&pem);
        if !text.contains("-----BEGIN CERTIFICATE-----") {
            return Err(Error::Unsupported(format!("{shown} (--s3-ca-bundle) holds no certificate in PEM")));
        }
        store = tls::TrustStore::empty().with_pem_certificate(pem);
    }
    let context = tls::TlsContext::builder().with_trust_store(store).build();
    context.map_err(|error| Error::Unsupported(format!("the certificates (--s3-ca-bundle) cannot be used: {error}")))
}

fn http(context: tls::TlsContext, proxy: ProxyConfig) -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
            .tls_context(context.clone())
            .proxy_config(proxy.clone());
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.build()
    })
}

/// The region that somebody named.
async fn region(args: &S3Args, conf: &ProviderConfig) -> Option<Region> {
    if let Some(region) = &args.s3_region {
        return Some(Region::new(region.clone()));
    }
    let mut profile = ProfileFileRegionProvider::builder().configure(conf);
    if let Some(name) = &args.s3_profile {
        profile = profile.profile_name(name);
    }
    RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new()).or_else(profile.build()).region().await
}

/// `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` and what the profile has for them.
fn configured_endpoint(shared: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder().service_id("s3").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    shared.service_config()?.load_config(key.ok()?).or_else(|| shared.endpoint_url().map(str::to_owned))
}

fn check_endpoint(url: &str) -> Result<(), Error> {
    // It would stand in logs and errors, and no store looks at it.
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?', '#']).next();
    if authority.is_some_and(|authority| authority.contains('@')) {
        return Err(Error::Unsupported(
            "the endpoint URL (--s3-endpoint-url, AWS_ENDPOINT_URL) holds a user or a password, and is not repeated here: write \
             http://HOST:PORT or https://HOST, and give the keys by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                .to_owned(),
        ));
    }
    let parsed: Option<http::Uri> = url.parse().ok();
    let good = parsed.is_some_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some());
    if good {
        return Ok(());
    }
    Err(Error::Unsupported(format!(
        "{url} is no endpoint URL: write http://HOST:PORT or https://HOST (--s3-endpoint-url)"
    )))
}
