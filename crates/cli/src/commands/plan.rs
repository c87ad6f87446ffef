//! `plan`: what a release would do, resolved by the planner itself. Changes nothing.

use std::collections::BTreeMap;

use crossfade_api::{ClusterRolloutPolicy, RolloutPolicy, RolloutSpec, annotations};
use crossfade_engine::validated::{Policies, validate};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::json;

use crate::args::Look;
use crate::cluster::{Cluster, call};
use crate::exit::{Exit, Failure};
use crate::{find, output};

pub async fn run(cluster: &Cluster, arguments: &Look) -> Result<Exit, Failure> {
    let (name, rollout) = match &arguments.workload {
        Some(workload) => {
            let name = find::bare(workload)?;
            (name.to_owned(), find::rollout_of(cluster, name).await?)
        }
        None => {
            let rollout = find::rollout(cluster, None).await?;
            (find::deployment(&rollout), Some(rollout))
        }
    };
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let target = rollout
        .as_ref()
        .map_or_else(|| name.clone(), find::deployment);
    let deployment = call("read the Deployment", deployments.get_opt(&target))
        .await?
        .ok_or_else(|| {
            Failure::new(format!(
                "there is no Deployment {target} in namespace {}",
                cluster.namespace
            ))
            .next("name the namespace with -n")
        })?;
    if rollout.is_none() && !deployment.annotations().contains_key(annotations::STRATEGY) {
        eprintln!(
            "{target} is not opted in; this is what would happen after: kubectl -n {} annotate deployment/{target} {}=canary",
            cluster.namespace,
            annotations::STRATEGY
        );
    }
    let policies = policies(cluster).await?;
    let spec = rollout.map_or_else(RolloutSpec::default, |rollout| rollout.spec);
    let validated = validate(&spec, deployment.annotations(), &policies);
    let replicas = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    let steps = validated
        .plan
        .describe(u32::try_from(replicas).unwrap_or(0));
    if let Some(format) = arguments.output {
        let value = json!({
            "kind": "Plan",
            "metadata": { "name": target, "namespace": cluster.namespace },
            "replicas": replicas, "steps": steps, "plan": validated.plan,
            "sources": validated.sources, "problems": validated.problems,
        });
        output::print(&value, format)?;
    } else {
        let mut text = format!("{target}, {replicas} pods\n");
        for (index, step) in steps.iter().enumerate() {
            text.push_str(&format!("  {:>2}. {step}\n", index + 1));
        }
        for (field, source) in &validated.sources {
            text.push_str(&format!("  {field}: {source}\n"));
        }
        output::say(&text)?;
    }
    if validated.problems.is_empty() {
        return Ok(Exit::Done);
    }
    Err(Failure::new(format!(
        "no release would start: {}",
        validated.problems.join("; ")
    )))
}

async fn policies(cluster: &Cluster) -> Result<Policies, Failure> {
    let all = ListParams::default();
    let namespaced: Api<RolloutPolicy> =
        Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let namespaced = call("list the RolloutPolicies", namespaced.list(&all)).await?;
    let cluster_wide: Api<ClusterRolloutPolicy> = Api::all(cluster.client.clone());
    let cluster_wide = call("list the ClusterRolloutPolicies", cluster_wide.list(&all)).await?;
    Ok(Policies {
        namespaced: namespaced
            .into_iter()
            .map(|policy| (policy.name_any(), policy.spec))
            .collect::<BTreeMap<_, _>>(),
        cluster: cluster_wide
            .into_iter()
            .map(|policy| (policy.name_any(), policy.spec.into()))
            .collect(),
    })
}
