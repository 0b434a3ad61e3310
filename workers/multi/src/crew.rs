//! Where stages run: in containers beside this one (`adapter`), or as this process's own children (`local`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use stage::StageDir;
use stage::protocol::Ended;
use worker_kit::JobError;

/// An attempt that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// Which stage, by its place in the pipeline.
    pub(crate) stage: usize,
    /// Which attempt at it, from 1.
    pub(crate) attempt: u32,
    /// What its command is told, beside what its container or this process has anyway.
    pub(crate) environment: BTreeMap<String, OsString>,
}

/// What has come of an order.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// The command runs.
    Begun {
        /// Which stage.
        stage: usize,
        /// Which attempt at it.
        attempt: u32,
    },
    /// It is over, with nothing of it left that could do any harm. Said once of every order.
    Over {
        /// Which stage.
        stage: usize,
        /// Which attempt at it.
        attempt: u32,
        /// How it ended.
        ended: Box<Ended>,
    },
}

/// Those who run stages. A stage has one attempt at a time; different stages run side by side.
pub(crate) trait Crew: Send {
    /// Where a stage writes.
    fn dir(&self, stage: usize) -> &StageDir;

    /// Has an attempt made. What prevents it is [`News`] too.
    fn start(&mut self, order: Order);

    /// Has an attempt stopped, if it is not over: TERM now, KILL after `grace`. Asked again, the earlier of the two counts.
    fn stop(&mut self, stage: usize, attempt: u32, grace: Duration);

    /// The next news. May be dropped and called again without losing any.
    ///
    /// # Errors
    /// When it makes no sense to go on with any stage.
    fn news(&mut self) -> impl Future<Output = Result<News, JobError>> + Send;
}
