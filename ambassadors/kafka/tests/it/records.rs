//! What is listed of what a topic holds, and what its items say.

use std::time::SystemTime;

use ambassador_kit::source::{Source, SourceError};
use data_encoding::BASE64;
use longshore_tests::source::{listed, names, withheld};
use longshore_tests::until;
use serde_json::json;
use test_servers::Kafka;

use crate::program::serving;
use crate::topic::{ANY_TIME, Topic, data, of_no_year, record, values};

mod needs_kafka {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_thousand_records_are_listed_read_and_named_the_same_by_whoever_reads_them() {
        let topic = Topic::new(3);
        for partition in 0..3 {
            topic.kcat(partition, (0..334).map(|n| format!("{partition}/{n}")));
        }
        let source = topic.served(&[]).await;
        let before = names(&source).await;
        assert_eq!(before.len(), 1_002);
        let expected: Vec<_> = (0..3).flat_map(|partition| (0..334).map(move |n| format!("{partition}/{n}"))).collect();
        assert_eq!(values(&source).await, expected, "in the order of partitions and offsets");
        let item = data(&source, &before[335]).await;
        assert_eq!((&item["topic"], &item["partition"], &item["offset"]), (&json!(topic.name), &json!(1), &json!(1)));
        assert_eq!(names(&topic.served(&[]).await).await, before);
        // In no order, and by many at once.
        let mut order: Vec<_> = (0..before.len()).collect();
        fastrand::shuffle(&mut order);
        let asks = order.iter().take(200).map(async |n| (*n, data(&source, &before[*n]).await));
        for (n, item) in futures_util::future::join_all(asks).await {
            assert_eq!(item["value"], expected[n]);
        }
        topic.kcat(2, ["late".to_owned()]);
        let name = listed(&source, 1_003).await.pop().expect("the last");
        assert_eq!(data(&source, &name).await["value"], "late");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_kind_of_record_is_told_as_it_is_or_withheld_with_the_reason() {
        let kafka = Kafka::shared();
        let name = format!("Every.Kind_of-{}", "x".repeat(235));
        assert_eq!(name.len(), 249);
        let topic = Topic::named(kafka, &name, &[("max.message.bytes", "10000000"), ANY_TIME]);
        let large = vec![b'l'; 1 << 20];
        let mut with_headers = record(0, Some(&[0xff, 0]), Some(b"binary key"));
        let header = |text: &str| json!(BASE64.encode(text.as_bytes()));
        with_headers["headers"] = json!([
            ["traceparent", header("00-ab-cd-01")],
            ["empty", null],
            ["twice", header("a")],
            ["twice", header("b")]
        ]);
        topic.write(&[
            record(0, None, Some(b"plain")),
            with_headers,
            record(0, Some(b"k"), None),
            record(0, None, Some(&[0x80, 0x81])),
            record(0, None, Some(&large)),
            of_no_year(record(0, None, Some(b"{\"n\": 1}"))),
            record(0, None, Some(b"")),
        ]);
        topic.kcat_with_odd_headers("{\"n\": 2}");
        topic.kcat(0, ["last".to_owned()]);
        let source = topic.served(&[]).await;
        let items = names(&source).await;
        assert_eq!(items.len(), 7);
        assert!(items.iter().all(|name| name.is_label()), "{items:?}");
        let binary = data(&source, &items[1]).await;
        assert_eq!((&binary["keyBase64"], &binary["value"]), (&json!(BASE64.encode(&[0xff, 0])), &json!("binary key")));
        assert_eq!(binary["headers"], json!({"traceparent": "00-ab-cd-01", "empty": null, "twice": "b"}));
        assert_eq!(data(&source, &items[2]).await["valueBase64"], BASE64.encode(&[0x80, 0x81]));
        assert_eq!(data(&source, &items[3]).await["timestamp"], "9999-12-31T23:59:59.000000000Z");
        assert_eq!(data(&source, &items[4]).await["value"], "");
        let odd = data(&source, &items[5]).await;
        let two = json!({"x\u{fffd}ff": "first", "x\u{fffd}feBase64": BASE64.encode(b"sec\xfe")});
        assert_eq!(odd["headers"], two, "two names are two");
        assert_eq!(data(&source, &items[6]).await["value"], "last");
        let why: Vec<_> = withheld(&source).await.into_iter().map(|one| (one.key.to_string(), one.reason)).collect();
        assert_eq!(
            why,
            [(format!("{name}/0/2"), "tombstone".to_owned()), (format!("{name}/0/4"), "too-large".to_owned())]
        );
        let source = topic.served(&["--tombstones", "--max-value", "2MiB"]).await;
        let items = names(&source).await;
        assert_eq!(items.len(), 9);
        assert_eq!(data(&source, &items[4]).await["value"].as_str().map(str::len), Some(1 << 20));
        let tombstone = data(&source, &items[2]).await;
        assert_eq!((&tombstone["key"], tombstone.get("value")), (&json!("k"), None));
        let source = topic.served(&["--payload", "json"]).await;
        let mut numbers = Vec::new();
        for name in names(&source).await {
            numbers.push(data(&source, &name).await["n"].clone());
        }
        assert_eq!(numbers, [1, 2], "whoever reads values while listing takes them too");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_only_key_and_headers_make_larger_than_an_item_may_be_is_withheld_too() {
        let topic = Topic::named(
            Kafka::shared(),
            &format!("heavy-{:x}", fastrand::u64(..)),
            &[("max.message.bytes", "10000000")],
        );
        let large = vec![b'l'; 1_200_000];
        let mut heavy = record(0, None, Some(b"by its headers"));
        heavy["headers"] = json!([["small", "eA=="], ["large", BASE64.encode(&large)]]);
        let mut light = record(0, Some(b"key"), Some(b"light"));
        light["headers"] = json!([["small", "eA=="]]);
        topic.write(&[heavy, record(0, Some(&large), Some(b"by its key")), light]);
        let source = topic.served(&[]).await;
        assert_eq!(values(&source).await, ["light"]);
        let why: Vec<_> = withheld(&source).await.into_iter().map(|one| one.reason).collect();
        assert_eq!(why, ["too-large", "too-large"]);
        // Larger than what a lane asks for at once.
        let source = topic.served(&["--max-value", "2MiB"]).await;
        assert_eq!(values(&source).await, ["by its headers", "by its key", "light"]);
    }

    /// They lie so close that the log is read from the one to the other.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_lies_between_two_records_that_are_asked_for_takes_no_memory() {
        const COUNT: usize = 250;
        let topic = Topic::new(1);
        topic.write(&[json!({"partition": 0, "count": COUNT, "size": 600_000})]);
        let program = serving(&topic, &["--poll", "100ms"]).await;
        let names = program.holds(COUNT).await;
        let get = async |n: usize| {
            let item = format!("/v1/items/{}", names[n]);
            // Whoever stands still for a while may have to be asked again.
            let answer = async || program.ask(&item).await.filter(|(status, _)| *status != 503);
            let (status, item) = until("an answer", answer).await;
            assert_eq!((status, item["data"]["offset"].as_u64()), (200, Some(n as u64)));
        };
        tokio::join!(get(0), get(COUNT - 1), get(COUNT / 2));
        get(3).await;
        get(COUNT - 3).await;
        let peak = program.peak_memory();
        assert!(peak < 96 << 20, "{peak}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_not_what_payload_says_is_withheld() {
        let topic = Topic::new(1);
        topic.kcat(0, ["s3://b/k", "not one", "{\"uri\":\"file:/x\"}", "[1]"].map(str::to_owned));
        let source = topic.served(&["--payload", "uri"]).await;
        let items = names(&source).await;
        assert_eq!(data(&source, &items[0]).await["uri"], "s3://b/k");
        let source = topic.served(&["--payload", "json"]).await;
        let items = names(&source).await;
        assert_eq!(items.len(), 1);
        assert_eq!(data(&source, &items[0]).await["uri"], "file:/x");
        assert!(withheld(&source).await.iter().all(|one| one.reason == "malformed" && one.message.contains("JSON")));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_transaction_is_listed_when_it_is_committed_and_never_when_it_is_not() {
        let topic = Topic::new(1);
        let one = |text: &str| record(0, None, Some(text.as_bytes()));
        let (begin, commit, abort) = (json!({"begin": 1}), json!({"commit": 1}), json!({"abort": 1}));
        topic.write(&[begin.clone(), one("a"), one("b"), commit.clone(), begin.clone(), one("lost"), abort.clone()]);
        let source = topic.served(&[]).await;
        assert_eq!(values(&source).await, ["a", "b"]);
        topic.write(&[begin.clone(), one("lost too"), abort, begin, one("c"), commit]);
        listed(&source, 3).await;
        assert_eq!(values(&source).await, ["a", "b", "c"]);
        assert_eq!(values(&topic.served(&[]).await).await, ["a", "b", "c"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_list_begins_where_it_is_told_to() {
        let topic = Topic::new(1);
        topic.kcat(0, ["old".to_owned()]);
        // By the clock that stamps records, which is this machine's.
        let between = SystemTime::now() + std::time::Duration::from_millis(50);
        until("a later time", async || (SystemTime::now() > between).then_some(())).await;
        let time = humantime::format_rfc3339_millis(between).to_string();
        topic.kcat(0, ["new".to_owned()]);
        assert_eq!(values(&topic.served(&["--start", &time]).await).await, ["new"]);
        let source = topic.served(&["--start", "latest"]).await;
        assert_eq!(names(&source).await.len(), 0);
        topic.kcat(0, ["newest".to_owned()]);
        listed(&source, 1).await;
        assert_eq!(values(&source).await, ["newest"]);
        let all = topic.served(&[]).await;
        let old = names(&all).await.remove(0);
        assert!(matches!(source.get(&old).await, Err(SourceError::NotFound(_))), "it was never listed there");
        assert_eq!(
            values(&topic.served(&["--start", "committed", "--group", "nobody"]).await).await,
            ["old", "new", "newest"]
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn reading_commits_nothing() {
        let topic = Topic::new(1);
        topic.kcat(0, (0..10).map(|n| n.to_string()));
        let group = format!("of-{}", topic.name);
        let source = topic.served(&["--group", &group]).await;
        assert_eq!(values(&source).await.len(), 10);
        drop(source);
        assert_eq!(topic.kafka.committed(&group, &topic.name), [None]);
    }
}
