//! The status of a Deployment: counts and conditions. Pure. Which writes are made is decided by the
//! pass.

use crossfade_fakeapi::At;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::numbers::{asked, max_unavailable, progress_deadline, reported};
use crate::actors::object::{condition, list, name, number, replicas, stamp, text, time};

/// Reasons of Progressing.
pub const PAUSED: &str = "DeploymentPaused";
pub const RESUMED: &str = "DeploymentResumed";
pub const TIMED_OUT: &str = "ProgressDeadlineExceeded";
pub const COMPLETE: &str = "NewReplicaSetAvailable";
pub const CREATED: &str = "NewReplicaSetCreated";
pub const FOUND: &str = "FoundNewReplicaSet";
pub const NOT_CREATED: &str = "ReplicaSetCreateError";
pub const UPDATED: &str = "ReplicaSetUpdated";

/// A condition of now.
#[must_use]
pub fn new_condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Value {
    json!({
        "type": kind,
        "status": status,
        "lastUpdateTime": stamp(now),
        "lastTransitionTime": stamp(now),
        "reason": reason,
        "message": message,
    })
}

/// Takes a condition into a status. Equal status and reason change nothing, not even the message;
/// an equal status keeps the time of its transition.
pub fn set_condition(status: &mut Value, mut condition: Value) {
    let kind = text(&condition, "/type").to_owned();
    if let Some(current) = list(status, "/conditions")
        .iter()
        .find(|known| text(known, "/type") == kind)
        && text(current, "/status") == text(&condition, "/status")
    {
        if text(current, "/reason") == text(&condition, "/reason") {
            return;
        }
        condition["lastTransitionTime"] = current["lastTransitionTime"].clone();
    }
    remove_condition(status, &kind);
    match status.get_mut("conditions").and_then(Value::as_array_mut) {
        Some(conditions) => conditions.push(condition),
        None => status["conditions"] = json!([condition]),
    }
}

/// Takes a condition out of a status.
pub fn remove_condition(status: &mut Value, kind: &str) {
    if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        conditions.retain(|known| text(known, "/type") != kind);
    }
}

/// The status that follows from the ReplicaSets: counts and Available; other conditions as they were.
#[must_use]
pub fn counted(
    deployment: &Value,
    sets: &[Arc<Value>],
    new: Option<&Arc<Value>>,
    now: Timestamp,
) -> Value {
    let available = reported(sets, "availableReplicas");
    let new: Vec<Arc<Value>> = new.into_iter().cloned().collect();
    let mut status = Map::new();
    for (field, count) in [
        (
            "observedGeneration",
            number(deployment, "/metadata/generation"),
        ),
        ("replicas", reported(sets, "replicas")),
        ("updatedReplicas", reported(&new, "replicas")),
        ("readyReplicas", reported(sets, "readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (asked(sets) - available).max(0)),
    ] {
        if count != 0 {
            status.insert(field.to_owned(), count.into());
        }
    }
    if let Some(collisions) = deployment.at("/status/collisionCount") {
        status.insert("collisionCount".to_owned(), collisions.clone());
    }
    let conditions = list(deployment, "/status/conditions").to_vec();
    status.insert("conditions".to_owned(), conditions.into());
    let mut status = Value::Object(status);
    let enough = available >= replicas(deployment) - max_unavailable(deployment);
    let condition = if enough {
        new_condition(
            "Available",
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
            now,
        )
    } else {
        new_condition(
            "Available",
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
            now,
        )
    };
    set_condition(&mut status, condition);
    status
}

fn complete(deployment: &Value, status: &Value) -> bool {
    let wanted = replicas(deployment);
    ["/updatedReplicas", "/replicas", "/availableReplicas"]
        .iter()
        .all(|field| number(status, field) == wanted)
        && number(status, "/observedGeneration") >= number(deployment, "/metadata/generation")
}

/// Whether the Deployment is complete by the status it has.
#[must_use]
pub fn is_complete(deployment: &Value) -> bool {
    deployment
        .get("status")
        .is_some_and(|status| complete(deployment, status))
}

fn progressing(deployment: &Value, status: &Value) -> bool {
    let nothing = Value::Null;
    let before = deployment.get("status").unwrap_or(&nothing);
    let old = |status| number(status, "/replicas") - number(status, "/updatedReplicas");
    number(status, "/updatedReplicas") > number(before, "/updatedReplicas")
        || old(status) < old(before)
        || number(status, "/readyReplicas") > number(before, "/readyReplicas")
        || number(status, "/availableReplicas") > number(before, "/availableReplicas")
}

fn timed_out(status: &Value, deadline: i64, now: Timestamp) -> bool {
    let Some(condition) = list(status, "/conditions")
        .iter()
        .find(|known| text(known, "/type") == "Progressing")
    else {
        return false;
    };
    match text(condition, "/reason") {
        COMPLETE => false,
        TIMED_OUT => true,
        _ => time(condition, "/lastUpdateTime")
            .is_some_and(|from| from.as_second() + deadline < now.as_second()),
    }
}

/// The status while a rollout goes on: [`counted`], and what Progressing and ReplicaFailure say.
#[must_use]
pub fn of_rollout(
    deployment: &Value,
    sets: &[Arc<Value>],
    new: Option<&Arc<Value>>,
    now: Timestamp,
) -> Value {
    let mut status = counted(deployment, sets, new, now);
    let current = condition(deployment, "Progressing");
    let deadline = progress_deadline(deployment);
    if deadline.is_none() {
        remove_condition(&mut status, "Progressing");
    }
    let was_complete = number(&status, "/replicas") == number(&status, "/updatedReplicas")
        && current.is_some_and(|current| text(current, "/reason") == COMPLETE);
    if let Some(deadline) = deadline.filter(|_| !was_complete) {
        let subject = new.map_or_else(
            || format!("Deployment \"{}\"", name(deployment)),
            |new| format!("ReplicaSet \"{}\"", name(new)),
        );
        if complete(deployment, &status) {
            let message = format!("{subject} has successfully progressed.");
            set_condition(
                &mut status,
                new_condition("Progressing", "True", COMPLETE, &message, now),
            );
        } else if progressing(deployment, &status) {
            let message = format!("{subject} is progressing.");
            let mut condition = new_condition("Progressing", "True", UPDATED, &message, now);
            // A new update time each time something moved: the deadline counts from it.
            if let Some(current) = current {
                if text(current, "/status") == "True" {
                    condition["lastTransitionTime"] = current["lastTransitionTime"].clone();
                }
                remove_condition(&mut status, "Progressing");
            }
            set_condition(&mut status, condition);
        } else if timed_out(&status, deadline, now) {
            let message = format!("{subject} has timed out progressing.");
            set_condition(
                &mut status,
                new_condition("Progressing", "False", TIMED_OUT, &message, now),
            );
        }
    }
    match failure(sets, new) {
        Some(failure) => set_condition(&mut status, failure),
        None => remove_condition(&mut status, "ReplicaFailure"),
    }
    status
}

/// Why a ReplicaSet cannot create its pods: the new one's word counts first.
fn failure(sets: &[Arc<Value>], new: Option<&Arc<Value>>) -> Option<Value> {
    let found = new
        .into_iter()
        .chain(sets)
        .find_map(|set| condition(set, "ReplicaFailure"))?;
    Some(json!({
        "type": "ReplicaFailure",
        "status": found["status"],
        "lastUpdateTime": found["lastTransitionTime"],
        "lastTransitionTime": found["lastTransitionTime"],
        "reason": found["reason"],
        "message": found["message"],
    }))
}

/// When the progress deadline must be looked at again, in seconds from now; nothing if it runs
/// for nobody.
#[must_use]
pub fn look_again(deployment: &Value, status: &Value, now: Timestamp) -> Option<u64> {
    let current = condition(deployment, "Progressing")?;
    let deadline = progress_deadline(deployment)?;
    if complete(deployment, status) || text(current, "/reason") == TIMED_OUT {
        return None;
    }
    let from = time(current, "/lastUpdateTime")?.as_second();
    let left = from + deadline - now.as_second();
    // One more second, so that the deadline is over then.
    Some(u64::try_from(left.max(0)).unwrap_or_default() + 1)
}
