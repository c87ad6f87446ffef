//! Stable's ReplicaSet is gone, or another of the Deployment's came up in its place, while a release
//! keeps the Deployment paused.
//!
//! A paused Deployment that has no ReplicaSet with pods starts its newest one of old at full size,
//! whichever that is (measured, deployment-handover.md B4). So stable is made again first, from the copy
//! of its template that is kept, under its own hash, so that pinned Services find its pods; then what came
//! up in its place is parked, emptied and given back to the Deployment's history.

use crossfade_api::{Phase, Weight};

use crate::effect::{Effect, NewReplicaSet};
use crate::identity::same_template;
use crate::memory::Release;
use crate::observed::{KeptTemplate, ReplicaSet, Workload};
use crate::report::WaitingOn;
use crate::safety::enough;
use crate::step::{Pass, after};
use crate::traffic::target;

/// How long what goes on waits for stable's ReplicaSet to be made again, in milliseconds. Then it goes on without it, and
/// beside it is tried as long as it is needed.
const REMAKE: u64 = 30_000;
/// Between two looks at what is put aside.
const LOOK: u64 = 2_000;

impl Pass<'_> {
    /// Makes stable whole again. Returns whether this pass is used up by it.
    ///
    /// Not in the hand-over: there the judged pods carry everything and stable's ReplicaSet is to go.
    pub(crate) fn rescue(&mut self, workload: &Workload) -> bool {
        let phase = self.memory.phase;
        let held = !matches!(phase, Phase::Idle | Phase::HandingOver);
        if !held || !workload.paused || workload.deleting {
            return false;
        }
        let Some(release) = self.memory.release.as_mut() else {
            return false;
        };
        // Of a size of 0 nothing serves, and a ReplicaSet made then would be cleaned up as history.
        if workload.replicas == 0 {
            release.strays = true;
            if !release.unpaused {
                self.park_history();
            }
            return false;
        }
        let release = release.clone();
        if release.unpaused {
            self.return_aside();
        }
        match self.stable_set().filter(|set| !set.deleting) {
            None => self.remake(workload, &release),
            // Others may have pods because somebody unpaused the Deployment: that was his will.
            // What is parked outside the hand-over is what was put aside here, remembered or not.
            Some(stable)
                if !release.unpaused
                    && (release.strays || self.seen.parked_replica_sets().next().is_some()) =>
            {
                self.put_aside(workload, stable);
                false
            }
            Some(_) => false,
        }
    }

    /// Somebody wanted the Deployment's own rollout: what was put aside before that is its history again.
    fn return_aside(&mut self) {
        // The parallel Deployment has the same selector, and would adopt it.
        if (self.seen.parallels.iter()).any(|parallel| !parallel.deleting) {
            return;
        }
        for set in self.seen.parked_replica_sets() {
            self.emit(Effect::Return {
                target: target(&set.name, &set.uid, &set.resource_version),
                owner_index: set.owner_index.unwrap_or(0),
            });
        }
    }

    /// Of size 0 there is nothing that stable's ReplicaSet has before others: scaled up again, the paused
    /// Deployment would start the one of its template or the newest. With stable's alone it has no choice.
    fn park_history(&mut self) {
        let Some(stable) = self.stable_set() else {
            return;
        };
        let others = self
            .seen
            .own_replica_sets()
            .filter(|set| set.uid != stable.uid && !set.deleting);
        for set in others {
            self.emit(Effect::Park {
                target: target(&set.name, &set.uid, &set.resource_version),
                owner_index: set.owner_index.unwrap_or(0),
            });
        }
    }

    /// The copy of stable's template.
    pub(super) fn kept_of(&self, release: &Release) -> Option<&'_ KeptTemplate> {
        let hash = release.stable.hash.as_str();
        let mut kept = self.seen.kept.iter();
        kept.find(|kept| kept.candidate == release.candidate && kept.hash == hash)
    }

    /// Whether the phase still waits for stable's ReplicaSet to be made again.
    pub(crate) fn remaking(&self) -> bool {
        let Some(release) = self.memory.release.as_ref() else {
            return false;
        };
        let forced = (release.rollback.as_ref()).is_some_and(|rollback| rollback.force);
        let given_up = (release.lost_since).is_some_and(|since| self.now >= after(since, REMAKE));
        !forced && !given_up && self.kept_of(release).is_some()
    }

    /// Takes on the ReplicaSet that was made again, or makes it.
    fn remake(&mut self, workload: &Workload, release: &Release) -> bool {
        let hash = release.stable.hash.as_str();
        let now = self.now;
        let since = self
            .memory
            .release
            .as_mut()
            .map_or(now, |release| *release.lost_since.get_or_insert(now));
        let Some(kept) = self.kept_of(release).cloned() else {
            // Nothing to make it from: what the phase does without stable has to do.
            return false;
        };
        let again = self.seen.own_replica_sets().find(|set| {
            !set.deleting && set.hash == hash && same_template(&set.template, &kept.template)
        });
        if let Some(set) = again {
            let (name, uid) = (set.name.clone(), set.uid.clone());
            self.event(
                true,
                "StableRemade",
                format!("stable's ReplicaSet was deleted by somebody; {name} has taken its place"),
            );
            if let Some(release) = self.memory.release.as_mut() {
                release.lost_since = None;
                release.strays = true;
                let lost = std::mem::replace(&mut release.stable.uid, uid);
                release.stable.name = name;
                release.lost_stable.push(lost);
            }
            return false;
        }
        // What takes the weight away by force needs no stable, and nothing may wait for a creation that is
        // refused again and again (a quota of objects, a policy): then the phase goes on without stable.
        let forced = (release.rollback.as_ref()).is_some_and(|rollback| rollback.force);
        let given_up = self.elapsed(since, REMAKE);
        if given_up || forced && self.memory.phase == Phase::RollingBack {
            return false;
        }
        self.make_again(workload, release, kept);
        self.wait(
            WaitingOn::Observed,
            "stable's ReplicaSet to be made again: somebody deleted it",
            Some(after(since, REMAKE)),
            "go on without it",
        );
        true
    }

    /// Tries it still where nothing waits for it any more and only it can serve: what refused it may be gone. How often is
    /// the back-off's of whoever carries refused writes out. Last of the pass, so that it holds nothing up.
    pub(crate) fn remake_late(&mut self, workload: &Workload) {
        let phase = self.memory.phase;
        let needed = matches!(phase, Phase::RollingBack | Phase::RolledBack)
            && workload.paused
            && !workload.deleting
            && workload.replicas > 0
            && self.stable_set().is_none_or(|set| set.deleting);
        let Some(release) = self.memory.release.clone().filter(|_| needed) else {
            return;
        };
        let forced = (release.rollback.as_ref()).is_some_and(|rollback| rollback.force);
        // By force the weight goes at once to whatever stable there is: not to one that is only just being made, while
        // the candidate still serves.
        let serves = phase == Phase::RollingBack && forced && self.candidate_ready() > 0;
        if serves || !self.effects.is_empty() || self.remaking() || release.lost_since.is_none() {
            return;
        }
        if let Some(kept) = self.kept_of(&release).cloned() {
            self.make_again(workload, &release, kept);
        }
    }

    fn make_again(&mut self, workload: &Workload, release: &Release, kept: KeptTemplate) {
        let name = release.stable.name.clone();
        let taken = self.seen.replica_sets.iter().any(|set| set.name == name);
        // Where it is taken, its pods are deleted first.
        let name = if taken {
            format!("{name}-{}", release.candidate)
        } else {
            name
        };
        self.emit(Effect::CreateReplicaSet(Box::new(NewReplicaSet {
            name,
            hash: release.stable.hash.clone(),
            replicas: workload.replicas,
            maximum: workload.replicas.saturating_add(workload.max_surge),
            min_ready_seconds: workload.min_ready_seconds,
            revision: workload.revision,
            selector: workload.selector.clone(),
            template: kept.template,
        })));
    }

    /// Whether something with pods is still put aside: a hand-over does not begin beside it. Empty ones are
    /// parked in it anyway, and returned at its end.
    pub(crate) fn aside_left(&mut self) -> bool {
        let with_pods = |set: &ReplicaSet| set.replicas > 0 || set.status_replicas > 0;
        let left = self.seen.parked_replica_sets().any(with_pods);
        if left {
            self.wait_for_aside();
        }
        left
    }

    /// Whether anything is still put aside at rest: nothing may be. Once the Deployment is unpaused it sees
    /// to them itself.
    pub(crate) fn aside_left_at_rest(&mut self, workload: &Workload) -> bool {
        let left: Vec<&ReplicaSet> = self.seen.parked_replica_sets().collect();
        // Of a size of 0 the Deployment has nothing to start in the wrong order: it is unpaused first.
        if left.is_empty() || workload.paused && workload.replicas == 0 {
            return false;
        }
        if !workload.paused {
            for set in left {
                self.emit(Effect::Return {
                    target: target(&set.name, &set.uid, &set.resource_version),
                    owner_index: set.owner_index.unwrap_or(0),
                });
            }
        }
        self.wait_for_aside();
        true
    }

    fn wait_for_aside(&mut self) {
        // Nothing else may tell when they are.
        self.wake(after(self.now, LOOK));
        self.wait(
            WaitingOn::PodsReady,
            "what came up in the place of stable's ReplicaSet to be put aside, once stable's pods are ready",
            None,
            "then it goes on",
        );
    }

    /// What came up in stable's place goes back to the history.
    fn put_aside(&mut self, workload: &Workload, stable: &ReplicaSet) {
        let stray: Vec<&ReplicaSet> = self
            .seen
            .own_replica_sets()
            .filter(|set| set.uid != stable.uid && set.replicas > 0)
            .collect();
        // Parked first: beside others a paused Deployment would scale stable down again. Their pods stay,
        // and serve, until stable can take over.
        if stable.replicas == 0 && !stray.is_empty() {
            self.emit(Effect::ScaleReplicaSet {
                target: target(&stable.name, &stable.uid, &stable.resource_version),
                from: 0,
                to: workload.replicas,
            });
        }
        for set in stray {
            self.emit(Effect::Park {
                target: target(&set.name, &set.uid, &set.resource_version),
                owner_index: set.owner_index.unwrap_or(0),
            });
        }
        let needed = enough(Weight::FULL, workload.replicas, 0, workload.max_unavailable);
        let takes_over = self.stable_ready() >= needed;
        // The parallel Deployment has the same selector: it would adopt one that is set free, and clean it
        // up, for it keeps no history.
        let adopts = (self.seen.parallels.iter()).any(|parallel| !parallel.deleting);
        for set in self.seen.parked_replica_sets() {
            let target = target(&set.name, &set.uid, &set.resource_version);
            if set.uid == stable.uid {
                // A park of the hand-over that landed after it had turned back: it serves, and is no stand-in.
                if !adopts {
                    self.emit(Effect::Return {
                        target,
                        owner_index: set.owner_index.unwrap_or(0),
                    });
                }
            } else if set.replicas > 0 && takes_over {
                self.emit(Effect::ScaleReplicaSet {
                    target,
                    from: set.replicas,
                    to: 0,
                });
            } else if set.replicas == 0 && stable.replicas > 0 && !adopts {
                self.emit(Effect::Return {
                    target,
                    owner_index: set.owner_index.unwrap_or(0),
                });
            }
        }
    }
}
