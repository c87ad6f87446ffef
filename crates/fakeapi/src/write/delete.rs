//! DELETE of one object and of collections: preconditions, grace, finalizers, propagation. What
//! happens to dependents is the garbage collector's.

use crate::At;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::{Write, finalizers, is_terminating, metadata_mut, metadata_text};
use crate::admission::{self, Operation};
use crate::answer::{Answer, Payload};
use crate::clock;
use crate::commit::Commit;
use crate::error::{Cause, StatusError};
use crate::history::Stored;
use crate::request::{Place, Request};
use crate::state::FakeApi;
use crate::{Verb, rules};

/// The finalizer of a deletion that leaves dependents alone.
pub(crate) const ORPHAN: &str = "orphan";
/// The finalizer of a deletion that waits for dependents.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// A pod's grace when nobody says another, in seconds.
const DEFAULT_GRACE: i64 = 30;
const ATTEMPTS: usize = 100;

/// `metav1.DeleteOptions`.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    grace: Option<i64>,
    uid: Option<String>,
    revision: Option<String>,
    propagation: Option<Propagation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl DeleteOptions {
    /// From the body, or without one from the query.
    fn read(request: &Request) -> Result<(Self, bool), StatusError> {
        let query = &request.query;
        let body = request.body.as_ref().filter(|body| body.is_object());
        // With a body the query counts for nothing, `dryRun` included.
        let mut dry_run = body.is_none() && query.dry_run("DeleteOptions")?;
        let text = |field: &str| -> Option<String> {
            match body {
                Some(body) => body.get(field)?.as_str().map(str::to_owned),
                None => Some(query.text(field).to_owned()).filter(|text| !text.is_empty()),
            }
        };
        let grace = match body {
            Some(body) => body.get("gracePeriodSeconds").and_then(Value::as_i64),
            None => query.text("gracePeriodSeconds").parse().ok(),
        };
        // The server takes a negative one for a second.
        let grace = grace.map(|grace| if grace < 0 { 1 } else { grace });
        let orphan = body
            .and_then(|body| body.get("orphanDependents"))
            .and_then(Value::as_bool);
        let propagation = match (text("propagationPolicy").as_deref(), orphan) {
            (Some(_), Some(_)) => {
                return Err(invalid_options(Cause::new(
                    "FieldValueInvalid",
                    "propagationPolicy",
                    "Invalid value: \"\": orphanDependents and deletionPropagation cannot be both set",
                )));
            }
            (Some("Background"), None) | (None, Some(false)) => Some(Propagation::Background),
            (Some("Foreground"), None) => Some(Propagation::Foreground),
            (Some("Orphan"), None) | (None, Some(true)) => Some(Propagation::Orphan),
            (Some(other), None) => {
                return Err(invalid_options(Cause::new(
                    "FieldValueNotSupported",
                    "propagationPolicy",
                    format!(
                        "Unsupported value: {other:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
                    ),
                )));
            }
            (None, None) => None,
        };
        let precondition = |field: &str| {
            body.and_then(|body| body.get("preconditions")?.get(field)?.as_str())
                .map(str::to_owned)
        };
        if let Some(values) = body
            .and_then(|body| body.get("dryRun"))
            .and_then(Value::as_array)
        {
            dry_run |= values.iter().any(|value| value.as_str() == Some("All"));
        }
        Ok((
            Self {
                grace,
                uid: precondition("uid"),
                revision: precondition("resourceVersion"),
                propagation,
            },
            dry_run,
        ))
    }
}

fn invalid_options(cause: Cause) -> StatusError {
    StatusError::invalid_kind("meta.k8s.io", "DeleteOptions", "", &[cause])
}

fn begin<'a>(
    api: &'a FakeApi,
    request: &'a Request,
    place: Place,
) -> Result<(Write<'a>, DeleteOptions), StatusError> {
    let (options, dry_run) = DeleteOptions::read(request)?;
    let mut write = Write::new(api, request, place, "DeleteOptions")?;
    write.dry_run = dry_run;
    if let (Some(Value::Object(body)), Some(known)) = (&request.body, write.options.as_object_mut())
    {
        for (field, value) in body {
            known.insert(field.clone(), value.clone());
        }
    }
    Ok((write, options))
}

/// A DELETE of one object.
pub(crate) async fn one(
    api: &FakeApi,
    request: &Request,
    place: Place,
) -> Result<Answer, StatusError> {
    let (write, options) = begin(api, request, place)?;
    let name = write.place.name.clone();
    let (deleted, gone) = delete(&write, &options, &name, &name).await?;
    if !gone || rules::returns_deleted(&write.place.resource) {
        return Ok(write.answer(200, deleted));
    }
    let mut details = crate::error::named(&write.place.resource, &name);
    if let Some(details) = details.as_object_mut() {
        details.insert(
            "uid".to_owned(),
            Value::from(metadata_text(&deleted.value, "uid")),
        );
    }
    Ok(write.warned(Answer::value(
        200,
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details }),
    )))
}

/// A DELETE of a collection: one by one, in order; the first refusal ends it.
pub(crate) async fn collection(
    api: &FakeApi,
    request: &Request,
    place: Place,
) -> Result<Answer, StatusError> {
    if place.resource.namespaced && place.namespace.is_empty() {
        return Err(StatusError::method_not_allowed());
    }
    let list = crate::read::list(api, request, &place)?;
    let (write, options) = begin(api, request, place)?;
    let Payload::List(found) = list.payload else {
        return Ok(list);
    };
    for stored in &found.items {
        let name = metadata_text(&stored.value, "name").to_owned();
        // The request names nobody, and admission is told no name for any of them.
        match delete(&write, &options, &name, "").await {
            Ok(_) => {}
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(write.warned(Answer {
        status: 200,
        payload: Payload::List(found),
        warnings: Vec::new(),
    }))
}

/// Deletes or marks. Gives the object as it is now (or was last), and whether it is gone. `asked_for` is the name in
/// the request, for admission.
pub(crate) async fn delete(
    write: &Write<'_>,
    options: &DeleteOptions,
    name: &str,
    asked_for: &str,
) -> Result<(Arc<Stored>, bool), StatusError> {
    let resource = Arc::clone(&write.place.resource);
    let not_found = || StatusError::not_found(&resource, name);
    for _ in 0..ATTEMPTS {
        let current = write.stored(name).ok_or_else(not_found)?;
        check_preconditions(write, options, &current, name)?;
        // Who writes in between is looked at anew, admission included.
        let outcome = marked(write, options, &current);
        if matches!(outcome, Outcome::Pending) {
            return Ok((current, false));
        }
        if write.is_admitted() {
            let attributes = write.attributes(Operation::Delete, asked_for);
            admission::mutate(
                write.api,
                &attributes,
                Value::clone(&current.value),
                Some(&current.value),
            )
            .await?;
            admission::validate(write.api, &attributes, None, Some(&current.value)).await?;
        }
        match &outcome {
            Outcome::Marked(object) if *object == *current.value => return Ok((current, false)),
            _ if write.dry_run => {
                return Ok(match outcome {
                    Outcome::Marked(object) => (Stored::new(object, current.revision), false),
                    Outcome::Gone(Some(last)) => (Stored::new(last, current.revision), true),
                    _ => (current, true),
                });
            }
            _ => {}
        }
        if let Some(done) = commit(write, &current, name, outcome) {
            return Ok(done);
        }
    }
    Err(StatusError::modified(&resource, name))
}

fn check_preconditions(
    write: &Write<'_>,
    options: &DeleteOptions,
    current: &Stored,
    name: &str,
) -> Result<(), StatusError> {
    for (what, field, stated) in [
        ("UID", "uid", &options.uid),
        ("ResourceVersion", "resourceVersion", &options.revision),
    ] {
        let found = metadata_text(&current.value, field);
        if let Some(stated) = stated.as_deref().filter(|stated| *stated != found) {
            return Err(StatusError::deletion_precondition(
                &write.place.resource,
                name,
                what,
                stated,
                found,
            ));
        }
    }
    Ok(())
}

/// What a deletion makes of an object.
enum Outcome {
    /// It is ending already, and nothing about that changes; nobody is asked.
    Pending,
    /// It stays for now, marked.
    Marked(Value),
    /// It goes; one that ends by grace is seen marked with none first.
    Gone(Option<Value>),
}

fn marked(write: &Write<'_>, options: &DeleteOptions, current: &Stored) -> Outcome {
    let mut object = Value::clone(&current.value);
    let now = write.api.timestamp();
    if rules::is_graceful(&write.place.resource) {
        return marked_pod(object, options, now);
    }
    // Events are no part of garbage collection: policies say nothing about them.
    let pending = if write.place.resource.plural == "events" {
        !finalizers(&object).is_empty()
    } else {
        propagate(&mut object, options)
    };
    if write.place.resource.storage == "namespaces" {
        return marked_namespace(object, pending, now);
    }
    if !pending {
        return Outcome::Gone(None);
    }
    if !is_terminating(&object) {
        mark(&mut object, now, 0);
    } else if let Some(metadata) = metadata_mut(&mut object) {
        metadata.insert("deletionGracePeriodSeconds".to_owned(), Value::from(0));
    }
    Outcome::Marked(object)
}

/// Puts the finalizers in that a propagation policy means. Whether any finalizer is left.
fn propagate(object: &mut Value, options: &DeleteOptions) -> bool {
    let mut names = finalizers(object);
    let before = names.clone();
    if let Some(propagation) = options.propagation {
        names.retain(|name| name != ORPHAN && name != FOREGROUND);
        match propagation {
            Propagation::Background => {}
            Propagation::Foreground => names.push(FOREGROUND.to_owned()),
            Propagation::Orphan => names.push(ORPHAN.to_owned()),
        }
        // Kept where it stood if it was there already.
        if names.len() == before.len() && names.iter().all(|name| before.contains(name)) {
            names.clone_from(&before);
        }
    }
    if names != before
        && let Some(metadata) = metadata_mut(object)
    {
        if names.is_empty() {
            metadata.remove("finalizers");
        } else {
            metadata.insert("finalizers".to_owned(), Value::from(names.clone()));
        }
    }
    !names.is_empty()
}

/// Sets the marks of a deletion; the first time the generation moves, where there is one.
fn mark(object: &mut Value, at: Timestamp, grace: i64) {
    let Some(metadata) = metadata_mut(object) else {
        return;
    };
    metadata.insert(
        "deletionTimestamp".to_owned(),
        Value::from(clock::seconds(at)),
    );
    metadata.insert("deletionGracePeriodSeconds".to_owned(), Value::from(grace));
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
        metadata.insert("generation".to_owned(), Value::from(generation + 1));
    }
}

/// Namespaces wait for their content; the namespace controller takes the finalizer of their spec away.
fn marked_namespace(mut object: Value, pending: bool, now: Timestamp) -> Outcome {
    let content = object
        .at("/spec/finalizers")
        .and_then(Value::as_array)
        .is_some_and(|finalizers| !finalizers.is_empty());
    if !is_terminating(&object) {
        if let Some(metadata) = metadata_mut(&mut object) {
            metadata.insert(
                "deletionTimestamp".to_owned(),
                Value::from(clock::seconds(now)),
            );
        }
        if let Some(map) = object.as_object_mut() {
            let status = map
                .entry("status")
                .or_insert_with(|| Value::Object(Map::new()));
            if let Some(status) = status.as_object_mut() {
                status.insert("phase".to_owned(), Value::from("Terminating"));
            }
        }
    }
    if content || pending {
        Outcome::Marked(object)
    } else {
        Outcome::Gone(None)
    }
}

/// Pods end by their kubelet: it deletes again with no grace. Those never scheduled or already over
/// have nobody to wait for.
fn marked_pod(mut object: Value, options: &DeleteOptions, now: Timestamp) -> Outcome {
    let seconds = |object: &Value, pointer: &str| object.at(pointer).and_then(Value::as_i64);
    if is_terminating(&object) {
        let left = seconds(&object, "/metadata/deletionGracePeriodSeconds").unwrap_or_default();
        if left == 0 {
            return if propagate(&mut object, options) {
                // A pod applied with the mark of a deletion has no grace of its own yet.
                if let Some(metadata) = metadata_mut(&mut object) {
                    metadata.insert("deletionGracePeriodSeconds".to_owned(), Value::from(0));
                }
                Outcome::Marked(object)
            } else {
                Outcome::Gone(None)
            };
        }
        let Some(shorter) = options.grace.filter(|grace| *grace < left) else {
            return Outcome::Pending;
        };
        let end: Option<Timestamp> = metadata_text(&object, "deletionTimestamp").parse().ok();
        let end = end
            .and_then(|end| {
                end.checked_sub(SignedDuration::from_secs(left - shorter))
                    .ok()
            })
            .unwrap_or(now);
        let pending = propagate(&mut object, options);
        if let Some(metadata) = metadata_mut(&mut object) {
            metadata.insert(
                "deletionTimestamp".to_owned(),
                Value::from(clock::seconds(end)),
            );
            metadata.insert(
                "deletionGracePeriodSeconds".to_owned(),
                Value::from(shorter),
            );
        }
        return ending(object, shorter, pending);
    }
    let scheduled = object
        .at("/spec/nodeName")
        .and_then(Value::as_str)
        .is_some_and(|node| !node.is_empty());
    let over = matches!(
        object.at("/status/phase").and_then(Value::as_str),
        Some("Failed" | "Succeeded")
    );
    let mut grace = options
        .grace
        .or_else(|| seconds(&object, "/spec/terminationGracePeriodSeconds"))
        .unwrap_or(DEFAULT_GRACE);
    if !scheduled || over {
        grace = 0;
    }
    // A negative one in a pod's spec means the least.
    if grace < 0 {
        grace = 1;
    }
    let pending = propagate(&mut object, options);
    let end = now
        .checked_add(SignedDuration::from_secs(grace))
        .unwrap_or(now);
    mark(&mut object, end, grace);
    ending(object, grace, pending)
}

fn ending(object: Value, grace: i64, pending: bool) -> Outcome {
    if grace > 0 || pending {
        Outcome::Marked(object)
    } else {
        Outcome::Gone(Some(object))
    }
}

/// Nothing when somebody else has written in between.
fn commit(
    write: &Write<'_>,
    current: &Arc<Stored>,
    name: &str,
    outcome: Outcome,
) -> Option<(Arc<Stored>, bool)> {
    let (steps, gone) = match outcome {
        Outcome::Pending => return Some((Arc::clone(current), false)),
        Outcome::Marked(object) => (vec![Some(object)], false),
        Outcome::Gone(Some(last)) => (vec![Some(last), None], true),
        Outcome::Gone(None) => (vec![None], true),
    };
    write.api.publish(|state| {
        let newest = state
            .stores
            .get(&write.place.resource.storage)
            .and_then(|store| store.get(&write.place.namespace, name))
            .map(|stored| stored.revision);
        if newest != Some(current.revision) {
            return (None, Vec::new());
        }
        let mut changes = Vec::new();
        if gone && write.place.resource.storage == "customresourcedefinitions" {
            // Objects of a kind go with it; here at once, in the real server by a finalizer.
            changes = state.drop_objects_of(&current.value);
        }
        let mut last = None;
        for after in steps {
            let (stored, change) = state.commit(Commit {
                caller: write.caller,
                verb: Verb::Delete,
                subresource: "",
                key: write.key(name),
                after,
            });
            // What is gone is shown as of its end.
            last = stored.map(|stored| stored.at(change.revision));
            changes.push(change);
        }
        (last.map(|stored| (stored, gone)), changes)
    })
}

impl crate::state::State {
    fn drop_objects_of(&mut self, crd: &Value) -> Vec<crate::Change> {
        let text = |path: &str| crd.at(path).and_then(Value::as_str).unwrap_or_default();
        let Some(resource) = self
            .resources
            .find(text("/spec/group"), text("/spec/names/plural"))
            .cloned()
        else {
            return Vec::new();
        };
        let keys: Vec<crate::Key> = self
            .stores
            .get(&resource.storage)
            .into_iter()
            .flat_map(|store| &store.objects)
            .flat_map(|(namespace, names)| {
                names.keys().map(|name| {
                    crate::Key::new(resource.storage.as_str(), namespace.as_str(), name.as_str())
                })
            })
            .collect();
        let caller = crate::Caller::new("system:apiserver", "kube-apiserver/v1.34");
        keys.into_iter()
            .map(|key| {
                let (_, change) = self.commit(Commit {
                    caller: &caller,
                    verb: Verb::Delete,
                    subresource: "",
                    key,
                    after: None,
                });
                change
            })
            .collect()
    }
}
