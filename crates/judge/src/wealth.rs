//! Wealth in log space, kept in whole billionths of a nat.
//!
//! A rollout of hours takes wealth far below what a float near zero can hold, so only logarithms are kept. They are stored as
//! integers because the state travels through JSON between two folds: an integer comes back as it was written, a
//! float need not. Rounding is always down, which can only delay a rollback and so keeps every error bound.
//!
//! Does not belong here: what raises or lowers wealth.

use serde::{Deserialize, Serialize};

const PER_NAT: f64 = 1e9;

/// Natural logarithm of a wealth, in billionths of a nat, rounded down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogWealth(i64);

impl LogWealth {
    /// From nats, rounded down. Values beyond ±9.2e9 nats saturate; NaN, which no formula here yields, reads as wealth 1.
    #[must_use]
    pub fn from_nats(nats: f64) -> Self {
        Self((nats * PER_NAT).floor() as i64)
    }

    /// In nats.
    #[must_use]
    pub fn nats(self) -> f64 {
        self.0 as f64 / PER_NAT
    }
}

/// `ln(exp(a) + exp(b))` without leaving log space. `-inf` is "nothing" and adds nothing.
pub(crate) fn add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if high == f64::NEG_INFINITY {
        high
    } else {
        high + (low - high).exp().ln_1p()
    }
}

/// [`add`] over any number of terms; nothing at all is `-inf`.
pub(crate) fn sum(terms: impl IntoIterator<Item = f64>) -> f64 {
    terms.into_iter().fold(f64::NEG_INFINITY, add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_in_log_space() {
        assert!((add(2.0_f64.ln(), 3.0_f64.ln()) - 5.0_f64.ln()).abs() < 1e-12);
        assert_eq!(add(f64::NEG_INFINITY, 1.0), 1.0);
        assert_eq!(sum([]), f64::NEG_INFINITY);
        assert_eq!(add(-1e6, 3.0), 3.0);
    }

    #[test]
    fn rounds_down_and_saturates() {
        assert!(LogWealth::from_nats(-0.123_456_789_9).nats() <= -0.123_456_789_9);
        assert_eq!(LogWealth::from_nats(-1e300), LogWealth(i64::MIN));
        assert_eq!(LogWealth::from_nats(f64::NAN), LogWealth(0));
    }
}
