//! One kind of wait at a time: what it is for, what ends it, what a person can do about it. What is
//! possible in the phase anyway is added by the caller.

use crossfade_api::annotations::{BYPASS, POD_TEMPLATE_HASH, STRATEGY};
use crossfade_api::{Phase, SideStatus, Weight};
use crossfade_engine::report::WaitingOn;

use super::{Case, Workload};

/// Shown where a write or an object does not come.
const EVENTS: &str = "get events --sort-by=.lastTimestamp";

impl Case<'_> {
    /// Adds the ways out and says what it waits for.
    pub(super) fn wait(&mut self, on: WaitingOn) -> String {
        match on {
            WaitingOn::Mend => self.mend(),
            WaitingOn::Fence => {
                self.controller("none is needed; if it stays for more than a minute, see whether the controller runs");
                "time, some seconds: a write that got no answer may still land. Nothing is shrunk, deleted or taken from stable before".to_owned()
            }
            WaitingOn::Observed => {
                self.kubectl(EVENTS, "none is needed; if it stays, see who refuses the write (the message names it after \"refused\")");
                "the API server to show what was written: seconds".to_owned()
            }
            WaitingOn::PodsReady => self.pods_ready(),
            WaitingOn::Settle => {
                self.kubectl(
                    "get endpointslices",
                    "see whether they follow the pods; kube-controller-manager writes them",
                );
                let then = if self.phase == Phase::RollingBack {
                    "it never gives up, because there is nothing else to do"
                } else {
                    "after 5 minutes it rolls back"
                };
                format!("endpoints and proxies to do what was written; {then}")
            }
            WaitingOn::Stay => {
                self.crossfade(
                    "promote NAME",
                    "ends this stay; only missing data still hold it",
                );
                "the shortest stay to be over; then the verdict decides".to_owned()
            }
            WaitingOn::Verdict => {
                self.crossfade("promote NAME", "goes on in spite of the verdict's hold");
                self.full();
                "a verdict that is clear, or a person's; its numbers stand above".to_owned()
            }
            WaitingOn::Data => self.data(),
            WaitingOn::Approval => {
                self.crossfade("promote NAME", "gives the approval");
                "a person to approve".to_owned()
            }
            WaitingOn::Resume => {
                self.crossfade("resume NAME", "goes on");
                self.crossfade("promote NAME", "goes on, and ends this stay too");
                "a person to resume: it never ends by itself".to_owned()
            }
            WaitingOn::Drain => {
                self.crossfade("status -w NAME", "none is needed; this follows it");
                "open requests of the pods that lost their traffic to be over; it ends by itself"
                    .to_owned()
            }
            WaitingOn::PodsGone => {
                let side = self
                    .rollout
                    .status
                    .as_ref()
                    .and_then(|status| status.candidate.as_ref());
                let command = side.and_then(of_side).map_or_else(
                    || "get pods".to_owned(),
                    |selector| format!("get pods -l {selector}"),
                );
                self.kubectl(&command, "see which are left, and what keeps them");
                "pods of the new version to be deleted: the garbage collector (kube-controller-manager) does it".to_owned()
            }
            WaitingOn::HandOver => {
                self.kubectl(EVENTS, "none is needed; if a stage stays, its event names it each minute. kube-controller-manager has to run");
                "a stage of the hand-over; it goes forward only, and none may be skipped".to_owned()
            }
            WaitingOn::NewTemplate => {
                self.crossfade("retry NAME", "releases the rejected template again");
                self.by_hand(
                    "push stable's template again (git revert): ends this, no pod is replaced",
                );
                format!(
                    "another template: the one that is there was rejected. With {BYPASS}: REASON, new in the write of a template, that one passes without analysis"
                )
            }
        }
    }

    fn full(&mut self) {
        self.crossfade(
            "promote --full NAME",
            "keeps the new version without judgement; recorded with who and why",
        );
    }

    /// Something only a person can put right; which, the workload says.
    fn mend(&mut self) -> String {
        let at_rest = self.phase == Phase::Idle;
        match self.workload {
            Workload::Gone => self.gone(),
            _ if self.is_refused(at_rest) => self.template_refused(),
            Workload::There {
                opted_in: false, ..
            } => {
                self.kubectl(
                    &format!("annotate deployment/NAME {STRATEGY}=canary"),
                    "opts in again: the template is released step by step",
                );
                self.by_hand(
                    "push the template that serves (git revert): unpauses, no pod is replaced",
                );
                self.kubectl(
                    "rollout resume deployment/NAME",
                    "starts the template that never served, without analysis",
                );
                "a person: the Deployment is opted out and paused on a template that never served"
                    .to_owned()
            }
            Workload::There { paused: true, .. } => {
                self.kubectl(
                    "rollout resume deployment/NAME",
                    "unpauses it; no pod is replaced",
                );
                self.by_hand("push another template: starts a release, and unpauses at its end");
                "a person: the Deployment was paused by hand, on the template that serves"
                    .to_owned()
            }
            Workload::There { .. } => {
                self.crossfade("status -w NAME", "follows it: the Deployment is not paused any more, the controller is about to see that");
                "the controller to look again".to_owned()
            }
        }
    }

    /// Whether it is a template that cannot be released. At rest problems of the plan alone are told with the
    /// same reason, whoever has paused the Deployment: then the controller's memory says whether one is gated,
    /// as far as it is of a version that has the word.
    fn is_refused(&self, at_rest: bool) -> bool {
        let status = self.rollout.status.as_ref();
        let memory = status.and_then(|status| status.memory.as_ref());
        let gated = memory.and_then(|memory| memory.get("gated")?.as_bool());
        let Workload::There {
            paused, opted_in, ..
        } = self.workload
        else {
            return false;
        };
        self.refused && paused && !(at_rest && (!opted_in || gated == Some(false)))
    }

    fn template_refused(&mut self) -> String {
        let why = self.stalled.unwrap_or_default();
        self.by_hand("mend what is named: the gated template then starts by itself");
        self.crossfade("plan NAME", "shows the plan and all that is wrong with it");
        // At size 0 nothing serves that could be written back.
        if !matches!(self.workload, Workload::There { replicas: 0, .. }) {
            self.crossfade(
                "undo NAME",
                "withdraws the gated template: what serves is written back and unpaused, no pod is replaced; refused while an earlier rollout has not ended",
            );
        }
        self.by_hand("push the template that serves (git revert): does the same");
        format!("a person: a template is gated and cannot be released: {why}")
    }

    fn pods_ready(&mut self) -> String {
        let status = self.rollout.status.as_ref();
        let stable = status.and_then(|status| status.stable.as_ref());
        let candidate = status.and_then(|status| status.candidate.as_ref());
        let carries = self
            .step
            .is_some_and(|step| step.weight.written > Weight::ZERO);
        let down = stable.is_some_and(|side| side.ready == 0);
        if self.phase == Phase::RollingBack && down && carries {
            self.look_at(
                stable,
                "see why stable has no ready pod; as soon as one is ready it goes on by itself",
            );
            self.crossfade(
                "abort --force NAME",
                "takes the traffic from the new version all the same: nobody answers until a pod of stable is ready",
            );
            return "a ready pod of stable: it has none, so the new version keeps the traffic"
                .to_owned();
        }
        if let Workload::There { replicas: 0, .. } = self.workload {
            self.kubectl(
                "scale deployment/NAME --replicas=1",
                "scales it up again: at size 0 there is nothing to compare",
            );
        }
        // Without a deadline it is stable that is short, and the step stands until it is whole.
        let held = self.under_way() && self.step.is_none_or(|step| step.until.is_none());
        if held {
            self.look_at(
                stable,
                "see why pods of stable are not ready: nothing moves until they are",
            );
        }
        if self.under_way() {
            self.look_at(
                candidate,
                "see why pods of the new version are not ready (their troubles stand above)",
            );
            self.by_hand("push a mended template: takes this one away and starts with that one");
        }
        self.look_at(stable, "see why pods of stable are not ready");
        if self.ways.is_empty() {
            self.kubectl("get pods", "see which pods are not ready");
        }
        if held {
            let then = self.step.and_then(|step| step.then.as_deref());
            let then = then.map_or("it goes on", |then| {
                then.strip_prefix("then ").unwrap_or(then)
            });
            format!(
                "pods to become ready; it has no deadline and does not roll back by itself: {then}"
            )
        } else if self.under_way() {
            "pods to become ready; when there is no progress until the deadline, it rolls back"
                .to_owned()
        } else {
            "pods of stable to become ready; it goes on by itself".to_owned()
        }
    }

    /// Only at a side that is not complete.
    fn look_at(&mut self, side: Option<&SideStatus>, does: &str) {
        if let Some(selector) = side
            .filter(|side| side.ready < side.replicas.max(1))
            .and_then(of_side)
        {
            self.kubectl(&format!("describe pods -l {selector}"), does);
        }
    }

    fn data(&mut self) -> String {
        // All traffic is still to move at once: it is stable's counts that are missing.
        let before = self.step.is_some_and(|step| {
            step.weight.asked == Weight::FULL && step.weight.written == Weight::ZERO
        });
        if before {
            self.crossfade(
                "promote NAME",
                "moves the traffic now; the new version is then judged by less",
            );
            self.full();
            return "enough of stable's answers to judge the new version by; traffic brings them"
                .to_owned();
        }
        let candidate = (self.rollout.status.as_ref()).and_then(|status| status.candidate.as_ref());
        if let Some(selector) = candidate.and_then(of_side) {
            self.kubectl(
                &format!("describe pods -l {selector}"),
                "see whether they say where their metrics are (prometheus.io/port, prometheus.io/path) and answer there",
            );
        }
        self.full();
        self.by_hand("lower analysis.minRequests, or where there are no metrics set crossfade.dev/analysis: none; counts from the next release on");
        "data of the analysis: every pod of the new version to answer, and enough requests. promote alone does not skip it".to_owned()
    }
}

/// The selector of a side's pods, once its hash is known.
fn of_side(side: &SideStatus) -> Option<String> {
    let hash = side.pod_template_hash.as_ref()?;
    Some(format!("{POD_TEMPLATE_HASH}={hash}"))
}
