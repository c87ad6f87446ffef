//! Failures as the real server words them, and their `Status` objects. What a failure means for a
//! caller does not belong here.

use serde_json::{Map, Value, json};

use crate::resource::ResourceType;

/// A refused or failed request.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusError {
    /// The HTTP status.
    pub code: u16,
    /// `metav1.StatusReason`; empty for an unknown one.
    pub reason: String,
    pub message: String,
    /// `details` of the Status, causes among them.
    pub details: Option<Value>,
}

/// One entry of `details.causes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// `metav1.CauseType`, for instance `FieldValueInvalid`.
    pub reason: String,
    /// Without the field: `Invalid value: 3: must be greater than 3`.
    pub message: String,
    /// The path, `spec.replicas`.
    pub field: String,
}

impl Cause {
    /// A cause by its parts.
    #[must_use]
    pub fn new(
        reason: impl Into<String>,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            reason: reason.into(),
            message: message.into(),
            field: field.into(),
        }
    }

    /// `Required value` of validation, with the detail after a colon if there is one.
    #[must_use]
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = if detail.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {detail}")
        };
        Self::new("FieldValueRequired", field, message)
    }

    /// `Invalid value` of validation; the value as the server prints it (JSON).
    #[must_use]
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new(
            "FieldValueInvalid",
            field,
            format!("Invalid value: {value}: {detail}"),
        )
    }

    fn to_value(&self) -> Value {
        let mut map = Map::new();
        map.insert("reason".to_owned(), Value::from(self.reason.clone()));
        map.insert("message".to_owned(), Value::from(self.message.clone()));
        if !self.field.is_empty() {
            map.insert("field".to_owned(), Value::from(self.field.clone()));
        }
        Value::Object(map)
    }
}

impl StatusError {
    /// A failure without details.
    #[must_use]
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            message: message.into(),
            details: None,
        }
    }

    /// The same with details.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// 400 BadRequest.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 404 for a path nobody serves.
    #[must_use]
    pub fn no_such_path() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
        .with_details(json!({}))
    }

    /// 404 for an object.
    #[must_use]
    pub fn not_found(resource: &ResourceType, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} \"{name}\" not found", resource.qualified()),
        )
        .with_details(named(resource, name))
    }

    /// 405 for a verb a resource does not have.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with_details(json!({}))
    }

    /// 409 AlreadyExists.
    #[must_use]
    pub fn already_exists(resource: &ResourceType, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{} \"{name}\" already exists", resource.qualified()),
        )
        .with_details(named(resource, name))
    }

    /// 409 Conflict with what the server says behind the colon.
    #[must_use]
    pub fn conflict(resource: &ResourceType, name: &str, detail: &str) -> Self {
        Self::new(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {} \"{name}\": {detail}",
                resource.qualified()
            ),
        )
        .with_details(named(resource, name))
    }

    /// 409 for a resourceVersion that is not the newest.
    #[must_use]
    pub fn modified(resource: &ResourceType, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409 for a uid or resourceVersion stated as a precondition. `root` is where the storage keeps its
    /// keys, which the message shows; a dry run's has none.
    #[must_use]
    pub fn precondition(
        resource: &ResourceType,
        root: &str,
        namespace: &str,
        name: &str,
        what: &str,
        stated: &str,
        found: &str,
    ) -> Self {
        let place = if namespace.is_empty() {
            String::new()
        } else {
            format!("{namespace}/")
        };
        let folder = resource.storage_folder();
        Self::conflict(
            resource,
            name,
            &format!(
                "StorageError: invalid object, Code: 4, Key: {root}/{folder}/{place}{name}, ResourceVersion: 0, \
                 AdditionalErrorMsg: Precondition failed: {what} in precondition: {stated}, {what} in object meta: {found}"
            ),
        )
    }

    /// 409 for a uid or resourceVersion stated as the precondition of a deletion. The server names the
    /// kind here where it names the resource elsewhere.
    #[must_use]
    pub fn deletion_precondition(
        resource: &ResourceType,
        name: &str,
        what: &str,
        stated: &str,
        found: &str,
    ) -> Self {
        let happened = if what == "UID" {
            "The object might have been deleted and then recreated"
        } else {
            "The object might have been modified"
        };
        // Of the type the server works with inside: events of every version are those of the core group there.
        let group = if resource.kind == "Event" {
            String::new()
        } else {
            resource.group.clone()
        };
        let kind = ResourceType {
            group,
            plural: resource.kind.clone(),
            ..resource.clone()
        };
        Self::conflict(
            &kind,
            name,
            &format!(
                "the {what} in the precondition ({stated}) does not match the {what} in record ({found}). {happened}"
            ),
        )
    }

    /// 413 RequestEntityTooLarge.
    #[must_use]
    pub fn too_large(message: &str) -> Self {
        Self::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity is too large: {message}"),
        )
    }

    /// 403 Forbidden.
    #[must_use]
    pub fn forbidden(resource: &ResourceType, name: &str, detail: &str) -> Self {
        let message = if name.is_empty() {
            format!("{} is forbidden: {detail}", resource.qualified())
        } else {
            format!("{} \"{name}\" is forbidden: {detail}", resource.qualified())
        };
        Self::new(403, "Forbidden", message).with_details(named(resource, name))
    }

    /// 422 Invalid from validation: one cause prints behind the colon, several as `[a, b]`.
    #[must_use]
    pub fn invalid(resource: &ResourceType, name: &str, causes: &[Cause]) -> Self {
        // Events are validated as those of the core group, whatever the request was about.
        let group = match resource.group.as_str() {
            "events.k8s.io" => "",
            group => group,
        };
        Self::invalid_kind(group, &resource.kind, name, causes)
    }

    /// The same where the server names another kind than the resource's.
    #[must_use]
    pub fn invalid_kind(group: &str, kind: &str, name: &str, causes: &[Cause]) -> Self {
        let qualified = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        let mut texts: Vec<String> = Vec::new();
        for cause in causes {
            let text = if cause.field.is_empty() {
                cause.message.clone()
            } else {
                format!("{}: {}", cause.field, cause.message)
            };
            // As utilerrors.Aggregate prints them: equal ones once.
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let text = match texts.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let mut details = Map::new();
        for (field, value) in [("name", name), ("group", group), ("kind", kind)] {
            if !value.is_empty() {
                details.insert(field.to_owned(), Value::from(value));
            }
        }
        details.insert(
            "causes".to_owned(),
            Value::Array(causes.iter().map(Cause::to_value).collect()),
        );
        Self::new(
            422,
            "Invalid",
            format!("{qualified} \"{name}\" is invalid: {text}"),
        )
        .with_details(Value::Object(details))
    }

    /// 422 for a JSON patch that does not apply, a failed `test` among them: the server says no more.
    #[must_use]
    pub fn rejected_patch() -> Self {
        Self::new(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )
        .with_details(json!({}))
    }

    /// 410 with the given text.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 415 for a patch type or body the resource does not take.
    #[must_use]
    pub fn unsupported_media(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 500 InternalError: `Internal error occurred: …`.
    #[must_use]
    pub fn internal(detail: &str) -> Self {
        Self::new(
            500,
            "InternalError",
            format!("Internal error occurred: {detail}"),
        )
        .with_details(json!({ "causes": [{ "message": detail }] }))
    }

    /// The `Status` object.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut status = Map::new();
        status.insert("kind".to_owned(), Value::from("Status"));
        status.insert("apiVersion".to_owned(), Value::from("v1"));
        status.insert("metadata".to_owned(), json!({}));
        status.insert("status".to_owned(), Value::from("Failure"));
        status.insert("message".to_owned(), Value::from(self.message.clone()));
        if !self.reason.is_empty() {
            status.insert("reason".to_owned(), Value::from(self.reason.clone()));
        }
        if let Some(details) = &self.details {
            status.insert("details".to_owned(), details.clone());
        }
        status.insert("code".to_owned(), Value::from(self.code));
        Value::Object(status)
    }
}

impl std::fmt::Display for StatusError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}: {}", self.code, self.reason, self.message)
    }
}

impl std::error::Error for StatusError {}

/// `details` with name, group and plural.
pub(crate) fn named(resource: &ResourceType, name: &str) -> Value {
    let mut details = Map::new();
    if !name.is_empty() {
        details.insert("name".to_owned(), Value::from(name));
    }
    if !resource.group.is_empty() {
        details.insert("group".to_owned(), Value::from(resource.group.clone()));
    }
    details.insert("kind".to_owned(), Value::from(resource.plural.clone()));
    Value::Object(details)
}
