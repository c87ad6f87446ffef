//! Everything Crossfade reads and writes: queue, watches, snapshots, measurements, requests,
//! events, admission, leadership.
//!
//! Nothing here decides: one pass looks at the cluster, asks the planner and performs what it asks
//! for, in order. Time, names, the Kubernetes client and all other HTTP come in through [`ports`].

pub mod admission;
mod around;
pub mod compile;
pub mod context;
pub mod error;
pub mod events;
pub mod feed;
pub mod health;
pub mod identity;
mod intake;
pub mod lease;
mod leftovers;
pub mod metrics;
pub mod observe;
pub mod outbound;
pub mod pass;
pub mod perform;
pub mod ports;
pub mod queue;
mod release;
pub mod run;
pub mod snapshot;
pub mod state;
pub mod status;
#[cfg(test)]
mod testing;
pub mod watch;
pub mod wire;

pub use ports::Ports;
pub use run::{Settings, run};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a panic of another holder has been counted already and leaves plain values behind.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
