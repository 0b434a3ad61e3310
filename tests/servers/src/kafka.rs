//! Apache Kafka as processes: brokers that are their own controllers (KRaft).

mod admin;
mod files;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::kept::{free_port, made_by};
use crate::server::{Process, READY, come_up};
use admin::Admin;

/// Longest that a broker may take to stop in an orderly way. The last ones of several find no controller to tell.
const STOP: Duration = Duration::from_secs(30);

/// A Kafka of its own: one broker or more, each on ports of its own, ready when it is returned. Dropped, it is killed and its data
/// removed; so too when this process ends, however it ends.
///
/// Topics are not made by being asked for. A broker is named by its number, from 1. What is done to brokers takes the numbers of all
/// that it is done to: `kafka.kill([2])`, `kafka.pause(kafka.brokers())`.
#[derive(Debug)]
pub struct Kafka {
    cluster_id: String,
    brokers: Vec<Broker>,
    certificates: Certificates,
    admin: Admin,
    _folder: TempDir,
}

/// What makes a Kafka other than [`Kafka::shared`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaOptions {
    /// How many brokers: 1 or 3. A topic is replicated to all of them.
    pub brokers: u32,
    /// Lines of `server.properties`, over those that there are.
    pub properties: Vec<(String, String)>,
}

/// The ways into a broker. Over [`Plain`](Self::Plain) one is nobody, who may do everything; elsewhere a user, who may do what was
/// [allowed](Kafka::allow).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KafkaListener {
    /// Neither encrypted nor authenticated.
    Plain,
    /// `SASL_PLAINTEXT`: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, and OAUTHBEARER with tokens that are not signed (the user is `sub`) and
    /// that a connection outlives only with a fresh one.
    Sasl,
    /// `SASL_SSL`: the same, encrypted.
    SaslTls,
    /// `SSL`: encrypted; who shows a certificate is the user of its common name; who shows none is nobody, who may do everything.
    Tls,
    /// `SSL`, for those alone who show a certificate of [`certificates`](Kafka::certificates).
    MutualTls,
}

/// What a right is about. The name `*` is all of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaResource<'a> {
    /// A topic.
    Topic(&'a str),
    /// A consumer group.
    Group(&'a str),
    /// A transactional id.
    TransactionalId(&'a str),
    /// The cluster as a whole.
    Cluster,
}

#[derive(Debug)]
struct Broker {
    id: u32,
    controller_port: u16,
    ports: [u16; KafkaListener::ALL.len()],
    home: PathBuf,
    process: Process,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self { brokers: 1, properties: Vec::new() }
    }
}

impl Kafka {
    /// A user of every mechanism, and the common name of a certificate if one asks for it; it may do nothing until it is allowed to.
    pub const USER: &str = "alice";
    /// That user's password, for PLAIN and SCRAM.
    pub const PASSWORD: &str = "alice-secret";

    /// The Kafka of this process: one broker, for tests that only need topics of their own.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Kafka> = LazyLock::new(|| Kafka::start(KafkaOptions::default()));
        &SHARED
    }

    /// # Panics
    /// If it does not come up, with the end of its log.
    pub fn start(options: KafkaOptions) -> Self {
        let programs = made_by("kafka/setup");
        come_up("Kafka", || Self::attempt(&programs, &options))
    }

    fn attempt(programs: &Path, options: &KafkaOptions) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("longshore-kafka-").tempdir().expect("a folder for Kafka");
        let certificates = Certificates::make(folder.path().join("certificates"));
        let brokers: Vec<_> = (1..=options.brokers).map(|id| Broker::new(id, folder.path())).collect();
        let cluster_id = files::uuid();
        for broker in &brokers {
            files::format(&programs.join("formatted"), &broker.home, &cluster_id, broker.id);
            let properties = files::properties(broker, &brokers, &broker.home, &certificates, &options.properties);
            std::fs::write(broker.home.join("server.properties"), properties).expect("its properties are written");
        }
        let admin = Admin::start(&join(&brokers, KafkaListener::Plain), &folder.path().join("admin.log"));
        let mut kafka = Self { cluster_id, brokers, certificates, admin, _folder: folder };
        kafka.launch(&kafka.brokers())?;
        Ok(kafka)
    }

    /// The numbers of all brokers, running or not.
    pub fn brokers(&self) -> Vec<u32> {
        self.brokers.iter().map(|broker| broker.id).collect()
    }

    /// The id of the cluster, which no other has.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Every broker's address: `127.0.0.1:PORT,…`. It stays over restarts.
    pub fn bootstrap(&self, listener: KafkaListener) -> String {
        join(&self.brokers, listener)
    }

    /// What signed the brokers' certificate, and signs clients'.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// librdkafka's properties for [`USER`](Self::USER), where there are users, to come in by this way, with SCRAM-SHA-256 for SASL:
    /// what follows `kcat -X`.
    pub fn client(&self, listener: KafkaListener) -> Vec<(String, String)> {
        let mut properties = vec![
            ("bootstrap.servers", self.bootstrap(listener)),
            ("security.protocol", listener.protocol().to_lowercase()),
        ];
        let path = |path: PathBuf| path.display().to_string();
        if matches!(listener, KafkaListener::Sasl | KafkaListener::SaslTls) {
            properties.extend([
                ("sasl.mechanism", "SCRAM-SHA-256".to_owned()),
                ("sasl.username", Self::USER.to_owned()),
                ("sasl.password", Self::PASSWORD.to_owned()),
            ]);
        }
        if listener.protocol().ends_with("SSL") {
            properties.push(("ssl.ca.location", path(self.certificates.authority())));
        }
        if listener == KafkaListener::MutualTls {
            let identity = self.certificates.client(Self::USER);
            properties.extend([
                ("ssl.certificate.location", path(identity.certificate)),
                ("ssl.key.location", path(identity.key)),
            ]);
        }
        properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// One of Kafka's own command-line tools, which are in Java and take 2 s: `org.apache.kafka.tools.consumer.group.ConsumerGroupCommand`.
    /// Where the broker is, its arguments have to say.
    pub fn tool(&self, class: &str) -> Command {
        let mut command = Command::new(made_by("kafka/setup").join("run"));
        command.arg(class);
        command
    }

    /// A new topic with a name that no other has, replicated to all brokers.
    pub fn topic(&self, partitions: u32) -> String {
        let name = format!("topic-{:016x}", fastrand::u64(..));
        self.create_topic(&name, partitions, &[]);
        name
    }

    /// A topic, led when this returns, replicated to all brokers. With three brokers `acks=all` asks for two, unless `config` says
    /// otherwise (`min.insync.replicas`).
    ///
    /// # Panics
    /// If the broker refuses; so does everything below that asks it for something.
    pub fn create_topic(&self, name: &str, partitions: u32, config: &[(&str, &str)]) {
        let replicas = self.brokers.len();
        let mut settings = object(config);
        if replicas > 1 && !config.iter().any(|(name, _)| *name == "min.insync.replicas") {
            settings.insert("min.insync.replicas".to_owned(), json!("2"));
        }
        let request = json!({"name": name, "partitions": partitions, "replicas": replicas, "config": settings});
        self.admin.must("create_topic", request);
    }

    /// Deletes a topic, of which the broker knows nothing any more when this returns.
    pub fn delete_topic(&self, name: &str) {
        self.admin.must("delete_topic", json!({"name": name}));
    }

    /// Changes settings of a topic.
    pub fn configure_topic(&self, name: &str, config: &[(&str, &str)]) {
        self.admin.must("configure_topic", json!({"name": name, "config": object(config)}));
    }

    /// Deletes the records of a partition before an offset.
    pub fn trim(&self, topic: &str, partition: u32, before: u64) {
        self.admin.must("trim", json!({"topic": topic, "partition": partition, "before": before}));
    }

    /// A user more, of SCRAM with SHA-256 and SHA-512.
    pub fn add_user(&self, name: &str, password: &str) {
        self.admin.must("add_user", json!({"name": name, "password": password}));
    }

    /// Gives a user a right: `READ`, `WRITE`, `DESCRIBE`, `CREATE`, `ALL`, … The broker may need a moment to know of it.
    pub fn allow(&self, user: &str, resource: KafkaResource<'_>, operations: &[&str]) {
        let (kind, name) = match resource {
            KafkaResource::Topic(name) => ("TOPIC", name),
            KafkaResource::Group(name) => ("GROUP", name),
            KafkaResource::TransactionalId(name) => ("TRANSACTIONAL_ID", name),
            KafkaResource::Cluster => ("BROKER", "kafka-cluster"),
        };
        self.admin.must("allow", json!({"user": user, "kind": kind, "name": name, "operations": operations}));
    }

    /// Takes all rights from a user.
    pub fn revoke(&self, user: &str) {
        self.admin.must("revoke", json!({"user": user}));
    }

    /// The broker that leads a partition.
    pub fn leader(&self, topic: &str, partition: u32) -> u32 {
        let leader = self.admin.must("leader", json!({"topic": topic, "partition": partition}));
        leader.as_u64().and_then(|id| id.try_into().ok()).expect("a broker's number")
    }

    /// The offset of the first record that there is, of each partition.
    pub fn first_offsets(&self, topic: &str) -> Vec<u64> {
        numbers(&self.admin.must("offsets", json!({"topic": topic, "which": "first"}))).into_iter().flatten().collect()
    }

    /// The offset that the next record gets, of each partition.
    pub fn end_offsets(&self, topic: &str) -> Vec<u64> {
        numbers(&self.admin.must("offsets", json!({"topic": topic, "which": "end"}))).into_iter().flatten().collect()
    }

    /// What a group has committed, of each partition.
    pub fn committed(&self, group: &str, topic: &str) -> Vec<Option<u64>> {
        numbers(&self.admin.must("committed", json!({"group": group, "topic": topic})))
    }

    /// Stops brokers as they stand (SIGSTOP): connections stay open and nobody answers.
    ///
    /// # Panics
    /// If one of them does not run.
    pub fn pause(&mut self, brokers: impl AsRef<[u32]>) {
        self.signal(brokers.as_ref(), Signal::STOP);
    }

    /// Lets them go on after [`pause`](Self::pause).
    ///
    /// # Panics
    /// If one of them does not run.
    pub fn resume(&mut self, brokers: impl AsRef<[u32]>) {
        self.signal(brokers.as_ref(), Signal::CONT);
    }

    /// Kills brokers with SIGKILL; their data stay. From now on connections are refused.
    pub fn kill(&mut self, brokers: impl AsRef<[u32]>) {
        for id in brokers.as_ref() {
            self.broker(*id).process.kill();
        }
    }

    /// Stops brokers in an orderly way (SIGTERM), all at once; their data stay. One that has not ended after 30 s is killed.
    ///
    /// # Panics
    /// If one of them does not run.
    pub fn stop(&mut self, brokers: impl AsRef<[u32]>) {
        self.signal(brokers.as_ref(), Signal::TERM);
        for id in brokers.as_ref() {
            self.broker(*id).process.wait(STOP);
        }
    }

    /// Starts brokers again where they were, with the data that they had; kills them first if they run. Returns when they lead or
    /// follow again, so most brokers have to be up then.
    ///
    /// # Panics
    /// If they do not come up.
    pub fn restart(&mut self, brokers: impl AsRef<[u32]>) {
        // What took a port in between, if anything did, holds it for no longer than a connection.
        come_up("Kafka", || {
            self.kill(&brokers);
            self.launch(brokers.as_ref())
        });
    }

    /// Starts brokers and waits until they are part of it all; the end of a log if one of them ended instead.
    fn launch(&mut self, brokers: &[u32]) -> Result<(), String> {
        for id in brokers {
            let mut program = self.tool("kafka.Kafka");
            let broker = self.broker(*id);
            program.arg(broker.home.join("server.properties"));
            broker.process.start(&program);
        }
        let begun = Instant::now();
        while self.admin.ask("ready", json!({"cluster": self.cluster_id, "brokers": brokers})) != Ok(json!(true)) {
            for id in brokers {
                let process = &self.broker(*id).process;
                if process.is_over() || begun.elapsed() > READY {
                    return Err(process.end_of_log());
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn signal(&mut self, brokers: &[u32], signal: Signal) {
        for id in brokers {
            self.broker(*id).process.signal(signal);
        }
    }

    fn broker(&mut self, id: u32) -> &mut Broker {
        self.brokers.iter_mut().find(|broker| broker.id == id).expect("a number of `brokers()`")
    }
}

impl Broker {
    fn new(id: u32, folder: &Path) -> Self {
        let home = folder.join(id.to_string());
        Self {
            id,
            controller_port: free_port(),
            ports: KafkaListener::ALL.map(|_| free_port()),
            process: Process::new(folder, home.join("log")),
            home,
        }
    }

    fn port(&self, listener: KafkaListener) -> u16 {
        let of = KafkaListener::ALL.into_iter().zip(self.ports).find(|(of, _)| *of == listener);
        of.expect("all are in ALL").1
    }
}

impl KafkaListener {
    const ALL: [Self; 5] = [Self::Plain, Self::Sasl, Self::SaslTls, Self::Tls, Self::MutualTls];

    /// What it is called in a broker's properties.
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Sasl => "SASL",
            Self::SaslTls => "SASLTLS",
            Self::Tls => "TLS",
            Self::MutualTls => "MUTUALTLS",
        }
    }

    fn protocol(self) -> &'static str {
        match self {
            Self::Plain => "PLAINTEXT",
            Self::Sasl => "SASL_PLAINTEXT",
            Self::SaslTls => "SASL_SSL",
            Self::Tls | Self::MutualTls => "SSL",
        }
    }
}

/// A number for each partition, where there is one.
fn numbers(answer: &Value) -> Vec<Option<u64>> {
    answer.as_array().into_iter().flatten().map(Value::as_u64).collect()
}

fn join(brokers: &[Broker], listener: KafkaListener) -> String {
    let addresses: Vec<_> = brokers.iter().map(|broker| format!("127.0.0.1:{}", broker.port(listener))).collect();
    addresses.join(",")
}

fn object(config: &[(&str, &str)]) -> serde_json::Map<String, Value> {
    config.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}
