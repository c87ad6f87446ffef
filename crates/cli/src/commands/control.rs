//! `promote`, `pause`, `resume`, `abort`, `retry`, `undo`: a command is given, and what comes of it is waited
//! for. Not here: how it is written and answered, which is `order`'s, and what an end is, which is `end`'s.

use std::time::Duration;

use crossfade_api::{Action, Phase};
use crossfade_engine::identity::{fingerprint, images};
use kube::ResourceExt;
use serde_json::Value;
use tokio::time::Instant;

use crate::args::Control;
use crate::cluster::Cluster;
use crate::commands::end::{END, Waiting, ended, print_of};
use crate::commands::gate::{Gate, template_of};
use crate::commands::order::{self, ANSWER, Order, defers};
use crate::exit::{Exit, Failure};
use crate::find::{self, Twins};
use crate::follow::{Follow, phase};
use crate::output;
use crate::rollout::Rollout;

/// Nothing under way: said here, so that nobody waits for an answer that cannot help.
fn refuse_early(rollout: &Rollout, action: Action) -> Result<(), Failure> {
    let (name, phase) = (rollout.name_any(), phase(rollout));
    // What is not understood here the controller may understand.
    if rollout.misread().is_some() {
        return Ok(());
    }
    let wrong = |why: &str, next: String| Err(Failure::new(format!("{name}: {why}")).next(next));
    match (phase, action) {
        // Which revisions there are the controller knows.
        (_, Action::Undo) => Ok(()),
        // It may begin any moment.
        (Phase::Idle, Action::Abort) if gated(rollout) => Ok(()),
        (Phase::Idle, _) if gated(rollout) => wrong(
            "a template is gated, and its release has not begun",
            format!(
                "{} says why; {} withdraws it",
                find::about(rollout, "explain"),
                find::about(rollout, "undo")
            ),
        ),
        (Phase::Idle, _) => wrong(
            "no release is under way",
            format!(
                "start one: {}",
                find::beside(
                    rollout,
                    &format!(
                        "run deployment/{} --image CONTAINER=IMAGE",
                        find::deployment(rollout)
                    )
                )
            ),
        ),
        (Phase::RolledBack, Action::Promote | Action::Pause | Action::Resume | Action::Abort) => {
            wrong(
                "the release was taken back already",
                format!(
                    "{}, or push another template",
                    find::about(rollout, "retry")
                ),
            )
        }
        _ => Ok(()),
    }
}

/// It is the second one for its Deployment: it would never be answered, and what goes on is told elsewhere.
fn ignored(rollout: &Rollout, all: &[Rollout], action: Action) -> Option<Failure> {
    let (name, deployment) = (rollout.name_any(), find::deployment(rollout));
    let Twins {
        carried_out,
        others,
    } = find::twins(all, &deployment)?;
    others.contains(&name).then(|| {
        let action = action.as_str();
        Failure::new(format!(
            "{name}: {action} was not given: Rollout {carried_out} is for the Deployment {deployment} too and was \
             there first; it is carried out, and {name} does nothing"
        ))
        .next(format!(
            "give it to that one: {}; {} says how to get rid of one",
            find::beside(rollout, &format!("{action} {carried_out}")),
            find::about(rollout, "explain")
        ))
    })
}

/// Whether a template waits for its release, as far as the controller's memory can be read.
fn gated(rollout: &Rollout) -> bool {
    rollout.memory().is_some_and(|memory| memory.gated)
}

/// How long the answer is waited for where no time is given. An undo in a hand-over is answered when that is
/// through: who waits for the end waits for it too.
const fn patience(deferred: bool, wait: bool) -> Duration {
    if deferred && wait { END } else { ANSWER }
}

pub async fn run(cluster: &Cluster, order: Order, arguments: &Control) -> Result<Exit, Failure> {
    let rollout = find::rollout(cluster, arguments.workload.as_deref()).await?;
    // One that was never looked at has nothing to abort: there is time to see why.
    if rollout.status.is_none()
        && let Ok(all) = find::all(cluster).await
        && let Some(why) = ignored(&rollout, &all, order.action)
    {
        return Err(why);
    }
    // An abort is never kept back by what was seen a moment ago.
    if order.action != Action::Abort || phase(&rollout) == Phase::Idle {
        refuse_early(&rollout, order.action)?;
    }
    let name = rollout.name_any();
    if let Some(why) = rollout.unreadable() {
        eprintln!("{name}: {why}");
    }
    let deferred = defers(&rollout, order.action);
    if deferred {
        eprintln!(
            "{name}: the hand-over goes forward only: the undo is taken up as soon as it is through"
        );
    }
    let written = order::write(cluster, &rollout, order, arguments.reason.as_deref()).await?;
    let limit = arguments
        .timeout
        .map(|limit| Duration::from_millis(limit.milliseconds()));
    let begun = Instant::now();
    let mut follow = Follow::new(cluster, &name);
    let handled = order::answered(
        &mut follow,
        &rollout,
        &written,
        limit.unwrap_or(patience(deferred, arguments.wait)),
        Some("--timeout"),
    )
    .await?;
    let sentence = format!(
        "{name}: {} {}: {}",
        handled.action, handled.outcome, handled.message
    );
    // Printed whatever the outcome: who reads data reads `outcome` too.
    if !arguments.wait || handled.outcome != "done" {
        output::done(&name, &handled, arguments.output)?;
    }
    match handled.outcome.as_str() {
        "done" => eprintln!("{sentence}"),
        "superseded" => {
            return Err(Failure::new(sentence)
                .next(format!("see {}", find::about(&rollout, "status")))
                .exit(Exit::Aborted));
        }
        _ => {
            return Err(
                Failure::new(sentence).next(format!("see {}", find::about(&rollout, "explain")))
            );
        }
    }
    if !arguments.wait {
        return Ok(Exit::Done);
    }
    let mut waiting = match order.action {
        Action::Undo => {
            let wanted = wanted(cluster, &rollout, follow.state()).await;
            Waiting::for_template(Some(&rollout), wanted)
        }
        Action::Retry => Waiting::for_template(Some(&rollout), held(&rollout)),
        _ => Waiting::for_candidate(&rollout),
    };
    // One limit for both: who waits has a time in mind, not two.
    let left = limit.unwrap_or(END).saturating_sub(begun.elapsed());
    let deployment = find::deployment(&rollout);
    let end = ended(cluster, &name, &deployment, &mut waiting, left).await?;
    // No release was under way, and none was needed: the template was the one that serves.
    if end.exit == Exit::Done && end.entry.is_none() {
        output::done(&name, &handled, arguments.output)?;
    }
    // Who asked for an abort and gets one has what was asked for.
    let as_asked = order.action == Action::Abort && end.exit == Exit::Aborted;
    match end.tell(&cluster.namespace, &name, arguments.output) {
        Err(failure) if as_asked && failure.exit == Exit::Aborted => Ok(Exit::Done),
        outcome => outcome,
    }
}

/// The template that an undo goes back to, by fingerprint and images; `None`: it cannot be known. The undo
/// is carried out all the same, so that this is no error.
async fn wanted(
    cluster: &Cluster,
    before: &Rollout,
    answered: Option<&Rollout>,
) -> Option<(String, Vec<String>)> {
    let gate = Gate::read(cluster, &find::deployment(before)).await;
    asked_for(before, answered, &gate.ok()??.sets)
}

fn asked_for(
    before: &Rollout,
    answered: Option<&Rollout>,
    sets: &[Value],
) -> Option<(String, Vec<String>)> {
    // Written down with the answer, and dropped when the Deployment has the template.
    let undo = answered?.raw().pointer("/status/memory/undo")?;
    let set = match undo["set"].as_str() {
        Some(uid) => sets.iter().find(|set| set["metadata"]["uid"] == uid),
        None => {
            let stable = &before.status.as_ref()?.stable.as_ref()?.name;
            sets.iter().find(|set| set["metadata"]["name"] == **stable)
        }
    };
    let template = template_of(set?);
    Some((fingerprint(&template), images(&template)))
}

/// The template that is held, by fingerprint and images.
fn held(rollout: &Rollout) -> Option<(String, Vec<String>)> {
    let candidate = rollout.status.as_ref()?.candidate.as_ref()?;
    Some((print_of(rollout)?, candidate.images.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::called;

    fn rollout(generation: i64, control: Value, status: Value) -> Rollout {
        Rollout::read(json!({
            "metadata": { "name": "web", "namespace": "shop", "generation": generation },
            "spec": { "control": control }, "status": status,
        }))
    }

    #[test]
    fn what_is_advised_is_for_the_cluster_that_was_looked_at() {
        let _plugin = called::tests::as_plugin();
        let refused = |status: Value, action: Action| {
            let failure = refuse_early(&rollout(1, Value::Null, status), action);
            failure.unwrap_err().to_string()
        };
        let idle = || json!({ "phase": "Idle" });
        let gated = json!({ "phase": "Idle", "memory": { "gated": true } });
        for (text, command) in [
            (refused(idle(), Action::Pause), "run deployment/web --image"),
            (
                refused(json!({ "phase": "RolledBack" }), Action::Promote),
                "retry web",
            ),
            (refused(gated.clone(), Action::Promote), "explain web"),
            (refused(gated, Action::Promote), "undo web"),
        ] {
            let part = format!("kubectl crossfade -n shop --context east {command}");
            assert!(text.contains(&part), "{part} in {text}");
        }
    }

    #[test]
    fn a_command_for_the_second_rollout_of_a_deployment_names_the_first() {
        let _plugin = called::tests::as_plugin();
        let one = |name: &str, day: u32| {
            Rollout::read(json!({
                "metadata": { "name": name, "namespace": "shop", "creationTimestamp": format!("2026-01-0{day}T00:00:00Z") },
                "spec": { "deployment": "web" },
            }))
        };
        let all = [one("again", 2), one("web", 1)];
        assert!(ignored(&all[1], &all, Action::Abort).is_none());
        assert!(ignored(&all[0], &all[..1], Action::Abort).is_none());
        let text = ignored(&all[0], &all, Action::Abort).unwrap().to_string();
        for part in [
            "abort was not given: Rollout web is for the Deployment web too",
            "kubectl crossfade -n shop --context east abort web",
            "kubectl crossfade -n shop --context east explain again",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn an_abort_reaches_a_release_that_is_about_to_begin() {
        let gated = |gated: bool| {
            let status = json!({ "phase": "Idle", "memory": { "gated": gated } });
            rollout(1, Value::Null, status)
        };
        assert!(refuse_early(&gated(true), Action::Abort).is_ok());
        assert!(refuse_early(&gated(false), Action::Abort).is_err());
        let said = refuse_early(&gated(true), Action::Pause).unwrap_err();
        assert!(said.to_string().contains("is gated"), "{said}");
    }

    #[test]
    fn who_waits_for_the_end_of_an_undo_waits_for_the_hand_over_too() {
        assert_eq!(patience(true, true), END);
        assert_eq!(patience(true, false), ANSWER);
        assert_eq!(patience(false, true), ANSWER);
    }

    #[test]
    fn a_phase_of_a_newer_version_keeps_no_abort_back() {
        let odd = rollout(1, Value::Null, json!({ "phase": "Mirroring" }));
        assert!(refuse_early(&odd, Action::Abort).is_ok());
        let idle = rollout(1, Value::Null, json!({ "phase": "Idle" }));
        assert!(refuse_early(&idle, Action::Abort).is_err());
    }

    #[test]
    fn an_undo_goes_back_to_what_is_written_down() {
        use crate::commands::gate::tests::set;
        let sets = [set("one", "u1", 3, "app:1"), set("two", "u1", 0, "app:2")];
        let before = rollout(
            1,
            Value::Null,
            json!({ "stable": { "name": "one", "replicas": 3, "ready": 3 } }),
        );
        let answered = |undo: Value| rollout(1, Value::Null, json!({ "memory": { "undo": undo } }));
        let images = |undo: Value| {
            let found = asked_for(&before, Some(&answered(undo)), &sets);
            found.map(|(_, images)| images.join(","))
        };
        assert_eq!(images(json!({ "set": "two" })).as_deref(), Some("app:2"));
        assert_eq!(images(json!({})).as_deref(), Some("app:1"));
        assert_eq!(images(json!({ "set": "gone" })), None);
    }
}
