//! Promises about settling.

use contract::ItemName;
use contract::wire::{Settle, WatchEvent};
use http::{Method, StatusCode, header};
use tokio::time::Instant;

use super::Miss;
use super::ask::{Answer, Ask};
use super::items::NEVER_LISTED;
use super::lines::Watch;
use super::listed::Listed;
use super::quiet::{TRIES, too_busy};
use super::watch;

/// Longest reason of a settlement, in bytes.
const REASON: usize = 4_096;

/// What settles may be asked at all.
fn allowed(ask: &Ask) -> Result<(), Miss> {
    if ask.plan.settle { Ok(()) } else { Err(Miss::not_offered("nothing may be settled in this run")) }
}

/// Settling is offered, and may be done.
fn offered(ask: &Ask) -> Result<(), Miss> {
    if ask.settle_policy()? == Settle::None {
        return Err(Miss::not_offered("GET /v1 offers no settling"));
    }
    allowed(ask)
}

/// Asks to settle an item in ways that are judged to be refused, and whether it is listed still, as its neighbour is. Of a busy source
/// both may go meanwhile, but not the one each time.
async fn spares(ask: &Ask, queries: &[String], judge: fn(Answer) -> Result<(), Miss>) -> Result<(), Miss> {
    let mut lost = Vec::new();
    for _ in 0..TRIES {
        let names = ask.some_names().await?;
        let middle = names.len() / 2;
        let (Some(name), neighbour) = (names.get(middle), names.get(middle.wrapping_sub(1))) else { continue };
        for query in queries {
            judge(ask.send(Method::DELETE, &format!("{}{query}", ask.item(name.as_str()))).await?)?;
        }
        let listed = ask.list().await?.items;
        if listed.contains(name) {
            return Ok(());
        }
        if neighbour.is_none_or(|neighbour| listed.contains(neighbour)) {
            lost.push(name.to_string());
        }
    }
    match lost.first() {
        Some(name) if lost.len() == TRIES => {
            Err(Miss::broken(format!("{name} is listed no more, and nothing was settled")))
        }
        _ => Err(too_busy()),
    }
}

pub(super) async fn refused(ask: &Ask) -> Result<(), Miss> {
    if ask.settle_policy()? != Settle::None {
        return Err(Miss::not_offered("this source settles"));
    }
    // A source that does not do as it says would do it.
    allowed(ask)?;
    not_allowed(ask.send(Method::DELETE, &ask.item(NEVER_LISTED)).await?)?;
    spares(ask, &[String::new(), "?outcome=failed".into()], not_allowed).await
}

fn not_allowed(answer: Answer) -> Result<(), Miss> {
    let answer = answer.expect(StatusCode::METHOD_NOT_ALLOWED)?;
    let allow = answer.header(header::ALLOW);
    if allow.contains("GET") && !allow.contains("DELETE") {
        return Ok(());
    }
    Err(Miss::broken(format!("{} was answered by 405, and allows {allow:?}", answer.asked)))
}

fn bad_request(answer: Answer) -> Result<(), Miss> {
    answer.expect(StatusCode::BAD_REQUEST).map(drop)
}

pub(super) async fn bad_outcome(ask: &Ask) -> Result<(), Miss> {
    offered(ask)?;
    let queries = ["?outcome=perhaps", "?outcome=", "?outcome=done&outcome=done"].map(str::to_owned);
    spares(ask, &queries, bad_request).await
}

pub(super) async fn bad_reason(ask: &Ask) -> Result<(), Miss> {
    offered(ask)?;
    let longest = "x".repeat(REASON);
    let path = format!("{}?outcome=failed&reason={longest}", ask.item(NEVER_LISTED));
    ask.send(Method::DELETE, &path).await?.expect(StatusCode::NO_CONTENT)?;
    let queries = ["?reason=x".into(), "?outcome=done&reason=x".into(), format!("?outcome=failed&reason={longest}x")];
    spares(ask, &queries, bad_request).await
}

pub(super) async fn any(ask: &Ask) -> Result<(), Miss> {
    offered(ask)?;
    for query in ["", "", "?outcome=done", "?outcome=failed&reason=never%20there"] {
        let path = format!("{}{query}", ask.item(NEVER_LISTED));
        ask.send(Method::DELETE, &path).await?.expect(StatusCode::NO_CONTENT)?;
    }
    ask.send(Method::DELETE, &format!("{}/a%00b", ask.items)).await?.expect(StatusCode::BAD_REQUEST).map(drop)
}

async fn settle(ask: &Ask, name: &ItemName, query: &str) -> Result<(), Miss> {
    let path = format!("{}{query}", ask.item(name.as_str()));
    let answer = ask.send(Method::DELETE, &path).await?.expect(StatusCode::NO_CONTENT)?;
    if answer.body.is_empty() { Ok(()) } else { Err(Miss::broken(format!("{} has a body", answer.asked))) }
}

pub(super) async fn done(ask: &Ask) -> Result<(), Miss> {
    offered(ask)?;
    let names = ask.some_names().await?;
    for (name, query) in names.iter().zip(["", "?outcome=failed&reason=a%20test"]) {
        for _again in 0..2 {
            settle(ask, name, query).await?;
        }
        let answer = ask.get(&ask.item(name.as_str())).await?;
        let code = if answer.status == StatusCode::NOT_FOUND { answer.status } else { StatusCode::GONE };
        answer.expect(code)?;
        if ask.list().await?.items.contains(name) {
            return Err(Miss::broken(format!("{name} is settled, and listed still")));
        }
    }
    Ok(())
}

pub(super) async fn version(ask: &Ask) -> Result<(), Miss> {
    offered(ask)?;
    let names = ask.some_names().await?;
    let before = ask.list().await?;
    if before.metadata.resource_version.is_none() {
        return Err(Miss::not_offered("the list has no resourceVersion: no catalog is held"));
    }
    for name in names.iter().take(1) {
        settle(ask, name, "").await?;
    }
    let after = ask.list().await?;
    if after.metadata.resource_version == before.metadata.resource_version
        || (before.etag.is_some() && after.etag == before.etag)
    {
        let version = before.metadata.resource_version;
        return Err(Miss::broken(format!(
            "an item is gone, and the list has the version {version:?} and the ETag still"
        )));
    }
    Ok(())
}

/// Has a list become another, where that is allowed. Whether the source settles as it says is for others to ask.
pub(super) async fn change(ask: &Ask, list: &Listed<ItemName>) {
    if let (Ok(()), Some(name)) = (offered(ask), list.items.first()) {
        settle(ask, name, "").await.ok();
    }
}

pub(super) async fn watched(ask: &Ask) -> Result<(), Miss> {
    offered(ask)?;
    watch::offered(ask)?;
    let (list, version) = watch::versioned(ask).await?;
    let Some(name) = list.items.first() else { return Err(Miss::not_offered("nothing is listed")) };
    let mut watch = Watch::begin(ask, Some(&version)).await?;
    settle(ask, name, "").await?;
    let until = Instant::now() + ask.plan.deadline;
    let since = version.rsplit_once('.').and_then(|(_, n)| n.parse().ok()).unwrap_or(0);
    while let Some(line) = watch.next(until).await? {
        match &line.event {
            WatchEvent::Removed { item, .. } if item == name => {
                let later = line.version().is_some_and(|(_, n)| n > since);
                return if later {
                    Ok(())
                } else {
                    Err(Miss::broken(format!("{} is not later than {version}", line.json)))
                };
            }
            WatchEvent::Error { .. } => return Err(Miss::broken(format!("the watch ends with {}", line.json))),
            _ => {}
        }
    }
    Err(Miss::broken(format!("{name} is settled, and the watch has not told it within {:?}", ask.plan.deadline)))
}
