//! Ending what is left over: TERM, a grace period, KILL, until a whole look at the process table finds nothing.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::claim::{reap_adopted, self_and_ancestors};
use crate::life::Life;
use crate::mark::Mark;
use crate::table::{self, Row};

/// How long a process may take to die of SIGKILL before it is left to itself (it hangs in the kernel, on a dead disk).
const UNKILLABLE: Duration = Duration::from_secs(5);
/// Between two looks while processes that were sent KILL are still there, and more may be forking.
const AGAIN: Duration = Duration::from_millis(50);

/// What became of leftover processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// How many were found and ended.
    pub ended: usize,
    /// Pids that SIGKILL did not end within 5 seconds: they hang in the kernel.
    pub survivors: Vec<u32>,
}

/// Ends every process that carries one of `marks`, this one and its ancestors apart: TERM (and CONT, for those that are
/// stopped), after `grace` KILL, again and again until none is found, since they may fork while being killed. Children
/// of this process are not reaped here unless they were adopted.
///
/// # Errors
/// When `/proc` cannot be read: then nobody knows whether anything is left.
pub async fn end(marks: &[Mark], grace: Duration) -> io::Result<Purged> {
    let marks = marks.to_vec();
    let (_never, stop) = watch::channel(None);
    let find = move || marked(&marks);
    purge(find, stop, Instant::now() + grace).await
}

/// Sends TERM (and CONT) once to every process that carries one of `marks`, this one and its ancestors apart, and says to
/// how many.
///
/// # Errors
/// When `/proc` cannot be read.
pub async fn terminate(marks: &[Mark]) -> io::Result<usize> {
    let marks = marks.to_vec();
    let found = tokio::task::spawn_blocking(move || marked(&marks)).await.map_err(io::Error::other)??;
    for life in &found.alive {
        life.signal(Signal::TERM);
        life.signal(Signal::CONT);
    }
    Ok(found.alive.len())
}

fn marked(marks: &[Mark]) -> io::Result<Found> {
    let rows = table::rows()?;
    reap_adopted(&rows, &HashSet::new());
    let spared = self_and_ancestors(&rows);
    let others = rows.iter().filter(|row| !row.ended && !spared.contains(&row.pid));
    let carriers: Vec<&Row> = others.filter(|row| marks.iter().any(|mark| mark.is_on(row))).collect();
    let alive: Vec<Life> = carriers.iter().filter_map(|row| Life::of(row)).collect();
    Ok(Found { unreaped: alive.len() < carriers.len(), alive })
}

/// What one look at the process table found.
pub(crate) struct Found {
    pub(crate) alive: Vec<Life>,
    /// Some that have ended are not reaped yet: look again.
    pub(crate) unreaped: bool,
}

/// Ends what `find` finds until it finds nothing. KILL comes at `kill_at`, or earlier when `stop` says so.
pub(crate) async fn purge<F>(
    mut find: F,
    mut stop: watch::Receiver<Option<Instant>>,
    kill_at: Instant,
) -> io::Result<Purged>
where
    F: FnMut() -> io::Result<Found> + Send + 'static,
{
    let mut asked = HashSet::new();
    loop {
        let looked;
        (find, looked) = tokio::task::spawn_blocking(move || {
            let found = find();
            (find, found)
        })
        .await
        .map_err(io::Error::other)?;
        let Found { alive, unreaped } = looked?;
        let now = Instant::now();
        let kill_at = stop.borrow_and_update().map_or(kill_at, |sooner| sooner.min(kill_at));
        if alive.is_empty() && !(unreaped && now < kill_at + UNKILLABLE) {
            return Ok(Purged { ended: asked.len(), survivors: Vec::new() });
        }
        if now >= kill_at + UNKILLABLE {
            let survivors = alive.iter().map(|life| life.pid.as_raw_nonzero().get().unsigned_abs()).collect::<Vec<_>>();
            tracing::warn!(?survivors, "processes do not die of SIGKILL: they hang in the kernel and are left");
            return Ok(Purged { ended: asked.len() - survivors.len(), survivors });
        }
        for life in &alive {
            if asked.insert((life.pid, life.start)) {
                life.signal(Signal::TERM);
                life.signal(Signal::CONT);
            }
            if now >= kill_at {
                life.signal(Signal::KILL);
            }
        }
        let all_ended = async {
            for life in &alive {
                life.ended().await;
            }
        };
        if alive.is_empty() || now >= kill_at {
            let _ = timeout(AGAIN, all_ended).await;
            if alive.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        } else {
            tokio::select! {
                () = all_ended => {}
                () = sleep_until(kill_at) => {}
                Ok(()) = stop.changed() => {}
            }
        }
    }
}
