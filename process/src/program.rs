//! Finding a program as a shell would, and saying why it cannot run.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Where programs are looked for when the child is given no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Why a child was not started, classed by who must do what.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No such program (a shell exits 127).
    #[error("command not found: {}: {why}", .program.display())]
    NotFound {
        /// As it was given.
        program: PathBuf,
        /// Where it was looked for.
        why: String,
    },
    /// It is there and cannot be executed (a shell exits 126).
    #[error("command cannot be executed: {}: {why}", .program.display())]
    NotExecutable {
        /// The file that was found.
        program: PathBuf,
        /// What stands in the way and what to do.
        why: String,
    },
    /// The working directory cannot be entered.
    #[error("cannot run in {}", .directory.display())]
    Directory {
        /// The one that was given.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Arguments and environment together, or one of them, are larger than the kernel takes, or hold a zero byte.
    #[error("the arguments or the environment of {} cannot be passed to it", .program.display())]
    Arguments {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The machine or this process's limits have nothing to spare (processes, descriptors, memory): try again later.
    #[error("nothing to spare to run {}", .program.display())]
    Exhausted {
        /// The program.
        program: PathBuf,
        /// What is missing.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot run {}", .program.display())]
    Other {
        /// The program.
        program: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

/// The file that [`Spec::spawn`](crate::Spec::spawn) would execute for `program` with this `PATH`, as far as looking can tell: for saying that a
/// command cannot run before anything depends on it.
///
/// # Errors
/// Those of a spawn: [`SpawnError::NotFound`], [`SpawnError::NotExecutable`].
pub fn find(program: &OsStr, path: Option<&OsString>) -> Result<PathBuf, SpawnError> {
    let file = resolve(program, path)?;
    match file.metadata() {
        Ok(found) if found.is_file() && access(&file, Access::EXEC_OK).is_ok() => Ok(file),
        Ok(_) => Err(SpawnError::NotExecutable { why: obstacle(&file), program: file }),
        Err(error) => Err(explain(file, None, error)),
    }
}

/// The absolute path of `program`: relative to this process's directory when it holds a slash, else along `path`.
///
/// The result is absolute also because the standard library forks, which is slow in a large process, when it would have
/// to search a `PATH` other than its own.
pub(crate) fn resolve(program: &OsStr, path: Option<&OsString>) -> Result<PathBuf, SpawnError> {
    let given = Path::new(program);
    if program.as_bytes().contains(&b'/') {
        return std::path::absolute(given).map_err(|source| SpawnError::Other { program: given.to_owned(), source });
    }
    let path = path.map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str);
    let mut unusable = None;
    if !program.is_empty() {
        for directory in std::env::split_paths(path) {
            let Ok(candidate) = std::path::absolute(directory.join(given)) else { continue };
            match candidate.metadata() {
                Ok(found) if found.is_file() && access(&candidate, Access::EXEC_OK).is_ok() => return Ok(candidate),
                Ok(found) if found.is_file() => unusable = unusable.or(Some(candidate)),
                _ => {}
            }
        }
    }
    match unusable {
        Some(program) => Err(SpawnError::NotExecutable { why: obstacle(&program), program }),
        None => {
            let here =
                if given.is_file() { format!("; if ./{} is meant, say so", given.display()) } else { String::new() };
            let why = format!("it is in no directory of PATH ({}){here}", path.display());
            Err(SpawnError::NotFound { program: given.to_owned(), why })
        }
    }
}

/// The class of an error that `execve` or what goes before it gave.
pub(crate) fn explain(program: PathBuf, directory: Option<&Path>, source: io::Error) -> SpawnError {
    use rustix::io::Errno;
    if let Some(directory) = directory
        && let Some(source) = cannot_enter(directory)
    {
        return SpawnError::Directory { directory: directory.to_owned(), source };
    }
    let Some(errno) = Errno::from_io_error(&source) else {
        return if source.kind() == io::ErrorKind::InvalidInput {
            SpawnError::Arguments { program, source }
        } else {
            SpawnError::Other { program, source }
        };
    };
    match errno {
        Errno::NOENT if program.exists() => SpawnError::NotExecutable {
            why: "the interpreter its first line names, or the loader it needs, is not on this machine".to_owned(),
            program,
        },
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP => {
            SpawnError::NotFound { program, why: source.to_string() }
        }
        Errno::ACCESS | Errno::PERM => SpawnError::NotExecutable { why: obstacle(&program), program },
        Errno::NOEXEC => SpawnError::NotExecutable {
            why: "it is neither a program for this machine nor a script that begins with #!".to_owned(),
            program,
        },
        Errno::TXTBSY => SpawnError::NotExecutable { why: "somebody has it open for writing".to_owned(), program },
        Errno::INVAL | Errno::LIBBAD => SpawnError::NotExecutable { why: source.to_string(), program },
        Errno::TOOBIG => SpawnError::Arguments { program, source },
        Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE => SpawnError::Exhausted { program, source },
        _ => SpawnError::Other { program, source },
    }
}

fn cannot_enter(directory: &Path) -> Option<io::Error> {
    match directory.metadata() {
        Err(error) => Some(error),
        Ok(found) if !found.is_dir() => Some(io::ErrorKind::NotADirectory.into()),
        Ok(_) => access(directory, Access::EXEC_OK).err().map(io::Error::from),
    }
}

/// Why the kernel refuses to execute a file that exists.
fn obstacle(program: &Path) -> String {
    match program.metadata() {
        Ok(found) if found.is_dir() => "it is a directory".to_owned(),
        Ok(found) if !found.is_file() => "it is not a regular file".to_owned(),
        Ok(found) => {
            use std::os::unix::fs::PermissionsExt;
            if found.permissions().mode() & 0o111 == 0 {
                "no execute permission (chmod +x)".to_owned()
            } else {
                "permission denied (is its volume mounted noexec, or the file another user's?)".to_owned()
            }
        }
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(errno: rustix::io::Errno) -> SpawnError {
        explain(PathBuf::from("/bin/true"), None, errno.into())
    }

    #[test]
    fn a_machine_with_nothing_to_spare_is_told_from_a_program_that_cannot_run() {
        use rustix::io::Errno;
        for errno in [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE] {
            assert!(matches!(class(errno), SpawnError::Exhausted { .. }), "{errno}");
        }
        assert!(matches!(class(Errno::IO), SpawnError::Other { .. }));
        assert!(matches!(class(Errno::ACCESS), SpawnError::NotExecutable { .. }));
    }
}
