//! Files that are waited for: each must be seen unchanged, at least twice, over `--stable-for` of our own clock. The file's
//! times are never compared with that clock: a server's is another one, and copies bring old times along. Pure.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::jail::Sight;
use crate::reason::Reason;

/// Files that are waited for, by key, and when to look at each again.
#[derive(Debug)]
pub(crate) struct Resting {
    stable_for: Duration,
    files: HashMap<Box<[u8]>, File>,
    due: BTreeSet<(Instant, Box<[u8]>)>,
}

#[derive(Clone, Copy, Debug)]
struct File {
    sight: Sight,
    /// Since when it looks like that.
    since: Instant,
    looks: u32,
    grew_from: Option<u64>,
    /// It was listed on evidence that the next write disproved: only rest counts from now on.
    distrusted: bool,
    due: Instant,
}

/// What a look at a file that is waited for comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rest {
    /// It has rested long enough.
    pub(crate) over: bool,
    /// Evidence may stand in for rest.
    pub(crate) trusted: bool,
    /// Why it is not listed, if it is not.
    pub(crate) reason: Reason,
}

impl Resting {
    /// None yet.
    pub(crate) fn new(stable_for: Duration) -> Self {
        Self { stable_for, files: HashMap::new(), due: BTreeSet::new() }
    }

    /// Whether the file is waited for.
    pub(crate) fn waits_for(&self, key: &[u8]) -> bool {
        self.files.contains_key(key)
    }

    /// The file of this key looks like this now.
    pub(crate) fn look(&mut self, key: &[u8], sight: &Sight, now: Instant) -> Rest {
        let file = match self.files.get(key) {
            Some(file) if file.sight.same_file(sight) => File { looks: file.looks.saturating_add(1), ..*file },
            Some(file) => {
                let (old, new) = (file.sight.version.size, sight.version.size);
                let grew_from = (old != new).then_some(old);
                File { sight: *sight, since: now, looks: 1, grew_from, ..*file }
            }
            None => File { sight: *sight, since: now, looks: 1, grew_from: None, distrusted: false, due: now },
        };
        let over = self.stable_for.is_zero() || (file.looks >= 2 && now - file.since >= self.stable_for);
        // Where rest is over and something else stands in the way, such as a writer, it is looked at again as often.
        let due = if over { now + self.stable_for } else { file.since + self.stable_for };
        self.put(key, File { due, ..file });
        let reason = match file.grew_from {
            Some(from) => Reason::Growing { from, to: sight.version.size, rest: self.stable_for },
            None => Reason::Settling { rest: self.stable_for },
        };
        Rest { over, trusted: !file.distrusted, reason }
    }

    /// From now on only rest counts for this file, until it is listed.
    pub(crate) fn distrust(&mut self, key: &[u8]) {
        if let Some(file) = self.files.get_mut(key) {
            file.distrusted = true;
        }
    }

    /// The file is waited for no longer.
    pub(crate) fn drop(&mut self, key: &[u8]) {
        if let Some((key, file)) = self.files.remove_entry(key) {
            self.due.remove(&(file.due, key));
        }
    }

    /// A file to look at now.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<Box<[u8]>> {
        let (due, key) = self.due.first()?;
        if *due > now {
            return None;
        }
        let key = key.clone();
        // Should the look fail to come to anything, it is not due again at once.
        if let Some(file) = self.files.get(&key).copied() {
            self.put(&key, File { due: now + self.stable_for.max(Duration::from_secs(1)), ..file });
        }
        Some(key)
    }

    /// When the next look is due.
    pub(crate) fn wake(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    fn put(&mut self, key: &[u8], file: File) {
        if let Some(old) = self.files.get(key) {
            self.due.remove(&(old.due, key.into()));
        }
        self.due.insert((file.due, key.into()));
        self.files.insert(key.into(), file);
    }
}

#[cfg(test)]
mod tests {
    use contract::FileVersion;

    use super::*;
    use crate::jail::Kind;

    const STABLE: Duration = Duration::from_secs(10);

    fn sight(size: u64, inode: u64) -> Sight {
        Sight {
            kind: Kind::File,
            version: FileVersion { size, mtime_nanos: 5 },
            inode,
            changed_nanos: 0,
            mount: None,
            device: (0, 0),
        }
    }

    fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn two_looks_over_the_whole_time_are_needed() {
        let (mut resting, start) = (Resting::new(STABLE), Instant::now());
        assert!(!resting.look(b"k", &sight(1, 1), start).over);
        assert!(!resting.look(b"k", &sight(1, 1), start + after(9)).over);
        assert_eq!(resting.wake(), Some(start + STABLE));
        assert!(resting.look(b"k", &sight(1, 1), start + after(10)).over);
        let mut late = Resting::new(STABLE);
        assert!(!late.look(b"k", &sight(1, 1), start + after(100)).over, "one look proves nothing, however late");
    }

    #[test]
    fn any_change_begins_again() {
        let (mut resting, start) = (Resting::new(STABLE), Instant::now());
        resting.look(b"k", &sight(1, 1), start);
        let rest = resting.look(b"k", &sight(2, 1), start + after(10));
        assert_eq!((rest.over, rest.reason.label()), (false, "growing"));
        let rest = resting.look(b"k", &sight(2, 7), start + after(20));
        assert_eq!((rest.over, rest.reason.label()), (false, "settling"), "another inode is another file");
        assert!(!resting.look(b"k", &sight(2, 7), start + after(29)).over);
        assert!(resting.look(b"k", &sight(2, 7), start + after(30)).over);
    }

    #[test]
    fn each_is_due_once_until_it_is_looked_at() {
        let (mut resting, start) = (Resting::new(STABLE), Instant::now());
        resting.look(b"a", &sight(1, 1), start);
        resting.look(b"b", &sight(1, 2), start + after(1));
        assert_eq!(resting.next_due(start + after(9)), None);
        assert_eq!(resting.next_due(start + after(10)).as_deref(), Some(&b"a"[..]));
        assert_eq!(resting.next_due(start + after(10)), None);
        resting.drop(b"a");
        assert_eq!(resting.wake(), Some(start + after(11)));
        resting.drop(b"b");
        assert_eq!(resting.wake(), None);
    }

    #[test]
    fn distrust_lasts_as_long_as_it_is_waited_for() {
        let (mut resting, start) = (Resting::new(STABLE), Instant::now());
        resting.look(b"k", &sight(1, 1), start);
        resting.distrust(b"k");
        assert!(!resting.look(b"k", &sight(2, 1), start + after(1)).trusted);
        resting.drop(b"k");
        assert!(resting.look(b"k", &sight(2, 1), start + after(2)).trusted);
    }
}
