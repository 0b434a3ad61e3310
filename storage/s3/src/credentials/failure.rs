//! Why there are no credentials, classed by what to do about it.

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::result::ConnectorError;
use storage::Error;

use super::Way;
use crate::error::chain;

/// Why there are no credentials. It travels through the SDK's errors where a request was under way already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    kind: Kind,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Somebody has to change what is configured.
    Configuration,
    /// Whoever gives the credentials says no.
    Refused,
    /// It may work later.
    Away,
}

/// What the SDK says where nobody has logged in.
const SSO: &str = "cached SSO token";
/// What is said by those who refuse for good.
const REFUSALS: [&str; 11] = [
    "AccessDenied",
    "InvalidIdentityToken",
    "InvalidClientTokenId",
    "IDPRejectedClaim",
    "SignatureDoesNotMatch",
    "UnauthorizedException",
    "ForbiddenException",
    "StatusCode(401)",
    "StatusCode(403)",
    SSO,
    "SSO token has expired",
];

impl Failure {
    pub(crate) fn configuration(text: impl Into<String>) -> Self {
        Self { kind: Kind::Configuration, text: text.into() }
    }

    /// What `error` means, said by the only source that was asked.
    pub(crate) fn of(way: &Way, error: &CredentialsError) -> Self {
        let cause = chain(error);
        if let Way::Instance { by } = way
            && !has_answered(error)
        {
            if let Some(by) = by.filter(|_| !is_told_not_to_ask(error)) {
                // The SDK's first words are that no such source is enabled.
                let cause = std::error::Error::source(error).map_or(cause, chain);
                let text = format!(
                    "{way} gives no credentials: {cause}; {by}, so no other source is tried (in a pod: is the hop limit of the \
                     instance's metadata 2, or should the pod have a role of its own?)"
                );
                return Self { kind: Kind::Away, text };
            }
            return Self::configuration(format!(
                "there are no credentials: AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY, a profile (AWS_PROFILE or ~/.aws), \
                 AWS_ROLE_ARN with AWS_WEB_IDENTITY_TOKEN_FILE and AWS_CONTAINER_CREDENTIALS_FULL_URI are not set, and no \
                 instance tells its role ({cause}); set one of them, or say --s3-no-sign-request for a public bucket"
            ));
        }
        let kind = match error {
            CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
                Kind::Configuration
            }
            _ if REFUSALS.iter().any(|word| cause.contains(word)) => Kind::Refused,
            _ if is_local(error) => Kind::Configuration,
            _ => Kind::Away,
        };
        let hint = match way {
            Way::Profile { name, .. } if cause.contains("SSO token") => {
                format!("; do `aws sso login --profile {name}`")
            }
            _ => way.hint(kind == Kind::Refused),
        };
        Self { kind, text: format!("{way} gives no credentials: {cause}{hint}; no other source is tried") }
    }

    /// Whether it may work later.
    pub(super) fn is_passing(&self) -> bool {
        self.kind == Kind::Away
    }

    /// As an error of the seam.
    pub(crate) fn error(&self) -> Error {
        match self.kind {
            Kind::Configuration => Error::Unsupported(self.text.clone()),
            Kind::Refused => Error::Forbidden(self.text.clone()),
            Kind::Away => Error::Unavailable {
                doing: "get credentials".to_owned(),
                source: std::io::Error::other(self.text.clone()),
            },
        }
    }
}

/// Whether anybody was there at all, and has a role to give.
fn has_answered(error: &CredentialsError) -> bool {
    if matches!(error, CredentialsError::CredentialsNotLoaded(_)) {
        return false;
    }
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.is::<ConnectorError>() {
            return false;
        }
        next = error.source();
    }
    true
}

/// Whether a machine's metadata service was not asked, or has no role to tell; otherwise it could not be reached, or did not answer.
fn is_told_not_to_ask(error: &CredentialsError) -> bool {
    // The SDK has no other way to tell them apart: what it could not reach is an error of its own behind this one.
    let not_loaded = matches!(error, CredentialsError::CredentialsNotLoaded(_));
    let behind = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    not_loaded && !behind.contains("could not communicate")
}

/// Whether a file of ours cannot be read, or a program of ours cannot be run.
fn is_local(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<ConnectorError>() {
            return false;
        }
        if error.is::<std::io::Error>() {
            return true;
        }
        next = error.source();
    }
    false
}
