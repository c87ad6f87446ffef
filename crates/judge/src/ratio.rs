//! "At least so many times stable's error ratio": a lower confidence bound, for people.
//!
//! For each ratio of a grid a mixture runs with that `rho` and `delta = 0`. The bound is the largest ratio that, with all below it, has
//! reached `1/alpha`. A false claim needs the process of the smallest ratio above the truth to have got there, so the bound
//! is wrong with probability at most alpha, ever. It decides nothing. Does not belong here: the verdict.

use serde::{Deserialize, Serialize};

use crate::{evidence, mixture::Mixture, parameters::Parameters, tick::Counts};

/// The ratios that can be claimed. Rough on purpose: eight processes fit the state, and "at least 5 times" is what a person needs.
const GRID: [f64; 8] = [1.1, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0];

/// One mixture per ratio, and how many of them have got there, counted from the smallest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RatioBound {
    reached: usize,
    processes: [Mixture; GRID.len()],
}

impl RatioBound {
    /// One tick in which both arms had requests; does nothing otherwise.
    pub fn step(&mut self, candidate: Counts, stable: Counts, phi: f64, parameters: &Parameters) {
        let settings = parameters.settings();
        for (process, ratio) in self.processes.iter_mut().zip(GRID) {
            process.step(
                |q| evidence::two_arms(q, candidate, stable, ratio, 0.0).unwrap_or(0.0),
                phi,
                settings.cap,
                settings.sigma,
            );
        }
        // Only the next one can be claimed, and a claim once made stays: that is what the bound promises.
        let grown = self.processes.iter().skip(self.reached);
        self.reached += grown
            .take_while(|process| process.log_wealth() >= parameters.log_bad())
            .count();
    }

    /// The largest ratio shown, or `None` when not even the smallest was.
    #[must_use]
    pub fn at_least(&self) -> Option<f64> {
        self.reached
            .checked_sub(1)
            .and_then(|last| GRID.get(last))
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_the_ratio_from_below() {
        let mut bound = RatioBound::default();
        let parameters = Parameters::default();
        assert_eq!(bound.at_least(), None);
        for _ in 0..20 {
            // Twenty times stable's one percent.
            bound.step(
                Counts {
                    requests: 100,
                    bad: 20,
                },
                Counts {
                    requests: 1_000,
                    bad: 10,
                },
                1.0,
                &parameters,
            );
        }
        let shown = bound.at_least().unwrap();
        assert!((10.0..=20.0).contains(&shown), "{shown}");
    }
}
