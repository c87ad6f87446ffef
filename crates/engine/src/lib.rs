//! The planner: what to do next, and what to admit.
//!
//! Pure: no async, no input or output, no clock, no random, no hash-ordered collection; time and
//! names come in as arguments. The same planner runs in the controller, in `crossfade plan`, in
//! simulation and in the tests.

pub mod admit;
mod analysis;
mod annotated;
mod command;
mod created;
pub mod effect;
pub mod identity;
pub mod memory;
pub mod observed;
mod passage;
mod phase;
mod plan;
pub mod report;
pub mod safety;
mod sides;
mod status;
mod step;
mod traffic;
pub mod validated;

pub use effect::Effect;
pub use memory::Memory;
pub use observed::Observed;
pub use report::Report;
pub use step::step;
pub use validated::Validated;

use jiff::Timestamp;

/// What one pass decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// To be written, guarded, before any effect if it differs from what was read; on abort after.
    pub memory: Memory,
    /// To be performed in order; the first refusal ends the pass (weight 0 goes on).
    pub effects: Vec<Effect>,
    /// When to look again even if nothing happens.
    pub wake_at: Option<Timestamp>,
    pub report: Report,
    /// Effects go before the memory: an abort does not wait for a status write.
    pub effects_first: bool,
    /// What the next pass looks at is to be read from the server: this one would have rested on something
    /// being absent, and watches lag behind.
    pub read_live: bool,
}
