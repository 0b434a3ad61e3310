//! What rdkafka has no words for in a record, or words that end the process: which broker gave it, and headers whose names are no UTF-8,
//! which nobody forbids.
#![expect(unsafe_code, reason = "these are reached by nothing but C functions")]

use std::borrow::Cow;
use std::ffi::CStr;
use std::ptr;

use rdkafka::bindings as c;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;

/// The broker that a record was fetched from, where librdkafka says it.
pub(crate) fn giver(message: &BorrowedMessage<'_>) -> Option<i32> {
    // SAFETY: the message lives as long as it is borrowed.
    let id = unsafe { c::rd_kafka_message_broker_id(message.ptr()) };
    (id >= 0).then_some(id)
}

/// Its headers in their order; what is no UTF-8 in a name is a replacement character.
pub(super) fn headers<'a>(
    message: &'a BorrowedMessage<'_>,
) -> impl Iterator<Item = (Cow<'a, str>, Option<&'a [u8]>)> + 'a {
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
            let name = CStr::from_ptr(name).to_string_lossy();
            Some((name, (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast(), size))))
        }
    })
}
