//! Which ReplicaSets, pods and Deployment are whose in this pass.

use crossfade_api::Weight;

use crate::memory::Side;
use crate::observed::{Owner, Parallel, Pod, ReplicaSet, Workload};
use crate::step::Pass;

impl<'a> Pass<'a> {
    /// The parallel Deployment of the release under way.
    pub(crate) fn parallel(&self) -> Option<&'a Parallel> {
        let release = self.memory.release.as_ref()?;
        self.seen
            .parallels
            .iter()
            .find(|parallel| parallel.name == release.parallel)
    }

    /// The candidate's ReplicaSet: the one remembered, else the one of the parallel Deployment.
    pub(crate) fn candidate_set(&self) -> Option<&'a ReplicaSet> {
        let release = self.memory.release.as_ref()?;
        if let Some(side) = &release.set {
            return self
                .seen
                .replica_sets
                .iter()
                .find(|set| set.uid == side.uid);
        }
        let parallel = self.parallel()?;
        self.seen
            .replica_sets
            .iter()
            .filter(|set| !set.deleting && set.owner == Owner::Parallel(parallel.uid.clone()))
            .find(|set| crate::identity::same_template(&set.template, &parallel.template))
    }

    /// Stable's ReplicaSet.
    pub(crate) fn stable_set(&self) -> Option<&'a ReplicaSet> {
        let release = self.memory.release.as_ref()?;
        self.seen
            .replica_sets
            .iter()
            .find(|set| set.uid == release.stable.uid)
    }

    /// Pods of the candidate, those being deleted included.
    pub(crate) fn candidate_pods(&self) -> impl Iterator<Item = &'a Pod> {
        let seen = self.seen;
        // The ReplicaSet may be gone before its pods are even marked for deletion.
        let remembered = self
            .memory
            .release
            .as_ref()
            .and_then(|release| release.set.as_ref());
        let uid = remembered
            .map(|side| side.uid.clone())
            .or_else(|| self.candidate_set().map(|set| set.uid.clone()));
        seen.pods
            .iter()
            .filter(move |pod| Some(&pod.replica_set) == uid.as_ref())
    }

    /// Whether anything of a candidate is left that runs or could start pods. ReplicaSets and pods of a
    /// parallel Deployment outlive it until the garbage collector comes, and may never have been seen
    /// while it was there.
    pub(crate) fn candidate_left(&self) -> bool {
        let known = |uid: &str| self.seen.replica_sets.iter().any(|set| set.uid == uid);
        let release = self.memory.release.as_ref();
        let stable = release.map(|release| release.stable.uid.as_str());
        let lost = release.map_or(&[][..], |release| &release.lost_stable);
        !self.seen.parallels.is_empty()
            || self.candidate_pods().any(|pod| !pod.deleting)
            || self
                .seen
                .replica_sets
                .iter()
                .any(|set| matches!(set.owner, Owner::Parallel(_)))
            || self.seen.pods.iter().any(|pod| {
                !pod.deleting
                    && Some(pod.replica_set.as_str()) != stable
                    && !lost.contains(&pod.replica_set)
                    && !known(&pod.replica_set)
            })
    }

    /// Pods of stable, those being deleted included.
    pub(crate) fn stable_pods(&self) -> impl Iterator<Item = &'a Pod> {
        let seen = self.seen;
        let uid = self
            .memory
            .release
            .as_ref()
            .map(|release| release.stable.uid.clone())
            // Memory that was lost may not know it; pods of nobody are not stable's.
            .filter(|uid| !uid.is_empty());
        seen.pods
            .iter()
            .filter(move |pod| Some(&pod.replica_set) == uid.as_ref())
    }

    /// The candidate's hash, from its ReplicaSet or from memory.
    pub(crate) fn candidate_hash(&self) -> Option<String> {
        self.candidate_set()
            .map(|set| set.hash.clone())
            .or_else(|| {
                self.memory
                    .release
                    .as_ref()?
                    .set
                    .as_ref()
                    .map(|side| side.hash.clone())
            })
    }

    /// Remembers the candidate's ReplicaSet when it is first seen; its identity must outlive the
    /// parallel Deployment.
    pub(crate) fn remember_candidate_set(&mut self) {
        let Some(set) = self.candidate_set() else {
            return;
        };
        let side = Side {
            name: set.name.clone(),
            uid: set.uid.clone(),
            hash: set.hash.clone(),
            images: crate::identity::images(&set.template),
        };
        if let Some(release) = self.memory.release.as_mut()
            && release.set.is_none()
        {
            release.set = Some(side);
        }
    }

    /// Takes on the ReplicaSet that the parallel Deployment made anew because somebody deleted the
    /// candidate's: its pods have answered nothing yet, so the stay begins anew with them.
    pub(crate) fn replace_candidate_set(&mut self) {
        let gone = self.candidate_set().is_none_or(|set| set.deleting);
        let Some(release) = self.memory.release.as_mut().filter(|_| gone) else {
            return;
        };
        let Some(lost) = release.set.take() else {
            return;
        };
        let anew = self.candidate_set().is_some();
        let Some(release) = self.memory.release.as_mut() else {
            return;
        };
        if !anew {
            release.set = Some(lost);
            return;
        }
        (release.stay_since, release.agreed_since) = (None, None);
        self.remember_candidate_set();
        self.event(
            true,
            "CandidateRemade",
            format!(
                "the candidate's ReplicaSet {} was deleted by somebody; the parallel Deployment has made another",
                lost.name
            ),
        );
    }

    /// Ready pods of a side. Whether endpoints name them is `settled`'s to say: before its first weight
    /// a side has none.
    pub(crate) fn ready(pods: impl Iterator<Item = &'a Pod>) -> u32 {
        count(pods.filter(|pod| in_service(pod)))
    }

    pub(crate) fn candidate_ready(&self) -> u32 {
        Self::ready(self.candidate_pods())
    }

    pub(crate) fn stable_ready(&self) -> u32 {
        Self::ready(self.stable_pods())
    }

    /// Ready pods of the Deployment's own ReplicaSets, whichever those are.
    pub(crate) fn own_ready(&self) -> u32 {
        let of_own = |pod: &&Pod| {
            let mut own = self.seen.own_replica_sets();
            own.any(|set| set.uid == pod.replica_set)
        };
        Self::ready(self.seen.pods.iter().filter(of_own))
    }

    /// The share the ready pods of both sides give when a plain Service selects both.
    pub(crate) fn share_of_pods(&self) -> Weight {
        let candidate = self.candidate_ready();
        crate::safety::real_share(candidate, self.stable_ready())
    }

    /// ReplicaSets of the workload with pods: what serves.
    pub(crate) fn active_sets(&self) -> Vec<&'a ReplicaSet> {
        self.seen
            .own_replica_sets()
            .filter(|set| set.replicas > 0 || set.status_replicas > 0)
            .collect()
    }

    /// Whether the workload's template is the one that serves, and alone.
    pub(crate) fn serves_alone(&self, workload: &Workload) -> bool {
        matches!(self.active_sets().as_slice(), [only] if crate::identity::same_template(&only.template, &workload.template))
    }

    /// Notes which pods have been judged and which of those are gone since (law 4).
    pub(crate) fn note_judged_pods(&mut self) {
        let serving: Vec<(String, String)> = self
            .candidate_pods()
            .filter(|pod| in_service(pod))
            .map(|pod| (pod.uid.clone(), pod.name.clone()))
            .collect();
        let present: Vec<String> = self
            .candidate_pods()
            .filter(|pod| !pod.deleting)
            .map(|pod| pod.uid.clone())
            .collect();
        let Some(release) = self.memory.release.as_mut() else {
            return;
        };
        let lost: Vec<String> = release
            .judged_pods
            .iter()
            .filter(|(uid, _)| !present.contains(uid))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in lost {
            if let Some(name) = release.judged_pods.remove(&uid)
                && release.replaced_pods.len() < 100
            {
                release.replaced_pods.push(name);
            }
        }
        release.judged_pods.extend(serving);
    }
}

/// Ready, and not on its way out.
pub(crate) fn in_service(pod: &Pod) -> bool {
    pod.ready && !pod.deleting && !pod.finished
}

pub(crate) fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

/// The revision a ReplicaSet taken over now must get: one more than any the workload has had.
pub(crate) fn next_revision(workload: &Workload, sets: &[ReplicaSet]) -> u64 {
    sets.iter()
        .filter(|set| matches!(set.owner, Owner::Workload | Owner::Rollout))
        .map(|set| set.revision)
        .chain([workload.revision])
        .max()
        .unwrap_or(0)
        .saturating_add(1)
}
