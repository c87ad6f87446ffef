//! What the registry gives objects beside defaults: addresses, families and node ports of Services,
//! phase and class of new pods.
//!
//! There is no pool: numbers come from the caller's seed, addresses from 10.96.0.0/16, and two
//! Services may state the same one.

use serde_json::{Map, Value, json};

use super::{elements, get, maps_in, set, text};
use crate::resource::ResourceType;

/// Fills in what is missing. `seed` differs from call to call.
pub(crate) fn allocate(
    resource: &ResourceType,
    object: &mut Value,
    old: Option<&Value>,
    seed: u64,
) {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "services") => service(object, old, seed),
        ("", "pods") => {
            grace(object);
            if old.is_none() {
                pod(object);
            }
        }
        ("discovery.k8s.io", "endpointslices") => {
            // Lists without elements come back from the storage as nothing.
            for list in ["endpoints", "ports"] {
                if elements(object, list).is_empty()
                    && let Some(map) = object.as_object_mut()
                {
                    map.insert(list.to_owned(), Value::Null);
                }
            }
        }
        _ => {}
    }
}

fn service(object: &mut Value, old: Option<&Value>, seed: u64) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    let kind = spec
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if kind == "ExternalName" {
        for name in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.remove(name);
        }
        return;
    }
    let before = old.map_or(&Value::Null, |old| get(old, "spec"));
    if kind != "LoadBalancer" && text(before, "type") == "LoadBalancer" {
        // What only the old type has goes with it, unless the caller changed it.
        for name in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if spec.get(name) == before.get(name) {
                spec.remove(name);
            }
        }
    }
    if text(before, "type") != "ExternalName" {
        for name in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if let Some(value) = before.get(name) {
                set(spec, name, value.clone());
            }
        }
    }
    // One that was made without an address, by a write of its status, is given none later.
    if old.is_none() || text(before, "type") == "ExternalName" || spec.contains_key("clusterIP") {
        set(spec, "clusterIP", address(seed));
        // The list follows the field that old clients write.
        let address = spec.get("clusterIP").cloned().unwrap_or_default();
        let first = spec.get("clusterIPs").and_then(|list| list.get(0)).cloned();
        if first.as_ref() != Some(&address) {
            spec.insert("clusterIPs".to_owned(), json!([address]));
        }
    }
    let headless = spec.get("clusterIP").and_then(Value::as_str) == Some("None");
    let selects = spec
        .get("selector")
        .and_then(Value::as_object)
        .is_some_and(|selector| !selector.is_empty());
    if headless && !selects {
        // Whoever writes the endpoints may use either family.
        set(spec, "ipFamilies", json!(["IPv4", "IPv6"]));
        set(spec, "ipFamilyPolicy", "RequireDualStack");
    }
    set(spec, "ipFamilies", json!(["IPv4"]));
    set(spec, "ipFamilyPolicy", "SingleStack");
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        node_ports(spec, before, seed);
    } else {
        // Those of the old type go unless the caller changed them.
        let given: Vec<&Value> = elements(before, "ports")
            .iter()
            .filter_map(|port| port.get("nodePort"))
            .collect();
        for port in maps_in(spec, "ports") {
            if port.get("nodePort").is_some_and(|own| given.contains(&own)) {
                port.remove("nodePort");
            }
        }
    }
}

fn address(seed: u64) -> String {
    // The first ten addresses are the cluster's own (API server, DNS).
    let number = 11 + seed % (65_536 - 12);
    format!("10.96.{}.{}", number / 256, number % 256)
}

fn node_ports(spec: &mut Map<String, Value>, before: &Value, seed: u64) {
    let known = elements(before, "ports").to_vec();
    for (place, port) in (0_u64..).zip(maps_in(spec, "ports")) {
        let same = known.iter().find(|old| {
            Some(get(old, "port")) == port.get("port")
                && Some(get(old, "protocol")) == port.get("protocol")
        });
        let number = same
            .and_then(|old| old.get("nodePort"))
            .cloned()
            .unwrap_or_else(|| json!(30_000 + (seed + place) % 2768));
        set(port, "nodePort", number);
    }
}

/// A time of grace below 0 is one second.
fn grace(object: &mut Value) {
    if let Some(grace) = object
        .get_mut("spec")
        .and_then(|spec| spec.get_mut("terminationGracePeriodSeconds"))
        && grace.as_i64().is_some_and(|seconds| seconds < 0)
    {
        *grace = Value::from(1);
    }
}

fn pod(object: &mut Value) {
    let class = quality(get(object, "spec"));
    let Some(map) = object.as_object_mut() else {
        return;
    };
    map.insert(
        "status".to_owned(),
        json!({ "phase": "Pending", "qosClass": class }),
    );
    if let Some(Value::Object(spec)) = map.get_mut("spec") {
        admission_plugins(spec);
    }
}

/// What the plugins that are on by default fill in: Priority, ServiceAccount (without its token) and
/// DefaultTolerationSeconds.
fn admission_plugins(spec: &mut Map<String, Value>) {
    set(spec, "priority", 0);
    set(spec, "preemptionPolicy", "PreemptLowerPriority");
    set(spec, "serviceAccountName", "default");
    let account = spec.get("serviceAccountName").cloned().unwrap_or_default();
    set(spec, "serviceAccount", account);
    let tolerations = spec
        .entry("tolerations")
        .or_insert_with(|| Value::Array(Vec::new()));
    if let Some(tolerations) = tolerations.as_array_mut() {
        for key in [
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/unreachable",
        ] {
            if !tolerations.iter().any(|known| text(known, "key") == key) {
                tolerations.push(json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 }));
            }
        }
    }
}

/// Source: "Pod Quality of Service Classes" in the documentation of Kubernetes.
fn quality(spec: &Value) -> &'static str {
    let containers: Vec<&Value> = elements(spec, "containers")
        .iter()
        .chain(elements(spec, "initContainers"))
        .collect();
    let amounts = |container: &Value, kind: &str| -> Vec<(String, Value)> {
        get(get(container, "resources"), kind)
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory"))
            .map(|(name, amount)| (name.clone(), amount.clone()))
            .collect()
    };
    let none = containers.iter().all(|container| {
        amounts(container, "limits").is_empty() && amounts(container, "requests").is_empty()
    });
    if none {
        return "BestEffort";
    }
    let full = containers.iter().all(|container| {
        let limits = amounts(container, "limits");
        limits.len() == 2 && limits == amounts(container, "requests")
    });
    if full { "Guaranteed" } else { "Burstable" }
}
