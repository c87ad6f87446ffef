//! Which templates and unpauses pass admission without analysis. Pure, as all of admission: what is
//! live was read for the request.

use crossfade_api::{Phase, annotations};
use jiff::Timestamp;
use serde_json::Value;

use crate::admit::{Request, annotation, paused};
use crate::identity::{fingerprint, same_template};

/// How long something must have stood still before a template may pass natively, in milliseconds.
const STUCK: i64 = 60_000;

/// What may happen to a write that would let pods of another template serve.
pub(crate) enum Passage {
    /// It is gated.
    Gated,
    /// It passes natively, because of this.
    Native(String),
    /// Neither now: try again.
    Refused(String),
}

/// Native passage exists only at the gate: never for a rejected template or a release under way. Only a
/// bypass, which is somebody's word, lets a rejected one pass.
pub(crate) fn passage(request: &Request<'_>) -> Passage {
    if !matches!(request.live.phase, None | Some(Phase::Idle)) || paused(request.old_object) {
        return Passage::Gated;
    }
    if let Some(reason) = counting_bypass(request) {
        return Passage::Native(format!("{}: {reason}", annotations::BYPASS));
    }
    if rejected(request) {
        return Passage::Gated;
    }
    let replicas = request
        .object
        .pointer("/spec/replicas")
        .and_then(Value::as_u64)
        .unwrap_or(1);
    if replicas == 0 {
        return Passage::Native("spec.replicas is 0, nothing serves".to_owned());
    }
    if unavailable(request) {
        return Passage::Native("no pod has been available for 60 s".to_owned());
    }
    if active(request).count() > 1 {
        let moved = time_of(
            condition(request.old_object, "Progressing"),
            "lastUpdateTime",
        );
        return if moved.is_some_and(|moved| older(moved, request.now)) {
            Passage::Native("an earlier native rollout has made no progress for 60 s".to_owned())
        } else {
            Passage::Refused(
                "crossfade: an earlier native rollout of this Deployment is still moving; try again when kubectl rollout status says it is done, or after 60 s without progress".to_owned(),
            )
        };
    }
    Passage::Gated
}

/// A bypass that comes with this write; one left over from an earlier write means nothing.
fn new_bypass<'a>(request: &Request<'a>) -> Option<&'a str> {
    annotation(request.object, annotations::BYPASS)
        .filter(|reason| !reason.is_empty())
        .filter(|reason| annotation(request.old_object, annotations::BYPASS) != Some(*reason))
}

/// A bypass that lets the template of this write pass.
pub(crate) fn counting_bypass<'a>(request: &Request<'a>) -> Option<&'a str> {
    new_bypass(request).filter(|_| used_bypass(request).is_none())
}

/// A bypass that has let a template pass before. The Deployment controller copies it to the ReplicaSet it
/// makes, and `kubectl rollout undo` takes it from there back to the Deployment: nobody gave that word now.
pub(crate) fn used_bypass<'a>(request: &Request<'a>) -> Option<&'a str> {
    new_bypass(request).filter(|reason| {
        let sets = &request.live.replica_sets;
        sets.iter()
            .any(|set| annotation(set, annotations::BYPASS) == Some(*reason))
    })
}

fn rejected(request: &Request<'_>) -> bool {
    if request.live.rejected.is_empty() {
        return false;
    }
    let template = request.object.pointer("/spec/template");
    let print = fingerprint(template.unwrap_or(&Value::Null));
    request.live.rejected.contains(&print)
}

/// Whether no pod has been available for a minute, or ever. The condition alone does not say so: where
/// all pods may be unavailable it is True with none, and its time is that of another change.
fn unavailable(request: &Request<'_>) -> bool {
    let old = request.old_object;
    let available = old
        .pointer("/status/availableReplicas")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    if available > 0 {
        return false;
    }
    let Some(condition) = condition(old, "Available") else {
        return true;
    };
    let is_false = condition.get("status").and_then(Value::as_str) == Some("False");
    let since = time_of(Some(condition), "lastTransitionTime");
    is_false && since.is_none_or(|since| older(since, request.now))
}

/// ReplicaSets that have pods or want some.
fn active<'a>(request: &Request<'a>) -> impl Iterator<Item = &'a Value> {
    request.live.replica_sets.iter().filter(|set| {
        let size = |pointer: &str| set.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        size("/spec/replicas") > 0 || size("/status/replicas") > 0
    })
}

/// Why somebody else may not unpause, if so.
pub(crate) fn refuse_unpause(request: &Request<'_>) -> Option<String> {
    let at_rest = match request.live.phase {
        None | Some(Phase::Idle) => true,
        Some(Phase::RolledBack) => false,
        Some(phase) => {
            return Some(format!(
                "a release is in phase {}; use crossfade promote or crossfade abort",
                phase.as_str()
            ));
        }
    };
    let template = request
        .object
        .pointer("/spec/template")
        .unwrap_or(&Value::Null);
    let of_set = |set: &Value| {
        same_template(
            set.pointer("/spec/template").unwrap_or(&Value::Null),
            template,
        )
    };
    let active: Vec<&Value> = active(request).collect();
    let serves = active.iter().any(|set| of_set(set));
    match (active.len(), serves, at_rest) {
        (1, true, _) | (0, _, true) => None,
        // A native rollout that was paused on its way: its template serves already, and nothing else
        // would let it end.
        (_, true, true) => None,
        (2.., false, true) => Some(
            "its template is not one of those that serve, and an earlier native rollout has not ended; push one of theirs again, kubectl rollout resume, let that end, then release this one".to_owned(),
        ),
        _ => Some("its template is not the one that serves; revert it, or release it with crossfade retry".to_owned()),
    }
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object
        .pointer("/status/conditions")?
        .as_array()?
        .iter()
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))
}

fn time_of(condition: Option<&Value>, field: &str) -> Option<Timestamp> {
    condition?.get(field)?.as_str()?.parse().ok()
}

fn older(since: Timestamp, now: Timestamp) -> bool {
    now.as_millisecond().saturating_sub(since.as_millisecond()) >= STUCK
}
