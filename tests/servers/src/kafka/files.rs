//! What a broker finds when it starts.

use std::fmt::Write as _;
use std::path::Path;

use super::{Broker, Kafka, KafkaListener};
use crate::certificates::Certificates;

/// What holds for every broker, of one or of three: small, quick to see what is lost, and at work at once where Kafka waits for minutes.
const COMMON: &str = "\
process.roles=broker,controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
auto.create.topics.enable=false
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl.oauthbearer.connections.max.reauth.ms=3600000
ssl.keystore.type=PEM
ssl.truststore.type=PEM
ssl.principal.mapping.rules=RULE:^CN=([^,]+)$/$1/,DEFAULT
listener.name.mutualtls.ssl.client.auth=required
listener.name.tls.ssl.client.auth=requested
offsets.topic.num.partitions=3
transaction.state.log.num.partitions=3
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=8388608
log.cleaner.backoff.ms=500
log.initial.task.delay.ms=500
log.retention.check.interval.ms=1000
broker.heartbeat.interval.ms=1000
";

/// The text of `server.properties`.
pub(super) fn properties(
    broker: &Broker,
    all: &[Broker],
    home: &Path,
    certificates: &Certificates,
    more: &[(String, String)],
) -> String {
    let listed = |item: &dyn Fn(KafkaListener) -> String| KafkaListener::ALL.map(item).join(",");
    let voters: Vec<_> = all.iter().map(|of| format!("{}@127.0.0.1:{}", of.id, of.controller_port)).collect();
    let identity = certificates.server();
    // Kafka wants key and certificate in one file.
    let keystore = home.join("keystore.pem");
    let read = |path: &Path| std::fs::read_to_string(path).expect("what openssl has made");
    std::fs::write(&keystore, read(&identity.key) + &read(&identity.certificate)).expect("a keystore");
    let of_listeners = listed(&|way| format!("{}://127.0.0.1:{}", way.name(), broker.port(way)));
    let mut lines = vec![
        ("node.id".to_owned(), broker.id.to_string()),
        ("controller.quorum.voters".to_owned(), voters.join(",")),
        ("listeners".to_owned(), format!("CONTROLLER://127.0.0.1:{},{of_listeners}", broker.controller_port)),
        ("advertised.listeners".to_owned(), of_listeners),
        (
            "listener.security.protocol.map".to_owned(),
            format!("CONTROLLER:PLAINTEXT,{}", listed(&|way| format!("{}:{}", way.name(), way.protocol()))),
        ),
        ("log.dirs".to_owned(), home.join("data").display().to_string()),
        ("ssl.keystore.location".to_owned(), keystore.display().to_string()),
        ("ssl.truststore.location".to_owned(), certificates.authority().display().to_string()),
    ];
    for topic in ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"] {
        lines.push((format!("{topic}.replication.factor"), all.len().to_string()));
    }
    for topic in ["transaction.state.log", "share.coordinator.state.topic"] {
        lines.push((format!("{topic}.min.isr"), all.len().min(2).to_string()));
    }
    for listener in [KafkaListener::Sasl, KafkaListener::SaslTls] {
        for (mechanism, module) in login_modules() {
            let name = listener.name().to_lowercase();
            lines.push((format!("listener.name.{name}.{mechanism}.sasl.jaas.config"), module));
        }
    }
    lines.extend_from_slice(more);
    let mut text = COMMON.to_owned();
    // The last of several lines of a name holds.
    for (name, value) in lines {
        writeln!(text, "{name}={value}").expect("into memory");
    }
    text
}

fn login_modules() -> [(&'static str, String); 4] {
    let module = |name: &str| format!("org.apache.kafka.common.security.{name} required");
    [
        ("plain", format!("{} user_{}=\"{}\";", module("plain.PlainLoginModule"), Kafka::USER, Kafka::PASSWORD)),
        ("scram-sha-256", format!("{};", module("scram.ScramLoginModule"))),
        ("scram-sha-512", format!("{};", module("scram.ScramLoginModule"))),
        (
            "oauthbearer",
            format!("{} unsecuredLoginStringClaim_sub=\"broker\";", module("oauthbearer.OAuthBearerLoginModule")),
        ),
    ]
}

/// Makes a log directory as Kafka's own tool has made one, of another cluster, node and directory.
pub(super) fn format(formatted: &Path, home: &Path, cluster_id: &str, node: u32) {
    let data = home.join("data");
    std::fs::create_dir_all(&data).expect("a folder for the broker");
    for entry in std::fs::read_dir(formatted).expect("what setup has formatted").flatten() {
        std::fs::copy(entry.path(), data.join(entry.file_name())).expect("a file of it is copied");
    }
    let path = data.join("meta.properties");
    let text = std::fs::read_to_string(&path).expect("what says whose directory it is");
    let lines = text.lines().map(|line| match line.split_once('=') {
        Some(("cluster.id", _)) => format!("cluster.id={cluster_id}\n"),
        Some(("node.id", _)) => format!("node.id={node}\n"),
        Some(("directory.id", _)) => format!("directory.id={}\n", uuid()),
        _ => format!("{line}\n"),
    });
    std::fs::write(&path, lines.collect::<String>()).expect("it is written");
}

/// 16 random bytes as Kafka writes ids: base64 with - and _, without padding, and without a - at its beginning.
pub(super) fn uuid() -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |below: usize, step: usize| DIGITS.get(fastrand::usize(..below) * step).map(|byte| char::from(*byte));
    // The last digit stands for two bits.
    let first = digit(62, 1).into_iter();
    first.chain((0..20).filter_map(|_| digit(64, 1))).chain(digit(4, 16)).collect()
}
