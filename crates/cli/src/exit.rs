//! How a command ends: exit codes, and errors that say what to do next.

use std::fmt;
use std::process::ExitCode;

/// Exit codes. Scripts rely on them; they do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done as asked.
    Done = 0,
    /// Not done.
    Error = 1,
    /// The arguments make no sense.
    Usage = 2,
    /// The release was rolled back.
    RolledBack = 3,
    /// The release was aborted by a person or superseded by another template.
    Aborted = 4,
    /// Not over within the time given.
    TimedOut = 5,
    /// Waits for an approval.
    Approval = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what was asked, and what to do next.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    message: String,
    next: Option<String>,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Error,
            message: message.into(),
            next: None,
        }
    }

    /// What to do next.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error: {}", self.message)?;
        if let Some(next) = &self.next {
            write!(formatter, "\nnext:  {next}")?;
        }
        Ok(())
    }
}
