//! `crossfade simulate`: a user's own plan against assumed traffic, error rates and faults, many seeded
//! runs each, in virtual time. Planner and judge are the shipped ones; around them is just enough of a
//! cluster to bring them to their decisions. Pure: no I/O, no clock, no async; threads only share work.
//!
//! Not here: the hand-over and the removal of the candidate, which no error rate changes. A run ends when
//! the hand-over begins or when the last connection to the candidate has been taken away.

mod cluster;
mod draw;
mod run;
mod sums;

use crossfade_engine::Validated;
use serde::Serialize;

pub use draw::binomial;
pub use run::{End, Ended, one};
pub use sums::{Answer, Spread};

/// What may be wrong with a candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// This share of its answers are errors, 0 to 1.
    Errors(f64),
    /// Its pods run and never become ready.
    NeverReady,
    /// Its pods crash half a minute after they became ready, and do not come back.
    Crash,
    /// Its pods show no metrics.
    NoMetrics,
}

/// A text that names no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFault(String);

impl std::fmt::Display for InvalidFault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = &self.0;
        if text.parse::<crossfade_api::Duration>().is_ok()
            && !text.bytes().all(|byte| byte.is_ascii_digit())
        {
            return write!(
                formatter,
                "\"{text}\" is a length of time: durations are not judged in this version; name an error rate, for example 5%"
            );
        }
        write!(
            formatter,
            "\"{text}\" is not a fault: write an error rate such as 5%, never-ready, crash or no-metrics"
        )
    }
}

impl std::error::Error for InvalidFault {}

impl std::str::FromStr for Fault {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let fail = || InvalidFault(text.trim().to_owned());
        match text.trim() {
            "never-ready" => Ok(Self::NeverReady),
            "crash" => Ok(Self::Crash),
            "no-metrics" => Ok(Self::NoMetrics),
            other => {
                let number: f64 = other
                    .strip_suffix('%')
                    .ok_or_else(fail)?
                    .trim_end()
                    .parse()
                    .map_err(|_| fail())?;
                if !(0.0..=100.0).contains(&number) {
                    return Err(fail());
                }
                Ok(Self::Errors(number / 100.0))
            }
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // Shares come from percentages with few digits; this gives them back.
            Self::Errors(share) => write!(formatter, "{}%", (share * 1e8).round() / 1e6),
            Self::NeverReady => formatter.write_str("never-ready"),
            Self::Crash => formatter.write_str("crash"),
            Self::NoMetrics => formatter.write_str("no-metrics"),
        }
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The plan, without problems.
    pub validated: Validated,
    /// Pods of the workload, 1 at least.
    pub replicas: u32,
    /// maxUnavailable of the workload, in pods.
    pub max_unavailable: u32,
    /// Whether a Service selects the pods; without one they share work by their number.
    pub service: bool,
    /// Requests per second of both versions together.
    pub rate: f64,
    /// Share of errors of the old version, 0 to 1.
    pub base_errors: f64,
    pub faults: Vec<Fault>,
    /// Runs for each fault, 1 at least.
    pub runs: u32,
    pub seed: u64,
    /// Threads, 1 at least. The answers do not depend on it.
    pub threads: usize,
}

/// All answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answers {
    pub runs: u32,
    pub seed: u64,
    pub rate: f64,
    pub base_errors_percent: f64,
    pub replicas: u32,
    pub faults: Vec<Answer>,
}

/// Asks.
#[must_use]
pub fn simulate(question: &Question) -> Answers {
    let faults = question
        .faults
        .iter()
        .map(|fault| {
            let ends = all_runs(question, *fault);
            Answer::of(*fault, question.base_errors, &ends)
        })
        .collect();
    Answers {
        runs: question.runs,
        seed: question.seed,
        rate: question.rate,
        base_errors_percent: (question.base_errors * 1e8).round() / 1e6,
        replicas: question.replicas,
        faults,
    }
}

/// The ends of all runs of one fault, in order.
fn all_runs(question: &Question, fault: Fault) -> Vec<End> {
    let threads = question.threads.max(1);
    let runs = question.runs.max(1);
    let parts: Vec<Vec<(u32, End)>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                scope.spawn(move || {
                    (0..runs)
                        .skip(first)
                        .step_by(threads)
                        .map(|number| (number, one(question, fault, number)))
                        .collect()
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| match worker.join() {
                Ok(part) => part,
                // A run that failed must not look like one that was not asked for.
                Err(failure) => std::panic::resume_unwind(failure),
            })
            .collect()
    });
    let mut ends: Vec<(u32, End)> = parts.into_iter().flatten().collect();
    ends.sort_by_key(|(number, _)| *number);
    ends.into_iter().map(|(_, end)| end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_back_as_written() {
        for text in [
            "0%",
            "0.1%",
            "20%",
            "100%",
            "never-ready",
            "crash",
            "no-metrics",
        ] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        for (text, part) in [
            ("200ms", "not judged"),
            ("5", "not a fault"),
            ("101%", "not a fault"),
            ("slow", "not a fault"),
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
