//! What a run leaves behind to be removed, kept until its account has been given: whoever waits for that does not wait for
//! the removal of a hundred thousand files.

use contract::exit;
use sidecar::Shutdown;
use storage::{BoxFuture, Claim, Committed, Error, Outputs, Publication};
use tracing::warn;

use crate::scratch::Scratch;
use crate::{JobError, trip, verdict};

/// A commit under way.
pub(crate) type Commit = BoxFuture<'static, Result<Committed, Error>>;

/// Handed to a run, which leaves here what it made; removed in this order.
#[derive(Default)]
pub(crate) struct Leavings {
    /// A commit that was given up: dropping it ends the uploads that are under way.
    commit: Option<Commit>,
    publication: Option<Box<dyn Publication>>,
    scratch: Option<Scratch>,
}

impl Leavings {
    pub(crate) fn keep_scratch(&mut self, scratch: Scratch) -> &Scratch {
        self.scratch.insert(scratch)
    }

    /// Begins a publication, in the scratch directory that is kept here.
    pub(crate) async fn begin(
        &mut self,
        outputs: &dyn Outputs,
        claim: Claim,
    ) -> Result<(&Scratch, &dyn Publication), JobError> {
        let scratch = self.scratch.as_ref().ok_or_else(|| defect("no scratch directory was made"))?;
        let begun = outputs.begin(claim, &scratch.output()).await.map_err(verdict::storage)?;
        Ok((scratch, &**self.publication.insert(begun)))
    }

    /// Publishes what was begun. Given up, what it had begun to do stays here.
    pub(crate) async fn commit(
        &mut self,
        publish: impl FnOnce(Box<dyn Publication>) -> Commit,
    ) -> Result<Committed, Error> {
        let begun = self.publication.take();
        let publication = begun.ok_or_else(|| Error::Invalid("no publication was begun".to_owned()))?;
        self.commit.insert(publish(publication)).await
    }

    /// Removes all of it, off this thread. Once everything must stop it is left as it is, after a last moment: the lock of what
    /// remains dies with this process, and a later worker's sweep removes it.
    pub(crate) async fn remove(self, shutdown: &Shutdown) {
        let removal = tokio::task::spawn_blocking(move || drop(self));
        let last = async {
            shutdown.aborting().await;
            tokio::time::sleep(trip::LAST).await;
        };
        tokio::select! {
            biased;
            _ = removal => {}
            () = last => warn!("not all that this run made is removed; a later worker does it"),
        }
    }
}

fn defect(what: &str) -> JobError {
    JobError::new(exit::BUG, "Bug", what)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Something that cannot be removed before it is told.
    struct Endless(mpsc::Receiver<()>);

    impl Drop for Endless {
        fn drop(&mut self) {
            let _ = self.0.recv();
        }
    }

    #[test]
    fn a_removal_that_takes_too_long_keeps_nobody() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (_go, wait) = mpsc::channel();
        let shutdown = Shutdown::default();
        shutdown.abort();
        let endless = Endless(wait);
        let commit = async move {
            drop(endless);
            Err(Error::Invalid("it is never polled".to_owned()))
        };
        let leavings = Leavings { commit: Some(Box::pin(commit)), ..Leavings::default() };
        runtime.block_on(leavings.remove(&shutdown));
        runtime.shutdown_background();
    }
}
