//! What `--check` asks of the store before anything is listed, so that it says whose fault it is; and what it says of the store.

use std::collections::HashMap;
use std::io::Write;

use contract::STAGING_DIR;
use contract::wire::Settle;
use sidecar::{Failure, chain};
use storage::Error;
use storage_s3::{Condition, ListQuery, Which, Written};

use crate::args::Settings;
use crate::narrowed;
use crate::settle::OnSettle;
use crate::trouble;

/// Whether there is such a bucket, and it may be listed; who asks, whom, and what settling can rest on there.
///
/// # Errors
/// Exit 78 when it may not or there is none, 69 when the store fails or does not answer.
pub(crate) async fn preflight(settings: &Settings, out: &mut (impl Write + Send)) -> Result<(), Failure> {
    let said = trouble::within(settings, ask(settings)).await.and_then(|said| said);
    let said = said.map_err(|error| match error {
        error @ (Error::Forbidden(_) | Error::Unsupported(_) | Error::Invalid(_) | Error::NotFound(_)) => {
            Failure::config(error)
        }
        error => Failure::unavailable(error),
    })?;
    said.iter()
        .try_for_each(|line| writeln!(out, "{line}"))
        .map_err(|error| Failure::unavailable(anyhow::Error::from(error)))
}

/// What there is to be said, a line each.
async fn ask(settings: &Settings) -> Result<Vec<String>, Error> {
    let bucket = &settings.bucket;
    let who = bucket.s3().identity().await?;
    let query = ListQuery { prefix: settings.prefix.clone(), max: Some(1), ..ListQuery::default() };
    let store = who.endpoint.as_deref().unwrap_or("AWS");
    let page = bucket.list(&query).await.map_err(|error| match error {
        Error::Unavailable { doing, source } => Error::Unavailable { doing: format!("{doing} at {store}"), source },
        other => other,
    })?;
    let mut said = vec![format!(
        "{} at {store}, region {}, as {} (from {})",
        bucket.uri(&settings.prefix),
        who.region,
        who.access_key_id.as_deref().unwrap_or("nobody"),
        who.source
    )];
    if page.objects.is_empty() && page.next.is_none() && !settings.prefix.is_empty() {
        said.push(format!("nothing begins with --prefix {:?}: is it written as the keys are?", settings.prefix));
    }
    said.extend(narrowed::hint(settings).await?);
    if let Some(object) = page.objects.first() {
        // Listing and reading are rights of their own, and whoever lists what nobody may read makes work that fails.
        match bucket.head(&object.key, None).await {
            Ok(_) | Err(Error::NotFound(_)) => {}
            Err(Error::Forbidden(refused)) => {
                return Err(Error::Forbidden(format!("{refused}; items are read by s3:GetObject, allow that too")));
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(life) = settings.presign
        && bucket.presign_get("key", None, life).await?.expires.is_none()
    {
        said.push(
            "URLs (--presign) end with the session token they are signed with, and nobody tells when: let a role sign, whose end is \
             known"
                .to_owned(),
        );
    }
    if settings.settle.on_settle != OnSettle::None {
        said.push(settles(settings).await?);
        for to in settings.settle.destinations() {
            said.push(may_move(settings, &to).await?);
        }
        said.extend(unproven(settings).map(str::to_owned));
    }
    Ok(said)
}

/// Whether settled objects may be moved to `to`, as far as a store tells that without being given one: it is asked to look at what is
/// not there, and to write over it on a condition that cannot hold. A store that writes all the same has it taken away again.
async fn may_move(settings: &Settings, to: &str) -> Result<String, Error> {
    let bucket = &settings.bucket;
    let there = bucket.uri(to);
    let lacks =
        |refused: String, right: &str| Error::Forbidden(format!("{refused}; objects are moved there, allow {right}"));
    let probe = format!("{to}{STAGING_DIR}/probe");
    match bucket.find(&probe).await {
        Ok(_) => {}
        Err(Error::Forbidden(refused)) => {
            // Who overwrites nothing has to see what is there.
            let right = format!("s3:GetObject on it, and s3:ListBucket on the bucket, of what begins with {to:?}");
            return Err(lacks(refused, &right));
        }
        Err(error) => return Err(error),
    }
    let never = Condition::Is("0".repeat(32));
    match bucket.put(&probe, Default::default(), &never, &HashMap::new()).await {
        Ok(Written::Conflict) => {}
        Ok(Written::Yes { version_id, .. }) => {
            let which = version_id.as_deref().map_or(Which::Current, Which::Version);
            if let Err(error) = bucket.delete(&probe, which).await {
                return Ok(format!(
                    "can write to {there}, and has left {} there, which is empty: {}",
                    bucket.uri(&probe),
                    chain(&error)
                ));
            }
        }
        Err(Error::Forbidden(refused)) => return Err(lacks(refused, "that too")),
        Err(error @ Error::Unavailable { .. }) => return Err(error),
        Err(error) => return Ok(format!("whether it can write to {there} is not known: {}", chain(&error))),
    }
    Ok(format!("can look at what lies in {there}, and write there"))
}

/// What only the first item that is settled shows, since no store says it without one being changed.
fn unproven(settings: &Settings) -> Option<&'static str> {
    match settings.settle.on_settle {
        OnSettle::Tag(..) => Some("that objects may be tagged (s3:PutObjectTagging) shows the first that is settled"),
        OnSettle::Move(_) => Some(
            "that tags may be copied (s3:GetObjectTagging, s3:PutObjectTagging) shows the first object with tags that is settled",
        ),
        OnSettle::None | OnSettle::Delete => None,
    }
}

/// What settling can rest on. That it could not be found out is no reason to fail: what is listed does not depend on it. That nothing
/// may be deleted is one: what is processed would stay, and be listed for ever.
async fn settles(settings: &Settings) -> Result<String, Error> {
    let honoured = &settings.honoured;
    match honoured.ask(settings).await {
        Ok(()) => {}
        Err(Error::Forbidden(refused)) => {
            return Err(Error::Forbidden(format!("{refused}; items are settled by --on-settle, allow that too")));
        }
        Err(error) => {
            honoured.leave();
            let why = chain(&error);
            return Ok(format!("settles best-effort, as long as it is not known what the store honours: {why}"));
        }
    }
    Ok(match (honoured.settles(&settings.settle.on_settle), &settings.settle.on_settle) {
        (Settle::Exact, _) => "settles exactly what a name stands for".to_owned(),
        (_, OnSettle::Tag(..)) => "settles best-effort: tags cannot be set on a condition, and this bucket keeps no versions to \
                                   name; what is written in the same instant is looked at again"
            .to_owned(),
        (_, _) => "settles best-effort: this store does not honour If-Match on DELETE, so what is written within the milliseconds \
                   after a look at it may go too, or the bucket keeps versions, or may not be asked whether it does \
                   (s3:GetBucketVersioning)"
            .to_owned(),
    })
}
