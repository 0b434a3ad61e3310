//! Promises about what is not listed.

use contract::Key;
use contract::wire::{Withheld, WithheldList};
use http::StatusCode;

use super::Miss;
use super::ask::{Ask, encode};
use super::listed::Listed;
use super::quiet::{TRIES, too_busy};

/// Every reason for which something is withheld, and whether it will be listed by itself in a while.
pub const REASONS: [(&str, bool); 29] = [
    ("growing", true),
    ("settling", true),
    ("open-for-writing", true),
    ("no-done-marker", true),
    ("too-young", true),
    ("hidden", false),
    ("partial", false),
    ("excluded", false),
    ("no-match", false),
    ("too-deep", false),
    ("too-small", false),
    ("too-large", false),
    ("own-output", false),
    ("settled", false),
    ("done-marker", false),
    ("dead-letter", false),
    ("symlink", false),
    ("outside-root", false),
    ("not-a-file", false),
    ("placeholder", false),
    ("archived", false),
    ("tombstone", false),
    ("malformed", false),
    ("unreadable", false),
    ("mount-gone", false),
    ("unnameable", false),
    ("name-collision", false),
    ("not-held", false),
    ("window-full", false),
];
/// Reasons that mean that not everything could be seen.
const UNSEEN: [&str; 2] = ["unreadable", "mount-gone"];
/// Pages of what is withheld that are followed.
const MOST_PAGES: usize = 20_000;

/// The beginning of what is withheld, where that is told.
async fn list(ask: &Ask) -> Result<Listed<Withheld>, Miss> {
    let said = ask.about.as_ref().is_some_and(|about| about.capabilities.withheld);
    let there = ask.get("/v1/withheld?limit=1").await?.status;
    if !said && there != StatusCode::OK {
        return Err(Miss::not_offered(format!("GET /v1/withheld is {there}")));
    }
    ask.list_at("/v1/withheld").await
}

pub(super) async fn told(ask: &Ask) -> Result<(), Miss> {
    let list = list(ask).await?;
    if list.kind != "WithheldList" || list.api_version != "v1" {
        let (kind, version) = (list.kind, list.api_version);
        return Err(Miss::broken(format!("what is withheld is a {kind:?} of version {version:?}")));
    }
    match list.items.iter().find(|one| one.reason.is_empty() || one.message.is_empty()) {
        Some(one) => Err(Miss::broken(format!("{} is withheld without a reason or a message", one.key))),
        None => Ok(()),
    }
}

pub(super) async fn paged(ask: &Ask) -> Result<(), Miss> {
    for _ in 0..TRIES {
        let whole = list(ask).await?;
        if whole.items.len() < 2 {
            return Err(Miss::not_offered("fewer than two are withheld"));
        }
        if ask.about.as_ref().is_some_and(|about| !about.capabilities.paging) {
            return Err(Miss::not_offered("there are no pages"));
        }
        let limit = ask.plan.page.min(whole.items.len().div_ceil(2));
        let joined = walk(ask, limit).await?;
        if keys(&whole.items).eq(keys(&joined)) {
            return Ok(());
        }
        if list(ask).await?.is_as(&whole) {
            return Err(Miss::broken(format!("pages of {limit} are not what is withheld in all")));
        }
    }
    Err(too_busy())
}

fn keys(items: &[Withheld]) -> impl Iterator<Item = &Key> {
    items.iter().map(|one| &one.key)
}

async fn walk(ask: &Ask, limit: usize) -> Result<Vec<Withheld>, Miss> {
    let (mut items, mut token) = (Vec::new(), String::new());
    for _ in 0..MOST_PAGES {
        let path = format!("/v1/withheld?limit={limit}&continue={}", encode(&token));
        let path = if token.is_empty() { format!("/v1/withheld?limit={limit}") } else { path };
        let page: WithheldList = ask.get(&path).await?.expect(StatusCode::OK)?.json()?;
        if page.items.len() > limit {
            return Err(Miss::broken(format!("limit={limit} was answered by {} entries", page.items.len())));
        }
        items.extend(page.items);
        match page.metadata.continue_token {
            Some(next) if items.len() < ask.plan.most && next != token => token = next,
            Some(next) if next == token => return Err(Miss::broken("a page is followed by itself")),
            _ => break,
        }
    }
    items.truncate(ask.plan.most);
    Ok(items)
}

pub(super) async fn reasons(ask: &Ask) -> Result<(), Miss> {
    let items = list(ask).await?.items;
    if items.is_empty() {
        return Err(Miss::not_offered("nothing is withheld"));
    }
    for one in &items {
        let Some((_, pending)) = REASONS.iter().find(|(word, _)| *word == one.reason) else {
            return Err(Miss::broken(format!("{} is withheld for {:?}, a word of no meaning", one.key, one.reason)));
        };
        // Nobody knows whether what cannot be seen will be listed.
        if one.pending != *pending && !UNSEEN.contains(&one.reason.as_str()) {
            let (reason, said) = (&one.reason, one.pending);
            return Err(Miss::broken(format!("{} is withheld for {reason}, and pending is {said}", one.key)));
        }
    }
    Ok(())
}

pub(super) async fn complete(ask: &Ask) -> Result<(), Miss> {
    for _ in 0..TRIES {
        let unseen =
            |list: &Listed<Withheld>| list.items.iter().find(|one| UNSEEN.contains(&one.reason.as_str())).cloned();
        let before = list(ask).await?;
        let Some(one) = unseen(&before) else {
            return Err(Miss::not_offered("nothing is withheld for not being seen"));
        };
        let claims = before.metadata.complete || ask.list().await?.metadata.complete;
        if !claims {
            return Ok(());
        }
        if unseen(&list(ask).await?).is_some() {
            return Err(Miss::broken(format!("{} is {}, and the list is said to be complete", one.key, one.reason)));
        }
    }
    Err(too_busy())
}
