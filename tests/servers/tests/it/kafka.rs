//! A Kafka keeps what it took over a kill, lets in by every way those whom it should, and is gone when it should be.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use test_servers::{Kafka, KafkaListener, KafkaOptions, KafkaResource, queue_client};

use crate::victim;

const WAYS: [KafkaListener; 5] =
    [KafkaListener::Plain, KafkaListener::Sasl, KafkaListener::SaslTls, KafkaListener::Tls, KafkaListener::MutualTls];

fn kcat(properties: &[(String, String)]) -> Command {
    let mut kcat = Command::new(queue_client("kcat"));
    for (name, value) in properties {
        kcat.args(["-X", &format!("{name}={value}")]);
    }
    kcat
}

fn produce(properties: &[(String, String)], topic: &str, lines: &str) -> Output {
    let mut kcat = kcat(properties);
    kcat.args(["-P", "-t", topic, "-p", "0", "-X", "enable.idempotence=true"]);
    let mut kcat = kcat.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kcat runs");
    kcat.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("kcat reads");
    kcat.wait_with_output().expect("kcat ends")
}

fn read(properties: &[(String, String)], topic: &str) -> Output {
    let mut kcat = kcat(properties);
    kcat.args(["-C", "-q", "-e", "-m", "60", "-o", "beginning", "-t", topic]).output().expect("kcat runs")
}

fn consume(properties: &[(String, String)], topic: &str) -> String {
    let read = read(properties, topic);
    done(&read);
    String::from_utf8_lossy(&read.stdout).into_owned()
}

fn done(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_broker_keeps_what_it_took_when_it_is_killed_and_stopped_and_answers_nobody_while_it_is_paused() {
    let mut kafka = Kafka::start(KafkaOptions::default());
    let plain = kafka.client(KafkaListener::Plain);
    let topic = kafka.topic(1);
    done(&produce(&plain, &topic, "a\nb\n"));
    kafka.kill([1]);
    assert!(std::net::TcpStream::connect(kafka.bootstrap(KafkaListener::Plain)).is_err(), "a killed broker answers");
    kafka.restart([1]);
    assert_eq!(consume(&plain, &topic), "a\nb\n");
    done(&produce(&plain, &topic, "c\n"));
    kafka.stop([1]);
    kafka.restart([1]);
    assert_eq!(consume(&plain, &topic), "a\nb\nc\n");

    kafka.pause([1]);
    let asked = std::thread::spawn({
        let topic = topic.clone();
        move || produce(&plain, &topic, "held\n")
    });
    std::thread::sleep(Duration::from_millis(500));
    assert!(!asked.is_finished(), "a paused broker answered");
    kafka.resume([1]);
    done(&asked.join().expect("no panic"));
    assert_eq!(kafka.end_offsets(&topic), [4]);
}

#[test]
fn three_brokers_lose_nothing_with_the_one_that_led() {
    let mut kafka = Kafka::start(KafkaOptions { brokers: 3, ..KafkaOptions::default() });
    let plain = kafka.client(KafkaListener::Plain);
    let topic = kafka.topic(1);
    done(&produce(&plain, &topic, "a\n"));
    let first = kafka.leader(&topic, 0);
    kafka.kill([first]);
    let begun = Instant::now();
    while kafka.leader(&topic, 0) == first {
        assert!(begun.elapsed() < Duration::from_secs(240), "broker {first} leads, and is dead");
        std::thread::sleep(Duration::from_millis(50));
    }
    done(&produce(&plain, &topic, "b\n"));
    kafka.restart([first]);
    assert_eq!(consume(&plain, &topic), "a\nb\n");
    // All at once, as when the power is cut.
    kafka.kill(kafka.brokers());
    kafka.restart(kafka.brokers());
    assert_eq!(consume(&plain, &topic), "a\nb\n");
}

#[test]
fn every_way_in_lets_in_whom_it_should_and_to_what_is_allowed() {
    let kafka = Kafka::shared();
    let topic = kafka.topic(1);
    let way = |listener| kafka.client(listener);
    done(&produce(&way(KafkaListener::Plain), &topic, "a\n"));
    for listener in [KafkaListener::Sasl, KafkaListener::SaslTls, KafkaListener::MutualTls] {
        let refused = read(&way(listener), &topic);
        let why = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && why.contains("authoriz"), "{listener:?}: {refused:?}");
    }
    kafka.allow(Kafka::USER, KafkaResource::Topic(&topic), &["READ", "WRITE", "DESCRIBE"]);
    for listener in WAYS {
        assert_eq!(consume(&way(listener), &topic), "a\n", "{listener:?}");
    }
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let mut properties = way(KafkaListener::Sasl);
        properties.push(("sasl.mechanism".to_owned(), mechanism.to_owned()));
        assert_eq!(consume(&properties, &topic), "a\n", "{mechanism}");
    }
    let mut token = way(KafkaListener::Sasl);
    for (name, value) in [
        ("sasl.mechanism", "OAUTHBEARER"),
        ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
        ("sasl.oauthbearer.config", "principal=alice"),
    ] {
        token.push((name.to_owned(), value.to_owned()));
    }
    assert_eq!(consume(&token, &topic), "a\n", "OAUTHBEARER");
    let mut stranger = way(KafkaListener::MutualTls);
    stranger.retain(|(name, _)| !name.starts_with("ssl.certificate") && !name.starts_with("ssl.key"));
    let seen = kcat(&stranger).args(["-L", "-m", "3"]).output().expect("kcat runs");
    assert!(!seen.status.success(), "one without a certificate is let in");
}

#[test]
fn topics_are_trimmed_deleted_and_made_again() {
    let kafka = Kafka::shared();
    let plain = kafka.client(KafkaListener::Plain);
    let name = format!("Topic.with_{}-{:016x}", "capitals.".repeat(20), fastrand::u64(..));
    kafka.create_topic(&name, 2, &[("retention.ms", "3600000")]);
    done(&produce(&plain, &name, "a\n"));
    kafka.delete_topic(&name);
    kafka.create_topic(&name, 1, &[]);
    assert_eq!(kafka.end_offsets(&name), [0]);
    done(&produce(&plain, &name, "b\nc\nd\n"));
    kafka.trim(&name, 0, 2);
    assert_eq!(kafka.first_offsets(&name), [2]);
    assert_eq!(kafka.end_offsets(&name), [3]);
    assert_eq!(kafka.committed("nobody", &name), [None]);
    kafka.configure_topic(&name, &[("max.message.bytes", "100")]);
    // The broker may need a moment to know of it.
    let begun = Instant::now();
    loop {
        let refused = produce(&plain, &name, &format!("{}\n", "x".repeat(1000)));
        if String::from_utf8_lossy(&refused.stderr).contains("too large") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(240), "{refused:?}");
    }
}

#[test]
fn what_a_group_committed_can_be_looked_at() {
    let kafka = Kafka::shared();
    let plain = kafka.client(KafkaListener::Plain);
    let topic = kafka.topic(1);
    done(&produce(&plain, &topic, "a\nb\nc\n"));
    let group = format!("group-{topic}");
    let mut member = kcat(&plain);
    member.args(["-X", "auto.offset.reset=earliest", "-c", "2", "-q", "-G", &group, &topic]);
    let read = member.output().expect("kcat runs");
    assert_eq!(String::from_utf8_lossy(&read.stdout), "a\nb\n");
    let begun = Instant::now();
    while kafka.committed(&group, &topic).iter().all(Option::is_none) {
        assert!(begun.elapsed() < Duration::from_secs(240), "nothing is committed");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn no_kafka_survives_its_process() {
    victim::leaves_nothing("needs_kafka::kafka::is_killed_with_a_kafka");
}

#[test]
#[ignore = "run by no_kafka_survives_its_process, which kills it"]
fn is_killed_with_a_kafka() {
    let _kafka = Kafka::shared();
    victim::wait_for_death();
}
