//! `promote`, `pause`, `resume`, `abort`, `retry`, `undo`: a command is written into the Rollout, and its
//! answer is waited for.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use crossfade_api::{Action, ControlStatus, HistoryEntry, Phase};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::args::{Control, Format};
use crate::cluster::{Cluster, call};
use crate::commands::end::{Ended, ended};
use crate::exit::{Exit, Failure};
use crate::follow::{self, Follow, View, phase};
use crate::rollout::Rollout;
use crate::{find, output};

/// Longest wait for the controller's answer.
const ANSWER: Duration = Duration::from_secs(15);
/// Longest wait for the end of a release.
const END: Duration = Duration::from_secs(3600);

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

/// Writes the command; gives its id.
pub async fn write(
    cluster: &Cluster,
    rollout: &Rollout,
    order: Order,
    reason: Option<&str>,
) -> Result<String, Failure> {
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
    call(
        &what,
        cluster
            .rollouts()
            .patch(&rollout.name_any(), &parameters, &Patch::Merge(&patch)),
    )
    .await?;
    Ok(id)
}

/// Waits until the controller has handled the command.
pub async fn answer(
    cluster: &Cluster,
    name: &str,
    id: &str,
    limit: Duration,
) -> Result<ControlStatus, Failure> {
    let mut follow = Follow::new(cluster, name);
    let mut view = View::silent();
    let handled = follow::until(&mut follow, &mut view, Some(limit), |rollout| {
        rollout?
            .status
            .as_ref()?
            .control
            .clone()
            .filter(|control| control.id == id)
    });
    handled.await?.ok_or_else(|| {
        Failure::new("the command is written, but the controller has not answered it yet")
            .next("is the controller running? It carries the command out as soon as it does; see crossfade status -w")
            .exit(Exit::TimedOut)
    })
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
            format!("start one: crossfade run deployment/{name} --image …"),
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
    let id = write(cluster, &rollout, order, arguments.reason.as_deref()).await?;
    let limit = arguments
        .timeout
        .map(|limit| Duration::from_millis(limit.milliseconds()));
    let answer_limit = if arguments.wait {
        ANSWER
    } else {
        limit.unwrap_or(ANSWER)
    };
    let handled = answer(cluster, &name, &id, answer_limit).await?;
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
    if order.action == Action::Undo {
        let limit = limit.unwrap_or(END);
        return undone(cluster, &name, &handled, limit, arguments.output).await;
    }
    let mut follow = Follow::new(cluster, &name);
    let before = Ended::of(Some(&rollout));
    let end = ended(&mut follow, &before, limit.unwrap_or(END)).await?;
    // Who asked for an abort and gets one has what was asked for.
    let as_asked = order.action == Action::Abort && end.exit == Exit::Aborted;
    match end.tell(&name, arguments.output) {
        Err(failure) if as_asked && failure.exit == Exit::Aborted => Ok(Exit::Done),
        outcome => outcome,
    }
}

/// Waits until what was asked for serves: the Deployment has the template and is at rest with it.
async fn undone(
    cluster: &Cluster,
    name: &str,
    handled: &ControlStatus,
    limit: Duration,
    format: Option<Format>,
) -> Result<Exit, Failure> {
    let mut follow = Follow::new(cluster, name);
    let mut view = View::log();
    let ended = follow::until(&mut follow, &mut view, Some(limit), |rollout| {
        let status = rollout?.status.as_ref()?;
        let pending = |memory: &serde_json::Value| memory.get("undo").is_some();
        if status.memory.as_ref().is_some_and(pending) {
            return None;
        }
        let newest = status.history.first();
        let failed =
            newest.filter(|entry| entry.outcome == "rolled-back" && entry.ended_at > handled.at);
        match status.phase {
            Some(Phase::Idle) => Some(Ok(newest
                .filter(|entry| entry.ended_at >= handled.at)
                .cloned())),
            Some(Phase::RolledBack) => failed.map(|entry| Err(Box::new(entry.clone()))),
            _ => None,
        }
    });
    let ended: Option<Result<Option<HistoryEntry>, Box<HistoryEntry>>> = ended.await?;
    match ended {
        Some(Ok(entry)) => {
            match entry {
                Some(entry) => output::done(name, &entry, format)?,
                // No release was under way, and none was needed: the template was the one that serves.
                None => output::done(name, handled, format)?,
            }
            Ok(Exit::Done)
        }
        Some(Err(entry)) => {
            output::done(name, &entry, format)?;
            Err(Failure::new(format!(
                "{name}: the earlier version was taken back too: {}",
                entry.reason
            ))
            .next(format!("see crossfade explain {name}"))
            .exit(Exit::RolledBack))
        }
        None => Err(
            Failure::new(format!("{name}: not back yet after {limit:?}"))
                .next(format!("see crossfade status -w {name}"))
                .exit(Exit::TimedOut),
        ),
    }
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

    #[test]
    fn a_phase_of_a_newer_version_keeps_no_abort_back() {
        let rollout = |phase: &str| {
            Rollout::read(json!({ "metadata": { "name": "web" }, "status": { "phase": phase } }))
        };
        assert!(refuse_early(&rollout("Mirroring"), Action::Abort).is_ok());
        assert!(refuse_early(&rollout("Idle"), Action::Abort).is_err());
    }
}
