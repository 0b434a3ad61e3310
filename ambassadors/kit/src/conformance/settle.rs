//! Promises about settling.

use contract::ItemName;
use contract::wire::Settle;
use http::{Method, StatusCode, header};

use super::Miss;
use super::ask::{Ask, broken, encode};
use super::items::NEVER_LISTED;

/// Settling is offered, and may be done.
async fn offered(ask: &Ask) -> Result<(), Miss> {
    if ask.about().await?.capabilities.settle == Settle::None {
        return Err(Miss::NotOffered("GET /v1 offers no settling"));
    }
    if !ask.plan.settle {
        return Err(Miss::NotOffered("nothing may be settled in this run"));
    }
    Ok(())
}

pub(super) async fn refused(ask: &Ask) -> Result<(), Miss> {
    if ask.about().await?.capabilities.settle != Settle::None {
        return Err(Miss::NotOffered("this source settles"));
    }
    let names = ask.some_names().await?;
    for name in names.first().map(ItemName::as_str).into_iter().chain([NEVER_LISTED]) {
        let answer = ask.send(Method::DELETE, &path(name)).await?.refused(StatusCode::METHOD_NOT_ALLOWED)?;
        let allow = answer.headers.get(header::ALLOW).and_then(|allow| allow.to_str().ok()).unwrap_or_default();
        if !allow.contains("GET") || allow.contains("DELETE") {
            return Err(broken(format!("{} answered 405 and allows {allow:?}", answer.asked)));
        }
    }
    unchanged(ask, &names).await
}

pub(super) async fn bad_outcome(ask: &Ask) -> Result<(), Miss> {
    offered(ask).await?;
    let names = ask.some_names().await?;
    for name in names.iter().take(1) {
        for query in ["outcome=perhaps", "outcome=", "reason=x"] {
            let path = format!("{}?{query}", path(name.as_str()));
            ask.send(Method::DELETE, &path).await?.refused(StatusCode::BAD_REQUEST)?;
        }
    }
    unchanged(ask, &names).await
}

pub(super) async fn any(ask: &Ask) -> Result<(), Miss> {
    offered(ask).await?;
    for query in ["", "?outcome=done", "?outcome=failed&reason=never%20there"] {
        let path = format!("{}{query}", path(NEVER_LISTED));
        ask.send(Method::DELETE, &path).await?.expect(StatusCode::NO_CONTENT)?;
    }
    ask.send(Method::DELETE, "/v1/items/a%00b").await?.refused(StatusCode::BAD_REQUEST).map(drop)
}

pub(super) async fn done(ask: &Ask) -> Result<(), Miss> {
    offered(ask).await?;
    let names = ask.some_names().await?;
    for (name, query) in names.iter().zip(["", "?outcome=failed&reason=a%20test"]) {
        let path = format!("{}{query}", path(name.as_str()));
        for _again in 0..2 {
            let answer = ask.send(Method::DELETE, &path).await?.expect(StatusCode::NO_CONTENT)?;
            if !answer.body.is_empty() {
                return Err(broken(format!("{} has a body", answer.asked)));
            }
        }
        let answer = ask.get(&path).await?;
        let code = if answer.status == StatusCode::NOT_FOUND { answer.status } else { StatusCode::GONE };
        answer.refused(code)?;
        if ask.items().await?.names.contains(name) {
            return Err(broken(format!("{name} is settled and listed still")));
        }
    }
    Ok(())
}

fn path(name: &str) -> String {
    format!("/v1/items/{}", encode(name))
}

async fn unchanged(ask: &Ask, names: &[ItemName]) -> Result<(), Miss> {
    if ask.items().await?.names == names { Ok(()) } else { Err(broken("the list is another now")) }
}
