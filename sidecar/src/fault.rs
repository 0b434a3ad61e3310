//! Named places where state changes hands, at which a test can kill or stop the process.
//!
//! They exist in builds with debug assertions (the dev profile, which the tests use) and are nothing at all in release
//! builds. `LONGSHORE_FAULT_LOG=FILE` appends the name of each point passed, a line each.
//! `LONGSHORE_FAULT=NAME[#N]=ACTION[,…]` acts when NAME is passed for the Nth time (default 1) in this process: `kill`
//! sends SIGKILL and `stop` SIGSTOP to this very process, `fail` makes [`point`] return an error where the caller takes
//! one. Neither variable is a setting: `make test` sets them, nobody else.

/// Passes the fault point `name`.
///
/// # Errors
/// When a test asked for this point to `fail`; never otherwise.
#[inline]
pub fn point(name: &'static str) -> std::io::Result<()> {
    #[cfg(debug_assertions)]
    return imp::point(name);
    #[cfg(not(debug_assertions))]
    {
        let _ = name;
        Ok(())
    }
}

/// Whether a variable belongs to fault injection, so that it can be kept from children that are not meant.
pub fn is_variable(name: &std::ffi::OsStr) -> bool {
    name == "LONGSHORE_FAULT" || name == "LONGSHORE_FAULT_LOG"
}

#[cfg(debug_assertions)]
#[expect(clippy::disallowed_methods, reason = "not settings, and read in test builds only")]
#[expect(unsafe_code, reason = "rustix has no raise")]
mod imp {
    use std::collections::HashMap;
    use std::io::{self, Write};
    use std::sync::{LazyLock, Mutex, PoisonError};

    use rustix::process::{Signal, getpid, kill_process};

    struct Plan {
        log: Option<std::path::PathBuf>,
        actions: HashMap<String, (u64, String)>,
        seen: Mutex<HashMap<&'static str, u64>>,
    }

    static PLAN: LazyLock<Plan> = LazyLock::new(|| Plan {
        log: std::env::var_os("LONGSHORE_FAULT_LOG").map(Into::into),
        actions: std::env::var("LONGSHORE_FAULT").unwrap_or_default().split(',').filter_map(parse).collect(),
        seen: Mutex::default(),
    });

    fn parse(text: &str) -> Option<(String, (u64, String))> {
        let (place, action) = text.trim().split_once('=')?;
        let (name, nth) = place.split_once('#').unwrap_or((place, "1"));
        Some((name.to_owned(), (nth.parse().ok()?, action.to_owned())))
    }

    pub(super) fn point(name: &'static str) -> io::Result<()> {
        let plan = &*PLAN;
        if plan.log.is_none() && plan.actions.is_empty() {
            return Ok(());
        }
        let count = {
            let mut seen = plan.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let count = seen.entry(name).or_default();
            *count += 1;
            *count
        };
        if let Some(path) = &plan.log {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
            file.write_all(format!("{name}\n").as_bytes())?;
        }
        let Some((_, action)) = plan.actions.get(name).filter(|(nth, _)| *nth == count) else { return Ok(()) };
        match action.as_str() {
            "kill" => kill_process(getpid(), Signal::KILL)?,
            "stop" => {
                // To this very thread: another, to which the process' signal may go, would let this one run past the point.
                // SAFETY: it takes a number and touches no memory.
                let _ = unsafe { libc::raise(libc::SIGSTOP) };
            }
            "fail" => return Err(io::Error::other(format!("fault point {name} was told to fail"))),
            other => return Err(io::Error::other(format!("fault point {name} has no action {other:?}"))),
        }
        Ok(())
    }
}
