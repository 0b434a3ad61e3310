//! Processes that do not outlive this one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Runs a program as its only child, with its output in the file `$2`, and removes the folder `$1` when its own input ends, unless it
/// was told `keep`. The program gets SIGKILL if this shell is killed itself.
const KEEPER: &str = r#"folder=$1 log=$2; shift 2
setpriv --pdeathsig KILL -- "$@" >>"$log" 2>&1 </dev/null &
echo $!
read -r word
kill -9 $!
wait
[ "$word" = keep ] || rm -rf "$folder""#;

/// Longest that the threads of a program may take to stop.
const STOPS: Duration = Duration::from_secs(240);

/// A program and the shell that keeps it. Dropped, it is killed and its folder removed; so too when this process ends, however.
#[derive(Debug)]
pub(crate) struct Kept {
    keeper: Child,
    pid: Pid,
}

impl Kept {
    /// Starts a program, which has to stay the process that it is.
    pub(crate) fn start(program: &Command, folder: &Path, log: &Path) -> Self {
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(folder).arg(log).arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => keeper.env(name, value),
                None => keeper.env_remove(name),
            };
        }
        // In a group of its own, so that what ends the tests from a terminal leaves it the time to clean up.
        keeper.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut keeper = keeper.spawn().expect("sh runs");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("piped")).read_line(&mut line).expect("the shell tells the pid");
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).expect("a pid");
        Self { keeper, pid }
    }

    /// Whether it has ended by itself.
    pub(crate) fn over(&self) -> bool {
        self.is(&['Z', 'X'])
    }

    /// Whether it neither has ended nor is stopped as it stands.
    pub(crate) fn runs(&self) -> bool {
        !self.is(&['Z', 'X', 'T'])
    }

    /// Whether it is gone or in one of these states of proc(5). Its keeper has not reaped it, so the pid is still its own.
    fn is(&self, states: &[char]) -> bool {
        is_in(&self.proc(), states)
    }

    fn proc(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.pid.as_raw_nonzero()))
    }

    /// Sends it a signal. Where that is [`Signal::STOP`], it has stopped when this returns.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("the server can be signalled");
        let begun = Instant::now();
        // One of its threads stops the others, once it gets to run; until then they may answer.
        while signal == Signal::STOP && self.threads().iter().any(|thread| !is_in(thread, &['T', 'Z', 'X'])) {
            assert!(begun.elapsed() < STOPS, "{:?} does not stop", self.proc());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn threads(&self) -> Vec<PathBuf> {
        let threads = std::fs::read_dir(self.proc().join("task")).into_iter().flatten().flatten();
        threads.map(|thread| thread.path()).collect()
    }

    /// Kills it; the folder stays.
    pub(crate) fn kill(mut self) {
        self.end("keep\n");
    }

    /// Asks it to end in an orderly way, which has to be asked for before with [`Signal::TERM`], and kills it where it does not; the
    /// folder stays.
    pub(crate) fn wait(self, patience: Duration) {
        let begun = Instant::now();
        while !self.over() && begun.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }

    fn end(&mut self, word: &str) {
        let Some(mut stdin) = self.keeper.stdin.take() else { return };
        // The keeper is gone if somebody killed it, and so is the program then.
        let _ = stdin.write_all(word.as_bytes());
        drop(stdin);
        let _ = self.keeper.wait();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.end("");
    }
}

/// Whether a process or a thread, by its folder in /proc, is gone or in one of these states.
fn is_in(proc: &Path, states: &[char]) -> bool {
    let stat = std::fs::read_to_string(proc.join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(states))
}

/// A port of 127.0.0.1 that nobody listens on. Below those that connections get by themselves, so that none of them takes it before
/// the server that it is for does, or when that was killed and comes again, and that who waits for it does not meet itself. Nobody else
/// who asks so is given it as long as this process lives.
pub fn free_port() -> u16 {
    static OURS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    loop {
        let port = fastrand::u16(10_000..32_000);
        // A name that goes with its process, however that ends, and is of the same network namespace as the port.
        let name = SocketAddr::from_abstract_name(format!("longshore-port-{port}")).expect("it is short");
        let Ok(reserved) = UnixListener::bind_addr(&name) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            OURS.lock().unwrap_or_else(PoisonError::into_inner).push(reserved);
            return port;
        }
    }
}

/// What a recipe beside this crate prints when it has made what it makes, which it does once: `kafka/setup`.
pub(crate) fn made_by(recipe: &'static str) -> PathBuf {
    static MADE: Mutex<Vec<(&str, PathBuf)>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, path)) = made.iter().find(|(name, _)| *name == recipe) {
        return path.clone();
    }
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join(recipe);
    let output = Command::new(&setup).stderr(Stdio::inherit()).output().expect("the recipe runs");
    assert!(output.status.success(), "{} failed", setup.display());
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    made.push((recipe, path.clone()));
    path
}

/// The end of a log, for who is to know why a server did not come up.
pub(crate) fn end_of(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(60)..).unwrap_or_default().join("\n")
}

/// Whether a server says exactly this when it is told that.
pub(crate) fn converse(port: u16, say: &str, hear: &str) -> bool {
    let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut heard = vec![0; hear.len()];
    connection.set_read_timeout(Some(Duration::from_secs(10))).is_ok()
        && connection.write_all(say.as_bytes()).is_ok()
        && connection.read_exact(&mut heard).is_ok()
        && heard == hear.as_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread;

    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let ask = || (0..100).map(|_| free_port()).collect::<Vec<_>>();
        let asking: Vec<_> = (0..4).map(|_| thread::spawn(ask)).collect();
        let given: BTreeSet<_> = asking.into_iter().flat_map(|ports| ports.join().expect("ports")).collect();
        assert_eq!(given.len(), 400);
    }
}
