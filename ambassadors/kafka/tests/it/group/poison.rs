//! Records that are no work, or none that can be done.

use std::process::Command;

use data_encoding::BASE64;
use longshore_tests::until;
use serde_json::{Value, json};
use test_servers::queue_client;

use super::workers::{committed, committed_to_the_end};
use crate::program::{group, serving_in};
use crate::topic::{ANY_TIME, Topic, of_no_year, record};

mod needs_kafka {
    use super::*;

    /// Every record of a topic as kcat tells it; the headers as pairs.
    fn letters(topic: &Topic<'_>) -> Vec<Value> {
        let read = Command::new(queue_client("kcat"))
            .args(["-C", "-b", &topic.brokers(), "-t", &topic.name, "-e", "-q", "-J"])
            .output()
            .expect("kcat runs");
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        // Values that are no text are none here either.
        let text = String::from_utf8_lossy(&read.stdout);
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn headers(letter: &Value) -> Vec<(&str, &str)> {
        let flat = letter["headers"].as_array().expect("headers");
        let text = |value: &'_ Value| value.as_str().expect("text").to_owned().leak() as &str;
        flat.chunks(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_no_item_or_failed_goes_to_the_dead_letter_topic_as_it_was_and_with_the_reason() {
        let (topic, dead, group) = (Topic::new(1), Topic::new(1), group());
        topic.kafka.configure_topic(&topic.name, &[ANY_TIME]);
        let header = |text: &str| json!(BASE64.encode(text.as_bytes()));
        let mut own = record(0, Some(b"k"), Some(b"no object"));
        own["headers"] = json!([["traceparent", header("00-1")], ["longshore-reason", header("of another topic")]]);
        topic.write(&[
            record(0, Some(b"deleted"), None),
            own,
            record(0, None, Some(format!("{{\"a\":\"{}\"}}", "x".repeat(5_000)).as_bytes())),
            record(0, None, Some(b"{\"n\":1}")),
            record(0, None, Some(&[0xff, 0xfe])),
            record(0, Some(b"deleted too"), None),
            record(0, Some(&[b'k'; 5_000]), Some(b"{\"n\":2}")),
            of_no_year(record(0, None, Some(b"{\"n\":3}"))),
        ]);
        topic.kcat_with_odd_headers("{\"n\":4}");
        topic.kcat(0, ["{\"n\":5}".to_owned()]);
        let flags = ["--payload", "json", "--max-value", "4KiB", "--dead-letter-topic", &dead.name];
        let member = serving_in(&topic, &group, &flags).await;
        let names = member.holds(4).await;
        let data =
            async |name: &str| member.ask(&format!("/v1/items/{name}")).await.expect("an answer").1["data"].take();
        assert_eq!(data(&names[1]).await["timestamp"], "9999-12-31T23:59:59.000000000Z");
        assert_eq!(data(&names[2]).await["headers"]["x\u{fffd}ff"], "first");
        for failed in [0, 2].map(|n: usize| format!("{}?outcome=failed&reason=no%20such%20film", names[n])) {
            assert_eq!(member.settle(&failed).await, Some(204));
        }
        for done in [&names[1], &names[3]] {
            assert_eq!(member.settle(done).await, Some(204));
        }
        committed(&topic, &group, &[Some(10)]).await;
        member.is_empty().await;
        let letters = letters(&dead);
        let mut found: Vec<_> = letters.iter().map(headers).collect();
        found.sort_by_key(|all| all.iter().rfind(|(name, _)| *name == "longshore-offset").map(|(_, offset)| *offset));
        let of = |headers: &[(&str, &str)], name: &str| {
            headers.iter().rfind(|(is, _)| *is == name).map(|(_, value)| (*value).to_owned()).expect("the header")
        };
        let reasons: Vec<_> = found.iter().map(|headers| of(headers, "longshore-reason")).collect();
        assert!(reasons[0].contains("JSON object") && reasons[3].contains("JSON object"), "{reasons:?}");
        assert!(reasons[1].contains("--max-value") && reasons[4].contains("--max-value"), "{reasons:?}");
        assert_eq!((&*reasons[2], &*reasons[5], found.len()), ("no such film", "no such film", 6));
        for (headers, offset) in found.iter().zip(["1", "2", "3", "4", "6", "8"]) {
            assert_eq!(of(headers, "longshore-topic"), topic.name);
            assert_eq!((&*of(headers, "longshore-partition"), &*of(headers, "longshore-offset")), ("0", offset));
            assert!(of(headers, "longshore-timestamp").parse::<u64>().expect("milliseconds") > 1_700_000_000_000);
        }
        assert_eq!(found[0][..2], [("traceparent", "00-1"), ("longshore-reason", "of another topic")], "its own stay");
        assert_eq!(
            found[5][..2],
            [("x\u{fffd}", "first"), ("x\u{fffd}", "sec\u{fffd}")],
            "byte by byte, whatever they are"
        );
        let whole = letters.iter().find(|letter| letter["payload"] == "no object").expect("it is as it was");
        assert_eq!(whole["key"], "k");
        assert_eq!(member.figure("longshore_kafka_tombstones_total", "").await, 2.0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_letter_that_is_too_large_keeps_no_other_waiting_and_is_written_once_it_may_be() {
        let (topic, group) = (Topic::new(2), group());
        let dead = Topic { kafka: topic.kafka, name: format!("{}.dead", topic.name) };
        topic.kafka.create_topic(&dead.name, 1, &[("max.message.bytes", "3000")]);
        topic.kcat(0, ["x".repeat(5_000), "{}".to_owned()]);
        topic.kcat(1, ["short".to_owned(), "{}".to_owned()]);
        let flags = ["--payload", "json", "--dead-letter-topic", &dead.name];
        let member = serving_in(&topic, &group, &flags).await;
        for name in member.holds(2).await {
            assert_eq!(member.settle(&name).await, Some(204));
        }
        committed(&topic, &group, &[Some(0), Some(2)]).await;
        until("what is wrong", async || {
            member.log().contains("give that topic a larger max.message.bytes").then_some(())
        })
        .await;
        topic.kafka.configure_topic(&dead.name, &[("max.message.bytes", "10000")]);
        committed_to_the_end(&topic, &group).await;
        assert_eq!(letters(&dead).len(), 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_a_dead_letter_topic_what_is_no_item_waits_until_somebody_settles_it_by_the_name_that_is_told() {
        let (topic, group) = (Topic::new(1), group());
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = BASE64.encode(format!("00-{trace}-00f067aa0ba902b7-01").as_bytes());
        let traced = |value: &str| {
            let mut traced = record(0, None, Some(value.as_bytes()));
            traced["headers"] = json!([["traceparent", parent]]);
            traced
        };
        topic.kafka.configure_topic(&topic.name, &[ANY_TIME]);
        let unreadable = of_no_year(traced("no object"));
        topic.write(&[traced("{}"), unreadable, record(0, None, Some(b"{}"))]);
        let member = serving_in(&topic, &group, &["--payload", "json"]).await;
        let names = member.holds(2).await;
        assert_eq!(member.settle(&format!("{}?outcome=failed&reason=bad", names[0])).await, Some(204));
        assert_eq!(member.settle(&names[1]).await, Some(204));
        committed(&topic, &group, &[Some(1)]).await;
        let (_, withheld) = member.ask("/v1/withheld").await.expect("an answer");
        let reasons: Vec<_> = (0..2).map(|n| withheld["items"][n]["reason"].as_str().expect("a reason")).collect();
        assert_eq!(reasons, ["dead-letter", "malformed"], "{withheld}");
        let said = withheld["items"][1]["message"].as_str().expect("a message");
        let name = said.split(' ').find(|word| word.contains("-0-1-")).expect("its name");
        assert_eq!(
            member.ask(&format!("/v1/items/{name}")).await.map(|(status, _)| status),
            Some(404),
            "it is no item"
        );
        assert_eq!(member.settle(name).await, Some(204));
        committed_to_the_end(&topic, &group).await;
        for message in ["a record is no item", "a record failed for good, and stays where it is"] {
            let lines: Vec<Value> = member.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let line = lines.iter().find(|line| line["message"] == message).expect("it is logged");
            assert_eq!(line["trace_id"], trace, "{line}");
        }
    }
}
