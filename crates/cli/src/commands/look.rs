//! `status`, `list`, `explain`, `history`: reading only.

use std::time::Duration;

use crossfade_api::annotations;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::Value;

use crate::args::{Format, List, Look, Status};
use crate::cluster::{Cluster, call};
use crate::commands::end::{Watching, followed};
use crate::exit::{Exit, Failure};
use crate::follow::{Follow, View};
use crate::rollout::Rollout;
use crate::show::{self, Trouble, Workload};
use crate::{called, clock, find, output};

pub async fn status(cluster: &Cluster, arguments: &Status) -> Result<Exit, Failure> {
    let rollout = find::rollout(cluster, arguments.workload.as_deref()).await?;
    if arguments.watch {
        return watch(cluster, &rollout, arguments).await;
    }
    match arguments.output {
        Some(format) => output::print(&output::rollout(&rollout), format)?,
        None => output::say(&show::status(&rollout, clock::now()))?,
    }
    Ok(Exit::Done)
}

/// Shows until the release is over or waits for a person; at rest only what is so.
async fn watch(cluster: &Cluster, rollout: &Rollout, arguments: &Status) -> Result<Exit, Failure> {
    let name = rollout.name_any();
    let deployment = find::deployment(rollout);
    let limit = arguments
        .timeout
        .map(|limit| Duration::from_millis(limit.milliseconds()));
    let mut follow = Follow::new(cluster, &name);
    let mut view = match arguments.output {
        None => View::stdout(),
        Some(format) => View::data(format),
    };
    let mut watching = Watching::from(rollout);
    let end = followed(
        cluster,
        &mut follow,
        &mut view,
        &deployment,
        &mut watching,
        limit,
    )
    .await?;
    // The states themselves are the data.
    end.tell(&cluster.namespace, &name, None)
}

pub async fn list(cluster: &Cluster, arguments: &List) -> Result<Exit, Failure> {
    let api = if arguments.all_namespaces {
        cluster.all_rollouts()
    } else {
        cluster.rollouts()
    };
    let listed = call("list the Rollouts", api.list(&ListParams::default())).await?;
    let all: Vec<Rollout> = listed.items.into_iter().map(Rollout::from).collect();
    if let Some(format) = arguments.output {
        let items = all.iter().map(output::rollout).collect();
        output::print(&output::list(items), format)?;
    } else if all.is_empty() {
        eprintln!("{}", none(cluster, arguments.all_namespaces));
    } else {
        output::say(&show::list(&all, arguments.all_namespaces, clock::now()))?;
    }
    Ok(Exit::Done)
}

/// What there is to say where no Rollout is.
fn none(cluster: &Cluster, everywhere: bool) -> String {
    let (place, namespace) = match everywhere {
        true => ("any namespace", None),
        false => (cluster.namespace.as_str(), Some(cluster.namespace.as_str())),
    };
    let annotate = format!("annotate deployment/NAME {}=canary", annotations::STRATEGY);
    format!(
        "no Rollouts in {place}. Opt a Deployment in: {}",
        called::ours().kubectl(namespace, &annotate)
    )
}

pub async fn history(cluster: &Cluster, arguments: &Look) -> Result<Exit, Failure> {
    if arguments.output == Some(Format::Name) {
        return Err(Failure::new("-o name: ended releases have no names")
            .next("write -o json or -o yaml")
            .exit(Exit::Usage));
    }
    let rollout = find::rollout(cluster, arguments.workload.as_deref()).await?;
    match arguments.output {
        Some(format) => {
            let value = output::rollout(&rollout)["status"]["history"].take();
            output::print(
                &if value.is_null() {
                    Value::Array(Vec::new())
                } else {
                    value
                },
                format,
            )?;
        }
        None if (rollout.status.as_ref()).is_none_or(|status| status.history.is_empty()) => {
            eprintln!("{}: no release has ended yet", rollout.name_any());
        }
        None => output::say(&show::history(&rollout, clock::now()))?,
    }
    Ok(Exit::Done)
}

pub async fn explain(cluster: &Cluster, arguments: &Look) -> Result<Exit, Failure> {
    let rollout = find::rollout(cluster, arguments.workload.as_deref()).await?;
    if arguments.output == Some(Format::Name) {
        output::print(&output::rollout(&rollout), Format::Name)?;
        return Ok(Exit::Done);
    }
    let troubles = troubles(cluster, &rollout).await?;
    let now = clock::now();
    let ways = show::ways(&rollout, workload(cluster, &rollout).await?, now);
    // Who may not list them is told the rest all the same.
    let all = find::all(cluster).await.unwrap_or_default();
    let ways = ways.beside(&rollout, &all);
    match arguments.output {
        Some(format) => {
            output::print(&show::explanation(&rollout, &troubles, &ways)?, format)?;
        }
        None => output::say(&show::explain(&rollout, &troubles, &ways, now))?,
    }
    Ok(Exit::Done)
}

/// The Deployment, as far as the ways on depend on it.
async fn workload(cluster: &Cluster, rollout: &Rollout) -> Result<Workload, Failure> {
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let name = find::deployment(rollout);
    let deployment = call("read the Deployment", api.get_opt(&name)).await?;
    Ok(deployment.map_or(Workload::Gone, |deployment| {
        let spec = deployment.spec.as_ref();
        Workload::There {
            paused: spec.and_then(|spec| spec.paused).unwrap_or(false),
            opted_in: deployment.annotations().contains_key(annotations::STRATEGY),
            replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1),
        }
    }))
}

/// What the cluster says about the pods of both sides.
async fn troubles(cluster: &Cluster, rollout: &Rollout) -> Result<Vec<Trouble>, Failure> {
    let mut troubles = Vec::new();
    let Some(status) = &rollout.status else {
        return Ok(troubles);
    };
    if let Some(candidate) = &status.candidate {
        let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let selector =
            ListParams::default().labels(&format!("{}={}", annotations::CANDIDATE, candidate.name));
        for deployment in call("list Deployments", api.list(&selector)).await? {
            let conditions = deployment
                .status
                .as_ref()
                .and_then(|status| status.conditions.clone())
                .unwrap_or_default();
            for condition in conditions {
                if condition.type_ == "ReplicaFailure" && condition.status == "True" {
                    troubles.push(Trouble {
                        what: format!("Deployment {}", deployment.name_any()),
                        reason: condition.reason.unwrap_or_default(),
                        message: condition.message.unwrap_or_default(),
                    });
                }
            }
        }
    }
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let hashes: Vec<&str> = [&status.candidate, &status.stable]
        .into_iter()
        .flatten()
        .filter_map(|side| side.pod_template_hash.as_deref())
        .collect();
    if hashes.is_empty() {
        return Ok(troubles);
    }
    let selector = ListParams::default().labels(&format!(
        "{} in ({})",
        annotations::POD_TEMPLATE_HASH,
        hashes.join(",")
    ));
    for pod in call("list pods", api.list(&selector)).await? {
        troubles.extend(pod_troubles(&pod));
    }
    Ok(troubles)
}

fn pod_troubles(pod: &Pod) -> Vec<Trouble> {
    let name = pod.name_any();
    let mut troubles = Vec::new();
    let Some(status) = &pod.status else {
        return troubles;
    };
    for condition in status.conditions.iter().flatten() {
        if condition.type_ == "PodScheduled" && condition.status == "False" {
            troubles.push(Trouble {
                what: format!("pod {name}"),
                reason: condition.reason.clone().unwrap_or_default(),
                message: condition.message.clone().unwrap_or_default(),
            });
        }
    }
    let containers = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(status.container_statuses.iter().flatten());
    for container in containers {
        if let Some((reason, message)) = container_trouble(container) {
            troubles.push(Trouble {
                what: format!("pod {name}, container {}", container.name),
                reason,
                message,
            });
        }
    }
    troubles
}

fn container_trouble(container: &ContainerStatus) -> Option<(String, String)> {
    let last = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref())
        .map_or_else(String::new, |ended| {
            let reason = ended.reason.as_deref().unwrap_or("ended");
            format!(
                "; before: {reason}, exit code {}, {} restarts",
                ended.exit_code, container.restart_count
            )
        });
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.clone().unwrap_or_default();
        if !["ContainerCreating", "PodInitializing"].contains(&reason.as_str()) {
            return Some((
                reason,
                format!("{}{last}", waiting.message.as_deref().unwrap_or_default()),
            ));
        }
    }
    if let Some(ended) = state
        .terminated
        .as_ref()
        .filter(|ended| ended.exit_code != 0)
    {
        let message = ended.message.as_deref().unwrap_or_default();
        return Some((
            ended.reason.clone().unwrap_or_default(),
            format!("exit code {} {message}{last}", ended.exit_code),
        ));
    }
    if state.running.is_some() && !container.ready {
        return Some((
            "NotReady".to_owned(),
            format!("the container runs, its readiness probe fails{last}"),
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_own_words_are_passed_on() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": { "name": "web-1" },
            "status": { "containerStatuses": [
                { "name": "app", "image": "x", "imageID": "", "ready": false, "restartCount": 3,
                  "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 40s" } },
                  "lastState": { "terminated": { "exitCode": 1, "reason": "Error" } } },
                { "name": "side", "image": "y", "imageID": "", "ready": true, "restartCount": 0,
                  "state": { "running": {} } },
            ] },
        }))
        .unwrap();
        let troubles = pod_troubles(&pod);
        assert_eq!(troubles.len(), 1);
        assert_eq!(troubles[0].reason, "CrashLoopBackOff");
        assert!(troubles[0].message.contains("exit code 1"));
    }
}
