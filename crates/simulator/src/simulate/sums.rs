//! From the ends of many runs to one row. Pure arithmetic.

use serde::Serialize;

use super::Fault;
use super::run::{End, Ended};

/// Mean and quantiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    pub mean: f64,
    pub p50: f64,
    pub p95: f64,
}

impl Spread {
    /// Of these values; nothing without any. Quantiles are values that occurred (nearest rank).
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            let place = (values.len() * percent).div_ceil(100).max(1) - 1;
            values.get(place).copied().unwrap_or_default()
        };
        Some(Self {
            mean: values.iter().sum::<f64>() / values.len() as f64,
            p50: rank(50),
            p95: rank(95),
        })
    }
}

/// The answer for one fault.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    pub fault: String,
    /// Within what the judge tolerates beside the old version: every rollback is a false one.
    pub tolerated: bool,
    pub runs: usize,
    pub rolled_back: usize,
    pub rolled_back_percent: f64,
    pub promoted: usize,
    /// Waits for a person.
    pub waiting: usize,
    /// Bad answers of the candidate in the runs that were rolled back, until it got no more traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bad_answers: Option<Spread>,
    /// All its answers in those runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<Spread>,
    /// From the push to no more traffic, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_to_rollback: Option<Spread>,
    /// From the push to the hand-over, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_to_promotion: Option<Spread>,
    /// Why the first run that was not promoted ended so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

/// The largest share of errors that is tolerated beside this one: rho · base + delta of the judge, as the
/// planner sets it.
fn limit(base: f64) -> f64 {
    let settings = crossfade_judge::Settings::default();
    settings.rho * base + settings.delta
}

impl Answer {
    /// Sums up. `base`: share of errors of the old version.
    #[must_use]
    pub fn of(fault: Fault, base: f64, ends: &[End]) -> Self {
        let of = |ended: Ended| ends.iter().filter(move |end| end.ended == ended);
        let spread =
            |ended: Ended, value: fn(&End) -> f64| Spread::of(of(ended).map(value).collect());
        let rolled_back = of(Ended::RolledBack).count();
        Self {
            fault: fault.to_string(),
            tolerated: matches!(fault, Fault::Errors(share) if share <= limit(base)),
            runs: ends.len(),
            rolled_back,
            rolled_back_percent: rolled_back as f64 * 100.0 / ends.len().max(1) as f64,
            promoted: of(Ended::Promoted).count(),
            waiting: of(Ended::Waits).count(),
            bad_answers: spread(Ended::RolledBack, |end| end.bad as f64),
            answers: spread(Ended::RolledBack, |end| end.answers as f64),
            seconds_to_rollback: spread(Ended::RolledBack, |end| end.millis as f64 / 1000.0),
            seconds_to_promotion: spread(Ended::Promoted, |end| end.millis as f64 / 1000.0),
            example: ends
                .iter()
                .find(|end| end.ended != Ended::Promoted)
                .map(|end| end.reason.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let spread = Spread::of((1..=100).rev().map(f64::from).collect()).unwrap();
        assert_eq!((spread.mean, spread.p50, spread.p95), (50.5, 50.0, 95.0));
        let one = Spread::of(vec![7.0]).unwrap();
        assert_eq!((one.mean, one.p50, one.p95), (7.0, 7.0, 7.0));
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn only_rolled_back_runs_count_for_the_rollback() {
        let end = |ended, bad, millis| End {
            ended,
            bad,
            answers: 100,
            millis,
            reason: "why".to_owned(),
        };
        let ends = [
            end(Ended::RolledBack, 4, 2_000),
            end(Ended::RolledBack, 6, 4_000),
            end(Ended::Promoted, 50, 90_000),
            end(Ended::Waits, 0, 1_000),
        ];
        let answer = Answer::of(Fault::Errors(0.05), 0.001, &ends);
        assert_eq!(
            (answer.rolled_back, answer.promoted, answer.waiting),
            (2, 1, 1)
        );
        assert_eq!(answer.rolled_back_percent, 50.0);
        assert_eq!(answer.bad_answers.unwrap().mean, 5.0);
        assert_eq!(answer.seconds_to_rollback.unwrap().p95, 4.0);
        assert_eq!(answer.seconds_to_promotion.unwrap().mean, 90.0);
        assert!(!answer.tolerated);
        assert!(Answer::of(Fault::Errors(0.001), 0.001, &ends).tolerated);
        assert!(Answer::of(Fault::Errors(0.002), 0.001, &ends).tolerated);
        assert!(!Answer::of(Fault::Errors(0.003), 0.001, &ends).tolerated);
        assert!(!Answer::of(Fault::Crash, 0.001, &ends).tolerated);
    }
}
