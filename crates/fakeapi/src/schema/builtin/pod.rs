//! Defaults of pods and pod templates.
//!
//! What admission plugins of a cluster add (service account tokens, tolerations, priorities) is not
//! added here. Source: `SetDefaults_Pod…` of Kubernetes 1.34, `pkg/apis/core/v1`.

use serde_json::{Map, Value, json};

use super::{map_in, maps_in, set, set_count};

/// A Pod.
pub(super) fn default(object: &mut Value) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    let Some(spec) = map_in(map, "spec") else {
        return;
    };
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["containers", "initContainers"] {
        for container in maps_in(spec, list) {
            requests_from_limits(container);
            if host_network {
                host_ports(container);
            }
        }
    }
    set(spec, "enableServiceLinks", true);
    self::spec(spec);
    if let Some(status) = map_in(map, "status") {
        addresses(status);
        for condition in maps_in(status, "conditions") {
            for time in ["lastProbeTime", "lastTransitionTime"] {
                condition.entry(time).or_insert(Value::Null);
            }
        }
    }
}

/// `podIP` and the first of `podIPs` are one; `podIP` counts where they differ.
fn addresses(status: &mut Map<String, Value>) {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let one = text(status.get("podIP"));
    let first = text(status.get("podIPs").and_then(|list| list.get(0)?.get("ip")));
    if one.is_empty() && !first.is_empty() {
        status.insert("podIP".to_owned(), Value::from(first));
    } else if !one.is_empty() && one != first {
        status.insert("podIPs".to_owned(), json!([{ "ip": one }]));
    }
}

/// In the host's network a container's port is the host's.
fn host_ports(container: &mut Map<String, Value>) {
    for port in maps_in(container, "ports") {
        if let Some(number) = port.get("containerPort").cloned() {
            set(port, "hostPort", number);
        }
    }
}

fn requests_from_limits(container: &mut Map<String, Value>) {
    let Some(resources) = container
        .get_mut("resources")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else {
        return;
    };
    if let Some(requests) = map_in(resources, "requests") {
        for (name, amount) in limits {
            set(requests, &name, amount);
        }
    }
}

/// The template of a workload.
pub(super) fn template(template: &mut Map<String, Value>) {
    let _ = map_in(template, "metadata");
    if let Some(spec) = map_in(template, "spec") {
        self::spec(spec);
    }
}

fn spec(spec: &mut Map<String, Value>) {
    set(spec, "restartPolicy", "Always");
    set(spec, "terminationGracePeriodSeconds", 30);
    set(spec, "dnsPolicy", "ClusterFirst");
    set(spec, "securityContext", json!({}));
    set(spec, "schedulerName", "default-scheduler");
    // The old name of the field is kept in step with the new one.
    if let Some(name) = spec
        .get("serviceAccountName")
        .or_else(|| spec.get("serviceAccount"))
        .cloned()
    {
        set(spec, "serviceAccountName", name.clone());
        spec.insert("serviceAccount".to_owned(), name);
    }
    for list in ["initContainers", "containers"] {
        for container in maps_in(spec, list) {
            self::container(container);
        }
    }
    for volume in maps_in(spec, "volumes") {
        self::volume(volume);
    }
}

fn container(container: &mut Map<String, Value>) {
    let image = container
        .get("image")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let policy = if is_latest(image) {
        "Always"
    } else {
        "IfNotPresent"
    };
    set(container, "imagePullPolicy", policy);
    set(container, "terminationMessagePath", "/dev/termination-log");
    set(container, "terminationMessagePolicy", "File");
    set(container, "resources", json!({}));
    for port in maps_in(container, "ports") {
        set(port, "protocol", "TCP");
    }
    for variable in maps_in(container, "env") {
        let reference = variable
            .get_mut("valueFrom")
            .and_then(|source| source.get_mut("fieldRef"))
            .and_then(Value::as_object_mut);
        if let Some(reference) = reference {
            set(reference, "apiVersion", "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(name).and_then(Value::as_object_mut) {
            set_count(probe, "timeoutSeconds", 1);
            set_count(probe, "periodSeconds", 10);
            set_count(probe, "successThreshold", 1);
            set_count(probe, "failureThreshold", 3);
            http_get(probe);
            if let Some(grpc) = probe.get_mut("grpc").and_then(Value::as_object_mut) {
                set(grpc, "service", "");
            }
        }
    }
    if let Some(lifecycle) = container
        .get_mut("lifecycle")
        .and_then(Value::as_object_mut)
    {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = lifecycle.get_mut(hook).and_then(Value::as_object_mut) {
                http_get(hook);
            }
        }
    }
}

fn http_get(handler: &mut Map<String, Value>) {
    if let Some(get) = handler.get_mut("httpGet").and_then(Value::as_object_mut) {
        set(get, "path", "/");
        set(get, "scheme", "HTTP");
    }
}

/// No tag and no digest, or the tag `latest`.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn volume(volume: &mut Map<String, Value>) {
    if volume.keys().all(|name| name == "name") {
        set(volume, "emptyDir", json!({}));
    }
    // 420 is 0644.
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            set(source, "defaultMode", 420);
        }
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        set(path, "type", "");
    }
    let sources = volume
        .get_mut("projected")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(|projected| maps_in(projected, "sources"));
    for source in sources {
        if let Some(token) = source
            .get_mut("serviceAccountToken")
            .and_then(Value::as_object_mut)
        {
            set(token, "expirationSeconds", 3600);
        }
        let fields = source
            .get_mut("downwardAPI")
            .and_then(Value::as_object_mut)
            .into_iter()
            .flat_map(|source| maps_in(source, "items"));
        for item in fields {
            if let Some(reference) = item.get_mut("fieldRef").and_then(Value::as_object_mut) {
                set(reference, "apiVersion", "v1");
            }
        }
    }
}
