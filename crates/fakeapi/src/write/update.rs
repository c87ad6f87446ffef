//! PUT, and what every change of a stored object goes through.

use crate::At;
use std::sync::Arc;

use serde_json::Value;

use super::{Write, body, finalizers, is_terminating, metadata_mut, metadata_text, scale};
use crate::admission::{self, Operation};
use crate::answer::Answer;
use crate::commit::Commit;
use crate::error::{Cause, StatusError};
use crate::history::Stored;
use crate::managed;
use crate::request::{Place, Request};
use crate::state::FakeApi;
use crate::{Verb, rules};

/// How often a write that stated no resourceVersion is made again when somebody came before it.
const ATTEMPTS: usize = 100;

/// What an object shall become.
pub(crate) struct Proposal {
    pub(crate) object: Value,
    /// Its managedFields are already what an apply made them.
    pub(crate) tracked: bool,
    /// Times that change are written although nothing else may.
    pub(crate) differs: bool,
    /// It is written although nothing at all may change in what is shown.
    pub(crate) hollow: bool,
}

/// A PUT.
pub(crate) async fn put(
    api: &FakeApi,
    request: &Request,
    place: Place,
) -> Result<Answer, StatusError> {
    let write = Write::new(api, request, place, "UpdateOptions")?;
    let sent = body(request)?;
    if write.place.subresource == "scale" {
        let resource = Arc::clone(&write.place.resource);
        return update(&write, Verb::Update, |current| {
            let object = scale::into_object(&resource, &sent, &current.value)?;
            let stated_uid = metadata_text(&object, "uid").to_owned();
            refuse_other_uid(&write, &stated_uid, current)?;
            Ok(Proposal {
                object,
                tracked: false,
                differs: false,
                hollow: false,
            })
        })
        .await;
    }
    let mut object = sent;
    write.decode(&object)?;
    write.check_object(&mut object)?;
    let resource = Arc::clone(&write.place.resource);
    if matches!(write.place.subresource.as_str(), "" | "status")
        && rules::create_on_update(&resource)
        && write.stored(&write.place.name).is_none()
    {
        let uid = metadata_text(&object, "uid");
        if !uid.is_empty() {
            return Err(other_uid(&write, uid, ""));
        }
        return super::create::create(&write, object, Verb::Update, false).await;
    }
    let unconditional = rules::unconditional_update(&resource);
    update(&write, Verb::Update, |current| {
        let mut object = object.clone();
        let uid = metadata_text(&object, "uid").to_owned();
        refuse_other_uid(&write, &uid, current)?;
        let stated = metadata_text(&object, "resourceVersion").to_owned();
        if stated.is_empty() || stated == "0" {
            if !unconditional {
                return Err(StatusError::invalid_kind(
                    &resource.group,
                    &resource.plural,
                    &write.place.name,
                    &[Cause::new(
                        "FieldValueInvalid",
                        "metadata.resourceVersion",
                        "Invalid value: 0: must be specified for an update",
                    )],
                ));
            }
            set_revision(&mut object, current.revision);
        }
        Ok(Proposal {
            object,
            tracked: false,
            differs: false,
            hollow: false,
        })
    })
    .await
}

fn set_revision(object: &mut Value, revision: u64) {
    crate::history::set_revision(object, revision);
}

/// A uid in a PUT is a precondition.
fn refuse_other_uid(write: &Write<'_>, stated: &str, current: &Stored) -> Result<(), StatusError> {
    let found = metadata_text(&current.value, "uid");
    if stated.is_empty() || stated == found {
        return Ok(());
    }
    Err(other_uid(write, stated, found))
}

fn other_uid(write: &Write<'_>, stated: &str, found: &str) -> StatusError {
    StatusError::precondition(
        &write.place.resource,
        if write.dry_run { "" } else { "/registry" },
        &write.place.namespace,
        &write.place.name,
        "UID",
        stated,
        found,
    )
}

/// Changes a stored object into what `propose` makes of it, again and again while others are faster.
pub(crate) async fn update(
    write: &Write<'_>,
    verb: Verb,
    mut propose: impl FnMut(&Arc<Stored>) -> Result<Proposal, StatusError>,
) -> Result<Answer, StatusError> {
    for _ in 0..ATTEMPTS {
        let current = write.current()?;
        let proposal = propose(&current)?;
        let next = prepare(write, &current, proposal).await?;
        let Some(next) = next else {
            return Ok(write.answer(200, current));
        };
        if write.dry_run {
            if write.place.subresource == "scale" {
                let scale = scale::of(&write.place.resource, &next.object);
                return Ok(write.warned(Answer::value(200, scale)));
            }
            return Ok(write.unstored(200, next.object));
        }
        let committed = commit(write, verb, &current, next);
        if let Some(stored) = committed {
            return Ok(write.answer(200, stored));
        }
    }
    Err(StatusError::modified(
        &write.place.resource,
        &write.place.name,
    ))
}

/// An object that has passed everything.
struct Next {
    object: Value,
    /// The last thing that kept it was taken away.
    gone: bool,
}

async fn prepare(
    write: &Write<'_>,
    current: &Arc<Stored>,
    proposal: Proposal,
) -> Result<Option<Next>, StatusError> {
    let place = &write.place;
    let resource = &place.resource;
    let old = &current.value;
    let Proposal {
        mut object,
        tracked,
        differs,
        hollow,
    } = proposal;
    let schemas = write.api.schemas();
    schemas.default(resource, &place.version, &mut object, Some(old))?;
    if metadata_text(&object, "resourceVersion").is_empty() {
        set_revision(&mut object, current.revision);
    }
    // A write to /status of a custom kind owns what it says about the metadata, though it is not written.
    let keeps_metadata = resource.custom && place.subresource == "status";
    if !keeps_metadata {
        rules::confine(resource, &place.subresource, &mut object, old);
    }
    if !tracked {
        let (shape, blank) = write.shape();
        if keeps_metadata && let Some(map) = object.as_object_mut() {
            rules::put_back(map, "spec", old.get("spec"));
        }
        let mut writer = write.writer("Update");
        if place.subresource == "scale" {
            writer.size = scale::size(resource, &object);
        }
        managed::track_update(Some(old), &blank, &mut object, &shape, &writer);
    }
    if keeps_metadata {
        rules::confine(resource, &place.subresource, &mut object, old);
    }
    if write.is_admitted() {
        object = mutate(write, object, old).await?;
        rules::confine(resource, &place.subresource, &mut object, old);
    }
    // Found only now: admission is asked about writes that come too late as well.
    if metadata_text(&object, "resourceVersion") != current.revision.to_string() {
        return Err(StatusError::modified(resource, &place.name));
    }
    let seed = if write.dry_run { 0 } else { current.revision };
    schemas.allocate(resource, &mut object, Some(old), seed);
    rules::prepare_update(resource, &place.subresource, &mut object, old);
    if !differs && managed::same_but_for_times(old, &object) {
        // The answer is the stored object, and admission may still refuse it.
        object = Value::clone(old);
    }
    schemas.validate(
        resource,
        &place.version,
        Operation::Update,
        &place.subresource,
        &object,
        Some(old),
    )?;
    rules::warn(resource, &object, Some(old), |text| write.warn(text));
    if write.is_admitted() {
        validate(write, &object, old).await?;
    }
    let gone = is_gone(write, &object, old);
    if !gone && !hollow && object == **old {
        return Ok(None);
    }
    Ok(Some(Next { object, gone }))
}

async fn mutate(write: &Write<'_>, object: Value, old: &Arc<Value>) -> Result<Value, StatusError> {
    let resource = &write.place.resource;
    let attributes = write.attributes(Operation::Update, &write.place.name);
    if write.place.subresource != "scale" {
        return admission::mutate(write.api, &attributes, object, Some(old)).await;
    }
    let before = Arc::new(scale::of(resource, old));
    let sent = scale::of(resource, &object);
    let mutated = admission::mutate(write.api, &attributes, sent.clone(), Some(&before)).await?;
    if mutated == sent {
        return Ok(object);
    }
    scale::into_object(resource, &mutated, &object)
}

async fn validate(write: &Write<'_>, object: &Value, old: &Arc<Value>) -> Result<(), StatusError> {
    let resource = &write.place.resource;
    let attributes = write.attributes(Operation::Update, &write.place.name);
    if write.place.subresource != "scale" {
        return admission::validate(write.api, &attributes, Some(object), Some(old)).await;
    }
    let before = Arc::new(scale::of(resource, old));
    let after = scale::of(resource, object);
    admission::validate(write.api, &attributes, Some(&after), Some(&before)).await
}

/// Whether an object that is being deleted has nothing left to wait for (`ShouldDeleteDuringUpdate`).
fn is_gone(write: &Write<'_>, object: &Value, old: &Value) -> bool {
    let graceful = old
        .get("metadata")
        .and_then(|metadata| metadata.get("deletionGracePeriodSeconds"))
        .and_then(Value::as_i64)
        .is_some_and(|seconds| seconds > 0);
    let namespace = write.place.resource.storage == "namespaces"
        && object
            .at("/spec/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|finalizers| !finalizers.is_empty());
    is_terminating(old) && !graceful && !namespace && finalizers(object).is_empty()
}

/// Nothing when somebody else has written in between.
fn commit(write: &Write<'_>, verb: Verb, current: &Arc<Stored>, next: Next) -> Option<Arc<Stored>> {
    let Next { mut object, gone } = next;
    if let Some(metadata) = metadata_mut(&mut object) {
        metadata.remove("selfLink");
    }
    write.api.publish(|state| {
        let newest = state
            .stores
            .get(&write.place.resource.storage)
            .and_then(|store| store.get(&write.place.namespace, &write.place.name))
            .map(|stored| stored.revision);
        if newest != Some(current.revision) {
            return (None, None);
        }
        // What is gone is shown as it was to become.
        let (after, last) = if gone {
            (None, Some(object))
        } else {
            (Some(object), None)
        };
        let (stored, change) = state.commit(Commit {
            caller: write.caller,
            verb,
            subresource: &write.place.subresource,
            key: write.key(&write.place.name),
            after,
        });
        let last = last.map(|object| Stored::new(object, change.revision));
        (last.or(stored), Some(change))
    })
}
