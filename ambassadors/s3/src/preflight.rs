//! What `--check` asks of the store before anything is listed, so that it says whose fault it is; and what it says of the store.

use std::io::Write;

use contract::wire::Settle;
use sidecar::{Failure, chain};
use storage::Error;
use storage_s3::ListQuery;

use crate::args::Settings;
use crate::narrowed;
use crate::settle::OnSettle;

/// Whether there is such a bucket, and it may be listed; who asks, whom, and what settling can rest on there.
///
/// # Errors
/// Exit 78 when it may not or there is none, 69 when the store fails or does not answer.
pub(crate) async fn preflight(settings: &Settings, out: &mut (impl Write + Send)) -> Result<(), Failure> {
    let stall_after = settings.when.stall_after;
    let asked = tokio::time::timeout(stall_after, ask(settings)).await;
    let said = asked.map_err(|_| {
        let patience = humantime::format_duration(stall_after);
        Failure::unavailable(anyhow::anyhow!("the store has not answered within {patience} (--stall-after)"))
    })?;
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
    }
    Ok(said)
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
