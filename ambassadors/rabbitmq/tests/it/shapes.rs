//! Messages and queues of all shapes.

use data_encoding::BASE64;
use serde_json::{Value, json};
use test_servers::RabbitMq;

use crate::program::serving;
use crate::queue::Queue;

mod needs_rabbitmq {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_message_says_is_the_items_data() {
        let rabbit = RabbitMq::shared();
        let mut queue = Queue::unmade(rabbit);
        // As long as a name may be, with all that people make of it.
        queue.name = format!("{}.Длинное/Name_", queue.name);
        queue.name.extend(std::iter::repeat_n('-', 255 - queue.name.len()));
        queue.make(&json!({}));
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let large = "x".repeat(1 << 20);
        queue.publish(&[
            json!({
                "body": "s3://videos/a.mp4", "message_id": "id", "correlation_id": "c", "content_type": "text/plain", "type": "clip",
                "timestamp": 1_700_000_000, "headers": {"traceparent": trace, "n": 7, "deep": {"list": [1, "a"]}, "raw": "base64:/w=="},
            }),
            json!({"base64": BASE64.encode(&[0, 0xff])}),
            json!({"body": ""}),
            json!({"body": large}),
            // Of what was read of a stream and published anew.
            json!({"body": "a", "headers": {"x-stream-offset": 7}}),
        ]);
        let mut program = serving(&queue, &["--max-value", "1MiB"]).await;
        let names = program.holds(5).await;
        assert!(names.iter().all(|name| name.len() <= 52 && name.starts_with("name-")), "{names:?}");
        let whole = program.data(&names[0]).await;
        assert_eq!(
            whole,
            json!({
                "queue": queue.name, "exchange": "", "routingKey": queue.name, "deliveryTag": 1, "redelivered": false,
                "timestamp": "2023-11-14T22:13:20.000000000Z", "messageId": "id", "correlationId": "c", "contentType": "text/plain",
                "type": "clip", "value": "s3://videos/a.mp4", "key": "id", "traceparent": trace,
                "headers": {"traceparent": trace, "n": 7, "deep": {"list": [1, "a"]}, "rawBase64": "/w=="},
            })
        );
        assert_eq!(program.data(&names[1]).await["valueBase64"], json!(BASE64.encode(&[0, 0xff])));
        assert_eq!(program.data(&names[2]).await["value"], json!(""));
        assert_eq!(program.data(&names[3]).await["value"].as_str().map(str::len), Some(1 << 20));
        program.terminate().await;
        // What comes again says so.
        let program = serving(&queue, &["--payload", "uri"]).await;
        let again = program.data(&program.holds(1).await[0]).await;
        assert_eq!(["redelivered", "uri"].map(|field| again[field].clone()), [json!(true), json!("s3://videos/a.mp4")]);
        let withheld = program.withholds(4).await;
        let reasons: Vec<_> = withheld.iter().map(|one: &Value| one["reason"].clone()).collect();
        assert_eq!(reasons, ["malformed", "malformed", "too-large", "malformed"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_is_no_queue_and_is_told_of_until_a_queue_takes_its_place() {
        let queue = Queue::of(RabbitMq::shared(), json!({"x-queue-type": "stream"}));
        let program = serving(&queue, &[]).await;
        program.is_red("it is a stream").await;
        queue.delete();
        queue.make(&json!({}));
        queue.fill(1);
        program.holds(1).await;
    }
}
