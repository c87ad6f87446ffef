//! PATCH: JSON patch, merge patch and server-side apply. Strategic merge patch is not served: 415.

use std::sync::Arc;

use serde_json::{Value, json};

use super::update::{Proposal, update};
use super::{Write, body, create, metadata_mut, metadata_text, scale};
use crate::answer::Answer;
use crate::error::{Cause, StatusError};
use crate::history::Stored;
use crate::patch::{self, json::JsonPatchError};
use crate::request::{Place, Request};
use crate::schema::Schemas;
use crate::state::FakeApi;
use crate::{Verb, managed};

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const APPLY_CBOR: &str = "application/apply-patch+cbor";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// A PATCH, by its content type.
pub(crate) async fn patch(
    api: &FakeApi,
    request: &Request,
    place: Place,
) -> Result<Answer, StatusError> {
    let write = Write::new(api, request, place, "PatchOptions")?;
    let kind = request
        .content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let force = request.query.text("force");
    let document = body(request)?;
    if kind == APPLY {
        if request.query.text("fieldManager").is_empty() {
            return Err(options_error(
                &write,
                Cause::required("fieldManager", "is required for apply patch"),
            ));
        }
        return apply(&write, document, force == "true").await;
    }
    if !matches!(kind, JSON_PATCH | MERGE_PATCH) {
        let mut taken = vec![JSON_PATCH, MERGE_PATCH];
        if !write.place.resource.custom {
            taken.push(STRATEGIC);
        }
        taken.extend([APPLY, APPLY_CBOR]);
        return Err(StatusError::unsupported_media(format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            taken.join(", ")
        )));
    }
    if !force.is_empty() {
        return Err(options_error(
            &write,
            Cause::new(
                "FieldValueForbidden",
                "force",
                "Forbidden: may not be specified for non-apply patch",
            ),
        ));
    }
    let by_operations = kind == JSON_PATCH;
    update(&write, Verb::Patch, |current| {
        let resource = &write.place.resource;
        let is_scale = write.place.subresource == "scale";
        let mut object = if is_scale {
            scale::of(resource, &current.value)
        } else {
            versioned(&write, &current.value)
        };
        if by_operations {
            patch::json::apply(&document, &mut object).map_err(|error| match error {
                JsonPatchError::Malformed(text) => StatusError::bad_request(text),
                JsonPatchError::TooLong(text) => StatusError::too_large(&text),
                JsonPatchError::DoesNotApply(_) => StatusError::rejected_patch(),
            })?;
        } else {
            if !document.is_object() {
                return Err(StatusError::bad_request(
                    "error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}",
                ));
            }
            patch::merge::apply(&document, &mut object);
        }
        if is_scale {
            object = scale::into_object(resource, &object, &current.value)?;
        } else {
            decoded(&write, &object)?;
            checked(&write, &mut object)?;
        }
        Ok(Proposal {
            object,
            tracked: false,
            differs: false, hollow: false,
        })
    })
    .await
}

/// The stored object in the version of the request.
fn versioned(write: &Write<'_>, stored: &Value) -> Value {
    let mut object = stored.clone();
    if write.place.version != write.place.resource.version
        && let Some(map) = object.as_object_mut()
    {
        map.insert(
            "apiVersion".to_owned(),
            Value::from(write.place.api_version()),
        );
    }
    object
}

/// What a patch makes of an object has to be one of the kind still.
fn decoded(write: &Write<'_>, object: &Value) -> Result<(), StatusError> {
    let decoded = write.api.schemas().decode(&write.place.resource, object);
    let Err(problem) = decoded.and_then(|()| write.strictly(object)) else {
        return Ok(());
    };
    let shown = Value::from(object.to_string());
    Err(StatusError::invalid_kind(
        "",
        "",
        "",
        &[Cause::invalid("patch", &shown, &problem)],
    ))
}

/// A patch may not make another object of it. A missing resourceVersion means the newest.
fn checked(write: &Write<'_>, object: &mut Value) -> Result<(), StatusError> {
    let renamed = metadata_text(object, "name") != write.place.name;
    if renamed && object.is_object() {
        let sent = metadata_text(object, "name").to_owned();
        return Err(StatusError::bad_request(format!(
            "the name of the object ({sent}) does not match the name on the URL ({})",
            write.place.name
        )));
    }
    write.check_object(object)
}

fn options_error(write: &Write<'_>, cause: Cause) -> StatusError {
    StatusError::invalid_kind("meta.k8s.io", write.options_kind(), "", &[cause])
}

async fn apply(write: &Write<'_>, mut document: Value, force: bool) -> Result<Answer, StatusError> {
    let resource = Arc::clone(&write.place.resource);
    let is_scale = write.place.subresource == "scale";
    if is_scale {
        return Err(StatusError::unsupported_media(
            "server-side apply of a Scale is not served here",
        ));
    }
    let missing = write.stored(&write.place.name).is_none();
    let creates = write.place.subresource.is_empty() || crate::rules::create_on_update(&resource);
    if missing && !creates {
        return Err(StatusError::not_found(&resource, &write.place.name));
    }
    refuse_other_type(write, &document)?;
    let stated = document
        .get("metadata")
        .and_then(|metadata| metadata.get("managedFields"))
        .is_some_and(|entries| !entries.is_null());
    if stated {
        return Err(StatusError::bad_request(
            "metadata.managedFields must be nil",
        ));
    }
    write
        .api
        .schemas()
        .typed(&resource, &write.place.version, &document)?;
    // Looked at last, after conflicts.
    let readable = Schemas::convertible(&resource, &write.place.version, &document);
    let mut whole = document.clone();
    let namespace = metadata_text(&document, "namespace").to_owned();
    let elsewhere =
        resource.namespaced && !namespace.is_empty() && namespace != write.place.namespace;
    if let (true, Some(metadata)) = (elsewhere, metadata_mut(&mut document)) {
        metadata.remove("namespace");
    }
    let here = || {
        readable.clone()?;
        if elsewhere {
            Err(super::other_namespace())
        } else {
            Ok(())
        }
    };
    if missing {
        // The outcome is read before it is asked for its name.
        here()?;
    }
    // Only the outcome has to be named: what is stored already is.
    if let (false, Some(map)) = (missing, document.as_object_mut()) {
        let metadata = map.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata
                .entry("name")
                .or_insert_with(|| Value::from(write.place.name.clone()));
        }
    }
    write.check_object(&mut document)?;
    // Its type is what it is stored as.
    for field in ["apiVersion", "kind"] {
        if let (Some(value), Some(map)) = (document.get(field), whole.as_object_mut()) {
            map.insert(field.to_owned(), value.clone());
        }
    }
    let config = confined(write, document);
    let (shape, blank) = write.shape();
    let endpoint: &[&str] = match write.place.subresource.as_str() {
        "" if resource.status => &["status"],
        "status" if resource.custom => &["spec", "metadata"],
        "status" => &["spec"],
        _ => &[],
    };
    let writer = write.writer("Apply");
    let stated = managed::Stated {
        whole: &whole,
        config: &config,
        foreign: endpoint,
    };
    let applied =
        |live: Option<&Value>| managed::apply(live, &blank, &stated, &shape, &writer, force);
    if missing {
        let uid = metadata_text(&config, "uid").to_owned();
        if !uid.is_empty() {
            return Err(StatusError::conflict(
                &resource,
                &write.place.name,
                &format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                ),
            ));
        }
        let made = applied(None)?;
        return create::create(write, made.object, Verb::Apply, true).await;
    }
    update(write, Verb::Apply, |current: &Arc<Stored>| {
        let managed::Applied {
            mut object,
            differs,
            hollow,
        } = applied(Some(&current.value))?;
        here()?;
        if let (true, Some(metadata)) = (
            metadata_text(&config, "resourceVersion").is_empty(),
            metadata_mut(&mut object),
        ) {
            metadata.insert(
                "resourceVersion".to_owned(),
                Value::from(current.revision.to_string()),
            );
        }
        Ok(Proposal {
            object,
            tracked: true,
            // A type of the server's own does not tell an empty field from none.
            differs: resource.custom && differs,
            hollow: resource.custom && hollow,
        })
    })
    .await
}

/// An applied configuration states exactly the kind and version of the request; what cannot be read as
/// such counts as nothing stated.
fn refuse_other_type(write: &Write<'_>, document: &Value) -> Result<(), StatusError> {
    let stated = super::text_of(document, "apiVersion");
    let mut kind = super::text_of(document, "kind");
    let (group, version) = match stated.split_once('/') {
        None => ("", stated),
        Some(("", "")) => ("", ""),
        Some((_, version)) if version.contains('/') => {
            kind = "";
            ("", "")
        }
        Some(parts) => parts,
    };
    let resource = &write.place.resource;
    let wanted = (
        resource.group.as_str(),
        write.place.version.as_str(),
        resource.kind.as_str(),
    );
    if (group, version, kind) == wanted {
        return Ok(());
    }
    Err(StatusError::bad_request(format!(
        "invalid object type: {group}/{version}, Kind={kind}"
    )))
}

/// What an applied configuration says about the other endpoint's fields counts for nothing.
fn confined(write: &Write<'_>, mut config: Value) -> Value {
    let resource = &write.place.resource;
    if let Some(map) = config.as_object_mut() {
        match write.place.subresource.as_str() {
            "" if resource.status => {
                map.remove("status");
            }
            "status" => {
                map.retain(|field, _| {
                    matches!(
                        field.as_str(),
                        "apiVersion" | "kind" | "metadata" | "status"
                    )
                });
            }
            _ => {}
        }
        if (resource.plural.as_str(), write.place.subresource.as_str()) == ("pods", "status")
            && let Some(Value::Object(metadata)) = map.get_mut("metadata")
        {
            for field in ["deletionTimestamp", "ownerReferences"] {
                metadata.remove(field);
            }
        }
    }
    config
}
