//! Classes of failed calls and how long to wait after each. Pure; who waits is elsewhere.

use std::time::Duration;

/// What a failed call means for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The object is not as it was seen, or already there: look again.
    Conflict,
    /// It is gone.
    NotFound,
    /// We, or the object, may not: permissions, quota, a policy.
    Forbidden,
    /// The server cannot accept it as it is.
    Invalid,
    /// Too many requests.
    Throttled,
    /// The server, or the way to it, is not there.
    Unavailable,
    /// No answer in time.
    Timeout,
    /// A request that never can be right.
    Bug,
}

impl Class {
    /// The word in metrics, logs and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::NotFound => "not-found",
            Self::Forbidden => "forbidden",
            Self::Invalid => "invalid",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Bug => "bug",
        }
    }
}

/// A call that did not do what it was for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{purpose}: {message} ({})", class.as_str())]
pub struct Failure {
    pub class: Class,
    /// What the call was for.
    pub purpose: &'static str,
    /// The server's own words.
    pub message: String,
    /// It may have been carried out, or may still be.
    pub unanswered: bool,
    /// An object of that name is already there.
    pub already_exists: bool,
}

impl Failure {
    /// A call that was given up after its time.
    #[must_use]
    pub fn timeout(purpose: &'static str) -> Self {
        Self {
            class: Class::Timeout,
            purpose,
            message: "no answer in time".to_owned(),
            unanswered: true,
            already_exists: false,
        }
    }

    /// Something of ours that cannot be right.
    #[must_use]
    pub fn bug(purpose: &'static str, message: impl Into<String>) -> Self {
        Self {
            class: Class::Bug,
            purpose,
            message: message.into(),
            unanswered: false,
            already_exists: false,
        }
    }

    /// From the client's error. A JSON patch whose `test` failed answers 422 without naming a field,
    /// unlike a validation, and counts as a conflict.
    #[must_use]
    pub fn from_kube(purpose: &'static str, error: &kube::Error, json_patch: bool) -> Self {
        let (class, unanswered, already_exists, message) = match error {
            kube::Error::Api(status) => {
                let no_cause = status
                    .details
                    .as_ref()
                    .is_none_or(|details| details.causes.is_empty());
                let class = match status.code {
                    409 => Class::Conflict,
                    404 | 410 => Class::NotFound,
                    401 | 403 => Class::Forbidden,
                    422 if json_patch && no_cause => Class::Conflict,
                    422 => Class::Invalid,
                    429 => Class::Throttled,
                    408 | 504 => Class::Timeout,
                    500..=599 => Class::Unavailable,
                    _ => Class::Bug,
                };
                let unanswered = matches!(class, Class::Timeout | Class::Unavailable);
                (
                    class,
                    unanswered,
                    status.reason == "AlreadyExists",
                    status.message.clone(),
                )
            }
            kube::Error::Service(source) if source.is::<tower::timeout::error::Elapsed>() => {
                (Class::Timeout, true, false, "no answer in time".to_owned())
            }
            kube::Error::SerdeError(source) => (
                Class::Unavailable,
                true,
                false,
                format!("the answer is not JSON: {source}"),
            ),
            kube::Error::BuildRequest(_) | kube::Error::HttpError(_) => {
                (Class::Bug, false, false, error.to_string())
            }
            other => (Class::Unavailable, true, false, other.to_string()),
        };
        Self {
            class,
            purpose,
            message,
            unanswered,
            already_exists,
        }
    }
}

/// How long to wait before trying again after a failure of this class.
///
/// A conflict means the world moved: look again at once, then slower. What needs a person or a
/// server gets longer waits. The jitter comes from the uid: many workloads spread, each run is equal.
#[must_use]
pub fn delay(class: Class, attempt: u32, uid: &str) -> Duration {
    let (first, most) = match class {
        Class::Conflict | Class::NotFound => (20, 5_000),
        Class::Throttled | Class::Unavailable | Class::Timeout => (200, 15_000),
        Class::Forbidden | Class::Invalid => (1_000, 60_000),
        Class::Bug => (2_000, 120_000),
    };
    let full = (first << attempt.min(12)).min(most);
    let hash = fingerprint(&[uid, &attempt.to_string()]);
    Duration::from_millis(full / 2 + hash % (full / 2 + 1))
}

/// FNV-1a over parts, each closed by a zero byte. For jitter and names of events only.
#[must_use]
pub fn fingerprint(parts: &[&str]) -> u64 {
    parts
        .iter()
        .flat_map(|part| part.bytes().chain([0]))
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_spread_and_stay_bounded() {
        for class in [
            Class::Conflict,
            Class::Unavailable,
            Class::Forbidden,
            Class::Bug,
        ] {
            assert!(delay(class, 0, "a") <= delay(class, 6, "a"));
            assert!(delay(class, 60, "a") <= Duration::from_secs(120));
            assert_eq!(delay(class, 3, "a"), delay(class, 3, "a"));
        }
        assert!(delay(Class::Conflict, 0, "a") <= Duration::from_millis(20));
        let spread: std::collections::BTreeSet<_> = (0..20)
            .map(|n| delay(Class::Unavailable, 5, &n.to_string()))
            .collect();
        assert!(spread.len() > 10);
    }
}
