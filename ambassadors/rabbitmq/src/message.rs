//! A message as it is delivered, and what of it is an item's data.

use ambassador_kit::queue::Said;
use contract::{Timestamp, TraceContext};
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Map, Value};

use crate::args::Identity;

/// What a quorum queue counts how often it has delivered a message in.
const DELIVERY_COUNT: &str = "x-delivery-count";

/// What RabbitMQ adds on the way, so that a message that comes again differs by it from what it was.
pub(crate) const ADDED: [&str; 2] = [DELIVERY_COUNT, "x-acquired-count"];

/// By what it is known, as `--identity` says; `None` where it has no such thing.
pub(crate) fn identity(delivery: &Delivery, identity: &Identity) -> Option<Vec<u8>> {
    let said = match identity {
        Identity::MessageId => delivery.properties.message_id().as_ref()?.as_str().as_bytes().to_vec(),
        Identity::Header(name) => match headers(delivery)?.inner().get(name.as_str())? {
            AMQPValue::LongString(text) => text.as_bytes().to_vec(),
            AMQPValue::ShortString(text) => text.as_str().as_bytes().to_vec(),
            AMQPValue::ByteArray(bytes) => bytes.as_slice().to_vec(),
            number => whole(number)?.to_string().into_bytes(),
        },
        Identity::Delivery => return None,
    };
    Some(said).filter(|said| !said.is_empty())
}

/// What whoever sent it said.
pub(crate) fn said(delivery: &Delivery) -> Said<'_> {
    let table = headers(delivery);
    let texts = table.into_iter().flat_map(FieldTable::inner).filter_map(|(name, value)| match value {
        AMQPValue::LongString(text) => Some((name.as_str(), text.as_bytes())),
        AMQPValue::ShortString(text) => Some((name.as_str(), text.as_str().as_bytes())),
        _ => None,
    });
    Said {
        value: Some(&delivery.data),
        key: delivery.properties.message_id().as_ref().map(|id| id.as_str().as_bytes()),
        trace: TraceContext::of_headers(texts),
        headers: table.map(object).unwrap_or_default(),
    }
}

/// Where it lies, as fields of the item's data.
pub(crate) fn place(delivery: &Delivery, queue: &str) -> Vec<(&'static str, Value)> {
    let properties = &delivery.properties;
    let mut place: Vec<(&'static str, Value)> = vec![
        ("queue", queue.into()),
        ("exchange", delivery.exchange.as_str().into()),
        ("routingKey", delivery.routing_key.as_str().into()),
        ("deliveryTag", delivery.delivery_tag.into()),
        ("redelivered", delivery.redelivered.into()),
    ];
    let count = headers(delivery).and_then(|headers| headers.inner().get(DELIVERY_COUNT)).and_then(whole);
    place.extend(count.map(|count| ("deliveryCount", count.into())));
    place.extend(properties.priority().map(|priority| ("priority", priority.into())));
    place.extend(properties.timestamp().map(|seconds| ("timestamp", time(seconds))));
    for (field, value) in [
        ("messageId", properties.message_id()),
        ("correlationId", properties.correlation_id()),
        ("contentType", properties.content_type()),
        ("type", properties.kind()),
    ] {
        place.extend(value.as_ref().map(|value| (field, value.as_str().into())));
    }
    place
}

fn headers(delivery: &Delivery) -> Option<&FieldTable> {
    delivery.properties.headers().as_ref()
}

fn object(table: &FieldTable) -> Map<String, Value> {
    let mut object = Map::new();
    for (name, value) in table {
        let (mut put, name) = (|bytes: &[u8]| Said::text(&mut object, name.as_str(), bytes), name.as_str());
        match value {
            AMQPValue::LongString(text) => put(text.as_bytes()),
            AMQPValue::ByteArray(bytes) => put(bytes.as_slice()),
            other => drop(object.insert(name.to_owned(), json(other))),
        }
    }
    object
}

fn json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(on) => (*on).into(),
        AMQPValue::Float(number) => (*number).into(),
        AMQPValue::Double(number) => (*number).into(),
        AMQPValue::DecimalValue(number) => (f64::from(number.value) / 10_f64.powi(number.scale.into())).into(),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(text) => bytes(text.as_bytes()),
        AMQPValue::ByteArray(array) => bytes(array.as_slice()),
        AMQPValue::FieldArray(array) => array.as_slice().iter().map(json).collect(),
        AMQPValue::FieldTable(table) => object(table).into(),
        AMQPValue::Timestamp(seconds) => time(*seconds),
        AMQPValue::Void => Value::Null,
        number => whole(number).map_or(Value::Null, Value::from),
    }
}

/// Of an array's element, which has no name that could say what it is.
fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => Value::Object(Map::from_iter([("base64".to_owned(), data_encoding::BASE64.encode(bytes).into())])),
    }
}

fn whole(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::ShortShortInt(number) => Some((*number).into()),
        AMQPValue::ShortShortUInt(number) => Some((*number).into()),
        AMQPValue::ShortInt(number) => Some((*number).into()),
        AMQPValue::ShortUInt(number) => Some((*number).into()),
        AMQPValue::LongInt(number) => Some((*number).into()),
        AMQPValue::LongUInt(number) => Some((*number).into()),
        AMQPValue::LongLongInt(number) => Some(*number),
        _ => None,
    }
}

/// The protocol has seconds; who sends others is beyond the year 9999, and clamped.
fn time(seconds: u64) -> Value {
    Timestamp::from_unix_nanos(i128::from(seconds) * 1_000_000_000).to_string().into()
}

#[cfg(test)]
mod tests {
    use lapin::BasicProperties;
    use lapin::types::FieldArray;
    use serde_json::json;

    use super::*;

    fn delivery(body: &[u8], properties: BasicProperties) -> Delivery {
        let mut delivery = Delivery::mock(7, "media".into(), "videos".into(), true, body.to_vec());
        delivery.properties = properties;
        delivery
    }

    #[test]
    fn headers_are_json_whatever_they_are_in_the_protocol() {
        let mut inner = FieldTable::default();
        inner.insert("reason".into(), AMQPValue::LongString("rejected".into()));
        inner.insert("time".into(), AMQPValue::Timestamp(1_700_000_000));
        let array = vec![AMQPValue::FieldTable(inner), AMQPValue::LongString(vec![0xff].into())];
        let mut table = FieldTable::default();
        for (name, value) in [
            ("x-death", AMQPValue::FieldArray(FieldArray::from(array))),
            ("x-delivery-count", AMQPValue::LongLongInt(3)),
            ("h", AMQPValue::LongString(vec![0xff].into())),
            ("n", AMQPValue::Double(f64::NAN)),
            ("v", AMQPValue::Void),
            ("traceparent", AMQPValue::LongString("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into())),
        ] {
            table.insert(name.into(), value);
        }
        let properties = BasicProperties::default().with_headers(table).with_timestamp(u64::MAX);
        let delivery = delivery(b"", properties);
        let said = said(&delivery);
        assert_eq!(said.trace.as_ref().map(TraceContext::trace_id), Some("0af7651916cd43dd8448eb211c80319c"));
        assert_eq!(
            Value::from(said.headers),
            json!({
                "x-death": [{"reason": "rejected", "time": "2023-11-14T22:13:20.000000000Z"}, {"base64": "/w=="}],
                "x-delivery-count": 3, "hBase64": "/w==", "n": null, "v": null,
                "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            })
        );
        let place: Map<_, _> =
            place(&delivery, "q").into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        assert_eq!(
            Value::from(place),
            json!({
                "queue": "q", "exchange": "media", "routingKey": "videos", "deliveryTag": 7, "redelivered": true,
                "deliveryCount": 3, "timestamp": "9999-12-31T23:59:59.000000000Z",
            })
        );
    }

    #[test]
    fn what_a_message_is_known_by_is_what_it_says_or_nothing() {
        let mut table = FieldTable::default();
        table.insert("id".into(), AMQPValue::LongInt(12));
        let known = delivery(b"", BasicProperties::default().with_message_id("m".into()).with_headers(table));
        let header = Identity::Header("id".to_owned());
        assert_eq!(identity(&known, &Identity::MessageId).as_deref(), Some(b"m".as_slice()));
        assert_eq!(identity(&known, &header).as_deref(), Some(b"12".as_slice()));
        assert_eq!(identity(&known, &Identity::Delivery), None);
        let bare = delivery(b"", BasicProperties::default().with_message_id("".into()));
        assert_eq!((identity(&bare, &Identity::MessageId), identity(&bare, &header)), (None, None));
    }
}
