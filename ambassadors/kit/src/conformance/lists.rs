//! Promises about the lists.

use std::collections::HashSet;

use contract::ItemName;
use contract::wire::{ITEM_PATHS, ItemList, WithheldList};
use http::{Method, StatusCode};

use super::Miss;
use super::ask::{Ask, broken, encode};

pub(super) async fn about(ask: &Ask) -> Result<(), Miss> {
    let about = ask.about().await?;
    let named = !about.ambassador.is_empty() && !about.version.is_empty() && !about.incarnation.is_empty();
    if about.kind == "Source" && about.api_version == "v1" && named && !about.order.is_empty() {
        return Ok(());
    }
    Err(broken(format!("GET /v1 leaves something out: {about:?}")))
}

pub(super) async fn shape(ask: &Ask) -> Result<(), Miss> {
    let list = ask.items().await?;
    if list.kind != "ItemList" || list.api_version != "v1" {
        return Err(broken(format!("the list is a {:?} of version {:?}", list.kind, list.api_version)));
    }
    let page: serde_json::Value = ask.get("/v1/items?limit=1").await?.expect(StatusCode::OK)?.json()?;
    match page.pointer("/metadata/complete") {
        Some(serde_json::Value::Bool(_)) => Ok(()),
        other => Err(broken(format!("metadata.complete is {other:?}"))),
    }
}

pub(super) async fn once(ask: &Ask) -> Result<(), Miss> {
    let names = ask.some_names().await?;
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        Some(twice) => Err(broken(format!("{twice} is listed twice"))),
        None => Ok(()),
    }
}

pub(super) async fn aliases(ask: &Ask) -> Result<(), Miss> {
    let list = ask.items().await?;
    for path in ITEM_PATHS.iter().flat_map(|path| [(*path).to_owned(), format!("{path}/")]) {
        if ask.list(&path).await?.names != list.names {
            return Err(broken(format!("{path} lists something else than /v1/items")));
        }
    }
    Ok(())
}

pub(super) async fn head(ask: &Ask) -> Result<(), Miss> {
    for path in ["/v1/items?limit=1", "/v1/items", "/v1/withheld?limit=1"] {
        let answer = ask.send(Method::HEAD, path).await?.expect(StatusCode::OK)?;
        if !answer.body.is_empty() {
            return Err(broken(format!("HEAD {path} has a body")));
        }
    }
    ask.send(Method::HEAD, "/v1/nothing").await?.expect(StatusCode::NOT_FOUND).map(drop)
}

pub(super) async fn reading(ask: &Ask) -> Result<(), Miss> {
    let before = ask.items().await?.names;
    for name in before.iter().take(ask.plan.page) {
        ask.get(&format!("/v1/items/{}", encode(name.as_str()))).await?.expect(StatusCode::OK)?;
    }
    let after = ask.items().await?.names;
    if after == before { Ok(()) } else { Err(broken("the list is another after it was read")) }
}

pub(super) async fn joined(ask: &Ask) -> Result<(), Miss> {
    if !ask.about().await?.capabilities.paging {
        return Err(Miss::NotOffered("GET /v1 offers no paging"));
    }
    let whole = ask.items().await?;
    for limit in [ask.plan.page, ask.plan.most.max(1)] {
        let names = walk(ask, limit).await?;
        if names != whole.names {
            let at = names.iter().zip(&whole.names).take_while(|(a, b)| a == b).count();
            return Err(broken(format!("pages of {limit} differ from the whole list from item {at} on")));
        }
    }
    Ok(())
}

/// As many names as the suite looks at, page by page.
async fn walk(ask: &Ask, limit: usize) -> Result<Vec<ItemName>, Miss> {
    let (mut names, mut token) = (Vec::new(), None);
    loop {
        let ItemList { items, metadata, .. } = ask.page(limit, token.as_deref()).await?;
        if items.len() > limit {
            return Err(broken(format!("limit={limit} was answered by {} names", items.len())));
        }
        let last = metadata.continue_token.is_none();
        if last && metadata.remaining_item_count.is_some_and(|remaining| remaining > 0) {
            return Err(broken("items remain behind the last page"));
        }
        names.extend(items);
        token = metadata.continue_token;
        if last || names.len() >= ask.plan.most {
            names.truncate(ask.plan.most);
            return Ok(names);
        }
    }
}

pub(super) async fn bad_limit(ask: &Ask) -> Result<(), Miss> {
    for limit in ["0", "-1", "x", "", "1.5", "99999999999999999999999"] {
        ask.get(&format!("/v1/items?limit={limit}")).await?.refused(StatusCode::BAD_REQUEST)?;
    }
    Ok(())
}

pub(super) async fn bad_token(ask: &Ask) -> Result<(), Miss> {
    for token in ["x", "%00", "e30", "bm9uc2Vuc2U"] {
        ask.get(&format!("/v1/items?limit=1&continue={token}")).await?.refused(StatusCode::BAD_REQUEST)?;
    }
    Ok(())
}

pub(super) async fn withheld(ask: &Ask) -> Result<(), Miss> {
    let answer = ask.get(&format!("/v1/withheld?limit={}", ask.plan.page)).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Err(Miss::NotOffered("GET /v1/withheld is 404"));
    }
    let page: WithheldList = answer.expect(StatusCode::OK)?.json()?;
    if page.kind != "WithheldList" || page.api_version != "v1" {
        return Err(broken(format!("what is withheld is a {:?} of version {:?}", page.kind, page.api_version)));
    }
    match page.items.iter().find(|one| one.reason.is_empty() || one.message.is_empty()) {
        Some(one) => Err(broken(format!("{} is withheld without a reason or a message", one.key))),
        None => Ok(()),
    }
}
