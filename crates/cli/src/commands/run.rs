//! `run` and `set image`: another template and `paused: true` in one request, so that a release
//! starts gated even where no webhook stands guard.

use std::collections::BTreeSet;
use std::time::Duration;

use crossfade_api::{Action, Phase, Rollout, StepState, annotations};
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::commands::control;
use crate::exit::{Exit, Failure};
use crate::find;
use crate::follow::{self, Follow, View, phase};
use crate::raw;

/// Longest wait for the end of a release.
const END: Duration = Duration::from_secs(3600);
/// A refusal that stands this long is not from before our push.
const REFUSED: Duration = Duration::from_secs(10);

/// The releases that had ended before.
pub struct Ended {
    entries: BTreeSet<(String, Option<jiff::Timestamp>)>,
}

impl Ended {
    pub fn of(rollout: Option<&Rollout>) -> Self {
        let history = rollout
            .and_then(|rollout| rollout.status.as_ref())
            .map(|status| status.history.as_slice());
        let entries = history
            .unwrap_or_default()
            .iter()
            .map(|entry| (entry.candidate.clone(), entry.ended_at))
            .collect();
        Self { entries }
    }
}

pub async fn run(
    cluster: &Cluster,
    workload: &str,
    images: &[String],
    wait: bool,
    timeout: Option<crossfade_api::Duration>,
) -> Result<Exit, Failure> {
    let name = find::bare(workload)?;
    let uri = format!(
        "/apis/apps/v1/namespaces/{}/deployments/{name}",
        cluster.namespace
    );
    let deployment = raw::get(cluster, "read the Deployment", &uri)
        .await?
        .ok_or_else(|| {
            Failure::new(format!(
                "there is no Deployment {name} in namespace {}",
                cluster.namespace
            ))
            .next("name the namespace with -n")
        })?;
    let rollout = find::rollout_of(cluster, name).await?;
    if rollout.is_none() && deployment["metadata"]["annotations"][annotations::STRATEGY].is_null() {
        // Paused without anybody who would unpause it, the change would wait for ever.
        return Err(
            Failure::new(format!("Deployment {name} is not released by Crossfade")).next(format!(
                "opt it in: kubectl -n {} annotate deployment/{name} {}=canary",
                cluster.namespace,
                annotations::STRATEGY
            )),
        );
    }
    let before = Ended::of(rollout.as_ref());
    let operations = operations(&deployment, images)?;
    if operations.is_empty() {
        match &rollout {
            Some(rollout) if phase(rollout) == Phase::RolledBack => {
                eprintln!("{name}: this template was rejected before; releasing it again");
                let id = control::write(
                    cluster,
                    rollout,
                    Action::Retry.into(),
                    Some("crossfade run"),
                )
                .await?;
                let handled =
                    control::answer(cluster, &rollout.name_any(), &id, Duration::from_secs(15))
                        .await?;
                if handled.outcome != "done" {
                    return Err(Failure::new(format!(
                        "retry {}: {}",
                        handled.outcome, handled.message
                    )));
                }
            }
            Some(rollout) if phase(rollout) != Phase::Idle => {
                eprintln!("{name}: this template is being released already")
            }
            _ => {
                eprintln!("{name}: unchanged, nothing to release");
                return Ok(Exit::Done);
            }
        }
    } else {
        raw::patch(
            cluster,
            "change the template",
            &uri,
            &Value::Array(operations),
        )
        .await?;
        eprintln!("{name}: template changed, gated");
    }
    if !wait {
        eprintln!("follow it: crossfade status -w {name}");
        return Ok(Exit::Done);
    }
    let limit = timeout.map_or(END, |limit| Duration::from_millis(limit.milliseconds()));
    // The controller makes a Rollout of the Deployment's name if there is none yet.
    let rollout_name = rollout.map_or_else(|| name.to_owned(), |rollout| rollout.name_any());
    ended(&mut Follow::new(cluster, &rollout_name), &before, limit).await
}

/// The patch, guarded by who the Deployment is and what its containers are called; empty when
/// nothing would change.
fn operations(deployment: &Value, images: &[String]) -> Result<Vec<Value>, Failure> {
    let containers = deployment["spec"]["template"]["spec"]["containers"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let names = || {
        containers
            .iter()
            .filter_map(|container| container["name"].as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut operations = Vec::new();
    for text in images {
        let usage = |why: String| {
            Failure::new(why)
                .next("write --image CONTAINER=IMAGE")
                .exit(Exit::Usage)
        };
        // An image may hold `=` nowhere, a container's name neither.
        let (index, image) = match text.split_once('=') {
            Some((name, image)) => {
                let index = containers
                    .iter()
                    .position(|container| container["name"] == name);
                (
                    index.ok_or_else(|| {
                        usage(format!(
                            "there is no container {name}; there are: {}",
                            names()
                        ))
                    })?,
                    image,
                )
            }
            None if containers.len() == 1 => (0, text.as_str()),
            None => {
                return Err(usage(format!(
                    "\"{text}\" names no container; there are: {}",
                    names()
                )));
            }
        };
        if image.is_empty() {
            return Err(usage(format!("\"{text}\" names no image")));
        }
        let container = containers.get(index).cloned().unwrap_or_default();
        if container["image"] != image {
            let path = format!("/spec/template/spec/containers/{index}");
            operations.push(
                json!({ "op": "test", "path": format!("{path}/name"), "value": container["name"] }),
            );
            operations
                .push(json!({ "op": "replace", "path": format!("{path}/image"), "value": image }));
        }
    }
    if !operations.is_empty() {
        operations.insert(0, json!({ "op": "test", "path": "/metadata/uid", "value": deployment["metadata"]["uid"] }));
        operations.push(json!({ "op": "add", "path": "/spec/paused", "value": true }));
    }
    Ok(operations)
}

/// Follows until a release that had not ended before has ended, or needs a person.
pub async fn ended(follow: &mut Follow, before: &Ended, limit: Duration) -> Result<Exit, Failure> {
    let mut refused: Option<Instant> = None;
    let outcome = follow::until(follow, &mut View::log(), Some(limit), |rollout| {
        let status = rollout?.status.as_ref()?;
        if let Some(entry) = status.history.iter().find(|entry| {
            !before
                .entries
                .contains(&(entry.candidate.clone(), entry.ended_at))
        }) {
            let exit = match entry.outcome.as_str() {
                "promoted" => Exit::Done,
                "rolled-back" => Exit::RolledBack,
                _ => Exit::Aborted,
            };
            return Some((
                exit,
                format!("{} {}: {}", entry.candidate, entry.outcome, entry.reason),
            ));
        }
        if status
            .step
            .as_ref()
            .is_some_and(|step| step.state == StepState::AwaitingApproval)
            && matches!(status.phase, Some(Phase::Progressing | Phase::Warm))
        {
            return Some((
                Exit::Approval,
                "waits for an approval: crossfade promote gives it, crossfade abort refuses it"
                    .to_owned(),
            ));
        }
        let stalled = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Stalled" && condition.status == "True");
        match stalled.filter(|_| matches!(status.phase, None | Some(Phase::Idle))) {
            Some(stalled) if refused.get_or_insert_with(Instant::now).elapsed() >= REFUSED => {
                return Some((
                    Exit::Error,
                    format!("cannot be released: {}", stalled.message),
                ));
            }
            Some(_) => {}
            None => refused = None,
        }
        None
    })
    .await?;
    match outcome {
        Some((Exit::Done, sentence)) => {
            eprintln!("{sentence}");
            Ok(Exit::Done)
        }
        Some((exit, sentence)) => Err(Failure::new(sentence)
            .next("crossfade explain says more")
            .exit(exit)),
        None => Err(
            Failure::new("not over within the time given; the release goes on")
                .next("crossfade status -w follows it, crossfade explain says what it waits for")
                .exit(Exit::TimedOut),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Value {
        json!({
            "metadata": { "uid": "u1" },
            "spec": { "template": { "spec": { "containers": [
                { "name": "app", "image": "app:1" }, { "name": "side", "image": "side:1" },
            ] } } },
        })
    }

    #[test]
    fn template_and_pause_go_in_one_guarded_patch() {
        let patch = operations(&deployment(), &["side=side:2".to_owned()]).unwrap();
        assert_eq!(
            patch,
            [
                json!({ "op": "test", "path": "/metadata/uid", "value": "u1" }),
                json!({ "op": "test", "path": "/spec/template/spec/containers/1/name", "value": "side" }),
                json!({ "op": "replace", "path": "/spec/template/spec/containers/1/image", "value": "side:2" }),
                json!({ "op": "add", "path": "/spec/paused", "value": true }),
            ]
        );
    }

    #[test]
    fn the_same_image_changes_nothing() {
        assert!(
            operations(&deployment(), &["app=app:1".to_owned()])
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn unknown_containers_are_named() {
        for text in ["web=x", "x:1", "app="] {
            assert_eq!(
                operations(&deployment(), &[text.to_owned()])
                    .unwrap_err()
                    .exit,
                Exit::Usage,
                "{text}"
            );
        }
    }
}
