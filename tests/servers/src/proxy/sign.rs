//! Signing a request anew after a header was taken out of it or its query changed (AWS Signature Version 4): what was signed cannot
//! be left out otherwise, and a store that does not know a header checks the signature all the same.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::http::Head;

/// The secret keys of the servers of this process, by `HOST:PORT`.
static SECRETS: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);

/// Tells what requests to the server at `HOST:PORT` are signed with.
pub(crate) fn know(server: &str, secret_key: &str) {
    SECRETS.lock().unwrap_or_else(PoisonError::into_inner).insert(server.to_owned(), secret_key.to_owned());
}

/// Signs `head` as it stands now, with the fields that were signed before, less those that are gone. Without an `Authorization`
/// there is nothing to sign, and nothing happens.
///
/// # Panics
/// If the server is none of this process.
pub(super) fn again(head: &mut Head, server: &str) {
    let Some(authorization) = head.get("authorization").map(str::to_owned) else { return };
    let secret = SECRETS.lock().unwrap_or_else(PoisonError::into_inner).get(server).cloned();
    let secret = secret.expect("headers are dropped only before a server that this process started");
    let part = |name: &str| {
        let (_, rest) = authorization.split_once(name)?;
        rest.split(',').next().map(str::trim)
    };
    let parts = (part("Credential="), part("SignedHeaders="));
    let (Some(credential), Some(signed)) = parts else { return };
    let signed: Vec<_> = signed.split(';').filter(|name| head.get(name).is_some()).collect();
    let (_, scope) = credential.split_once('/').expect("a credential has a scope");

    let mut target = head.start.split(' ');
    let method = target.next().unwrap_or_default();
    let (path, query) = target.next().map(|target| target.split_once('?').unwrap_or((target, ""))).unwrap_or_default();
    let mut query: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).map(with_value).collect();
    query.sort_unstable();
    let fields: String = signed
        .iter()
        .map(|name| {
            let value: Vec<_> = head.get(name).unwrap_or_default().split_whitespace().collect();
            format!("{name}:{}\n", value.join(" "))
        })
        .collect();
    let payload = head.get("x-amz-content-sha256").unwrap_or("UNSIGNED-PAYLOAD");
    let canonical = format!("{method}\n{path}\n{}\n{fields}\n{}\n{payload}", query.join("&"), signed.join(";"));
    let date = head.get("x-amz-date").unwrap_or_default();
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part));
    let signature = hex(&mac(&key, &text));
    let signed = signed.join(";");
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={signature}");
    head.set("authorization", authorization);
}

/// A whole request with a form as its body, to `service` of a server that this process started, signed by `access_key`.
pub(crate) fn post(server: &str, access_key: &str, service: &str, form: &str) -> String {
    // 2026-01-02T03:04:05.000000000Z
    let now = contract::Timestamp::now().to_string();
    let date: String = now.chars().take(19).filter(char::is_ascii_alphanumeric).chain(['Z']).collect();
    let day = date.get(..8).unwrap_or_default();
    let mut head = Head { start: "POST / HTTP/1.1".to_owned(), fields: Vec::new() };
    let credential = format!("{access_key}/{day}/us-east-1/{service}/aws4_request");
    let signed = "content-type;host;x-amz-content-sha256;x-amz-date";
    for (name, value) in [
        ("host", server.to_owned()),
        ("content-type", "application/x-www-form-urlencoded".to_owned()),
        ("content-length", form.len().to_string()),
        ("connection", "close".to_owned()),
        ("x-amz-date", date.clone()),
        ("x-amz-content-sha256", hex(&Sha256::digest(form))),
        ("authorization", format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature=")),
    ] {
        head.set(name, value);
    }
    again(&mut head, server);
    let fields: String = head.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{}\r\n{fields}\r\n{form}", head.start)
}

fn with_value(pair: &str) -> String {
    if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length will do");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
