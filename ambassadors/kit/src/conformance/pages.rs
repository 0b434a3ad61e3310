//! Promises about pages.

use contract::ItemName;
use contract::wire::{ItemList, Status};
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, Encoding};
use futures_util::FutureExt;
use http::StatusCode;

use super::Miss;
use super::ask::{Ask, encode};
use super::quiet::while_quiet;

/// Longest walk that is followed: of a source that reads much of which nothing is listed, many pages are empty.
const MOST_PAGES: usize = 20_000;
/// Most names on a page, whatever was asked for.
const MOST_NAMES: usize = 10_000;

/// Pages are offered where it is said, or where one is given.
async fn offered(ask: &Ask) -> Result<(), Miss> {
    let is_offered = match &ask.about {
        Some(about) => about.capabilities.paging,
        None => ask.page(1, None).await?.metadata.continue_token.is_some(),
    };
    if is_offered { Ok(()) } else { Err(Miss::not_offered("there are no pages")) }
}

/// As many pages as the suite looks at, each of at most `limit` names.
async fn walk(ask: &Ask, limit: usize) -> Result<Vec<ItemList>, Miss> {
    let (mut pages, mut token, mut met): (Vec<ItemList>, Option<String>, usize) = (Vec::new(), None, 0);
    while pages.len() < MOST_PAGES {
        let page = ask.page(limit, token.as_deref()).await?;
        if page.items.len() > limit {
            return Err(Miss::broken(format!("limit={limit} was answered by {} names", page.items.len())));
        }
        let next = page.metadata.continue_token.clone();
        if next.is_some() && next == token {
            return Err(Miss::broken("a page is followed by itself: the walk has no end"));
        }
        met += page.items.len();
        pages.push(page);
        token = next;
        if token.is_none() || met >= ask.plan.most {
            return Ok(pages);
        }
    }
    Err(Miss::not_offered(format!("the list goes on after {MOST_PAGES} pages")))
}

fn names(ask: &Ask, pages: Vec<ItemList>) -> Vec<ItemName> {
    pages.into_iter().flat_map(|page| page.items).take(ask.plan.most).collect()
}

pub(super) async fn joined(ask: &Ask) -> Result<(), Miss> {
    offered(ask).await?;
    while_quiet(ask, |ask, whole| {
        async move {
            for limit in [ask.plan.page, ask.plan.most.max(1)] {
                let names = names(ask, walk(ask, limit).await?);
                if names != whole.items {
                    let at = names.iter().zip(&whole.items).take_while(|(a, b)| a == b).count();
                    return Err(Miss::broken(format!("pages of {limit} differ from the whole list from item {at} on")));
                }
            }
            Ok(())
        }
        .boxed()
    })
    .await
}

/// The first page that is followed by another, which may be one of a name.
async fn begun(ask: &Ask) -> Result<(ItemList, String), Miss> {
    offered(ask).await?;
    for limit in [ask.plan.page, 1] {
        let page = ask.page(limit, None).await?;
        if let Some(token) = page.metadata.continue_token.clone() {
            return Ok((page, token));
        }
    }
    Err(Miss::not_offered("everything that is listed is on one page"))
}

pub(super) async fn rest(ask: &Ask) -> Result<(), Miss> {
    begun(ask).await?;
    while_quiet(ask, |ask, whole| {
        async move {
            let (page, token) = begun(ask).await?;
            let rest = ask.list_at::<ItemName>(&format!("{}?continue={}", ask.items, encode(&token))).await?;
            let joined = page.items.iter().chain(&rest.items).take(whole.items.len());
            let all = page.items.len() + rest.items.len();
            if joined.eq(&whole.items) && (whole.more || all == whole.items.len()) {
                return Ok(());
            }
            Err(Miss::broken("a page and what follows its token are not the list"))
        }
        .boxed()
    })
    .await
}

pub(super) async fn bad_limit(ask: &Ask) -> Result<(), Miss> {
    offered(ask).await?;
    for limit in ["0", "-1", "x", "", "1.5", "7x"] {
        ask.get(&format!("{}?limit={limit}", ask.items)).await?.expect(StatusCode::BAD_REQUEST)?;
    }
    Ok(())
}

pub(super) async fn maximum(ask: &Ask) -> Result<(), Miss> {
    offered(ask).await?;
    for limit in ["10001", "1000000000", "100000000000000000000000"] {
        let page: ItemList = ask.get(&format!("{}?limit={limit}", ask.items)).await?.expect(StatusCode::OK)?.json()?;
        if page.items.len() > MOST_NAMES {
            return Err(Miss::broken(format!("limit={limit} was answered by {} names", page.items.len())));
        }
    }
    Ok(())
}

pub(super) async fn bad_token(ask: &Ask) -> Result<(), Miss> {
    offered(ask).await?;
    for token in ["x", "%00", "e30", "bm9uc2Vuc2U"] {
        ask.get(&format!("{}?limit=1&continue={token}", ask.items)).await?.expect(StatusCode::BAD_REQUEST)?;
    }
    Ok(())
}

/// A token is opaque, but one that holds the incarnation can be made one of another.
pub(super) async fn expired(ask: &Ask) -> Result<(), Miss> {
    let about = ask.ours()?;
    let (_, token) = begun(ask).await?;
    let Some(foreign) = of_another(&token, &about.incarnation) else {
        return Err(Miss::not_offered("a token of another incarnation cannot be made out of one of its tokens"));
    };
    let path = format!("{}?limit=1&continue={}", ask.items, encode(&foreign));
    let said: Status = ask.get(&path).await?.expect(StatusCode::GONE)?.json()?;
    if said.reason == "Expired" {
        return Ok(());
    }
    Err(Miss::broken(format!("a token of another incarnation is {:?}, not Expired", said.reason)))
}

/// An incarnation as long as `incarnation`, and another.
pub(super) fn another(incarnation: &str) -> String {
    incarnation.chars().map(|c| if c == 'a' { 'b' } else { 'a' }).collect()
}

fn of_another(token: &str, incarnation: &str) -> Option<String> {
    let plain = |text: &str| text.contains(incarnation).then(|| text.replace(incarnation, &another(incarnation)));
    let packings: [Encoding; 4] = [BASE64URL_NOPAD, BASE64URL, BASE64_NOPAD, BASE64];
    plain(token).or_else(|| {
        packings.into_iter().find_map(|packing| {
            let text = String::from_utf8(packing.decode(token.as_bytes()).ok()?).ok()?;
            Some(packing.encode(plain(&text)?.as_bytes()))
        })
    })
}

pub(super) async fn version(ask: &Ask) -> Result<(), Miss> {
    offered(ask).await?;
    let pages = walk(ask, ask.plan.page).await?;
    let versions: Vec<_> = pages.iter().map(|page| page.metadata.resource_version.as_deref()).collect();
    let Some(Some(first)) = versions.first().copied() else {
        return Err(Miss::not_offered("the list has no resourceVersion: no catalog is held"));
    };
    match versions.iter().position(|version| *version != Some(first)) {
        None => Ok(()),
        Some(at) => {
            Err(Miss::broken(format!("the walk began at {first}, and page {} says {:?}", at + 1, versions.get(at))))
        }
    }
}

pub(super) async fn remaining(ask: &Ask) -> Result<(), Miss> {
    offered(ask).await?;
    while_quiet(ask, |ask, _whole| {
        async move {
            let pages = walk(ask, ask.plan.page).await?;
            let (mut met, mut total) = (0, None);
            for page in &pages {
                met += page.items.len() as u64;
                let Some(remaining) = page.metadata.remaining_item_count else { continue };
                if page.metadata.continue_token.is_none() && remaining > 0 {
                    return Err(Miss::broken(format!("{remaining} items follow the last page")));
                }
                if *total.get_or_insert(met + remaining) != met + remaining {
                    return Err(Miss::broken(format!("after {met} items {remaining} follow, and {total:?} are there")));
                }
            }
            let is_whole = pages.last().is_some_and(|page| page.metadata.continue_token.is_none());
            match total {
                None => Err(Miss::not_offered("no page says how many items follow it")),
                Some(total) if is_whole && total != met => {
                    Err(Miss::broken(format!("{total} items were announced, and {met} are there")))
                }
                Some(_) => Ok(()),
            }
        }
        .boxed()
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_holds_its_incarnation_is_made_one_of_another() {
        let json = r#"{"l":"items","i":"7c5m3ehrnmqps","c":500}"#;
        let foreign = json.replace("7c5m3ehrnmqps", "aaaaaaaaaaaaa");
        for packing in [BASE64URL_NOPAD, BASE64] {
            let made = of_another(&packing.encode(json.as_bytes()), "7c5m3ehrnmqps");
            assert_eq!(made, Some(packing.encode(foreign.as_bytes())));
        }
        assert_eq!(of_another("7-500", "7").as_deref(), Some("a-500"));
        assert_eq!(of_another("opaque", "7c5m3ehrnmqps"), None);
        assert_ne!(another("aaa"), "aaa");
    }
}
