//! From what users write to the Rollout they mean.

use crossfade_api::Rollout;
use kube::ResourceExt;
use kube::api::ListParams;

use crate::cluster::{Cluster, call};
use crate::exit::{Exit, Failure};

/// `web` from `web`, `deployment/web`, `deploy/web` or `rollout/web`.
pub fn bare(workload: &str) -> Result<&str, Failure> {
    let usage = || {
        Failure::new(format!("\"{workload}\" is not a workload"))
            .next("write web, deployment/web or rollout/web")
            .exit(Exit::Usage)
    };
    let name = match workload.split_once('/') {
        None => workload,
        Some((
            "deployment"
            | "deployments"
            | "deployments.apps"
            | "deploy"
            | "rollout"
            | "rollouts"
            | "rollouts.crossfade.dev"
            | "xro",
            name,
        )) => name,
        Some(_) => return Err(usage()),
    };
    if name.is_empty() || name.contains('/') {
        Err(usage())
    } else {
        Ok(name)
    }
}

/// The Deployment a Rollout is about.
pub fn deployment(rollout: &Rollout) -> String {
    rollout
        .spec
        .deployment
        .clone()
        .unwrap_or_else(|| rollout.name_any())
}

/// The Rollout of a workload; `None`: there is none.
pub async fn rollout_of(cluster: &Cluster, name: &str) -> Result<Option<Rollout>, Failure> {
    let api = cluster.rollouts();
    if let Some(rollout) = call("read the Rollout", api.get_opt(name)).await? {
        return Ok(Some(rollout));
    }
    let all = call("list the Rollouts", api.list(&ListParams::default())).await?;
    Ok(all
        .items
        .into_iter()
        .find(|rollout| deployment(rollout) == name))
}

/// The Rollout that is meant; without a name the only one.
pub async fn rollout(cluster: &Cluster, workload: Option<&str>) -> Result<Rollout, Failure> {
    let namespace = &cluster.namespace;
    if let Some(workload) = workload {
        let name = bare(workload)?;
        return rollout_of(cluster, name).await?.ok_or_else(|| {
            Failure::new(format!("there is no Rollout for {name} in namespace {namespace}")).next(format!(
                "opt the Deployment in: kubectl -n {namespace} annotate deployment/{name} crossfade.dev/strategy=canary; \
                 or look elsewhere: crossfade list -A"
            ))
        });
    }
    let mut all = call(
        "list the Rollouts",
        cluster.rollouts().list(&ListParams::default()),
    )
    .await?
    .items;
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(
            Failure::new(format!("there is no Rollout in namespace {namespace}"))
                .next("name the namespace with -n, or look at all: crossfade list -A"),
        ),
        (Some(_), false) => Err(Failure::new(format!(
            "there are several Rollouts in namespace {namespace}"
        ))
        .next("name one; crossfade list shows them")
        .exit(Exit::Usage)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_workloads() {
        for text in ["web", "deployment/web", "deploy/web", "rollout/web"] {
            assert_eq!(bare(text).unwrap(), "web");
        }
        for text in ["", "deployment/", "pod/web", "deployment/web/x"] {
            assert_eq!(bare(text).unwrap_err().exit, Exit::Usage, "{text}");
        }
    }
}
