//! What stands at a place, as far as it may be read.

use bytes::Bytes;
use contract::marker::Output;
use contract::{MARKER_FILE, Marker};
use futures_util::TryStreamExt;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt;
use storage::{Claim, Error, Regard, Standing, in_turn};

use crate::client::{Answer, Client};
use crate::fetch::length;
use crate::link::Link;
use crate::refusal::Failure;
use crate::retry::Retry;
use crate::target::Target;

/// How many objects are looked at at once.
const AT_ONCE: usize = 8;
/// The largest marker that is read, in bytes.
const MARKER_MAX: usize = 64 * 1024 * 1024;

/// What a GET of a marker tells.
#[derive(Debug)]
pub(crate) enum Seen {
    /// Nothing stands there.
    Nothing,
    /// This, under this ETag.
    Marker(Box<Marker>, Option<String>),
    /// Who may write there may not read.
    Unknown,
}

/// What stands at the place of `target`, seen with the eyes of `claim`, and what was read to tell. What may not be read is
/// taken for free: the condition on the marker's PUT decides.
///
/// # Errors
/// [`Error::Taken`] when it is another key's, and those of asking.
pub(crate) async fn judge(client: &Client, target: &Target, claim: &Claim) -> Result<(Standing, Seen), Error> {
    for link in target.markers_above() {
        if let Seen::Marker(marker, _) = see(client, &link).await? {
            return Err(Error::Taken(format!(
                "{link} says that {} has its output there, so {} cannot have it below; choose an --output that keeps them \
                 apart",
                marker.item.key, claim.item.key
            )));
        }
    }
    let seen = see(client, &target.read(MARKER_FILE)?).await?;
    let Seen::Marker(marker, _) = &seen else { return Ok((Standing::Free, seen)) };
    let standing = match claim.regard(marker, target.place())? {
        Regard::Same if is_whole(client, target, marker).await? => Standing::Published(marker.clone()),
        Regard::Same | Regard::Older => Standing::Replaceable,
        Regard::Newer { revision } => Standing::Superseded { revision },
    };
    Ok((standing, seen))
}

/// Reads the marker at `link`.
pub(crate) async fn see(client: &Client, link: &Link) -> Result<Seen, Error> {
    let doing = format!("read {link}");
    let mut retry = Retry::new(client.surroundings().patience);
    loop {
        match try_see(client, link, &doing).await {
            Ok(seen) => return Ok(seen),
            Err(failure) => retry.wait(&doing, failure).await?,
        }
    }
}

async fn try_see(client: &Client, link: &Link, doing: &str) -> Result<Seen, Failure> {
    let answer = client.ask(&Method::GET, link, &HeaderMap::new()).await?;
    match answer.status {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Seen::Nothing),
        // Not every store says no in the same way.
        status if matches!(status.as_u16(), 400 | 401 | 403 | 405 | 409) => return Ok(Seen::Unknown),
        _ => {
            let link = answer.link.clone();
            return Err(client.refusal(answer).await.judge(doing, &link));
        }
    }
    let etag = answer.headers.get(header::ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
    let json = whole(client, answer).await?;
    let marker = serde_json::from_slice(&json).map_err(|error| {
        Error::Taken(format!(
            "{link} cannot be read as a marker ({error}), so nobody can tell whose output this is; move it away and run the \
             item again"
        ))
    })?;
    Ok(Seen::Marker(Box::new(marker), etag))
}

/// All of a body that is not large.
async fn whole(client: &Client, answer: Answer) -> Result<Bytes, Failure> {
    let limited = http_body_util::Limited::new(answer.body, MARKER_MAX).collect();
    let body = tokio::time::timeout(client.surroundings().silence, limited).await;
    let body = body.map_err(|_| Failure::passing("it fell silent in the middle"))?;
    Ok(body.map_err(|error| Failure::passing(error.to_string()))?.to_bytes())
}

/// Whether all that a marker names is there with the sizes it names. What may not be asked is believed.
async fn is_whole(client: &Client, target: &Target, marker: &Marker) -> Result<bool, Error> {
    let looks = in_turn(marker.outputs.iter(), AT_ONCE, |output| Box::pin(is_there(client, target, output)));
    looks.try_all(std::future::ready).await
}

async fn is_there(client: &Client, target: &Target, output: &Output) -> Result<bool, Error> {
    let Ok(link) = target.read(&output.path) else { return Ok(false) };
    Ok(match size(client, &link).await? {
        Size::Absent => false,
        Size::Is(size) => size == output.size,
        Size::Unknown => true,
    })
}

/// What a HEAD tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Is(u64),
    Absent,
    /// It may not be asked, or is not told.
    Unknown,
}

/// How large the object at `link` is.
pub(crate) async fn size(client: &Client, link: &Link) -> Result<Size, Error> {
    let doing = format!("look at {link}");
    let mut retry = Retry::new(client.surroundings().patience);
    loop {
        let failure = match client.ask(&Method::HEAD, link, &HeaderMap::new()).await {
            Ok(answer) => match answer.status.as_u16() {
                200 => return Ok(length(&answer.headers).map_or(Size::Unknown, Size::Is)),
                404 | 410 => return Ok(Size::Absent),
                401 | 403 | 405 | 501 => return Ok(Size::Unknown),
                _ => {
                    let at = answer.link.clone();
                    client.refusal(answer).await.judge(&doing, &at)
                }
            },
            Err(failure) => failure,
        };
        retry.wait(&doing, failure).await?;
    }
}
