//! What the judge is told: counts per arm since the tick before.
//!
//! Does not belong here: how counters become increments (resets, new series), which is the feed's work.

use serde::{Deserialize, Serialize};

/// Increments of both arms over one interval.
///
/// Counters may be fractional where they come from; whoever makes ticks rounds to whole requests and says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tick {
    /// Grows by one per tick of a release. A tick whose number is not above the last one folded is ignored, so that a tick
    /// offered twice counts once. Gaps are harmless: a lost tick is a bet not made.
    pub number: u64,
    /// When the tick was closed, in milliseconds since the Unix epoch. Only used to keep stable's last ten minutes.
    pub at_millis: i64,
    /// The new version.
    pub candidate: Arm,
    /// The version it is compared with.
    pub stable: Arm,
}

/// One side of the comparison within a tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// Requests finished in the tick, over all pods.
    pub requests: u64,
    /// How many of them failed; a number above `requests` is read as `requests`.
    pub errors: u64,
    /// The same per pod. Only stable's are read, to measure how clumped errors are; may be empty, which means "not known".
    pub pods: Vec<PodCount>,
}

/// Counts of one pod within a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodCount {
    /// Requests this pod finished in the tick.
    pub requests: u64,
    /// How many of them failed.
    pub errors: u64,
}

/// Requests and the bad ones among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All requests.
    pub requests: u64,
    /// Those that count against the arm: errors.
    pub bad: u64,
}

impl Counts {
    /// Bad over all, or `None` without requests.
    #[must_use]
    pub fn share(self) -> Option<f64> {
        (self.requests > 0).then(|| self.bad as f64 / self.requests as f64)
    }

    /// Sum of both. Saturates instead of overflowing: a count near 2^64 is not a real one.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            bad: self.bad.saturating_add(other.bad),
        }
    }
}

impl Arm {
    /// An arm whose pods are not told apart.
    #[must_use]
    pub fn of(requests: u64, errors: u64) -> Self {
        Self {
            requests,
            errors,
            pods: Vec::new(),
        }
    }

    /// An arm from its pods: the totals are their sums.
    #[must_use]
    pub fn from_pods(pods: Vec<PodCount>) -> Self {
        let requests = pods
            .iter()
            .fold(0_u64, |sum, pod| sum.saturating_add(pod.requests));
        let errors = pods
            .iter()
            .fold(0_u64, |sum, pod| sum.saturating_add(pod.errors));
        Self {
            requests,
            errors,
            pods,
        }
    }

    /// The counts of the errors signal. More errors than requests cannot be, and would break the bound the
    /// test rests on, so the excess is cut.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            requests: self.requests,
            bad: self.errors.min(self.requests),
        }
    }
}
