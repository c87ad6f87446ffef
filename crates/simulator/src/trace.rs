//! The trace of a world: every call of the controller and every change by others, with time. Two runs
//! of one seed must give it byte for byte. Not here: what is wrong with it.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::random::digest;

/// Lines kept when nobody asked for all of them.
const KEPT: usize = 400;

/// Locks; a panic of another holder is told elsewhere and leaves plain values behind.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Inner {
    lines: Vec<String>,
    count: u64,
    digest: u64,
}

/// The trace.
#[derive(Debug)]
pub struct Trace {
    began: Instant,
    whole: bool,
    inner: Mutex<Inner>,
}

impl Trace {
    /// An empty one that begins now. With `whole` every line is kept, else the last few hundred.
    #[must_use]
    pub fn new(whole: bool) -> Self {
        Self {
            began: Instant::now(),
            whole,
            inner: Mutex::new(Inner {
                lines: Vec::new(),
                count: 0,
                digest: digest(0, b"trace"),
            }),
        }
    }

    /// Time since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> std::time::Duration {
        self.began.elapsed()
    }

    /// Adds a line.
    pub fn line(&self, what: &dyn fmt::Display) {
        let milliseconds = self.began.elapsed().as_millis();
        let line = format!(
            "{:>7}.{:03} {what}",
            milliseconds / 1000,
            milliseconds % 1000
        );
        let mut inner = lock(&self.inner);
        inner.count += 1;
        inner.digest = digest(inner.digest, line.as_bytes());
        inner.lines.push(line);
        if !self.whole && inner.lines.len() >= 2 * KEPT {
            inner.lines.drain(..KEPT);
        }
    }

    /// How many lines there were, and a fingerprint of all of them.
    #[must_use]
    pub fn summary(&self) -> (u64, u64) {
        let inner = lock(&self.inner);
        (inner.count, inner.digest)
    }

    /// The lines kept.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        lock(&self.inner).lines.clone()
    }

    /// The last lines.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<String> {
        let inner = lock(&self.inner);
        let from = inner.lines.len().saturating_sub(count);
        inner.lines.get(from..).unwrap_or_default().to_vec()
    }
}
