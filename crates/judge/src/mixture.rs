//! Cash and six experts, one capital: the evidence of one signal over a release.
//!
//! Each operation keeps a non-negative supermartingale: powers `1/phi <= 1` (Jensen), the cap from above, redistributing shares
//! fixed beforehand, and summing. So `P(ever M >= 1/alpha) <= alpha`, at any tick, any number of looks, any stopping rule.
//! Does not belong here: where an expert's `ln e` comes from ([`crate::evidence`]).

use serde::{Deserialize, Serialize};

use crate::wealth::{self, LogWealth};

/// How many times the allowed ratio each expert bets on. Small ones find slow leaks in busy services, large ones find
/// the first three errors of a quiet one.
pub const EXPERTS: [f64; 6] = [1.5, 2.5, 5.0, 12.0, 40.0, 200.0];

/// Share that is never bet: bounds what a long run of "not bad" can cost.
const CASH: f64 = 0.2;

/// Wealth of cash and of each expert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mixture {
    cash: LogWealth,
    experts: [LogWealth; EXPERTS.len()],
}

impl Default for Mixture {
    /// Wealth 1, in the shares all redistribution goes back to.
    fn default() -> Self {
        Self {
            cash: LogWealth::from_nats(CASH.ln()),
            experts: [LogWealth::from_nats(expert_share()); EXPERTS.len()],
        }
    }
}

/// `ln` of an expert's first share.
fn expert_share() -> f64 {
    ((1.0 - CASH) / EXPERTS.len() as f64).ln()
}

impl Mixture {
    /// `ln` of the whole wealth `M`, in nats.
    #[must_use]
    pub fn log_wealth(&self) -> f64 {
        wealth::sum(
            self.experts
                .iter()
                .map(|expert| expert.nats())
                .chain([self.cash.nats()]),
        )
    }

    /// One tick: `s = min(ln e / phi, cap)`, `W <- W exp(s)`, then `W <- (1 - sigma) W + sigma T w0` (fixed share: without it an
    /// expert that was wrong for long is too poor to notice a late regression). `phi >= 1` must be known before the tick.
    pub fn step(&mut self, log_e: impl Fn(f64) -> f64, phi: f64, cap: f64, sigma: f64) {
        let moved = EXPERTS
            .iter()
            .zip(&self.experts)
            .map(|(&q, held)| held.nats() + (log_e(q) / phi).min(cap));
        let mut after = [0.0_f64; EXPERTS.len()];
        for (slot, value) in after.iter_mut().zip(moved) {
            *slot = value;
        }
        let total = wealth::sum(after.iter().copied().chain([self.cash.nats()]));
        let (kept, shared) = ((-sigma).ln_1p(), sigma.ln() + total);
        for (slot, value) in self.experts.iter_mut().zip(after) {
            *slot = LogWealth::from_nats(wealth::add(kept + value, shared + expert_share()));
        }
        self.cash = LogWealth::from_nats(wealth::add(kept + self.cash.nats(), shared + CASH.ln()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_with_wealth_one() {
        assert!(Mixture::default().log_wealth().abs() < 1e-8);
    }

    #[test]
    fn one_tick_cannot_count_for_more_than_the_cap() {
        let mut mixture = Mixture::default();
        mixture.step(|_| 1e9, 1.0, 2.5, 0.01);
        assert!(mixture.log_wealth() <= 2.5);
    }

    #[test]
    fn works_without_fixed_share() {
        let mut mixture = Mixture::default();
        mixture.step(|_| -1e6, 1.0, 2.5, 0.0);
        assert!((mixture.log_wealth() - CASH.ln()).abs() < 1e-8);
    }
}
