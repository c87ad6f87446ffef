//! Are there enough data to act on?
//!
//! The rule: every candidate pod in service answered within three intervals, and the step saw its least number of requests.
//! Missing data never promote and never condemn; they hold, and the report names the pod and its last error. Does not belong
//! here: what happens when data stay away (`noData` of the plan).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Longest error text kept, in characters: it goes into a status.
const LONGEST: usize = 300;

/// How many intervals an answer stays fresh.
const INTERVALS: i64 = 3;

/// Why there are not enough data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoData {
    /// Name of the pod it is about, if it is about one.
    pub pod: Option<String>,
    /// One sentence.
    pub reason: String,
}

/// A pod that must answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InService<'a> {
    /// Its uid.
    pub uid: &'a str,
    /// Its name, for the report.
    pub name: &'a str,
}

/// Last answers and errors per pod, and the step's requests so far.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    pods: BTreeMap<String, Last>,
    requests: u64,
}

#[derive(Clone, Debug, Default)]
struct Last {
    answer_millis: Option<i64>,
    /// The error since the last answer.
    error: Option<String>,
}

impl Presence {
    /// Nothing known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A pod answered, and its answer could be counted.
    pub fn answered(&mut self, pod_uid: &str, at_millis: i64) {
        *self.pods.entry(pod_uid.to_owned()).or_default() = Last {
            answer_millis: Some(at_millis),
            error: None,
        };
    }

    /// A pod did not answer, or not in a way that could be counted. The text is cut to 300 characters.
    pub fn failed(&mut self, pod_uid: &str, error: &str) {
        let last = self.pods.entry(pod_uid.to_owned()).or_default();
        last.error = Some(error.chars().take(LONGEST).collect());
    }

    /// Forgets the pods not in `present`.
    pub fn retain(&mut self, present: &BTreeSet<String>) {
        self.pods.retain(|uid, _| present.contains(uid));
    }

    /// A new step: its requests count from 0.
    pub fn step_started(&mut self) {
        self.requests = 0;
    }

    /// The candidate's requests of one tick.
    pub fn count(&mut self, requests: u64) {
        self.requests = self.requests.saturating_add(requests);
    }

    /// The candidate's requests since the step started.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Checks the rule for the candidate's pods in service. Times and the interval are in milliseconds.
    ///
    /// # Errors
    /// The first pod without a fresh answer, or the requests still missing.
    pub fn check(
        &self,
        in_service: &[InService<'_>],
        now_millis: i64,
        interval_millis: i64,
        min_requests: u64,
    ) -> Result<(), NoData> {
        if in_service.is_empty() {
            return Err(NoData {
                pod: None,
                reason: "no candidate pod is in service".to_owned(),
            });
        }
        let limit = interval_millis.saturating_mul(INTERVALS);
        for pod in in_service {
            self.fresh(*pod, now_millis, limit)?;
        }
        if self.requests < min_requests {
            let reason = format!(
                "the candidate has answered {} requests in this step, {min_requests} are needed (analysis.minRequests)",
                self.requests
            );
            return Err(NoData { pod: None, reason });
        }
        Ok(())
    }

    fn fresh(&self, pod: InService<'_>, now_millis: i64, limit: i64) -> Result<(), NoData> {
        let last = self.pods.get(pod.uid);
        let age = last
            .and_then(|last| last.answer_millis)
            .map(|at| now_millis.saturating_sub(at));
        let late = match age {
            Some(age) if age <= limit => return Ok(()),
            Some(age) => format!(
                "has given no metrics for {} s (limit {} s)",
                age / 1000,
                limit / 1000
            ),
            None => "has given no metrics yet".to_owned(),
        };
        let error = last.and_then(|last| last.error.as_deref());
        let cause = error.map(|error| format!(": {error}")).unwrap_or_default();
        Err(NoData {
            pod: Some(pod.name.to_owned()),
            reason: format!("pod {} {late}{cause}", pod.name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: InService<'_> = InService {
        uid: "u1",
        name: "web-1",
    };
    const TWO: InService<'_> = InService {
        uid: "u2",
        name: "web-2",
    };

    #[test]
    fn every_pod_in_service_must_be_fresh() {
        let mut presence = Presence::new();
        let reason = |presence: &Presence, now| {
            presence
                .check(&[ONE, TWO], now, 15_000, 0)
                .unwrap_err()
                .reason
        };
        assert_eq!(reason(&presence, 0), "pod web-1 has given no metrics yet");
        presence.answered("u1", 1_000);
        presence.failed("u2", "connection refused");
        assert_eq!(
            reason(&presence, 46_000),
            "pod web-2 has given no metrics yet: connection refused"
        );
        presence.answered("u2", 20_000);
        assert_eq!(presence.check(&[ONE, TWO], 46_000, 15_000, 0), Ok(()));
        presence.failed("u1", "line 1, column 1: this looks like an HTML page");
        assert_eq!(
            presence.check(&[ONE, TWO], 46_001, 15_000, 0),
            Err(NoData {
                pod: Some("web-1".into()),
                reason: "pod web-1 has given no metrics for 45 s (limit 45 s): line 1, column 1: this looks like an HTML page"
                    .into()
            })
        );
    }

    #[test]
    fn a_step_needs_its_requests() {
        let mut presence = Presence::new();
        presence.answered("u1", 0);
        presence.count(99);
        assert_eq!(
            presence.check(&[ONE], 0, 15_000, 100).unwrap_err().reason,
            "the candidate has answered 99 requests in this step, 100 are needed (analysis.minRequests)"
        );
        presence.count(1);
        assert_eq!(presence.check(&[ONE], 0, 15_000, 100), Ok(()));
        presence.step_started();
        assert_eq!(presence.requests(), 0);
    }

    #[test]
    fn nobody_in_service_is_no_data() {
        assert_eq!(
            Presence::new().check(&[], 0, 15_000, 0).unwrap_err().reason,
            "no candidate pod is in service"
        );
    }

    #[test]
    fn forgets_and_cuts() {
        let mut presence = Presence::new();
        presence.answered("u1", 0);
        presence.retain(&BTreeSet::from(["u2".to_owned()]));
        presence.failed("u1", &"é".repeat(1_000));
        let reason = presence.check(&[ONE], 0, 15_000, 0).unwrap_err().reason;
        assert_eq!(
            reason.chars().count(),
            "pod web-1 has given no metrics yet: ".len() + 300
        );
    }
}
