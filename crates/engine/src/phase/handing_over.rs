//! HandingOver: forward only. The stage is read from the cluster each time, so that a restart goes on
//! at the first unmet condition.
//!
//! The order is the one measured to lose nothing and to survive history, scaling and a newer push:
//! Services checked, parallel Deployment paused, every ReplicaSet of the workload parked (empty ones
//! first), the judged one transferred, the parallel Deployment orphaned away, old pods ended, parked
//! ones returned, Services given back, workload unpaused.

use crossfade_api::{HistoryEntry, Phase, Weight};
use crossfade_judge as judge;

use crate::effect::Effect;
use crate::identity::same_template;
use crate::memory::{Cause, KEPT_ENTRIES, Release};
use crate::observed::{Owner, Pod, ReplicaSet, Workload};
use crate::report::WaitingOn;
use crate::safety::enough;
use crate::sides::{in_service, next_revision};
use crate::step::{Pass, after};
use crate::traffic::{Settled, target};
use crate::validated::PlannedStep;

impl Pass<'_> {
    pub(crate) fn handing_over(&mut self, workload: &Workload) {
        self.remember_candidate_set();
        self.note_judged_pods();
        self.wake_when_late();
        let Some(candidate) = self.candidate_set() else {
            self.candidate_lost(workload);
            return;
        };
        if !self.restore_managed_fields() {
            self.stage("managedFields of the Services to be put back", "it goes on");
            return;
        }
        match &candidate.owner {
            Owner::Parallel(_) => self.take_over(workload, candidate),
            Owner::Nobody => self.stage(
                format!(
                    "the Deployment to adopt the judged ReplicaSet {}",
                    candidate.name
                ),
                "it goes on",
            ),
            Owner::Workload => self.clean_up(workload, candidate),
            Owner::Rollout | Owner::Other(_) => {
                self.stage(
                    format!(
                        "the judged ReplicaSet {} to be free: another owner controls it",
                        candidate.name
                    ),
                    "give it back to the Deployment",
                );
            }
        }
    }

    /// The judged ReplicaSet is gone, by somebody else's hand. What was parked goes back to the
    /// Deployment, the active one first, so that its pods are the ones it keeps; then traffic returns to
    /// them.
    fn candidate_lost(&mut self, workload: &Workload) {
        let mut parked: Vec<&ReplicaSet> = self.seen.parked_replica_sets().collect();
        parked.sort_by_key(|set| std::cmp::Reverse(set.replicas));
        if let Some(first) = parked.first() {
            self.emit(Effect::Return {
                target: target(&first.name, &first.uid, &first.resource_version),
                owner_index: first.owner_index.unwrap_or(0),
            });
            self.stage(
                "the parked ReplicaSets to be given back, because the judged one was deleted",
                "stable takes everything back",
            );
            return;
        }
        self.roll_back(
            Cause::Interrupted,
            "the candidate's ReplicaSet was deleted by somebody else".to_owned(),
        );
        self.rolling_back(workload);
    }

    /// Until something is parked stable can still take everything back: when no pod of the candidate is left, or somebody writes
    /// its Services back again and again, it does.
    fn gives_way_before_the_park(&mut self, workload: &Workload) -> bool {
        let needed = enough(
            Weight::FULL,
            workload.replicas,
            workload.replicas,
            workload.max_unavailable,
        );
        let lost = self.candidate_ready() == 0 && self.stable_ready() >= needed.max(1);
        if lost {
            self.roll_back(
                Cause::Interrupted,
                "no pod of the candidate is ready any more and the hand-over has not taken anything from stable".to_owned(),
            );
        }
        let full = self.split_for(Weight::FULL);
        if lost || full.is_some_and(|full| !self.is_written(&full) && self.fought_over(&full)) {
            self.rolling_back(workload);
            return true;
        }
        false
    }

    /// Whether every Service sends to the candidate alone and stable has answered what it was sent.
    fn all_to_the_candidate(&mut self) -> bool {
        let Some(split) = self.split_for(Weight::FULL) else {
            return true;
        };
        if !self.write_split(split.clone()) {
            self.drain_stable_anew();
            let by = self
                .written_back(&split)
                .map_or_else(String::new, |(service, manager)| {
                    format!("; {manager} wrote spec.selector of Service {service} back")
                });
            let text = format!("every Service to point at the candidate{by}");
            self.stage(text, "it goes on");
            return false;
        }
        self.note_written();
        if let Settled::NotYet(why) = self.settled(&split) {
            if self.stable_in_endpoints() {
                self.drain_stable_anew();
            }
            self.stage(why, "it goes on");
            return false;
        }
        self.drained_from_stable()
    }

    fn drain_stable_anew(&mut self) {
        if let Some(release) = self.memory.release.as_mut() {
            (release.stay_since, release.agreed_since) = (None, None);
        }
    }

    /// Says which stage is waited for, until when without worry, and what then.
    fn stage(&mut self, text: impl Into<String>, then: &str) {
        self.patiently("HandOverSlow", WaitingOn::HandOver, text, then);
    }

    /// The warm stay is longer than the drain. Only a Service that came after it, and was open until it
    /// was seen, may have requests under way to pods of stable.
    fn drained_from_stable(&mut self) -> bool {
        let (now, floor) = (self.now, self.settle_floor());
        let Some(release) = self.memory.release.as_mut() else {
            return true;
        };
        if release.stay_since.is_some() {
            return true;
        }
        let length = floor.saturating_add(release.plan.drain);
        let since = *release.agreed_since.get_or_insert(now);
        if self.elapsed(since, length) {
            return true;
        }
        self.stage(
            "open requests to stable of a Service that appeared late",
            "it goes on",
        );
        self.wake(after(since, length));
        false
    }

    /// Up to and including the transfer.
    fn take_over(&mut self, workload: &Workload, candidate: &ReplicaSet) {
        let Some(release) = self.memory.release.clone() else {
            return;
        };
        let parked = self.seen.parked_replica_sets().next().is_some();
        if !workload.paused {
            if parked {
                // Without any ReplicaSet it has begun to start pods of its own; with the judged one,
                // which is older, it ends those again.
                self.transfer(workload, candidate);
            } else {
                self.roll_back(
                    Cause::Interrupted,
                    "the Deployment was unpaused by somebody else; its own rollout goes on and the candidate is taken away".to_owned(),
                );
                self.rolling_back(workload);
            }
            return;
        }
        if !parked && self.gives_way_before_the_park(workload) {
            return;
        }
        if !parked && !self.all_to_the_candidate() {
            return;
        }
        let parallel = self.parallel().filter(|parallel| !parallel.deleting);
        if let Some(parallel) = parallel {
            if !parallel.paused {
                self.emit(Effect::PauseParallel {
                    target: target(&parallel.name, &parallel.uid, &parallel.resource_version),
                });
                self.stage("the parallel Deployment to be paused", "it goes on");
                return;
            }
            if parallel.observed_generation < parallel.generation {
                self.stage(
                    "the Deployment controller to see that the parallel Deployment is paused",
                    "it goes on",
                );
                return;
            }
            // Once parking has begun the size goes with the transfer, in one write.
            if !parked && parallel.replicas != workload.replicas {
                self.emit(Effect::ScaleParallel {
                    target: target(&parallel.name, &parallel.uid, &parallel.resource_version),
                    from: parallel.replicas,
                    to: workload.replicas,
                });
                self.stage(
                    "the candidate to follow the Deployment's size",
                    "it goes on",
                );
                return;
            }
        }
        if workload.observed_generation < workload.generation {
            self.stage(
                "the Deployment controller to see the Deployment's latest change",
                "it goes on",
            );
            return;
        }
        let ready = self.candidate_ready();
        let needed = enough(
            Weight::FULL,
            workload.replicas,
            release.complete_for,
            release.may_lack(workload),
        )
        .min(workload.replicas);
        if !parked && ready < needed {
            self.stage(
                format!("{needed} ready pods of the candidate; there are {ready}"),
                "it goes on",
            );
            return;
        }
        // Empty ones first and the active one last: a paused Deployment without an active ReplicaSet
        // starts the newest of its history.
        let own: Vec<&ReplicaSet> = self.seen.own_replica_sets().collect();
        let empty: Vec<&&ReplicaSet> = own.iter().filter(|set| set.replicas == 0).collect();
        let next: Vec<&ReplicaSet> = if empty.is_empty() {
            own.clone()
        } else {
            empty.into_iter().copied().collect()
        };
        if !next.is_empty() {
            for set in next {
                self.emit(Effect::Park {
                    target: target(&set.name, &set.uid, &set.resource_version),
                    owner_index: set.owner_index.unwrap_or(0),
                });
            }
            self.stage(
                "the Deployment's own ReplicaSets to be parked",
                "it goes on",
            );
            return;
        }
        self.transfer(workload, candidate);
    }

    fn transfer(&mut self, workload: &Workload, candidate: &ReplicaSet) {
        self.emit(Effect::Transfer {
            target: target(&candidate.name, &candidate.uid, &candidate.resource_version),
            owner_index: candidate.owner_index.unwrap_or(0),
            has_annotations: candidate.has_annotations,
            replicas: workload.replicas,
            maximum: workload.replicas.saturating_add(workload.max_surge),
            revision: next_revision(workload, &self.seen.replica_sets),
            copied: self
                .memory
                .release
                .as_ref()
                .map_or_else(Vec::new, |release| {
                    release.plan.created.annotations.keys().cloned().collect()
                }),
        });
        self.stage("the judged ReplicaSet to be the Deployment's", "it goes on");
    }

    /// From the transfer to the end.
    fn clean_up(&mut self, workload: &Workload, candidate: &ReplicaSet) {
        let parked: Vec<&ReplicaSet> = self.seen.parked_replica_sets().collect();
        if !parked.is_empty() || self.parallel().is_some_and(|parallel| !parallel.deleting) {
            let counted = workload.observed_generation >= workload.generation
                && (workload.status_replicas >= candidate.status_replicas.min(1));
            if !counted {
                self.stage(
                    "the Deployment to count the judged ReplicaSet",
                    "it goes on",
                );
                return;
            }
        }
        if let Some(parallel) = self.parallel()
            && !parallel.deleting
        {
            self.emit(Effect::OrphanParallel {
                target: target(&parallel.name, &parallel.uid, &parallel.resource_version),
            });
            self.stage(
                "the parallel Deployment to be deleted, its ReplicaSet kept",
                "it goes on",
            );
            return;
        }
        let full: Vec<&&ReplicaSet> = parked.iter().filter(|set| set.replicas > 0).collect();
        // One that appeared or was written back since the first was parked sends to pods of stable. With the Deployment unpaused
        // none may be pinned (law 10).
        if !full.is_empty() && workload.paused && !self.all_to_the_candidate() {
            return;
        }
        if !full.is_empty() {
            for set in full {
                self.emit(Effect::ScaleReplicaSet {
                    target: target(&set.name, &set.uid, &set.resource_version),
                    from: set.replicas,
                    to: 0,
                });
            }
            self.stage("the old ReplicaSet to be emptied", "it goes on");
            return;
        }
        if let Some(set) = parked
            .iter()
            .find(|set| set.status_replicas > 0 || set.observed_generation < set.generation)
        {
            self.stage(
                format!(
                    "{} pods of the old ReplicaSet {} to end",
                    set.status_replicas, set.name
                ),
                "it goes on",
            );
            return;
        }
        // Somebody deleted the old ReplicaSet after it was parked. Until the garbage collector ends its pods a
        // Service that is given back would send to them, and they end without a drain.
        let deleted = self.stable_set().is_none_or(|set| set.deleting);
        let serving: Vec<&Pod> = self.stable_pods().filter(|pod| in_service(pod)).collect();
        if let Some(pod) = serving.first().filter(|_| workload.paused && deleted) {
            self.stage(
                format!(
                    "{} pods of the old ReplicaSet, which somebody deleted, to end (if nothing ends them: kubectl delete pod {})",
                    serving.len(),
                    pod.name
                ),
                "it goes on",
            );
            return;
        }
        if let Some(ending) = self.sent_to_the_ending(self.stable_pods()) {
            self.stage(ending, "it goes on");
            return;
        }
        if !parked.is_empty() {
            for set in parked {
                let target = target(&set.name, &set.uid, &set.resource_version);
                // An older one with the same template would be the Deployment's new one.
                self.emit(if same_template(&set.template, &candidate.template) {
                    Effect::DeleteReplicaSet { target }
                } else {
                    Effect::Return {
                        target,
                        owner_index: set.owner_index.unwrap_or(0),
                    }
                });
            }
            self.stage(
                "the old ReplicaSets to be given back as history",
                "it goes on",
            );
            return;
        }
        let orphans: Vec<&ReplicaSet> = self
            .seen
            .replica_sets
            .iter()
            .filter(|set| set.owner == Owner::Nobody && !set.deleting && workload.paused)
            .collect();
        if !orphans.is_empty() {
            self.stage("the Deployment to take its history back", "it goes on");
            return;
        }
        if !self.release_services() {
            self.stage("the Services to be given back", "it goes on");
            return;
        }
        if workload.paused && same_template(&workload.template, &candidate.template) {
            self.emit(Effect::Unpause {
                target: target(&workload.name, &workload.uid, &workload.resource_version),
                template: workload.template.clone(),
            });
            self.stage("the Deployment to be unpaused", "it goes on");
            return;
        }
        self.promoted(workload);
    }

    fn promoted(&mut self, workload: &Workload) {
        let now = self.now;
        let Some(release) = self.memory.release.take() else {
            return;
        };
        let reason = match &release.full {
            Some(who) => format!("without a verdict: promote --full by {who}"),
            None if release.plan.analysis.scrape => judged_by(&release),
            None => "its pods stayed healthy; no metrics were judged".to_owned(),
        };
        // With the memory lost the name of the candidate is lost too; what was done is not.
        let images = match &release.set {
            Some(set) if release.images.is_empty() => set.images.clone(),
            _ => release.images.clone(),
        };
        let name = if release.candidate.is_empty() {
            "unknown".to_owned()
        } else {
            release.candidate.clone()
        };
        self.event(
            false,
            "Promoted",
            format!(
                "candidate {name} ({}) is the Deployment's own: {reason}",
                images.join(", ")
            ),
        );
        self.memory.history.insert(
            0,
            HistoryEntry {
                candidate: name,
                images,
                outcome: "promoted".to_owned(),
                reason,
                started_at: release.started_at,
                ended_at: Some(now),
                replaced_pods: release.replaced_pods,
            },
        );
        self.memory.history.truncate(KEPT_ENTRIES);
        // Whatever was said of it before, it serves now, and may be gone back to.
        (self.memory.rejected).retain(|rejected| rejected.fingerprint != release.fingerprint);
        (self.memory.taken_away).retain(|end| end.fingerprint != release.fingerprint);
        if !release.fingerprint.is_empty() {
            self.note_served_alone(release.fingerprint);
        }
        self.enter(Phase::Idle);
        // The rest of the clean-up, and a newer template that stayed gated, are Idle's.
        self.wake(now);
        self.idle(workload);
    }
}

/// What the promotion rests on, where metrics are judged.
fn judged_by(release: &Release) -> String {
    let silent = |state: &judge::State| {
        (state.signals.get(judge::ERRORS)).is_none_or(|signal| signal.candidate.requests == 0)
    };
    if release.judge.as_ref().is_some_and(silent) {
        return "its pods stayed healthy; nobody asked them anything, and no requests were needed (analysis.minRequests)".to_owned();
    }
    let baseline = release
        .judge
        .as_ref()
        .and_then(|state| state.signals.get(judge::ERRORS))
        .map(|signal| signal.baseline);
    let in_steps = release.plan.steps.iter().any(|step| {
        matches!(step, PlannedStep::Weight { weight, .. } if *weight > Weight::ZERO && *weight < Weight::FULL)
    });
    let clear = match (&release.unclear, in_steps) {
        (Some(how), _) => format!("it went on over a verdict that was not clear ({how})"),
        (None, true) => "its verdict was clear at every step".to_owned(),
        (None, false) => "its verdict was clear in the warm stay".to_owned(),
    };
    match baseline {
        Some(judge::Baseline::Missing { requests, .. }) if in_steps => format!(
            "{clear}; the warm stay was judged by health alone, stable's last {requests} requests being too few to compare with"
        ),
        Some(judge::Baseline::Missing { requests, .. }) => format!(
            "its pods stayed healthy; stable's last {requests} requests were too few to judge its errors by"
        ),
        _ => clear,
    }
}
