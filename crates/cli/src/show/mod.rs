//! Rollouts in words. Pure: from an object and the time to text.

mod explain;
mod forecast;
mod status;
mod table;
mod ways;

pub use explain::{Trouble, explain, explanation};
pub use forecast::{forecast, forecast_table};
pub use status::{line, status};
#[cfg(feature = "demo")]
pub use table::table;
pub use table::{history, list};
pub use ways::{Workload, ways};
