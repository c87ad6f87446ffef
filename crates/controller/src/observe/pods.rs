//! ReplicaSets, whose they are, and their pods.

use std::collections::BTreeSet;
use std::sync::Arc;

use crossfade_api::annotations::{POD_TEMPLATE_HASH, REVISION};
use crossfade_engine::Memory;
use crossfade_engine::observed::{Owner, Pod, PodTrouble, ReplicaSet};
use serde_json::Value;

use super::read::{
    annotation, condition, count, deleting, failure, flag, label, list, number, text, time,
};

/// Reasons of a waiting container that are no trouble but the way things start.
const STARTING: [&str; 3] = ["ContainerCreating", "PodInitializing", ""];

/// Whom a ReplicaSet can belong to.
#[derive(Clone, Debug)]
pub struct Owners<'a> {
    pub workload: &'a str,
    pub rollout: &'a str,
    pub parallels: BTreeSet<&'a str>,
    /// Name of the release's parallel Deployment: an owner of that name that is already gone.
    pub parallel_name: &'a str,
}

/// A ReplicaSet.
#[must_use]
pub fn replica_set(object: &Value, owners: &Owners<'_>) -> ReplicaSet {
    let controller = list(object, "/metadata/ownerReferences")
        .enumerate()
        .find(|(_, entry)| flag(entry, "/controller"));
    let owner = controller.map_or(Owner::Nobody, |(_, entry)| {
        let uid = text(entry, "/uid");
        let (kind, name) = (text(entry, "/kind"), text(entry, "/name"));
        if !uid.is_empty() && uid == owners.workload {
            Owner::Workload
        } else if !uid.is_empty() && uid == owners.rollout {
            Owner::Rollout
        } else if owners.parallels.contains(uid)
            || (kind == "Deployment"
                && !owners.parallel_name.is_empty()
                && name == owners.parallel_name)
        {
            Owner::Parallel(uid.to_owned())
        } else {
            Owner::Other(format!("{kind} {name}"))
        }
    });
    ReplicaSet {
        name: text(object, "/metadata/name").to_owned(),
        uid: text(object, "/metadata/uid").to_owned(),
        resource_version: text(object, "/metadata/resourceVersion").to_owned(),
        created: time(object, "/metadata/creationTimestamp"),
        deleting: deleting(object),
        owner,
        owner_index: controller.map(|(index, _)| index),
        hash: label(object, POD_TEMPLATE_HASH).to_owned(),
        generation: number(object, "/metadata/generation"),
        observed_generation: number(object, "/status/observedGeneration"),
        replicas: object
            .pointer("/spec/replicas")
            .map_or(1, |_| count(object, "/spec/replicas")),
        status_replicas: count(object, "/status/replicas"),
        ready: count(object, "/status/readyReplicas"),
        available: count(object, "/status/availableReplicas"),
        template: object
            .pointer("/spec/template")
            .cloned()
            .unwrap_or_default(),
        revision: annotation(object, REVISION)
            .and_then(|text| text.parse().ok())
            .unwrap_or_default(),
        has_annotations: object
            .pointer("/metadata/annotations")
            .is_some_and(Value::is_object),
        replica_failure: failure(object, "ReplicaFailure"),
    }
}

/// uid of the controlling owner, empty if there is none.
#[must_use]
pub fn controller_uid(object: &Value) -> &str {
    list(object, "/metadata/ownerReferences")
        .find(|entry| flag(entry, "/controller"))
        .map(|entry| text(entry, "/uid"))
        .unwrap_or_default()
}

fn controller_name(object: &Value) -> &str {
    list(object, "/metadata/ownerReferences")
        .find(|entry| flag(entry, "/controller"))
        .map(|entry| text(entry, "/name"))
        .unwrap_or_default()
}

/// Pods of these ReplicaSets.
#[must_use]
pub fn pods(objects: &[Arc<Value>], replica_sets: &[ReplicaSet], memory: &Memory) -> Vec<Pod> {
    let release = memory.release.as_ref();
    // A deleted ReplicaSet is gone before the garbage collector has marked its pods.
    let remembered = release
        .map(|release| release.stable.uid.as_str())
        .into_iter()
        .chain(release.and_then(|release| Some(release.set.as_ref()?.uid.as_str())));
    let sets: BTreeSet<&str> = replica_sets
        .iter()
        .map(|set| set.uid.as_str())
        .chain(remembered)
        .collect();
    // Nor may it ever have been seen while it was there: then its name says whose it was.
    let prefix = release
        .filter(|release| !release.parallel.is_empty())
        .map(|release| format!("{}-", release.parallel));
    let named = |object: &Value| {
        prefix
            .as_deref()
            .is_some_and(|prefix| controller_name(object).starts_with(prefix))
    };
    objects
        .iter()
        .filter(|object| sets.contains(controller_uid(object)) || named(object))
        .map(|object| pod(object))
        .collect()
}

fn pod(object: &Value) -> Pod {
    let ready = condition(object, "Ready").filter(|condition| text(condition, "/status") == "True");
    Pod {
        name: text(object, "/metadata/name").to_owned(),
        uid: text(object, "/metadata/uid").to_owned(),
        replica_set: controller_uid(object).to_owned(),
        created: time(object, "/metadata/creationTimestamp"),
        ready: ready.is_some(),
        ready_since: ready.and_then(|condition| time(condition, "/lastTransitionTime")),
        deleting: deleting(object),
        finished: matches!(text(object, "/status/phase"), "Failed" | "Succeeded"),
        ip: Some(text(object, "/status/podIP"))
            .filter(|ip| !ip.is_empty())
            .map(str::to_owned),
        restarts: list(object, "/status/containerStatuses")
            .map(|status| count(status, "/restartCount"))
            .sum(),
        trouble: trouble(object),
    }
}

/// Why a pod is not running, in the words of whoever knows: the container's waiting or terminated
/// state, else the scheduler, else the pod itself.
fn trouble(object: &Value) -> Option<PodTrouble> {
    let waiting = list(object, "/status/initContainerStatuses")
        .chain(list(object, "/status/containerStatuses"))
        .find_map(|status| {
            let reason = text(status, "/state/waiting/reason");
            if !STARTING.contains(&reason) {
                let mut message = text(status, "/state/waiting/message").to_owned();
                // "back-off restarting" says nothing; what it ended with does.
                let last = status
                    .pointer("/lastState/terminated")
                    .or_else(|| status.pointer("/state/terminated"));
                if let Some(last) = last {
                    message = format!(
                        "{message}; it ended with {} (exit code {})",
                        text(last, "/reason"),
                        number(last, "/exitCode")
                    );
                }
                return Some((status, reason.to_owned(), message));
            }
            let ended = status
                .pointer("/state/terminated")
                .filter(|state| number(state, "/exitCode") != 0)?;
            let message = text(ended, "/message");
            Some((
                status,
                text(ended, "/reason").to_owned(),
                format!(
                    "exit code {}{}{message}",
                    number(ended, "/exitCode"),
                    if message.is_empty() { "" } else { ": " }
                ),
            ))
        });
    if let Some((status, reason, message)) = waiting {
        return Some(PodTrouble {
            container: text(status, "/name").to_owned(),
            reason,
            message,
        });
    }
    let unscheduled =
        condition(object, "PodScheduled").filter(|condition| text(condition, "/status") == "False");
    if let Some(condition) = unscheduled {
        return Some(PodTrouble {
            container: String::new(),
            reason: text(condition, "/reason").to_owned(),
            message: text(condition, "/message").to_owned(),
        });
    }
    (text(object, "/status/phase") == "Failed").then(|| PodTrouble {
        container: String::new(),
        reason: text(object, "/status/reason").to_owned(),
        message: text(object, "/status/message").to_owned(),
    })
}
