//! A subject from a cluster: what is read there, the ReplicaSets and pods of others behind the Services
//! among it.

use std::collections::{BTreeMap, BTreeSet};

use crossfade_api::{
    ClusterRolloutPolicy, FIELD_MANAGER, RolloutPolicy, RolloutPolicySpec, RolloutSpec,
    annotations, conditions,
};
use crossfade_engine::observed::{Owner, ReplicaSet};
use crossfade_engine::validated::Policies;
use crossfade_traffic_switching::service;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet as Set};
use k8s_openapi::api::core::v1::{self as core, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Map, Value};

use super::{Front, Subject, map, text};
use crate::cluster::{Cluster, call};
use crate::exit::Failure;
use crate::find::{self, Twins};
use crate::rollout::{Rollout, decode};

impl Subject {
    /// Reads a cluster.
    pub async fn from_cluster(cluster: &Cluster, workload: Option<&str>) -> Result<Self, Failure> {
        let (name, rollout) = match workload {
            Some(workload) => {
                let named = find::named(workload)?;
                let rollout = find::rollout_of(cluster, named).await?;
                (named.name().to_owned(), rollout)
            }
            None => {
                let rollout = find::rollout(cluster, None).await?;
                (find::deployment(&rollout), Some(rollout))
            }
        };
        let name = rollout.as_ref().map_or(name, find::deployment);
        let namespace = &cluster.namespace;
        let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), namespace);
        let all = ListParams::default();
        let deployments = call("list the Deployments", deployments.list(&all))
            .await?
            .items;
        let deployment = (deployments.iter())
            .find(|deployment| deployment.name_any() == name)
            .ok_or_else(|| {
                Failure::new(format!(
                    "there is no Deployment {name} in namespace {namespace}"
                ))
                .next("name the namespace with -n")
            })?;
        let living: BTreeSet<String> = deployments.iter().filter_map(ResourceExt::uid).collect();
        let mut notes = Vec::new();
        let rollouts = call("list the Rollouts", cluster.rollouts().list(&all)).await?;
        let rollouts: Vec<Rollout> = rollouts.into_iter().map(Rollout::from).collect();
        notes.extend(several(&rollouts, &name));
        if rollout.is_none() && !deployment.annotations().contains_key(annotations::STRATEGY) {
            notes.push(format!(
                "{name} is not opted in; this is what would happen after: {}",
                find::opt_in(namespace, &name)
            ));
        }
        let deployment = value(deployment)?;
        let uid = text(&deployment, "/metadata/uid").to_owned();
        let services: Api<core::Service> = Api::namespaced(cluster.client.clone(), namespace);
        let services = call("list the Services", services.list(&all)).await?;
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
        let pods = call("list the pods", pods.list(&all)).await?;
        let sets: Api<Set> = Api::namespaced(cluster.client.clone(), namespace);
        let sets = call("list the ReplicaSets", sets.list(&all)).await?;
        // Those of a candidate have the workload's labels too.
        let around: BTreeSet<String> = (sets.iter())
            .filter(|set| matches_selector(&deployment, &labels_of(set.labels())))
            .filter_map(ResourceExt::uid)
            .collect();
        let mut fronts = Vec::new();
        for object in services {
            let object = value(&object)?;
            let seen = service::read(&object, &uid, FIELD_MANAGER);
            let strangers = pods
                .iter()
                .filter(|pod| {
                    service::selects(&seen.selector, &labels_of(pod.labels()))
                        && !ended(pod)
                        && !controller(&pod.metadata).is_some_and(|uid| around.contains(uid))
                })
                .map(ResourceExt::name_any)
                .collect();
            let holder = seen.held_by_other.as_ref();
            fronts.push(Front {
                object,
                strangers,
                holder_gone: holder.is_some_and(|holder| !living.contains(holder)),
            });
        }
        let sets = (sets.iter())
            .filter(|set| controller(&set.metadata) == Some(uid.as_str()))
            .map(of_workload)
            .collect::<Result<Vec<_>, _>>()?;
        let stalled = rollout.as_ref().and_then(stalled);
        if let Some((reason, message)) = &stalled {
            notes.push(format!("the controller says: stalled, {reason}: {message}"));
        }
        let spec =
            (rollout.as_ref()).map_or_else(|| Ok(RolloutSpec::default()), Rollout::whole_spec)?;
        let policies = policies(cluster).await?;
        for (name, why) in &policies.unreadable {
            notes.push(format!(
                "policy {name} cannot be read and is left out: {why}; correct the field it names"
            ));
        }
        let mut subject = Self {
            name,
            spec,
            deployment: Some(deployment),
            policies,
            sets,
            stalled,
            notes,
            ..Self::default()
        };
        subject.look_at(&fronts);
        Ok(subject)
    }
}

/// Why the Rollout cannot go on, in the controller's words.
fn stalled(rollout: &Rollout) -> Option<(String, String)> {
    let conditions = &rollout.status.as_ref()?.conditions;
    (conditions.iter())
        .find(|condition| condition.type_ == conditions::STALLED && condition.status == "True")
        .map(|condition| (condition.reason.clone(), condition.message.clone()))
}

/// Of several Rollouts for one Deployment one is carried out, and no other gets a status.
fn several(rollouts: &[Rollout], deployment: &str) -> Option<String> {
    let Twins {
        carried_out,
        others,
    } = find::twins(rollouts, deployment)?;
    let nothing = match others.as_slice() {
        [_] => "does nothing",
        _ => "do nothing",
    };
    Some(format!(
        "several Rollouts are for the Deployment {deployment}: {carried_out} was there first and is carried out, {} {nothing}; \
         delete all but one",
        others.join(", ")
    ))
}

/// uid of the controlling owner.
fn controller(metadata: &ObjectMeta) -> Option<&str> {
    (metadata.owner_references.iter().flatten())
        .find(|owner| owner.controller == Some(true))
        .map(|owner| owner.uid.as_str())
}

fn ended(pod: &Pod) -> bool {
    let phase = (pod.status.as_ref()).and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_some() || matches!(phase, Some("Failed" | "Succeeded"))
}

/// A ReplicaSet of the workload, as far as a refusal may speak of it.
fn of_workload(set: &Set) -> Result<ReplicaSet, Failure> {
    let pods = |count: Option<i32>| u32::try_from(count.unwrap_or(0)).unwrap_or(0);
    let object = value(set)?;
    Ok(ReplicaSet {
        name: set.name_any(),
        uid: set.uid().unwrap_or_default(),
        owner: Owner::Workload,
        deleting: set.metadata.deletion_timestamp.is_some(),
        hash: (set.labels().get(annotations::POD_TEMPLATE_HASH).cloned()).unwrap_or_default(),
        replicas: pods(set.spec.as_ref().and_then(|spec| spec.replicas)),
        status_replicas: pods(set.status.as_ref().map(|status| status.replicas)),
        template: (object.pointer("/spec/template").cloned()).unwrap_or_default(),
        ..ReplicaSet::default()
    })
}

fn labels_of(labels: &BTreeMap<String, String>) -> Map<String, Value> {
    labels
        .iter()
        .map(|(key, value)| (key.clone(), Value::String(value.clone())))
        .collect()
}

/// Whether the labels fit `matchLabels`; expressions can only narrow that and are not looked at.
fn matches_selector(deployment: &Value, labels: &Map<String, Value>) -> bool {
    map(deployment, "/spec/selector/matchLabels")
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

fn value(object: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(object).map_err(|error| Failure::new(error.to_string()))
}

async fn policies(cluster: &Cluster) -> Result<Policies, Failure> {
    let all = ListParams::default();
    let namespaced = cluster.namespaced::<RolloutPolicy>();
    let namespaced = call("list the RolloutPolicies", namespaced.list(&all)).await?;
    let everywhere = cluster.everywhere::<ClusterRolloutPolicy>();
    let everywhere = call("list the ClusterRolloutPolicies", everywhere.list(&all)).await?;
    let mut policies = Policies::default();
    for policy in namespaced {
        let name = policy.name_any();
        match spec(&policy.data) {
            Ok(spec) => drop(policies.namespaced.insert(name, spec)),
            Err(why) => drop(policies.unreadable.insert(name, why)),
        }
    }
    for policy in everywhere {
        let name = policy.name_any();
        match spec(&policy.data) {
            Ok(spec) => drop(policies.cluster.insert(name, spec)),
            Err(why) => drop(policies.unreadable.insert(name, why)),
        }
    }
    Ok(policies)
}

/// Both kinds have the same fields. Whether one that cannot be read matters is for the planner to say.
fn spec(policy: &Value) -> Result<RolloutPolicySpec, String> {
    match &policy["spec"] {
        Value::Null => Ok(RolloutPolicySpec::default()),
        spec => decode(spec, "spec"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(name: &str, replicas: i32, app: &str) -> Set {
        serde_json::from_value(json!({
            "metadata": { "name": name, "uid": name, "labels": { "app": "web", "pod-template-hash": name },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "w",
                    "controller": true }] },
            "spec": { "replicas": replicas, "selector": {}, "template": { "metadata": { "labels": { "app": app } } } },
            "status": { "replicas": replicas },
        }))
        .unwrap()
    }

    fn subject(sets: &[Set], fronts: &[Front]) -> Subject {
        let mut subject = Subject {
            name: "web".to_owned(),
            deployment: Some(json!({
                "metadata": { "uid": "w" },
                "spec": { "replicas": 3, "template": { "metadata": {
                    "labels": { "app": "web" }, "annotations": { "prometheus.io/port": "8080" } } } },
            })),
            sets: sets.iter().map(|set| of_workload(set).unwrap()).collect(),
            ..Subject::default()
        };
        subject.look_at(fronts);
        subject
    }

    fn problems(subject: &Subject) -> String {
        subject.problems(&subject.validated()).join("; ")
    }

    fn service(labels: Value, selector: Value) -> Front {
        Front {
            object: json!({ "metadata": { "name": "web", "labels": labels }, "spec": { "selector": selector } }),
            ..Front::default()
        }
    }

    #[test]
    fn a_policy_that_cannot_be_read_names_its_field() {
        let why = spec(&json!({ "spec": { "warm": "soon" } })).unwrap_err();
        assert!(why.starts_with("spec.warm: "), "{why}");
        assert!(spec(&json!({ "spec": { "warm": "5m" } })).is_ok());
        assert!(spec(&json!({})).is_ok());
    }

    #[test]
    fn several_replica_sets_with_pods_are_refused_as_the_controller_does() {
        assert_eq!(
            problems(&subject(&[set("a", 3, "web"), set("b", 0, "web")], &[])),
            ""
        );
        let said = problems(&subject(&[set("a", 3, "web"), set("b", 1, "web")], &[]));
        assert!(
            said.contains("2 ReplicaSets of the Deployment have pods"),
            "{said}"
        );
    }

    #[test]
    fn a_service_that_is_held_is_told_from_one_that_others_hold() {
        let sets = [set("a", 3, "web")];
        let pinned = json!({ "app": "web", "pod-template-hash": "a" });
        let own = service(json!({ "crossfade.dev/held-by": "w" }), pinned.clone());
        assert_eq!(
            problems(&subject(&sets, &[own])),
            "",
            "its own release ends first"
        );
        let mut other = service(json!({ "crossfade.dev/held-by": "x" }), pinned.clone());
        let said = problems(&subject(&sets, &[other.clone()]));
        assert!(
            said.contains("held by the release of another Deployment (uid x)"),
            "{said}"
        );
        other.holder_gone = true;
        assert_eq!(
            problems(&subject(&sets, &[other])),
            "",
            "it is given back first"
        );
        let said = problems(&subject(&sets, &[service(json!({}), pinned)]));
        assert!(said.contains("names pod-template-hash"), "{said}");
    }

    #[test]
    fn a_service_that_selects_one_version_only_is_refused() {
        let said = problems(&subject(
            &[set("a", 3, "web-old")],
            &[service(json!({}), json!({ "app": "web" }))],
        ));
        assert!(
            said.contains(
                "Service web: it selects pods of the new template but not those that serve now"
            ),
            "{said}"
        );
    }

    #[test]
    fn what_the_controller_refuses_is_told_where_nothing_else_is() {
        let rollout: Rollout = serde_json::from_value(json!({
            "apiVersion": "crossfade.dev/v1alpha1", "kind": "Rollout", "metadata": { "name": "web" }, "spec": {},
            "status": { "conditions": [{ "type": "Stalled", "status": "True", "reason": "Refused",
                "message": "something only it sees", "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
        }))
        .unwrap();
        let mut subject = subject(&[set("a", 3, "web")], &[]);
        subject.stalled = stalled(&rollout);
        assert_eq!(
            problems(&subject),
            "the controller refuses: something only it sees"
        );
        subject.stalled = Some(("RolledBack".to_owned(), "errors".to_owned()));
        assert_eq!(problems(&subject), "", "another template may start");
    }

    #[test]
    fn of_two_rollouts_for_one_deployment_the_older_is_named() {
        let rollout = |name: &str, created: &str| -> Rollout {
            serde_json::from_value(json!({
                "apiVersion": "crossfade.dev/v1alpha1", "kind": "Rollout",
                "metadata": { "name": name, "creationTimestamp": created }, "spec": { "deployment": "web" },
            }))
            .unwrap()
        };
        let first = rollout("web", "2026-01-01T00:00:00Z");
        let second = rollout("again", "2026-01-02T00:00:00Z");
        assert_eq!(several(std::slice::from_ref(&first), "web"), None);
        let said = several(&[second, first], "web").unwrap();
        assert!(
            said.contains("web was there first") && said.contains("again does nothing"),
            "{said}"
        );
    }
}
