//! What admission answers. Here: the objects and helpers the cases share.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says by a panic what went wrong"
)]

mod deployments;
mod passage;
mod services;

use crossfade_api::Phase;
use crossfade_engine::admit::{Answer, Hook, Live, Request, admit, needs_live};
use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) const US: &str = "system:serviceaccount:crossfade-system:crossfade";
pub(crate) const ANN: &str = "ann";

pub(crate) fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": image}]}})
}

pub(crate) fn web(image: &str) -> Value {
    json!({
        "metadata": {"name": "web", "annotations": {"crossfade.dev/strategy": "canary", "crossfade.dev/steps": "5%, 50%", "team": "shop"}},
        "spec": {"replicas": 4, "template": template(image)},
        "status": {"replicas": 4, "availableReplicas": 4},
    })
}

pub(crate) fn set(image: &str, replicas: u32) -> Value {
    let mut template = template(image);
    template["metadata"]["labels"]["pod-template-hash"] = json!("abc");
    json!({"spec": {"replicas": replicas, "template": template}, "status": {"replicas": replicas}})
}

pub(crate) fn live(phase: Option<Phase>, sets: &[Value]) -> Live {
    Live {
        phase,
        replica_sets: sets.to_vec(),
        rejected: Vec::new(),
        holder: None,
        departed: false,
    }
}

pub(crate) fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/");
    object.pointer_mut(parent).unwrap()[key.as_str()] = value;
    object
}

pub(crate) fn without(mut object: Value, pointer: &str, key: &str) -> Value {
    object
        .pointer_mut(pointer)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .remove(key);
    object
}

pub(crate) fn paused(object: Value) -> Value {
    with(object, "/spec/paused", json!(true))
}

pub(crate) fn ask(hook: Hook, user: &str, old: &Value, new: &Value, live: &Live) -> Answer {
    admit(&Request {
        hook,
        user,
        ourselves: US,
        object: new,
        old_object: old,
        live,
        now: now(),
    })
}

/// The object after the answer, and its warnings; a refusal fails the test.
pub(crate) fn applied(answer: Answer, object: &Value) -> (Value, String) {
    match answer {
        Answer::Allow { warnings } => (object.clone(), warnings.join("\n")),
        Answer::Patch {
            operations,
            warnings,
        } => {
            let mut object = object.clone();
            for operation in &operations {
                let path = operation["path"].as_str().unwrap();
                let (parent, key) = path.rsplit_once('/').unwrap();
                let key = key.replace("~1", "/").replace("~0", "~");
                let parent = object
                    .pointer_mut(parent)
                    .expect("the parent is there")
                    .as_object_mut()
                    .expect("and is a map");
                match operation["op"].as_str().unwrap() {
                    "add" => drop(parent.insert(key, operation["value"].clone())),
                    "remove" => assert!(parent.remove(&key).is_some(), "{path} to be removed"),
                    other => panic!("{other}"),
                }
            }
            (object, warnings.join("\n"))
        }
        Answer::Deny { message } => panic!("refused: {message}"),
    }
}

pub(crate) fn refused(answer: Answer) -> String {
    match answer {
        Answer::Deny { message } => {
            assert!(message.starts_with("crossfade: "), "{message}");
            message
        }
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) fn allowed(answer: &Answer) -> bool {
    matches!(answer, Answer::Allow { .. })
}

pub(crate) fn idle() -> Live {
    live(Some(Phase::Idle), &[set("app:1", 4)])
}

pub(crate) const UNDER_WAY: [Phase; 5] = [
    Phase::Preparing,
    Phase::Progressing,
    Phase::Warm,
    Phase::HandingOver,
    Phase::RollingBack,
];

/// The answer of the gate, which the backstop must share, as what is stored.
pub(crate) fn stored(old: &Value, new: &Value, live: &Live) -> (bool, String) {
    let (stored, warnings) = applied(ask(Hook::Gate, ANN, old, new, live), new);
    assert!(allowed(&ask(Hook::Backstop, ANN, old, &stored, live)));
    (stored["spec"]["paused"] == json!(true), warnings)
}
