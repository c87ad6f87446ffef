//! Services in front of the workload: which, where they point, which pods answer behind them, and
//! why one of them cannot be used.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crossfade_api::FIELD_MANAGER;
use crossfade_api::annotations::HELD_BY;
use crossfade_engine::observed::{Owner, ReplicaSet, Service, Workload};
use crossfade_traffic_switching::service::{self, Seen};
use serde_json::{Map, Value};

use super::pods::controller_uid;
use super::read::{deleting, label, list, text};
use crate::snapshot::Snapshot;

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Look<'a> {
    pub snapshot: &'a Snapshot,
    pub workload: Option<&'a Workload>,
    pub workload_uid: &'a str,
    /// uid of the workload the memory is about: a mark of a former life is ours too.
    pub remembered_uid: &'a str,
    pub replica_sets: &'a [ReplicaSet],
    /// The Service the Rollout names.
    pub named: Option<&'a str>,
    pub foreign: &'a BTreeMap<String, String>,
    /// uids in marks of which no workload is left.
    pub departed: &'a BTreeSet<String>,
    pub behind_ingresses: Option<&'a BTreeSet<String>>,
}

fn labels(template: &Value) -> Map<String, Value> {
    template
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

/// Reads a Service; a mark of the workload's former life counts as ours.
fn read(object: &Value, workload_uid: &str, remembered_uid: &str) -> Seen {
    let mark = label(object, HELD_BY);
    let uid = if !mark.is_empty() && mark == remembered_uid {
        remembered_uid
    } else {
        workload_uid
    };
    service::read(object, uid, FIELD_MANAGER)
}

/// The Services that select pods of the workload, or carry our mark.
#[must_use]
pub fn services(look: &Look<'_>) -> Vec<Service> {
    // Stable's labels may differ from the new template's: a Service that selects either is one of ours.
    let candidate = look
        .workload
        .map(|workload| labels(&workload.template))
        .unwrap_or_default();
    let stable: Vec<Map<String, Value>> = look
        .replica_sets
        .iter()
        .filter(|set| set.owner == Owner::Workload && set.replicas > 0)
        .map(|set| labels(&set.template))
        .collect();
    let mut seen = Vec::new();
    for object in &look.snapshot.services {
        let read = read(object, look.workload_uid, look.remembered_uid);
        let selects_candidate = service::selects(&read.selector, &candidate);
        let selects_stable = stable
            .iter()
            .any(|labels| service::selects(&read.selector, labels));
        let name = text(object, "/metadata/name");
        let named = look.named == Some(name);
        let holder_gone = read
            .held_by_other
            .as_ref()
            .is_some_and(|uid| look.departed.contains(uid));
        if !(selects_candidate || selects_stable || read.held || named || holder_gone)
            || read.external_name && !named
        {
            continue;
        }
        let uid = text(object, "/metadata/uid");
        let refusal = refusal(
            name,
            &read,
            selects_stable,
            selects_candidate,
            !stable.is_empty(),
            look.foreign.get(uid),
        );
        let (ready_endpoints, unready_endpoints) = endpoints(look.snapshot, name);
        seen.push(Service {
            name: name.to_owned(),
            uid: uid.to_owned(),
            resource_version: text(object, "/metadata/resourceVersion").to_owned(),
            deleting: deleting(object),
            selects_workload: selects_candidate || selects_stable,
            pinned_to: read.pinned_to,
            held: read.held,
            held_by_other: read.held_by_other,
            holder_gone,
            other_managed_fields: read.other_managed_fields,
            in_managed_fields: read.in_managed_fields,
            refusal,
            ready_endpoints,
            unready_endpoints,
            publish_not_ready: read.publish_not_ready,
            local_policy: read.local_policy,
            headless: read.headless,
            flips_by_both: read.local_policy
                || read.by_a_load_balancer
                || read.headless
                || look
                    .behind_ingresses
                    .is_none_or(|names| names.contains(name)),
        });
    }
    seen
}

fn refusal(
    name: &str,
    read: &Seen,
    selects_stable: bool,
    selects_candidate: bool,
    stable_known: bool,
    foreign: Option<&String>,
) -> Option<String> {
    if read.external_name {
        return Some(format!(
            "Service {name} is an ExternalName and selects no pods; name another Service in spec.traffic.service"
        ));
    }
    if read.selector.is_empty() {
        return Some(format!(
            "Service {name} has no selector; its endpoints are made by hand and cannot be split: give it the pods' labels, or name another Service in spec.traffic.service"
        ));
    }
    if stable_known && selects_stable && !selects_candidate {
        return Some(format!(
            "Service {name} selects the pods that serve now but not those of the new template: keep the labels {} in the template, or take them out of the Service's selector",
            selector_text(read)
        ));
    }
    if stable_known && selects_candidate && !selects_stable {
        return Some(format!(
            "Service {name} selects pods of the new template but not those that serve now: it would get no pods when it is pinned; release the new labels and the Service's selector one after the other"
        ));
    }
    foreign.map(|pods| format!("Service {name} also selects pods of others ({pods}): pinning it would cut them off; give the Service a selector that only this Deployment's pods have"))
}

fn selector_text(read: &Seen) -> String {
    read.selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}

/// uids of ready and of not ready pods in a Service's slices. Terminating ones are in neither.
fn endpoints(snapshot: &Snapshot, service: &str) -> (Vec<String>, Vec<String>) {
    let (mut ready, mut unready) = (BTreeSet::new(), BTreeSet::new());
    for slice in snapshot
        .slices
        .iter()
        .filter(|slice| label(slice, "kubernetes.io/service-name") == service)
    {
        for endpoint in list(slice, "/endpoints") {
            let uid = text(endpoint, "/targetRef/uid");
            let condition = |name: &str| {
                endpoint
                    .pointer("/conditions")
                    .and_then(|conditions| conditions.get(name))
                    .and_then(Value::as_bool)
            };
            if uid.is_empty()
                || text(endpoint, "/targetRef/kind") != "Pod"
                || condition("terminating") == Some(true)
            {
                continue;
            }
            // Absent means ready, by the API's own word.
            if condition("ready").unwrap_or(true) {
                ready.insert(uid.to_owned())
            } else {
                unready.insert(uid.to_owned())
            };
        }
    }
    let unready = unready.difference(&ready).cloned().collect();
    (ready.into_iter().collect(), unready)
}

/// A Service whose pods have to be asked for: its selector does not imply the workload's, so it may
/// select pods our own list does not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub service_uid: String,
    /// uid and selector: the answer holds for these.
    pub token: String,
    pub selector: String,
    /// Our own list of pods holds all of this Service's.
    pub covered: bool,
}

/// The Services in front of the workload whose pods may belong to others too.
#[must_use]
pub fn questions(
    snapshot: &Snapshot,
    template: &Value,
    workload_selector: &Value,
) -> Vec<Question> {
    let candidate = labels(template);
    let simple = workload_selector.pointer("/matchExpressions").is_none();
    let needed = workload_selector
        .pointer("/matchLabels")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    snapshot
        .services
        .iter()
        .filter_map(|object| {
            let read = service::read(object, "", FIELD_MANAGER);
            if !service::selects(&read.selector, &candidate) {
                return None;
            }
            let covered = simple
                && needed.iter().all(|(key, value)| {
                    read.selector.get(key).map(String::as_str) == value.as_str()
                });
            let selector = selector_text(&read);
            let uid = text(object, "/metadata/uid").to_owned();
            Some(Question {
                token: format!("{uid} {selector}"),
                service_uid: uid,
                selector,
                covered,
            })
        })
        .collect()
}

/// Pods among these that belong to none of the ReplicaSets, in words; `None`: there are none.
#[must_use]
pub fn strangers(
    pods: &[Arc<Value>],
    selector: &str,
    replica_sets: &BTreeSet<String>,
) -> Option<String> {
    let wanted: Vec<(&str, &str)> = selector
        .split(',')
        .filter_map(|part| part.split_once('='))
        .collect();
    let names: Vec<&str> = pods
        .iter()
        .filter(|pod| wanted.iter().all(|(key, value)| label(pod, key) == *value))
        .filter(|pod| {
            !deleting(pod) && !matches!(text(pod, "/status/phase"), "Failed" | "Succeeded")
        })
        .filter(|pod| !replica_sets.contains(controller_uid(pod)))
        .map(|pod| text(pod, "/metadata/name"))
        .collect();
    let (first, others) = names.split_first()?;
    Some(if others.is_empty() {
        (*first).to_owned()
    } else {
        format!("{first} and {} more", others.len())
    })
}
