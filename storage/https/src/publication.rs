//! The commit over HTTP: objects first, the marker last and under a condition, and then a look at what stands there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use contract::item::decode_path;
use contract::marker::Output;
use contract::{ATTEMPTS_DIR, MARKER_FILE, Marker};
use futures_util::TryStreamExt;
use storage::{
    BoxFuture, Claim, Committed, Draft, Error, Meter, Publication, Regard, Standing, Verify, blocking, in_turn,
    marker_json,
};

use crate::client::Client;
use crate::standing::{Seen, Size, judge, see, size};
use crate::target::Target;
use crate::upload::{Condition, Content, Put};

/// How many objects are under way at once.
const AT_ONCE: usize = 8;
/// How often a marker that changes between look and PUT is looked at again.
const TRIES: u32 = 5;

/// Output gathered in a local directory.
#[derive(Debug)]
pub(crate) struct HttpsPublication {
    pub(crate) client: Client,
    pub(crate) target: Target,
    pub(crate) claim: Claim,
    pub(crate) dir: PathBuf,
}

impl Publication for HttpsPublication {
    fn dir(&self) -> &Path {
        &self.dir
    }

    fn commit<'a>(self: Box<Self>, draft: Draft, verify: Verify<'a>) -> BoxFuture<'a, Result<Committed, Error>> {
        Box::pin(async move {
            let outputs = self.measure(&draft).await?;
            let (standing, seen) = judge(&self.client, &self.target, &self.claim).await?;
            if let Some(end) = over(standing) {
                return Ok(end);
            }
            // Nothing holds an upload to what was seen: what it would write over may be of a newer input already.
            verify().await?;
            self.upload(&outputs).await?;
            verify().await?;
            self.mark(self.claim.marker(outputs, draft.result), seen).await
        })
    }
}

/// A standing after which there is nothing to do.
fn over(standing: Standing) -> Option<Committed> {
    match standing {
        Standing::Free | Standing::Replaceable => None,
        Standing::Published(marker) => Some(Committed::Already(marker)),
        Standing::Superseded { revision } => Some(Committed::Superseded { revision }),
    }
}

impl HttpsPublication {
    /// What was written; all of it can be published, or nothing is.
    async fn measure(&self, draft: &Draft) -> Result<Vec<Output>, Error> {
        let dir = self.dir.clone();
        let outputs = blocking(move || storage::measure(&dir)).await?;
        draft.admit(outputs.len())?;
        for output in &outputs {
            if output.path.split('/').next() == Some(ATTEMPTS_DIR) {
                let why = "the name is the commit's own in an object store";
                return Err(Error::Unpublishable(format!("the output holds {}, and {why}", output.path)));
            }
            self.target.write(&output.path)?;
        }
        Ok(outputs)
    }

    async fn upload(&self, outputs: &[Output]) -> Result<(), Error> {
        let all = outputs.iter().map(|output| output.size).sum();
        let meter = Meter::publishing(outputs.len() as u64, all);
        in_turn(outputs.iter(), AT_ONCE, |output| Box::pin(self.publish(output, &meter))).try_collect().await
    }

    async fn publish(&self, output: &Output, meter: &Meter) -> Result<(), Error> {
        let path = self.dir.join(OsStr::from_bytes(&decode_path(&output.path)));
        let content = Content::File { path, output: output.clone(), count: meter.count() };
        self.target.spot(&output.path)?.put(&self.client, &content, &Condition::Always).await?;
        self.read_back(output).await?;
        meter.count().finish_one();
        Ok(())
    }

    /// That an object is there as it was put, where that may be asked.
    async fn read_back(&self, output: &Output) -> Result<(), Error> {
        if self.target.is_signed() {
            return Ok(());
        }
        let link = self.target.read(&output.path)?;
        let found = match size(&self.client, &link).await? {
            Size::Is(size) if size != output.size => format!("an object of {size} bytes"),
            Size::Absent => "nothing".to_owned(),
            Size::Is(_) | Size::Unknown => return Ok(()),
        };
        let source = std::io::Error::other(format!("{found} stands there after a PUT of {} bytes", output.size));
        Err(Error::Unavailable { doing: format!("put {link}"), source })
    }

    /// Puts the marker, on the condition that what stands there is still what was seen.
    async fn mark(&self, marker: Marker, mut seen: Seen) -> Result<Committed, Error> {
        let (content, spot) = (Content::Json(marker_json(&marker).into()), self.target.spot(MARKER_FILE)?);
        for _ in 0..TRIES {
            let condition = match &seen {
                Seen::Nothing | Seen::Unknown => Condition::Absent,
                Seen::Marker(_, Some(etag)) if !etag.starts_with("W/") => Condition::Is(etag.clone()),
                // Without an ETag the server has no way to hold anybody to what was seen.
                Seen::Marker(..) => Condition::Always,
            };
            let lost = match spot.put(&self.client, &content, &condition).await? {
                Put::Done => return self.confirm(marker).await,
                Put::Conflict { lost } => lost,
            };
            // The marker that is in the way may be this very one, put by a request whose answer was lost.
            let (standing, now) = judge(&self.client, &self.target, &self.claim).await?;
            match &now {
                Seen::Marker(there, _) if there.attempt == marker.attempt => {
                    return Ok(Committed::Published(there.clone()));
                }
                Seen::Unknown => return Err(self.unreadable(lost)),
                // Some stores show nothing to whom they do not know.
                Seen::Nothing if self.target.is_signed() => return Err(self.unreadable(lost)),
                Seen::Marker(..) | Seen::Nothing => {}
            }
            if let Some(end) = over(standing) {
                return Ok(end);
            }
            seen = now;
        }
        let marker = spot.link;
        Err(Error::Busy(format!("{marker} changes each time before it can be replaced: others are at the same item")))
    }

    /// What is known when a marker is in the way that may not be read.
    fn unreadable(&self, lost: bool) -> Error {
        let whose = if lost {
            "this attempt's own, whose answer was lost, another attempt's or another item's"
        } else {
            "of an earlier attempt that was killed when it had published, or another item's"
        };
        let (place, key) = (self.target.place(), &self.claim.item.key);
        Error::Unreadable(format!(
            "{place}/{MARKER_FILE} stands already and may not be read, so that nobody can tell whether it is {whose}; let it be \
             read (GET without a signature) and run the item again, which then ends as it should; or look there: if it names \
             {key}, the item is done, and is to be skipped or settled by hand"
        ))
    }

    /// Looks at what stands there after the PUT: not every server knows conditions.
    async fn confirm(&self, marker: Marker) -> Result<Committed, Error> {
        let link = self.target.read(MARKER_FILE)?;
        match see(&self.client, &link).await? {
            Seen::Unknown => Ok(Committed::Published(Box::new(marker))),
            Seen::Nothing if self.target.is_signed() => Ok(Committed::Published(Box::new(marker))),
            Seen::Marker(there, _) if there.attempt == marker.attempt => Ok(Committed::Published(there)),
            Seen::Marker(there, _) => match self.claim.regard(&there, self.target.place())? {
                Regard::Same => Ok(Committed::Already(there)),
                Regard::Newer { revision } => Ok(Committed::Superseded { revision }),
                Regard::Older => Err(Error::Busy(format!("{link} was replaced in this instant by an older version's"))),
            },
            Seen::Nothing => Err(Error::Unavailable {
                doing: format!("put {link}"),
                source: std::io::Error::other("nothing stands there after a PUT that succeeded"),
            }),
        }
    }
}
