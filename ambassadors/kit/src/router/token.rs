//! The continue token: a position, and what it is a position of.

use data_encoding::BASE64URL_NOPAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::answer::Refusal;
use crate::source::Revision;

/// Opaque to its bearer; JSON in base64url.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token<C> {
    /// Which list.
    #[serde(rename = "l")]
    pub(super) list: String,
    /// Of which incarnation of the source.
    #[serde(rename = "i")]
    pub(super) incarnation: String,
    /// The revision the walk began at: a watch from there misses nothing of what the walk may have missed.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(super) revision: Option<Revision>,
    /// Where the next page begins.
    #[serde(rename = "c")]
    pub(super) cursor: C,
}

impl<C: Serialize + DeserializeOwned> Token<C> {
    pub(super) fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_vec(self).map(|json| BASE64URL_NOPAD.encode(&json))
    }

    /// Reads a token of this list and incarnation. What is no token is 400; one of another incarnation, whatever its
    /// positions looked like, is 410.
    pub(super) fn decode(text: &str, list: &str, incarnation: &str) -> Result<Self, Refusal> {
        let garbage = || Refusal::bad_request("continue is no token of this list; leave it out to begin again");
        let json = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| garbage())?;
        let outer: Token<serde_json::Value> = serde_json::from_slice(&json).map_err(|_| garbage())?;
        if outer.list != list {
            return Err(garbage());
        }
        if outer.incarnation != incarnation {
            return Err(Refusal::expired(
                "continue is of an earlier incarnation of this source; list again from the start",
            ));
        }
        let cursor = serde_json::from_value(outer.cursor).map_err(|_| garbage())?;
        Ok(Self { list: outer.list, incarnation: outer.incarnation, revision: outer.revision, cursor })
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    fn decode(text: &str) -> Result<Token<u64>, u16> {
        Token::decode(text, "items", "now").map_err(|refusal| refusal.into_response().status().as_u16())
    }

    fn encode(list: &str, incarnation: &str, cursor: impl Serialize + DeserializeOwned) -> String {
        let token = Token { list: list.into(), incarnation: incarnation.into(), revision: Some(3), cursor };
        token.encode().expect("a token")
    }

    #[test]
    fn only_a_token_of_this_list_and_life_is_taken() {
        assert_eq!(decode(&encode("items", "now", 7)).map(|token| (token.cursor, token.revision)), Ok((7, Some(3))));
        assert_eq!(decode(&encode("items", "before", 7)), Err(410));
        assert_eq!(decode(&encode("items", "before", "another shape".to_owned())), Err(410));
        assert_eq!(decode(&encode("withheld", "now", 7)), Err(400));
        assert_eq!(decode(&encode("items", "now", "x".to_owned())), Err(400));
        for garbage in ["", "x", "####", "e30", &"A".repeat(100_000)] {
            assert_eq!(decode(garbage), Err(400), "{garbage:.20}");
        }
    }
}
