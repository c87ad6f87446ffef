//! From series to counts to ticks: what a pod's metrics say, as numbers the judge can take.
//!
//! [`template`] says what a template can never give, [`target`] finds where a pod's metrics are, [`exposition`] reads what it answered, [`counters`] turns counters into
//! increments and ticks, [`presence`] says whether there are enough data to act on.
//!
//! Pure: builds requests and reads answers, sends nothing, knows no clock. What does not belong here: connections,
//! timeouts and retries (the controller's feed) and statistics (`crossfade-judge`).

pub mod counters;
pub mod exposition;
pub mod pattern;
pub mod presence;
pub mod target;
pub mod template;

pub use counters::{Arm, CounterBook, ObserveError, Observed, Scrape, Selection};
pub use exposition::{Dialect, Exposition, Limits, ParseError, Sample, parse};
pub use pattern::{Pattern, PatternError};
pub use presence::{NoData, Presence};
pub use target::{PodFacts, PodsSource, ScrapeTarget, TargetError};
