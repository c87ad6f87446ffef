//! The stay of a step: watching, waiting for a person, the verdict, and on to the next step.

use crossfade_api::{ApprovalThen, Duration, Inconclusive, NoDataThen, Phase, StepState, Weight};
use jiff::Timestamp;

use crate::analysis::Finding;
use crate::memory::{Cause, Release};
use crate::observed::Workload;
use crate::report::WaitingOn;
use crate::step::{Pass, after};
use crate::validated::PlannedStep;

/// A pause has no deadline; it reminds of itself.
const PAUSE_REMINDER: u64 = 3_600_000;

impl Pass<'_> {
    /// Weight in force, pods complete: watch, then go on as far as the verdict allows.
    pub(super) fn stay(&mut self, workload: &Workload, weight: Weight) {
        let Some(release) = self.memory.release.clone() else {
            return;
        };
        let since = release.stay_since.unwrap_or(self.now);
        if let Some(who) = &release.paused {
            self.paused(who);
            return;
        }
        let index = release.step as usize;
        let length = match release.plan.steps.get(index) {
            Some(PlannedStep::Approval { timeout, then }) => {
                self.approval(workload, since, *timeout, *then, release.skip_stay);
                return;
            }
            Some(PlannedStep::Weight { stay, .. }) => *stay,
            None => release.plan.warm,
        };
        let warm = index >= release.plan.steps.len();
        // What stable still holds open ends by the drain; the hand-over takes its pods.
        let shortest = if warm { release.plan.drain } else { 0 };
        let skip = release.skip_stay || release.full.is_some();
        let length = if skip { shortest } else { length.max(shortest) };
        if !self.elapsed(since, length) {
            self.enter_state(StepState::Observing);
            let what = if warm {
                "the warm stay".to_owned()
            } else {
                format!("the stay at {weight}")
            };
            let short = (self.shortage_of_stable(workload, weight))
                .map_or_else(String::new, |short| {
                    format!(", and then for stable to be whole: {short}")
                });
            self.wait(
                WaitingOn::Stay,
                format!("{what} of {}{short}", Duration::from_milliseconds(length)),
                Some(after(since, length)),
                "the verdict decides",
            );
            return;
        }
        if release.full.is_none() && !self.verdict_allows(workload, &release) {
            return;
        }
        if self.stable_short(workload, weight) {
            return;
        }
        self.advance(workload);
    }

    pub(super) fn verdict_allows(&mut self, workload: &Workload, release: &Release) -> bool {
        let now = self.now;
        let limit = release.plan.analysis.no_data_limit;
        match self.finding() {
            Finding::Fine => {
                if let Some(release) = self.memory.release.as_mut() {
                    (release.no_data_since, release.hold_since) = (None, None);
                }
                true
            }
            Finding::Bad(reason) => {
                self.roll_back(Cause::Failed, reason);
                self.rolling_back(workload);
                false
            }
            Finding::NoData(reason) => {
                self.enter_state(StepState::Held);
                let since = release.no_data_since.unwrap_or(now);
                if let Some(release) = self.memory.release.as_mut() {
                    release.no_data_since = Some(since);
                }
                let until = after(since, limit);
                if now < until {
                    let then = if release.plan.analysis.no_data_then == NoDataThen::Rollback {
                        "roll back"
                    } else {
                        "stay until a person decides"
                    };
                    self.wait(WaitingOn::Data, reason, Some(until), then);
                } else if release.plan.analysis.no_data_then == NoDataThen::Rollback {
                    self.roll_back(
                        Cause::Failed,
                        format!(
                            "no data for {} (analysis.noData.limit): {reason}",
                            Duration::from_milliseconds(limit)
                        ),
                    );
                    self.rolling_back(workload);
                } else {
                    self.wait(WaitingOn::Data, reason, None, "promote --full or abort");
                }
                false
            }
            Finding::Unclear(reason) => self.unclear_allows(workload, release, reason),
            Finding::Hold(reason) => {
                let since = release.hold_since.unwrap_or(now);
                if let Some(release) = self.memory.release.as_mut() {
                    (release.no_data_since, release.hold_since) = (None, Some(since));
                }
                if release.skip_stay {
                    self.goes_on_unclear(format!("a person has ended the stay over it: {reason}"));
                    return true;
                }
                self.enter_state(StepState::Held);
                let until = after(since, limit);
                let inconclusive = release.plan.analysis.inconclusive;
                let then = match inconclusive {
                    Inconclusive::Advance => "advance",
                    Inconclusive::Hold => "stay until a person decides",
                    Inconclusive::Rollback => "roll back",
                };
                if now < until {
                    self.wait(WaitingOn::Verdict, reason, Some(until), then);
                    return false;
                }
                match inconclusive {
                    Inconclusive::Advance => {
                        self.goes_on_unclear(format!(
                            "still unclear after {}, and analysis.inconclusive is advance: {reason}",
                            Duration::from_milliseconds(limit)
                        ));
                        true
                    }
                    Inconclusive::Hold => {
                        self.wait(WaitingOn::Verdict, reason, None, "promote or abort");
                        false
                    }
                    Inconclusive::Rollback => {
                        self.roll_back(
                            Cause::Failed,
                            format!(
                                "still unclear after {}: {reason}",
                                Duration::from_milliseconds(limit)
                            ),
                        );
                        self.rolling_back(workload);
                        false
                    }
                }
            }
        }
    }

    /// There is nothing to compare with and there will not be: what the plan wants then, at once. Where
    /// all traffic moves at one time that was decided before the move.
    fn unclear_allows(&mut self, workload: &Workload, release: &Release, reason: String) -> bool {
        if let Some(release) = self.memory.release.as_mut() {
            (release.no_data_since, release.hold_since) = (None, None);
        }
        let decided = release.skip_stay || release.plan.blue_green.is_some();
        match release.plan.analysis.inconclusive {
            _ if decided => {
                self.goes_on_unclear(reason);
                true
            }
            Inconclusive::Advance => {
                self.goes_on_unclear(format!(
                    "unclear, and analysis.inconclusive is advance: {reason}"
                ));
                true
            }
            // What an undo has left has more against it than this: a person decides before it serves again.
            policy if policy == Inconclusive::Hold || release.plan.steps.is_empty() => {
                self.enter_state(StepState::Held);
                self.wait(WaitingOn::Verdict, reason, None, "promote or abort");
                false
            }
            _ => {
                self.roll_back(
                    Cause::Failed,
                    format!("unclear, and analysis.inconclusive is rollback: {reason}"),
                );
                self.rolling_back(workload);
                false
            }
        }
    }

    /// Said once, and by the promotion. Whatever holds the step besides, the verdict does no longer.
    fn goes_on_unclear(&mut self, how: String) {
        let Some(release) = self.memory.release.as_mut() else {
            return;
        };
        if release.unclear.is_none() {
            release.unclear = Some(how.clone());
            self.event(true, "WentOnUnclear", how);
        }
    }

    pub(super) fn approval(
        &mut self,
        workload: &Workload,
        since: Timestamp,
        timeout: Option<u64>,
        then: ApprovalThen,
        given: bool,
    ) {
        if given {
            self.advance(workload);
            return;
        }
        self.enter_state(StepState::AwaitingApproval);
        let until = timeout.map(|timeout| after(since, timeout));
        match until {
            Some(until) if self.now >= until && then == ApprovalThen::Advance => {
                self.advance(workload)
            }
            Some(until) if self.now >= until => {
                self.roll_back(
                    Cause::Aborted,
                    "nobody approved in time (approval.timeout)".to_owned(),
                );
                self.rolling_back(workload);
            }
            _ => {
                let then = match (until, then) {
                    (None, _) => "promote or abort",
                    (Some(_), ApprovalThen::Abort) => "abort",
                    (Some(_), ApprovalThen::Advance) => "advance",
                };
                self.wait(
                    WaitingOn::Approval,
                    "a person to approve with promote",
                    until,
                    then,
                );
            }
        }
    }

    /// Stopped by a person: it says so, and again every hour.
    pub(super) fn paused(&mut self, who: &str) {
        self.enter_state(StepState::Paused);
        self.wait(WaitingOn::Resume, who, None, "resume, promote or abort");
        self.remind(who);
    }

    fn remind(&mut self, who: &str) {
        let now = self.now;
        let paused_since = self
            .memory
            .release
            .as_ref()
            .and_then(|release| release.state_since)
            .unwrap_or(now);
        let passed = now
            .as_millisecond()
            .saturating_sub(paused_since.as_millisecond());
        let hours = u64::try_from(passed).unwrap_or(0) / PAUSE_REMINDER;
        if hours > 0
            && let Some(release) = self.memory.release.as_mut()
            && release.reminded < hours
        {
            release.reminded = hours;
            self.event(false, "StillPaused", format!("{who}, for {hours} h now"));
        }
        self.wake(after(paused_since, (hours + 1) * PAUSE_REMINDER));
    }

    /// The step is over: the next one, or the hand-over.
    pub(super) fn advance(&mut self, workload: &Workload) {
        let now = self.now;
        let Some(release) = self.memory.release.as_mut() else {
            return;
        };
        if release.step >= release.plan.warm_index() {
            if self.aside_left() {
                return;
            }
            let Some(release) = self.memory.release.as_mut() else {
                return;
            };
            release.reminded = 0;
            // Entered by the status write alone; its effects come in the next pass, when it is known to
            // have been written at the command's resourceVersion.
            self.event(
                false,
                "HandingOver",
                "the judged pods become the Deployment's own".to_owned(),
            );
            self.enter(Phase::HandingOver);
            self.wake(now);
            return;
        }
        release.reminded = 0;
        release.hold_since = None;
        release.step += 1;
        release.requests_before = Self::candidate_requests(release);
        release.stay_since = None;
        release.agreed_since = None;
        release.no_data_since = None;
        release.skip_stay = false;
        release.most_ready = 0;
        release.complete_for = 0;
        release.progress_since = Some(now);
        release.state = StepState::Scaling;
        release.state_since = Some(now);
        // Counted from one, as in the status.
        let (step, steps) = (release.step + 1, release.plan.warm_index());
        let weight = release.plan.weight_at(release.step);
        let text = if step > steps {
            format!("warm: {weight}")
        } else {
            format!("step {step} of {steps}: {weight}")
        };
        self.event(false, "StepDone", format!("on to {text}"));
        self.progressing(workload);
    }
}
