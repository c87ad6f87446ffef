//! Preparing: keep stable's template, pin the Services, start the candidate, compare. No weight moves
//! before the stored template of the parallel Deployment equals the workload's.

use crossfade_api::annotations::BYPASS;
use crossfade_api::{Phase, StepState};
use jiff::Timestamp;

use crate::effect::{Effect, NewParallel};
use crate::identity::same_template;
use crate::memory::{Cause, Release};
use crate::observed::{Owner, ReplicaSet, Workload};
use crate::report::WaitingOn;
use crate::step::{Pass, Relation, after};
use crate::traffic::target;

impl Pass<'_> {
    pub(crate) fn preparing(&mut self, workload: &Workload) {
        if self.interrupted(workload) {
            self.rolling_back(workload);
            return;
        }
        if self.prepared(workload) {
            self.enter(Phase::Progressing);
            self.enter_state(StepState::Scaling);
            let now = self.now;
            if let Some(release) = self.memory.release.as_mut() {
                release.progress_since = Some(now);
            }
            self.progressing(workload);
        }
    }

    fn keep(&mut self, release: &Release, stable: &ReplicaSet) {
        self.emit(Effect::KeepTemplate {
            name: format!("{}-stable", release.parallel),
            candidate: release.candidate.clone(),
            hash: stable.hash.clone(),
            template: stable.template.clone(),
            metadata: release.plan.created.clone(),
        });
    }

    /// A copy of stable's template that somebody deleted is made again while there is something to copy: without it a ReplicaSet
    /// that is deleted too could not come back.
    pub(crate) fn keep_again(&mut self) {
        let Some(release) = self.memory.release.clone() else {
            return;
        };
        let kept = (self.seen.kept.iter()).any(|kept| kept.candidate == release.candidate);
        if let Some(stable) = self.stable_set().filter(|set| !kept && !set.deleting) {
            self.keep(&release, stable);
        }
    }

    /// Works off what comes before the first step. Returns whether all of it is there.
    fn prepared(&mut self, workload: &Workload) -> bool {
        let Some(release) = self.memory.release.clone() else {
            return false;
        };
        self.remember_originals();
        let until = release
            .progress_since
            .map(|since| after(since, release.plan.progress_deadline));
        let kept = (self.seen.kept.iter()).any(|kept| kept.candidate == release.candidate);
        if kept && release.held {
            self.roll_back(
                Cause::Held,
                "this template was rejected before and waits for somebody's word".to_owned(),
            );
            self.rolling_back(workload);
            return false;
        }
        if !kept {
            let Some(stable) = self.stable_set() else {
                self.roll_back(Cause::Interrupted, "stable's ReplicaSet is gone".to_owned());
                self.rolling_back(workload);
                return false;
            };
            self.keep(&release, stable);
            if release.held {
                self.wait(
                    WaitingOn::Observed,
                    "a copy of stable's template",
                    until,
                    "then the template is held",
                );
                return self.started_late(until);
            }
        }
        if let Some(split) = self.split_for(crossfade_api::Weight::ZERO)
            && !(self.write_split(split.clone()) && self.write_previews(split))
        {
            self.wait(
                WaitingOn::Observed,
                "every Service of the workload to be pinned to stable",
                until,
                "roll back",
            );
            return self.started_late(until);
        }
        if !self.restore_managed_fields() {
            self.wait(
                WaitingOn::Observed,
                "managedFields of the Services to be put back",
                until,
                "roll back",
            );
            return self.started_late(until);
        }
        // An empty ReplicaSet with the candidate's template is older than the candidate's own: the
        // Deployment controller would take it for the new one and replace every judged pod.
        let doubles: Vec<Effect> = self
            .seen
            .own_replica_sets()
            .filter(|set| set.replicas == 0 && same_template(&set.template, &workload.template))
            .map(|set| Effect::DeleteReplicaSet {
                target: target(&set.name, &set.uid, &set.resource_version),
            })
            .collect();
        if !doubles.is_empty() {
            self.effects_of(
                doubles,
                "empty ReplicaSets with the candidate's template to be gone",
                until,
            );
            return self.started_late(until);
        }
        let others: Vec<Effect> = self
            .seen
            .parallels
            .iter()
            .filter(|parallel| parallel.name != release.parallel && !parallel.deleting)
            .map(|parallel| Effect::DeleteParallel {
                target: target(&parallel.name, &parallel.uid, &parallel.resource_version),
            })
            .collect();
        if !others.is_empty()
            || self
                .seen
                .parallels
                .iter()
                .any(|parallel| parallel.name != release.parallel)
        {
            self.effects_of(others, "an earlier candidate to be gone", until);
            return self.started_late(until);
        }
        let Some(parallel) = self.parallel() else {
            let size = release.plan.size_at(0, workload.replicas);
            let mut kept = release.clone();
            kept.judge = None;
            self.emit(Effect::CreateParallel(Box::new(NewParallel {
                name: release.parallel.clone(),
                candidate: release.candidate.clone(),
                replicas: size,
                min_ready_seconds: workload.min_ready_seconds,
                progress_deadline_seconds: workload.progress_deadline_seconds,
                selector: workload.selector.clone(),
                strategy: workload.strategy.clone(),
                template: workload.template.clone(),
                metadata: release.plan.created.clone(),
                originals: serde_json::json!({ "release": kept, "originals": self.memory.originals }),
            })));
            self.wait(
                WaitingOn::Observed,
                "the parallel Deployment to be created",
                until,
                "roll back",
            );
            return self.started_late(until);
        };
        if parallel.deleting {
            self.roll_back(
                Cause::Interrupted,
                "the parallel Deployment is being deleted by somebody else".to_owned(),
            );
            self.rolling_back(workload);
            return false;
        }
        self.remember_candidate_set();
        if self.candidate_set().is_none() {
            self.wait(
                WaitingOn::Observed,
                "the candidate's ReplicaSet to appear",
                until,
                "roll back",
            );
            if let Some(failure) = &parallel.replica_failure {
                self.roll_back(Cause::Failed, failure.clone());
                self.rolling_back(workload);
                return false;
            }
            return self.started_late(until);
        }
        true
    }

    /// The progress deadline passed while nothing could even be created.
    fn started_late(&mut self, until: Option<Timestamp>) -> bool {
        if until.is_some_and(|until| self.now >= until) {
            self.roll_back(
                Cause::Failed,
                "the candidate could not be started within progressDeadline".to_owned(),
            );
        }
        false
    }

    fn effects_of(&mut self, effects: Vec<Effect>, what: &str, until: Option<Timestamp>) {
        for effect in effects {
            self.emit(effect);
        }
        self.wait(WaitingOn::Observed, what, until, "roll back");
    }

    /// Whether something outside ends the release, in any phase in which it still can be undone. If
    /// so, the decision is latched already.
    pub(crate) fn interrupted(&mut self, workload: &Workload) -> bool {
        let Some(release) = self.memory.release.clone() else {
            return false;
        };
        if workload.deleting {
            return false;
        }
        if !workload.paused {
            self.roll_back(
                Cause::Interrupted,
                "the Deployment was unpaused by somebody else; its own rollout goes on and the candidate is taken away".to_owned(),
            );
            return true;
        }
        match self.relation(workload, &release) {
            Relation::Candidate => {}
            Relation::Stable => {
                self.roll_back(
                    Cause::Superseded,
                    "stable's template was pushed again".to_owned(),
                );
                return true;
            }
            Relation::Another => {
                let text = match self.passes() {
                    Some(reason) => {
                        format!("another template was pushed past analysis ({BYPASS}: {reason})")
                    }
                    None => "another template was pushed".to_owned(),
                };
                self.roll_back(Cause::Superseded, text);
                return true;
            }
        }
        if !workload.rolling_update {
            self.roll_back(
                Cause::Interrupted,
                "spec.strategy.type of the Deployment became Recreate, which forbids two versions side by side; set it to RollingUpdate".to_owned(),
            );
            return true;
        }
        if let Some(refusal) = self.unusable_service() {
            self.roll_back(
                Cause::Interrupted,
                format!("a Service appeared or changed that cannot be used: {refusal}"),
            );
            return true;
        }
        if let Some(parallel) = self.parallel()
            && !same_template(&parallel.template, &workload.template)
        {
            self.roll_back(
                Cause::Failed,
                "the stored template of the parallel Deployment differs from the Deployment's: something (a mutating webhook, a policy engine) treats the two differently; make it treat equal templates equally".to_owned(),
            );
            return true;
        }
        if let Some(set) = self.candidate_set()
            && matches!(&set.owner, Owner::Parallel(_))
            && !same_template(&set.template, &workload.template)
        {
            self.roll_back(
                Cause::Failed,
                "the candidate's ReplicaSet carries another template than the Deployment"
                    .to_owned(),
            );
            return true;
        }
        false
    }
}
