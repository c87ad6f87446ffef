//! Laws 3 and 4: stable can take everything back until the hand-over, and the pods that were judged are
//! the pods that serve.

use std::time::Duration;

use crossfade_fakeapi::{Change, Verb};
use serde_json::Value;

use super::Sight;
use super::book::Book;
use super::model::{can_serve, size};
use crate::json::{controller, deleting, flag, text};

type Found = Vec<(&'static str, String)>;

/// A write of the controller.
pub fn of_a_write(book: &mut Book, change: &Change, sight: &Sight<'_>, found: &mut Found) {
    let Some(before) = change.before.as_deref() else {
        return;
    };
    if change.key.resource != "replicasets" {
        return;
    }
    let was = controller(before).map(|(kind, uid)| (kind.to_owned(), uid.to_owned()));
    let is = change
        .after
        .as_deref()
        .and_then(controller)
        .map(|(kind, uid)| (kind.to_owned(), uid.to_owned()));
    let of_workload =
        |owner: &Option<(String, String)>| owner.as_ref().is_some_and(|(_, uid)| *uid == book.uid);
    if of_workload(&was) && !of_workload(&is) && change.after.is_some() {
        parked(book, before, sight, found);
    }
    let candidate = book
        .release
        .as_ref()
        .and_then(|release| release.candidate_set.as_ref());
    let is_candidate = candidate.is_some_and(|(uid, _)| uid == text(before, "/metadata/uid"));
    if is_candidate && !of_workload(&was) && of_workload(&is) {
        transferred(book, before, change.after.as_deref(), sight, found);
    }
    // Emptied by a native rollout it is history, and in the way of the next release of its template.
    let history = of_workload(&was) && size(before) == 0;
    if is_candidate && change.verb == Verb::Delete && !history {
        found.push((
            "4",
            format!("{}: the candidate's ReplicaSet is deleted by us", book.name),
        ));
    }
}

/// A ReplicaSet is taken from the workload.
fn parked(book: &Book, set: &Value, sight: &Sight<'_>, found: &mut Found) {
    let name = text(set, "/metadata/name");
    // What came up, or could come up, in the place of stable's when that was deleted or of size 0.
    let in_its_place = book.release.as_ref().is_some_and(|release| {
        (release.stable_lost || release.emptied)
            && text(set, "/metadata/uid") != release.stable_set.0
    });
    if book.phase != "HandingOver" && !in_its_place {
        found.push((
            "3",
            format!(
                "{}: {name} is taken from the workload in phase {}",
                book.name, book.phase
            ),
        ));
    }
    // The last one with pods goes when nothing empty is left: a paused Deployment without an active
    // ReplicaSet starts the newest of its history.
    let mut others = sight
        .model
        .of("replicasets", &book.namespace)
        .filter(|other| controller(other).is_some_and(|(_, uid)| uid == book.uid))
        .filter(|other| text(other, "/metadata/uid") != text(set, "/metadata/uid"));
    if size(set) > 0 && others.all(|other| size(other) == 0) {
        let empty: Vec<&str> = sight
            .model
            .of("replicasets", &book.namespace)
            .filter(|other| controller(other).is_some_and(|(_, uid)| uid == book.uid))
            .filter(|other| size(other) == 0 && !deleting(other))
            .map(|other| text(other, "/metadata/name"))
            .collect();
        if !empty.is_empty() {
            found.push((
                "3",
                format!(
                    "{}: {name} is parked while {} is not",
                    book.name,
                    empty.join(", ")
                ),
            ));
        }
    }
    if let Some(workload) = book.workload(sight.model)
        && !flag(workload, "/spec/paused")
    {
        let knew = book
            .states_since(sight.sent_at.saturating_sub(sight.facts.lag))
            .all(|state| state.unpaused);
        if knew {
            found.push((
                "3",
                format!(
                    "{}: {name} is parked although the workload is not paused",
                    book.name
                ),
            ));
        }
    }
}

/// The judged ReplicaSet becomes the workload's.
fn transferred(
    book: &Book,
    before: &Value,
    after: Option<&Value>,
    sight: &Sight<'_>,
    found: &mut Found,
) {
    let others: Vec<&str> = sight
        .model
        .of("replicasets", &book.namespace)
        .filter(|other| controller(other).is_some_and(|(_, uid)| uid == book.uid))
        .filter(|other| text(other, "/metadata/uid") != text(before, "/metadata/uid"))
        .filter(|other| !deleting(other))
        .map(|other| text(other, "/metadata/name"))
        .collect();
    let unpaused = book.states.back().is_some_and(|state| state.unpaused);
    if !others.is_empty() && !unpaused {
        found.push((
            "4",
            format!(
                "{}: the judged ReplicaSet is handed over beside {}: it would be scaled",
                book.name,
                others.join(", ")
            ),
        ));
    }
    let lowest = book
        .states_since(sight.sent_at.saturating_sub(sight.facts.lag))
        .map(|state| state.replicas)
        .min()
        .unwrap_or(0);
    if after.is_some_and(|after| size(after) < size(before).min(lowest)) {
        found.push((
            "4",
            format!(
                "{}: the judged ReplicaSet shrinks with the hand-over from {} to {}",
                book.name,
                size(before),
                after.map_or(0, size)
            ),
        ));
    }
}

/// How old the Deployment controller's sight may be.
const OLD_SIZE: Duration = Duration::from_secs(2);

/// A change by anybody.
pub fn of_a_change(book: &mut Book, change: &Change, sight: &Sight<'_>, found: &mut Found) {
    let (Some(release), Some(before)) = (book.release.as_ref(), change.before.as_deref()) else {
        made(book, change, found);
        return;
    };
    let uid = text(before, "/metadata/uid");
    let early = book.in_phase(&["Preparing", "Progressing", "Warm", "RollingBack"]);
    if change.key.resource == "replicasets" && uid == release.stable_set.0 && early {
        let (Some(after), Some(workload)) = (change.after.as_deref(), book.workload(sight.model))
        else {
            return;
        };
        // The Deployment controller may still go by a size that the Deployment had a moment ago.
        let lowest = (book.states_since(sight.now.saturating_sub(OLD_SIZE)))
            .map(|state| state.replicas)
            .fold(size(workload), i64::min);
        let shrinks = size(after) < size(before) && size(after) < lowest;
        if shrinks
            && flag(workload, "/spec/paused")
            && change.caller.user.ends_with(":deployment-controller")
        {
            found.push((
                "3",
                format!(
                    "{}: stable shrinks from {} to {} of {} before the hand-over",
                    book.name,
                    size(before),
                    size(after),
                    size(workload)
                ),
            ));
        }
    }
    let over = change.key.resource == "rollouts"
        && text(before, "/status/phase") == "HandingOver"
        && change
            .after
            .as_deref()
            .is_some_and(|after| text(after, "/status/phase") == "Idle");
    if over
        && text(
            change.after.as_deref().unwrap_or(&Value::Null),
            "/status/history/0/outcome",
        ) == "promoted"
    {
        serving(book, sight, found);
    }
    made(book, change, found);
}

/// Law 4: promotion asks for no new pod; one lost meanwhile is replaced.
fn made(book: &Book, change: &Change, found: &mut Found) {
    if change.key.resource != "pods" || change.before.is_some() || book.phase != "HandingOver" {
        return;
    }
    let Some(handed) = book
        .release
        .as_ref()
        .and_then(|release| release.handed_over.as_ref())
    else {
        return;
    };
    let judged = i64::try_from(handed.began).unwrap_or(i64::MAX);
    let allowed = i64::try_from(handed.lost).unwrap_or(0) + (handed.largest - judged).max(0);
    if i64::try_from(handed.made).unwrap_or(0) > allowed {
        found.push((
            "4",
            format!(
                "{}: the hand-over makes pod {}: {handed:?}",
                book.name, change.key.name
            ),
        ));
    }
}

/// At the end of a promotion the judged pods serve.
fn serving(book: &Book, sight: &Sight<'_>, found: &mut Found) {
    let Some(release) = book.release.as_ref() else {
        return;
    };
    let (Some(handed), Some((set, _))) =
        (release.handed_over.as_ref(), release.candidate_set.as_ref())
    else {
        return;
    };
    let of_workload = sight
        .model
        .by_uid("replicasets", &book.namespace, set)
        .and_then(controller)
        .is_some_and(|(_, uid)| uid == book.uid);
    if !of_workload {
        found.push((
            "4",
            format!(
                "{}: promoted, and the judged ReplicaSet is not the workload's",
                book.name
            ),
        ));
    }
    let now: Vec<&str> = sight
        .model
        .pods(&book.namespace, set)
        .filter(|pod| can_serve(pod))
        .map(|pod| text(pod, "/metadata/uid"))
        .collect();
    let strangers = now
        .iter()
        .filter(|uid| !handed.judged.contains(**uid))
        .count();
    if strangers > handed.made {
        found.push((
            "4",
            format!(
                "{}: {strangers} of the serving pods were not judged",
                book.name
            ),
        ));
    }
}
