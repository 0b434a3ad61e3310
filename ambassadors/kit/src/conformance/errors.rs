//! Promises about requests that make no sense, and about what every answer is.

use http::{Method, StatusCode, header};

use super::Miss;
use super::ask::{Answer, Ask};
use super::items::NEVER_LISTED;

/// A method that does not exist, and so can do nothing anywhere.
fn made_up() -> Method {
    Method::from_bytes(b"X-CONTRACT-CHECK").unwrap_or(Method::OPTIONS)
}

pub(super) async fn path(ask: &Ask) -> Result<(), Miss> {
    ask.ours()?;
    for path in ["/", "/v2/items", "/v1/itemsx", "/v1/nothing"] {
        ask.get(path).await?.expect(StatusCode::NOT_FOUND)?;
    }
    Ok(())
}

pub(super) async fn method(ask: &Ask) -> Result<(), Miss> {
    ask.ours()?;
    let item = ask.item(NEVER_LISTED);
    for path in ["/v1/items", "/v1/withheld", "/v1", item.as_str()] {
        allows(ask.send(made_up(), path).await?)?;
    }
    if !ask.plan.settle {
        return Ok(());
    }
    // What a wrong source might do at these is what nobody asked for.
    for (method, path) in [
        (Method::POST, "/v1/items"),
        (Method::DELETE, "/v1/items"),
        (Method::PUT, item.as_str()),
        (Method::PATCH, item.as_str()),
        (Method::DELETE, "/v1/withheld"),
        (Method::POST, "/v1"),
    ] {
        allows(ask.send(method, path).await?)?;
    }
    Ok(())
}

fn allows(answer: Answer) -> Result<(), Miss> {
    let answer = answer.expect(StatusCode::METHOD_NOT_ALLOWED)?;
    let allow = answer.header(header::ALLOW);
    if allow.split(',').any(|method| method.trim() == "GET") {
        return Ok(());
    }
    Err(Miss::broken(format!("{} was answered by 405 without saying what is allowed: {allow:?}", answer.asked)))
}

pub(super) async fn twice(ask: &Ask) -> Result<(), Miss> {
    ask.ours()?;
    for query in ["limit=1&limit=2", "limit=2&limit=2", "x=1&limit=1&x=1"] {
        ask.get(&format!("{}?{query}", ask.items)).await?.expect(StatusCode::BAD_REQUEST)?;
    }
    Ok(())
}

/// A few errors of its own, so that there are some; and whatever else was met.
pub(super) async fn status(ask: &Ask) -> Result<(), Miss> {
    ask.ours()?;
    for path in ["/v1/nothing", "/v1/items?limit=x", &ask.item(NEVER_LISTED)] {
        ask.get(path).await?;
    }
    ask.send(made_up(), ask.items).await?;
    ask.journal.notes().status.map_or(Ok(()), |fault| Err(Miss::Broken(fault)))
}

pub(super) async fn json(ask: &Ask) -> Result<(), Miss> {
    ask.list().await?;
    if ask.ours().is_ok() {
        ask.get("/v1").await?;
    }
    ask.journal.notes().body_type.map_or(Ok(()), |fault| Err(Miss::Broken(fault)))
}

pub(super) async fn unavailable(ask: &Ask) -> Result<(), Miss> {
    let notes = ask.journal.notes();
    match notes.unavailable {
        Some(fault) => Err(Miss::Broken(fault)),
        None if notes.was_unavailable => Ok(()),
        None => Err(Miss::not_offered("the source could be seen each time it was asked")),
    }
}
