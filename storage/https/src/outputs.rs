//! Outputs by PUT.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytes::Bytes;
use contract::STAGING_DIR;
use contract::item::encode_path;
use http::{HeaderMap, Method};
use storage::{BoxFuture, Claim, Error, Outputs, Place, Publication, Standing};

use crate::client::Client;
use crate::link::Link;
use crate::publication::HttpsPublication;
use crate::standing::judge;
use crate::target::Target;
use crate::upload::{Condition, Content, Put, Spot};

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
            let Some(spot) = target.report(claim.number) else { return Ok(None) };
            let content = Content::Json(Bytes::copy_from_slice(account));
            let put = spot.put(&self.client, &content, &Condition::Always).await?;
            Ok((put == Put::Done).then(|| spot.link.to_string()))
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        Box::pin(check(&self.client, &self.root))
    }
}

/// Puts a file that nobody takes for output, twice: the second time on the condition that it is not there.
async fn check(client: &Client, root: &Link) -> Result<Vec<String>, Error> {
    let name = format!("check-{:016x}", fastrand::u64(..));
    let below = |path: &str| root.below(path).expect("it leads nowhere else");
    let link = below(&format!("{STAGING_DIR}/{name}"));
    let spot = Spot { link: link.clone(), collections: vec![below(STAGING_DIR)] };
    let content = Content::Json(Bytes::from_static(b"{}\n"));
    let mut notes = Vec::new();
    match spot.put(client, &content, &Condition::Always).await {
        Ok(_) => {}
        Err(Error::Forbidden(why)) => {
            notes.push(format!("{why}; so every item must bring \"uploads\", signed URLs to publish to"));
            return Ok(notes);
        }
        Err(error) => return Err(error),
    }
    if spot.put(client, &content, &Condition::Absent).await? == Put::Done {
        notes.push(format!(
            "{root} ignores If-None-Match: of two workers that are at one item at once, the last to commit wins"
        ));
    }
    let deleted = client.send(&Method::DELETE, &link, &HeaderMap::new()).await;
    if !deleted.is_ok_and(|answer| answer.status.is_success()) {
        notes.push(format!("{link} was put to see whether it can be, and cannot be deleted: it may be, by hand"));
    }
    Ok(notes)
}
