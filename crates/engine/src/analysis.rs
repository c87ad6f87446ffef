//! The verdict: measurements folded through the judge, the health of the pods, and what both mean
//! for going on. Formulas live in the judge; when to look again lives in the phases.

use crossfade_api::{SignalStatus, VerdictStatus, Weight};
use crossfade_judge::{self as judge, Comparison, Outcome, Parameters, Settings};

use crate::memory::Release;
use crate::plan::PlannedStep;
use crate::sides::{count, in_service};
use crate::step::{Pass, after};

/// Container states that do not mend themselves soon.
const BROKEN: [&str; 8] = [
    "CrashLoopBackOff",
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// Restarts of one judged pod that count as broken even between two back-offs.
const RESTARTS: u32 = 3;

/// What the analysis says about going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Nothing speaks against it, data are present.
    Fine,
    /// Suspicious.
    Hold(String),
    /// Nothing to compare with, and stable gives no more: waiting for it is of no use.
    Unclear(String),
    /// Measurements are missing, stale or too few.
    NoData(String),
    /// Worse than tolerated.
    Bad(String),
}

impl Pass<'_> {
    /// Folds the ticks not folded yet into the judge's state.
    pub(crate) fn fold_ticks(&mut self) {
        let comparison = self.comparison();
        let ours = self.seen.feed.as_ref().map(|feed| feed.candidate.as_str());
        let Some(release) = self.memory.release.as_mut() else {
            return;
        };
        if ours != Some(release.candidate.as_str()) {
            return;
        }
        let parameters = parameters(release);
        for tick in &self.seen.ticks {
            let state = release.judge.take().unwrap_or_default();
            release.judge = Some(judge::fold(state, &parameters, tick, comparison));
        }
    }

    /// What the candidate's answers are held against now.
    fn comparison(&self) -> Comparison {
        if self.flipped() {
            Comparison::Ceiling
        } else if self.all_at_once() && self.services().next().is_some() {
            // Where all traffic moves at once, whoever asks the candidate before is trying it.
            Comparison::History
        } else {
            // Without a Service in front pods of both sides take work as they are.
            Comparison::Concurrent
        }
    }

    /// Whether the plan moves all traffic at one time.
    fn all_at_once(&self) -> bool {
        self.memory.release.as_ref().is_some_and(|release| {
            release.plan.blue_green.is_some() || release.plan.steps.is_empty()
        })
    }

    /// Requests the candidate has answered so far.
    pub(crate) fn candidate_requests(release: &Release) -> u64 {
        release
            .judge
            .as_ref()
            .and_then(|state| state.signals.get(judge::ERRORS))
            .map_or(0, |signal| signal.candidate.requests)
    }

    fn either_was_asked(release: &Release) -> bool {
        (release.judge.as_ref())
            .and_then(|state| state.signals.get(judge::ERRORS))
            .is_some_and(|signal| signal.candidate.requests > 0 || signal.stable.requests > 0)
    }

    /// What is wrong with the candidate's pods for good: law 5's "the health of the pods".
    pub(crate) fn sick(&self) -> Option<String> {
        let release = self.memory.release.as_ref()?;
        self.candidate_pods()
            .filter(|pod| !pod.deleting && release.judged_pods.contains_key(&pod.uid))
            .find_map(|pod| {
                if let Some(trouble) = pod
                    .trouble
                    .as_ref()
                    .filter(|trouble| BROKEN.contains(&trouble.reason.as_str()))
                {
                    return Some(format!(
                        "pod {} of the candidate served and now is in {}: container {}: {}",
                        pod.name, trouble.reason, trouble.container, trouble.message
                    ));
                }
                (pod.restarts >= RESTARTS).then(|| {
                    format!(
                        "pod {} of the candidate restarted {} times",
                        pod.name, pod.restarts
                    )
                })
            })
    }

    /// What the analysis says now.
    pub(crate) fn finding(&self) -> Finding {
        if let Some(reason) = self.sick() {
            return Finding::Bad(reason);
        }
        let Some(release) = self.memory.release.as_ref() else {
            return Finding::NoData("there is no release".to_owned());
        };
        if !release.plan.analysis.scrape {
            return Finding::Fine;
        }
        let verdict = release
            .judge
            .as_ref()
            .map(|state| judge::verdict(state, &parameters(release)));
        if let Some(verdict) = &verdict
            && verdict.outcome == Outcome::Bad
        {
            return Finding::Bad(verdict.reason.clone());
        }
        if let Some(missing) = self.missing_data(release) {
            return Finding::NoData(missing);
        }
        match verdict {
            Some(verdict) if verdict.outcome == Outcome::Hold => Finding::Hold(verdict.reason),
            // One side answers and the other says nothing: there is no verdict (law 5). Where nobody asks either and
            // `minRequests` is 0, there is nothing to wait for.
            Some(verdict)
                if verdict.outcome == Outcome::NoData
                    && Self::either_was_asked(release)
                    && self.comparison() == Comparison::Concurrent
                    && release.plan.weight_at(release.step) > Weight::ZERO =>
            {
                Finding::NoData(verdict.reason)
            }
            // Where both served side by side there was a comparison, and each step had its verdict.
            Some(verdict) if verdict.outcome == Outcome::Inconclusive && !side_by_side(release) => {
                Finding::Unclear(verdict.reason)
            }
            _ => Finding::Fine,
        }
    }

    /// Which data are missing: every candidate pod in service must have answered within three
    /// intervals, and the step must have seen `minRequests`.
    fn missing_data(&self, release: &Release) -> Option<String> {
        let analysis = &release.plan.analysis;
        let patience = analysis.interval.saturating_mul(3);
        let Some(feed) = self
            .seen
            .feed
            .as_ref()
            .filter(|feed| feed.candidate == release.candidate)
        else {
            return Some("the pods have not been asked for their metrics yet".to_owned());
        };
        for pod in self.candidate_pods().filter(|pod| in_service(pod)) {
            let known = feed.pods.get(&pod.uid);
            let last = known
                .and_then(|known| known.last_answer)
                .or(pod.ready_since);
            let answered = known.is_some_and(|known| known.last_answer.is_some());
            let late = last.is_none_or(|last| self.now > after(last, patience));
            if late {
                let error = known
                    .and_then(|known| known.last_error.as_deref())
                    .unwrap_or("it was not asked yet");
                let since = if answered {
                    "stopped giving"
                } else {
                    "has not given"
                };
                return Some(format!("pod {} {since} metrics: {error}", pod.name));
            }
        }
        // At 0 % nobody asks it anything.
        let asked = release.plan.weight_at(release.step) > Weight::ZERO;
        let seen = Self::candidate_requests(release).saturating_sub(release.requests_before);
        let wanted = u64::from(analysis.min_requests) * u64::from(asked);
        (seen < wanted).then(|| format!("the candidate answered {seen} of the {wanted} requests this step needs (analysis.minRequests)"))
    }

    /// The verdict as shown.
    pub(crate) fn verdict_status(&self) -> Option<VerdictStatus> {
        let release = self.memory.release.as_ref()?;
        let ready = self.candidate_ready();
        let pods = count(self.candidate_pods().filter(|pod| !pod.deleting));
        let restarts: u32 = self.candidate_pods().map(|pod| pod.restarts).sum();
        let health = SignalStatus {
            name: "health".to_owned(),
            candidate: format!("{ready} of {pods} pods ready, {restarts} restarts"),
            stable: format!("{} pods ready", self.stable_ready()),
            ratio_at_least: None,
            evidence: None,
        };
        if !release.plan.analysis.scrape {
            let (outcome, reason) = match self.sick() {
                Some(reason) => ("bad", reason),
                None => (
                    "watching",
                    format!(
                        "no metrics are judged (analysis: none); {} is the verdict",
                        health.candidate
                    ),
                ),
            };
            return Some(VerdictStatus {
                outcome: outcome.to_owned(),
                reason,
                signals: vec![health],
            });
        }
        let verdict = release
            .judge
            .as_ref()
            .map(|state| judge::verdict(state, &parameters(release)));
        // What data are still missing matters while a stay counts; before it the step has only begun,
        // and after the last one nobody asks the pods any more.
        let counts = matches!(
            self.memory.phase,
            crossfade_api::Phase::Progressing | crossfade_api::Phase::Warm
        ) && release.stay_since.is_some();
        let finding = match self.finding() {
            Finding::NoData(_) if !counts => Finding::Fine,
            finding => finding,
        };
        let (outcome, reason) = match (finding, &verdict) {
            (Finding::Bad(reason), _) => ("bad", reason),
            (Finding::NoData(reason), _) => ("no-data", reason),
            (Finding::Hold(reason), _) => ("hold", reason),
            (Finding::Unclear(reason), _) => ("inconclusive", reason),
            (Finding::Fine, Some(verdict)) => (word(verdict.outcome), verdict.reason.clone()),
            (Finding::Fine, None) => ("watching", "no measurement yet".to_owned()),
        };
        let mut signals: Vec<SignalStatus> = verdict
            .map(|verdict| verdict.signals)
            .unwrap_or_default()
            .into_iter()
            .map(|signal| SignalStatus {
                name: signal.name,
                candidate: ratio(signal.candidate),
                stable: ratio(signal.stable),
                // Two decimals: more would change the status with every tick and say nothing.
                ratio_at_least: signal
                    .ratio_at_least
                    .map(|ratio| (ratio * 100.0).round() / 100.0),
                evidence: Some((signal.log_wealth * 100.0).round() / 100.0),
            })
            .collect();
        signals.push(health);
        Some(VerdictStatus {
            outcome: outcome.to_owned(),
            reason,
            signals,
        })
    }
}

/// Whether the plan has a step in which both sides serve.
fn side_by_side(release: &Release) -> bool {
    release.plan.blue_green.is_none()
        && (release.plan.steps.iter()).any(|step| {
            matches!(step, PlannedStep::Weight { weight, .. }
                if *weight > Weight::ZERO && *weight < Weight::FULL)
        })
}

/// The judge's parameters for this release.
pub(crate) fn parameters(release: &Release) -> Parameters {
    Parameters::new(Settings {
        alpha: release.plan.analysis.alpha,
        ..Settings::default()
    })
    .unwrap_or_default()
}

fn ratio(counts: judge::Counts) -> String {
    match counts.share() {
        Some(share) => format!(
            "{} of {} ({:.2} %)",
            counts.bad,
            counts.requests,
            share * 100.0
        ),
        None => "no requests".to_owned(),
    }
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Watching => "watching",
        Outcome::Hold => "hold",
        Outcome::Bad => "bad",
        Outcome::Safe => "safe",
        Outcome::NoData => "no-data",
        Outcome::Inconclusive => "inconclusive",
    }
}
