//! How clumped stable's errors are, measured between its pods.
//!
//! Errors come in clumps: a retried session, a dead dependency. A clump of five is one event that looks like five. Counts are
//! therefore divided by the index of dispersion `phi`, measured between *pods of stable within a tick*, so that neither a burst
//! that all pods share nor the candidate can disturb it. Limit: a single sick pod of stable raises `phi` and makes the test
//! slow; the reason sentence shows `phi` then.
//!
//! Does not belong here: the use of `phi`. It must only be read before the tick it is used in is absorbed.

use serde::{Deserialize, Serialize};

use crate::tick::PodCount;

/// Weight of "not clumped" at the start, in events: one odd tick shall not decide.
const PRIOR: f64 = 10.0;

/// Sums are kept in thousandths, so that they survive JSON unchanged.
const SCALE: f64 = 1e3;

/// Beyond this both sums are halved: keeps their ratio, and keeps them far from overflow.
const LARGE: i64 = 1_000_000_000_000_000;

/// The sums over the ticks so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispersion {
    observed: i64,
    expected: i64,
}

impl Dispersion {
    /// `max(1, (10 + sum_k sum_pod (x - xbar_k)^2) / (10 + sum_k x_k (1 - 1/P)))`; 1 while nothing was measured.
    #[must_use]
    pub fn phi(&self) -> f64 {
        let (observed, expected) = (self.observed as f64 / SCALE, self.expected as f64 / SCALE);
        ((PRIOR + observed) / (PRIOR + expected)).max(1.0)
    }

    /// Adds one tick. Pods without requests say nothing; fewer than two others, or fewer than two errors, add nothing.
    /// With unequal traffic a pod is expected to have errors in proportion to its requests, and `1 - 1/P` becomes
    /// `1 - sum w^2`, which is what a multinomial split gives.
    pub fn absorb(&mut self, pods: &[PodCount]) {
        let requests: f64 = pods.iter().map(|pod| pod.requests as f64).sum();
        let errors: f64 = pods.iter().map(|pod| pod.errors as f64).sum();
        let serving = pods.iter().filter(|pod| pod.requests > 0).count();
        if serving < 2 || errors < 2.0 {
            return;
        }
        let (mut observed, mut unspread) = (0.0, 1.0);
        for pod in pods.iter().filter(|pod| pod.requests > 0) {
            let weight = pod.requests as f64 / requests;
            observed += (pod.errors as f64 - errors * weight).powi(2);
            unspread -= weight * weight;
        }
        self.observed = self
            .observed
            .saturating_add((observed * SCALE).round() as i64);
        self.expected = self
            .expected
            .saturating_add((errors * unspread * SCALE).round() as i64);
        while self.observed > LARGE || self.expected > LARGE {
            self.observed /= 2;
            self.expected /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods(counts: &[(u64, u64)]) -> Vec<PodCount> {
        counts
            .iter()
            .map(|&(requests, errors)| PodCount { requests, errors })
            .collect()
    }

    #[test]
    fn needs_two_pods_and_two_errors() {
        let mut dispersion = Dispersion::default();
        for counts in [
            &[(100, 40)][..],
            &[(100, 1), (100, 0)],
            &[(100, 9), (0, 0)],
            &[],
        ] {
            dispersion.absorb(&pods(counts));
        }
        assert_eq!(dispersion, Dispersion::default());
        assert_eq!(dispersion.phi(), 1.0);
    }

    #[test]
    fn follows_the_formula() {
        let mut dispersion = Dispersion::default();
        // xbar = 10, deviations 10² twice, 20 errors × (1 - 1/2).
        dispersion.absorb(&pods(&[(100, 20), (100, 0)]));
        assert!((dispersion.phi() - (10.0 + 200.0) / (10.0 + 10.0)).abs() < 1e-9);
    }

    #[test]
    fn traffic_in_proportion_is_not_clumped() {
        let mut dispersion = Dispersion::default();
        dispersion.absorb(&pods(&[(300, 30), (100, 10)]));
        assert_eq!(dispersion.phi(), 1.0);
    }

    #[test]
    fn survives_large_numbers() {
        let mut dispersion = Dispersion::default();
        for _ in 0..100 {
            dispersion.absorb(&pods(&[(u64::MAX, u64::MAX), (u64::MAX, 0)]));
        }
        assert!(dispersion.phi().is_finite());
    }
}
