//! `uninstall`: first what is under way, then admission, then the rest.
//!
//! A Deployment left paused on a template that was never let through would start it, unjudged, at
//! the first unpause. So nothing is removed while a candidate is held.

use std::time::Duration;

use crossfade_api::install;
use crossfade_api::{Action, Phase, Rollout, annotations};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::args::Uninstall;
use crate::cluster::{Cluster, call};
use crate::commands::control::{self, Order};
use crate::exit::{Exit, Failure};
use crate::follow::{self, Follow, View, phase};
use crate::{find, raw};

pub async fn run(cluster: &Cluster, arguments: &Uninstall) -> Result<Exit, Failure> {
    let held = held(cluster, arguments.which.namespaces.as_deref()).await?;
    if !held.is_empty() && !arguments.revert && !arguments.release {
        let names: Vec<String> = held
            .iter()
            .map(|rollout| {
                format!(
                    "{}/{} ({})",
                    rollout.namespace().unwrap_or_default(),
                    rollout.name_any(),
                    phase(rollout).as_str()
                )
            })
            .collect();
        return Err(Failure::new(format!("there are held candidates: {}", names.join(", "))).next(
            "uninstall --revert takes them away and puts the old templates back; uninstall --release keeps them, unjudged. \
             Both need the running controller",
        ));
    }
    let limit = Duration::from_millis(arguments.timeout.milliseconds());
    for rollout in &held {
        let there = Cluster {
            client: cluster.client.clone(),
            namespace: rollout.namespace().unwrap_or_default(),
        };
        if arguments.release {
            release(&there, rollout, limit).await?;
        } else {
            revert(&there, rollout, limit).await?;
        }
    }
    remove(cluster, arguments).await
}

/// Rollouts that are not at rest.
async fn held(cluster: &Cluster, namespaces: Option<&[String]>) -> Result<Vec<Rollout>, Failure> {
    let api: Api<Rollout> = Api::all(cluster.client.clone());
    let listed = call("list the Rollouts", async {
        match api.list(&ListParams::default()).await {
            Ok(list) => Ok(list.items),
            // The kinds are gone already.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    })
    .await?;
    Ok(listed
        .into_iter()
        .filter(|rollout| {
            namespaces.is_none_or(|names| names.contains(&rollout.namespace().unwrap_or_default()))
        })
        .filter(|rollout| phase(rollout) != Phase::Idle)
        .collect())
}

async fn order(cluster: &Cluster, rollout: &Rollout, order: Order) -> Result<(), Failure> {
    let name = rollout.name_any();
    let id = control::write(cluster, rollout, order, Some("crossfade uninstall")).await?;
    let handled = control::answer(cluster, &name, &id, Duration::from_secs(30)).await?;
    if handled.outcome == "done" {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{name}: {} {}: {}",
        handled.action, handled.outcome, handled.message
    )))
}

async fn wait_for(
    cluster: &Cluster,
    rollout: &Rollout,
    limit: Duration,
    wanted: &[Phase],
) -> Result<Rollout, Failure> {
    let name = rollout.name_any();
    let mut follow = Follow::new(cluster, &name);
    let mut view = View::log();
    let reached = follow::until(&mut follow, &mut view, Some(limit), |state| {
        state
            .filter(|state| wanted.contains(&phase(state)))
            .cloned()
    });
    reached.await?.ok_or_else(|| {
        Failure::new(format!(
            "{name} is not at rest after {} s; nothing was removed",
            limit.as_secs()
        ))
        .next(format!(
            "crossfade -n {} explain {name} says what it waits for",
            cluster.namespace
        ))
        .exit(Exit::TimedOut)
    })
}

/// Keeps the candidate.
async fn release(cluster: &Cluster, rollout: &Rollout, limit: Duration) -> Result<(), Failure> {
    let mut rollout = rollout.clone();
    match phase(&rollout) {
        Phase::HandingOver => {}
        Phase::RollingBack | Phase::RolledBack => {
            return Err(Failure::new(format!("{} was rolled back: its template is rejected", rollout.name_any()))
                .next("uninstall --revert puts the old template back; crossfade retry releases the new one again"));
        }
        _ => {
            order(
                cluster,
                &rollout,
                Order {
                    full: true,
                    ..Action::Promote.into()
                },
            )
            .await?
        }
    }
    rollout = wait_for(cluster, &rollout, limit, &[Phase::Idle, Phase::RolledBack]).await?;
    if phase(&rollout) == Phase::Idle {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} was rolled back instead; nothing was removed",
        rollout.name_any()
    ))
    .next("uninstall --revert puts the old template back")
    .exit(Exit::RolledBack))
}

/// Takes the candidate away and puts stable's template back; the controller then unpauses, and no
/// pod is replaced.
async fn revert(cluster: &Cluster, rollout: &Rollout, limit: Duration) -> Result<(), Failure> {
    match phase(rollout) {
        Phase::RollingBack | Phase::RolledBack | Phase::HandingOver => {}
        _ => order(cluster, rollout, Action::Abort.into()).await?,
    }
    let rollout = wait_for(cluster, rollout, limit, &[Phase::Idle, Phase::RolledBack]).await?;
    if phase(&rollout) == Phase::Idle {
        return Ok(());
    }
    let name = find::deployment(&rollout);
    let stable = rollout
        .status
        .as_ref()
        .and_then(|status| status.stable.as_ref())
        .map(|stable| stable.name.clone());
    let gone = || {
        Failure::new(format!("{name}: the old template cannot be found"))
            .next("push it yourself (git revert), wait for phase Idle, then uninstall")
    };
    let base = format!("/apis/apps/v1/namespaces/{}", cluster.namespace);
    let set = raw::get(
        cluster,
        "read stable's ReplicaSet",
        &format!("{base}/replicasets/{}", stable.ok_or_else(gone)?),
    )
    .await?
    .ok_or_else(gone)?;
    let uri = format!("{base}/deployments/{name}");
    let deployment = raw::get(cluster, "read the Deployment", &uri)
        .await?
        .ok_or_else(gone)?;
    let mut template = set["spec"]["template"].clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(annotations::POD_TEMPLATE_HASH);
    }
    let operations = json!([
        { "op": "test", "path": "/metadata/uid", "value": deployment["metadata"]["uid"] },
        { "op": "test", "path": "/spec/template", "value": deployment["spec"]["template"] },
        { "op": "replace", "path": "/spec/template", "value": template },
    ]);
    raw::patch(cluster, "put the old template back", &uri, &operations).await?;
    eprintln!("{name}: old template put back; Git may still hold the new one");
    wait_for(cluster, &rollout, limit, &[Phase::Idle]).await?;
    Ok(())
}

/// Admission first, so that from then on nobody is refused; then rights and what the controller
/// keeps. The namespace stays: others may live there.
async fn remove(cluster: &Cluster, arguments: &Uninstall) -> Result<Exit, Failure> {
    let installation = super::install::installation(&cluster.namespace, &arguments.which);
    let mut objects = install::admission(&installation);
    objects.extend(install::admission_service(&installation));
    objects.extend(install::rbac(&installation));
    let own = |version: &str, kind: &str, name: &str| -> Value {
        json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name, "namespace": installation.namespace } })
    };
    objects.push(own("coordination.k8s.io/v1", "Lease", &installation.name));
    objects.push(own("v1", "Secret", &installation.secret_name()));
    objects.push(own("v1", "ServiceAccount", &installation.service_account));
    if arguments.kinds {
        objects.extend(install::crds());
    }
    for object in &objects {
        if raw::delete(cluster, object).await? {
            eprintln!("deleted {}", raw::title(object));
        }
    }
    eprintln!(
        "Uninstalled. Stop the controller too. The namespace {} is left as it is.",
        installation.namespace
    );
    if !arguments.kinds {
        eprintln!("The kinds and Rollouts are left too; uninstall --kinds removes them.");
    }
    Ok(Exit::Done)
}
