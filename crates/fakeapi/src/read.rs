//! GET and LIST: single objects, pages of a consistent snapshot, stale reads, metadata only.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::answer::{Answer, ListAnswer, Payload};
use crate::error::StatusError;
use crate::history::{Form, Objects, Store, Stored};
use crate::request::{Place, Query, Request, Selection};
use crate::state::{FakeApi, State};

/// How the client wants objects: whole, or their metadata.
pub(crate) fn wanted_form(accept: &str) -> Form {
    let metadata = accept
        .split(',')
        .any(|kind| kind.contains("as=PartialObjectMetadata") && kind.contains("g=meta.k8s.io"));
    if metadata { Form::Metadata } else { Form::Full }
}

/// One object, or its scale.
pub(crate) fn get(api: &FakeApi, request: &Request, place: &Place) -> Result<Answer, StatusError> {
    let revision = asked_revision(&request.query)?;
    let stored = api.with(|state| {
        too_large(state, revision)?;
        let Some(store) = state.stores.get(&place.resource.storage) else {
            return Err(StatusError::not_found(&place.resource, &place.name));
        };
        let stale = store.stale.filter(|_| revision == Some(0));
        let found = match stale {
            Some(stale) => past(store, stale)
                .get(&place.namespace)
                .and_then(|names| names.get(&place.name))
                .cloned(),
            None => store.get(&place.namespace, &place.name).cloned(),
        };
        found.ok_or_else(|| StatusError::not_found(&place.resource, &place.name))
    })?;
    match place.subresource.as_str() {
        "" | "status" => Ok(Answer::stored(
            200,
            stored,
            wanted_form(&request.accept),
            place,
        )),
        "scale" if place.resource.scale.is_some() => {
            crate::write::scale::refuse_without_size(&place.resource, &stored.value)?;
            Ok(Answer::value(
                200,
                crate::write::scale::of(&place.resource, &stored.value),
            ))
        }
        _ => Err(StatusError::no_such_path()),
    }
}

/// A store as it was, or as long ago as it is kept.
fn past(store: &Store, revision: u64) -> Objects {
    store
        .as_of(revision.max(store.floor))
        .unwrap_or_else(|| store.objects.clone())
}

/// `resourceVersion` of a query.
pub(crate) fn asked_revision(query: &Query) -> Result<Option<u64>, StatusError> {
    match query.text("resourceVersion") {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            StatusError::invalid_kind(
                "",
                "",
                "",
                &[crate::error::Cause::new(
                    "FieldValueInvalid",
                    "resourceVersion",
                    format!(
                        "Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
                    ),
                )],
            )
        }),
    }
}

/// A revision the server has not reached.
pub(crate) fn too_large(state: &State, revision: Option<u64>) -> Result<(), StatusError> {
    let now = state.revision;
    match revision.filter(|asked| *asked > now) {
        Some(asked) => Err(StatusError::new(
            504,
            "Timeout",
            format!("Timeout: Too large resource version: {asked}, current: {now}"),
        )
        .with_details(json!({
            "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }],
            "retryAfterSeconds": 1,
        }))),
        None => Ok(()),
    }
}

/// Where a list goes on.
struct Page {
    revision: u64,
    /// The last object of the page before.
    after: (String, String),
}

impl Page {
    fn token(&self) -> String {
        URL_SAFE_NO_PAD.encode(
            json!({ "v": "meta.k8s.io/v1", "rv": self.revision, "start": [self.after.0, self.after.1] })
                .to_string(),
        )
    }

    fn read(token: &str) -> Result<Self, StatusError> {
        let refuse = || StatusError::bad_request("continue key is not valid: illegal base64 data");
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| refuse())?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| refuse())?;
        let text = |index: usize| {
            value
                .get("start")
                .and_then(|start| start.get(index)?.as_str())
                .map(str::to_owned)
        };
        let (Some(revision), Some(namespace), Some(name)) =
            (value.get("rv").and_then(Value::as_u64), text(0), text(1))
        else {
            return Err(refuse());
        };
        Ok(Self {
            revision,
            after: (namespace, name),
        })
    }
}

/// Objects of a kind.
pub(crate) fn list(api: &FakeApi, request: &Request, place: &Place) -> Result<Answer, StatusError> {
    let query = &request.query;
    let selection = Selection::of(place, query)?;
    let limit = query
        .number("limit")?
        .and_then(|limit| usize::try_from(limit).ok())
        .filter(|limit| *limit > 0);
    let asked = asked_revision(query)?;
    let exact = query.text("resourceVersionMatch") == "Exact";
    if !query.text("resourceVersionMatch").is_empty() && asked.is_none() {
        return Err(StatusError::bad_request(
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ));
    }
    let page = match query.text("continue") {
        "" => None,
        token => Some(Page::read(token)?),
    };
    if page.is_some() && asked.is_some_and(|revision| revision > 0) {
        return Err(StatusError::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    let found = api.with(|state| -> Result<Found, StatusError> {
        too_large(state, asked)?;
        let current = state.revision;
        let Some(store) = state.stores.get(&place.resource.storage) else {
            return Ok(Found::none(current));
        };
        let stale = store.stale.filter(|_| asked == Some(0) && page.is_none());
        let (revision, from_past) = if let Some(page) = &page {
            (page.revision, page.revision < store.last)
        } else if let Some(exact) = asked.filter(|asked| exact && *asked > 0) {
            (exact, exact < store.last)
        } else if let Some(stale) = stale {
            let oldest = stale.max(store.floor).min(current);
            (oldest, oldest < store.last)
        } else {
            (current, false)
        };
        if (page.is_some() || exact) && revision < store.floor {
            return Err(gone_page(page.is_some(), revision));
        }
        let old;
        let objects = if from_past {
            old = store
                .as_of(revision)
                .ok_or_else(|| gone_page(page.is_some(), revision))?;
            &old
        } else {
            &store.objects
        };
        // From the cache the real server ignores limits.
        let limit = limit.filter(|_| asked != Some(0) || page.is_some());
        let after = page.as_ref().map(|page| &page.after);
        Ok(collect(objects, &selection, after, limit, revision))
    })?;
    let mut metadata = Map::new();
    metadata.insert(
        "resourceVersion".to_owned(),
        Value::from(found.revision.to_string()),
    );
    if place.resource.custom && wanted_form(&request.accept) != Form::Metadata {
        // A list without types keeps it empty.
        metadata.insert("continue".to_owned(), Value::from(""));
    }
    if let Some((namespace, name)) = found.last {
        let token = Page {
            revision: found.revision,
            after: (namespace, name),
        }
        .token();
        metadata.insert("continue".to_owned(), Value::from(token));
        if selection.is_everything() {
            metadata.insert(
                "remainingItemCount".to_owned(),
                Value::from(found.remaining),
            );
        }
    }
    let form = match wanted_form(&request.accept) {
        Form::Metadata => Form::Metadata,
        // Items of typed lists carry no type of their own.
        _ if !place.resource.custom => Form::Item,
        _ => Form::Full,
    };
    let (kind, api_version) = if form == Form::Metadata {
        (
            "PartialObjectMetadataList".to_owned(),
            "meta.k8s.io/v1".to_owned(),
        )
    } else {
        (place.resource.list_kind.clone(), place.api_version())
    };
    let rewrite = (place.version != place.resource.version).then(|| place.api_version());
    Ok(Answer {
        status: 200,
        warnings: Vec::new(),
        payload: Payload::List(ListAnswer {
            kind,
            api_version,
            metadata: Value::Object(metadata),
            items: found.items,
            form,
            rewrite,
        }),
    })
}

fn gone_page(paging: bool, revision: u64) -> StatusError {
    if paging {
        StatusError::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
        )
    } else {
        StatusError::expired(format!(
            "The resourceVersion for the provided list is too old: {revision}"
        ))
    }
}

struct Found {
    items: Vec<Arc<Stored>>,
    revision: u64,
    /// The last item, when there are more.
    last: Option<(String, String)>,
    remaining: usize,
}

impl Found {
    fn none(revision: u64) -> Self {
        Self {
            items: Vec::new(),
            revision,
            last: None,
            remaining: 0,
        }
    }
}

fn collect(
    objects: &Objects,
    selection: &Selection,
    after: Option<&(String, String)>,
    limit: Option<usize>,
    revision: u64,
) -> Found {
    let mut found = Found::none(revision);
    let mut place: Option<(&String, &String)> = None;
    let everything = selection.is_everything();
    let namespaces = objects.iter().filter(|(namespace, _)| {
        (selection.namespace.is_empty() || selection.namespace == **namespace)
            && after.is_none_or(|(last, _)| *namespace >= last)
    });
    for (namespace, names) in namespaces {
        let after_name = after
            .filter(|(last, _)| last == namespace)
            .map(|(_, name)| name.as_str());
        // One name asked for needs one look.
        let range: Box<dyn Iterator<Item = (&String, &Arc<Stored>)>> = match selection.fields.name()
        {
            Some(name) => Box::new(names.get_key_value(name).into_iter()),
            None => Box::new(names.iter()),
        };
        for (name, stored) in range {
            if after_name.is_some_and(|last| name.as_str() <= last) {
                continue;
            }
            // As the real server, which reads on from here without knowing what will be selected.
            if limit.is_some_and(|limit| found.items.len() >= limit) {
                found.last = place.map(|(namespace, name)| (namespace.clone(), name.clone()));
                if !everything {
                    return found;
                }
                found.remaining += 1;
                continue;
            }
            if !everything && !selection.matches(&stored.value) {
                continue;
            }
            place = Some((namespace, name));
            found.items.push(Arc::clone(stored));
        }
    }
    found
}
