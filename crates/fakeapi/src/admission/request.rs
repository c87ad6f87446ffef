//! The AdmissionRequest: what webhooks are sent and expressions see as `request`.
//!
//! Source: `admission.k8s.io/v1`.

use serde_json::{Map, Value, json};

use super::{Attributes, Operation};

/// The request without its objects.
pub(super) fn build(attributes: &Attributes, uid: String) -> Map<String, Value> {
    let resource = &attributes.resource;
    let kind = json!({
        "group": attributes.kind.group,
        "version": attributes.kind.version,
        "kind": attributes.kind.kind,
    });
    let place = json!({
        "group": resource.group,
        "version": resource.version,
        "resource": resource.plural,
    });
    let mut request = Map::new();
    let mut put = |name: &str, value: Value| {
        request.insert(name.to_owned(), value);
    };
    put("uid", Value::from(uid));
    put("kind", kind.clone());
    put("resource", place.clone());
    put("requestKind", kind);
    put("requestResource", place);
    if !attributes.subresource.is_empty() {
        let subresource = Value::from(attributes.subresource.as_str());
        put("subResource", subresource.clone());
        put("requestSubResource", subresource);
    }
    if !attributes.key.name.is_empty() {
        put("name", Value::from(attributes.key.name.as_str()));
    }
    let namespace = namespace(attributes);
    if !namespace.is_empty() {
        put("namespace", Value::from(namespace));
    }
    put("operation", Value::from(attributes.operation.name()));
    put(
        "userInfo",
        json!({ "username": attributes.caller.user, "groups": attributes.caller.groups }),
    );
    put("dryRun", Value::from(attributes.dry_run));
    put("options", attributes.options.clone());
    request
}

/// The namespace of the object; a Namespace is in itself.
pub(super) fn namespace(attributes: &Attributes) -> &str {
    if attributes.resource.group.is_empty() && attributes.resource.plural == "namespaces" {
        &attributes.key.name
    } else {
        &attributes.key.namespace
    }
}

impl Operation {
    /// As requests and rules name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
        }
    }
}
