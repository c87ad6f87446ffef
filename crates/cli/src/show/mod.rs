//! Rollouts in words. Pure: from an object and the time to text.

mod explain;
mod status;
mod table;

pub use explain::{Trouble, explain};
pub use status::{line, status};
pub use table::{history, list};
