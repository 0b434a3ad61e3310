//! What becomes of objects whose items are settled.

use std::sync::Arc;

use ambassador_kit::catalog::Why;
use ambassador_kit::source::{Outcome, SourceError};
use clap::Args;
use contract::ItemName;
use contract::wire::Settle;

use crate::args::Settings;

/// What becomes of objects that a manager is done with.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "When an item is done")]
pub(crate) struct SettleArgs {
    /// `none`: nothing, and a manager is told so. `delete`, `tag:K=V`, or `move:PREFIX` within the bucket.
    #[arg(long, value_name = "ACTION", default_value = "none")]
    pub(crate) on_settle: String,
}

/// What is wrong with `--on-settle`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SettleError(String);

/// What is done with an object whose item is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OnSettle {
    /// Nothing; settling is not offered.
    None,
}

impl SettleArgs {
    /// What is to be done, if that makes sense for what is listed.
    pub(crate) fn parse(&self, _bucket: &str, _prefix: &str) -> Result<OnSettle, SettleError> {
        match self.on_settle.as_str() {
            "none" => Ok(OnSettle::None),
            other => Err(SettleError(format!("--on-settle {other} is not known"))),
        }
    }
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The object is listed no more: it was acted on, or there was none.
    Over,
    /// Another version stands there; it was left alone.
    Superseded,
    /// It stays where it is, and is withheld.
    Kept(Why),
}

/// Settles items.
#[derive(Clone, Debug)]
pub(crate) struct Settler {
    settings: Arc<Settings>,
}

impl Settler {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self { settings }
    }

    /// As `GET /v1` says it.
    pub(crate) fn policy(&self) -> Settle {
        match self.settings.on_settle {
            OnSettle::None => Settle::None,
        }
    }

    /// Settles the item `name`, which the object at `key` is or was.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`]: nothing was settled.
    pub(crate) async fn settle(
        &self,
        _name: &ItemName,
        _key: &str,
        _outcome: &Outcome,
    ) -> Result<Settled, SourceError> {
        Err(SourceError::Unsupported("this bucket is read only: start with --on-settle to settle items"))
    }

    /// An item that is not listed is settled: if it turns up, it is to be settled then.
    pub(crate) fn remember(&self, _name: &ItemName, _outcome: &Outcome) {}

    /// Whether an item was settled before it turned up.
    pub(crate) fn remembers(&self, _name: &ItemName) -> bool {
        false
    }

    /// What was asked for an item before it turned up; forgotten thereby.
    pub(crate) fn take_remembered(&self, _name: &ItemName) -> Option<Outcome> {
        None
    }
}
