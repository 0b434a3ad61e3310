//! A running ambassador, from outside: its addresses, its memory, its threads.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::harness::Bench;
use crate::http::{self, Answer};

/// How often a program that is not ready is asked again: seldom enough to cost it nothing.
const PAUSE: Duration = Duration::from_millis(5);
/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(600);

/// An ambassador; killed when dropped.
#[derive(Debug)]
pub(crate) struct Ambassador {
    child: Child,
    began: Instant,
    pub(crate) contract: SocketAddr,
    pub(crate) probes: SocketAddr,
}

impl Ambassador {
    /// A files-ambassador started on `root`, its ports open.
    ///
    /// # Errors
    /// When it does not start, or ends at once.
    pub(crate) fn start(bench: &Bench, root: &Path, flags: &[&str]) -> Result<Self> {
        Self::of(bench, "files-ambassador", |command| {
            command.arg("--root").arg(root).args(flags);
        })
    }

    /// The ambassador `name` with what `configure` says, its ports open.
    ///
    /// # Errors
    /// When it does not start, or ends at once.
    pub(crate) fn of(bench: &Bench, name: &str, configure: impl FnOnce(&mut Command)) -> Result<Self> {
        let program = bench.program(name)?;
        let mut command = Command::new(&program);
        configure(&mut command);
        let began = Instant::now();
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0", "--log-format", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let log = child.stderr.take().context("its log is ours")?;
        let (contract, probes) = addresses(log)?;
        Ok(Self { child, began, contract, probes })
    }

    /// When it was started.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its whole list, as soon as it has one of so many names.
    ///
    /// # Errors
    /// When it answers anything else than 200 and 503, or not in time.
    pub(crate) fn list(&self, names: usize) -> Result<Answer> {
        loop {
            let answer = http::get(self.contract, "/v1/items", &[])?;
            match answer.status {
                // A thousand names are no less work to be compared with than to be counted.
                200 if answer.body.iter().filter(|byte| **byte == b',').count() + 1 >= names => return Ok(answer),
                200 | 503 if self.began.elapsed() < DEADLINE => thread::sleep(PAUSE),
                status => bail!("the list is answered {status} after {:?}", self.began.elapsed()),
            }
        }
    }

    /// Waits until `/readyz` is green, looking all the time.
    ///
    /// # Errors
    /// When it is not in time.
    pub(crate) fn ready(&self) -> Result<Duration> {
        while http::get(self.probes, "/readyz", &[])?.status != 200 {
            ensure!(self.began.elapsed() < DEADLINE, "it is not ready after {DEADLINE:?}");
            thread::sleep(Duration::from_micros(200));
        }
        Ok(self.began.elapsed())
    }

    /// Bytes of memory that are its own now.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn resident(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).context("read its status")?;
        Ok(1024.0 * number(&status, "VmRSS:").context("its status tells its memory")?)
    }

    /// The most bytes of memory that were ever its own.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn peak(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).context("read its status")?;
        Ok(1024.0 * number(&status, "VmHWM:").context("its status tells its memory")?)
    }

    /// How often its threads have gone to sleep, all together: each time something woke them.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn wakeups(&self) -> Result<f64> {
        let mut sum = 0.0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid())).context("read its threads")? {
            let status = fs::read_to_string(thread.context("read its threads")?.path().join("status"));
            // A thread that has ended meanwhile does not wake up.
            sum += status.ok().and_then(|status| number(&status, "voluntary_ctxt_switches:")).unwrap_or(0.0);
        }
        Ok(sum)
    }

    /// Seconds of processor time it has used.
    ///
    /// # Errors
    /// When it is gone.
    pub(crate) fn processor_time(&self) -> Result<f64> {
        let mut nanos = 0.0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid())).context("read its threads")? {
            let stat = fs::read_to_string(thread.context("read its threads")?.path().join("schedstat"));
            let first = stat.ok().and_then(|stat| stat.split(' ').next()?.parse::<f64>().ok());
            nanos += first.unwrap_or(0.0);
        }
        Ok(nanos / 1e9)
    }
}

impl Drop for Ambassador {
    fn drop(&mut self) {
        // Fails when it has ended by itself; either way it is reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number(status: &str, name: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// What the log says of the contract's address and the probes'; the rest of it is read and dropped.
fn addresses(log: ChildStderr) -> Result<(SocketAddr, SocketAddr)> {
    let mut lines = BufReader::new(log).lines();
    let (mut contract, mut probes, mut told) = (None, None, String::new());
    while contract.is_none() || probes.is_none() {
        let Some(line) = lines.next() else { bail!("it ended: {told}") };
        let line = line.context("read its log")?;
        let record: Value = serde_json::from_str(&line).unwrap_or_default();
        let address = || record.get("address")?.as_str()?.parse::<SocketAddr>().ok();
        match record.get("message").and_then(Value::as_str) {
            Some("serving /v1/items") => contract = address(),
            Some("probes and metrics") => probes = address(),
            _ => {}
        }
        told = line;
    }
    thread::spawn(move || lines.for_each(drop));
    contract.zip(probes).context("its log tells its addresses")
}
