//! Progressing and Warm: one machine for every step, the warm stay being the last. Per step: enough
//! pods, then the weight, then proof that it is in force, then the stay, then the verdict. Pods are
//! counted in `capacity`; what happens during the stay is in `stay`.

use crossfade_api::{Phase, StepState, Weight};

use crate::analysis::Finding;
use crate::effect::{Effect, SplitTo};
use crate::memory::Cause;
use crate::observed::{Service, Workload};
use crate::report::WaitingOn;
use crate::step::{Pass, after};
use crate::traffic::points;

/// Longest wait for endpoints and routes on the way forward.
const SETTLE_DEADLINE: u64 = 300_000;

impl Pass<'_> {
    pub(crate) fn progressing(&mut self, workload: &Workload) {
        if self.interrupted(workload) {
            self.rolling_back(workload);
            return;
        }
        self.replace_candidate_set();
        self.remember_candidate_set();
        self.remember_originals();
        self.note_served();
        self.fold_ticks();
        // Who promotes in full has taken the verdict upon himself; broken pods still end it.
        let full = self
            .memory
            .release
            .as_ref()
            .is_some_and(|release| release.full.is_some());
        let bad = match self.finding() {
            Finding::Bad(reason) if !full => Some(reason),
            _ => self.sick(),
        };
        if let Some(reason) = bad {
            self.roll_back(Cause::Failed, reason);
            self.rolling_back(workload);
            return;
        }
        if self.parallel().is_none_or(|parallel| parallel.deleting) {
            self.roll_back(
                Cause::Interrupted,
                "the parallel Deployment was deleted by somebody else".to_owned(),
            );
            self.rolling_back(workload);
            return;
        }
        let Some(release) = self.memory.release.clone() else {
            return;
        };
        let phase = if release.step >= release.plan.warm_index() {
            Phase::Warm
        } else {
            Phase::Progressing
        };
        self.enter(phase);
        if self.emptied(workload) || self.no_room(workload, &release) {
            return;
        }
        let weight = release.plan.weight_at(release.step);
        let size = release.plan.size_at(release.step, workload.replicas);
        if self.fell_short(workload, &release) {
            return;
        }
        self.resize(size);
        if !self.restore_managed_fields() {
            self.wait(
                WaitingOn::Observed,
                "managedFields of the Services to be put back",
                None,
                "then it goes on",
            );
            return;
        }
        if self.capacity(workload, weight, size)
            && self.unpaused(weight)
            && self.baseline(workload, weight)
            && self.shift(weight)
            && self.in_force(weight)
            && self.complete(workload, size)
        {
            self.stay(workload, weight);
        }
        // One move of traffic leaves a pass; the preview is the one that can wait.
        if self.memory.phase == phase && !self.effects.iter().any(Effect::moves_traffic) {
            self.show_preview(&release);
        }
    }

    /// A pause keeps the weight where it is.
    fn unpaused(&mut self, weight: Weight) -> bool {
        let Some(release) = self.memory.release.as_ref() else {
            return false;
        };
        let moves = self
            .split_for(weight)
            .is_some_and(|split| self.split_to_hold() != Some(split));
        let (Some(who), true) = (release.paused.clone(), moves) else {
            return true;
        };
        self.hold_split();
        self.paused(&who);
        false
    }

    /// Services that appeared or were rewritten while no new weight may be given.
    pub(super) fn hold_split(&mut self) {
        if let Some(split) = self.split_to_hold() {
            self.write_split(split);
        }
    }

    /// Writes the weight.
    fn shift(&mut self, weight: Weight) -> bool {
        let Some(split) = self.split_for(weight) else {
            self.wait(
                WaitingOn::Observed,
                "the candidate's ReplicaSet to appear",
                None,
                "then the weight is written",
            );
            return false;
        };
        if let Some(release) = self.memory.release.as_mut() {
            release.shifted |= weight > Weight::ZERO;
        }
        if self.is_written(&split) {
            self.note_written();
            return true;
        }
        if self.fought_over(&split) || !self.widened(&split) {
            return false;
        }
        self.enter_state(StepState::Shifting);
        let since = self
            .memory
            .release
            .as_ref()
            .and_then(|release| release.state_since)
            .unwrap_or(self.now);
        let until = after(since, SETTLE_DEADLINE);
        if self.now >= until {
            self.roll_back(
                Cause::Failed,
                format!("the weight {weight} could not be written within 5m"),
            );
            self.wake(self.now);
            return false;
        }
        if let Some(release) = self.memory.release.as_mut() {
            release.weighted |= weight > Weight::ZERO;
            (release.stay_since, release.agreed_since) = (None, None);
        }
        self.write_split(split);
        self.wait(
            WaitingOn::Observed,
            format!("the weight {weight} to be written"),
            Some(until),
            "roll back",
        );
        false
    }

    /// A flip of a Service that not kube-proxy alone balances goes by way of both sides: whoever learns it
    /// late still finds pods that answer. Returns whether it may be narrowed now. The way back has no such
    /// stop (law 6).
    fn widened(&mut self, to: &SplitTo) -> bool {
        let stays = |service: &Service| service.flips_by_both && !points(service, to);
        let begun = self.services().any(|service| points(service, to));
        if !matches!(to, SplitTo::Candidate { .. }) || begun || !self.services().any(stays) {
            return true;
        }
        if !self.is_written(&SplitTo::Both) {
            self.enter_state(StepState::Shifting);
            if let Some(release) = self.memory.release.as_mut() {
                release.weighted = true;
                (release.stay_since, release.agreed_since) = (None, None);
            }
            self.write_split(SplitTo::Both);
        }
        self.in_force_as(&SplitTo::Both)
    }

    /// Waits until endpoints do what was written, then for the floor.
    fn in_force(&mut self, weight: Weight) -> bool {
        if self
            .memory
            .release
            .as_ref()
            .is_none_or(|release| release.stay_since.is_some())
        {
            return true;
        }
        let Some(split) = self.split_for(weight) else {
            return false;
        };
        if self.services().next().is_none()
            && let Some(release) = self.memory.release.as_mut()
        {
            // Without a Service pods take work as soon as they run.
            release.weighted = true;
        }
        self.in_force_as(&split)
    }

    /// Whether a split that is written has come into force; says what it waits for.
    fn in_force_as(&mut self, split: &SplitTo) -> bool {
        if !matches!(
            self.memory.release.as_ref().map(|release| release.state),
            Some(StepState::Settling)
        ) {
            self.enter_state(StepState::Settling);
        }
        let since = self
            .memory
            .release
            .as_ref()
            .and_then(|release| release.state_since)
            .unwrap_or(self.now);
        let until = after(since, SETTLE_DEADLINE);
        match self.settle(split) {
            Ok(true) => true,
            Ok(false) => {
                // It ends by itself; only endpoints that do not follow end the release.
                let agreed = (self.memory.release.as_ref())
                    .and_then(|release| release.agreed_since)
                    .unwrap_or(self.now);
                self.wait(
                    WaitingOn::Settle,
                    "proxies to learn the endpoints (traffic.settle.floor)",
                    Some(after(agreed, self.settle_floor())),
                    "the stay begins",
                );
                false
            }
            Err(why) => {
                if self.now >= until {
                    self.roll_back(
                        Cause::Failed,
                        format!("the weight did not come into force within 5m: {why}"),
                    );
                    self.wake(self.now);
                } else {
                    self.wait(WaitingOn::Settle, why, Some(until), "roll back");
                }
                false
            }
        }
    }

    /// The stay counts from the moment all pods of the step are ready.
    fn complete(&mut self, workload: &Workload, size: u32) -> bool {
        let ready = self.candidate_ready();
        self.note_judged_pods();
        let now = self.now;
        let Some(release) = self.memory.release.as_mut() else {
            return false;
        };
        if ready >= size {
            release.complete_for = workload.replicas;
            release.complete_unavailable = workload.max_unavailable;
        }
        if release.stay_since.is_some() {
            return true;
        }
        if ready < size {
            self.wait_for_pods(size);
            return false;
        }
        release.stay_since = Some(now);
        (release.no_data_since, release.hold_since) = (None, None);
        true
    }
}
