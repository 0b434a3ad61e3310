//! Whether the kernel has killed for want of memory: it counts that, for each control group.

use std::fs;
use std::path::{Path, PathBuf};

/// Where control groups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// The file in which the kernel counts, of version 1 (`memory.oom_control`) or 2 (`memory.events`); both have a line
/// `oom_kill <n>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OomCounter(Option<PathBuf>);

impl OomCounter {
    /// That of this process's own group, as far as it can be seen from here.
    pub fn find() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self(candidates(&groups, Path::new(MOUNT)).into_iter().find(|path| path.is_file()))
    }

    /// A file that somebody names.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(Some(path.into()))
    }

    /// How often it has killed; `None` where that cannot be known.
    pub(super) fn read(&self) -> Option<u64> {
        let text = fs::read_to_string(self.0.as_deref()?).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
        line.trim().parse().ok()
    }
}

/// Where the file may be: the group's own, which is at its full path where the whole tree is mounted, and at the top where a
/// container sees nothing but its own.
fn candidates(groups: &str, mount: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let (top, file) = match controllers {
            "" => (mount.to_owned(), "memory.events"),
            _ if controllers.split(',').any(|name| name == "memory") => (mount.join("memory"), "memory.oom_control"),
            _ => continue,
        };
        // `/../other` is how a group outside the namespace is written.
        let within = path.trim_start_matches('/');
        if !within.split('/').any(|part| part == "..") {
            all.push(top.join(within).join(file));
        }
        all.push(top.join(file));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_count_in_a_line_of_the_same_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("memory");
        let counter = OomCounter::at(&path);
        assert_eq!(counter.read(), None);
        for (text, want) in [
            ("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", Some(3)),
            ("low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\noom_group_kill 1\n", Some(2)),
            ("oom_kill_disable 0\nunder_oom 0\n", None),
            ("oom_kill many\n", None),
        ] {
            fs::write(&path, text).expect("written");
            assert_eq!(counter.read(), want, "{text}");
        }
        assert_eq!(OomCounter::default().read(), None);
    }

    #[test]
    fn it_is_looked_for_at_the_groups_own_path_and_at_the_top() {
        let found = |groups: &str| -> Vec<String> {
            candidates(groups, Path::new("/c")).iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(found("0::/a/b\n"), ["/c/a/b/memory.events", "/c/memory.events"]);
        assert_eq!(found("0::/../b\n"), ["/c/memory.events"]);
        assert_eq!(
            found("5:cpu,cpuacct:/x\n4:memory:/kubepods/p\n1:name=systemd:/\n"),
            ["/c/memory/kubepods/p/memory.oom_control", "/c/memory/memory.oom_control"]
        );
        assert_eq!(found("nonsense"), Vec::<String>::new());
    }
}
