//! `crossfade demo`: a whole release on one machine, in real time and with real HTTP, and no cluster. The
//! API in memory, the cluster's actors, the shipped controller, pods as HTTP servers on loopback, a data
//! plane and a bounded load; a good version that is kept and a bad one that is taken back.
//!
//! Not here: terminals. The caller gives a [`View`] and shows the closing [`Summary`].

pub mod backends;
pub mod counts;
pub mod frame;
pub mod http;
pub mod load;
pub mod picture;
pub mod plan;
pub mod plane;
mod process;
mod story;

use crossfade_api::Step;

pub use frame::{Frame, Summary, Told, View, closing};
pub use picture::{Size, draw};
pub use story::run;

/// How the demo goes.
#[derive(Clone)]
pub struct Options {
    /// 1 is for watching; 0.1 to 20.
    pub speed: f64,
    /// Requests per second, 20 to 2,000: fewer are too few to judge in the time of a demo.
    pub rate: u32,
    /// Steps; none: 20 % and 50 %.
    pub steps: Vec<Step>,
    /// Pods of the workload, 2 to 10.
    pub replicas: u32,
    /// Names and delays come from it. Time is real, so that no two demos are the same.
    pub seed: u64,
    /// The time of day.
    pub clock: crossfade_fakeapi::Clock,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Options")
            .field("speed", &self.speed)
            .field("rate", &self.rate)
            .field("steps", &self.steps)
            .field("replicas", &self.replicas)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
