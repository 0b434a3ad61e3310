//! Outputs by PUT.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytes::Bytes;
use contract::item::encode_path;
use http::{HeaderMap, Method};
use http_body_util::{Either, Empty};
use sidecar::fault;
use storage::{BoxFuture, Claim, Error, Outputs, Place, Publication, Standing};

use crate::client::Client;
use crate::link::Link;
use crate::publication::{HttpsPublication, fault_failed};
use crate::standing::judge;
use crate::target::Target;
use crate::upload::{Condition, Put, put};

/// Everything below one URL.
#[derive(Debug)]
pub(crate) struct HttpsOutputs {
    client: Client,
    root: Link,
}

impl HttpsOutputs {
    pub(crate) fn new(client: Client, root: Link) -> Self {
        Self { client, root }
    }
}

impl Outputs for HttpsOutputs {
    fn uri(&self, place: &Place) -> String {
        let path = encode_path(place.as_path().as_os_str().as_bytes());
        self.root.below(&path).map_or_else(|| format!("{} (no place: {place})", self.root), |link| link.to_string())
    }

    /// A run leaves nothing that could be told from what is published.
    fn sweep(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn look<'a>(&'a self, claim: &'a Claim) -> BoxFuture<'a, Result<Standing, Error>> {
        Box::pin(async {
            let target = Target::new(&self.root, claim)?;
            Ok(judge(&self.client, &target, claim).await?.0)
        })
    }

    fn begin<'a>(&'a self, claim: Claim, scratch: &'a Path) -> BoxFuture<'a, Result<Box<dyn Publication>, Error>> {
        Box::pin(async move {
            let target = Target::new(&self.root, &claim)?;
            let (client, dir) = (self.client.clone(), scratch.to_owned());
            Ok(Box::new(HttpsPublication { client, target, claim, dir }) as Box<dyn Publication>)
        })
    }

    fn record<'a>(&'a self, claim: &'a Claim, account: &'a [u8]) -> BoxFuture<'a, Result<Option<String>, Error>> {
        Box::pin(async {
            let target = Target::new(&self.root, claim)?;
            let Some(link) = target.report(claim.number) else { return Ok(None) };
            fault::point("worker.record.before").map_err(fault_failed)?;
            let put = put(&self.client, &link, Bytes::copy_from_slice(account), &Condition::Always).await?;
            fault::point("worker.record.after").map_err(fault_failed)?;
            match put {
                Put::Done => Ok(Some(link.to_string())),
                Put::Conflict { .. } => Ok(None),
                Put::Homeless(refusal) => Err(refusal.judge("keep the report", &link).at(&format!("put {link}"))),
            }
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        Box::pin(check(&self.client, &self.root))
    }
}

/// Puts a file that nobody takes for output, twice: the second time on the condition that it is not there.
async fn check(client: &Client, root: &Link) -> Result<Vec<String>, Error> {
    let path = format!("{}/check-{:016x}", contract::STAGING_DIR, fastrand::u64(..));
    let link = root.below(&path).expect("it leads nowhere else");
    let mut notes = Vec::new();
    match put(client, &link, Bytes::from_static(b"{}\n"), &Condition::Always).await {
        Ok(Put::Done) => {}
        Ok(Put::Conflict { .. } | Put::Homeless(_)) => {
            notes.push(format!(
                "{root} takes a PUT only where its collection is there already (WebDAV): each is made first"
            ));
            return Ok(notes);
        }
        Err(Error::Forbidden(why)) => {
            notes.push(format!("{why}; so every item must bring \"uploads\", signed URLs to publish to"));
            return Ok(notes);
        }
        Err(error) => return Err(error),
    }
    if let Put::Done = put(client, &link, Bytes::from_static(b"{}\n"), &Condition::Absent).await? {
        notes.push(format!(
            "{root} ignores If-None-Match: of two workers that are at one item at once, the last to commit wins"
        ));
    }
    let deleted = client.send(&Method::DELETE, &link, &HeaderMap::new(), Either::Left(Empty::new())).await;
    if !deleted.is_ok_and(|answer| answer.status.is_success()) {
        notes.push(format!("{link} was put to see whether it can be, and cannot be deleted: it may be, by hand"));
    }
    Ok(notes)
}
