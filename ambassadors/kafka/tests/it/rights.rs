//! Rights on part of what is needed: whoever may look and not read is told so, and never that there is nothing.

use std::io::Write;
use std::time::{Duration, SystemTime};

use ambassador_kit::source::{Health, Source};
use kafka_ambassador::LogSource;
use longshore_tests::source::{listed, live};
use longshore_tests::until;
use sidecar::metrics::registry::Registry;
use test_servers::{Kafka, KafkaListener, KafkaResource};

use crate::topic::{QUICK, Topic, settings, token, values};

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
        let lost = tokio::time::timeout(Duration::from_secs(240), lost).await.map(|_| ());
        assert!(lost.is_ok(), "{:?}", *source.health().borrow());
        assert!(!was_live, "nothing was read, so nothing is said to be all");
        kafka.allow(&user, KafkaResource::Topic(&topic.name), &["READ"]);
        live(&source).await;
        assert_eq!(values(&source).await, ["a", "b"]);
    }

    /// Every token holds for 5 s, and brokers let nobody go on with one that holds no more. Somebody keeps the file fresh.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_token_that_somebody_keeps_fresh_is_read_again_before_brokers_would_ask() {
        let kafka = Kafka::shared();
        let topic = Topic::new(1);
        kafka.allow(Kafka::USER, KafkaResource::Topic(&topic.name), &["DESCRIBE", "READ"]);
        let folder = tempfile::tempdir().expect("a folder");
        let (file, new) = (folder.path().join("token"), folder.path().join("new"));
        let freshen = move || {
            std::fs::write(&new, token(Kafka::USER, 5)).expect("a token");
            std::fs::rename(&new, folder.path().join("token")).expect("in its place");
        };
        freshen();
        let freshener = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                freshen();
            }
        });
        let flags = [&QUICK[..], &["--oauth-token-file", file.to_str().expect("text")]].concat();
        let source = LogSource::open(
            settings(&kafka.bootstrap(KafkaListener::Sasl), &topic.name, &flags),
            &mut Registry::default(),
        );
        live(&source).await;
        // By now the token that it began with has long been none.
        let expired = SystemTime::now() + Duration::from_secs(12);
        until("a later time", async || (SystemTime::now() > expired).then_some(())).await;
        topic.kcat(0, ["late".to_owned()]);
        listed(&source, 1).await;
        live(&source).await;
        freshener.abort();
    }
}
