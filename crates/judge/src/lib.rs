//! The judge: is the candidate worse than stable by more than what was declared tolerable?
//!
//! Counts of requests and errors come in as numbered ticks ([`Tick`]); [`fold`] turns them into a small
//! serialisable [`State`]; [`verdict`] reads that state and says [`Outcome`], why, and on which numbers.
//! The test is a closed-form e-process: whoever looks at it as often as he likes sees a healthy candidate
//! called bad with probability at most `alpha` over the whole release (Ville's inequality), provided that requests
//! fail independently up to the dispersion measured in [`dispersion`].
//!
//! Pure: no clock, no input or output, no randomness. What does not belong here: where counts come from
//! (`crossfade-metrics-analysis`) and what is done about a verdict (`crossfade-engine`).

mod bound;
pub mod dispersion;
pub mod evidence;
mod history;
mod mixture;
mod parameters;
mod ratio;
mod safety;
mod state;
mod tick;
mod verdict;
mod wealth;

pub use bound::clopper_pearson_upper;
pub use history::History;
pub use mixture::Mixture;
pub use parameters::{ParameterError, Parameters, Settings};
pub use ratio::RatioBound;
pub use safety::Safety;
pub use state::{Baseline, Ceiling, Comparison, ERRORS, Latched, SignalState, State, fold};
pub use tick::{Arm, Counts, PodCount, Tick};
pub use verdict::{Outcome, SignalEvidence, Verdict, verdict};
pub use wealth::LogWealth;
