//! The time of day, for showing how long ago and how long still. Waits use tokio's clock.

use jiff::Timestamp;

/// Now.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the command line that reads the clock; nothing is decided by it"
)]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A length of time for the eye: `2m5s`.
pub fn length(seconds: i64) -> String {
    crossfade_api::Duration::from_seconds(u64::try_from(seconds).unwrap_or(0)).to_string()
}

/// `3m ago`.
pub fn ago(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(
        || "-".to_owned(),
        |at| format!("{} ago", length(now.duration_since(at).as_secs())),
    )
}

/// `in 3m`, or `overdue`.
pub fn until(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.duration_since(now).as_secs();
    if seconds >= 0 {
        format!("in {}", length(seconds))
    } else {
        "overdue".to_owned()
    }
}
