//! What the load saw: one compact record per request, and the questions scenarios ask of them. Sending belongs to `worker`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::codec::{Answer, Failure};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A connection of its own for each request.
    New,
    KeepAlive,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::KeepAlive => "keep-alive",
        }
    }
}

/// A request counts as sent in time up to here; later, the load was not the load that was asked for.
pub(crate) const IN_TIME: Duration = Duration::from_millis(250);
/// Below this share of requests sent in time nothing was measured.
pub(crate) const MEASURED_SHARE: f64 = 0.99;
const DETAILS_KEPT: usize = 200;

/// One request. Times are since the start of the load; microseconds in 32 bits last for 71 minutes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    due: u32,
    sent: u32,
    done: u32,
    version: u16,
    pod: u16,
    status: u16,
    pub(crate) kind: Kind,
    pub(crate) failure: Option<Failure>,
    pub(crate) injected: bool,
}

impl Record {
    pub(crate) fn sent(&self) -> Duration {
        Duration::from_micros(self.sent.into())
    }

    pub(crate) fn done(&self) -> Duration {
        Duration::from_micros(self.done.into())
    }

    fn in_time(&self) -> bool {
        self.sent.saturating_sub(self.due) <= micros(IN_TIME)
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// A failed request in words, for the report.
#[derive(Debug, Clone)]
pub(crate) struct Detail {
    pub(crate) at: Duration,
    pub(crate) kind: Kind,
    pub(crate) failure: Failure,
    pub(crate) text: String,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    records: Vec<Record>,
    details: Vec<Detail>,
    names: Vec<String>,
    by_name: BTreeMap<String, u16>,
}

/// The times of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) due: Duration,
    pub(super) sent: Duration,
    pub(super) done: Duration,
}

impl Outcome {
    pub(super) fn add(
        &mut self,
        kind: Kind,
        times: Times,
        result: Result<Answer, (Failure, String)>,
    ) {
        let judged = result.and_then(|answer| match (answer.status, answer.injected) {
            _ if answer.version.is_empty() => Err((
                Failure::BadAnswer,
                format!("status {} and no x-version", answer.status),
            )),
            (200, false) | (_, true) => Ok(answer),
            (status, false) => Err((
                Failure::BadAnswer,
                format!(
                    "status {status} of {} without the injected mark",
                    answer.pod
                ),
            )),
        });
        let (answer, failure) = match judged {
            Ok(answer) => (answer, None),
            Err((failure, text)) => {
                if self.details.len() < DETAILS_KEPT {
                    self.details.push(Detail {
                        at: times.sent,
                        kind,
                        failure,
                        text,
                    });
                }
                (Answer::default(), Some(failure))
            }
        };
        let (version, pod) = (self.intern(&answer.version), self.intern(&answer.pod));
        let (due, sent, done) = (micros(times.due), micros(times.sent), micros(times.done));
        self.records.push(Record {
            due,
            sent,
            done,
            version,
            pod,
            status: answer.status,
            kind,
            failure,
            injected: answer.injected,
        });
    }

    fn intern(&mut self, name: &str) -> u16 {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        let index = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        self.names.push(name.to_owned());
        self.by_name.insert(name.to_owned(), index);
        index
    }

    fn name(&self, index: u16) -> &str {
        self.names
            .get(usize::from(index))
            .map_or("", String::as_str)
    }

    pub(crate) fn requests(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn failed(&self) -> usize {
        self.records
            .iter()
            .filter(|record| record.failure.is_some())
            .count()
    }

    pub(crate) fn count(&self, matches: impl Fn(&Record) -> bool) -> usize {
        self.records.iter().filter(|record| matches(record)).count()
    }

    pub(crate) fn in_time_share(&self) -> f64 {
        if self.records.is_empty() {
            return 0.0;
        }
        self.count(Record::in_time) as f64 / self.records.len() as f64
    }

    pub(crate) fn measured(&self) -> bool {
        self.in_time_share() >= MEASURED_SHARE
    }

    /// Answers of each version among requests sent within a window; `kind` as in `New` for everything that is said about shares.
    pub(crate) fn versions(
        &self,
        window: std::ops::Range<Duration>,
        kind: Option<Kind>,
    ) -> BTreeMap<String, usize> {
        let mut versions = BTreeMap::new();
        for record in &self.records {
            if record.failure.is_none()
                && window.contains(&record.sent())
                && kind.is_none_or(|kind| kind == record.kind)
            {
                *versions
                    .entry(self.name(record.version).to_owned())
                    .or_default() += 1;
            }
        }
        versions
    }

    /// The share of one version among the answers of a window; `None` when there were none.
    pub(crate) fn share(
        &self,
        version: &str,
        window: std::ops::Range<Duration>,
        kind: Option<Kind>,
    ) -> Option<f64> {
        let versions = self.versions(window, kind);
        let all: usize = versions.values().sum();
        (all > 0).then(|| versions.get(version).copied().unwrap_or(0) as f64 / all as f64)
    }

    /// When the first and the last request were sent that this version answered.
    pub(crate) fn seen(&self, version: &str, kind: Option<Kind>) -> Option<(Duration, Duration)> {
        let index = *self.by_name.get(version)?;
        let mut times = self
            .records
            .iter()
            .filter(|record| {
                record.version == index
                    && record.failure.is_none()
                    && kind.is_none_or(|kind| kind == record.kind)
            })
            .map(Record::sent);
        let first = times.next()?;
        Some(times.fold((first, first), |(low, high), time| {
            (low.min(time), high.max(time))
        }))
    }

    /// Pods that answered within a window.
    pub(crate) fn pods(&self, window: std::ops::Range<Duration>) -> BTreeMap<String, usize> {
        let mut pods = BTreeMap::new();
        for record in self
            .records
            .iter()
            .filter(|record| record.failure.is_none() && window.contains(&record.sent()))
        {
            *pods.entry(self.name(record.pod).to_owned()).or_default() += 1;
        }
        pods
    }

    pub(crate) fn details(&self) -> &[Detail] {
        &self.details
    }

    pub(crate) fn failures(&self) -> BTreeMap<(Kind, Failure), usize> {
        let mut failures = BTreeMap::new();
        for record in &self.records {
            if let Some(failure) = record.failure {
                *failures.entry((record.kind, failure)).or_default() += 1;
            }
        }
        failures
    }

    pub(crate) fn summary(&self) -> String {
        let kinds: Vec<String> = [Kind::New, Kind::KeepAlive]
            .iter()
            .map(|kind| {
                format!(
                    "{} {}",
                    self.count(|record| record.kind == *kind),
                    kind.name()
                )
            })
            .collect();
        let failures: Vec<String> = self
            .failures()
            .iter()
            .map(|((kind, failure), count)| format!("{count} {} ({})", failure.name(), kind.name()))
            .collect();
        let injected = self.count(|record| record.injected);
        format!(
            "{} requests ({}), {:.2} % sent in time, {injected} injected errors, {} failed{}{}",
            self.requests(),
            kinds.join(", "),
            self.in_time_share() * 100.0,
            self.failed(),
            if failures.is_empty() { "" } else { ": " },
            failures.join(", ")
        )
    }

    /// One line of JSON per request, for whoever wants to look closer.
    pub(crate) fn json_lines(&self) -> String {
        let mut out = String::new();
        for record in &self.records {
            let line = json!({
                "due": record.due, "sent": record.sent, "done": record.done, "kind": record.kind.name(), "status": record.status,
                "version": self.name(record.version), "pod": self.name(record.pod), "injected": record.injected,
                "failure": record.failure.map(Failure::name),
            });
            out.push_str(&line.to_string());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(version: &str, status: u16, injected: bool) -> Result<Answer, (Failure, String)> {
        Ok(Answer {
            status,
            version: version.to_owned(),
            pod: "p".to_owned(),
            injected,
            closes: false,
        })
    }

    fn at(milliseconds: u64, late: u64) -> Times {
        let due = Duration::from_millis(milliseconds);
        let sent = due + Duration::from_millis(late);
        Times {
            due,
            sent,
            done: sent,
        }
    }

    #[test]
    fn only_the_mark_excuses_an_error() {
        let mut outcome = Outcome::default();
        outcome.add(Kind::New, at(0, 0), answer("a", 200, false));
        outcome.add(Kind::New, at(1, 0), answer("a", 500, true));
        outcome.add(Kind::New, at(2, 0), answer("a", 500, false));
        outcome.add(Kind::KeepAlive, at(3, 0), answer("", 200, false));
        outcome.add(
            Kind::KeepAlive,
            at(4, 0),
            Err((Failure::Reset, String::new())),
        );
        assert_eq!((outcome.requests(), outcome.failed()), (5, 3));
    }

    #[test]
    fn late_requests_measure_nothing() {
        let mut outcome = Outcome::default();
        for n in 0..98 {
            outcome.add(Kind::New, at(n, 250), answer("a", 200, false));
        }
        assert!(outcome.measured());
        outcome.add(Kind::New, at(99, 251), answer("a", 200, false));
        assert!(!outcome.measured(), "{}", outcome.in_time_share());
        assert!(!Outcome::default().measured());
    }

    #[test]
    fn shares_and_times_by_version() {
        let mut outcome = Outcome::default();
        for (n, version) in ["a", "b", "b", "b"].iter().enumerate() {
            outcome.add(Kind::New, at(n as u64 * 10, 0), answer(version, 200, false));
        }
        let all = Duration::ZERO..Duration::from_secs(1);
        assert_eq!(outcome.share("b", all.clone(), Some(Kind::New)), Some(0.75));
        assert_eq!(outcome.share("b", all, Some(Kind::KeepAlive)), None);
        assert_eq!(
            outcome.seen("b", None),
            Some((Duration::from_millis(10), Duration::from_millis(30)))
        );
    }
}
