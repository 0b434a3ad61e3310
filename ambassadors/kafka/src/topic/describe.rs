//! What librdkafka can be asked and rdkafka has no words for: the id of a topic, and what we may do there.
#![expect(unsafe_code, reason = "DescribeTopics is reached by nothing but its C functions")]

use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;

/// What is asked.
pub(super) struct Question<'a> {
    pub(super) topic: &'a str,
    /// Which broker; or whichever librdkafka likes.
    pub(super) broker: Option<i32>,
    /// What is allowed there too.
    pub(super) rights: bool,
}

/// What the brokers say of a topic.
#[derive(Debug)]
pub(super) struct Description {
    /// Its id, as Kafka writes it; none where brokers know no ids.
    pub(super) id: Option<String>,
    /// In their order.
    pub(super) partitions: Vec<i32>,
    /// Whether whoever asks may write there; nothing where that was not asked, or brokers do not say.
    pub(super) writable: Option<bool>,
}

/// How an answer is waited for: this long, then something else is looked after.
const TURN_MS: i32 = 50;

type Why = (RDKafkaErrorCode, Option<String>);

/// Asks for a topic. `wait` is called again and again meanwhile, and says whether to wait on.
///
/// # Errors
/// The code, and librdkafka's words where it has some.
pub(super) fn topic<C: ClientContext>(
    client: &Client<C>,
    question: &Question<'_>,
    deadline: Duration,
    wait: impl FnMut() -> bool,
) -> Result<Description, Why> {
    let answer = ask(client, question, deadline, wait)?;
    // SAFETY: `answer` is an event, and lives to the end of this function; so does all that is reached through it.
    unsafe {
        failed(c::rd_kafka_event_error(answer.0.as_ptr()), || c::rd_kafka_event_error_string(answer.0.as_ptr()))?;
        let result = c::rd_kafka_event_DescribeTopics_result(answer.0.as_ptr());
        if result.is_null() {
            return Err((RDKafkaErrorCode::Fail, None));
        }
        let mut count = 0;
        let topics = c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if topics.is_null() || count == 0 {
            return Err((RDKafkaErrorCode::UnknownTopic, None));
        }
        // SAFETY: there is at least one, and it is that which was asked for.
        described(*topics)
    }
}

/// # Safety
/// `topic` is a description that lives.
unsafe fn described(topic: *const c::rd_kafka_TopicDescription_t) -> Result<Description, Why> {
    // SAFETY: the caller's promise; what these return lives as long as the description.
    unsafe {
        let error = c::rd_kafka_TopicDescription_error(topic);
        failed(c::rd_kafka_error_code(error), || c::rd_kafka_error_string(error))?;
        let id = c::rd_kafka_TopicDescription_topic_id(topic);
        let bits = |of: unsafe extern "C" fn(*const c::rd_kafka_Uuid_t) -> i64| if id.is_null() { 0 } else { of(id) };
        let id = [bits(c::rd_kafka_Uuid_most_significant_bits), bits(c::rd_kafka_Uuid_least_significant_bits)];
        let mut count = 0;
        let list = c::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
        let list = if list.is_null() { &[] } else { std::slice::from_raw_parts(list, count) };
        let mut partitions: Vec<i32> = list.iter().map(|one| c::rd_kafka_TopicPartitionInfo_partition(*one)).collect();
        partitions.sort_unstable();
        let mut count = 0;
        let rights = c::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count);
        // As numbers: there may be rights that are in no enum yet.
        let writable = (!rights.is_null()).then(|| {
            std::slice::from_raw_parts(rights.cast::<u32>(), count)
                .contains(&(c::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE as u32))
        });
        Ok(Description { id: written(id), partitions, writable })
    }
}

/// As Kafka writes ids (`org.apache.kafka.common.Uuid`); the id of all zeros is none.
fn written(id: [i64; 2]) -> Option<String> {
    let bytes: Vec<u8> = id.iter().flat_map(|half| half.to_be_bytes()).collect();
    (id != [0, 0]).then(|| data_encoding::BASE64URL_NOPAD.encode(&bytes))
}

/// The cluster's id, if it is known within `deadline`.
pub(super) fn cluster_id<C: ClientContext>(client: &Client<C>, deadline: Duration) -> Option<String> {
    // SAFETY: the client lives as long as it is borrowed; the text is ours to free, with librdkafka's own function.
    unsafe {
        let text = c::rd_kafka_clusterid(client.native_ptr(), millis(deadline));
        let id = (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned());
        c::rd_kafka_mem_free(client.native_ptr(), text.cast());
        id
    }
}

/// Sends the request and waits for its answer.
fn ask<C: ClientContext>(
    client: &Client<C>,
    question: &Question<'_>,
    deadline: Duration,
    mut wait: impl FnMut() -> bool,
) -> Result<Owned<c::rd_kafka_event_t>, Why> {
    let none = || (RDKafkaErrorCode::Fail, None);
    let name = CString::new(question.topic).map_err(|_| (RDKafkaErrorCode::InvalidTopic, None))?;
    let mut names = [name.as_ptr()];
    // SAFETY: the client lives as long as it is borrowed. The names are copied. Each of what is made is freed once, by `Owned`, and the
    // queue last: an answer that nobody waits for any more is dropped with it.
    unsafe {
        let queue =
            Owned::of(c::rd_kafka_queue_new(client.native_ptr()), c::rd_kafka_queue_destroy).ok_or_else(none)?;
        let topics = c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let topics = Owned::of(topics, c::rd_kafka_TopicCollection_destroy).ok_or_else(none)?;
        let purpose = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = c::rd_kafka_AdminOptions_new(client.native_ptr(), purpose);
        let options = Owned::of(options, c::rd_kafka_AdminOptions_destroy).ok_or_else(none)?;
        let mut why: [c_char; 256] = [0; 256];
        let code = c::rd_kafka_AdminOptions_set_request_timeout(
            options.0.as_ptr(),
            millis(deadline),
            why.as_mut_ptr(),
            why.len(),
        );
        failed(code, || why.as_ptr())?;
        if question.rights {
            let error = c::rd_kafka_AdminOptions_set_include_authorized_operations(options.0.as_ptr(), 1);
            drop(Owned::of(error, c::rd_kafka_error_destroy));
        }
        if let Some(id) = question.broker {
            let code = c::rd_kafka_AdminOptions_set_broker(options.0.as_ptr(), id, why.as_mut_ptr(), why.len());
            failed(code, || why.as_ptr())?;
        }
        c::rd_kafka_DescribeTopics(client.native_ptr(), topics.0.as_ptr(), options.0.as_ptr(), queue.0.as_ptr());
        loop {
            let event = c::rd_kafka_queue_poll(queue.0.as_ptr(), TURN_MS);
            if let Some(event) = Owned::of(event, c::rd_kafka_event_destroy) {
                return Ok(event);
            }
            if !wait() {
                return Err((RDKafkaErrorCode::OperationTimedOut, None));
            }
        }
    }
}

fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX).max(1)
}

/// Nothing, where `code` is no error; else the error and its words.
///
/// # Safety
/// `words` gives a text that ends, and lives as long as this call; or null.
unsafe fn failed(code: RDKafkaRespErr, words: impl FnOnce() -> *const c_char) -> Result<(), Why> {
    if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    let text = words();
    // SAFETY: the caller's promise.
    let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned());
    Err((code.into(), text))
}

/// What librdkafka made for us, freed by the function that it has for that.
struct Owned<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    /// # Safety
    /// `made` is null, or nobody else frees it, and `free` is what frees it.
    unsafe fn of(made: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(made).map(|made| Self(made, free))
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the promise of `of`; it is dropped once.
        unsafe { (self.1)(self.0.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_kafka_writes_them() {
        assert_eq!(written([0, 1]).as_deref(), Some("AAAAAAAAAAAAAAAAAAAAAQ"));
        assert_eq!(written([0, 0]), None);
    }
}
