//! What is known of one version of an object that no listing shows.

use std::sync::Arc;

use ambassador_kit::catalog::Why;

use super::OnSettle;
use super::policy::FAILED;

/// What an object is, beside what can be seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// It has the tag of what is done.
    Done,
    /// It has the tag of what failed for good.
    Failed,
    /// It failed for good and stays, while this process lives.
    Stays,
    /// It is output of a worker.
    Output,
}

impl Mark {
    /// Why it is not listed.
    pub(super) fn why(self, on_settle: &OnSettle) -> Why {
        let tag = |value: &str| match on_settle {
            OnSettle::Tag(tag, _) => format!("{tag}={value}"),
            OnSettle::None | OnSettle::Delete | OnSettle::Move(_) => value.to_owned(),
        };
        let again = "to have it listed again, take that away and restart this program";
        let (reason, message) = match (self, on_settle) {
            (Self::Done, OnSettle::Tag(_, done)) => ("settled", format!("it has the tag {}: {again}", tag(done))),
            (Self::Done, _) => ("settled", "it was settled".to_owned()),
            (Self::Failed, _) => {
                ("dead-letter", format!("it failed for good and has the tag {}: {again}", tag(FAILED)))
            }
            (Self::Stays, _) => (
                "dead-letter",
                "it failed for good and stays where it is; give --dead-letter PREFIX to move such objects".to_owned(),
            ),
            (Self::Output, _) => (
                "own-output",
                "its metadata says that a worker published it (list it with --own-output list)".to_owned(),
            ),
        };
        Why { reason, message: Arc::from(message), pending: false }
    }
}
