//! RabbitMQ as a process.

use std::ffi::OsStr;
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::kept::{free_port, made_by};
use crate::server::{Launch, Process, READY, come_up};

/// The node's name, which has to resolve; who asks for it asks a port mapper that only this one has.
const NODE: &str = "rabbit@localhost";

/// How little of the disk may be free until it takes no more.
const DISK_FREE_LIMIT: &str = "50MB";

/// What the node says when all its listeners are open.
const STARTED: &str = "Server startup complete";

/// A RabbitMQ of one node, ready when it is returned, with the management plugin and quorum queues. Dropped, it is killed and its data
/// removed; so too when this process ends, however it ends.
#[derive(Debug)]
pub struct RabbitMq {
    process: Process,
    port_mapper: Process,
    folder: TempDir,
    ports: Ports,
    password: String,
    certificates: Certificates,
    configuration: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    amqp: u16,
    amqps: u16,
    management: u16,
    distribution: u16,
    mapper: u16,
}

impl RabbitMq {
    /// A user beside the one that may do everything: for PLAIN with [`PASSWORD`](Self::PASSWORD), and over TLS with a certificate of
    /// this common name for EXTERNAL. It may do everything in the virtual host `/`.
    pub const USER: &str = "alice";
    /// That user's password.
    pub const PASSWORD: &str = "alice-secret";

    /// The RabbitMQ of this process, for tests that only need queues of their own.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<RabbitMq> = LazyLock::new(|| RabbitMq::start(&[]));
        &SHARED
    }

    /// With more lines in its `rabbitmq.conf`: `[("consumer_timeout", "5000")]`, which is in milliseconds and looked at each second.
    ///
    /// # Panics
    /// If it does not come up, with the end of its log.
    pub fn start(configuration: &[(&str, &str)]) -> Self {
        let prefix = "longshore-rabbitmq-";
        let folder = tempfile::Builder::new().prefix(prefix).tempdir().expect("a folder for RabbitMQ");
        let mut rabbitmq = Self {
            process: Process::new(folder.path(), folder.path().join("log")),
            port_mapper: Process::new(folder.path(), folder.path().join("epmd.log")),
            certificates: Certificates::make(folder.path().join("certificates")),
            folder,
            ports: Ports::free(),
            password: format!("rabbitmq-{:016x}", fastrand::u64(..)),
            configuration: configuration.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        };
        come_up(Self::NAME, || {
            rabbitmq.launch().inspect_err(|_| {
                rabbitmq.port_mapper.kill();
                // What a failed start has left, if it came so far.
                let _ = std::fs::remove_dir_all(rabbitmq.folder.path().join("mnesia"));
                rabbitmq.ports = Ports::free();
            })
        });
        let (user, password) = (format!("name={}", Self::USER), format!("password={}", Self::PASSWORD));
        rabbitmq.ask(&["declare", "user", &user, &password, "tags="]);
        let user = format!("user={}", Self::USER);
        rabbitmq.ask(&["declare", "permission", "vhost=/", &user, "configure=.*", "write=.*", "read=.*"]);
        rabbitmq
    }

    /// How the user who may do everything reaches it: `amqp://longshore:PASSWORD@127.0.0.1:PORT/%2f`.
    pub fn url(&self) -> String {
        format!("amqp://longshore:{}@{}/%2f", self.password, self.address())
    }

    /// The same over TLS. It shows a certificate of [`certificates`](Self::certificates), and a client may show one too.
    pub fn tls_url(&self) -> String {
        format!("amqps://longshore:{}@{}/%2f", self.password, self.tls_address())
    }

    /// `127.0.0.1:PORT`, without TLS.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.amqp)
    }

    /// `127.0.0.1:PORT`, with TLS. Users: by PLAIN, or by a certificate (EXTERNAL).
    pub fn tls_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.amqps)
    }

    /// Where the management plugin answers: `http://127.0.0.1:PORT`.
    pub fn management_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.management)
    }

    /// The password of the user `longshore`, who may do everything.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// What signed its certificate, and signs clients'.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// `rabbitmqadmin`, the management plugin's own client, which is to be told what to do: `["list", "queues"]`.
    pub fn admin(&self) -> Command {
        let mut command = Command::new(made_by("rabbitmq/setup").join("rabbitmqadmin"));
        let port = self.ports.management.to_string();
        command.args(["--host", "127.0.0.1", "--port", &port, "--username", "longshore", "--password", &self.password]);
        command
    }

    /// What `rabbitmqadmin` says.
    ///
    /// # Panics
    /// If it fails.
    pub fn ask(&self, words: &[&str]) -> String {
        let asked = self.admin().args(words).output().expect("rabbitmqadmin runs");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned();
        assert!(asked.status.success(), "{words:?}: {}{}", said(&asked.stdout), said(&asked.stderr));
        said(&asked.stdout)
    }

    /// `rabbitmqctl`, for what the management plugin cannot do, such as `["set_disk_free_limit", "100TB"]`. It takes 4 s.
    pub fn ctl(&self) -> Command {
        let mut command = Command::new(made_by("rabbitmq/setup").join("rabbitmqctl"));
        command.envs(self.environment());
        command
    }

    /// Puts its disk alarm on, as if its disk were full, or off: whoever publishes waits while it is on. It takes 4 s.
    ///
    /// # Panics
    /// If it refuses.
    pub fn disk_alarm(&self, on: bool) {
        let limit = if on { u64::pow(10, 18).to_string() } else { DISK_FREE_LIMIT.to_owned() };
        let told = self.ctl().args(["set_disk_free_limit", &limit]).output().expect("rabbitmqctl runs");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    }

    /// Has the port mapper run, which Erlang would start by itself, and which would then outlive us.
    fn map_ports(&mut self) -> Result<(), String> {
        if !self.port_mapper.is_over() {
            return Ok(());
        }
        let mut program = Command::new(made_by("rabbitmq/setup").join("epmd"));
        program.args(["-address", "127.0.0.1", "-port", &self.ports.mapper.to_string()]);
        self.port_mapper.start(&program);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.ports.mapper)).is_err() {
            if self.port_mapper.is_over() || begun.elapsed() > READY {
                return Err(self.port_mapper.end_of_log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Everything of it lies in its folder, and its name and its ports are its own.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        vec![
            ("HOME", path("home")),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("ERL_EPMD_PORT", self.ports.mapper.to_string()),
            ("RABBITMQ_NODENAME", NODE.to_owned()),
            ("RABBITMQ_DIST_PORT", self.ports.distribution.to_string()),
            ("RABBITMQ_MNESIA_BASE", path("mnesia")),
            ("RABBITMQ_LOG_BASE", path("logs")),
            ("RABBITMQ_LOGS", "-".to_owned()),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
            ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced.config")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
            ("RABBITMQ_GENERATED_CONFIG_DIR", path("generated")),
            ("RABBITMQ_FEATURE_FLAGS_FILE", path("feature_flags")),
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}".to_owned()),
            // Its script becomes Erlang then, and is not a process in between.
            ("RUNNING_UNDER_SYSTEMD", "true".to_owned()),
        ]
    }

    fn configuration(&self) -> String {
        let path = |path: &Path| path.display().to_string();
        let local = |port: u16| format!("127.0.0.1:{port}");
        let identity = self.certificates.server();
        let own = [
            ("listeners.tcp.1", local(self.ports.amqp)),
            ("listeners.ssl.1", local(self.ports.amqps)),
            ("ssl_options.cacertfile", path(&self.certificates.authority())),
            ("ssl_options.certfile", path(&identity.certificate)),
            ("ssl_options.keyfile", path(&identity.key)),
            ("ssl_options.verify", "verify_peer".to_owned()),
            ("ssl_options.fail_if_no_peer_cert", "false".to_owned()),
            ("ssl_cert_login_from", "common_name".to_owned()),
            ("auth_mechanisms.1", "PLAIN".to_owned()),
            ("auth_mechanisms.2", "AMQPLAIN".to_owned()),
            ("auth_mechanisms.3", "EXTERNAL".to_owned()),
            ("management.tcp.ip", "127.0.0.1".to_owned()),
            ("management.tcp.port", self.ports.management.to_string()),
            ("default_user", "longshore".to_owned()),
            ("default_pass", self.password.clone()),
            ("collect_statistics_interval", "1000".to_owned()),
            ("disk_free_limit.absolute", DISK_FREE_LIMIT.to_owned()),
            ("log.console.level", "info".to_owned()),
        ];
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        let given: Vec<_> = self.configuration.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let kept = own.filter(|(name, _)| !given.iter().any(|(over, _)| over == name));
        kept.chain(given.iter().copied()).map(|(name, value)| format!("{name} = {value}\n")).collect()
    }

    /// The folders of quorum queues whose ids are not in the table by which a start finds them. It is written when nobody has used it
    /// for half a second (ra's `names.dets`; rabbitmq/rabbitmq-server#15725 tells what becomes of a queue that is not in it).
    fn unnamed_quorum_queues(&self) -> Vec<PathBuf> {
        let home = self.folder.path().join("mnesia").join(NODE).join("quorum").join(NODE);
        let names = std::fs::read(home.join("names.dets")).unwrap_or_default();
        let named = |id: &OsStr| names.windows(id.len()).any(|part| part == id.as_bytes());
        let folders = std::fs::read_dir(home).into_iter().flatten().flatten().map(|entry| entry.path());
        folders.filter(|path| path.is_dir() && !path.file_name().is_some_and(named)).collect()
    }
}

impl Launch for RabbitMq {
    const NAME: &'static str = "RabbitMQ";

    fn process(&self) -> &Process {
        &self.process
    }

    fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    fn begin(&mut self) -> Result<(), String> {
        self.map_ports()?;
        // Of those that a kill has caught all the same nobody will ever know, and the next kill would wait for them.
        for forgotten in self.unnamed_quorum_queues() {
            std::fs::remove_dir_all(forgotten).expect("a queue that is forgotten");
        }
        let folder = self.folder.path();
        std::fs::create_dir_all(folder.join("home")).expect("a home for its cookie");
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("its files are written");
        write("rabbitmq.conf", &self.configuration());
        write("advanced.config", "[{rabbit, [{channel_tick_interval, 1000}]}].\n");
        write("enabled_plugins", "[rabbitmq_management,rabbitmq_auth_mechanism_ssl].\n");
        let mut program = Command::new(made_by("rabbitmq/setup").join("rabbitmq-server"));
        program.envs(self.environment());
        self.process.start(&program);
        Ok(())
    }

    fn is_up(&self) -> bool {
        self.process.log().contains(STARTED)
    }

    /// RabbitMQ forgets a quorum queue that was declared in its last second, with all that it confirmed there, and what is published to
    /// it after that is never confirmed: waits until the names of all are on the disk, unless it is paused.
    fn before_kill(&self) {
        let begun = Instant::now();
        while self.process.runs() && !self.unnamed_quorum_queues().is_empty() {
            assert!(begun.elapsed() < READY, "RabbitMQ does not write the names of its quorum queues");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Ports {
    fn free() -> Self {
        Self {
            amqp: free_port(),
            amqps: free_port(),
            management: free_port(),
            distribution: free_port(),
            mapper: free_port(),
        }
    }
}
