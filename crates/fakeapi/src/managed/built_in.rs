//! The shapes of the built-in kinds: only what differs from "maps field by field, lists as a whole".
//! Source: the `x-kubernetes-list-type`, `-list-map-keys` and `-map-type` marks of the OpenAPI
//! document of Kubernetes 1.34.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::shape::{self, Shape};

/// Path and how its list or map is owned: `=` as a whole, `*` a set, otherwise the keys (with a
/// default behind `:`).
type Lines = &'static [(&'static str, &'static str)];

/// Group and plural.
type Kind = (&'static str, &'static str);

/// Of a pod's spec.
const POD: Lines = &[
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("volumes", "name"),
    ("imagePullSecrets", "name"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey,whenUnsatisfiable"),
    ("topologySpreadConstraints[].labelSelector", "="),
    ("schedulingGates", "name"),
    ("resourceClaims", "name"),
    ("nodeSelector", "="),
    (
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution",
        "=",
    ),
    ("volumes[].configMap.items", "="),
];

/// Of each container.
const CONTAINER: Lines = &[
    ("ports", "containerPort,protocol:TCP"),
    ("env", "name"),
    ("env[].valueFrom.configMapKeyRef", "="),
    ("env[].valueFrom.secretKeyRef", "="),
    ("env[].valueFrom.fieldRef", "="),
    ("env[].valueFrom.resourceFieldRef", "="),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("resources.claims", "name"),
];

/// Group, plural, path of a pod's spec (or empty), and the rest.
const KINDS: &[(&str, &str, &str, Lines)] = &[
    (
        "apps",
        "deployments",
        "spec.template",
        &[("spec.selector", "="), ("status.conditions", "type")],
    ),
    (
        "apps",
        "replicasets",
        "spec.template",
        &[("spec.selector", "="), ("status.conditions", "type")],
    ),
    ("apps", "controllerrevisions", "", &[("data", "=")]),
    (
        "",
        "pods",
        ".",
        &[("status.conditions", "type"), ("status.podIPs", "ip")],
    ),
    (
        "",
        "services",
        "",
        &[
            ("spec.ports", "port,protocol:TCP"),
            ("spec.selector", "="),
            ("status.conditions", "type"),
        ],
    ),
    ("", "namespaces", "", &[("status.conditions", "type")]),
    (
        "",
        "nodes",
        "",
        &[
            ("spec.podCIDRs", "*"),
            ("status.conditions", "type"),
            ("status.addresses", "type"),
        ],
    ),
    (
        "",
        "events",
        "",
        &[("involvedObject", "="), ("related", "=")],
    ),
    ("", "serviceaccounts", "", &[("secrets", "name")]),
    (
        "events.k8s.io",
        "events",
        "",
        &[("regarding", "="), ("related", "=")],
    ),
    ("discovery.k8s.io", "endpointslices", "", &[]),
    (
        "autoscaling",
        "horizontalpodautoscalers",
        "",
        &[("spec.scaleTargetRef", "="), ("status.conditions", "type")],
    ),
    (
        "policy",
        "poddisruptionbudgets",
        "",
        &[("spec.selector", "="), ("status.conditions", "type")],
    ),
    (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        "",
        WEBHOOKS,
    ),
    (
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        "",
        WEBHOOKS,
    ),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicies",
        "",
        &[
            ("spec.matchConstraints", "="),
            ("spec.matchConditions", "name"),
            ("spec.variables", "name"),
            ("spec.paramKind", "="),
            ("status.conditions", "type"),
        ],
    ),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicybindings",
        "",
        &[
            ("spec.matchResources", "="),
            ("spec.paramRef", "="),
            ("spec.validationActions", "*"),
        ],
    ),
    (
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "",
        &[("status.conditions", "type")],
    ),
    (
        "networking.k8s.io",
        "ingresses",
        "",
        &[("spec.defaultBackend.resource", "=")],
    ),
    (
        "rbac.authorization.k8s.io",
        "rolebindings",
        "",
        &[("roleRef", "=")],
    ),
    (
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        "",
        &[("roleRef", "=")],
    ),
];

const WEBHOOKS: Lines = &[
    ("webhooks", "name"),
    ("webhooks[].matchConditions", "name"),
    ("webhooks[].namespaceSelector", "="),
    ("webhooks[].objectSelector", "="),
];

/// Made once for all.
pub(crate) fn shape(group: &str, plural: &str) -> Arc<Shape> {
    static SHAPES: OnceLock<Vec<(Kind, Arc<Shape>)>> = OnceLock::new();
    static OTHERS: OnceLock<Arc<Shape>> = OnceLock::new();
    SHAPES
        .get_or_init(|| {
            KINDS
                .iter()
                .map(|&(group, plural, pod, lines)| ((group, plural), Arc::new(kind(pod, lines))))
                .collect()
        })
        .iter()
        .find(|(kind, _)| *kind == (group, plural))
        .map_or_else(
            || Arc::clone(OTHERS.get_or_init(|| Arc::new(kind("", &[])))),
            |(_, shape)| Arc::clone(shape),
        )
}

fn kind(pod: &str, lines: Lines) -> Shape {
    let mut shape = Shape::Typed;
    shape.set("metadata", shape::metadata());
    if !pod.is_empty() {
        let place = |path: &str| {
            if pod == "." {
                path.to_owned()
            } else {
                format!("{pod}.{path}")
            }
        };
        if pod != "." {
            shape.set(&place("metadata"), shape::metadata());
        }
        for (path, how) in POD {
            shape.set(&place(&format!("spec.{path}")), owned(how));
        }
        for list in ["containers", "initContainers"] {
            for (path, how) in CONTAINER {
                shape.set(&place(&format!("spec.{list}[].{path}")), owned(how));
            }
        }
    }
    for (path, how) in lines {
        shape.set(path, owned(how));
    }
    shape
}

fn owned(how: &str) -> Shape {
    match how {
        "=" => Shape::Atomic,
        "*" => Shape::Set,
        keys => Shape::Keyed {
            keys: keys
                .split(',')
                .map(|key| {
                    let (key, default) = key
                        .split_once(':')
                        .map_or((key, None), |(k, d)| (k, Some(d)));
                    (key.to_owned(), default.map(Value::from))
                })
                .collect(),
            item: Box::new(Shape::Typed),
        },
    }
}

/// An object of the kind as the server's own type has it before anything is written: fields without
/// `omitempty`. What is here already is not owned for having come into being.
pub(crate) fn blank(group: &str, plural: &str) -> &'static Value {
    static BLANKS: OnceLock<Vec<(Kind, Value)>> = OnceLock::new();
    static OTHERS: OnceLock<Value> = OnceLock::new();
    let template = || serde_json::json!({ "metadata": {}, "spec": { "containers": null } });
    BLANKS
        .get_or_init(|| {
            use serde_json::json;
            Vec::from([
                (
                    ("apps", "deployments"),
                    json!({ "metadata": {}, "status": {}, "spec": { "selector": null, "strategy": {}, "template": template() } }),
                ),
                (
                    ("apps", "replicasets"),
                    json!({ "metadata": {}, "status": { "replicas": 0 }, "spec": { "selector": null, "template": template() } }),
                ),
                (
                    ("apps", "controllerrevisions"),
                    json!({ "metadata": {}, "revision": 0 }),
                ),
                (
                    ("", "pods"),
                    json!({ "metadata": {}, "status": {}, "spec": { "containers": null } }),
                ),
                (
                    ("", "services"),
                    json!({ "metadata": {}, "status": { "loadBalancer": {} }, "spec": {} }),
                ),
                (
                    ("autoscaling", "horizontalpodautoscalers"),
                    json!({ "metadata": {}, "spec": { "scaleTargetRef": {}, "maxReplicas": 0 },
                        "status": { "desiredReplicas": 0, "currentMetrics": null } }),
                ),
                (
                    ("discovery.k8s.io", "endpointslices"),
                    json!({ "metadata": {}, "addressType": "", "endpoints": null, "ports": null }),
                ),
                (("", "configmaps"), json!({ "metadata": {} })),
                (("", "secrets"), json!({ "metadata": {} })),
                (
                    ("", "events"),
                    json!({ "metadata": {}, "involvedObject": {}, "source": {}, "firstTimestamp": null, "lastTimestamp": null,
                        "eventTime": null, "reportingComponent": "", "reportingInstance": "" }),
                ),
                (
                    ("events.k8s.io", "events"),
                    json!({ "metadata": {}, "eventTime": null, "regarding": {}, "deprecatedSource": {},
                        "deprecatedFirstTimestamp": null, "deprecatedLastTimestamp": null }),
                ),
            ])
        })
        .iter()
        .find(|(kind, _)| *kind == (group, plural))
        .map_or_else(
            || OTHERS.get_or_init(|| serde_json::json!({ "metadata": {}, "spec": {}, "status": {} })),
            |(_, blank)| blank,
        )
}
