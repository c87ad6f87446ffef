//! Evidence that the candidate is *not* worse by the safety margin.
//!
//! Five bets against "`p_c >= safety_rho * p_b + safety_delta`", averaged; `1/beta` proves that the candidate is better than that. The present
//! wealth counts, not the highest ever, and each bet is stopped a little above the threshold: so a candidate
//! that turns bad late loses its "safe" soon. Capping from above and tempering keep the bound, as in the mixture.
//!
//! Does not belong here: "safe" against "bad"; bad always wins.

use serde::{Deserialize, Serialize};

use crate::{
    evidence,
    parameters::Parameters,
    tick::Counts,
    wealth::{self, LogWealth},
};

/// How much of the margin each bet gives away per error of the candidate.
const BETS: [f64; 5] = [-0.2, -0.4, -0.6, -0.8, -0.95];

/// Wealth of each bet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Safety([LogWealth; BETS.len()]);

impl Safety {
    /// One tick in which both arms had requests; does nothing otherwise.
    pub fn step(&mut self, candidate: Counts, stable: Counts, phi: f64, parameters: &Parameters) {
        let settings = parameters.settings();
        let ceiling = -settings.beta.ln() + settings.cap;
        for (held, u) in self.0.iter_mut().zip(BETS) {
            let Some(log_e) = evidence::safety(
                u,
                candidate,
                stable,
                settings.safety_rho,
                settings.safety_delta,
            ) else {
                return;
            };
            *held =
                LogWealth::from_nats((held.nats() + (log_e / phi).min(settings.cap)).min(ceiling));
        }
    }

    /// `ln` of the average wealth, in nats.
    #[must_use]
    pub fn log_wealth(&self) -> f64 {
        wealth::sum(self.0.iter().map(|held| held.nats())) - (BETS.len() as f64).ln()
    }

    /// Whether the average has reached `1/beta`.
    #[must_use]
    pub fn shown(&self, parameters: &Parameters) -> bool {
        self.log_wealth() >= -parameters.settings().beta.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_candidate_is_shown_safe_and_loses_it_when_it_turns_bad() {
        let parameters = Parameters::default();
        let mut safety = Safety::default();
        let stable = Counts {
            requests: 2_000,
            bad: 4,
        };
        for _ in 0..200 {
            safety.step(
                Counts {
                    requests: 100,
                    bad: 0,
                },
                stable,
                1.0,
                &parameters,
            );
        }
        assert!(safety.shown(&parameters));
        for _ in 0..3 {
            safety.step(
                Counts {
                    requests: 100,
                    bad: 10,
                },
                stable,
                1.0,
                &parameters,
            );
        }
        assert!(!safety.shown(&parameters));
    }

    #[test]
    fn a_candidate_worse_by_the_margin_is_not() {
        let parameters = Parameters::default();
        let mut safety = Safety::default();
        for _ in 0..200 {
            safety.step(
                Counts {
                    requests: 1_000,
                    bad: 15,
                },
                Counts {
                    requests: 10_000,
                    bad: 20,
                },
                1.0,
                &parameters,
            );
        }
        assert!(!safety.shown(&parameters));
    }
}
