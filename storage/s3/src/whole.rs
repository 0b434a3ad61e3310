//! Whether an answer has come to its end.
//!
//! A proxy that loses the store's connection may end what it passes on as though it were over, and the SDK reads XML up to where
//! it ends: a listing that was cut between two objects would be taken for all there is.

use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;

/// Refuses answers that are cut short; they are asked for again.
#[derive(Debug)]
pub(crate) struct Whole;

/// What an answer was refused for.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the answer ends in its midst")]
pub(crate) struct CutShort;

#[dyn_dispatch_hint]
impl Intercept for Whole {
    fn name(&self) -> &'static str {
        "Whole"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // The content of an object is not in memory, and checked as it comes.
        let body = context.response().body().bytes().filter(|_| context.response().status().is_success());
        if body.is_none_or(is_whole) { Ok(()) } else { Err(CutShort.into()) }
    }
}

/// Whether XML ends with the element that it began with. What is no XML is for others to judge.
fn is_whole(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    let mut rest = body;
    loop {
        let Some(inner) = rest.strip_prefix(b"<") else { return rest.len() == body.len() };
        if !matches!(inner.first(), Some(b'?' | b'!')) {
            let root = inner.split(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/')).next();
            let root = root.unwrap_or_default();
            let closed = body.strip_suffix(b">").map(<[u8]>::trim_ascii_end);
            let closed = closed.and_then(|body| body.strip_suffix(root)).is_some_and(|body| body.ends_with(b"</"));
            // An element without content ends where it begins.
            let empty = inner.strip_suffix(b"/>").is_some_and(|inner| !inner.contains(&b'>'));
            return closed || empty;
        }
        let Some(end) = inner.iter().position(|byte| *byte == b'>') else { return false };
        rest = inner.get(end + 1..).unwrap_or_default().trim_ascii_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_as_it_began_is_whole() {
        let xml = "<?xml version=\"1.0\"?>\n<List xmlns=\"x\"><C><K>a</K></C><C><K>b</K></C></List>\n";
        assert!(is_whole(xml.as_bytes()));
        let end = xml.trim_end().len();
        for at in xml.find("?xml").expect("it begins so")..end {
            assert!(!is_whole(&xml.as_bytes()[..at]), "{}", &xml[..at]);
        }
        for whole in ["", "<A/>", "<A xmlns=\"x/y\"/>", "<?xml?><A></A >", "{\"json\": 1}", "text"] {
            assert!(is_whole(whole.as_bytes()), "{whole}");
        }
        assert!(!is_whole(b"<A><B/>"));
        assert!(!is_whole(b"<List><K>a</K><Listing/>"));
    }
}
