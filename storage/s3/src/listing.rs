//! Walking through all keys of a prefix, in several parts of its key space at once.
//!
//! A store lists in the order of keys, a thousand at a time, and each answer says where the next begins: one after another that is
//! a round trip for every thousand. But it also lists from any key on, so parts of the key space can be read at once, if one only
//! knew where to cut. [`plan`] decides that as pages come in; no cut can make the result wrong, only slower. [`pace`] decides how many
//! are read at once: not every store answers more requests in the same time.

mod cut;
mod pace;
mod plan;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures_util::stream::{self, BoxStream, StreamExt};
use storage::Error;
use tokio::task::{JoinError, JoinSet};

use self::plan::{Part, Plan};
use crate::{Bucket, ListPage, ListQuery, Listed};

/// How long to wait before a part is asked for again: at most so long, and longer each time.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What is to be walked through.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    /// What every key begins with.
    pub prefix: String,
    /// Only keys after this one, in the order of UTF-8 bytes.
    pub after: Option<String>,
    /// Only keys up to this one and with it.
    pub until: Option<String>,
    /// The most requests at once; 0 counts as 1. There are fewer where more do not bring more keys in the same time. More than one
    /// costs some requests that find little or nothing: in all at most a quarter more than one after another would take, and four, and
    /// one for each at once; none where one page is all there is.
    pub parallelism: usize,
    /// Which objects.
    pub of: Listing,
    /// How long a store that does not answer ([`Error::Unavailable`]) is asked again, from the last page on that came.
    pub patience: Duration,
}

/// Which objects a walk shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listing {
    /// Those that are there, by ListObjectsV2.
    #[default]
    Objects,
    /// The same with their version ids, by ListObjectVersions: it passes by all that was overwritten and deleted, and needs
    /// `s3:ListBucketVersions`.
    Versions,
}

/// A page of a walk.
#[derive(Clone, Debug, Default)]
pub struct WalkPage {
    /// In the order of keys; none that another page has. Never empty.
    pub objects: Vec<Listed>,
    /// How many requests were answered since the page before.
    pub requests: u32,
    /// How many of them failed, and are made again.
    pub failed: u32,
}

impl Bucket {
    /// All objects of `walk`, a page at a time; each exactly once if it is there throughout, and what comes or goes meanwhile may be
    /// met or not. With more than one request at once the pages come in no order.
    ///
    /// Nothing is asked before the stream is polled. It ends after its first error: nothing may be concluded from what has not
    /// come. Dropping it ends all requests. Memory: a page for each request at once, and one.
    ///
    /// Errors are those of [`list`](Self::list), and [`Error::Unsupported`] when a store does not list in the order of keys: then
    /// it can only be walked through one request after another.
    pub fn walk(&self, walk: Walk) -> BoxStream<'static, Result<WalkPage, Error>> {
        let walker = Walker {
            bucket: self.clone(),
            plan: Plan::new(&walk.prefix, walk.after, walk.until, walk.parallelism),
            prefix: walk.prefix,
            of: walk.of,
            patience: walk.patience,
            asking: JoinSet::new(),
            again: VecDeque::new(),
            progress: Instant::now(),
            since: WalkPage::default(),
        };
        let pages = stream::unfold(Some(walker), |walker| async move {
            let mut walker = walker?;
            match walker.next().await {
                Ok(Some(page)) => Some((Ok(page), Some(walker))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        pages.boxed()
    }
}

/// A part, how often in a row it could not be had, what came of asking for it, and after how long.
type Answer = (Part, u32, Result<ListPage, Error>, Duration);

struct Walker {
    bucket: Bucket,
    plan: Plan,
    prefix: String,
    of: Listing,
    patience: Duration,
    asking: JoinSet<Answer>,
    /// Parts to be asked for once more.
    again: VecDeque<(Part, u32)>,
    /// When the last page came, or was asked for.
    progress: Instant,
    /// What is counted for the next page.
    since: WalkPage,
}

impl Walker {
    async fn next(&mut self) -> Result<Option<WalkPage>, Error> {
        self.progress = Instant::now();
        loop {
            self.ask();
            let Some(answer) = self.asking.join_next().await else { return Ok(None) };
            self.since.requests += 1;
            let (part, failures, answer, took) = answer.map_err(|error| lost(&error))?;
            match answer {
                Ok(page) => {
                    self.progress = Instant::now();
                    let objects = self.plan.answered(part, page, took)?;
                    if !objects.is_empty() {
                        // What comes next is on its way while this page is used.
                        self.ask();
                        return Ok(Some(WalkPage { objects, ..std::mem::take(&mut self.since) }));
                    }
                }
                Err(Error::Unavailable { .. }) if self.progress.elapsed() < self.patience => {
                    self.since.failed += 1;
                    self.again.push_back((part, failures + 1));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks for as much as may be asked for at once.
    fn ask(&mut self) {
        while let Some((part, failures)) = self.again.pop_front() {
            self.spawn(part, failures);
        }
        while let Some(part) = self.plan.next() {
            self.spawn(part, 0);
        }
    }

    fn spawn(&mut self, part: Part, failures: u32) {
        let bucket = self.bucket.clone();
        let query = ListQuery {
            prefix: self.prefix.clone(),
            start_after: part.after.clone(),
            token: part.token.clone(),
            ..ListQuery::default()
        };
        let of = self.of;
        self.asking.spawn(async move {
            if failures > 0 {
                let longest = Duration::from_millis(200).saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
                tokio::time::sleep(longest.mul_f64(fastrand::f64())).await;
            }
            let asked = Instant::now();
            let page = match of {
                Listing::Objects => bucket.list(&query).await,
                Listing::Versions => bucket.list_versions(&query).await,
            };
            (part, failures, page, asked.elapsed())
        });
    }
}

/// A request that was ended from outside, or a defect.
fn lost(error: &JoinError) -> Error {
    Error::Unavailable { doing: "list".to_owned(), source: std::io::Error::other(error.to_string()) }
}
