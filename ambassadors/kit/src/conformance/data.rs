//! Promises about what an item holds.

use contract::{Key, Timestamp};
use serde_json::{Map, Value};

use super::Miss;
use super::ask::Ask;
use super::items::{fetch, sample};

/// Largest `data` that a worker takes, in bytes.
const MOST: usize = 1 << 20;

pub(super) async fn readable(ask: &Ask) -> Result<(), Miss> {
    for name in sample(ask).await? {
        let Some(item) = fetch(ask, &ask.item(name.as_str()), &name).await? else { continue };
        let fault = fault(&item.data, ask.about.is_some());
        let size = serde_json::to_vec(&item.data).map_or(0, |data| data.len());
        match fault {
            Some(fault) => return Err(Miss::broken(format!("the data of {name}: {fault}"))),
            None if size > MOST => {
                return Err(Miss::broken(format!("the data of {name} is {size} bytes, and a worker takes {MOST}")));
            }
            None => {}
        }
    }
    Ok(())
}

/// What is wrong with an item's data. Of an object every field is there but for `etag`, which it lacks where the key alone is the item;
/// another source's may have fewer.
fn fault(data: &Map<String, Value>, whole: bool) -> Option<String> {
    let uri = data.get("uri");
    if whole && uri.is_some() {
        let missing = ["key", "size", "lastModified"].into_iter().find(|field| !data.contains_key(*field));
        if let Some(field) = missing {
            return Some(format!("it has a uri, and no {field}"));
        }
    }
    CHECKS.into_iter().find_map(|(field, is, check)| {
        let value = data.get(field)?;
        (!check(value, data)).then(|| format!("{field} is {value}, not {is}"))
    })
}

/// Whether a field's value, beside the others, is what it must be.
type Check = fn(&Value, &Map<String, Value>) -> bool;

const CHECKS: [(&str, &str, Check); 5] = [
    ("uri", "a file:, s3: or https: URI, percent-encoded", |uri, _| uri.as_str().is_some_and(is_uri)),
    ("key", "a text, percent-encoded where keyEncoding says so", |key, data| is_key(key, data.get("keyEncoding"))),
    ("size", "a number of bytes", |size, _| size.is_u64()),
    ("etag", "a text", |etag, _| etag.as_str().is_some_and(|etag| !etag.is_empty())),
    ("lastModified", "a time by RFC 3339 in UTC", |time, _| {
        time.as_str().is_some_and(|time| Timestamp::try_from(time.to_owned()).is_ok())
    }),
];

fn is_key(key: &Value, encoding: Option<&Value>) -> bool {
    let mut text = Map::from_iter([("key".to_owned(), key.clone())]);
    text.extend(encoding.map(|encoding| ("keyEncoding".to_owned(), encoding.clone())));
    serde_json::from_value::<Key>(text.into()).is_ok()
}

fn is_uri(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once(':') else { return false };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    let escaped = rest.split('%').skip(1).all(|after| {
        after.as_bytes().first_chunk::<2>().is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    matches!(scheme, "file" | "s3" | "https") && rest.starts_with("/") && rest.bytes().all(legal) && escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(json: &str, whole: bool) -> Option<String> {
        let Ok(Value::Object(data)) = serde_json::from_str(json) else { panic!("{json} is no object") };
        fault(&data, whole)
    }

    #[test]
    fn every_field_is_what_a_worker_takes_it_for() {
        let whole = r#"{"uri":"file:///a/%C3%A9%20b.mp4","key":"é b.mp4","size":0,"etag":"0-1","lastModified":"2023-11-14T22:13:20.000000000Z"}"#;
        assert_eq!(faults(whole, true), None);
        let of_its_key = r#"{"uri":"file:///a","key":"a","size":0,"lastModified":"2023-11-14T22:13:20Z"}"#;
        assert_eq!(faults(of_its_key, true), None);
        assert_eq!(faults(r#"{"uri":"https://host/a?b=c"}"#, false), None);
        assert_eq!(faults(r#"{"key":"%FF","keyEncoding":"percent"}"#, true), None);
        assert_eq!(faults(r#"{"topic":"orders","offset":7}"#, true), None);
        for wrong in [
            r#"{"uri":"file:///a b"}"#,
            r#"{"uri":"file:///é"}"#,
            r#"{"uri":"file:///a%2"}"#,
            r#"{"uri":"/a/b"}"#,
            r#"{"uri":"ftp://a/b"}"#,
            r#"{"uri":7}"#,
            r#"{"key":7}"#,
            r#"{"key":"%FF","keyEncoding":"base64"}"#,
            r#"{"size":"17"}"#,
            r#"{"size":-1}"#,
            r#"{"etag":""}"#,
            r#"{"lastModified":"yesterday"}"#,
            r#"{"lastModified":"2023-11-14T22:13:20+01:00"}"#,
        ] {
            assert!(faults(wrong, false).is_some(), "{wrong}");
        }
        assert!(
            faults(r#"{"uri":"file:///a","key":"a","size":1,"etag":"x"}"#, true)
                .is_some_and(|f| f.contains("lastModified"))
        );
    }
}
