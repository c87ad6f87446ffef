//! Writes. Each goes: decode → prune and default → managedFields → mutating admission → what the kind
//! does on writes → validation → validating admission → commit. Conflicts are found at commit, and a
//! write that stated no resourceVersion is then made again on the newest object, admission included.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod patch;
pub(crate) mod pods;
pub(crate) mod scale;
pub(crate) mod update;

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

use crate::admission::{Attributes, Operation};
use crate::answer::{Answer, Payload};
use crate::error::{Cause, StatusError};
use crate::history::{Form, Stored};
use crate::managed::{self, Shape, Writer};
use crate::request::{Place, Request};
use crate::resource::GroupVersionKind;
use crate::state::FakeApi;
use crate::{Caller, Key};

/// Longest field manager, in bytes.
const LONGEST_MANAGER: usize = 128;

/// One write.
pub(crate) struct Write<'a> {
    pub(crate) api: &'a FakeApi,
    pub(crate) caller: &'a Caller,
    pub(crate) place: Place,
    pub(crate) dry_run: bool,
    pub(crate) form: Form,
    /// `CreateOptions`, `UpdateOptions`, `PatchOptions` or `DeleteOptions`.
    options_kind: &'static str,
    manager: String,
    /// `fieldValidation`.
    validation: String,
    options: Value,
    warnings: Arc<Mutex<Vec<String>>>,
}

impl<'a> Write<'a> {
    pub(crate) fn new(
        api: &'a FakeApi,
        request: &'a Request,
        place: Place,
        options_kind: &'static str,
    ) -> Result<Self, StatusError> {
        let query = &request.query;
        let manager = query.text("fieldManager");
        if manager.len() > LONGEST_MANAGER {
            return Err(StatusError::invalid_kind(
                "meta.k8s.io",
                options_kind,
                "",
                &[Cause::new(
                    "FieldValueTooLong",
                    "fieldManager",
                    format!("Too long: may not be more than {LONGEST_MANAGER} bytes"),
                )],
            ));
        }
        if !matches!(
            query.text("fieldValidation"),
            "" | "Ignore" | "Warn" | "Strict"
        ) {
            return Err(StatusError::invalid_kind(
                "meta.k8s.io",
                options_kind,
                "",
                &[Cause::new(
                    "FieldValueNotSupported",
                    "fieldValidation",
                    format!(
                        "Unsupported value: {:?}: supported values: \"Ignore\", \"Warn\", \"Strict\"",
                        query.text("fieldValidation")
                    ),
                )],
            ));
        }
        let dry_run = query.dry_run(options_kind)?;
        let manager = if manager.is_empty() {
            default_manager(&request.caller.agent)
        } else {
            manager.to_owned()
        };
        let mut options = Map::new();
        options.insert("kind".to_owned(), Value::from(options_kind));
        options.insert("apiVersion".to_owned(), Value::from("meta.k8s.io/v1"));
        if dry_run {
            options.insert("dryRun".to_owned(), json!(["All"]));
        }
        if options_kind != "DeleteOptions" && !query.text("fieldManager").is_empty() {
            options.insert("fieldManager".to_owned(), Value::from(manager.clone()));
        }
        Ok(Self {
            api,
            caller: &request.caller,
            place,
            dry_run,
            form: crate::read::wanted_form(&request.accept),
            options_kind,
            manager,
            validation: query.text("fieldValidation").to_owned(),
            options: Value::Object(options),
            warnings: Arc::clone(&request.warnings),
        })
    }

    /// The key of an object of this place.
    pub(crate) fn key(&self, name: &str) -> Key {
        Key::new(&self.place.resource.storage, &self.place.namespace, name)
    }

    /// The stored object the place names.
    pub(crate) fn current(&self) -> Result<Arc<Stored>, StatusError> {
        self.stored(&self.place.name)
            .ok_or_else(|| StatusError::not_found(&self.place.resource, &self.place.name))
    }

    pub(crate) fn stored(&self, name: &str) -> Option<Arc<Stored>> {
        self.api.with(|state| {
            state
                .stores
                .get(&self.place.resource.storage)?
                .get(&self.place.namespace, name)
                .cloned()
        })
    }

    /// Who writes, for managedFields.
    pub(crate) fn writer(&self, operation: &'static str) -> Writer {
        Writer {
            manager: self.manager.clone(),
            operation,
            api_version: self.place.api_version(),
            subresource: self.place.subresource.clone(),
            now: self.api.now(),
            size: None,
        }
    }

    /// How managedFields see the kind, and an object of it before anything is written.
    pub(crate) fn shape(&self) -> (Arc<Shape>, Value) {
        let resource = &self.place.resource;
        let blank = if resource.custom {
            json!({ "metadata": {} })
        } else {
            managed::blank(&resource.group, &resource.plural).clone()
        };
        (self.api.with(|state| state.shape(resource)), blank)
    }

    /// What admission is asked.
    pub(crate) fn attributes(&self, operation: Operation, name: &str) -> Attributes {
        let kind = if self.place.subresource == "scale" {
            GroupVersionKind {
                group: "autoscaling".to_owned(),
                version: "v1".to_owned(),
                kind: "Scale".to_owned(),
            }
        } else {
            GroupVersionKind {
                group: self.place.resource.group.clone(),
                version: self.place.version.clone(),
                kind: self.place.resource.kind.clone(),
            }
        };
        Attributes {
            caller: self.caller.clone(),
            operation,
            resource: Arc::clone(&self.place.resource),
            kind,
            subresource: self.place.subresource.clone(),
            key: self.key(name),
            dry_run: self.dry_run,
            options: self.options_for(operation),
            warnings: Arc::clone(&self.warnings),
        }
    }

    /// Admission is told of updates and creations, whatever the verb was.
    fn options_for(&self, operation: Operation) -> Value {
        let mut options = self.options.clone();
        let kind = match operation {
            Operation::Create => "CreateOptions",
            Operation::Update => "UpdateOptions",
            Operation::Delete => "DeleteOptions",
        };
        if let Some(options) = options.as_object_mut() {
            options.insert("kind".to_owned(), Value::from(kind));
        }
        options
    }

    /// Whether the kind has admission at all: the server never asks about its own configuration of it.
    pub(crate) fn is_admitted(&self) -> bool {
        self.place.resource.group != "admissionregistration.k8s.io"
    }

    /// The answer with what admission warned of.
    pub(crate) fn answer(&self, status: u16, stored: Arc<Stored>) -> Answer {
        if self.place.subresource == "scale" {
            let scale = scale::of(&self.place.resource, &stored.value);
            return self.warned(Answer::value(status, scale));
        }
        self.warned(Answer::stored(status, stored, self.form, &self.place))
    }

    /// A text for a Warning header.
    pub(crate) fn warn(&self, text: String) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// Warns of fields the kind does not know, or refuses them, as the request asks.
    pub(crate) fn strictly(&self, object: &Value) -> Result<(), String> {
        if self.validation == "Ignore" {
            return Ok(());
        }
        let unknown = self
            .api
            .schemas()
            .unknown(&self.place.resource, &self.place.version, object);
        let texts: Vec<String> = unknown
            .iter()
            .map(|path| format!("unknown field {path:?}"))
            .collect();
        if self.validation == "Strict" && !texts.is_empty() {
            return Err(format!("strict decoding error: {}", texts.join(", ")));
        }
        texts.into_iter().for_each(|text| self.warn(text));
        Ok(())
    }

    /// Whether the body of a POST or PUT can be read as the kind at all.
    pub(crate) fn decode(&self, object: &Value) -> Result<(), StatusError> {
        let resource = &self.place.resource;
        let (kind, version) = (&resource.kind, &self.place.version);
        let text = |field: &str| {
            object
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (stated, named) = (text("apiVersion"), text("kind"));
        let known = crate::schema::go::scheme_knows(stated, named);
        let problem = if resource.custom && named.is_empty() {
            Some(format!("Object 'Kind' is missing in '{object}'"))
        } else if !resource.custom
            && named == kind
            && !stated.is_empty()
            && stated != self.place.api_version()
            && !known
        {
            Some(format!(
                "no kind \"{named}\" is registered for version \"{stated}\" in scheme \"pkg/runtime/scheme.go:110\""
            ))
        } else {
            self.api.schemas().decode(resource, object).err()
        };
        if resource.custom && named.is_empty() && self.validation != "Ignore" {
            let shown = object.to_string();
            let part: String = shown.chars().take(30).collect();
            return Err(StatusError::bad_request(format!(
                "the object provided is unrecognized (must be of type {kind}): Object 'Kind' is missing in '{shown}' ({part} ...)"
            )));
        }
        let problem = problem.or_else(|| self.strictly(object).err());
        match problem {
            Some(problem) => Err(StatusError::bad_request(format!(
                "{kind} in version \"{version}\" cannot be handled as a {kind}: {problem}"
            ))),
            None => Ok(()),
        }
    }

    pub(crate) fn warned(&self, mut answer: Answer) -> Answer {
        answer.warnings = self
            .warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        answer
    }

    /// The answer for an object that was not stored.
    pub(crate) fn unstored(&self, status: u16, value: Value) -> Answer {
        let revision = revision_of(&value);
        self.warned(Answer {
            status,
            payload: Payload::Stored(
                Stored::new(value, revision),
                self.form,
                (self.place.version != self.place.resource.version)
                    .then(|| self.place.api_version()),
            ),
            warnings: Vec::new(),
        })
    }

    /// The kind of the options, for messages.
    pub(crate) fn options_kind(&self) -> &'static str {
        self.options_kind
    }

    /// Checks type, name and namespace of an object somebody sent, and fills in what the path says.
    pub(crate) fn check_object(&self, object: &mut Value) -> Result<(), StatusError> {
        let resource = &self.place.resource;
        let Some(map) = object.as_object_mut() else {
            return Err(StatusError::bad_request(
                "the request body is not an object",
            ));
        };
        let api_version = self.place.api_version();
        let text = |map: &Map<String, Value>, field: &str| {
            map.get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (kind, stated) = (text(map, "kind"), text(map, "apiVersion"));
        if resource.custom {
            if kind.is_empty() {
                return Err(StatusError::bad_request(format!(
                    "Object 'Kind' is missing in '{}'",
                    Value::Object(map.clone())
                )));
            }
            if stated.is_empty() {
                return Err(StatusError::bad_request("Object 'apiVersion' is missing"));
            }
        }
        if !stated.is_empty() && stated != api_version {
            return Err(StatusError::bad_request(format!(
                "the API version in the data ({stated}) does not match the expected API version ({api_version})"
            )));
        }
        if !kind.is_empty() && kind != resource.kind {
            return Err(StatusError::bad_request(format!(
                "the kind in the data ({kind}) does not match the expected kind ({})",
                resource.kind
            )));
        }
        map.insert("kind".to_owned(), Value::from(resource.kind.clone()));
        map.insert("apiVersion".to_owned(), Value::from(resource.api_version()));
        let metadata = map
            .entry("metadata")
            .or_insert_with(|| Value::Object(Map::new()));
        if metadata.is_null() {
            *metadata = Value::Object(Map::new());
        }
        let Some(metadata) = metadata.as_object_mut() else {
            return Err(StatusError::bad_request("metadata is not an object"));
        };
        let namespace = text(metadata, "namespace");
        if resource.namespaced {
            if namespace.is_empty() {
                metadata.insert(
                    "namespace".to_owned(),
                    Value::from(self.place.namespace.clone()),
                );
            } else if namespace != self.place.namespace {
                return Err(other_namespace());
            }
        } else {
            metadata.remove("namespace");
        }
        if !self.place.name.is_empty() {
            let name = text(metadata, "name");
            if name.is_empty() {
                return Err(StatusError::bad_request(format!(
                    "the name of the object ({} based on URL) was undeterminable: name must be provided",
                    self.place.name
                )));
            }
            if name != self.place.name {
                return Err(StatusError::bad_request(format!(
                    "the name of the object ({name}) does not match the name on the URL ({})",
                    self.place.name
                )));
            }
        }
        Ok(())
    }
}

pub(crate) fn other_namespace() -> StatusError {
    StatusError::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    )
}

/// A text of an object, empty if absent.
pub(crate) fn text_of<'v>(object: &'v Value, field: &str) -> &'v str {
    object
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The body of a write that needs one.
pub(crate) fn body(request: &Request) -> Result<Value, StatusError> {
    request
        .body
        .clone()
        .ok_or_else(|| StatusError::bad_request("the request has no body"))
}

/// The part of a user agent before its first `/`, printable and not too long.
fn default_manager(agent: &str) -> String {
    let first = agent.split('/').next().unwrap_or_default();
    let mut manager = String::new();
    for letter in first.chars().filter(|letter| !letter.is_control()) {
        if manager.len() + letter.len_utf8() > LONGEST_MANAGER {
            break;
        }
        manager.push(letter);
    }
    manager
}

/// `metadata.resourceVersion`, 0 if there is none.
pub(crate) fn revision_of(object: &Value) -> u64 {
    metadata_text(object, "resourceVersion")
        .parse()
        .unwrap_or_default()
}

/// A text of the metadata, empty if absent.
pub(crate) fn metadata_text<'v>(object: &'v Value, field: &str) -> &'v str {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The metadata of an object that has passed [`Write::check_object`].
pub(crate) fn metadata_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.get_mut("metadata")?.as_object_mut()
}

/// Finalizers of an object.
pub(crate) fn finalizers(object: &Value) -> Vec<String> {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get("finalizers"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

/// Whether an object is being deleted.
pub(crate) fn is_terminating(object: &Value) -> bool {
    !metadata_text(object, "deletionTimestamp").is_empty()
}
