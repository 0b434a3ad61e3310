//! Which processes belong to a child.

use std::collections::{HashMap, HashSet};
use std::io;

use rustix::process::{Pid, WaitId, WaitIdOptions, getpid, waitid};

use crate::hunt::Found;
use crate::life::Life;
use crate::mark::Mark;
use crate::nursery::nursery;
use crate::table::{self, Row};

/// By what a child's descendants are known: its group, its mark, being descended from one that was known, and, when
/// there is no other child they could be of, having been adopted by this process from another session.
pub(crate) struct Claim {
    leader: i32,
    mark: Option<Mark>,
    seen: HashSet<(i32, u64)>,
}

impl Claim {
    pub(crate) fn new(leader: Pid, mark: Option<Mark>) -> Self {
        let leader = leader.as_raw_nonzero().get();
        Self { leader, mark, seen: HashSet::new() }
    }

    /// The descendants that are alive, the child itself apart; reaps those that have ended.
    pub(crate) fn find(&mut self) -> io::Result<Found> {
        let rows = table::rows()?;
        let spared = self_and_ancestors(&rows);
        let (others, spawning) = {
            let nursery = nursery();
            (nursery.leaders.clone(), nursery.is_spawning())
        };
        let only_child = !spawning && others.len() == 1 && others.contains(&self.leader);
        let me = own_pid();
        let session = own_session(&rows);
        let mut ours: HashSet<i32> = HashSet::from([self.leader]);
        // What descends from the child cannot be older, which saves reading most environments.
        let since = rows.iter().find(|row| row.pid == self.leader).map_or(0, |row| row.start);
        let candidates = rows.iter().filter(|row| row.start >= since);
        let candidates: Vec<&Row> =
            candidates.filter(|row| !spared.contains(&row.pid) && !others.contains(&row.pid)).collect();
        for row in &candidates {
            let strayed = only_child && row.parent == me && row.session != session;
            let known = row.group == self.leader || strayed || self.seen.contains(&(row.pid, row.start));
            if known || self.mark.as_ref().is_some_and(|mark| mark.is_on(row)) {
                ours.insert(row.pid);
            }
        }
        loop {
            let born: Vec<i32> = candidates
                .iter()
                .filter(|row| ours.contains(&row.parent) && !ours.contains(&row.pid))
                .map(|row| row.pid)
                .collect();
            if born.is_empty() {
                break;
            }
            ours.extend(born);
        }
        let known: Vec<&Row> = candidates.into_iter().filter(|row| ours.contains(&row.pid)).collect();
        self.seen.extend(known.iter().map(|row| (row.pid, row.start)));
        reap_adopted(&rows, &self.seen);
        let running = known.iter().filter(|row| !row.ended).count();
        let alive: Vec<Life> = known.iter().filter(|row| !row.ended).filter_map(|row| Life::of(row)).collect();
        // One that ended within this look, or whose parent has yet to, is ours to reap in the next.
        let orphaned_soon = |row: &&Row| row.ended && row.parent != me && ours.contains(&row.parent);
        let unreaped = alive.len() < running || known.iter().any(orphaned_soon);
        Ok(Found { alive, unreaped })
    }
}

fn own_pid() -> i32 {
    getpid().as_raw_nonzero().get()
}

/// As the table has it: 0 where the session's leader is outside this pid namespace, as it is for what a container runtime
/// has put into one. getsid(2) says 0 then too, which rustix' `Pid` cannot hold.
fn own_session(rows: &[Row]) -> i32 {
    let me = own_pid();
    rows.iter().find(|row| row.pid == me).map_or(0, |row| row.session)
}

/// Those that are never killed, whatever they carry.
pub(crate) fn self_and_ancestors(rows: &[Row]) -> HashSet<i32> {
    let parents: HashMap<i32, i32> = rows.iter().map(|row| (row.pid, row.parent)).collect();
    let mut all = HashSet::new();
    let mut next = Some(own_pid());
    while let Some(pid) = next.filter(|pid| all.insert(*pid)) {
        next = parents.get(&pid).copied();
    }
    all
}

/// Reaps what this process has adopted and what has ended, and nothing that another part of the program may be waiting
/// for: only those that were `seen` as somebody's descendants, belong to a child's group, or to another session (which a
/// direct child is not).
pub(crate) fn reap_adopted(rows: &[Row], seen: &HashSet<(i32, u64)>) {
    let me = own_pid();
    let session = own_session(rows);
    let nursery = nursery();
    let leaders = &nursery.leaders;
    for row in rows.iter().filter(|row| row.ended && row.parent == me && !leaders.contains(&row.pid)) {
        let adopted = seen.contains(&(row.pid, row.start)) || leaders.contains(&row.group) || row.session != session;
        // The pid may have been reaped since the look, and passed to a child that is not entered yet.
        let is_same = || table::row(row.pid).is_some_and(|now| now.start == row.start);
        if adopted
            && is_same()
            && let Some(pid) = row.id()
        {
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}
