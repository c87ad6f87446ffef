//! Defaults of webhook configurations and admission policies.
//!
//! Source: `SetDefaults_…` of Kubernetes 1.34, `pkg/apis/admissionregistration/v1`.

use serde_json::{Map, Value, json};

use super::{map_in, maps_in, set};

/// Fills in defaults.
pub(super) fn default(object: &mut Value) {
    let mutating =
        object.get("kind").and_then(Value::as_str) == Some("MutatingWebhookConfiguration");
    let policy = object.get("kind").and_then(Value::as_str) == Some("ValidatingAdmissionPolicy");
    let Some(map) = object.as_object_mut() else {
        return;
    };
    for webhook in maps_in(map, "webhooks") {
        set(webhook, "failurePolicy", "Fail");
        set(webhook, "matchPolicy", "Equivalent");
        set(webhook, "namespaceSelector", json!({}));
        set(webhook, "objectSelector", json!({}));
        set(webhook, "timeoutSeconds", 10);
        if mutating {
            set(webhook, "reinvocationPolicy", "Never");
        }
        rules(webhook, "rules");
        let service = webhook
            .get_mut("clientConfig")
            .and_then(|config| config.get_mut("service"))
            .and_then(Value::as_object_mut);
        if let Some(service) = service {
            set(service, "port", 443);
        }
    }
    let Some(spec) = map.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    if policy {
        set(spec, "failurePolicy", "Fail");
        if let Some(constraints) = map_in(spec, "matchConstraints") {
            matching(constraints);
        }
    } else if let Some(resources) = spec
        .get_mut("matchResources")
        .and_then(Value::as_object_mut)
    {
        matching(resources);
    }
}

fn matching(constraints: &mut Map<String, Value>) {
    set(constraints, "matchPolicy", "Equivalent");
    set(constraints, "namespaceSelector", json!({}));
    set(constraints, "objectSelector", json!({}));
    rules(constraints, "resourceRules");
    rules(constraints, "excludeResourceRules");
}

fn rules(map: &mut Map<String, Value>, list: &str) {
    for rule in maps_in(map, list) {
        set(rule, "scope", "*");
    }
}
