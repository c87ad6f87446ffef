//! A subject from a cluster: what is read there, and pods of others behind the Services.

use std::collections::BTreeMap;

use crossfade_api::{
    ClusterRolloutPolicy, RolloutPolicy, RolloutPolicySpec, RolloutSpec, annotations,
};
use crossfade_engine::validated::Policies;
use crossfade_traffic_switching::service;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{self as core, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Map, Value};

use super::{Front, Subject, map};
use crate::cluster::{Cluster, call};
use crate::exit::Failure;
use crate::find;
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
        let deployment = call("read the Deployment", deployments.get_opt(&name))
            .await?
            .ok_or_else(|| {
                Failure::new(format!(
                    "there is no Deployment {name} in namespace {namespace}"
                ))
                .next("name the namespace with -n")
            })?;
        let mut notes = Vec::new();
        if rollout.is_none() && !deployment.annotations().contains_key(annotations::STRATEGY) {
            notes.push(format!(
                "{name} is not opted in; this is what would happen after: kubectl -n {namespace} annotate deployment/{name} {}=canary",
                annotations::STRATEGY
            ));
        }
        let deployment = value(&deployment)?;
        let all = ListParams::default();
        let services: Api<core::Service> = Api::namespaced(cluster.client.clone(), namespace);
        let services = call("list the Services", services.list(&all)).await?;
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
        let pods = call("list the pods", pods.list(&all)).await?;
        let mut fronts = Vec::new();
        for object in services {
            let object = value(&object)?;
            let seen = service::read(&object, "", "");
            let strangers = pods
                .iter()
                .filter(|pod| {
                    let labels = labels_of(pod.labels());
                    service::selects(&seen.selector, &labels)
                        && !matches_selector(&deployment, &labels)
                })
                .map(ResourceExt::name_any)
                .collect();
            fronts.push(Front { object, strangers });
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
            notes,
            ..Self::default()
        };
        subject.look_at(&fronts);
        Ok(subject)
    }
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

    #[test]
    fn a_policy_that_cannot_be_read_names_its_field() {
        let why = spec(&json!({ "spec": { "warm": "soon" } })).unwrap_err();
        assert!(why.starts_with("spec.warm: "), "{why}");
        assert!(spec(&json!({ "spec": { "warm": "5m" } })).is_ok());
        assert!(spec(&json!({})).is_ok());
    }
}
