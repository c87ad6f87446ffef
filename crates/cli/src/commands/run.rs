//! `run` and `set image`: another template and `paused: true` in one request, so that a release
//! starts gated even where no webhook stands guard.

use std::time::Duration;

use crossfade_api::{Phase, annotations};
use crossfade_engine::identity::{fingerprint, images};
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::args::Format;
use crate::cluster::Cluster;
use crate::commands::end::{END, Waiting, ended, print_of, rejected, retry};
use crate::commands::gate::Gate;
use crate::exit::{Exit, Failure};
use crate::find::{self, Named};
use crate::follow::phase;
use crate::rollout::Rollout;
use crate::{called, output, raw};

/// Longest wait until a template that was rejected before is held again, and so can be released again.
const HELD: Duration = Duration::from_secs(60);

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
    // What there is to print at once; with `wait` the end of the release takes its place.
    let format = release.output.filter(|_| !release.wait);
    let namespace = &cluster.namespace;
    let uri = raw::deployment(namespace, &name);
    let deployment = raw::get(cluster, "read the Deployment", &uri)
        .await?
        .ok_or_else(|| {
            Failure::new(format!(
                "there is no Deployment {name} in namespace {namespace}"
            ))
            .next("name the namespace with -n")
        })?;
    refuse_early(namespace, &name, &deployment)?;
    let operations = operations(&deployment, release.images)?;
    let pushed = !operations.is_empty();
    let mut limit = release
        .timeout
        .map(|limit| Duration::from_millis(limit.milliseconds()));
    let mut unchanged = None;
    let changed = if pushed {
        let patch = Value::Array(operations);
        let changed = raw::patch(cluster, "change the template", &uri, &patch).await?;
        eprintln!("{name}: template changed, gated");
        output::object(changed.clone(), format)?;
        changed
    } else {
        let gate = Gate::of(cluster, deployment.clone()).await?;
        let state = Unchanged::of(rollout.as_ref(), &gate);
        unchanged = Some(state);
        match (state, &rollout) {
            (Unchanged::Serves, _) => {
                eprintln!("{name}: unchanged, nothing to release");
                output::object(deployment, release.output)?;
                return Ok(Exit::Done);
            }
            (Unchanged::Held, Some(rollout)) => {
                let began = Instant::now();
                let handled = retry(cluster, rollout, limit).await?;
                limit = limit.map(|limit| limit.saturating_sub(began.elapsed()));
                output::done(&rollout.name_any(), &handled, format)?;
            }
            (Unchanged::UnderWay, _) => {
                eprintln!("{name}: this template is being released already");
                output::object(deployment.clone(), format)?;
            }
            (state, _) if !release.wait => {
                return Err(state.failure(namespace, &name, rollout.as_ref()));
            }
            (state, _) => eprintln!("{name}: unchanged; {}", state.words()),
        }
        deployment
    };
    // The controller makes a Rollout of the Deployment's name if there is none yet.
    let rollout_name =
        (rollout.as_ref()).map_or_else(|| name.clone(), |rollout| rollout.name_any());
    let template = &changed["spec"]["template"];
    let template = (fingerprint(template), images(template));
    // Of a release that is there already it is the end that is waited for.
    let there = matches!(unchanged, Some(Unchanged::UnderWay | Unchanged::TakenBack));
    let begins = matches!(unchanged, None | Some(Unchanged::Gated));
    let held = begins && (rollout.as_ref()).is_some_and(|it| will_be_held(it, &template.0));
    let waiting = match rollout.as_ref().filter(|_| there) {
        Some(rollout) => Waiting::for_candidate(rollout),
        None => Waiting::for_template(rollout.as_ref(), Some(template)),
    };
    if !release.wait {
        if held {
            let mut waiting = waiting.until_retried();
            let limit = limit.unwrap_or(HELD);
            let end = ended(cluster, &rollout_name, &name, &mut waiting, limit).await?;
            if end.exit == Exit::TimedOut {
                return Err(late(namespace, &name));
            }
            end.tell(namespace, &rollout_name, None)?;
        }
        eprintln!("follow it: {}", about(namespace, "status -w", &name));
        return Ok(Exit::Done);
    }
    let mut waiting = if held { waiting.retrying() } else { waiting };
    let limit = limit.unwrap_or(END);
    ended(cluster, &rollout_name, &name, &mut waiting, limit)
        .await?
        .tell(namespace, &rollout_name, release.output)
}

/// A command of ours about the Rollout of a Deployment; there may be none yet.
fn about(namespace: &str, command: &str, deployment: &str) -> String {
    called::crossfade(namespace, &format!("{command} deployment/{deployment}"))
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

/// Paused without anybody who would release it, the change would wait for ever: without the annotation the
/// controller starts nothing, also where a Rollout is left.
fn refuse_early(namespace: &str, name: &str, deployment: &Value) -> Result<(), Failure> {
    if find::opted_in(deployment) {
        return Ok(());
    }
    let annotation = annotations::STRATEGY;
    Err(Failure::new(format!(
        "Deployment {name} is not released by Crossfade: it has no annotation {annotation}"
    ))
    .next(format!("opt it in: {}", find::opt_in(namespace, name))))
}

/// What becomes of a template that the Deployment has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unchanged {
    Serves,
    /// Somebody paused it on what serves.
    Paused,
    /// Its release has not begun.
    Gated,
    UnderWay,
    /// Its release ends just now.
    TakenBack,
    /// It was rejected.
    Held,
}

impl Unchanged {
    fn of(rollout: Option<&Rollout>, gate: &Gate) -> Self {
        let phase = rollout.map(phase).unwrap_or_default();
        let own = || {
            let print = rollout.and_then(print_of);
            print.is_none_or(|print| print == gate.print())
        };
        match (phase, rollout) {
            (Phase::Preparing | Phase::Progressing | Phase::Warm | Phase::HandingOver, _)
                if own() =>
            {
                Self::UnderWay
            }
            (Phase::RollingBack, rollout) if is_taken_back(rollout, &gate.print()) => {
                Self::TakenBack
            }
            (Phase::RolledBack, _) if gate.serves() => Self::Serves,
            (Phase::RolledBack, Some(rollout)) if rejected(rollout, gate) => Self::Held,
            (Phase::Idle, _) if !gate.paused() => Self::Serves,
            (Phase::Idle, _) if !gate.gated() => Self::Paused,
            _ => Self::Gated,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Serves => "it is what serves",
            Self::Paused => "the Deployment is paused on the template that serves",
            Self::Gated => "this template is gated, and its release has not begun",
            Self::UnderWay => "this template is being released already",
            Self::TakenBack => "this template is being taken back just now",
            Self::Held => "this template was rejected before",
        }
    }

    /// Said where nobody waits to see what becomes of it.
    fn failure(self, namespace: &str, name: &str, rollout: Option<&Rollout>) -> Failure {
        let message = rollout
            .and_then(|rollout| rollout.status.as_ref()?.message.as_deref())
            .filter(|_| self == Self::Gated)
            .map_or_else(String::new, |message| format!(" ({message})"));
        let next = match self {
            Self::Paused => {
                let resume = format!("rollout resume deployment/{name}");
                let resume = called::kubectl(namespace, &resume);
                format!("unpause it: {resume}; no pod is replaced")
            }
            Self::TakenBack => format!(
                "{}, as soon as that is over",
                about(namespace, "retry", name)
            ),
            _ => format!(
                "{} says why; if it says nothing, see whether the controller runs",
                about(namespace, "explain", name)
            ),
        };
        Failure::new(format!("{name}: unchanged; {}{message}", self.words())).next(next)
    }
}

/// The template was rejected before, and what is under way takes its time to end.
fn late(namespace: &str, name: &str) -> Failure {
    Failure::new(format!(
        "{name}: this template was rejected before and will be held; what is under way has not ended yet"
    ))
    .next(format!(
        "{}, as soon as {} shows RolledBack",
        about(namespace, "retry", name),
        about(namespace, "status -w", name)
    ))
    .exit(Exit::TimedOut)
}

/// Whether the candidate that goes just now is made from this template.
fn is_taken_back(rollout: Option<&Rollout>, print: &str) -> bool {
    let going = rollout.filter(|rollout| phase(rollout) == Phase::RollingBack);
    going.is_some_and(|rollout| print_of(rollout).is_none_or(|own| own == print))
}

/// Whether the controller will hold a template: it was rejected, and is not pushed from rest, or was one
/// time too many.
fn will_be_held(rollout: &Rollout, print: &str) -> bool {
    // After a hand-over it is at rest.
    let idle = matches!(phase(rollout), Phase::Idle | Phase::HandingOver);
    let memory = rollout.memory().unwrap_or_default();
    let mut rejected = memory.rejected.iter();
    rejected.any(|rejected| rejected.fingerprint == print && (rejected.often || !idle))
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
                .next("write CONTAINER=IMAGE, for example app=registry.example/app:2")
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
    use crate::commands::gate::tests::gate;

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

    #[test]
    fn without_the_annotation_nothing_is_changed() {
        let failure = refuse_early("shop", "web", &deployment()).unwrap_err();
        let text = failure.to_string();
        assert!(text.contains(annotations::STRATEGY), "{text}");
        let mut opted_in = deployment();
        opted_in["metadata"]["annotations"] = json!({ annotations::STRATEGY: "canary" });
        assert!(refuse_early("shop", "web", &opted_in).is_ok());
    }

    fn rollout(phase: &str, of: &str, rejected: &[&str]) -> Rollout {
        let print = |image: &str| gate(image, true).print();
        let rejected: Vec<Value> = rejected
            .iter()
            .map(|image| json!({ "fingerprint": print(image) }))
            .collect();
        Rollout::read(json!({
            "metadata": { "name": "web" }, "spec": {},
            "status": { "phase": phase, "message": "no metrics port is known",
                "memory": { "release": { "fingerprint": print(of) }, "rejected": rejected } },
        }))
    }

    #[test]
    fn what_is_advised_is_for_the_cluster_that_was_looked_at() {
        let _plugin = called::tests::as_plugin();
        let said = |state: Unchanged| state.failure("shop", "web", None).to_string();
        let late = late("shop", "web").to_string();
        for (text, part) in [
            (
                said(Unchanged::Paused),
                "kubectl -n shop --context east rollout resume deployment/web",
            ),
            (
                said(Unchanged::TakenBack),
                "kubectl crossfade -n shop --context east retry deployment/web",
            ),
            (
                said(Unchanged::Gated),
                "kubectl crossfade -n shop --context east explain deployment/web",
            ),
            (
                late.clone(),
                "kubectl crossfade -n shop --context east retry deployment/web",
            ),
            (
                late,
                "kubectl crossfade -n shop --context east status -w deployment/web",
            ),
            (
                refuse_early("shop", "web", &deployment())
                    .unwrap_err()
                    .to_string(),
                "kubectl -n shop --context east annotate deployment/web crossfade.dev/strategy=canary",
            ),
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn what_is_gated_is_not_released() {
        let idle = rollout("Idle", "app:0", &[]);
        // Pods serve app:1.
        for (image, paused, state) in [
            ("app:2", true, Unchanged::Gated),
            ("app:1", true, Unchanged::Paused),
            ("app:1", false, Unchanged::Serves),
        ] {
            assert_eq!(Unchanged::of(Some(&idle), &gate(image, paused)), state);
            assert_eq!(Unchanged::of(None, &gate(image, paused)), state);
        }
        let failure = Unchanged::Gated.failure("shop", "web", Some(&idle));
        assert_eq!(failure.exit, Exit::Error);
        let text = failure.to_string();
        assert!(
            text.contains("gated") && text.contains("no metrics port"),
            "{text}"
        );
    }

    #[test]
    fn an_unchanged_template_by_phase() {
        for (phase, of, rejected, state) in [
            ("Warm", "app:2", [].as_slice(), Unchanged::UnderWay),
            ("Warm", "app:3", &[], Unchanged::Gated),
            ("RollingBack", "app:2", &[], Unchanged::TakenBack),
            ("RollingBack", "app:3", &[], Unchanged::Gated),
            ("RolledBack", "app:2", &["app:2"], Unchanged::Held),
            ("RolledBack", "app:3", &["app:3"], Unchanged::Gated),
        ] {
            let rollout = rollout(phase, of, rejected);
            let said = Unchanged::of(Some(&rollout), &gate("app:2", true));
            assert_eq!(said, state, "{phase} of {of}");
        }
        let reverted = rollout("RolledBack", "app:2", &["app:2"]);
        let said = Unchanged::of(Some(&reverted), &gate("app:1", true));
        assert_eq!(said, Unchanged::Serves);
    }

    #[test]
    fn what_was_rejected_before_is_held_unless_pushed_from_rest() {
        let print = gate("app:2", true).print();
        let held = |phase: &str| will_be_held(&rollout(phase, "app:3", &["app:2"]), &print);
        assert!(held("RolledBack") && held("Progressing"));
        assert!(!held("Idle") && !held("HandingOver"));
        assert!(!will_be_held(
            &rollout("RolledBack", "app:3", &["app:3"]),
            &print
        ));
    }
}
