//! Promises about asking again, and about asking for less.

use contract::ItemName;
use contract::wire::ItemList;
use futures_util::FutureExt;
use http::{Method, StatusCode, header};

use super::Miss;
use super::ask::{Ask, Question, encode};
use super::listed::Listed;
use super::pages::another;
use super::quiet::{TRIES, too_busy, while_quiet};

/// The whole list with its ETag; a source that has a version has one.
async fn tagged(ask: &Ask) -> Result<(Listed<ItemName>, String), Miss> {
    let list = ask.list().await?;
    match (&list.etag, &list.metadata.resource_version) {
        _ if !list.metadata.complete => Err(Miss::not_offered("the list is not complete")),
        (Some(etag), _) => {
            let etag = etag.clone();
            Ok((list, etag))
        }
        (None, Some(version)) => Err(Miss::broken(format!("the list of version {version} has no ETag"))),
        (None, None) => Err(Miss::not_offered("the list has neither resourceVersion nor ETag: no catalog is held")),
    }
}

fn if_not(ask: &Ask, etag: &str) -> Question {
    ask.question(Method::GET, ask.items).with(header::IF_NONE_MATCH, etag)
}

pub(super) async fn etag(ask: &Ask) -> Result<(), Miss> {
    let (list, etag) = tagged(ask).await?;
    match list.metadata.resource_version {
        Some(version) if etag != format!("W/\"{version}\"") => {
            Err(Miss::broken(format!("the ETag of the list of version {version} is {etag}")))
        }
        Some(_) => pages(ask).await,
        None => Ok(()),
    }
}

/// The first page has the tag of its list; a later one, which was begun earlier, has none.
async fn pages(ask: &Ask) -> Result<(), Miss> {
    let answer = ask.get(&format!("{}?limit=1", ask.items)).await?.expect(StatusCode::OK)?;
    let page: ItemList = answer.json()?;
    let (tag, version) = (answer.header(header::ETAG), page.metadata.resource_version.unwrap_or_default());
    if page.metadata.complete && tag != format!("W/\"{version}\"") {
        return Err(Miss::broken(format!("the ETag of the first page of version {version} is {tag:?}")));
    }
    let Some(token) = page.metadata.continue_token else { return Ok(()) };
    let later = ask.get(&format!("{}?limit=1&continue={}", ask.items, encode(&token))).await?;
    match later.header(header::ETAG) {
        "" => Ok(()),
        tag => Err(Miss::broken(format!("a page that a token began has the ETag {tag}"))),
    }
}

pub(super) async fn same(ask: &Ask) -> Result<(), Miss> {
    for _ in 0..TRIES {
        let Ok((_, etag)) = tagged(ask).await else {
            return Err(Miss::not_offered("the list has no ETag"));
        };
        // Alone, among others, and by the word for any.
        let known = [etag.clone(), format!("\"another\", {etag}"), "*".into()];
        let mut answers = Vec::new();
        for tag in &known {
            answers.push(ask.put(&if_not(ask, tag)).await?);
        }
        let unlike = answers.iter().find(|answer| answer.status != StatusCode::NOT_MODIFIED);
        let Some(answer) = unlike.or(answers.first()) else { continue };
        match answer.status {
            StatusCode::NOT_MODIFIED if answers.iter().all(|answer| answer.body.is_empty()) => return Ok(()),
            StatusCode::NOT_MODIFIED => return Err(Miss::broken("304 has a body")),
            // It is another list by now.
            StatusCode::OK if answer.header(header::ETAG) != etag => {}
            other => {
                return Err(Miss::broken(format!("one of If-None-Match: {known:?} was answered by {other}")));
            }
        }
    }
    Err(too_busy())
}

/// Whoever asks with a tag of a list that is no more is given the list: also a tag of another incarnation with the same number.
pub(super) async fn other(ask: &Ask) -> Result<(), Miss> {
    let Ok((list, etag)) = tagged(ask).await else {
        return Err(Miss::not_offered("the list has no ETag"));
    };
    let version = list.metadata.resource_version.as_deref().and_then(|version| version.rsplit_once('.'));
    let foreign = version.map(|(incarnation, n)| format!("W/\"{}.{n}\"", another(incarnation)));
    for tag in ["\"another\"".to_owned()].into_iter().chain(foreign).filter(|tag| *tag != etag) {
        ask.read_list::<ItemName>(&if_not(ask, &tag)).await?;
    }
    Ok(())
}

pub(super) async fn incomplete(ask: &Ask) -> Result<(), Miss> {
    let list = ask.list().await?;
    if list.metadata.complete {
        return Err(Miss::not_offered("the list is complete"));
    }
    if let Some(etag) = list.etag {
        return Err(Miss::broken(format!("a list that is not complete has the ETag {etag}")));
    }
    // Nor is it taken for unchanged by whoever remembers its version.
    if let Some(version) = list.metadata.resource_version {
        ask.read_list::<ItemName>(&if_not(ask, &format!("W/\"{version}\""))).await?;
    }
    Ok(())
}

/// Smallest body that is compressed, in bytes.
const WORTH_IT: usize = 1 << 10;

pub(super) async fn gzip(ask: &Ask) -> Result<(), Miss> {
    while_quiet(ask, |ask, list| packed(ask, list).boxed()).await
}

async fn packed(ask: &Ask, list: &Listed<ItemName>) -> Result<(), Miss> {
    if list.items.iter().map(|name| name.as_str().len() + 3).sum::<usize>() < WORTH_IT {
        return Err(Miss::not_offered("the list is smaller than what is compressed"));
    }
    let question = ask.question(Method::GET, ask.items).with(header::ACCEPT_ENCODING, "gzip");
    let (response, _until) = ask.open(&question).await?;
    let encoding = response.headers().get(header::CONTENT_ENCODING).cloned();
    drop(response);
    match encoding {
        Some(encoding) if encoding == "gzip" => {}
        None if ask.about.is_none() => return Err(Miss::not_offered("lists are not compressed")),
        other => return Err(Miss::broken(format!("Accept-Encoding: gzip was answered by Content-Encoding {other:?}"))),
    }
    let (plain, _until) = ask.open(&ask.question(Method::GET, ask.items)).await?;
    if let Some(encoding) = plain.headers().get(header::CONTENT_ENCODING) {
        return Err(Miss::broken(format!("whoever does not ask for it is given Content-Encoding {encoding:?}")));
    }
    drop(plain);
    let unpacked = ask.read_list::<ItemName>(&question).await?;
    if unpacked.is_as(list) { Ok(()) } else { Err(Miss::broken("unpacked it is another list")) }
}
