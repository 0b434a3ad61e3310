//! Where credentials come from, by what is configured.

use std::fmt;
use std::path::PathBuf;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileSet};
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_types::os_shim_internal::{Env, Fs};

use super::Failure;

/// A source of credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The caller has them.
    Given,
    /// Nothing is signed, as was asked for.
    Anonymous,
    /// `AWS_ACCESS_KEY_ID` and its partner.
    Environment,
    /// A profile of the configuration files, whatever that names: keys, a role, SSO, a program.
    Profile {
        /// Which.
        name: String,
        /// What names it.
        named_by: &'static str,
    },
    /// IRSA and the like: `AWS_WEB_IDENTITY_TOKEN_FILE`.
    WebIdentity,
    /// ECS and EKS Pod Identity: `AWS_CONTAINER_CREDENTIALS_…`.
    Container,
    /// The metadata service of the machine we run on: where nothing else is configured.
    Instance {
        /// What says that there is one, if anything does: then one that does not answer is away, and not missing.
        by: Option<&'static str>,
    },
}

/// What makes a profile an identity and not only settings.
const OF_IDENTITY: [&str; 12] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "credential_process",
    "credential_source",
    "login_session",
    "role_arn",
    "source_profile",
    "sso_account_id",
    "sso_session",
    "sso_start_url",
    "web_identity_token_file",
];

impl Way {
    /// The one that is configured, in the order of the SDK's chain; `profile` was asked for by flag and goes before all.
    ///
    /// # Errors
    /// Says what is configured by half.
    pub(crate) async fn find(profile: Option<&str>, env: &Env, fs: &Fs) -> Result<Self, Failure> {
        let set = |name: &str| env.get(name).is_ok_and(|value| !value.trim().is_empty());
        if let Some(name) = profile {
            return Self::profile(name, "--s3-profile", env, fs).await;
        }
        let secret = set("AWS_SECRET_ACCESS_KEY") || set("SECRET_ACCESS_KEY");
        match (set("AWS_ACCESS_KEY_ID"), secret) {
            (true, true) => return Ok(Self::Environment),
            (true, false) => return Err(half("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
            (false, true) => return Err(half("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")),
            (false, false) if set("AWS_SESSION_TOKEN") => {
                return Err(half("AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"));
            }
            (false, false) => {}
        }
        if let Some(name) = env.get("AWS_PROFILE").ok().filter(|name| !name.trim().is_empty()) {
            return Self::profile(&name, "AWS_PROFILE", env, fs).await;
        }
        if is_identity(&profiles(env, fs).await?, "default") {
            return Ok(Self::Profile { name: "default".to_owned(), named_by: "~/.aws" });
        }
        match (set("AWS_WEB_IDENTITY_TOKEN_FILE"), set("AWS_ROLE_ARN")) {
            (true, true) => return Ok(Self::WebIdentity),
            (true, false) => return Err(half("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN")),
            (false, true) => return Err(half("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")),
            (false, false) => {}
        }
        if set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") || set("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            return Ok(Self::Container);
        }
        for token in ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN"] {
            if set(token) {
                return Err(half(token, "AWS_CONTAINER_CREDENTIALS_FULL_URI"));
            }
        }
        Ok(Self::Instance { by: metadata(env, fs).await })
    }

    async fn profile(name: &str, named_by: &'static str, env: &Env, fs: &Fs) -> Result<Self, Failure> {
        let found = profiles(env, fs).await?;
        if is_identity(&found, name) {
            return Ok(Self::Profile { name: name.to_owned(), named_by });
        }
        let mut known: Vec<_> = found.profiles().filter(|other| is_identity(&found, other)).collect();
        known.sort_unstable();
        let what = if found.get_profile(name).is_some() { "holds no credentials" } else { "does not exist" };
        let known = if known.is_empty() {
            "no profile holds any; are AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE, or ~/.aws, where they should be?".to_owned()
        } else {
            format!("those that do: {}", known.join(", "))
        };
        Err(Failure::configuration(format!(
            "the profile {name} that {named_by} names {what} ({known}); no other source is tried"
        )))
    }

    /// Asks nobody yet. Built anew for each asking, since profiles are read when it is built.
    pub(crate) fn provider(&self, conf: &ProviderConfig, direct: &ProviderConfig) -> SharedCredentialsProvider {
        match self {
            // The first two are not asked.
            Self::Given | Self::Anonymous | Self::Environment => {
                SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new())
            }
            Self::Profile { name, .. } => SharedCredentialsProvider::new(
                ProfileFileCredentialsProvider::builder().configure(conf).profile_name(name).build(),
            ),
            Self::WebIdentity => {
                SharedCredentialsProvider::new(WebIdentityTokenCredentialsProvider::builder().configure(conf).build())
            }
            Self::Container => {
                SharedCredentialsProvider::new(EcsCredentialsProvider::builder().configure(direct).build())
            }
            Self::Instance { .. } => {
                SharedCredentialsProvider::new(ImdsCredentialsProvider::builder().configure(direct).build())
            }
        }
    }

    /// Whether asking again may give others: what is in this process's environment cannot change.
    pub(crate) fn may_change(&self) -> bool {
        !matches!(self, Self::Given | Self::Anonymous | Self::Environment)
    }

    /// What to look at when it fails.
    pub(super) fn hint(&self, refused: bool) -> String {
        match self {
            Self::Given | Self::Anonymous | Self::Environment => String::new(),
            Self::Profile { name, .. } => format!("; try `aws sts get-caller-identity --profile {name}`"),
            Self::WebIdentity if refused => {
                "; does the role's trust policy name this cluster's issuer and this service \
                                             account?"
                    .to_owned()
            }
            Self::WebIdentity => "; is the token file mounted, AWS_REGION set and STS reachable?".to_owned(),
            Self::Container => "; does the agent run on this node, and is its address not behind a proxy?".to_owned(),
            Self::Instance { .. } => "; has the instance a role?".to_owned(),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => f.write_str("the caller"),
            Self::Anonymous => f.write_str("nobody (--s3-no-sign-request)"),
            Self::Environment => f.write_str("AWS_ACCESS_KEY_ID"),
            Self::Profile { name, named_by } => write!(f, "the profile {name} ({named_by})"),
            Self::WebIdentity => f.write_str("the web identity of AWS_WEB_IDENTITY_TOKEN_FILE"),
            Self::Container => f.write_str("the container's endpoint of AWS_CONTAINER_CREDENTIALS_*"),
            Self::Instance { .. } => f.write_str("the instance's role"),
        }
    }
}

/// What says that the machine we run on has a metadata service: somebody has said where it is, or it is one of EC2's by what AWS tells
/// to look at for that (on Nitro and on Xen). Nothing does where it is switched off.
async fn metadata(env: &Env, fs: &Fs) -> Option<&'static str> {
    let set = |name: &str| env.get(name).ok().filter(|value| !value.trim().is_empty());
    if set("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    if set("AWS_EC2_METADATA_SERVICE_ENDPOINT").is_some() {
        return Some("AWS_EC2_METADATA_SERVICE_ENDPOINT names a metadata service");
    }
    for (path, begins) in [("/sys/class/dmi/id/sys_vendor", "Amazon EC2"), ("/sys/hypervisor/uuid", "ec2")] {
        if fs.read_to_end(path).await.is_ok_and(|told| told.starts_with(begins.as_bytes())) {
            return Some("this machine is one of EC2's");
        }
    }
    None
}

fn half(set: &str, missing: &str) -> Failure {
    Failure::configuration(format!(
        "{set} is set and {missing} is not: set both, or neither to be somebody else; no other source is tried"
    ))
}

fn is_identity(profiles: &ProfileSet, name: &str) -> bool {
    profiles.get_profile(name).is_some_and(|profile| OF_IDENTITY.iter().any(|key| profile.get(key).is_some()))
}

/// What the configuration files hold. The SDK takes one that it cannot read for empty.
async fn profiles(env: &Env, fs: &Fs) -> Result<ProfileSet, Failure> {
    let files = [("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")];
    for (variable, default) in files {
        let named = env.get(variable).ok().map(PathBuf::from);
        let home = env.get("HOME").ok().map(PathBuf::from);
        let path = match &named {
            Some(path) => match (path.strip_prefix("~"), home) {
                (Ok(rest), Some(home)) => home.join(rest),
                _ => path.clone(),
            },
            None => match home {
                Some(home) => home.join(".aws").join(default),
                None => continue,
            },
        };
        match tokio::fs::read(&path).await {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {}
            Err(error) => {
                let by = named.map(|_| format!(" that {variable} names")).unwrap_or_default();
                return Err(Failure::configuration(format!(
                    "cannot read {}{by}: {error}; no other source of credentials is tried",
                    path.display()
                )));
            }
        }
    }
    let read = aws_config::profile::load(fs, env, &EnvConfigFiles::default(), None).await;
    read.map_err(|error| {
        let error = crate::error::chain(&error);
        Failure::configuration(format!("cannot read ~/.aws: {error}; no other source of credentials is tried"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_has_a_metadata_service_where_that_is_said_and_nowhere_else() {
        const NITRO: (&str, &str) = ("/sys/class/dmi/id/sys_vendor", "Amazon EC2\n");
        let named = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://[fd00:ec2::254]");
        let off = ("AWS_EC2_METADATA_DISABLED", "true");
        for (env, files, by) in [
            (&[][..], &[][..], None),
            (&[], &[("/sys/class/dmi/id/sys_vendor", "QEMU\n")], None),
            (&[], &[NITRO], Some("EC2")),
            (&[], &[("/sys/hypervisor/uuid", "ec2e1916-9099-7caf-fd21-012345abcdef\n")], Some("EC2")),
            (&[named], &[], Some("AWS_EC2_METADATA_SERVICE_ENDPOINT")),
            (&[named, off], &[NITRO], None),
        ] {
            let way = Way::find(None, &Env::from_slice(env), &Fs::from_slice(files)).await.expect("nothing is wrong");
            let Way::Instance { by: found } = way else { panic!("{way:?}") };
            assert_eq!(found.is_some(), by.is_some(), "{env:?} {files:?}");
            assert!(found.is_none_or(|found| by.is_some_and(|by| found.contains(by))), "{found:?}");
        }
    }
}
