//! Validation of pods and pod templates, as far as mistakes in releases show.
//!
//! Volumes, affinities, resources and security contexts are not checked. Order and texts:
//! `ValidatePodSpec` of Kubernetes 1.34, `pkg/apis/core/validation`.

use serde_json::Value;

use super::{elements, get, names_of_ports, not_negative, text};
use crate::schema::field::{Causes, Path};
use crate::schema::{ROOT, metadata, names};

/// A template of a workload.
pub(super) fn template(template: &Value, path: &Path<'_>, causes: &mut Causes) {
    // The server leaves "metadata" out of these paths.
    let meta = get(template, "metadata");
    metadata::labels(meta.get("labels"), &path.child("labels"), causes);
    metadata::annotations(meta.get("annotations"), &path.child("annotations"), causes);
    spec(get(template, "spec"), &path.child("spec"), causes);
}

/// A Pod.
pub(super) fn validate(new: &Value, old: Option<&Value>, causes: &mut Causes) {
    let path = ROOT.child("spec");
    spec(get(new, "spec"), &path, causes);
    let Some(old) = old else { return };
    for list in ["containers", "initContainers"] {
        let count = |pod: &Value| elements(get(pod, "spec"), list).len();
        if count(new) != count(old) {
            causes.forbidden(
                path.child(list),
                "pod updates may not add or remove containers",
            );
            return;
        }
        // An update is asked for its images once more.
        for (place, container) in elements(get(new, "spec"), list).iter().enumerate() {
            if text(container, "image").is_empty() {
                causes.required(path.child(list).index(place).child("image"), "");
            }
        }
    }
    let deadline = |pod: &Value| get(get(pod, "spec"), "activeDeadlineSeconds").as_i64();
    let deadline_path = path.child("activeDeadlineSeconds");
    match (deadline(new), deadline(old)) {
        (Some(now), Some(before)) if before < now => {
            causes.invalid(
                deadline_path,
                &Value::from(now),
                "must be less than or equal to previous value",
            );
            return;
        }
        (None, Some(_)) => causes.invalid(
            deadline_path,
            &Value::Null,
            "must not update from a positive integer to nil value",
        ),
        _ => {}
    }
    if changeless(get(new, "spec")) != changeless(get(old, "spec")) {
        causes.forbidden(
            path,
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        );
    }
}

/// A pod's status: its addresses.
pub(super) fn validate_status(new: &Value, causes: &mut Causes) {
    let list = ROOT.child("status.podIPs");
    for (place, entry) in elements(get(new, "status"), "podIPs").iter().enumerate() {
        if text(entry, "ip").parse::<std::net::IpAddr>().is_err() {
            causes.invalid(
                list.index(place),
                get(entry, "ip"),
                names_of_ports::NO_ADDRESS,
            );
        }
    }
}

/// A spec without what an update may change. The node is among it: there is no `/binding` here, so a
/// scheduler writes it, and a node once set is compared by the caller's resourceVersion alone.
fn changeless(spec: &Value) -> Value {
    let mut rest = spec.clone();
    if let Some(map) = rest.as_object_mut() {
        for name in ["activeDeadlineSeconds", "tolerations", "nodeName"] {
            map.remove(name);
        }
        for list in ["containers", "initContainers"] {
            for container in super::maps_in(map, list) {
                container.remove("image");
            }
        }
    }
    rest
}

fn spec(spec: &Value, path: &Path<'_>, causes: &mut Causes) {
    let list = path.child("containers");
    let containers = elements(spec, "containers");
    if containers.is_empty() {
        causes.required(list, "");
    }
    let grace = get(spec, "terminationGracePeriodSeconds").as_i64();
    containers_of(containers, grace, &list, causes);
    containers_of(
        elements(spec, "initContainers"),
        grace,
        &path.child("initContainers"),
        causes,
    );
    let one_of = |name: &str, known: &[&str], causes: &mut Causes| {
        let value = get(spec, name);
        if !value.as_str().is_some_and(|value| known.contains(&value)) {
            causes.not_supported(path.child(name), value, known.iter().copied());
        }
    };
    one_of("restartPolicy", &["Always", "OnFailure", "Never"], causes);
    one_of(
        "dnsPolicy",
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        causes,
    );
    let deadline = get(spec, "activeDeadlineSeconds");
    if deadline.as_i64().is_some_and(|seconds| seconds < 1) {
        causes.invalid(
            path.child("activeDeadlineSeconds"),
            deadline,
            "must be between 1 and 2147483647, inclusive",
        );
    }
}

/// `grace`: `terminationGracePeriodSeconds`.
fn containers_of(containers: &[Value], grace: Option<i64>, list: &Path<'_>, causes: &mut Causes) {
    let mut seen: Vec<&str> = Vec::new();
    for (place, container) in containers.iter().enumerate() {
        let path = list.index(place);
        let name = text(container, "name");
        if name.is_empty() {
            causes.required(path.child("name"), "");
        } else {
            for detail in names::label(name) {
                causes.invalid(path.child("name"), get(container, "name"), &detail);
            }
        }
        let image = text(container, "image");
        if image.is_empty() {
            causes.required(path.child("image"), "");
        }
        ports(elements(container, "ports"), &path.child("ports"), causes);
        variables(elements(container, "env"), &path.child("env"), causes);
        if !matches!(
            text(container, "imagePullPolicy"),
            "Always" | "IfNotPresent" | "Never"
        ) {
            causes.not_supported(
                path.child("imagePullPolicy"),
                get(container, "imagePullPolicy"),
                ["Always", "IfNotPresent", "Never"],
            );
        }
        if seen.contains(&name) {
            causes.duplicate(path.child("name"), get(container, "name"));
        }
        seen.push(name);
        lifecycle(
            get(container, "lifecycle"),
            grace,
            &path.child("lifecycle"),
            causes,
        );
        for (name, once) in [
            ("livenessProbe", true),
            ("readinessProbe", false),
            ("startupProbe", true),
        ] {
            probe(get(container, name), once, &path.child(name), causes);
        }
    }
}

/// A hook may not sleep longer than there is grace.
fn lifecycle(lifecycle: &Value, grace: Option<i64>, path: &Path<'_>, causes: &mut Causes) {
    let Some(grace) = grace else { return };
    for hook in ["postStart", "preStop"] {
        let seconds = get(get(get(lifecycle, hook), "sleep"), "seconds");
        if seconds
            .as_i64()
            .is_some_and(|seconds| seconds < 0 || seconds > grace)
        {
            causes.invalid(
                path.child(hook).child("sleep"),
                seconds,
                &format!(
                    "must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                ),
            );
        }
    }
}

fn ports(ports: &[Value], list: &Path<'_>, causes: &mut Causes) {
    let mut seen: Vec<&str> = Vec::new();
    for (place, port) in ports.iter().enumerate() {
        let path = list.index(place);
        let name = text(port, "name");
        if !name.is_empty() {
            let wrong = names::port(name);
            for detail in &wrong {
                causes.invalid(path.child("name"), get(port, "name"), detail);
            }
            if wrong.is_empty() && seen.contains(&name) {
                causes.duplicate(path.child("name"), get(port, "name"));
            }
            seen.push(name);
        }
        match get(port, "containerPort").as_i64() {
            None | Some(0) => causes.required(path.child("containerPort"), ""),
            Some(_) => {
                let number = get(port, "containerPort");
                names_of_ports::number(number, &path.child("containerPort"), causes);
            }
        }
        names_of_ports::protocol(get(port, "protocol"), &path.child("protocol"), causes);
    }
}

fn variables(variables: &[Value], list: &Path<'_>, causes: &mut Causes) {
    for (place, variable) in variables.iter().enumerate() {
        let path = list.index(place);
        if text(variable, "name").is_empty() {
            causes.required(path.child("name"), "");
        }
        if !text(variable, "value").is_empty() && variable.get("valueFrom").is_some() {
            causes.invalid(
                path.child("valueFrom"),
                &Value::from(""),
                "may not be specified when `value` is not empty",
            );
        }
    }
}

/// `once`: one success has to be enough.
fn probe(probe: &Value, once: bool, path: &Path<'_>, causes: &mut Causes) {
    if probe.is_null() {
        return;
    }
    let handlers = ["exec", "httpGet", "tcpSocket", "grpc"]
        .iter()
        .filter(|name| probe.get(**name).is_some())
        .count();
    if handlers == 0 {
        causes.required(path, "must specify a handler type");
    }
    if let Some(get) = probe.get("httpGet") {
        let path = path.child("httpGet");
        names_of_ports::number_or_name(super::get(get, "port"), &path.child("port"), causes);
    }
    for name in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        not_negative(probe, name, path, causes);
    }
    if once {
        let threshold = get(probe, "successThreshold");
        if threshold.as_i64() != Some(1) {
            causes.invalid(path.child("successThreshold"), threshold, "must be 1");
        }
    }
}
