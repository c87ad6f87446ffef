//! One command for one Rollout: written into it, and its answer waited for. Not here: which command it is,
//! what is said around it, and how the release ends.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use crossfade_api::{Action, ControlStatus, Phase};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use serde_json::{Value, json};

use crate::cluster::{Cluster, call, explain};
use crate::exit::{Exit, Failure};
use crate::find;
use crate::follow::{self, Follow, View, phase};
use crate::raw;
use crate::rollout::Rollout;

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
fn fresh_id() -> String {
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
    /// The Rollout it was written into: one of the same name later does not have it.
    uid: Option<String>,
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
    let patch = patch(rollout, &id, order, reason);
    let parameters = PatchParams {
        field_manager: Some(raw::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let what = format!("write the command {}", order.action.as_str());
    let api = cluster.rollouts();
    let name = rollout.name_any();
    let answer = call(&what, async {
        match api.patch(&name, &parameters, &Patch::Merge(&patch)).await {
            Ok(patched) => Ok(Ok(patched)),
            Err(kube::Error::Api(status)) => Ok(Err(status)),
            Err(error) => Err(error),
        }
    });
    match answer.await? {
        Ok(patched) => Ok(Written {
            id,
            action: order.action,
            uid: patched.metadata.uid,
            generation: patched.metadata.generation,
        }),
        Err(status) => Err(refused(cluster, rollout, order.action, &what, status).await),
    }
}

fn patch(rollout: &Rollout, id: &str, order: Order, reason: Option<&str>) -> Value {
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
    let mut patch = json!({ "spec": { "control": control } });
    // A uid cannot be changed: the API server refuses the patch where the name is another Rollout's by now.
    // Its resourceVersion is not named: the controller writes the status at each pass, and no abort may lose
    // to that.
    if let Some(uid) = &rollout.metadata.uid {
        patch["metadata"] = json!({ "uid": uid });
    }
    patch
}

/// What the API server refused. In its own words a Rollout that was created again has a field that is
/// immutable, which says nothing to anybody: it is looked at again.
async fn refused(
    cluster: &Cluster,
    rollout: &Rollout,
    action: Action,
    what: &str,
    status: Box<Status>,
) -> Failure {
    if matches!(status.code, 404 | 409 | 422) {
        let name = rollout.name_any();
        let now = call("read the Rollout", cluster.rollouts().get_opt(&name)).await;
        if let Ok(now) = now {
            let now = now.map(Rollout::from);
            if let Some(why) = another(rollout, now.as_ref(), action) {
                return why;
            }
        }
    }
    if status.code == 422 && status.message.contains("spec.control") {
        return Failure::new(format!("cannot {what}: {}", status.message)).next(format!(
            "wait until the abort is carried out ({}); {} takes it back",
            find::about(rollout, "status -w"),
            find::about(rollout, "retry")
        ));
    }
    explain(what, &kube::Error::Api(status))
}

/// The Rollout that was looked at is not there any more; `None`: it is.
fn another(looked_at: &Rollout, now: Option<&Rollout>, action: Action) -> Option<Failure> {
    let (name, action) = (looked_at.name_any(), action.as_str());
    match now {
        None => Some(
            Failure::new(format!(
                "{name}: the Rollout was deleted after it was looked at; {action} was not given"
            ))
            .next(format!(
                "{} shows what is there; one that was made from the annotation comes again within seconds",
                find::beside(looked_at, "list")
            )),
        ),
        Some(now) if now.metadata.uid != looked_at.metadata.uid => Some(
            Failure::new(format!(
                "{name}: the Rollout was deleted and created again after it was looked at; {action} was meant for \
                 the one that is gone (uid {}, now {}) and was not given",
                looked_at.metadata.uid.as_deref().unwrap_or("unknown"),
                now.metadata.uid.as_deref().unwrap_or("unknown"),
            ))
            .next(format!(
                "look at the new one, and give the command again if it is still meant: {}",
                find::about(now, "status")
            )),
        ),
        Some(_) => None,
    }
}

/// What became of a command.
#[derive(Debug)]
enum Fate {
    Handled(Box<ControlStatus>),
    /// Another one stands in its place.
    Replaced,
    /// The Rollout it was written into is gone; true: there is another of its name.
    Gone(bool),
}

/// What became of it by this state; `None`: nothing yet.
fn fate(rollout: Option<&Rollout>, written: &Written) -> Option<Fate> {
    let Some(rollout) = rollout else {
        return Some(Fate::Gone(false));
    };
    if written.uid.is_some() && rollout.metadata.uid != written.uid {
        return Some(Fate::Gone(true));
    }
    let handled = (rollout.status.as_ref()).and_then(|status| status.control.as_ref());
    if let Some(handled) = handled.filter(|handled| handled.id == written.id) {
        return Some(Fate::Handled(Box::new(handled.clone())));
    }
    let stands = rollout.raw().pointer("/spec/control/id");
    // A state from before our write has another command too.
    let since = rollout.metadata.generation > written.generation;
    (since && stands.and_then(Value::as_str) != Some(&written.id)).then_some(Fate::Replaced)
}

/// Waits until the controller has handled the command. `longer`: what gives it more time, for who asks.
pub async fn answered(
    follow: &mut Follow,
    rollout: &Rollout,
    written: &Written,
    limit: Duration,
    longer: Option<&str>,
) -> Result<ControlStatus, Failure> {
    let mut view = View::silent();
    let fate = follow::until(follow, &mut view, Some(limit), |rollout| {
        fate(rollout, written)
    });
    let (name, action) = (rollout.name_any(), written.action.as_str());
    match fate.await? {
        Some(Fate::Handled(handled)) => Ok(*handled),
        Some(Fate::Replaced) => Err(Failure::new(format!(
            "{name}: {action}: superseded by another command before it was answered"
        ))
        .next(format!(
            "see {}, and give it again if it is still meant",
            find::about(rollout, "status")
        ))
        .exit(Exit::Aborted)),
        Some(Fate::Gone(again)) => Err(Failure::new(format!(
            "{name}: {action} was not answered: the Rollout was deleted{}",
            if again {
                " and created again, and the new one has no command"
            } else {
                ""
            }
        ))
        .next(format!(
            "{} shows what is there; give it again if it is still meant",
            find::beside(rollout, "list")
        ))),
        None => {
            let now = follow.state().unwrap_or(rollout);
            Err(unanswered(now, written, limit, longer))
        }
    }
}

fn unanswered(
    rollout: &Rollout,
    written: &Written,
    limit: Duration,
    longer: Option<&str>,
) -> Failure {
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let follow = find::about(rollout, "status -w");
    let next = if defers(rollout, written.action) {
        format!(
            "the hand-over goes forward only: the undo is taken up as soon as it is through; {follow} shows when"
        )
    } else {
        format!(
            "is the controller running? It carries the command out as soon as it does; {follow} shows when, {} what \
             is in its way",
            find::about(rollout, "explain")
        )
    };
    let longer = longer.map_or_else(String::new, |longer| {
        format!("; {longer} waits longer for the answer")
    });
    Failure::new(format!(
        "{}: {} is written, but the controller has not answered it within {}",
        rollout.name_any(),
        written.action.as_str(),
        crossfade_api::Duration::from_milliseconds(limit)
    ))
    .next(format!("{next}{longer}"))
    .exit(Exit::TimedOut)
}

/// The planner takes an undo up when there is something to undo.
pub fn defers(rollout: &Rollout, action: Action) -> bool {
    action == Action::Undo && phase(rollout) == Phase::HandingOver
}

#[cfg(test)]
mod tests;
