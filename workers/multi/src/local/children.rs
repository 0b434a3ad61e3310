//! Stages as this process's own children.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::time::Duration;

use stage::run::{self, OomCounter, Stopper, Work};
use stage::{Boot, Root, StageDir};
use tokio::sync::mpsc;
use worker_kit::{Context, JobError, RUN_VARIABLE};

use crate::crew::{Crew, News, Order};
use crate::pipeline::{Pipeline, Stage};

/// Stages as child processes.
#[derive(Debug)]
pub(crate) struct Children {
    stages: Vec<Child>,
    tail_bytes: usize,
    grace: Duration,
    news_to: mpsc::UnboundedSender<News>,
    news: mpsc::UnboundedReceiver<News>,
}

#[derive(Debug)]
struct Child {
    stage: Stage,
    dir: StageDir,
    /// What it has of this process's own variables, and of the pipeline's.
    inherited: BTreeMap<OsString, OsString>,
    running: Option<(u32, Stopper)>,
}

impl Children {
    /// Makes room for each stage: for those that are published in `published`, from where their files need only be renamed, for
    /// the others in `scratch`.
    pub(crate) fn new(pipeline: &Pipeline, scratch: &Root, published: &Root, context: &Context) -> io::Result<Self> {
        let kept = context.environment().filter(|(name, _)| !PIPELINES_OWN.iter().any(|own| name == own));
        let mut inherited: BTreeMap<_, _> = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        // By this a later worker finds what is left running if this one is killed.
        inherited.insert(RUN_VARIABLE.into(), context.nonce().into());
        let child = |stage: &Stage| {
            let root = if pipeline.publish.contains(&stage.name) { published } else { scratch };
            let dir = root.stage(&stage.name);
            DirBuilder::new().recursive(true).mode(0o700).create(dir.path())?;
            let mut inherited = inherited.clone();
            inherited.extend(stage.env.iter().map(|(name, value)| (name.into(), value.into())));
            Ok(Child { stage: stage.clone(), dir, inherited, running: None })
        };
        let stages = pipeline.stages.iter().map(child).collect::<io::Result<_>>()?;
        let (news_to, news) = mpsc::unbounded_channel();
        Ok(Self { stages, tail_bytes: context.tail_bytes(), grace: context.shutdown().grace(), news_to, news })
    }
}

/// Variables of a worker's command that are the pipeline's as a whole: each stage has others, or none.
const PIPELINES_OWN: [&str; 5] = ["INPUT_FILE", "INPUT_DIR", "OUTPUT_DIR", "RESULT_FILE", "TMPDIR"];

impl Crew for Children {
    fn dir(&self, stage: usize) -> &StageDir {
        &self.stages.get(stage).expect("the plan knows the pipeline's stages only").dir
    }

    fn start(&mut self, order: Order) {
        let Order { stage, attempt, environment } = order;
        let child = self.stages.get_mut(stage).expect("the plan knows the pipeline's stages only");
        let work = Work {
            command: child.stage.command.iter().chain(&child.stage.args).map(OsString::from).collect(),
            directory: child.stage.working_dir.clone(),
            inherited: child.inherited.clone(),
            environment,
            stage: child.dir.clone(),
            attempt,
            timeout: child.stage.timeout,
            grace: self.grace,
            tail_bytes: self.tail_bytes,
            mark: Boot::new(),
            oom: OomCounter::find(),
        };
        let (stopper, stop) = run::stop();
        child.running = Some((attempt, stopper));
        let to = self.news_to.clone();
        tokio::spawn(async move {
            let begun = to.clone();
            let started = move |_, _| {
                let _ = begun.send(News::Begun { stage, attempt });
                Ok(())
            };
            let ended = run::run(work, stop, started).await;
            let _ = to.send(News::Over { stage, attempt, ended: Box::new(ended) });
        });
    }

    fn stop(&mut self, stage: usize, attempt: u32, grace: Duration) {
        let running = self.stages.get(stage).and_then(|child| child.running.as_ref());
        if let Some((_, stopper)) = running.filter(|(running, _)| *running == attempt) {
            stopper.stop(grace);
        }
    }

    async fn news(&mut self) -> Result<News, JobError> {
        Ok(self.news.recv().await.expect("this end of the channel is kept"))
    }
}
