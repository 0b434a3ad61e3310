//! Promises about who may ask.

use http::{Method, StatusCode};

use super::Miss;
use super::ask::{Ask, Question};

pub(super) async fn guarded(ask: &Ask) -> Result<(), Miss> {
    let Some(token) = &ask.plan.token else {
        return Err(Miss::not_offered("no token was given to ask with"));
    };
    let item = ask.item(super::items::NEVER_LISTED);
    let list = format!("{}?limit=1", ask.items);
    for path in [ask.items, list.as_str(), item.as_str(), "/v1", "/v1/withheld", "/v1/nothing"] {
        for shown in [None, Some("another-token".to_owned()), Some(format!("{}x", token.expose()))] {
            for method in [Method::GET, Method::HEAD] {
                let how = if shown.is_some() { "a wrong token" } else { "no token" };
                let question = Question { method, token: shown.clone(), ..Question::get(path) };
                let answer = ask.put(&question).await?;
                if answer.status != StatusCode::UNAUTHORIZED {
                    return Err(Miss::broken(format!(
                        "{question} with {how} was answered by {}, not 401",
                        answer.status
                    )));
                }
                let told = String::from_utf8_lossy(&answer.body);
                if ask
                    .about
                    .as_ref()
                    .is_some_and(|about| told.contains(&about.incarnation) || told.contains(&about.ambassador))
                {
                    return Err(Miss::broken(format!("{question} with {how} was told who is speaking")));
                }
            }
        }
    }
    Ok(())
}
