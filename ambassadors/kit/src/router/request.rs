//! What a request asks for: paths and parameters, read strictly and refused by name.

use std::num::IntErrorKind;
use std::time::Duration;

use contract::ItemName;
use contract::wire::ITEM_PATHS;
use percent_encoding::percent_decode_str;

use super::answer::Refusal;
use crate::source::Outcome;

/// Most names in one page: what one request may make the source hold at once.
pub(super) const MAX_LIMIT: usize = 10_000;
/// Longest reason a settlement may give, in bytes.
const MAX_REASON: usize = 4_096;

/// What a path means.
#[derive(Debug)]
pub(super) enum Route {
    About,
    Items,
    Withheld,
    /// One item; the path may hold what is no name.
    Item(Result<ItemName, Refusal>),
}

impl Route {
    /// Percent-encoded or not, an item's name is all that follows the list's path: a foreign name may hold slashes.
    pub(super) fn of(path: &str) -> Result<Self, Refusal> {
        match path.strip_suffix('/').unwrap_or(path) {
            "/v1" => return Ok(Self::About),
            "/v1/withheld" => return Ok(Self::Withheld),
            _ => {}
        }
        let rest = ITEM_PATHS.iter().find_map(|items| path.strip_prefix(items));
        match rest.map(|rest| rest.strip_prefix('/').ok_or(rest)) {
            Some(Ok("") | Err("")) => Ok(Self::Items),
            Some(Ok(encoded)) => Ok(Self::Item(name(encoded))),
            _ => Err(Refusal::not_found(format!(
                "there is no {path}; the list is at {}, what is not listed at /v1/withheld, and /v1 says who is speaking",
                ITEM_PATHS.join(", "),
            ))),
        }
    }

    /// For metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::About => "about",
            Self::Items => "items",
            Self::Withheld => "withheld",
            Self::Item(_) => "item",
        }
    }
}

fn name(encoded: &str) -> Result<ItemName, Refusal> {
    let decoded = percent_decode_str(encoded)
        .decode_utf8()
        .map_err(|_| Refusal::bad_request("an item name is UTF-8, and this path is not"))?;
    Ok(ItemName::parse(&decoded)?)
}

/// Parameters of a list. Unknown ones are left alone, as Kubernetes does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ListQuery {
    /// One page of at most so many, instead of everything.
    pub(super) limit: Option<usize>,
    /// Where to begin.
    pub(super) continue_token: Option<String>,
    /// Changes are asked for, and not the list.
    pub(super) watch: Option<WatchQuery>,
}

/// Parameters of a watch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WatchQuery {
    /// The version after which it begins.
    pub(super) since: Option<String>,
    /// How long it is to last.
    pub(super) lasting: Option<Duration>,
}

impl ListQuery {
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Refusal> {
        let (mut parsed, mut watch, mut lasting) = (Self::default(), WatchQuery::default(), None);
        for (key, value) in pairs(query)? {
            match key.as_str() {
                "limit" => parsed.limit = Some(usize::min(number(&key, &value, 1)?, MAX_LIMIT)),
                "continue" => parsed.continue_token = Some(value).filter(|token| !token.is_empty()),
                "watch" => match value.as_str() {
                    "true" | "1" => parsed.watch = Some(WatchQuery::default()),
                    "false" | "0" | "" => {}
                    _ => return Err(Refusal::bad_request(format!("watch is true or false, not {value:?}"))),
                },
                "resourceVersion" => watch.since = Some(value).filter(|version| !version.is_empty()),
                "timeoutSeconds" => lasting = Some(value),
                _ => {}
            }
        }
        if parsed.watch.is_some() {
            if parsed.continue_token.is_some() {
                return Err(Refusal::bad_request("a watch has no pages: leave out continue"));
            }
            let lasting = lasting.map(|value| number("timeoutSeconds", &value, 0)).transpose()?;
            // As in Kubernetes, 0 is as if nothing had been said.
            watch.lasting = lasting.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds as u64));
            parsed.watch = Some(watch);
        }
        Ok(parsed)
    }
}

fn number(key: &str, value: &str, least: usize) -> Result<usize, Refusal> {
    let number = match value.parse::<usize>() {
        // More than can be counted is more than there is.
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Some(usize::MAX),
        parsed => parsed.ok(),
    };
    number
        .filter(|number| *number >= least)
        .ok_or_else(|| Refusal::bad_request(format!("{key} is a whole number from {least} on, and {value:?} is not")))
}

/// The outcome a settlement states.
pub(super) fn outcome(query: Option<&str>) -> Result<Outcome, Refusal> {
    let (mut failed, mut reason) = (false, None);
    for (key, value) in pairs(query)? {
        match key.as_str() {
            "outcome" => {
                failed = match value.as_str() {
                    "done" => false,
                    "failed" => true,
                    _ => return Err(Refusal::bad_request(format!("outcome is done or failed, not {value:?}"))),
                }
            }
            "reason" if value.len() > MAX_REASON => {
                return Err(Refusal::bad_request(format!("reason is longer than {MAX_REASON} bytes")));
            }
            "reason" => reason = Some(value).filter(|reason| !reason.is_empty()),
            _ => {}
        }
    }
    match (failed, reason) {
        (true, reason) => Ok(Outcome::Failed { reason }),
        (false, None) => Ok(Outcome::Done),
        (false, Some(_)) => Err(Refusal::bad_request("reason belongs to outcome=failed")),
    }
}

/// The parameters of a query, each at most once.
fn pairs(query: Option<&str>) -> Result<Vec<(String, String)>, Refusal> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (key, value) = (decode(key)?, decode(value)?);
        if pairs.iter().any(|(known, _)| *known == key) {
            return Err(Refusal::bad_request(format!("{key:?} is given twice")));
        }
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// `application/x-www-form-urlencoded`: `+` is a space.
fn decode(text: &str) -> Result<String, Refusal> {
    let spaced = text.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(Refusal::bad_request("a parameter is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(path: &str) -> Option<String> {
        match Route::of(path) {
            Ok(Route::Item(Ok(name))) => Some(name.as_str().to_owned()),
            _ => None,
        }
    }

    #[test]
    fn every_alias_serves_list_and_item() {
        for items in ITEM_PATHS {
            assert!(matches!(Route::of(items), Ok(Route::Items)), "{items}");
            assert!(matches!(Route::of(&format!("{items}/")), Ok(Route::Items)), "{items}/");
            assert_eq!(item(&format!("{items}/a-b")), Some("a-b".into()));
            assert_eq!(item(&format!("{items}/a%20b%2Fc")), Some("a b/c".into()));
            assert_eq!(item(&format!("{items}/dir/a.mp4")), Some("dir/a.mp4".into()));
            assert!(matches!(Route::of(&format!("{items}/%ff")), Ok(Route::Item(Err(_)))));
            assert!(matches!(Route::of(&format!("{items}/a%00")), Ok(Route::Item(Err(_)))));
            assert!(Route::of(&format!("{items}x")).is_err());
        }
        for path in ["/", "", "/v2/items", "/V1/items", "/v1/withheld/x", "/api/v1", "/v1/ite%6ds/"] {
            assert!(Route::of(path).is_err(), "{path}");
        }
    }

    #[test]
    fn parameters_are_read_strictly() {
        let parse = |query| ListQuery::parse(Some(query)).map_err(drop);
        assert_eq!(parse(""), Ok(ListQuery::default()));
        assert_eq!(
            parse("limit=5&x=y&continue=a%3D"),
            Ok(ListQuery { limit: Some(5), continue_token: Some("a=".into()), watch: None })
        );
        for more in ["limit=99999999", "limit=99999999999999999999999"] {
            assert_eq!(parse(more), Ok(ListQuery { limit: Some(MAX_LIMIT), ..ListQuery::default() }));
        }
        for bad in ["limit=0", "limit=-1", "limit=", "limit=x", "limit=1&limit=2", "continue=%ff", "watch=perhaps"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_watch_is_asked_for_in_so_many_words() {
        let parse = |query| ListQuery::parse(Some(query)).map_err(drop).map(|query| query.watch);
        for no in ["watch=false", "watch=0", "watch=", "watch", "resourceVersion=x.1&timeoutSeconds=soon"] {
            assert_eq!(parse(no), Ok(None), "{no}");
        }
        let (since, lasting) = (Some("x.1".to_owned()), Some(Duration::from_secs(60)));
        assert_eq!(
            parse("timeoutSeconds=60&resourceVersion=x.1&watch=1&limit=5"),
            Ok(Some(WatchQuery { since, lasting }))
        );
        assert_eq!(parse("watch=true&resourceVersion=&timeoutSeconds=0"), Ok(Some(WatchQuery::default())));
        for bad in ["watch=true&continue=x", "watch=true&timeoutSeconds=-1", "watch=true&timeoutSeconds="] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn outcomes_are_stated_exactly() {
        let parse = |query| outcome(query).map_err(drop);
        assert_eq!(parse(None), Ok(Outcome::Done));
        assert_eq!(parse(Some("outcome=done")), Ok(Outcome::Done));
        assert_eq!(parse(Some("outcome=failed")), Ok(Outcome::Failed { reason: None }));
        assert_eq!(
            parse(Some("reason=bad+video%21&outcome=failed")),
            Ok(Outcome::Failed { reason: Some("bad video!".into()) })
        );
        for bad in ["outcome=", "outcome=ok", "reason=x", "outcome=done&reason=x"] {
            assert!(parse(Some(bad)).is_err(), "{bad}");
        }
        assert!(parse(Some(&format!("outcome=failed&reason={}", "x".repeat(MAX_REASON + 1)))).is_err());
    }
}
