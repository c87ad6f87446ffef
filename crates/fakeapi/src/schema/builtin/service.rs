//! Services: defaults and validation.
//!
//! Addresses and ports of nodes are given in `allocate`. Order and texts: `ValidateService` of
//! Kubernetes 1.34, `pkg/apis/core/validation`.

use serde_json::{Value, json};

use super::{elements, get, map_in, maps_in, names_of_ports, set, text};
use crate::schema::field::{Causes, Path};
use crate::schema::{ROOT, metadata, names};

/// Fills in defaults.
pub(super) fn default(object: &mut Value, _old: Option<&Value>) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    if let Some(spec) = map_in(map, "spec") {
        set(spec, "sessionAffinity", "None");
        set(spec, "type", "ClusterIP");
        let affinity = spec.get("sessionAffinity").and_then(Value::as_str);
        if affinity == Some("None") {
            spec.remove("sessionAffinityConfig");
        } else if affinity == Some("ClientIP") {
            set(
                spec,
                "sessionAffinityConfig",
                json!({ "clientIP": { "timeoutSeconds": 10800 } }),
            );
        }
        let kind = spec
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        for port in maps_in(spec, "ports") {
            set(port, "protocol", "TCP");
            let missing = port
                .get("targetPort")
                .is_none_or(|target| *target == json!(0) || *target == json!(""));
            if let (true, Some(number)) = (missing, port.get("port").cloned()) {
                port.insert("targetPort".to_owned(), number);
            }
        }
        if kind != "ExternalName" {
            set(spec, "internalTrafficPolicy", "Cluster");
        }
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
            set(spec, "externalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            set(spec, "allocateLoadBalancerNodePorts", true);
        }
    }
    if let Some(status) = map_in(map, "status") {
        set(status, "loadBalancer", json!({}));
        if let Some(balancer) = map_in(status, "loadBalancer") {
            for ingress in maps_in(balancer, "ingress") {
                if ingress.contains_key("ip") {
                    set(ingress, "ipMode", "VIP");
                }
            }
        }
    }
}

/// Validates a write.
pub(super) fn validate(new: &Value, old: Option<&Value>, causes: &mut Causes) {
    let path = ROOT.child("spec");
    let spec = get(new, "spec");
    let headless = text(spec, "clusterIP") == "None";
    let external = text(spec, "type") == "ExternalName";
    if let Some(old) = old {
        immutable_address(get(old, "spec"), spec, &path, causes);
    }
    let list = path.child("ports");
    let ports = elements(spec, "ports");
    if ports.is_empty() && !headless && !external {
        causes.required(list, "");
    }
    if let (true, kind @ ("LoadBalancer" | "NodePort")) = (headless, text(spec, "type")) {
        causes.invalid(
            path.child("clusterIPs").index(0),
            get(spec, "clusterIP"),
            &format!("may not be set to 'None' for {kind} services"),
        );
    }
    self::ports(ports, &list, causes);
    metadata::labels(spec.get("selector"), &path.child("selector"), causes);
    if !matches!(text(spec, "sessionAffinity"), "ClientIP" | "None") {
        causes.not_supported(
            path.child("sessionAffinity"),
            get(spec, "sessionAffinity"),
            ["ClientIP", "None"],
        );
    }
    if !matches!(
        text(spec, "type"),
        "ClusterIP" | "ExternalName" | "LoadBalancer" | "NodePort"
    ) {
        causes.not_supported(
            path.child("type"),
            get(spec, "type"),
            ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        );
    }
    if external {
        if text(spec, "externalName").is_empty() {
            causes.required(path.child("externalName"), "");
        }
    } else if let Some(policy) = spec.get("internalTrafficPolicy")
        && !matches!(policy.as_str(), Some("Cluster" | "Local"))
    {
        causes.not_supported(
            path.child("internalTrafficPolicy"),
            policy,
            ["Cluster", "Local"],
        );
    }
    if text(spec, "type") == "ClusterIP" {
        for (place, port) in ports.iter().enumerate() {
            if port.get("nodePort").is_some() {
                let path = list.index(place);
                causes.forbidden(
                    path.child("nodePort"),
                    "may not be used when `type` is 'ClusterIP'",
                );
            }
        }
    }
    doubles(ports, &list, causes);
}

/// Only a load balancer has addresses of its own.
pub(super) fn validate_status(new: &Value, causes: &mut Causes) {
    let balancer = get(get(new, "status"), "loadBalancer");
    if text(get(new, "spec"), "type") != "LoadBalancer" && !elements(balancer, "ingress").is_empty()
    {
        let path = ROOT.child("status");
        let path = path.child("loadBalancer");
        causes.forbidden(
            path.child("ingress"),
            "may only be used when `spec.type` is 'LoadBalancer'",
        );
    }
}

/// Addresses somebody asked for: that they are some, and from the range of Services.
pub(super) fn addresses(spec: &Value, old: Option<&Value>, causes: &mut Causes) {
    let path = ROOT.child("spec");
    if text(spec, "type") == "ExternalName" {
        return;
    }
    let list = path.child("clusterIPs");
    let mut strange = None;
    for (place, address) in elements(spec, "clusterIPs").iter().enumerate() {
        let shown = address.as_str().unwrap_or_default();
        match shown.parse::<std::net::Ipv4Addr>() {
            _ if shown == "None" => {}
            Err(_) => causes.invalid(list.index(place), address, names_of_ports::NO_ADDRESS),
            Ok(parsed) if parsed.octets()[..2] != [10, 96] => strange = Some(shown),
            Ok(_) => {}
        }
    }
    let held = old.is_some_and(|old| get(old, "clusterIPs") == get(spec, "clusterIPs"));
    if let (Some(address), true, false) = (strange, causes.is_empty(), held) {
        let detail = format!(
            "failed to allocate IP {address}: the provided network does not match the current range"
        );
        causes.invalid(list, get(spec, "clusterIPs"), &detail);
    }
}

fn immutable_address(old: &Value, new: &Value, path: &Path<'_>, causes: &mut Causes) {
    let kinds = [text(old, "type"), text(new, "type")];
    let (before, after) = (text(old, "clusterIP"), text(new, "clusterIP"));
    if kinds.contains(&"ExternalName") || before.is_empty() || before == after {
        return;
    }
    let list = path.child("clusterIPs");
    causes.invalid(
        list.index(0),
        get(new, "clusterIPs"),
        "may not change once set",
    );
}

fn ports(ports: &[Value], list: &Path<'_>, causes: &mut Causes) {
    let mut seen: Vec<&str> = Vec::new();
    for (place, port) in ports.iter().enumerate() {
        let path = list.index(place);
        let name = text(port, "name");
        if name.is_empty() {
            if ports.len() > 1 {
                causes.required(path.child("name"), "");
            }
        } else {
            for detail in names::label(name) {
                causes.invalid(path.child("name"), get(port, "name"), &detail);
            }
            if seen.contains(&name) {
                causes.duplicate(path.child("name"), get(port, "name"));
            }
            seen.push(name);
        }
        let shown = port.get("port").cloned().unwrap_or_else(|| json!(0));
        names_of_ports::number(&shown, &path.child("port"), causes);
        if text(port, "protocol").is_empty() {
            causes.required(path.child("protocol"), "");
        }
        names_of_ports::protocol(get(port, "protocol"), &path.child("protocol"), causes);
        names_of_ports::number_or_name(get(port, "targetPort"), &path.child("targetPort"), causes);
    }
}

/// No pair of protocol and port twice.
fn doubles(ports: &[Value], list: &Path<'_>, causes: &mut Causes) {
    for (place, port) in ports.iter().enumerate() {
        let same = |other: &&Value| {
            get(other, "port") == get(port, "port")
                && get(other, "protocol") == get(port, "protocol")
        };
        if ports.iter().take(place).any(|other| same(&other)) {
            // The server's own type, by which it compares.
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                get(port, "protocol"),
                get(port, "port")
            );
            causes.duplicate_printed(list.index(place), &shown);
        }
    }
}
