//! How a program ends when it cannot go on: an error chain for people and an exit code for machines.

use std::fmt;

/// An error with the exit code (`sysexits.h`) that tells a supervisor what kind it is.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    error: anyhow::Error,
}

impl Failure {
    /// The code an error without one gets: `EX_SOFTWARE`, a defect of ours.
    const SOFTWARE: u8 = 70;

    /// `error`, to exit with `code`.
    pub fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self { code, error: error.into() }
    }

    /// `EX_CONFIG`: somebody must change the configuration.
    pub fn config(error: impl Into<anyhow::Error>) -> Self {
        Self::new(78, error)
    }

    /// `EX_UNAVAILABLE`: what the program depends on is not there.
    pub fn unavailable(error: impl Into<anyhow::Error>) -> Self {
        Self::new(69, error)
    }

    /// Whether whoever read the results has seen enough (`| head`) and nothing else is wrong.
    pub fn is_closed_pipe(&self) -> bool {
        let io = self.error.downcast_ref::<std::io::Error>();
        io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// What the process exits with.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Self::SOFTWARE, error)
    }
}

/// An error and all its causes, on one line, as `{:#}` writes an [`anyhow::Error`]: for logs and reports, which take a text.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Attaches an exit code where an error is passed on.
pub trait FailureExt<T> {
    /// On error, exit with `code` and say what was being done.
    ///
    /// # Errors
    /// The error itself, as a [`Failure`].
    fn or_exit(self, code: u8, doing: impl fmt::Display + Send + Sync + 'static) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> FailureExt<T> for Result<T, E> {
    fn or_exit(self, code: u8, doing: impl fmt::Display + Send + Sync + 'static) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(code, error.into().context(doing)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_what_anyhow_writes() {
        let error = anyhow::anyhow!("no route").context("connect").context("list the source");
        assert_eq!(chain(error.as_ref()), format!("{error:#}"));
        assert_eq!(chain(error.as_ref()), "list the source: connect: no route");
    }
}
