//! POST: new objects, with their names, uids and namespaces.

use crate::At;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Write, body, metadata_mut, metadata_text};
use crate::admission::{self, Operation};
use crate::answer::Answer;
use crate::commit::Commit;
use crate::error::StatusError;
use crate::history::Stored;
use crate::managed;
use crate::request::{Place, Request};
use crate::state::{FakeApi, State};
use crate::{Key, Verb, rules};

/// How often a generated name is made anew when it is taken (as the real server does).
const NAME_ATTEMPTS: usize = 8;

/// A POST to a collection.
pub(crate) async fn post(
    api: &FakeApi,
    request: &Request,
    place: Place,
) -> Result<Answer, StatusError> {
    if place.resource.namespaced && place.namespace.is_empty() {
        return Err(StatusError::method_not_allowed());
    }
    let write = Write::new(api, request, place, "CreateOptions")?;
    let mut object = body(request)?;
    write.decode(&object)?;
    write.check_object(&mut object)?;
    create(&write, object, Verb::Create, false).await
}

/// Creates an object. `tracked`: its managedFields are already what an apply made them.
pub(crate) async fn create(
    write: &Write<'_>,
    mut object: Value,
    verb: Verb,
    tracked: bool,
) -> Result<Answer, StatusError> {
    let resource = Arc::clone(&write.place.resource);
    if let Some(metadata) = metadata_mut(&mut object) {
        // The server's own; whatever a client says about them. Only a POST loses the marks of a deletion.
        let wiped: &[&str] = if verb == Verb::Create {
            &["deletionTimestamp", "deletionGracePeriodSeconds"]
        } else {
            &[]
        };
        for field in ["uid", "creationTimestamp", "selfLink"].iter().chain(wiped) {
            metadata.remove(*field);
        }
        if metadata.get("resourceVersion").and_then(Value::as_str) == Some("") {
            metadata.remove("resourceVersion");
        }
    }
    // A PUT to /status of an object that is not there makes it, but gives it nothing.
    let of_status = write.place.subresource == "status";
    let schemas = write.api.schemas();
    schemas.default(&resource, &write.place.version, &mut object, None)?;
    // Fields of the other endpoint belong to nobody; the status is dropped before owners are noted.
    if !tracked {
        let (shape, blank) = write.shape();
        // A status of the wrong types is dropped later, but with it nothing of the object can be tracked.
        let typed = !resource.custom
            || object.get("status").is_none()
            || schemas
                .typed(&resource, &write.place.version, &object)
                .is_ok();
        let other = if of_status { "spec" } else { "status" };
        let set_aside = object
            .as_object_mut()
            .filter(|_| resource.status)
            .and_then(|map| map.remove(other));
        if typed {
            managed::track_update(None, &blank, &mut object, &shape, &write.writer("Update"));
        } else if let Some(metadata) = metadata_mut(&mut object) {
            metadata.remove("managedFields");
        }
        if let (Some(value), Some(map)) = (set_aside, object.as_object_mut()) {
            map.insert(other.to_owned(), value);
        }
    }
    let name = metadata_text(&object, "name").to_owned();
    write.api.with(|state| room(state, write, &name))?;
    let attributes = write.attributes(Operation::Create, &name);
    if write.is_admitted() {
        object = admission::mutate(write.api, &attributes, object, None).await?;
    }
    let stem = metadata_text(&object, "generateName").to_owned();
    let generated = !stem.is_empty() && metadata_text(&object, "name").is_empty();
    // A dry run is shown an address too, always the same.
    let number = write.api.next_number();
    let seed = if write.dry_run { 0 } else { number };
    if !of_status {
        schemas.allocate(&resource, &mut object, None, seed);
    }
    rules::prepare_create(&resource, &mut object, &write.api.now());
    let (uid, now) = (write.api.next_uid(), write.api.now());
    if let Some(metadata) = metadata_mut(&mut object) {
        metadata.insert("uid".to_owned(), Value::from(uid));
        metadata.insert("creationTimestamp".to_owned(), Value::from(now));
        if generated {
            let name = generated_name(&stem, &write.api.next_suffix());
            metadata.insert("name".to_owned(), Value::from(name));
        }
    }
    schemas.validate(
        &resource,
        &write.place.version,
        Operation::Create,
        "",
        &object,
        None,
    )?;
    if write.is_admitted() {
        let name = metadata_text(&object, "name").to_owned();
        let attributes = write.attributes(Operation::Create, &name);
        admission::validate(write.api, &attributes, Some(&object), None).await?;
    }
    rules::warn(&resource, &object, None, |text| write.warn(text));
    let versioned = !metadata_text(&object, "resourceVersion").is_empty();
    if versioned && verb == Verb::Create && !write.dry_run {
        // The storage says so, after everything else; a PUT or an apply leaves it out of account.
        return Err(StatusError::new(
            500,
            "",
            "resourceVersion should not be set on objects to be created",
        ));
    }
    store(
        write,
        object,
        verb,
        if generated { stem.as_str() } else { "" },
    )
}

/// At most 58 characters of the stem, then five more: a label of DNS has 63.
fn generated_name(stem: &str, suffix: &str) -> String {
    const LONGEST_STEM: usize = 58;
    let mut end = stem.len().min(LONGEST_STEM);
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &stem[..end])
}

fn store(
    write: &Write<'_>,
    mut object: Value,
    verb: Verb,
    stem: &str,
) -> Result<Answer, StatusError> {
    let resource = Arc::clone(&write.place.resource);
    let attempts = if stem.is_empty() { 1 } else { NAME_ATTEMPTS };
    for attempt in 0..attempts {
        if attempt > 0 {
            let name = generated_name(stem, &write.api.next_suffix());
            if let Some(metadata) = metadata_mut(&mut object) {
                metadata.insert("name".to_owned(), Value::from(name));
            }
        }
        let name = metadata_text(&object, "name").to_owned();
        if write.stored(&name).is_some() {
            continue;
        }
        if write.dry_run {
            return Ok(write.unstored(201, object));
        }
        let created = write.api.publish(|state| {
            if let Err(error) = room(state, write, &name) {
                return (Err(error), None);
            }
            let taken = state
                .stores
                .get(&resource.storage)
                .is_some_and(|store| store.get(&write.place.namespace, &name).is_some());
            if taken {
                return (Ok(None), None);
            }
            let (stored, change) = state.commit(Commit {
                caller: write.caller,
                verb,
                subresource: "",
                key: write.key(&name),
                after: Some(std::mem::take(&mut object)),
            });
            (Ok(stored), Some(change))
        })?;
        if let Some(stored) = created {
            return Ok(answer(write, stored));
        }
    }
    let name = metadata_text(&object, "name");
    let mut error = StatusError::already_exists(&resource, name);
    if write
        .stored(name)
        .is_some_and(|stored| super::is_terminating(&stored.value))
    {
        error.message = format!("object is being deleted: {}", error.message);
    }
    Err(error)
}

fn answer(write: &Write<'_>, stored: Arc<Stored>) -> Answer {
    write.answer(201, stored)
}

/// Whether the namespace takes new objects (the admission plugin NamespaceLifecycle).
fn room(state: &State, write: &Write<'_>, name: &str) -> Result<(), StatusError> {
    let place = &write.place;
    if !place.resource.namespaced {
        return Ok(());
    }
    let namespace = state
        .stores
        .get("namespaces")
        .and_then(|store| store.get("", &place.namespace));
    let Some(namespace) = namespace else {
        return Err(match state.resources.by_storage("namespaces") {
            Some(namespaces) => StatusError::not_found(namespaces, &place.namespace),
            None => StatusError::no_such_path(),
        });
    };
    let terminating = namespace.value.at("/status/phase").and_then(Value::as_str)
        == Some("Terminating")
        || super::is_terminating(&namespace.value);
    if !terminating {
        return Ok(());
    }
    let mut error = StatusError::forbidden(
        &place.resource,
        name,
        &format!(
            "unable to create new content in namespace {} because it is being terminated",
            place.namespace
        ),
    );
    if let Some(Value::Object(details)) = &mut error.details {
        details.insert(
            "causes".to_owned(),
            json!([{
                "reason": "NamespaceTerminating",
                "message": format!("namespace {} is being terminated", place.namespace),
                "field": "metadata.namespace",
            }]),
        );
    }
    Err(error)
}

impl FakeApi {
    /// Puts an object into the store as it is, over what is there: no defaults, no admission, no
    /// validation. For worlds that begin in the middle.
    pub fn put_raw(&self, key: &Key, object: Value) {
        let caller = crate::Caller::new("system:apiserver", "kube-apiserver/v1.34");
        self.publish(|state| {
            let (_, change) = state.commit(Commit {
                caller: &caller,
                verb: Verb::Update,
                subresource: "",
                key: key.clone(),
                after: Some(object),
            });
            ((), Some(change))
        });
    }
}
