//! `promote`, `pause`, `resume`, `abort`, `retry`, `undo`: a command is written into the Rollout, and its
//! answer is waited for.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use crossfade_api::{Action, ControlStatus, Phase};
use crossfade_engine::identity::{fingerprint, images};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::args::Control;
use crate::cluster::{Cluster, call};
use crate::commands::end::{END, Waiting, ended, print_of};
use crate::commands::gate::{Gate, template_of};
use crate::exit::{Exit, Failure};
use crate::follow::{self, Follow, View, phase};
use crate::rollout::Rollout;
use crate::{find, output};

/// Longest wait for the controller's answer.
pub const ANSWER: Duration = Duration::from_secs(15);

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub action: Action,
    pub full: bool,
    pub force: bool,
    /// With `undo`: the revision to go back to.
    pub revision: Option<u32>,
}

impl From<Action> for Order {
    fn from(action: Action) -> Self {
        Self {
            action,
            full: false,
            force: false,
            revision: None,
        }
    }
}

/// A name that does not repeat.
pub fn fresh_id() -> String {
    // The standard library keys each of these with random bytes of the operating system.
    let number = || {
        std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish()
    };
    format!("{:016x}", number() ^ number().rotate_left(17))
}

/// A command as it was written.
#[derive(Debug)]
pub struct Written {
    id: String,
    action: Action,
    /// Of the Rollout, by the write.
    generation: Option<i64>,
}

/// Writes the command.
pub async fn write(
    cluster: &Cluster,
    rollout: &Rollout,
    order: Order,
    reason: Option<&str>,
) -> Result<Written, Failure> {
    let id = fresh_id();
    let status = rollout.status.as_ref();
    let abort = order.action == Action::Abort;
    // Every field is named: a merge patch keeps those of the command before.
    let control = json!({
        "id": id,
        "action": order.action.as_str(),
        "candidate": status.and_then(|status| status.candidate.as_ref()).map(|candidate| &candidate.name),
        "step": status.and_then(|status| status.step.as_ref()).map(|step| step.index).filter(|_| !abort),
        "full": order.full.then_some(true),
        "force": order.force.then_some(true),
        "revision": order.revision,
        "reason": reason,
        "author": null,
    });
    let patch = json!({ "spec": { "control": control } });
    let parameters = PatchParams {
        field_manager: Some("crossfade-cli".to_owned()),
        ..PatchParams::default()
    };
    let what = format!("write the command {}", order.action.as_str());
    let api = cluster.rollouts();
    let name = rollout.name_any();
    let patched = call(&what, api.patch(&name, &parameters, &Patch::Merge(&patch))).await?;
    Ok(Written {
        id,
        action: order.action,
        generation: patched.metadata.generation,
    })
}

/// What became of a command.
#[derive(Debug)]
enum Fate {
    Handled(Box<ControlStatus>),
    /// Another one stands in its place.
    Replaced,
}

/// What became of it by this state; `None`: nothing yet.
fn fate(rollout: &Rollout, written: &Written) -> Option<Fate> {
    let handled = (rollout.status.as_ref()).and_then(|status| status.control.as_ref());
    if let Some(handled) = handled.filter(|handled| handled.id == written.id) {
        return Some(Fate::Handled(Box::new(handled.clone())));
    }
    let stands = rollout.raw().pointer("/spec/control/id");
    // A state from before our write has another command too.
    let since = rollout.metadata.generation > written.generation;
    (since && stands.and_then(Value::as_str) != Some(&written.id)).then_some(Fate::Replaced)
}

/// Waits until the controller has handled the command.
pub async fn answer(
    cluster: &Cluster,
    name: &str,
    written: &Written,
    limit: Duration,
) -> Result<ControlStatus, Failure> {
    let mut follow = Follow::new(cluster, name);
    answered(&mut follow, name, written, limit).await
}

async fn answered(
    follow: &mut Follow,
    name: &str,
    written: &Written,
    limit: Duration,
) -> Result<ControlStatus, Failure> {
    let mut view = View::silent();
    let fate = follow::until(follow, &mut view, Some(limit), |rollout| {
        fate(rollout?, written)
    });
    match fate.await? {
        Some(Fate::Handled(handled)) => Ok(*handled),
        Some(Fate::Replaced) => Err(Failure::new(format!(
            "{name}: {}: superseded by another command before it was answered",
            written.action.as_str()
        ))
        .next(format!(
            "see crossfade status {name}, and give it again if it is still meant"
        ))
        .exit(Exit::Aborted)),
        None => Err(unanswered(follow.state(), written)),
    }
}

fn unanswered(rollout: Option<&Rollout>, written: &Written) -> Failure {
    let failure =
        Failure::new("the command is written, but the controller has not answered it yet");
    let failure = match rollout {
        Some(rollout) if defers(rollout, written.action) => failure.next(
            "the hand-over goes forward only: the undo is taken up as soon as it is through; see crossfade status -w",
        ),
        _ => failure.next(
            "is the controller running? It carries the command out as soon as it does; see crossfade status -w",
        ),
    };
    failure.exit(Exit::TimedOut)
}

/// The planner takes an undo up when there is something to undo.
fn defers(rollout: &Rollout, action: Action) -> bool {
    action == Action::Undo && phase(rollout) == Phase::HandingOver
}

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
        (Phase::Idle, _) => wrong(
            "no release is under way",
            format!(
                "start one: crossfade run deployment/{} --image …",
                find::deployment(rollout)
            ),
        ),
        (Phase::RolledBack, Action::Promote | Action::Pause | Action::Resume | Action::Abort) => {
            wrong(
                "the release was taken back already",
                format!("crossfade retry {name}, or push another template"),
            )
        }
        _ => Ok(()),
    }
}

pub async fn run(cluster: &Cluster, order: Order, arguments: &Control) -> Result<Exit, Failure> {
    let rollout = find::rollout(cluster, arguments.workload.as_deref()).await?;
    // An abort is never kept back by what was seen a moment ago.
    if order.action != Action::Abort || phase(&rollout) == Phase::Idle {
        refuse_early(&rollout, order.action)?;
    }
    let name = rollout.name_any();
    if let Some(why) = rollout.unreadable() {
        eprintln!("{name}: {why}");
    }
    if defers(&rollout, order.action) {
        eprintln!(
            "{name}: the hand-over goes forward only: the undo is taken up as soon as it is through"
        );
    }
    let written = write(cluster, &rollout, order, arguments.reason.as_deref()).await?;
    let limit = arguments
        .timeout
        .map(|limit| Duration::from_millis(limit.milliseconds()));
    let begun = Instant::now();
    let mut follow = Follow::new(cluster, &name);
    let answer = answered(&mut follow, &name, &written, limit.unwrap_or(ANSWER));
    let handled = answer.await?;
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
                .next(format!("see crossfade status {name}"))
                .exit(Exit::Aborted));
        }
        _ => return Err(Failure::new(sentence).next(format!("see crossfade explain {name}"))),
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
    match end.tell(&name, arguments.output) {
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
    use super::*;

    #[test]
    fn ids_do_not_repeat() {
        let ids: std::collections::BTreeSet<String> = (0..1000).map(|_| fresh_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 16));
    }

    fn rollout(generation: i64, control: Value, status: Value) -> Rollout {
        Rollout::read(json!({
            "metadata": { "name": "web", "generation": generation },
            "spec": { "control": control }, "status": status,
        }))
    }

    #[test]
    fn a_command_is_answered_or_replaced() {
        let written = Written {
            id: "mine".to_owned(),
            action: Action::Undo,
            generation: Some(5),
        };
        let id = |id: &str| json!({ "id": id, "action": "pause" });
        let waits = json!({ "phase": "Progressing" });
        // From before the write; written; replaced; taken out by somebody's apply.
        assert!(fate(&rollout(4, id("older"), waits.clone()), &written).is_none());
        assert!(fate(&rollout(5, id("mine"), waits.clone()), &written).is_none());
        for control in [id("newer"), Value::Null] {
            let fate = fate(&rollout(6, control, waits.clone()), &written);
            assert!(matches!(fate, Some(Fate::Replaced)));
        }
        let handled = json!({ "control": { "id": "mine", "generation": 5, "action": "undo", "outcome": "done",
            "message": "", "by": "ann" } });
        let fate = fate(&rollout(6, id("newer"), handled), &written);
        assert!(matches!(fate, Some(Fate::Handled(_))));
        let handing_over = rollout(5, id("mine"), json!({ "phase": "HandingOver" }));
        let said = unanswered(Some(&handing_over), &written).to_string();
        assert!(said.contains("as soon as it is through"), "{said}");
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
