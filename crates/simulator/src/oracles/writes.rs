//! Laws 8, 9 and 12: what a write of the controller may touch, that no template change is stored
//! unpaused, and that every write to somebody else's object carries its precondition.

use std::collections::BTreeMap;
use std::time::Duration;

use crossfade_fakeapi::{Change, Verb};
use http::Method;
use serde_json::Value;

use super::Sight;
use super::book::Book;
use super::model::{Model, size};
use crate::faults::Class;
use crate::faults::door::Issued;
use crate::json::{
    annotation, at, condition, controller, differences, entries, flag, label, same_pods, text,
};

/// Law 12: what is missing in the request as it was sent.
#[must_use]
pub fn precondition(issued: &Issued) -> Option<String> {
    if issued.class != Class::Write {
        return None;
    }
    let resource = resource_of(&issued.path);
    if resource == "events" {
        return None;
    }
    let body = &issued.body;
    let complain = |what: &str| Some(format!("{} {what}: {body}", issued.words()));
    if issued.method == Method::POST {
        return None;
    }
    if issued.method == Method::DELETE {
        return text(body, "/preconditions/uid")
            .is_empty()
            .then(|| complain("has no uid as precondition"))
            .flatten();
    }
    if issued.content_type.starts_with("application/json-patch") {
        let tests: Vec<&str> = body
            .as_array()
            .into_iter()
            .flatten()
            .filter(|operation| text(operation, "/op") == "test")
            .map(|operation| text(operation, "/path"))
            .collect();
        let version = tests.contains(&"/metadata/resourceVersion");
        let whole = tests.contains(&"/metadata/uid") && tests.contains(&"/spec/template");
        let empty = entries(body, "").any(|operation| {
            text(operation, "/path") == "/metadata/resourceVersion"
                && text(operation, "/value").is_empty()
        });
        return (!(version || whole) || empty)
            .then(|| complain("tests nothing"))
            .flatten();
    }
    // Merge patches and whole objects.
    let version = text(body, "/metadata/resourceVersion");
    let uid = text(body, "/metadata/uid");
    let whole = issued.method == Method::PUT;
    if version.is_empty() || uid.is_empty() {
        return complain("has no resourceVersion and uid");
    }
    // A decoded struct written back would drop what is newer than our types.
    if whole && resource != "rollouts" {
        return complain("writes a whole object of somebody else");
    }
    None
}

/// The resource a path is about, in a namespace.
#[must_use]
pub fn resource_of(path: &str) -> &str {
    let mut parts = path.split('/').skip_while(|part| *part != "namespaces");
    let _ = (parts.next(), parts.next());
    parts.next().unwrap_or_default()
}

/// Law 8: what a write of ours touched that is not ours to touch.
#[must_use]
pub fn touched(change: &Change, books: &BTreeMap<String, Book>) -> Option<String> {
    let resource = change.key.resource.as_str();
    let object = change.before.as_deref().or(change.after.as_deref())?;
    if matches!(resource, "events" | "leases" | "rollouts")
        || !label(object, "crossfade.dev/rollout-uid").is_empty()
    {
        return None;
    }
    let complain = |what: String| Some(format!("{:?} of {} {what}", change.verb, change.key));
    let Some(before) = change.before.as_deref() else {
        // Stable's ReplicaSet, deleted by somebody, is made as the Deployment controller made it.
        let remade = controller(object)
            .and_then(|(_, owner)| books.get(owner))
            .is_some_and(|book| {
                let hash = label(object, "pod-template-hash");
                book.deleted_sets.contains(hash)
            });
        if resource == "replicasets" && remade {
            return None;
        }
        return complain("makes an object without our labels".to_owned());
    };
    if change.verb == Verb::Delete {
        let ours_to_end = resource == "replicasets" && size(before) == 0;
        return (!ours_to_end)
            .then(|| complain("deletes what is not ours".to_owned()))
            .flatten();
    }
    let after = change.after.as_deref()?;
    // A template is written because a person asked to go back.
    let undone = resource == "deployments"
        && books
            .get(text(before, "/metadata/uid"))
            .is_some_and(|book| book.undos > 0);
    let of_undo = |difference: &str| {
        undone
            && (difference.starts_with("/spec/template")
                || difference.starts_with("/spec/paused: absent | true")
                // Admission takes it off with the next template.
                || difference.starts_with("/metadata/annotations/crossfade.dev/bypass-template"))
    };
    let foreign: Vec<String> = differences(before, after)
        .into_iter()
        .filter(|difference| !allowed(resource, difference) && !of_undo(difference))
        .collect();
    if foreign.is_empty() {
        None
    } else {
        complain(format!("touches {}", foreign.join("; ")))
    }
}

fn allowed(resource: &str, difference: &str) -> bool {
    let always = [
        "/metadata/resourceVersion:",
        "/metadata/managedFields",
        "/metadata/generation:",
    ];
    let more: &[&str] = match resource {
        "services" => &[
            "/metadata/labels/crossfade.dev/held-by:",
            // The only label comes or goes.
            "/metadata/labels: absent | {\"crossfade.dev/held-by\":",
            "/metadata/labels: {\"crossfade.dev/held-by\":",
            "/spec/selector/pod-template-hash:",
        ],
        "deployments" => &["/spec/paused: true | absent"],
        "replicasets" => &[
            "/metadata/ownerReferences",
            "/metadata/annotations",
            "/spec/replicas:",
        ],
        _ => &[],
    };
    always
        .iter()
        .chain(more)
        .any(|start| difference.starts_with(start))
}

/// Law 9: a template change of an opted-in Deployment is stored paused, whoever writes it.
#[must_use]
pub fn stored_unpaused(
    change: &Change,
    model: &Model,
    books: &BTreeMap<String, Book>,
) -> Option<String> {
    if change.key.resource != "deployments" {
        return None;
    }
    let (before, after) = (change.before.as_deref()?, change.after.as_deref()?);
    let opted_in = |object: &Value| !annotation(object, "crossfade.dev/strategy").is_empty();
    let changes = at(before, "/spec/template") != at(after, "/spec/template");
    let resumes = flag(before, "/spec/paused") && !flag(after, "/spec/paused");
    if !(opted_in(before) || opted_in(after))
        || flag(after, "/spec/paused")
        || !(changes || resumes)
    {
        return None;
    }
    let uid = text(after, "/metadata/uid");
    // Back to what serves: no pod is replaced.
    let active: Vec<&Value> = model
        .of("replicasets", &change.key.namespace)
        .filter(|set| controller(set).is_some_and(|(_, owner)| owner == uid) && size(set) > 0)
        .collect();
    let template = |object: &Value| at(object, "/spec/template").cloned().unwrap_or_default();
    if matches!(active.as_slice(), [only] if same_pods(&template(only), &template(after))) {
        return None;
    }
    // Native passage: nothing to protect. A bypass counts in the write of its template, or later if that
    // was stored paused; not one that has let a template pass before.
    let reason = annotation(after, "crossfade.dev/bypass");
    let used = model
        .of("replicasets", &change.key.namespace)
        .filter(|set| controller(set).is_some_and(|(_, owner)| owner == uid))
        // The paused Deployment writes it on the ReplicaSet of its own template, should there be one.
        .filter(|set| !same_pods(&template(set), &template(after)))
        .any(|set| annotation(set, "crossfade.dev/bypass") == reason);
    let now = changes && annotation(before, "crossfade.dev/bypass") != reason;
    let before_now = books.get(uid).is_some_and(|book| book.let_pass);
    let bypass = !reason.is_empty() && !used && (now || before_now && !changes);
    let phase = books
        .get(uid)
        .map(|book| book.phase.as_str())
        .unwrap_or_default();
    let down = condition(before, "Available") != "True" || size(before) == 0;
    let moving = active.len() > 1;
    // Stable's ReplicaSet is gone and no release is under way: no pod is replaced, and nothing but an
    // unpause would bring one.
    let at_rest = matches!(phase, "" | "Idle");
    let candidate = (model.of("deployments", &change.key.namespace))
        .any(|other| label(other, "crossfade.dev/workload-uid") == uid);
    let nothing = active.is_empty() && (size(after) == 0 || at_rest && !changes && !candidate);
    if bypass || down || moving || nothing {
        return None;
    }
    Some(format!(
        "{} by {} stores {} unpaused in phase {phase:?}",
        change.key,
        change.caller.user,
        if changes {
            "another template"
        } else {
            "a gated template"
        }
    ))
}
/// How long our name may stand in managedFields of what users apply: between our two writes.
const NAMED: Duration = Duration::from_secs(10);

/// Law 8, in mid-release: after each write of ours the managedFields are as they were before, or the
/// user's next server-side apply is refused.
pub fn of_a_state(book: &mut Book, sight: &Sight<'_>, found: &mut Vec<(&'static str, String)>) {
    let Some(workload) = book.workload(sight.model) else {
        return;
    };
    let named = sight
        .model
        .services(&book.namespace, workload)
        .find(|object| {
            entries(object, "/metadata/managedFields")
                .any(|entry| text(entry, "/manager") == "crossfade")
        });
    let Some(named) = named else {
        book.named_since = None;
        return;
    };
    let since = *book.named_since.get_or_insert(sight.now);
    if sight.patience.over(since, NAMED, sight.now) {
        found.push((
            "8",
            format!(
                "{}: managedFields of Service {} name us, which is not put back",
                book.name,
                text(named, "/metadata/name")
            ),
        ));
    }
}
