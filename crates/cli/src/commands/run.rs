//! `run` and `set image`: another template and `paused: true` in one request, so that a release
//! starts gated even where no webhook stands guard.

use std::time::Duration;

use crossfade_api::{Action, Phase, annotations};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::args::Format;
use crate::cluster::Cluster;
use crate::commands::control;
use crate::commands::end::{Ended, ended};
use crate::exit::{Exit, Failure};
use crate::find::{self, Named};
use crate::follow::{Follow, phase};
use crate::rollout::Rollout;
use crate::{output, raw};

/// Longest wait for the end of a release.
const END: Duration = Duration::from_secs(3600);
/// What to release, and whether to stay until it is over.
pub struct Release<'a> {
    pub workload: &'a str,
    pub images: &'a [String],
    pub wait: bool,
    pub timeout: Option<crossfade_api::Duration>,
    pub output: Option<Format>,
}

pub async fn run(cluster: &Cluster, release: &Release<'_>) -> Result<Exit, Failure> {
    let (name, rollout) = meant(cluster, find::named(release.workload)?).await?;
    let name = name.as_str();
    // What there is to print at once; with `wait` the end of the release takes its place.
    let format = release.output.filter(|_| !release.wait);
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
    let operations = operations(&deployment, release.images)?;
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
                output::done(&rollout.name_any(), &handled, format)?;
                if handled.outcome != "done" {
                    return Err(Failure::new(format!(
                        "retry {}: {}",
                        handled.outcome, handled.message
                    )));
                }
            }
            Some(rollout) if phase(rollout) != Phase::Idle => {
                eprintln!("{name}: this template is being released already");
                output::object(deployment, format)?;
            }
            _ => {
                eprintln!("{name}: unchanged, nothing to release");
                output::object(deployment, release.output)?;
                return Ok(Exit::Done);
            }
        }
    } else {
        let changed = raw::patch(
            cluster,
            "change the template",
            &uri,
            &Value::Array(operations),
        )
        .await?;
        eprintln!("{name}: template changed, gated");
        output::object(changed, format)?;
    }
    if !release.wait {
        eprintln!("follow it: crossfade status -w {name}");
        return Ok(Exit::Done);
    }
    let limit = release
        .timeout
        .map_or(END, |limit| Duration::from_millis(limit.milliseconds()));
    // The controller makes a Rollout of the Deployment's name if there is none yet.
    let rollout_name = rollout.map_or_else(|| name.to_owned(), |rollout| rollout.name_any());
    ended(&mut Follow::new(cluster, &rollout_name), &before, limit)
        .await?
        .tell(&rollout_name, release.output)
}

/// The Deployment that is meant, and the Rollout that is for it.
async fn meant(cluster: &Cluster, named: Named<'_>) -> Result<(String, Option<Rollout>), Failure> {
    if let Named::Rollout(name) = named {
        let rollout = find::rollout(cluster, Some(&format!("rollout/{name}"))).await?;
        return Ok((find::deployment(&rollout), Some(rollout)));
    }
    // A bare name is the Deployment's here: that is what is changed.
    let named = Named::Deployment(named.name());
    let rollout = find::rollout_of(cluster, named).await?;
    Ok((named.name().to_owned(), rollout))
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
