//! What the planner is told about the cluster: plain values, read together in one pass.
//!
//! Nothing here decides anything. Templates stay raw JSON, as the server sent them: a typed round
//! trip would drop fields newer than our types, and then the judged pods no longer match.

use std::collections::BTreeMap;

use crossfade_api::ControlSpec;
use crossfade_judge::Tick;
use jiff::Timestamp;
use serde_json::Value;

/// Everything one pass of the planner looks at.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The Rollout the pass is about.
    pub rollout: RolloutSeen,
    /// The user's Deployment; `None`: there is none of that name.
    pub workload: Option<Workload>,
    /// Deployments that carry our label for this workload or this Rollout, in order of name.
    pub parallels: Vec<Parallel>,
    /// ReplicaSets whose labels match the workload's selector, or that our Rollout holds parked.
    pub replica_sets: Vec<ReplicaSet>,
    /// Pods of those ReplicaSets, those being deleted included.
    pub pods: Vec<Pod>,
    /// Services of the namespace that select pods of this workload, or that carry our mark for it.
    pub services: Vec<Service>,
    /// Copies of templates that we keep (ControllerRevisions), by the name of their candidate.
    pub kept: Vec<KeptTemplate>,
    /// Measurements not folded yet, by rising number.
    pub ticks: Vec<Tick>,
    /// What the feed knows of its sources; `None` without a feed.
    pub feed: Option<Feed>,
    /// Until then a write of ours, or of a former leader, may still land late: nothing shrinks, is
    /// deleted or moves away from stable before.
    pub fenced_until: Option<Timestamp>,
    /// A name for a new candidate, made by the `ids` port for this pass.
    pub fresh_candidate: String,
    /// Read from watches, which lag behind: what is missing here may be there.
    pub from_watches: bool,
}

/// The Rollout, its identity and the newest command.
#[derive(Clone, Debug, Default)]
pub struct RolloutSeen {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub generation: i64,
    pub control: Option<ControlSpec>,
    /// The Rollout is being deleted.
    pub deleting: bool,
}

/// The user's Deployment.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub generation: i64,
    pub observed_generation: i64,
    pub deleting: bool,
    /// `spec.replicas`: N.
    pub replicas: u32,
    pub paused: bool,
    /// The manifest, as far as the object shows it, asks for `paused` itself: the name of who does.
    pub paused_by_manifest: Option<String>,
    /// The opt-in annotation, as written.
    pub strategy_annotation: Option<String>,
    /// `spec.strategy.type` is RollingUpdate.
    pub rolling_update: bool,
    /// maxSurge in pods, resolved on N, rounded up.
    pub max_surge: u32,
    /// maxUnavailable in pods, resolved on N, rounded down.
    pub max_unavailable: u32,
    pub min_ready_seconds: u32,
    /// `spec.selector`, raw.
    pub selector: Value,
    /// `spec.strategy`, raw.
    pub strategy: Value,
    /// `spec.progressDeadlineSeconds`, raw.
    pub progress_deadline_seconds: Option<u32>,
    /// `spec.template`, raw.
    pub template: Value,
    /// Annotation `deployment.kubernetes.io/revision`.
    pub revision: u64,
    pub status_replicas: u32,
    pub status_updated: u32,
    /// Condition Available is True.
    pub available: bool,
    /// Another tool or installation claims it: who.
    pub claimed_by: Option<String>,
    /// managedFields of everybody but us, if they name us.
    pub others_managed_fields: Option<Value>,
    /// Value of the bypass annotation.
    pub bypass: Option<String>,
    /// Fingerprint of the template that it was given for, as admission wrote it down.
    pub bypass_template: Option<String>,
}

/// A Deployment of ours for a candidate.
#[derive(Clone, Debug, Default)]
pub struct Parallel {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub generation: i64,
    pub observed_generation: i64,
    pub deleting: bool,
    /// Label with the candidate's name.
    pub candidate: String,
    pub replicas: u32,
    pub paused: bool,
    pub template: Value,
    /// Condition ReplicaFailure: the API's own reason and message (quota, admission).
    pub replica_failure: Option<String>,
    /// The originals kept in its annotation, should the memory be lost.
    pub originals: Option<Value>,
}

/// Whose a ReplicaSet is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// The user's Deployment.
    Workload,
    /// A Deployment of ours: its uid.
    Parallel(String),
    /// Our Rollout: parked.
    Rollout,
    /// Something else: kind and name.
    Other(String),
    /// Nobody controls it.
    #[default]
    Nobody,
}

/// A ReplicaSet.
#[derive(Clone, Debug, Default)]
pub struct ReplicaSet {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub created: Option<Timestamp>,
    pub deleting: bool,
    pub owner: Owner,
    /// Index of the controlling entry in `metadata.ownerReferences`.
    pub owner_index: Option<usize>,
    /// Label `pod-template-hash`.
    pub hash: String,
    pub generation: i64,
    pub observed_generation: i64,
    /// `spec.replicas`.
    pub replicas: u32,
    pub status_replicas: u32,
    pub ready: u32,
    pub available: u32,
    pub template: Value,
    pub revision: u64,
    /// Carries annotations at all (a JSON patch must know).
    pub has_annotations: bool,
    /// Condition ReplicaFailure: the API's own reason and message.
    pub replica_failure: Option<String>,
}

/// A pod.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    pub name: String,
    pub uid: String,
    /// uid of its controlling ReplicaSet.
    pub replica_set: String,
    pub created: Option<Timestamp>,
    /// Condition Ready is True.
    pub ready: bool,
    /// Since when.
    pub ready_since: Option<Timestamp>,
    /// Has a deletionTimestamp.
    pub deleting: bool,
    /// Failed or Succeeded.
    pub finished: bool,
    pub ip: Option<String>,
    /// Restarts of all its containers.
    pub restarts: u32,
    /// Why it is not running, in the container's or the scheduler's own words.
    pub trouble: Option<PodTrouble>,
}

/// Why a pod is not running.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodTrouble {
    /// Container, or empty when the pod itself is meant.
    pub container: String,
    /// `CrashLoopBackOff`, `ImagePullBackOff`, `Unschedulable`, …
    pub reason: String,
    /// The component's own message.
    pub message: String,
}

/// A Service in front of the workload.
#[derive(Clone, Debug, Default)]
pub struct Service {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub deleting: bool,
    /// Hash in its selector.
    pub pinned_to: Option<String>,
    /// Carries our mark for this workload.
    pub held: bool,
    /// Carries our mark for another workload: that uid.
    pub held_by_other: Option<String>,
    /// The workload whose mark it carries exists no more: what was left of its release on this Service
    /// belongs to nobody and is given back by whoever finds it.
    pub holder_gone: bool,
    /// Its own selector (without our key) selects the pods of the workload's template.
    pub selects_workload: bool,
    /// managedFields without us, as near to what their users left as can be told without memory.
    pub other_managed_fields: Value,
    /// managedFields name us: a write of ours took fields from their managers, and what was there
    /// before must come from memory.
    pub in_managed_fields: bool,
    /// It cannot be used: why, and the mend.
    pub refusal: Option<String>,
    /// Uids of pods its EndpointSlices name as ready.
    pub ready_endpoints: Vec<String>,
    /// Uids of pods its EndpointSlices name as not ready but not terminating.
    pub unready_endpoints: Vec<String>,
    /// Publishes addresses of pods that are not ready.
    pub publish_not_ready: bool,
    /// Nodes without ready pods fall back to terminating ones.
    pub local_policy: bool,
    /// Clients resolve its pods themselves, and remember them for as long as names are cached.
    pub headless: bool,
    /// Others than kube-proxy with policy Cluster spread its connections, and learn late which nodes and pods
    /// answer: a flip names both sides for a while.
    pub flips_by_both: bool,
}

impl Service {
    /// managedFields as their users left them; `None` after a write of ours.
    #[must_use]
    pub fn users_managed_fields(&self) -> Option<&Value> {
        (!self.in_managed_fields).then_some(&self.other_managed_fields)
    }
}

/// A template kept by us in a ControllerRevision.
#[derive(Clone, Debug, Default)]
pub struct KeptTemplate {
    pub name: String,
    pub uid: String,
    /// Label with the candidate's name.
    pub candidate: String,
    /// Old `pod-template-hash` of the ReplicaSet it was taken from.
    pub hash: String,
    pub template: Value,
}

/// What the feed of measurements knows of its sources.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    /// The candidate whose feed it is.
    pub candidate: String,
    /// Per pod uid: when it last answered, and its last error.
    pub pods: BTreeMap<String, FeedPod>,
}

/// One scraped pod.
#[derive(Clone, Debug, Default)]
pub struct FeedPod {
    pub name: String,
    pub last_answer: Option<Timestamp>,
    pub last_error: Option<String>,
}

impl Observed {
    /// The ReplicaSets controlled by the workload.
    pub fn own_replica_sets(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.replica_sets
            .iter()
            .filter(|set| set.owner == Owner::Workload && !set.deleting)
    }

    /// The ReplicaSets parked under the Rollout.
    pub fn parked_replica_sets(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.replica_sets
            .iter()
            .filter(|set| set.owner == Owner::Rollout && !set.deleting)
    }

    /// Pods of one ReplicaSet.
    pub fn pods_of<'a>(&'a self, replica_set: &'a str) -> impl Iterator<Item = &'a Pod> {
        self.pods
            .iter()
            .filter(move |pod| pod.replica_set == replica_set)
    }
}
