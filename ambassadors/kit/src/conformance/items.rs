//! Promises about single items.

use contract::ItemName;
use contract::wire::{ITEM_PATHS, Item};
use futures_util::FutureExt;
use http::{Method, StatusCode};

use super::Miss;
use super::ask::{Ask, encode};
use super::listed::Listed;
use super::quiet::while_quiet;

/// A legal name that no source lists.
pub(super) const NEVER_LISTED: &str = "never-listed-by-anyone-aaaaaaaaaaaaa";

/// The first and the last names that are looked at.
pub(super) async fn sample(ask: &Ask) -> Result<Vec<ItemName>, Miss> {
    let names = ask.some_names().await?;
    let last = names.len().saturating_sub(ask.plan.page);
    let picked = names.into_iter().enumerate().filter(|(at, _)| *at < ask.plan.page || *at >= last);
    Ok(picked.map(|(_, name)| name).collect())
}

/// The item of a listed name; `None` when it is listed no more.
pub(super) async fn fetch(ask: &Ask, path: &str, name: &ItemName) -> Result<Option<Item>, Miss> {
    let answer = ask.get(path).await?;
    let is_away = matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::GONE);
    if is_away && !ask.list().await?.items.contains(name) {
        return Ok(None);
    }
    answer.expect(StatusCode::OK)?.json().map(Some)
}

/// As [`fetch`], from one name to the next until one is there.
pub(super) async fn get(ask: &Ask) -> Result<(), Miss> {
    let aliases: &[&str] = if ask.ours().is_ok() { &ITEM_PATHS } else { std::slice::from_ref(&ask.items) };
    for (name, alias) in sample(ask).await?.iter().zip(aliases.iter().cycle()) {
        let path = format!("{alias}/{}", encode(name.as_str()));
        let Some(item) = fetch(ask, &path, name).await? else { continue };
        // What the book's own sources leave out need not be there.
        let is_named = item.metadata.name.as_ref().map_or(ask.about.is_none(), |said| said == name);
        let is_item = item.kind == "Item" && item.api_version == "v1";
        let says_nothing = item.kind.is_empty() && item.api_version.is_empty() && ask.about.is_none();
        if !is_named || !(is_item || says_nothing) {
            return Err(Miss::broken(format!("GET {path} is not the Item {name}: {item:?}")));
        }
    }
    Ok(())
}

pub(super) async fn slashes(ask: &Ask) -> Result<(), Miss> {
    let names = ask.some_names().await?;
    let Some(name) = names.iter().find(|name| name.as_str().contains('/')) else {
        return Err(Miss::not_offered("no name with a slash is listed"));
    };
    let parts: Vec<_> = name.as_str().split('/').map(encode).collect();
    let path = format!("{}/{}", ask.items, parts.join("/"));
    fetch(ask, &path, name).await.map(drop)
}

pub(super) async fn unknown(ask: &Ask) -> Result<(), Miss> {
    ask.get(&ask.item(NEVER_LISTED)).await?.expect(StatusCode::NOT_FOUND).map(drop)
}

pub(super) async fn bad_name(ask: &Ask) -> Result<(), Miss> {
    ask.ours()?;
    for name in ["a%00b", "%ff%fe", "line%0Abreak", &"x".repeat(4_000)] {
        ask.get(&format!("{}/{name}", ask.items)).await?.expect(StatusCode::BAD_REQUEST)?;
    }
    Ok(())
}

pub(super) async fn head(ask: &Ask) -> Result<(), Miss> {
    // What is there when its head is asked for may be gone when it is asked for itself.
    while_quiet(ask, |ask, list| heads(ask, list).boxed()).await
}

async fn heads(ask: &Ask, list: &Listed<ItemName>) -> Result<(), Miss> {
    let item = list.items.first().map(|name| ask.item(name.as_str()));
    let page = format!("{}?limit=1", ask.items);
    let ours: &[&str] = if ask.ours().is_ok() { &["/v1", "/v1/withheld?limit=1", "/v1/nothing"] } else { &[] };
    for path in [ask.items, &page].into_iter().chain(ours.iter().copied()).chain(item.as_deref()) {
        let answer = ask.send(Method::HEAD, path).await?;
        let is_missing = matches!(answer.status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED);
        if is_missing && ask.about.is_none() {
            return Err(Miss::not_offered("HEAD is not offered"));
        }
        if !answer.body.is_empty() {
            return Err(Miss::broken(format!("{} has a body", answer.asked)));
        }
        // The head of the same answer: its body is not needed.
        let (whole, _until) = ask.open(&ask.question(Method::GET, path)).await?;
        if answer.status != whole.status() {
            return Err(Miss::broken(format!("{} is {}, and GET {}", answer.asked, answer.status, whole.status())));
        }
    }
    Ok(())
}
