//! Which machine the figures are of.

use std::fs;
use std::path::Path;

/// Processor, cores, memory, kernel, the file system measured on, and the date.
pub(crate) fn line(scratch: &Path) -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |text: &str, name: &str| {
        let value = text.lines().find(|line| line.starts_with(name))?.split_once(':')?.1;
        Some(value.trim().to_owned())
    };
    let model = field(&cpuinfo, "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib / 1024 / 1024);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?").to_owned();
    format!(
        "{model}, {cores} cores, {memory} GiB, Linux {}, {}; load before: {load}",
        kernel.trim(),
        file_system(scratch).unwrap_or_else(|| "unknown file system".to_owned()),
    )
}

/// The type of the file system that `path` lies on.
fn file_system(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let fields = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    // The last of the longest: what was mounted over another is listed behind it.
    let (_, kind) = fields.filter(|(at, _)| path.starts_with(at)).max_by_key(|(at, _)| at.len())?;
    Some(kind.to_owned())
}
