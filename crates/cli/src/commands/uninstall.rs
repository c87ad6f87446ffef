//! `uninstall`: first what is under way, then admission, then the rest.
//!
//! A Deployment left paused on a template that was never let through would start it, unjudged, at
//! the first unpause. So nothing is removed while a candidate is held.

use std::time::Duration;

use crossfade_api::install;
use crossfade_api::{Action, Phase};
use crossfade_engine::identity::same_template;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::args::Uninstall;
use crate::cluster::{Cluster, call};
use crate::commands::disown::leave_no_name;
use crate::commands::gate::{Gate, template_of};
use crate::commands::order::{self, Order};
use crate::exit::{Exit, Failure};
use crate::follow::{self, Follow, View, phase};
use crate::rollout::Rollout;
use crate::{called, find, raw};

/// Longest wait for the controller's answer to a command; `--timeout` is for what it then does.
const ANSWER: Duration = Duration::from_secs(30);

pub async fn run(cluster: &Cluster, arguments: &Uninstall) -> Result<Exit, Failure> {
    let again = again(&cluster.namespace, arguments);
    let held = held(cluster, arguments).await?;
    if !held.is_empty() && !arguments.revert && !arguments.release {
        let names: Vec<String> = held
            .iter()
            .map(|rollout| {
                let state = match phase(rollout) {
                    Phase::Idle => "gated",
                    _ => rollout.phase_word(),
                };
                format!(
                    "{}/{} ({state})",
                    rollout.namespace().unwrap_or_default(),
                    rollout.name_any(),
                )
            })
            .collect();
        return Err(
            Failure::new(format!("there are held candidates: {}", names.join(", "))).next(format!(
                "{again} --revert takes them away and puts the old templates back; {again} --release keeps them, \
                 unjudged. Both need the running controller"
            )),
        );
    }
    let limit = Duration::from_millis(arguments.timeout.milliseconds());
    for rollout in &held {
        let there = Cluster {
            client: cluster.client.clone(),
            namespace: rollout.namespace().unwrap_or_default(),
        };
        if arguments.release {
            release(&there, rollout, limit, &again).await?;
        } else {
            revert(&there, rollout, limit, &again).await?;
        }
    }
    remove(cluster, arguments).await
}

/// This command as it was given, without what becomes of candidates.
fn again(namespace: &str, arguments: &Uninstall) -> String {
    let which = &arguments.which;
    let mut command = "uninstall".to_owned();
    let usual = install::Installation::default();
    if which.name != usual.name {
        command.push_str(&format!(" --name {}", which.name));
    }
    if which.service_account != usual.service_account {
        command.push_str(&format!(" --service-account {}", which.service_account));
    }
    if let Some(names) = &which.namespaces {
        command.push_str(&format!(" --namespaces {}", names.join(",")));
    }
    if arguments.kinds {
        command.push_str(" --kinds");
    }
    called::crossfade(namespace, &command)
}

/// Rollouts that hold a candidate back, and those whose Deployment waits gated for its release. What
/// another installation carries out keeps its controller and its admission, but not its kinds.
async fn held(cluster: &Cluster, arguments: &Uninstall) -> Result<Vec<Rollout>, Failure> {
    let which = &arguments.which;
    let api = cluster.all_rollouts();
    let listed = call("list the Rollouts", async {
        match api.list(&ListParams::default()).await {
            Ok(list) => Ok(list.items),
            // The kinds are gone already.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    })
    .await?;
    let ours = listed.into_iter().map(Rollout::from).filter(|rollout| {
        let namespaces = which.namespaces.as_ref();
        namespaces.is_none_or(|names| names.contains(&rollout.namespace().unwrap_or_default()))
    });
    let mut held = Vec::new();
    for rollout in ours {
        if !arguments.kinds
            && let Some(other) = elsewhere(&rollout, &which.name)
            && is_there(cluster, other).await?
        {
            continue;
        }
        if phase(&rollout) != Phase::Idle || gated(cluster, &rollout).await? {
            held.push(rollout);
        }
    }
    Ok(held)
}

/// Another installation that carries the release out.
fn elsewhere<'a>(rollout: &'a Rollout, installation: &str) -> Option<&'a str> {
    let status = rollout.status.as_ref();
    let holder = status.and_then(|status| status.controller.as_deref());
    holder.filter(|holder| phase(rollout) != Phase::Idle && *holder != installation)
}

/// Whether an installation is there at all: one that is gone guards nothing.
async fn is_there(cluster: &Cluster, name: &str) -> Result<bool, Failure> {
    let installation = install::Installation {
        name: name.to_owned(),
        ..install::Installation::default()
    };
    for gate in install::mutating(&installation) {
        let uri = raw::path(&gate)?;
        if raw::get(cluster, "look for the other installation", &uri)
            .await?
            .is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the Deployment of a Rollout at rest is paused on a template that does not serve. Paused on the
/// one that does, somebody else paused it: nothing would start.
async fn gated(cluster: &Cluster, rollout: &Rollout) -> Result<bool, Failure> {
    let there = Cluster {
        client: cluster.client.clone(),
        namespace: rollout.namespace().unwrap_or_default(),
    };
    let gate = Gate::read(&there, &find::deployment(rollout)).await?;
    Ok(gate.is_some_and(|gate| gate.gated()))
}

async fn order(cluster: &Cluster, rollout: &Rollout, order: Order) -> Result<(), Failure> {
    let name = rollout.name_any();
    let written = order::write(cluster, rollout, order, Some("crossfade uninstall")).await?;
    let mut follow = Follow::new(cluster, &name);
    let handled = order::answered(&mut follow, rollout, &written, ANSWER, None).await?;
    if handled.outcome == "done" {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{name}: {} {}: {}; nothing was removed",
        handled.action, handled.outcome, handled.message
    ))
    .next(format!("see {}", find::about(rollout, "explain"))))
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
            "{} says what it waits for",
            called::crossfade(&cluster.namespace, &format!("explain {name}"))
        ))
        .exit(Exit::TimedOut)
    })
}

/// Keeps the candidate.
async fn release(
    cluster: &Cluster,
    rollout: &Rollout,
    limit: Duration,
    again: &str,
) -> Result<(), Failure> {
    let mut rollout = rollout.clone();
    match phase(&rollout) {
        Phase::HandingOver => {}
        // No release of it has begun, and as a rule none can: there is nothing to promote.
        Phase::Idle => {
            return Err(Failure::new(format!(
                "{}/{}: its template is gated and its release has not begun",
                cluster.namespace,
                rollout.name_any()
            ))
            .next(format!(
                "{} names the mend; or {again} --revert puts the old template back",
                called::crossfade(
                    &cluster.namespace,
                    &format!("explain {}", rollout.name_any())
                )
            )));
        }
        Phase::RollingBack | Phase::RolledBack => {
            return Err(Failure::new(format!(
                "{} was rolled back: its template is rejected",
                rollout.name_any()
            ))
            .next(format!(
                "{again} --revert puts the old template back; {} releases the new one again",
                called::crossfade(&cluster.namespace, &format!("retry {}", rollout.name_any()))
            )));
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
    .next(format!("{again} --revert puts the old template back"))
    .exit(Exit::RolledBack))
}

/// Takes the candidate away and puts stable's template back; the controller then unpauses, and no
/// pod is replaced.
async fn revert(
    cluster: &Cluster,
    rollout: &Rollout,
    limit: Duration,
    again: &str,
) -> Result<(), Failure> {
    match phase(rollout) {
        Phase::RollingBack | Phase::RolledBack | Phase::HandingOver => {}
        Phase::Idle => return put_back(cluster, rollout, limit, again).await,
        _ => order(cluster, rollout, Action::Abort.into()).await?,
    }
    let rollout = wait_for(cluster, rollout, limit, &[Phase::Idle, Phase::RolledBack]).await?;
    if phase(&rollout) == Phase::Idle {
        return Ok(());
    }
    put_back(cluster, &rollout, limit, again).await
}

/// Writes the template that serves into the Deployment and sees to it that it is unpaused.
async fn put_back(
    cluster: &Cluster,
    rollout: &Rollout,
    limit: Duration,
    again: &str,
) -> Result<(), Failure> {
    let name = find::deployment(rollout);
    let gone = || {
        Failure::new(format!("{name}: the old template cannot be found")).next(
            "push it yourself (git revert), wait until the Deployment is unpaused, then uninstall",
        )
    };
    let uri = raw::deployment(&cluster.namespace, &name);
    let gate = Gate::read(cluster, &name).await?.ok_or_else(gone)?;
    let deployment = &gate.deployment;
    // Scaled to 0 none has pods; then the status still knows which was stable.
    let stable = rollout
        .status
        .as_ref()
        .and_then(|status| status.stable.as_ref())
        .map(|stable| stable.name.as_str());
    let named = |set: &&Value| stable.is_some() && set["metadata"]["name"].as_str() == stable;
    let set = (gate.sets.iter().find(named))
        .or_else(|| gate.serving())
        .ok_or_else(gone)?;
    let template = template_of(set);
    let operations = json!([
        { "op": "test", "path": "/metadata/uid", "value": deployment["metadata"]["uid"] },
        { "op": "test", "path": "/spec/template", "value": deployment["spec"]["template"] },
        { "op": "replace", "path": "/spec/template", "value": template },
    ]);
    raw::patch(cluster, "put the old template back", &uri, &operations).await?;
    eprintln!("{name}: old template put back; Git may still hold the new one");
    if phase(rollout) != Phase::Idle {
        wait_for(cluster, rollout, limit, &[Phase::Idle]).await?;
        leave_no_name(cluster, &name, &uri).await;
        return Ok(());
    }
    // At rest the controller leaves a pause on the template that serves to people. Read again: what is
    // unpaused has to be what was written, as the server stored it.
    let deployment = raw::get(cluster, "read the Deployment", &uri)
        .await?
        .ok_or_else(gone)?;
    if !same_template(&deployment["spec"]["template"], &set["spec"]["template"]) {
        return Err(Failure::new(format!(
            "{name}: somebody wrote another template in between; nothing was removed"
        ))
        .next(format!("give it again: {again} --revert")));
    }
    let operations = json!([
        { "op": "test", "path": "/metadata/uid", "value": deployment["metadata"]["uid"] },
        { "op": "test", "path": "/spec/template", "value": deployment["spec"]["template"] },
        { "op": "add", "path": "/spec/paused", "value": false },
    ]);
    raw::patch(cluster, "unpause the Deployment", &uri, &operations).await?;
    leave_no_name(cluster, &name, &uri).await;
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
        json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name, "namespace": installation.namespace, "labels": { (install::INSTANCE): installation.name } } })
    };
    objects.push(own("coordination.k8s.io/v1", "Lease", &installation.name));
    objects.push(own("v1", "Secret", &installation.secret_name()));
    objects.push(own("v1", "ServiceAccount", &installation.service_account));
    if arguments.kinds {
        objects.extend(install::crds());
    }
    for object in &objects {
        // The usual ServiceAccount may be that of an installation of another name.
        if let Some(other) = super::install::other_instance(cluster, object).await? {
            eprintln!(
                "left {}, which belongs to the installation {other}",
                raw::title(object)
            );
            continue;
        }
        if raw::delete(cluster, object).await? {
            eprintln!("deleted {}", raw::title(object));
        }
    }
    eprintln!(
        "Uninstalled. Stop the controller too. The namespace {} is left as it is.",
        installation.namespace
    );
    if !arguments.kinds {
        let again = again(&cluster.namespace, arguments);
        eprintln!("The kinds and Rollouts are left too; {again} --kinds removes them.");
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Command};

    #[test]
    fn the_same_command_is_named_again() {
        let _plugin = called::tests::as_plugin();
        let given = |line: &str| {
            let line = format!("crossfade uninstall {line}");
            let parsed = Arguments::try_parse_from(line.split_whitespace());
            match parsed.unwrap().command {
                Command::Uninstall(arguments) => again("west", &arguments),
                _ => String::new(),
            }
        };
        assert_eq!(
            given(""),
            "kubectl crossfade -n west --context east uninstall"
        );
        assert!(
            given("--kinds --name blue --service-account b --namespaces a,b --revert")
                .ends_with(" uninstall --name blue --service-account b --namespaces a,b --kinds")
        );
    }

    #[test]
    fn what_another_installation_carries_out_is_not_in_the_way() {
        let rollout = |phase: &str, holder: &str| -> Rollout {
            serde_json::from_value(json!({
                "apiVersion": "crossfade.dev/v1alpha1", "kind": "Rollout", "metadata": { "name": "web" },
                "spec": {}, "status": { "phase": phase, "controller": holder },
            }))
            .unwrap()
        };
        let elsewhere = |phase, holder| elsewhere(&rollout(phase, holder), "crossfade").is_some();
        assert!(elsewhere("Warm", "another"));
        assert!(!elsewhere("Warm", "crossfade"));
        // At rest whoever is left takes the next release: a gated template would be lost with the last one.
        assert!(!elsewhere("Idle", "another"));
    }
}
