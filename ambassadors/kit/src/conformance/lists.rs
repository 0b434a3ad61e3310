//! Promises about the list, and about who is speaking.

use std::collections::{HashMap, HashSet};

use contract::ItemName;
use contract::wire::{About, ITEM_PATHS};
use futures_util::FutureExt;
use http::StatusCode;

use super::Miss;
use super::ask::Ask;
use super::items::fetch;
use super::quiet::{TRIES, too_busy, while_quiet};

pub(super) async fn about(ask: &Ask) -> Result<(), Miss> {
    let answer = ask.get("/v1").await?;
    let is_refused = answer.status.is_client_error() || answer.status == StatusCode::NOT_IMPLEMENTED;
    if is_refused && ask.about.is_none() {
        return Err(Miss::not_offered(format!("GET /v1 is {}", answer.status)));
    }
    let about: About = answer.expect(StatusCode::OK)?.json()?;
    let named = !about.ambassador.is_empty() && !about.version.is_empty() && !about.incarnation.is_empty();
    let ordered = matches!(about.order.as_str(), "age" | "key" | "position");
    if about.kind == "Source" && about.api_version == "v1" && named && ordered {
        return Ok(());
    }
    Err(Miss::broken(format!("GET /v1 leaves something out: {about:?}")))
}

pub(super) async fn shape(ask: &Ask) -> Result<(), Miss> {
    let list = ask.list().await?;
    let says_nothing = list.kind.is_empty() && list.api_version.is_empty() && ask.about.is_none();
    if !says_nothing && (list.kind != "ItemList" || list.api_version != "v1") {
        return Err(Miss::broken(format!("the list is a {:?} of version {:?}", list.kind, list.api_version)));
    }
    if ask.about.is_none() {
        return Ok(());
    }
    let page: serde_json::Value = ask.get(&format!("{}?limit=1", ask.items)).await?.expect(StatusCode::OK)?.json()?;
    match page.pointer("/metadata/complete") {
        Some(serde_json::Value::Bool(_)) => Ok(()),
        other => Err(Miss::broken(format!("metadata.complete is {other:?}"))),
    }
}

pub(super) async fn once(ask: &Ask) -> Result<(), Miss> {
    let names = ask.some_names().await?;
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        Some(twice) => Err(Miss::broken(format!("{twice} is listed twice"))),
        None => Ok(()),
    }
}

/// What two lists have in common stands in the same order in both, whatever came and went between them.
pub(super) async fn order(ask: &Ask) -> Result<(), Miss> {
    for _ in 0..TRIES {
        let (one, other) = (ask.some_names().await?, ask.list().await?.items);
        let places: HashMap<&ItemName, usize> = one.iter().enumerate().map(|(at, name)| (name, at)).collect();
        let common: Vec<(usize, &ItemName)> =
            other.iter().filter_map(|name| Some((*places.get(name)?, name))).collect();
        let mut pairs = common.iter().zip(common.iter().skip(1));
        if let Some(((_, before), (_, after))) = pairs.find(|((earlier, _), (later, _))| earlier > later) {
            return Err(Miss::broken(format!("{before} comes before {after} in one list, and after it in another")));
        }
    }
    Ok(())
}

pub(super) async fn aliases(ask: &Ask) -> Result<(), Miss> {
    ask.ours()?;
    while_quiet(ask, |ask, list| {
        async move {
            for path in ITEM_PATHS.iter().flat_map(|path| [(*path).to_owned(), format!("{path}/")]) {
                if ask.list_at::<ItemName>(&path).await?.items != list.items {
                    return Err(Miss::broken(format!("{path} lists something else than {}", ask.items)));
                }
            }
            Ok(())
        }
        .boxed()
    })
    .await
}

pub(super) async fn parameters(ask: &Ask) -> Result<(), Miss> {
    while_quiet(ask, |ask, list| {
        async move {
            for query in ["nonsense=1", "x&y=%20z", "Limit=1&pretty=true"] {
                if ask.list_at::<ItemName>(&format!("{}?{query}", ask.items)).await?.items != list.items {
                    return Err(Miss::broken(format!("with ?{query} something else is listed")));
                }
            }
            Ok(())
        }
        .boxed()
    })
    .await
}

/// Of neighbours in the list one is read and the other is not: what goes for being read goes without its neighbour.
pub(super) async fn reading(ask: &Ask) -> Result<(), Miss> {
    let mut lost = Vec::new();
    for tried in 0..TRIES {
        let names = match ask.some_names().await {
            // Each look so far took something, until nothing was left to look at.
            Err(Miss::NotOffered(_)) if tried > 0 && lost.len() == tried => return Err(consumed(&lost)),
            names => names?,
        };
        let (read, left): (Vec<_>, Vec<_>) =
            names.iter().take(2 * ask.plan.page).enumerate().partition(|(at, _)| at.is_multiple_of(2));
        for (_, name) in &read {
            fetch(ask, &ask.item(name.as_str()), name).await?;
        }
        let listed: HashSet<ItemName> = ask.list().await?.items.into_iter().collect();
        let gone = |names: &[(usize, &ItemName)]| {
            names.iter().find(|(_, name)| !listed.contains(*name)).map(|(_, name)| name.to_string())
        };
        match (gone(&read), gone(&left)) {
            (None, _) => return Ok(()),
            (Some(name), None) => lost.push(name),
            (Some(_), Some(_)) => {}
        }
    }
    Err(if lost.len() == TRIES { consumed(&lost) } else { too_busy() })
}

fn consumed(lost: &[String]) -> Miss {
    Miss::broken(format!("what was read is listed no more: {}", lost.join(", ")))
}

pub(super) async fn version(ask: &Ask) -> Result<(), Miss> {
    let (mut restless, mut changed) = (0, false);
    for _ in 0..TRIES {
        let (one, other) = (ask.list().await?, ask.list().await?);
        let (Some(before), Some(after)) = (&one.metadata.resource_version, &other.metadata.resource_version) else {
            return Err(Miss::not_offered("the list has no resourceVersion: no catalog is held"));
        };
        for version in [before, after] {
            let parts = version.rsplit_once('.').filter(|(_, n)| n.parse::<u64>().is_ok());
            let said = ask.about.as_ref().map(|about| about.incarnation.as_str());
            if parts
                .is_none_or(|(incarnation, _)| incarnation.is_empty() || said.is_some_and(|said| said != incarnation))
            {
                return Err(Miss::broken(format!("{version:?} is not <incarnation>.<n>, with {said:?}")));
            }
        }
        let is_same = one.items == other.items && one.more == other.more;
        if before == after {
            return if is_same { Ok(()) } else { Err(Miss::broken(format!("two lists have the version {before}"))) };
        }
        restless += usize::from(is_same && !one.more);
        changed |= !is_same;
    }
    match changed {
        true => Ok(()),
        false if restless == TRIES => Err(Miss::broken("the version is another each time, and the list is not")),
        false => Err(Miss::not_offered(format!(
            "the version was another each time, and the first {} items were not: the list may be another further on",
            ask.plan.most
        ))),
    }
}
