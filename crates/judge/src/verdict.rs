//! What the state means, in one word, one sentence and the numbers behind it.
//!
//! No score: people are told counts, shares and how many times worse. Does not belong here: what to do about it (advance, hold,
//! roll back), and whether data are complete enough to act on, which the feed knows.

use serde::{Deserialize, Serialize};

use crate::{
    parameters::Parameters,
    state::{Baseline, SignalState, State},
    tick::Counts,
};

/// One word for the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Outcome {
    /// Compared, and nothing shown either way.
    Watching,
    /// Suspicious: wealth is at least `hold_at`. Ends by itself when the suspicion does.
    Hold,
    /// Worse than tolerated. Stays, whatever comes after.
    Bad,
    /// Shown to be better than the safety margin.
    Safe,
    /// An arm has not answered a single request.
    NoData,
    /// No concurrent baseline and no ceiling either: the counts decide nothing; thresholds and health do.
    Inconclusive,
}

/// The outcome and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// One word.
    pub outcome: Outcome,
    /// One sentence with the numbers.
    pub reason: String,
    /// `ln` of the average wealth, in nats. For records and tests, not for people.
    pub log_wealth: f64,
    /// Each signal.
    pub signals: Vec<SignalEvidence>,
}

/// What one signal contributes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignalEvidence {
    /// Its name, e.g. `errors`.
    pub name: String,
    /// The candidate's counts since the start.
    pub candidate: Counts,
    /// Stable's counts since the start.
    pub stable: Counts,
    /// The candidate's share of bad requests is at least this many times stable's, with confidence `1 - alpha`.
    pub ratio_at_least: Option<f64>,
    /// `ln` of the signal's wealth, in nats.
    pub log_wealth: f64,
}

/// Reads the state.
#[must_use]
pub fn verdict(state: &State, parameters: &Parameters) -> Verdict {
    let signals: Vec<_> = state
        .signals
        .iter()
        .map(|(name, signal)| evidence(name, signal))
        .collect();
    let log_wealth = state.log_wealth();
    let strongest = state
        .signals
        .iter()
        .max_by(|(_, a), (_, b)| a.mixture.log_wealth().total_cmp(&b.mixture.log_wealth()));
    let (outcome, reason) = match strongest {
        None => (Outcome::NoData, "nothing has been counted yet".to_owned()),
        Some((name, signal)) => decide(state, parameters, log_wealth, name, signal),
    };
    Verdict {
        outcome,
        reason,
        log_wealth,
        signals,
    }
}

fn evidence(name: &str, signal: &SignalState) -> SignalEvidence {
    SignalEvidence {
        name: name.to_owned(),
        candidate: signal.candidate,
        stable: signal.stable,
        ratio_at_least: signal.ratio.at_least(),
        log_wealth: signal.mixture.log_wealth(),
    }
}

fn decide(
    state: &State,
    parameters: &Parameters,
    log_wealth: f64,
    name: &str,
    signal: &SignalState,
) -> (Outcome, String) {
    let settings = parameters.settings();
    let numbers = numbers(name, signal);
    if let Some(bad) = state.bad {
        let limit = settings.alpha;
        return (
            Outcome::Bad,
            format!(
                "{numbers}; worse than tolerated since tick {} (chance of a false alarm at most {limit})",
                bad.tick
            ),
        );
    }
    if log_wealth >= settings.hold_at.ln() {
        return (
            Outcome::Hold,
            format!("{numbers}; suspicious, not proved: waiting for more"),
        );
    }
    if signal.candidate.requests == 0 {
        return (
            Outcome::NoData,
            format!("{name}: the candidate has not answered a request yet"),
        );
    }
    match signal.baseline {
        Baseline::Missing { requests, ticks } => (
            Outcome::Inconclusive,
            format!(
                "no concurrent baseline: stable's last ten minutes had {requests} requests in {ticks} ticks, \
                 {} in {} are needed; only thresholds and health count",
                settings.ceiling_requests, settings.ceiling_ticks
            ),
        ),
        Baseline::Concurrent if signal.stable.requests == 0 => (
            Outcome::NoData,
            format!("{numbers}: stable has answered no request to compare with"),
        ),
        // Safety was measured side by side; under a ceiling it says nothing about now.
        Baseline::Concurrent
            if state
                .signals
                .values()
                .all(|signal| signal.safety.shown(parameters)) =>
        {
            (
                Outcome::Safe,
                format!(
                    "{numbers}; shown to be below {} × stable's share + {}",
                    settings.safety_rho,
                    percent(settings.safety_delta)
                ),
            )
        }
        Baseline::Concurrent | Baseline::Ceiling(_) => (
            Outcome::Watching,
            format!("{numbers}; no sign that the candidate is worse than tolerated"),
        ),
    }
}

/// "errors: candidate 12 of 600 (2.00 %), stable 9 of 5400 (0.17 %), at least 5 times stable's share".
fn numbers(name: &str, signal: &SignalState) -> String {
    let mut text = match signal.baseline {
        Baseline::Ceiling(ceiling) => format!(
            "{name}: candidate {} against a ceiling of {} made from stable's last {}",
            counts(ceiling.candidate),
            percent(ceiling.limit()),
            counts(ceiling.stable)
        ),
        Baseline::Concurrent | Baseline::Missing { .. } => {
            format!(
                "{name}: candidate {}, stable {}",
                counts(signal.candidate),
                counts(signal.stable)
            )
        }
    };
    if let Some(ratio) = signal.ratio.at_least() {
        text.push_str(&format!(", at least {ratio} times stable's share"));
    }
    let phi = signal.dispersion.phi();
    if phi >= 1.5 {
        text.push_str(&format!(
            ", stable's errors come in clumps (counts divided by {phi:.1})"
        ));
    }
    text
}

fn counts(counts: Counts) -> String {
    let share = counts
        .share()
        .map(|share| format!(" ({})", percent(share)))
        .unwrap_or_default();
    format!("{} of {}{share}", counts.bad, counts.requests)
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
