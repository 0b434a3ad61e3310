//! A Sentinel as a process: alone, so that it decides alone.

use std::process::Command;

use tempfile::TempDir;

use super::Redis;
use crate::kept::{converse, free_port, made_by};
use crate::server::{Launch, Process, come_up};

/// A Sentinel that watches a primary, and has a replica take its place a second after it is gone. Dropped, it is killed and its data removed.
#[derive(Debug)]
pub struct Sentinel {
    process: Process,
    folder: TempDir,
    port: u16,
    password: String,
    watched: String,
}

impl Sentinel {
    /// One that knows this primary by that name, and finds its replicas by itself.
    ///
    /// # Panics
    /// If it does not come up, with its log.
    pub fn watching(primary: &Redis, name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("longshore-sentinel-").tempdir().expect("a folder for Sentinel");
        let mut sentinel = Self {
            process: Process::new(folder.path(), folder.path().join("log")),
            folder,
            port: 0,
            password: format!("sentinel-{:016x}", fastrand::u64(..)),
            watched: format!(
                "sentinel monitor {name} 127.0.0.1 {port} 1\nsentinel auth-pass {name} {password}\n\
                 sentinel down-after-milliseconds {name} 1000\nsentinel failover-timeout {name} 10000\n",
                port = primary.port,
                password = primary.password,
            ),
        };
        come_up(Self::NAME, || {
            sentinel.port = free_port();
            sentinel.launch()
        });
        sentinel
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it wants to be told before it answers.
    pub fn password(&self) -> &str {
        &self.password
    }
}

impl Launch for Sentinel {
    const NAME: &'static str = "Sentinel";

    fn process(&self) -> &Process {
        &self.process
    }

    fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    fn begin(&mut self) -> Result<(), String> {
        let Self { port, password, watched, .. } = self;
        let configuration = self.folder.path().join("sentinel.conf");
        // What it learns it writes there itself, and finds again.
        if !configuration.exists() {
            let dir = self.folder.path().display();
            let text = format!("bind 127.0.0.1\nport {port}\ndir {dir}\nrequirepass {password}\n{watched}");
            std::fs::write(&configuration, text).expect("its configuration is written");
        }
        let mut program = Command::new(made_by("redis/setup").join("redis-sentinel"));
        program.arg(&configuration);
        self.process.start(&program);
        Ok(())
    }

    fn is_up(&self) -> bool {
        converse(self.port, &format!("AUTH {}\r\nPING\r\n", self.password), "+OK\r\n+PONG\r\n")
    }
}
