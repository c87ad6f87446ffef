//! Kinds of which little is checked: Namespace, Lease, EndpointSlice, ControllerRevision, autoscaler,
//! disruption budget, CustomResourceDefinition.

use serde_json::{Map, Value, json};

use super::{
    data, elements, get, immutable, map_in, maps_in, names_of_ports, not_negative, set, text,
};
use crate::resource::ResourceType;
use crate::schema::ROOT;
use crate::schema::field::{Causes, Path};

/// Fills in defaults.
pub(super) fn default(resource: &ResourceType, object: &mut Value) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "namespaces") => namespace(map),
        ("", "secrets") => data::default_secret(map),
        ("", "configmaps") => data::default_texts(map),
        ("coordination.k8s.io", "leases") => {
            let _ = map_in(map, "spec");
        }
        ("events.k8s.io", "events") => {
            set(map, "deprecatedSource", json!({}));
            set(map, "regarding", json!({}));
            for time in [
                "deprecatedFirstTimestamp",
                "deprecatedLastTimestamp",
                "eventTime",
            ] {
                map.entry(time).or_insert(Value::Null);
            }
        }
        ("discovery.k8s.io", "endpointslices") => {
            for list in ["endpoints", "ports"] {
                map.entry(list).or_insert(Value::Null);
            }
            for port in maps_in(map, "ports") {
                set(port, "name", "");
                set(port, "protocol", "TCP");
            }
        }
        ("apps", "controllerrevisions") => set(map, "revision", 0),
        ("autoscaling", "horizontalpodautoscalers") => {
            if let Some(spec) = map_in(map, "spec") {
                set(spec, "minReplicas", 1);
                set(
                    spec,
                    "metrics",
                    json!([{ "type": "Resource", "resource": { "name": "cpu",
                        "target": { "type": "Utilization", "averageUtilization": 80 } } }]),
                );
            }
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => definition(map),
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => {
            if let Some(role) = map_in(map, "roleRef") {
                set(role, "apiGroup", "rbac.authorization.k8s.io");
            }
            for subject in maps_in(map, "subjects") {
                if matches!(
                    subject.get("kind").and_then(Value::as_str),
                    Some("User" | "Group")
                ) {
                    set(subject, "apiGroup", "rbac.authorization.k8s.io");
                }
            }
        }
        _ => {}
    }
}

fn namespace(map: &mut Map<String, Value>) {
    let name = map
        .get("metadata")
        .map(|metadata| text(metadata, "name").to_owned())
        .unwrap_or_default();
    if name.is_empty() {
        return;
    }
    if let Some(labels) = map_in(map, "metadata").and_then(|metadata| map_in(metadata, "labels")) {
        labels.insert("kubernetes.io/metadata.name".to_owned(), Value::from(name));
    }
}

fn definition(map: &mut Map<String, Value>) {
    let Some(spec) = map_in(map, "spec") else {
        return;
    };
    set(spec, "conversion", json!({ "strategy": "None" }));
    if let Some(names) = map_in(spec, "names") {
        let kind = names
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if !kind.is_empty() {
            set(names, "singular", kind.to_lowercase());
            set(names, "listKind", format!("{kind}List"));
        }
    }
}

/// Validates a write.
pub(super) fn validate(
    resource: &ResourceType,
    new: &Value,
    old: Option<&Value>,
    causes: &mut Causes,
) {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("coordination.k8s.io", "leases") => lease(get(new, "spec"), causes),
        ("discovery.k8s.io", "endpointslices") => {
            let path = ROOT.child("addressType");
            let kind = get(new, "addressType");
            if kind.is_null() {
                causes.required(path, "");
            } else if !matches!(kind.as_str(), Some("FQDN" | "IPv4" | "IPv6")) {
                causes.not_supported(path, kind, ["FQDN", "IPv4", "IPv6"]);
            }
            port_names(elements(new, "ports"), causes);
            let unchanged =
                old.is_some_and(|old| elements(old, "endpoints") == elements(new, "endpoints"));
            let list = ROOT.child("endpoints");
            let count = elements(new, "endpoints").len();
            if count > 1000 {
                causes.too_many(list, count, 1000);
            }
            for (place, endpoint) in elements(new, "endpoints").iter().enumerate() {
                if unchanged {
                    break;
                }
                let path = list.index(place);
                let addresses = path.child("addresses");
                if elements(endpoint, "addresses").is_empty() {
                    causes.required(addresses, "must contain at least 1 address");
                }
                for (place, address) in elements(endpoint, "addresses").iter().enumerate() {
                    self::address(address, kind, &addresses, place, causes);
                }
            }
            let shown = Value::from(text(new, "addressType"));
            immutable(
                &shown,
                old.map(|old| get(old, "addressType")),
                &ROOT.child("addressType"),
                causes,
            );
        }
        ("apps", "controllerrevisions") => {
            not_negative(new, "revision", &ROOT, causes);
            match get(new, "data") {
                _ if old.is_some() => {}
                Value::Null => causes.required(ROOT.child("data"), "data is mandatory"),
                Value::Object(_) => {}
                _ => causes.required(ROOT.child("data"), "data must be a valid JSON object"),
            }
            immutable(
                get(new, "data"),
                old.map(|old| get(old, "data")),
                &ROOT.child("data"),
                causes,
            );
        }
        ("autoscaling", "horizontalpodautoscalers") => autoscaler(get(new, "spec"), causes),
        ("policy", "poddisruptionbudgets") => {
            let path = ROOT.child("spec");
            let spec = get(new, "spec");
            if spec.get("minAvailable").is_some() && spec.get("maxUnavailable").is_some() {
                causes.invalid(
                    path,
                    spec,
                    "minAvailable and maxUnavailable cannot be both set",
                );
            }
        }
        _ => {}
    }
}

fn lease(spec: &Value, causes: &mut Causes) {
    let path = ROOT.child("spec");
    let length = get(spec, "leaseDurationSeconds");
    if length.as_i64().is_some_and(|seconds| seconds <= 0) {
        causes.invalid(
            path.child("leaseDurationSeconds"),
            length,
            "must be greater than 0",
        );
    }
    not_negative(spec, "leaseTransitions", &path, causes);
}

fn autoscaler(spec: &Value, causes: &mut Causes) {
    let path = ROOT.child("spec");
    let least = get(spec, "minReplicas").as_i64().unwrap_or(1);
    let most = get(spec, "maxReplicas");
    let most_number = most.as_i64().unwrap_or(0);
    if least < 1 {
        causes.invalid(
            path.child("minReplicas"),
            get(spec, "minReplicas"),
            "must be greater than or equal to 1",
        );
    }
    if most_number < 1 {
        causes.invalid(path.child("maxReplicas"), most, "must be greater than 0");
    }
    if most_number < least {
        causes.invalid(
            path.child("maxReplicas"),
            most,
            "must be greater than or equal to `minReplicas`",
        );
    }
    let target = path.child("scaleTargetRef");
    for field in ["kind", "name"] {
        if text(get(spec, "scaleTargetRef"), field).is_empty() {
            causes.required(target.child(field), "");
        }
    }
}

fn port_names(ports: &[Value], causes: &mut Causes) {
    let list = ROOT.child("ports");
    for (place, port) in ports.iter().enumerate() {
        let name = text(port, "name");
        if ports
            .iter()
            .take(place)
            .any(|other| text(other, "name") == name)
        {
            causes.duplicate(list.index(place).child("name"), &Value::from(name));
        }
    }
}

/// An address of an endpoint, by the kind of its slice's addresses.
fn address(address: &Value, kind: &Value, list: &Path<'_>, place: usize, causes: &mut Causes) {
    let shown = address.as_str().unwrap_or_default();
    let wanted = kind.as_str().unwrap_or_default();
    if !matches!(wanted, "IPv4" | "IPv6") {
        return;
    }
    match shown.parse::<std::net::IpAddr>() {
        Err(_) => causes.invalid(list.index(place), address, names_of_ports::NO_ADDRESS),
        Ok(parsed) if parsed.is_ipv4() != (wanted == "IPv4") => {
            causes.invalid(list, address, &format!("must be an {wanted} address"));
        }
        Ok(_) => {}
    }
}
