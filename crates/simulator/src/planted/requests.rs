//! Bugs on the way out: requests lose their precondition, touch what they should not, or are not sent.

use http::Method;
use serde_json::{Value, json};

use super::{Kind, Planted};
use crate::faults::door::Tampered;
use crate::json::text;

/// All of them.
pub(super) static BUGS: &[Planted] = &[
    Planted {
        name: "drop-a-json-patch-test",
        what: "JSON patches lose their tests of resourceVersion",
        kind: Kind::Sent(no_tests),
    },
    Planted {
        name: "drop-a-merge-precondition",
        what: "merge patches lose resourceVersion and uid",
        kind: Kind::Sent(no_versions),
    },
    Planted {
        name: "delete-by-name",
        what: "deletions lose their uid",
        kind: Kind::Sent(no_uids),
    },
    Planted {
        name: "unpause-any-template",
        what: "the unpause does not test the template",
        kind: Kind::Sent(no_template),
    },
    Planted {
        name: "leave-the-mark",
        what: "a Service given back keeps our label",
        kind: Kind::Sent(keep_mark),
    },
    Planted {
        name: "leave-managed-fields",
        what: "managedFields are not put back",
        kind: Kind::Sent(keep_managers),
    },
    Planted {
        name: "touch-what-is-not-ours",
        what: "a Service's session affinity is written along",
        kind: Kind::Sent(touch_more),
    },
    Planted {
        name: "own-by-the-rollout",
        what: "parked ReplicaSets are never given back",
        kind: Kind::Sent(keep_parked),
    },
    Planted {
        name: "forget-whose-user-writes",
        what: "the status does not say by which user its installation writes: another's admission puts that back",
        kind: Kind::Sent(no_user),
    },
];

fn is(request: &Tampered, resource: &str) -> bool {
    request.path.contains(&format!("/{resource}/"))
}

fn drop_tests(request: &mut Tampered, path: &str) {
    if let Some(operations) = request.body.as_array_mut() {
        operations.retain(|operation| {
            !(text(operation, "/op") == "test" && text(operation, "/path") == path)
        });
    }
}

fn no_tests(request: &mut Tampered) {
    drop_tests(request, "/metadata/resourceVersion");
}

fn no_template(request: &mut Tampered) {
    drop_tests(request, "/spec/template");
}

fn no_user(request: &mut Tampered) {
    if let Some(memory) =
        (request.body.pointer_mut("/status/memory")).and_then(Value::as_object_mut)
    {
        memory.remove("user");
    }
}

fn no_versions(request: &mut Tampered) {
    if request.method == Method::PATCH
        && let Some(metadata) = request
            .body
            .pointer_mut("/metadata")
            .and_then(Value::as_object_mut)
    {
        metadata.remove("resourceVersion");
        metadata.remove("uid");
    }
}

fn no_uids(request: &mut Tampered) {
    if request.method == Method::DELETE
        && let Some(options) = request.body.as_object_mut()
    {
        options.remove("preconditions");
    }
}

fn keep_mark(request: &mut Tampered) {
    if is(request, "services")
        && let Some(labels) = request
            .body
            .pointer_mut("/metadata/labels")
            .and_then(Value::as_object_mut)
        && labels
            .get("crossfade.dev/held-by")
            .is_some_and(Value::is_null)
    {
        labels.remove("crossfade.dev/held-by");
    }
}

fn keep_managers(request: &mut Tampered) {
    let restores = request
        .body
        .as_array()
        .into_iter()
        .flatten()
        .any(|operation| text(operation, "/path").starts_with("/metadata/managedFields"));
    if is(request, "services") && restores {
        request.swallowed = Some(json!({ "kind": "Status", "status": "Success" }));
    }
}

fn touch_more(request: &mut Tampered) {
    if is(request, "services")
        && let Some(spec) = request
            .body
            .pointer_mut("/spec")
            .and_then(Value::as_object_mut)
    {
        spec.insert("sessionAffinity".to_owned(), json!("ClientIP"));
    }
}

fn keep_parked(request: &mut Tampered) {
    let returns = request
        .body
        .as_array()
        .into_iter()
        .flatten()
        .any(|operation| {
            text(operation, "/op") == "remove"
                && text(operation, "/path").starts_with("/metadata/ownerReferences/")
        });
    if is(request, "replicasets") && returns {
        request.swallowed = Some(json!({ "kind": "Status", "status": "Success" }));
    }
}
