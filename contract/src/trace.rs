//! Trace context: which trace an item's work belongs to, as whoever sent the item said it (W3C Trace Context, level 1).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The field of an item's data, the header of a message and the HTTP header that says it. As a variable: [`Self::VARIABLES`].
///
/// [`Self::VARIABLES`]: TraceContext::VARIABLES
pub const TRACEPARENT: &str = "traceparent";
/// What systems on the way add for themselves.
pub const TRACESTATE: &str = "tracestate";

/// `00-<trace id>-<parent id>-<flags>`.
const LENGTH: usize = 55;
/// The most members that a `tracestate` has.
const MEMBERS: usize = 32;

/// A trace, and the span in it that the work is a child of. Whatever is not as W3C has it is none, and never an error: tracing
/// must not stop work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    parent: String,
    state: Option<String>,
}

impl TraceContext {
    /// The variables by which programs tell their children: [`TRACEPARENT`] and [`TRACESTATE`] in capitals (otel-cli, OpenTelemetry's
    /// "environment variables as context propagation carriers").
    pub const VARIABLES: [&'static str; 2] = ["TRACEPARENT", "TRACESTATE"];

    /// What these two values say. A state that is malformed is left out; without a valid parent there is none.
    pub fn parse(parent: &str, state: Option<&str>) -> Option<Self> {
        let state = state.map(str::trim).filter(|state| is_state(state)).map(str::to_owned);
        is_parent(parent).then(|| Self { parent: parent.to_owned(), state })
    }

    /// What a message's headers say, in their order: of a name that comes more than once the last counts. Names are compared without
    /// regard to case.
    pub fn of_headers<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Option<Self> {
        let (mut parent, mut state) = (None, None);
        for (name, value) in headers {
            if name.eq_ignore_ascii_case(TRACEPARENT) {
                parent = std::str::from_utf8(value).ok();
            } else if name.eq_ignore_ascii_case(TRACESTATE) {
                state = std::str::from_utf8(value).ok();
            }
        }
        Self::parse(parent?, state)
    }

    /// What an item's data says.
    pub fn of_data(data: &Map<String, Value>) -> Option<Self> {
        let text = |field| data.get(field).and_then(Value::as_str);
        Self::parse(text(TRACEPARENT)?, text(TRACESTATE))
    }

    /// Has an item's data say it.
    pub fn insert_into(&self, data: &mut Map<String, Value>) {
        data.insert(TRACEPARENT.to_owned(), self.parent.as_str().into());
        match &self.state {
            Some(state) => data.insert(TRACESTATE.to_owned(), state.as_str().into()),
            None => data.remove(TRACESTATE),
        };
    }

    /// What [`VARIABLES`](Self::VARIABLES) are to be; one without a value must not be inherited from elsewhere either.
    pub fn variables(&self) -> [(&'static str, Option<&str>); 2] {
        let [parent, state] = Self::VARIABLES;
        [(parent, Some(self.parent.as_str())), (state, self.state.as_deref())]
    }

    /// The trace's id, 32 hexadecimal digits: `trace_id` in log lines.
    pub fn trace_id(&self) -> &str {
        self.parent.get(3..35).unwrap_or_default()
    }
}

fn is_parent(text: &str) -> bool {
    let Some(known) = text.get(..LENGTH) else { return false };
    let parts: Vec<&str> = known.split('-').collect();
    let &[version, trace, parent, flags] = parts.as_slice() else { return false };
    let is_hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let is_id = |part: &str, length| is_hex(part, length) && part.bytes().any(|byte| byte != b'0');
    // A version to come may say more, behind another dash; ff is none.
    let rest = text.get(LENGTH..).unwrap_or_default();
    let ends =
        rest.is_empty() || (version != "00" && rest.starts_with('-') && rest.bytes().all(|b| b.is_ascii_graphic()));
    is_hex(version, 2) && version != "ff" && is_id(trace, 32) && is_id(parent, 16) && is_hex(flags, 2) && ends
}

fn is_state(text: &str) -> bool {
    let members: Vec<&str> =
        text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty()).collect();
    let mut keys = BTreeSet::new();
    !members.is_empty()
        && members.len() <= MEMBERS
        && members.into_iter().all(|member| {
            member.split_once('=').is_some_and(|(key, value)| is_key(key) && is_value(value) && keys.insert(key))
        })
}

fn is_key(key: &str) -> bool {
    let is_part = |part: &str, longest, first: fn(&u8) -> bool| {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(&byte);
        (1..=longest).contains(&part.len()) && part.as_bytes().first().is_some_and(first) && part.bytes().all(legal)
    };
    let letter: fn(&u8) -> bool = u8::is_ascii_lowercase;
    let sign: fn(&u8) -> bool = |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match key.split_once('@') {
        None => is_part(key, 256, sign),
        Some((tenant, system)) => is_part(tenant, 241, sign) && is_part(system, 14, letter),
    }
}

fn is_value(value: &str) -> bool {
    let legal = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(legal) && !value.ends_with(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_parent_is_as_w3c_has_it_or_none() {
        let later = GOOD.replacen("00", "cc", 1);
        for good in [GOOD, &later, &format!("{later}-what-comes")] {
            let trace = TraceContext::parse(good, None).expect(good);
            assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        }
        for bad in [
            "",
            "00-1-2-01",
            &GOOD.to_ascii_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &format!("{GOOD}-more"),
            &format!("{later}more"),
            &format!("{later}-\n"),
            &format!(" {GOOD}"),
            &format!("{GOOD}\0"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace('-', "_"),
            &GOOD.replace("4bf9", "4b\u{e9}"),
        ] {
            assert_eq!(TraceContext::parse(bad, Some("a=b")), None, "{bad:?}");
        }
    }

    #[test]
    fn a_state_that_is_malformed_is_left_out_and_the_parent_stays() {
        let state = |text: &str| TraceContext::parse(GOOD, Some(text)).expect("a parent").state;
        let many = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        for good in
            ["rojo=00f067aa0ba902b7", "a=1, b=2 ,, c@d=x y", "0@v=1", &many(32), &format!("k={}", "x".repeat(256))]
        {
            assert_eq!(state(good).as_deref(), Some(good));
        }
        for bad in [
            "",
            " , ",
            "a",
            "a=",
            "=b",
            "a=b=c",
            "A=b",
            "a=1,a=2",
            "a@=b",
            "a@1=b",
            "a=b\nc=d",
            "a=\u{e9}",
            &many(33),
            &format!("k={}", "x".repeat(257)),
        ] {
            assert_eq!(state(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn headers_data_and_variables_say_the_same() {
        let headers = [("traceparent", "00-1-2-01"), ("TraceParent", GOOD), ("tracestate", "a=b"), ("other", "x")];
        let trace = TraceContext::of_headers(headers.map(|(name, value)| (name, value.as_bytes()))).expect("a trace");
        let mut data = Map::new();
        data.insert(TRACESTATE.to_owned(), "of=another".into());
        trace.insert_into(&mut data);
        assert_eq!(TraceContext::of_data(&data), Some(trace.clone()));
        assert_eq!(trace.variables(), [("TRACEPARENT", Some(GOOD)), ("TRACESTATE", Some("a=b"))]);
        let stateless = TraceContext::parse(GOOD, None).expect("a trace");
        stateless.insert_into(&mut data);
        assert_eq!(TraceContext::of_data(&data), Some(stateless.clone()));
        assert_eq!(stateless.variables(), [("TRACEPARENT", Some(GOOD)), ("TRACESTATE", None)]);
        assert_eq!(TraceContext::of_headers([("traceparent", &b"\xff"[..])]), None);
        assert_eq!(TraceContext::of_headers([("tracestate", &b"a=b"[..])]), None);
    }
}
