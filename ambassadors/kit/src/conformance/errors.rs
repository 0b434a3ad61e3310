//! Promises about requests that make no sense.

use http::{Method, StatusCode, header};

use super::Miss;
use super::ask::{Ask, broken};
use super::items::NEVER_LISTED;

pub(super) async fn path(ask: &Ask) -> Result<(), Miss> {
    for path in ["/", "/v2/items", "/v1/itemsx", "/v1/nothing"] {
        ask.get(path).await?.refused(StatusCode::NOT_FOUND)?;
    }
    Ok(())
}

pub(super) async fn method(ask: &Ask) -> Result<(), Miss> {
    let item = format!("/v1/items/{NEVER_LISTED}");
    for (method, path) in [
        (Method::POST, "/v1/items"),
        (Method::DELETE, "/v1/items"),
        (Method::PUT, item.as_str()),
        (Method::PATCH, item.as_str()),
        (Method::DELETE, "/v1/withheld"),
        (Method::POST, "/v1"),
    ] {
        let answer = ask.send(method, path).await?.refused(StatusCode::METHOD_NOT_ALLOWED)?;
        let allow = answer.headers.get(header::ALLOW).and_then(|allow| allow.to_str().ok()).unwrap_or_default();
        if !allow.split(',').any(|method| method.trim() == "GET") {
            return Err(broken(format!("{} answered 405 without saying what is allowed: {allow:?}", answer.asked)));
        }
    }
    Ok(())
}
