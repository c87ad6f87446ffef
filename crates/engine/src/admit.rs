//! What admission answers. Pure: what a decision needs is in the request or was read live for it.
//!
//! Never decides from a cache: a stale sight here would let unjudged pods serve.

use std::collections::BTreeSet;

use crossfade_api::{Phase, annotations};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::identity::{fingerprint, same_template};
use crate::passage::{Passage, counting_bypass, passage, refuse_unpause, used_bypass};

/// Which configuration called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `crossfade-gate`: mutating, Deployments.
    Gate,
    /// `crossfade-backstop`: validating, Deployments.
    Backstop,
    /// `crossfade-traffic`: mutating, Services and routes under release.
    Traffic,
    /// `crossfade-stamp`: mutating, Rollouts.
    Stamp,
}

/// One admission request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub hook: Hook,
    /// Who asks.
    pub user: &'a str,
    /// The identity of this installation.
    pub ourselves: &'a str,
    pub object: &'a Value,
    pub old_object: &'a Value,
    pub live: &'a Live,
    pub now: Timestamp,
}

/// What was read from the API server for this request, after [`needs_live`] said so.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Phase of the workload's Rollout; `None`: there is no Rollout or no status yet.
    pub phase: Option<Phase>,
    /// Raw ReplicaSets controlled by the workload.
    pub replica_sets: Vec<Value>,
    /// Fingerprints of the templates that were taken back and not released again since.
    pub rejected: Vec<String>,
    /// The user of another installation that carries the release out, as the Rollout says: it may do what
    /// we may, and nobody else.
    pub holder: Option<String>,
    /// The workload that a Service is held for is gone, and its Rollout with it.
    pub departed: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// As it is.
    Allow { warnings: Vec<String> },
    /// With a JSON patch.
    Patch {
        operations: Vec<Value>,
        warnings: Vec<String>,
    },
    /// Refused; the message says what to do.
    Deny { message: String },
}

/// In every refusal: how people get past us when nothing else helps. Named as in an installation of the usual name; the
/// runbook has each command.
pub const BREAK_GLASS: &str = "break-glass, the last resort, in this order (the runbook has each command): stop the controller; delete mutatingwebhookconfiguration crossfade-traffic; point the Services labelled crossfade.dev/held-by at stable, delete validatingadmissionpolicybinding crossfade-deletes and the parallel Deployment, then take pod-template-hash and that label off the Services; delete mutatingwebhookconfiguration crossfade-gate and validatingwebhookconfiguration crossfade-backstop; write stable's template back unless the new one shall serve; kubectl rollout resume";

/// Whether the answer needs [`Live`]: then it has to be read before [`admit`] is asked.
#[must_use]
pub fn needs_live(
    hook: Hook,
    user: &str,
    ourselves: &str,
    object: &Value,
    old_object: &Value,
) -> bool {
    match hook {
        Hook::Gate | Hook::Backstop => {
            let change = Change::between(object, old_object);
            let our_unpause = user == ourselves && !change.template;
            let guarded = change.template || change.unpaused || change.opted_out;
            change.opted_in && guarded && !our_unpause
        }
        Hook::Traffic => user != ourselves && held_by(old_object).is_some(),
        Hook::Stamp => false,
    }
}

/// Whether the one who carries the release out asks: we, or another installation.
fn by_holder(request: &Request<'_>) -> bool {
    request.user == request.ourselves || request.live.holder.as_deref() == Some(request.user)
}

/// Answers one request.
#[must_use]
pub fn admit(request: &Request<'_>) -> Answer {
    match request.hook {
        Hook::Gate => gate(request),
        Hook::Backstop => backstop(request),
        Hook::Traffic => traffic(request),
        Hook::Stamp => stamp(request),
    }
}

/// What a write to a Deployment changes, as far as the gate cares.
struct Change {
    opted_in: bool,
    opted_out: bool,
    template: bool,
    unpaused: bool,
}

impl Change {
    fn between(object: &Value, old: &Value) -> Self {
        let strategy = |object: &Value| annotation(object, annotations::STRATEGY).is_some();
        Self {
            opted_in: strategy(object) || strategy(old),
            opted_out: strategy(old) && !strategy(object),
            template: object.pointer("/spec/template") != old.pointer("/spec/template"),
            unpaused: paused(old) && !paused(object),
        }
    }
}

fn gate(request: &Request<'_>) -> Answer {
    let change = Change::between(request.object, request.old_object);
    if !change.opted_in || (by_holder(request) && !change.template) {
        return Answer::Allow {
            warnings: Vec::new(),
        };
    }
    let mut operations = Vec::new();
    let mut warnings = Vec::new();
    if change.template {
        let passage = passage(request);
        if let Passage::Refused(message) = passage {
            return Answer::Deny { message };
        }
        record_bypass(request, &mut operations);
        if let Passage::Native(why) = passage
            && !change.opted_out
        {
            warnings.push(format!(
                "crossfade: this template passes natively, without analysis: {why}"
            ));
            return answer(operations, warnings);
        }
        if let Some(reason) = used_bypass(request) {
            warnings.push(format!("crossfade: {}: \"{reason}\" has let a template pass before and counts no more; if this one is to pass too, give another reason", annotations::BYPASS));
        }
        if change.opted_out {
            put_annotations_back(request, &mut operations);
            warnings.push("crossfade: this write changes the template and drops the opt-in at once (kubectl rollout undo does); the annotations were put back and the template is gated; opt out in a write of its own".to_owned());
        }
        if !change.opted_out {
            let said = |value: Option<&str>| match value {
                Some(value) => format!("\"{value}\""),
                None => "not set".to_owned(),
            };
            for (key, now, before) in brought_back(request) {
                warnings.push(format!("crossfade: with its template the revision brings back {key}: {} (kubectl rollout undo does); it was {}: write that again if it shall hold", said(now), said(before)));
            }
        }
        if !paused(request.object) {
            operations.push(json!({ "op": "add", "path": "/spec/paused", "value": true }));
        }
    } else if change.opted_out
        && let Some(message) = refuse_opt_out(request)
    {
        return Answer::Deny { message };
    } else if change.unpaused
        && let Some(why) = refuse_unpause(request)
    {
        operations.push(json!({ "op": "add", "path": "/spec/paused", "value": true }));
        warnings.push(format!("crossfade: spec.paused stays true: {why}"));
    }
    answer(operations, warnings)
}

fn answer(operations: Vec<Value>, warnings: Vec<String>) -> Answer {
    if operations.is_empty() {
        Answer::Allow { warnings }
    } else {
        Answer::Patch {
            operations,
            warnings,
        }
    }
}

/// Writes down which template a bypass was given for, and takes off what stood there about another one.
fn record_bypass(request: &Request<'_>, operations: &mut Vec<Value>) {
    let path = format!(
        "/metadata/annotations/{}",
        escape(annotations::BYPASS_TEMPLATE)
    );
    let known = annotation(request.object, annotations::BYPASS_TEMPLATE);
    if counting_bypass(request).is_some() {
        let template = request.object.pointer("/spec/template");
        let print = fingerprint(template.unwrap_or(&Value::Null));
        if known != Some(print.as_str()) {
            operations.push(json!({ "op": "add", "path": path, "value": print }));
        }
    } else if known.is_some() {
        operations.push(json!({ "op": "remove", "path": path }));
    }
}

fn backstop(request: &Request<'_>) -> Answer {
    let change = Change::between(request.object, request.old_object);
    let allow = Answer::Allow {
        warnings: Vec::new(),
    };
    if !change.opted_in || (by_holder(request) && !change.template) {
        return allow;
    }
    if change.template && !paused(request.object) {
        return match passage(request) {
            Passage::Native(_) => allow,
            Passage::Refused(message) => Answer::Deny { message },
            Passage::Gated => Answer::Deny {
                message: format!(
                    "crossfade: the template of this Deployment would change without being gated; a webhook that runs after the gate (or while Crossfade unpauses) changed it. Make that webhook leave the pod template alone in such writes, then try again; {BREAK_GLASS}"
                ),
            },
        };
    }
    if !change.template
        && change.opted_out
        && let Some(message) = refuse_opt_out(request)
    {
        return Answer::Deny { message };
    }
    if !change.template
        && change.unpaused
        && let Some(why) = refuse_unpause(request)
    {
        return Answer::Deny {
            message: format!("crossfade: this Deployment must stay paused: {why}; {BREAK_GLASS}"),
        };
    }
    allow
}

fn refuse_opt_out(request: &Request<'_>) -> Option<String> {
    match request.live.phase {
        None | Some(Phase::Idle) => None,
        Some(phase) => Some(format!(
            "crossfade: {} cannot be removed in phase {}: first end the release (crossfade promote or abort) or, after a rollback, push stable's template; then opt out",
            annotations::STRATEGY,
            phase.as_str()
        )),
    }
}

/// What becomes of annotations of ours by a write that makes them those of a ReplicaSet of its template: key, value and
/// value before. The Deployment controller copies them there, and `kubectl rollout undo` takes all of them from there; a
/// revert in Git looks the same, so they are left as they are.
fn brought_back<'a>(request: &Request<'a>) -> Vec<(&'a str, Option<&'a str>, Option<&'a str>)> {
    let template = "/spec/template";
    let written = request.object.pointer(template).unwrap_or(&Value::Null);
    let sets = &request.live.replica_sets;
    let of_template =
        |set: &&Value| same_template(set.pointer(template).unwrap_or(&Value::Null), written);
    let sets: Vec<&Value> = sets.iter().filter(of_template).collect();
    let keys: BTreeSet<&str> = [request.object, request.old_object]
        .into_iter()
        .filter_map(|object| object.pointer("/metadata/annotations")?.as_object())
        .flat_map(|map| map.keys().map(String::as_str))
        .filter(|key| key.starts_with("crossfade.dev/"))
        // Dropped, it is put back, and the others with it.
        .filter(|key| *key != annotations::STRATEGY)
        .filter(|key| *key != annotations::BYPASS && *key != annotations::BYPASS_TEMPLATE)
        .collect();
    keys.into_iter()
        .filter_map(|key| {
            let now = annotation(request.object, key);
            let before = annotation(request.old_object, key);
            let its = |set: &&Value| annotation(set, key) == now;
            (now != before && sets.iter().any(its)).then_some((key, now, before))
        })
        .collect()
}

/// Annotations of ours that a write dropped together with the opt-in.
fn put_annotations_back(request: &Request<'_>, operations: &mut Vec<Value>) {
    if !is_map(request.object, "/metadata/annotations") {
        operations.push(json!({ "op": "add", "path": "/metadata/annotations", "value": {} }));
    }
    let old = request
        .old_object
        .pointer("/metadata/annotations")
        .and_then(Value::as_object);
    for (key, value) in old.into_iter().flatten() {
        let ours = key.starts_with("crossfade.dev/")
            && key != annotations::BYPASS
            && key != annotations::BYPASS_TEMPLATE;
        if ours && annotation(request.object, key).is_none() {
            operations.push(json!({ "op": "add", "path": format!("/metadata/annotations/{}", escape(key)), "value": value }));
        }
    }
}

/// The mark on a Service under release: the uid of the workload.
#[must_use]
pub fn held_by(service: &Value) -> Option<&Value> {
    service
        .pointer("/metadata/labels")?
        .get(annotations::HELD_BY)
}

/// Our key and our mark stay on a Service under release, whatever else the writer changes.
fn traffic(request: &Request<'_>) -> Answer {
    let key = |object: &Value| {
        object
            .pointer("/spec/selector")
            .and_then(|selector| selector.get(annotations::POD_TEMPLATE_HASH))
            .cloned()
    };
    let allow = Answer::Allow {
        warnings: Vec::new(),
    };
    // Left behind by a workload that is gone it guards nothing, and more than one may give it back.
    let let_go = by_holder(request) || request.live.departed;
    let Some(mark) = held_by(request.old_object).filter(|_| !let_go) else {
        return allow;
    };
    let mut operations = Vec::new();
    if held_by(request.object) != Some(mark) {
        if !is_map(request.object, "/metadata/labels") {
            operations.push(json!({ "op": "add", "path": "/metadata/labels", "value": {} }));
        }
        operations.push(json!({ "op": "add", "path": format!("/metadata/labels/{}", escape(annotations::HELD_BY)), "value": mark }));
    }
    match (key(request.old_object), key(request.object)) {
        (Some(ours), theirs) if theirs.as_ref() != Some(&ours) => {
            if !is_map(request.object, "/spec/selector") {
                operations.push(json!({ "op": "add", "path": "/spec/selector", "value": {} }));
            }
            operations.push(json!({ "op": "add", "path": format!("/spec/selector/{}", annotations::POD_TEMPLATE_HASH), "value": ours }));
        }
        (None, Some(_)) => operations.push(json!({ "op": "remove", "path": format!("/spec/selector/{}", annotations::POD_TEMPLATE_HASH) })),
        _ => {}
    }
    if operations.is_empty() {
        return allow;
    }
    Answer::Patch {
        operations,
        warnings: vec![
            "crossfade: a release is under way; its key in spec.selector and its label were kept"
                .to_owned(),
        ],
    }
}

/// Who wrote a command, from the authenticated request; whatever the writer claims is replaced.
fn stamp(request: &Request<'_>) -> Answer {
    let allow = Answer::Allow {
        warnings: Vec::new(),
    };
    let without_author = |object: &Value| {
        let mut control = object.pointer("/spec/control")?.clone();
        control.as_object_mut()?.remove("author");
        Some(control)
    };
    let Some(control) = without_author(request.object) else {
        return allow;
    };
    let author = request.object.pointer("/spec/control/author");
    let path = "/spec/control/author";
    let operation = if without_author(request.old_object).as_ref() == Some(&control) {
        match (request.old_object.pointer(path), author) {
            (old, new) if old == new => return allow,
            (Some(old), _) => json!({ "op": "add", "path": path, "value": old }),
            (None, _) => json!({ "op": "remove", "path": path }),
        }
    } else {
        json!({ "op": "add", "path": path, "value": { "user": request.user, "at": request.now.to_string() } })
    };
    Answer::Patch {
        operations: vec![operation],
        warnings: Vec::new(),
    }
}

pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(key)?.as_str()
}

/// Absent or null, a map has to be made before a key can be added to it.
fn is_map(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).is_some_and(Value::is_object)
}

pub(crate) fn paused(object: &Value) -> bool {
    object
        .pointer("/spec/paused")
        .and_then(Value::as_bool)
        .unwrap_or(false)
}

/// A key as a JSON pointer segment (RFC 6901).
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
