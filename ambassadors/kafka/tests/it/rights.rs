//! Rights on part of what is needed: whoever may look and not read is told so, and never that there is nothing.

use std::io::Write;

use ambassador_kit::source::{Health, Source};
use kafka_ambassador::LogSource;
use sidecar::metrics::registry::Registry;
use test_servers::{Kafka, KafkaListener, KafkaResource};

use crate::topic::{QUICK, Topic, live, settings, values};

mod needs_kafka {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_may_look_and_not_read_is_told_and_needs_no_right_on_a_group() {
        let kafka = Kafka::shared();
        let topic = Topic::new(1);
        topic.kcat(0, ["a".to_owned(), "b".to_owned()]);
        let (user, password) = (format!("user-{:x}", fastrand::u64(..)), "its-secret");
        kafka.add_user(&user, password);
        kafka.allow(&user, KafkaResource::Topic(&topic.name), &["DESCRIBE"]);
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        writeln!(file, "{password}").expect("written");
        let file = file.path().to_str().expect("text");
        let flags = ["--sasl", "scram-sha-256", "--username", &user, "--password-file", file];
        let flags = [&QUICK[..], &flags].concat();
        let source = LogSource::open(
            settings(&kafka.bootstrap(KafkaListener::Sasl), &topic.name, &flags),
            &mut Registry::default(),
        );
        let mut health = source.health();
        let mut was_live = false;
        let lost = health.wait_for(|health| {
            was_live |= *health == Health::Live;
            matches!(health, Health::Lost { why } if why.contains("the brokers do not allow it"))
        });
        let lost = tokio::time::timeout(std::time::Duration::from_secs(240), lost).await.map(|_| ());
        assert!(lost.is_ok(), "{:?}", *source.health().borrow());
        assert!(!was_live, "nothing was read, so nothing is said to be all");
        kafka.allow(&user, KafkaResource::Topic(&topic.name), &["READ"]);
        live(&source).await;
        assert_eq!(values(&source).await, ["a", "b"]);
    }
}
