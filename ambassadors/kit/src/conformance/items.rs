//! Promises about single items.

use contract::wire::{ITEM_PATHS, Item};
use http::{Method, StatusCode};

use super::Miss;
use super::ask::{Ask, broken, encode};

/// A legal name that no source lists.
pub(super) const NEVER_LISTED: &str = "never-listed-by-anyone-aaaaaaaaaaaaa";

pub(super) async fn get(ask: &Ask) -> Result<(), Miss> {
    let names = ask.some_names().await?;
    let last = names.len().saturating_sub(ask.plan.page);
    for (at, name) in names.iter().enumerate().filter(|(at, _)| *at < ask.plan.page || *at >= last) {
        let alias = ITEM_PATHS.iter().cycle().nth(at).copied().unwrap_or_default();
        let path = format!("{alias}/{}", encode(name.as_str()));
        let item: Item = ask.get(&path).await?.expect(StatusCode::OK)?.json()?;
        if item.kind != "Item" || item.api_version != "v1" || item.metadata.name.as_ref() != Some(name) {
            return Err(broken(format!("GET {path} is not the Item {name}: {item:?}")));
        }
        ask.send(Method::HEAD, &path).await?.expect(StatusCode::OK)?;
    }
    Ok(())
}

pub(super) async fn unknown(ask: &Ask) -> Result<(), Miss> {
    for alias in ITEM_PATHS {
        ask.get(&format!("{alias}/{NEVER_LISTED}")).await?.refused(StatusCode::NOT_FOUND)?;
    }
    Ok(())
}

pub(super) async fn bad_name(ask: &Ask) -> Result<(), Miss> {
    for name in ["a%00b", "%ff%fe", "line%0Abreak", &"x".repeat(4_000)] {
        ask.get(&format!("/v1/items/{name}")).await?.refused(StatusCode::BAD_REQUEST)?;
    }
    Ok(())
}
