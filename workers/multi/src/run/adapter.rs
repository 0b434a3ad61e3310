//! Stages that run in containers beside this one, each under a stage-shim: orders go out and results come in as files, and a lock
//! tells at once when one of them dies.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sidecar::tree;
use stage::{Bell, Boot, Root, StageDir};
use tokio::sync::Notify;
use tokio::time::sleep;
use worker_kit::{Context, JobError};

use self::post::{Desk, Post};
use crate::crew::{Crew, News, Order};
use crate::inputs::open_dir;
use crate::pipeline::Pipeline;

mod patience;
mod post;
mod pulse;

/// The stages of a pod, as one life of the adapter sees them.
#[derive(Debug)]
pub(super) struct Adapter {
    desk: Desk,
    posts: Vec<Post>,
    /// Rung by the stages when they have written something.
    bell: Bell,
    /// Told when it is known of somebody whether he lives, or that he does no more.
    signs: Arc<Notify>,
    news: VecDeque<News>,
}

impl Adapter {
    /// Gets ready to give orders in the tree at `root`, where `boot` lives; what an earlier life had asked for there is removed.
    ///
    /// # Errors
    /// When a directory cannot be made or removed.
    pub(super) fn begin(
        pipeline: &Pipeline,
        root: &Root,
        boot: Boot,
        hang_timeout: Duration,
        context: &Context,
    ) -> io::Result<Self> {
        let dir = root.adapter();
        for old in [dir.path().join("stages"), dir.done()] {
            remove(&old)?;
        }
        open_dir(&dir.path().join("stages"))?;
        let mut bell = Bell::hang(dir.path());
        bell.expect();
        let mut posts = Vec::new();
        for stage in &pipeline.stages {
            open_dir(&dir.orders(&stage.name))?;
            posts.push(Post::new(stage.clone(), root.stage(&stage.name)));
        }
        let (grace, tail_bytes) = (context.shutdown().grace(), context.tail_bytes() as u64);
        let desk = Desk { root: root.clone(), boot, grace, tail_bytes, hang_timeout };
        Ok(Self { desk, posts, bell, signs: Arc::new(Notify::new()), news: VecDeque::new() })
    }

    /// Looks at all that may have changed; what has come of it is news then.
    fn look(&mut self) -> Result<(), JobError> {
        for (stage, post) in self.posts.iter_mut().enumerate() {
            post.meet(&self.signs)?;
            post.attend(&self.desk, |news| self.news.push_back(news.of(stage)));
        }
        Ok(())
    }
}

impl Crew for Adapter {
    fn dir(&self, stage: usize) -> &StageDir {
        self.posts.get(stage).expect("the plan knows the pipeline's stages only").dir()
    }

    fn start(&mut self, order: Order) {
        if let Some(post) = self.posts.get_mut(order.stage) {
            post.expect(order);
        }
    }

    fn stop(&mut self, stage: usize, attempt: u32, grace: Duration) {
        if let Some(post) = self.posts.get_mut(stage) {
            post.stop(&self.desk, attempt, grace);
        }
    }

    async fn news(&mut self) -> Result<News, JobError> {
        loop {
            self.look()?;
            if let Some(news) = self.news.pop_front() {
                return Ok(news);
            }
            let patient_for = self.posts.iter().filter_map(Post::patient_for).min();
            tokio::select! {
                () = self.bell.rung() => {}
                () = self.signs.notified() => {}
                () = sleep(patient_for.unwrap_or(Duration::MAX)) => {}
            }
        }
    }
}

/// Removes a file, or a directory with all in it, if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => tree::remove(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
