//! Laws 1, 2, 6 and 10: capacity before weight, weight before size, abort first, and no pinned Service
//! beside an unpaused workload.

use std::time::Duration;

use crossfade_fakeapi::{Change, Verb};
use serde_json::Value;

use super::Sight;
use super::book::{Book, Carries, State};
use super::model::{pinned_to, size};
use crate::json::{controller, deleting, entries, flag, label, text};

/// What a weighted side that falls short gets back to stable within, without faults.
const AT_ONCE: Duration = Duration::from_secs(3);
/// The first effect of an abort, without faults.
const ABORTED: Duration = Duration::from_secs(2);
/// A pinned Service that meets an unpaused workload is unpinned within, without faults.
const EXPOSED: Duration = Duration::from_secs(3);

type Found = Vec<(&'static str, String)>;

/// A write of the controller.
pub fn of_a_write(book: &mut Book, change: &Change, sight: &Sight<'_>, found: &mut Found) {
    let before = book.carries;
    let after = book.carried(sight.model);
    if change.key.resource == "services" {
        if after > before {
            raised(book, after, sight, found);
        }
        if after > Carries::Nothing
            && let Some(release) = book.release.as_mut()
        {
            release.given = true;
        }
        if after == Carries::Nothing
            && let Some(abort) = book.abort.as_mut()
        {
            abort.done = true;
        }
    }
    first_after_abort(book, change, before, sight, found);
    first_when_exposed(book, change, sight, found);
    own_exposure(book, change, sight, found);
    sizes(book, change, sight, found);
}

/// The window a write was decided in: from as long before it was sent as sight may lag.
fn window(sight: &Sight<'_>) -> Duration {
    sight.sent_at.saturating_sub(sight.facts.lag)
}

/// Law 1: a side gets weight only while enough of its pods are ready for it.
fn raised(book: &Book, after: Carries, sight: &Sight<'_>, found: &mut Found) {
    let enough = |state: &State| match after {
        Carries::Everything => state.candidate_ready >= state.enough(state.replicas),
        _ => state.candidate_ready >= 1,
    };
    // Requests before judgement: an unpaused workload ends the pins whatever that mixes.
    let unpaused = |state: &State| state.unpaused;
    let aware = |state: &State| enough(state) || unpaused(state);
    if book.phase == "HandingOver" && after == Carries::Share {
        // Given back at the end: the judged pods are the workload's own.
        return;
    }
    let ended = stable_lost(book, sight);
    if !book.states_since(window(sight)).any(aware) && !ended {
        let last = book.states.back();
        found.push((
            "1",
            format!("{}: the candidate gets {after:?} with {last:?}", book.name),
        ));
    }
    if let Some(abort) = book.abort
        && sight.sent_at > abort.at + sight.facts.lag
        && after > Carries::Nothing
        && !book.states_since(window(sight)).any(unpaused)
        && !ended
        && book.phase != "HandingOver"
    {
        found.push((
            "6",
            format!(
                "{}: after its abort the candidate gets {after:?} again",
                book.name
            ),
        ));
    }
}

/// Stable's ReplicaSet has no pods any more by somebody else's doing: what the workload runs serves.
fn stable_lost(book: &Book, sight: &Sight<'_>) -> bool {
    let Some(release) = book.release.as_ref() else {
        return true;
    };
    let set = sight
        .model
        .by_uid("replicasets", &book.namespace, &release.stable_set.0);
    set.is_none_or(|set| size(set) == 0 || deleting(set))
}

/// Law 6: the first effect of an abort is weight 0, unless stable has nobody to take the requests.
fn first_after_abort(
    book: &mut Book,
    change: &Change,
    before: Carries,
    sight: &Sight<'_>,
    found: &mut Found,
) {
    let Some(abort) = book.abort else { return };
    let told = matches!(change.key.resource.as_str(), "events" | "leases");
    if abort.done || told || book.phase == "HandingOver" {
        return;
    }
    if change.key.resource == "rollouts" {
        // A status written before the abort was read is refused by its resourceVersion; one that
        // carries the answer to it comes after the effects.
        let answered = change.after.as_deref().is_some_and(|object| {
            text(object, "/status/control/action") == "abort"
                && text(object, "/status/phase") == "RollingBack"
        });
        let stable_can = book
            .states_since(window(sight))
            .all(|state| state.stable_ready > 0);
        // A refusal of one Service does not hold the answer up; it is tried again at once.
        if answered && before > Carries::Nothing && stable_can && !abort.tried {
            found.push((
                "6",
                format!(
                    "{}: the abort is answered before the weight is taken",
                    book.name
                ),
            ));
        }
        return;
    }
    if before == Carries::Nothing
        && let Some(abort) = book.abort.as_mut()
    {
        abort.done = true;
    }
}

/// Law 10, by us: no write of ours makes an unpaused workload meet a pinned Service.
fn own_exposure(book: &Book, change: &Change, sight: &Sight<'_>, found: &mut Found) {
    let about = matches!(change.key.resource.as_str(), "services" | "deployments");
    if !about {
        return;
    }
    // A pin that was sent while the workload was still paused may land after it was unpaused.
    let knew = book.states_since(window(sight)).all(|state| state.unpaused);
    let unpauses = change.key.resource == "deployments" && change.key.name == book.name;
    if (knew || unpauses) && exposed(book, sight).is_some() {
        let newly = match (&change.before, &change.after) {
            (Some(before), Some(after)) if change.key.resource == "services" => {
                pinned_to(before) != pinned_to(after)
            }
            (Some(before), Some(after)) => {
                flag(before, "/spec/paused") && !flag(after, "/spec/paused")
            }
            _ => false,
        };
        if newly {
            found.push((
                "10",
                format!(
                    "{}: our {:?} of {} leaves a pinned Service beside an unpaused workload",
                    book.name, change.verb, change.key
                ),
            ));
        }
    }
}

/// A Service that is pinned by us while the workload is not paused.
fn exposed<'a>(book: &Book, sight: &Sight<'a>) -> Option<&'a Value> {
    let workload = book.workload(sight.model)?;
    if flag(workload, "/spec/paused") || deleting(workload) {
        return None;
    }
    let namespace = text(workload, "/metadata/namespace");
    sight.model.services(namespace, workload).find(|service| {
        pinned_to(service).is_some() && label(service, "crossfade.dev/held-by") == book.uid
    })
}

/// Law 10, by others: unpinning is our first write.
fn first_when_exposed(book: &Book, change: &Change, sight: &Sight<'_>, found: &mut Found) {
    let Some(since) = book.exposed_since else {
        return;
    };
    let quiet = matches!(
        change.key.resource.as_str(),
        "events" | "leases" | "rollouts" | "services"
    );
    if !quiet && sight.sent_at > since + sight.facts.lag && change.key.name != book.name {
        found.push((
            "10",
            format!(
                "{}: {:?} of {} comes before the Services are unpinned",
                book.name, change.verb, change.key
            ),
        ));
    }
}

/// Law 2: nothing is scaled below what its share needs, nothing goes while it has weight or its drain
/// runs.
fn sizes(book: &Book, change: &Change, sight: &Sight<'_>, found: &mut Found) {
    let (Some(before), Some(release)) = (change.before.as_deref(), book.release.as_ref()) else {
        return;
    };
    let uid = text(before, "/metadata/uid");
    if change.key.resource == "deployments" && uid == release.parallel_uid {
        parallel(book, change, before, sight, found);
    }
    if change.key.resource == "replicasets" && uid == release.stable_set.0 {
        let shrinks = change
            .after
            .as_deref()
            .is_some_and(|after| size(after) < size(before));
        let goes = change.verb == Verb::Delete && size(before) > 0;
        if (shrinks || goes) && !book.workload(sight.model).is_none_or(deleting) {
            old_pods(book, sight, found);
        }
    }
}

fn parallel(book: &Book, change: &Change, before: &Value, sight: &Sight<'_>, found: &mut Found) {
    let Some(release) = book.release.as_ref() else {
        return;
    };
    let since = window(sight);
    if let Some(after) = change.after.as_deref()
        && size(after) < size(before)
    {
        let lowest = book
            .states_since(since)
            .map(|state| state.replicas)
            .min()
            .unwrap_or(0);
        let needed = match book.carries {
            Carries::Everything => lowest,
            Carries::Share => lowest.min(1),
            Carries::Nothing => 0,
        };
        if size(after) < needed {
            found.push((
                "2",
                format!(
                    "{}: the candidate shrinks from {} to {} while it carries {:?} of {lowest}",
                    book.name,
                    size(before),
                    size(after),
                    book.carries
                ),
            ));
        }
    }
    let goes = change.verb == Verb::Delete;
    if !goes {
        return;
    }
    let orphan = change.after.as_deref().is_some_and(|after| {
        entries(after, "/metadata/finalizers").any(|finalizer| finalizer == "orphan")
    });
    let set = release
        .candidate_set
        .as_ref()
        .and_then(|(uid, _)| sight.model.by_uid("replicasets", &book.namespace, uid));
    let owner = set.and_then(controller).map(|(_, uid)| uid.to_owned());
    if orphan || owner.as_deref() == Some(&book.uid) {
        if owner.is_some_and(|uid| uid == release.parallel_uid) {
            found.push(("4", format!("{}: the parallel Deployment is deleted before its ReplicaSet is the workload's", book.name)));
        }
        return;
    }
    // The workload runs by itself, or is gone: the Services are as their user wrote them.
    let native = book
        .workload(sight.model)
        .is_none_or(|workload| !flag(workload, "/spec/paused") || deleting(workload))
        || book.states_since(since).any(|state| state.unpaused)
        || stable_lost(book, sight);
    if native {
        return;
    }
    if book.carries > Carries::Nothing {
        found.push((
            "2",
            format!(
                "{}: the candidate is deleted while it carries {:?}",
                book.name, book.carries
            ),
        ));
    }
    let had_pods = book
        .states_since(since)
        .any(|state| state.candidate_ready > 0);
    let passed = sight.now.saturating_sub(release.candidate_carried);
    if release.weighted && had_pods && passed < sight.facts.drain {
        found.push(("2", format!("{}: the candidate is deleted {} ms after it lost its weight; settling and draining take {} ms", book.name, passed.as_millis(), sight.facts.drain.as_millis())));
    }
}

/// Stable's pods end by our hand: only in a hand-over, behind no Service, after the drain.
fn old_pods(book: &Book, sight: &Sight<'_>, found: &mut Found) {
    let Some(release) = book.release.as_ref() else {
        return;
    };
    if book.stable_carries(sight.model) && has_services(book, sight) {
        found.push((
            "2",
            format!(
                "{}: stable's pods end while a Service names them",
                book.name
            ),
        ));
    } else if release.weighted && has_services(book, sight) {
        let passed = sight.now.saturating_sub(release.stable_carried);
        if passed < sight.facts.drain {
            found.push(("2", format!("{}: stable's pods end {} ms after their last weight; settling and draining take {} ms", book.name, passed.as_millis(), sight.facts.drain.as_millis())));
        }
    }
    // Raising N lowers nothing: what the side was last complete for counts, if that was less.
    let serving = |state: &State| {
        let carried = (release.complete_for).map_or(state.replicas, |n| n.min(state.replicas));
        // At size 0 nobody has to carry anything.
        state.replicas == 0 || state.candidate_ready >= state.enough(carried)
    };
    if !book.states_since(window(sight)).any(serving) {
        found.push((
            "3",
            format!(
                "{}: stable's pods end while the judged ones cannot carry everything: {:?}",
                book.name,
                book.states.back()
            ),
        ));
    }
}

fn has_services(book: &Book, sight: &Sight<'_>) -> bool {
    book.workload(sight.model).is_some_and(|workload| {
        sight
            .model
            .services(&book.namespace, workload)
            .next()
            .is_some()
    })
}

/// What must not last.
pub fn of_a_state(book: &mut Book, sight: &Sight<'_>, found: &mut Found) {
    short(book, sight, found);
    unjudged(book, sight, found);
    abort_late(book, sight, found);
    let exposed = exposed(book, sight).map(|service| text(service, "/metadata/name").to_owned());
    match (exposed, book.exposed_since) {
        (None, _) => book.exposed_since = None,
        (Some(_), None) => book.exposed_since = Some(sight.now),
        (Some(service), Some(since)) => {
            if sight.patience.over(since, EXPOSED, sight.now) {
                found.push((
                    "10",
                    format!(
                        "{}: Service {service} stays pinned beside an unpaused workload",
                        book.name
                    ),
                ));
            }
        }
    }
}

/// Law 1: everything goes to a candidate that cannot carry it, while stable could.
fn short(book: &mut Book, sight: &Sight<'_>, found: &mut Found) {
    let all = book.carried(sight.model) == Carries::Everything;
    let state = book.states.back().copied();
    let short = state.is_some_and(|state| {
        let lowest = book
            .states_since(sight.now.saturating_sub(sight.facts.lag))
            .map(|state| state.replicas)
            .min();
        // Raising N lowers nothing: what the side was last complete for counts, if that was less.
        let complete_for = book
            .release
            .as_ref()
            .and_then(|release| release.complete_for)
            .unwrap_or(state.replicas);
        let lowest = lowest.unwrap_or(state.replicas).min(complete_for);
        let needed = state.enough(lowest);
        state.candidate_ready < needed
            && state.stable_ready > state.candidate_ready
            && !state.unpaused
    });
    if !(all && short && book.in_phase(&["Progressing", "Warm"])) {
        book.short_since = None;
        return;
    }
    let since = *book.short_since.get_or_insert(sight.now);
    if sight.patience.over(since, AT_ONCE, sight.now) {
        found.push((
            "1",
            format!(
                "{}: everything stays with a candidate that cannot carry it: {state:?}",
                book.name
            ),
        ));
    }
}

/// Law 1: pods of a candidate that has no share yet, or none any more, are behind no Service.
fn unjudged(book: &mut Book, sight: &Sight<'_>, found: &mut Found) {
    let state = book.states.back().copied();
    let ready = state.is_some_and(|state| state.candidate_ready > 0 && !state.unpaused);
    let before_any = book.in_phase(&["Preparing"])
        || book.release.as_ref().is_some_and(|release| !release.given);
    if !(ready && before_any && book.carried(sight.model) > Carries::Nothing)
        || stable_lost(book, sight)
    {
        book.unjudged_since = None;
        return;
    }
    let since = *book.unjudged_since.get_or_insert(sight.now);
    if sight.patience.over(since, AT_ONCE, sight.now) {
        found.push((
            "1",
            format!(
                "{}: a Service names pods of a candidate that was given no weight: {state:?}",
                book.name
            ),
        ));
    }
}

/// Law 6: quickly.
fn abort_late(book: &mut Book, sight: &Sight<'_>, found: &mut Found) {
    let Some(mut abort) = book.abort else { return };
    if abort.done {
        return;
    }
    let carried = book.carried(sight.model);
    let stable_ready = book.states.back().map_or(0, |state| state.stable_ready);
    if stable_ready == 0 {
        // Nothing can take it yet: the clock runs from when something can.
        abort.at = sight.now;
        book.abort = Some(abort);
    }
    if carried == Carries::Nothing {
        if let Some(abort) = book.abort.as_mut() {
            abort.done = true;
        }
        return;
    }
    if stable_ready > 0
        && sight.patience.over(abort.at, ABORTED, sight.now)
        && book.phase != "HandingOver"
        && has_services(book, sight)
    {
        found.push((
            "6",
            format!(
                "{}: {} ms after the abort the candidate still carries {carried:?}",
                book.name,
                sight.now.saturating_sub(abort.at).as_millis()
            ),
        ));
    }
}
