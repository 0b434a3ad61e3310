//! What rdkafka has no words for in a record, or words that end the process: which broker gave it, and headers whose names are no UTF-8,
//! which nobody forbids; and how those are written.
#![expect(unsafe_code, reason = "these are reached by nothing but C functions")]

use std::ffi::CStr;
use std::ptr;

use rdkafka::bindings as c;
use rdkafka::message::{BorrowedMessage, OwnedHeaders};
use rdkafka::types::RDKafkaRespErr;

/// The broker that a record was fetched from, where librdkafka says it.
pub(crate) fn giver(message: &BorrowedMessage<'_>) -> Option<i32> {
    // SAFETY: the message lives as long as it is borrowed.
    let id = unsafe { c::rd_kafka_message_broker_id(message.ptr()) };
    (id >= 0).then_some(id)
}

/// Its headers in their order.
pub(super) fn headers<'a>(message: &'a BorrowedMessage<'_>) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + 'a {
    let mut all = ptr::null_mut();
    // SAFETY: the message lives as long as it is borrowed; the headers are its own, and set only where this succeeds.
    let found = unsafe { c::rd_kafka_message_headers(message.ptr(), &raw mut all) };
    let found = found == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
    (0..).map_while(move |place| {
        if !found {
            return None;
        }
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the headers live as long as the message; name, a text that ends, and value live as long, and are set where this succeeds.
        unsafe {
            let got = c::rd_kafka_header_get_all(all, place, &raw mut name, &raw mut value, &raw mut size);
            if got != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast(), size));
            Some((CStr::from_ptr(name).to_bytes(), value))
        }
    })
}

/// The same headers with one more.
pub(crate) fn with_header(headers: OwnedHeaders, name: &[u8], value: Option<&[u8]>) -> OwnedHeaders {
    let all = ptr::from_ref(headers.as_borrowed()).cast_mut().cast::<c::rd_kafka_headers_t>();
    let size = |bytes: &[u8]| isize::try_from(bytes.len()).unwrap_or(isize::MAX);
    let (value, length) = value.map_or((ptr::null(), 0), |value| (value.as_ptr(), size(value)));
    // SAFETY: what `as_borrowed` gives lies where librdkafka made it, and is ours alone; name and value are copied, and reach as far as is said.
    unsafe { c::rd_kafka_header_add(all, name.as_ptr().cast(), size(name), value.cast(), length) };
    headers
}
