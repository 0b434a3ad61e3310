//! Processes that are known by a variable which they were started with, whatever they have become.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::Pid;

/// A process that lives.
#[derive(Clone, Debug)]
pub struct Marked {
    /// Its id.
    pub pid: Pid,
    /// Its command line, with blanks between the words.
    pub command: String,
}

/// Every process that lives and has this path for the value of this variable.
pub fn marked(variable: &str, path: &Path) -> Vec<Marked> {
    let mark = [variable.as_bytes(), b"=", path.as_os_str().as_bytes()].concat();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?)) else { continue };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable == mark) {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(Marked { pid, command: String::from_utf8_lossy(&command).replace('\0', " ") });
        }
    }
    found
}
