//! What the planner gets to see of the world, as the controller's `observe` makes it.

use crossfade_engine::Memory;
use crossfade_engine::observed::{
    Feed, FeedPod, Observed, Owner, Parallel, Pod, ReplicaSet, RolloutSeen, Service, Workload,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::objects::ANOTHER_WORKLOAD;
use crate::world::{Dep, Millis, OURSELVES, Own, PodState, ROLLOUT_UID, Set, Svc, World};

/// When the world began.
const START: i64 = 1_800_000_000_000;

pub fn timestamp(at: Millis) -> Timestamp {
    Timestamp::from_millisecond(START + at).expect("a time of this century")
}

pub fn millis(at: Timestamp) -> Millis {
    at.as_millisecond() - START
}

impl World {
    pub fn observe(&self, memory: &Memory) -> Observed {
        let workload = self.workload.as_ref().map(workload);
        let parallels: Vec<Parallel> = self.parallels.iter().map(parallel).collect();
        let web = workload
            .as_ref()
            .map(|web| web.uid.clone())
            .unwrap_or_default();
        let sets: Vec<ReplicaSet> = self
            .sets
            .iter()
            .map(|set| self.replica_set(set, &web, memory))
            .collect();
        let release = memory.release.as_ref();
        let remembered = |pod: &&PodState| {
            release.is_some_and(|release| {
                release.stable.uid == pod.set
                    || release.set.as_ref().is_some_and(|set| set.uid == pod.set)
                    || (!release.parallel.is_empty()
                        && pod.set_name.starts_with(&format!("{}-", release.parallel)))
            })
        };
        let pods = self
            .pods
            .iter()
            .filter(|pod| sets.iter().any(|set| set.uid == pod.set) || remembered(pod))
            .map(pod)
            .collect();
        let last = release.and_then(|release| release.judge.as_ref()?.last_tick);
        Observed {
            rollout: RolloutSeen {
                name: "web".to_owned(),
                namespace: "shop".to_owned(),
                uid: ROLLOUT_UID.to_owned(),
                generation: self.generation,
                control: self.control.clone(),
                deleting: false,
            },
            workload,
            parallels,
            replica_sets: sets,
            pods,
            services: self
                .services
                .iter()
                .map(|known| service(known, &web, &memory.workload_uid))
                .collect(),
            kept: self.kept.clone(),
            ticks: self
                .ticks
                .iter()
                .filter(|tick| last.is_none_or(|last| tick.number > last))
                .cloned()
                .collect(),
            feed: release.filter(|_| self.metrics).map(|release| Feed {
                candidate: release.candidate.clone(),
                pods: self
                    .answered
                    .iter()
                    .map(|(uid, at)| {
                        let known = FeedPod {
                            name: uid.clone(),
                            last_answer: Some(timestamp(*at)),
                            last_error: None,
                        };
                        (uid.clone(), known)
                    })
                    .collect(),
            }),
            fenced_until: self.fence.map(timestamp),
            fresh_candidate: format!("c{}", self.names),
            from_watches: false,
        }
    }

    fn replica_set(&self, set: &Set, web: &str, memory: &Memory) -> ReplicaSet {
        let owner = match &set.own {
            Own::Nobody => Owner::Nobody,
            Own::Rollout => Owner::Rollout,
            Own::Deployment(uid) if uid == web => Owner::Workload,
            Own::Deployment(uid) => {
                let known = self.parallels.iter().any(|known| known.uid == *uid);
                let named = memory
                    .release
                    .as_ref()
                    .is_some_and(|release| set.name.starts_with(&format!("{}-", release.parallel)));
                if known || named {
                    Owner::Parallel(uid.clone())
                } else {
                    Owner::Other(format!("Deployment {uid}"))
                }
            }
        };
        ReplicaSet {
            name: set.name.clone(),
            uid: set.uid.clone(),
            resource_version: set.rv.to_string(),
            created: Some(timestamp(set.created)),
            deleting: false,
            owner_index: (owner != Owner::Nobody).then_some(0),
            owner,
            hash: set.hash.clone(),
            generation: set.generation,
            observed_generation: set.observed,
            replicas: set.replicas,
            status_replicas: set.status_replicas,
            ready: set.available,
            available: set.available,
            template: set.template.clone(),
            revision: set.revision,
            has_annotations: true,
            replica_failure: set.failure.clone(),
        }
    }
}

fn workload(dep: &Dep) -> Workload {
    Workload {
        name: dep.name.clone(),
        uid: dep.uid.clone(),
        resource_version: dep.rv.to_string(),
        generation: dep.generation,
        observed_generation: dep.observed,
        deleting: dep.deleting,
        replicas: dep.replicas,
        paused: dep.paused,
        paused_by_manifest: dep.paused_by_manifest.clone(),
        strategy_annotation: dep.strategy_annotation.clone(),
        rolling_update: dep.rolling_update,
        max_surge: dep.surge,
        max_unavailable: dep.unavailable,
        min_ready_seconds: 0,
        selector: json!({"matchLabels": {"app": "web"}}),
        strategy: json!({"type": "RollingUpdate"}),
        progress_deadline_seconds: Some(600),
        template: dep.template.clone(),
        revision: dep.revision,
        status_replicas: dep.status_replicas,
        status_updated: 0,
        available: true,
        claimed_by: dep.claimed_by.clone(),
        others_managed_fields: dep.in_managed_fields.then(|| json!([])),
        bypass: dep.bypass.clone(),
        bypass_template: dep.bypass_template.clone(),
    }
}

fn parallel(dep: &Dep) -> Parallel {
    Parallel {
        name: dep.name.clone(),
        uid: dep.uid.clone(),
        resource_version: dep.rv.to_string(),
        generation: dep.generation,
        observed_generation: dep.observed,
        deleting: dep.deleting,
        candidate: dep.candidate.clone(),
        replicas: dep.replicas,
        paused: dep.paused,
        template: dep.template.clone(),
        replica_failure: dep.failure.clone(),
        originals: dep.originals.clone(),
    }
}

fn pod(pod: &PodState) -> Pod {
    Pod {
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        replica_set: pod.set.clone(),
        created: Some(timestamp(pod.created)),
        ready: pod.ready,
        ready_since: pod.ready.then(|| timestamp(pod.ready_since)),
        deleting: pod.gone_at.is_some(),
        finished: pod.finished,
        ip: Some("10.0.0.1".to_owned()),
        restarts: pod.restarts,
        trouble: pod.trouble.clone(),
    }
}

fn service(known: &Svc, web: &str, remembered: &str) -> Service {
    let ours = known
        .held
        .as_ref()
        .is_some_and(|mark| mark == web || mark == remembered);
    let entries = known.fields.as_array().cloned().unwrap_or_default();
    let all = entries.len();
    let others: Vec<Value> = entries
        .into_iter()
        .filter(|entry| entry["manager"] != OURSELVES)
        .collect();
    let touched = others.len() < all;
    Service {
        name: known.name.clone(),
        uid: known.uid.clone(),
        resource_version: known.rv.to_string(),
        deleting: false,
        pinned_to: known.hash.clone(),
        held: ours,
        held_by_other: known.held.clone().filter(|_| !ours),
        // But for this one there is one workload in these worlds.
        holder_gone: (known.held.as_ref()).is_some_and(|mark| !ours && mark != ANOTHER_WORKLOAD),
        selects_workload: true,
        other_managed_fields: others.into(),
        in_managed_fields: touched,
        refusal: known.refusal.clone(),
        ready_endpoints: known.endpoints.iter().cloned().collect(),
        unready_endpoints: Vec::new(),
        publish_not_ready: known.publish_not_ready,
        local_policy: known.local_policy,
        headless: known.headless,
        flips_by_both: known.local_policy || known.headless || known.balanced,
    }
}
