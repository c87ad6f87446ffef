//! The controller's doors in a world: a clock that moves with tokio's, names from the seed, and HTTP
//! to pods answered by the actors. The client is in [`crate::faults::door`].

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use crossfade_controller::ports::{Clock, Ids};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::trace::lock;

/// Where simulated time begins, in seconds of Unix time: 2027-01-15T08:00:00Z.
pub const BEGINNING: i64 = 1_800_000_000;

/// The world's time of day.
#[derive(Clone, Debug)]
pub struct WorldClock {
    began: Instant,
    skew: Arc<AtomicI64>,
}

impl WorldClock {
    /// Begins now, at [`BEGINNING`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            began: Instant::now(),
            skew: Arc::default(),
        }
    }

    /// A clock of the same world with an error of its own.
    #[must_use]
    pub fn of_a_replica(&self) -> Self {
        Self {
            began: self.began,
            skew: Arc::default(),
        }
    }

    /// Sets the error, in milliseconds.
    pub fn set_skew(&self, milliseconds: i64) {
        self.skew.store(milliseconds, Ordering::Relaxed);
    }

    /// Now.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        let passed = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let milliseconds = passed.saturating_add(self.skew.load(Ordering::Relaxed));
        Timestamp::from_second(BEGINNING)
            .unwrap_or(Timestamp::UNIX_EPOCH)
            .checked_add(SignedDuration::from_millis(milliseconds))
            .unwrap_or(Timestamp::MAX)
    }
}

impl Default for WorldClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for WorldClock {
    fn now(&self) -> Timestamp {
        self.timestamp()
    }
}

/// Names from a seed.
#[derive(Debug)]
pub struct SeededIds(Mutex<fastrand::Rng>);

impl SeededIds {
    /// From a generator of its own.
    #[must_use]
    pub const fn new(draw: fastrand::Rng) -> Self {
        Self(Mutex::new(draw))
    }
}

impl Ids for SeededIds {
    fn candidate(&self) -> String {
        format!("{:08x}", lock(&self.0).u32(..))
    }
}

/// Whether a process still runs: shared by everything that acts in its name.
#[derive(Clone, Debug, Default)]
pub struct Alive(Arc<AtomicBool>);

impl Alive {
    /// Ends it.
    pub fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it has ended.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
