//! What the judge remembers between two ticks, and how a tick changes it.
//!
//! The state is at most 4 KiB of JSON and holds whole numbers only, so that it comes back from JSON exactly as it
//! was written and a restarted controller continues to the last digit. It is made anew with every candidate, not
//! with every weight. Does not belong here: raw counters, which are never kept, and words for people ([`crate::verdict`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    bound::clopper_pearson_upper,
    dispersion::Dispersion,
    evidence,
    history::History,
    mixture::Mixture,
    parameters::Parameters,
    ratio::RatioBound,
    safety::Safety,
    tick::{Counts, Tick},
    wealth::{self, LogWealth},
};

/// Name of the errors signal.
pub const ERRORS: &str = "errors";

/// How many ticks in a row counts are carried while one arm is silent. Then they are dropped, a bet not made: pooled over
/// longer, a change of stable's own ratio would be mistaken for the candidate's.
const CARRY_TICKS: u32 = 40;

/// Shares are kept as whole billionths, rounded up where up claims less.
const BILLION: f64 = 1e9;

/// What the candidate's counts of a tick are compared with. Who moves the traffic knows; the counts do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Both arms serve: stable's counts of the same tick.
    Concurrent,
    /// Stable no longer serves (warm, blue-green): a ceiling made from its last ten minutes.
    Ceiling,
    /// Only stable serves users yet (blue-green before the flip): its counts are kept for the ceiling. What the
    /// candidate answers comes from people who try it, and says nothing.
    History,
}

/// What the latest tick was compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Baseline {
    /// Stable beside the candidate.
    #[default]
    Concurrent,
    /// A ceiling, fixed at the first tick without stable.
    Ceiling(Ceiling),
    /// Nothing: stable's last ten minutes had too few requests or ticks. These counts say nothing about the candidate.
    Missing {
        /// Requests there were.
        requests: u64,
        /// Ticks they came from.
        ticks: u64,
    },
}

/// A ceiling for the candidate's ratio and what was counted under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ceiling {
    /// `p0 = rho * upper bound + delta`, in billionths, rounded up.
    limit: u64,
    /// Stable's counts it was made from.
    pub stable: Counts,
    /// The candidate's counts judged against it so far.
    pub candidate: Counts,
}

impl Ceiling {
    /// The highest share of errors that is tolerated, 0 to 1.
    #[must_use]
    pub fn limit(&self) -> f64 {
        self.limit as f64 / BILLION
    }
}

/// The moment the candidate was called bad. Never taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latched {
    /// Number of the tick.
    pub tick: u64,
    /// Wealth then.
    pub log_wealth: LogWealth,
}

/// Everything remembered about one release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Number of the last tick folded.
    pub last_tick: Option<u64>,
    /// Ticks folded.
    pub ticks: u64,
    /// One process per signal; their average wealth decides.
    pub signals: BTreeMap<String, SignalState>,
    /// When the average reached `1/alpha`, if it ever did.
    pub bad: Option<Latched>,
}

/// Everything remembered about one signal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignalState {
    /// Evidence that the candidate is worse than tolerated.
    pub mixture: Mixture,
    /// By how many times, at least.
    pub ratio: RatioBound,
    /// Evidence that it is not.
    pub safety: Safety,
    /// How clumped stable's bad events are.
    pub dispersion: Dispersion,
    /// What the latest tick was compared with.
    pub baseline: Baseline,
    /// The candidate's counts since the start.
    pub candidate: Counts,
    /// Stable's counts since the start.
    pub stable: Counts,
    carried: Carried,
    history: History,
}

/// Counts waiting for the arm that was silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Carried {
    candidate: Counts,
    stable: Counts,
    ticks: u32,
}

impl State {
    /// A state before the first tick.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `ln` of the average wealth over the signals, in nats; 0 before the first tick. An average of e-processes is one, whatever their
    /// dependence. One signal has weight 1.
    #[must_use]
    pub fn log_wealth(&self) -> f64 {
        if self.signals.is_empty() {
            return 0.0;
        }
        let total = wealth::sum(
            self.signals
                .values()
                .map(|signal| signal.mixture.log_wealth()),
        );
        total - (self.signals.len() as f64).ln()
    }
}

/// Takes one tick in. A tick whose number is not above the last one's changes nothing.
///
/// `comparison` must not be chosen by looking at the errors of this tick: it follows from where traffic was sent.
#[must_use]
pub fn fold(state: State, parameters: &Parameters, tick: &Tick, comparison: Comparison) -> State {
    if state.last_tick.is_some_and(|last| tick.number <= last) {
        return state;
    }
    let mut state = state;
    state.last_tick = Some(tick.number);
    state.ticks = state.ticks.saturating_add(1);
    let errors = state.signals.entry(ERRORS.to_owned()).or_default();
    errors.step(tick, parameters, comparison);

    let log_wealth = state.log_wealth();
    if state.bad.is_none() && log_wealth >= parameters.log_bad() {
        state.bad = Some(Latched {
            tick: tick.number,
            log_wealth: LogWealth::from_nats(log_wealth),
        });
    }
    state
}

impl SignalState {
    fn step(&mut self, tick: &Tick, parameters: &Parameters, comparison: Comparison) {
        let (candidate, stable) = (tick.candidate.counts(), tick.stable.counts());
        self.stable = self.stable.plus(stable);
        if comparison != Comparison::History {
            self.candidate = self.candidate.plus(candidate);
        }
        match comparison {
            Comparison::Concurrent => {
                self.baseline = Baseline::Concurrent;
                self.side_by_side(candidate, stable, parameters);
                self.history.push(tick.at_millis, stable);
            }
            Comparison::Ceiling => self.under_ceiling(candidate, parameters),
            Comparison::History => self.history.push(tick.at_millis, stable),
        }
        // Only now: the phi used above must not know this tick.
        self.dispersion.absorb(&tick.stable.pods);
    }

    fn side_by_side(&mut self, candidate: Counts, stable: Counts, parameters: &Parameters) {
        let Carried {
            candidate: before,
            stable: other,
            ticks,
        } = self.carried;
        let (candidate, stable) = (candidate.plus(before), stable.plus(other));
        if candidate.requests == 0 || stable.requests == 0 {
            let carried = Carried {
                candidate,
                stable,
                ticks: ticks.saturating_add(1),
            };
            self.carried = if carried.ticks < CARRY_TICKS {
                carried
            } else {
                Carried::default()
            };
            return;
        }
        self.carried = Carried::default();
        let (settings, phi) = (parameters.settings(), self.dispersion.phi());
        self.mixture.step(
            |q| {
                evidence::two_arms(q, candidate, stable, settings.rho, settings.delta)
                    .unwrap_or(0.0)
            },
            phi,
            settings.cap,
            settings.sigma,
        );
        self.ratio.step(candidate, stable, phi, parameters);
        self.safety.step(candidate, stable, phi, parameters);
    }

    fn under_ceiling(&mut self, candidate: Counts, parameters: &Parameters) {
        // What waited for stable is judged against the ceiling too: stable will not come back to answer for it.
        let candidate = candidate.plus(self.carried.candidate);
        self.carried = Carried::default();
        // One that was missing is looked for again: stable may have served meanwhile, and a move that is repeated is
        // judged like any. One that was fixed stays, for each new one may be wrong.
        if !matches!(self.baseline, Baseline::Ceiling(_)) {
            self.baseline = self.fix_ceiling(parameters);
        }
        let phi = self.dispersion.phi();
        let Baseline::Ceiling(ceiling) = &mut self.baseline else {
            return;
        };
        if candidate.requests == 0 {
            return;
        }
        ceiling.candidate = ceiling.candidate.plus(candidate);
        let (limit, settings) = (ceiling.limit(), parameters.settings());
        self.mixture.step(
            |q| evidence::ceiling(q, candidate, limit),
            phi,
            settings.cap,
            settings.sigma,
        );
    }

    /// Whether stable's last ten minutes are enough for a ceiling, and what is there and needed: requests and
    /// ticks.
    #[must_use]
    pub fn has_baseline(&self, parameters: &Parameters) -> (bool, [(u64, u64); 2]) {
        let settings = parameters.settings();
        let (stable, ticks) = self.history.total();
        let requests = (stable.requests, settings.ceiling_requests);
        let ticks = (ticks, settings.ceiling_ticks);
        let enough = requests.0 >= requests.1 && ticks.0 >= ticks.1;
        (enough, [requests, ticks])
    }

    /// `p0 = rho * (upper Clopper–Pearson bound of stable's ratio, on counts / phi) + delta`. The bound fails with probability
    /// `1 - ceiling_confidence`, so the whole release has a false-rollback bound of `alpha + 0.01` by default.
    fn fix_ceiling(&self, parameters: &Parameters) -> Baseline {
        let settings = parameters.settings();
        let (stable, ticks) = self.history.total();
        if stable.requests < settings.ceiling_requests || ticks < settings.ceiling_ticks {
            return Baseline::Missing {
                requests: stable.requests,
                ticks,
            };
        }
        let phi = self.dispersion.phi();
        let upper = clopper_pearson_upper(
            stable.bad as f64 / phi,
            stable.requests as f64 / phi,
            settings.ceiling_confidence,
        );
        let limit = (settings.rho * upper + settings.delta).min(1.0);
        Baseline::Ceiling(Ceiling {
            limit: (limit * BILLION).ceil() as u64,
            stable,
            candidate: Counts::default(),
        })
    }
}
