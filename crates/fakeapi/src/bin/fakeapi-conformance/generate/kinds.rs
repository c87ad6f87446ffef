//! The kinds scripts are about: a good object of each, and fields with good and bad values to change.
//! What is done with them is drawn in `generate`; custom kinds get their values from `generate::schema`.

use serde_json::{Value, json};

/// A place in an object and what scripts put there.
#[derive(Clone, Debug)]
pub struct Field {
    /// A JSON pointer.
    pub pointer: &'static str,
    /// `null` takes the field away.
    pub values: Vec<Value>,
}

/// One kind.
#[derive(Clone, Debug)]
pub struct Kind {
    pub plural: String,
    /// Of the namespace's collection, with `{ns}`.
    pub path: String,
    pub api_version: String,
    pub kind: String,
    /// A valid object but for its name.
    pub base: Value,
    pub fields: Vec<Field>,
    /// Likewise below `/status`; empty when there is no such endpoint.
    pub status: Vec<Field>,
    pub scale: bool,
    /// Of a custom kind, the schema of its version.
    pub schema: Option<Value>,
}

/// Fields every kind has. `labels` are those that policies look at, besides.
pub fn metadata(labels: &[String]) -> Vec<Field> {
    let mut with: Vec<Value> = vec![
        json!({ "tier": "a" }),
        json!({ "tier": "b", "app": "x" }),
        json!({ "tier": "bad value!" }),
        json!({ "checked": "yes" }),
        json!({ "checked": "no", "tier": "b" }),
        json!(null),
    ];
    for label in labels {
        with.push(json!({ label: "x" }));
    }
    let mut annotations = vec![
        json!({ "note": "1" }),
        json!({ "note": "2", "b/c": "" }),
        json!({ "bad key!": "x" }),
        json!({ "number": 5 }),
        json!(null),
    ];
    for label in labels {
        annotations.push(json!({ label: "canary" }));
    }
    vec![
        field("/metadata/labels", with),
        field(
            "/metadata/labels/tier",
            vec![json!("a"), json!("b"), json!(""), json!(null)],
        ),
        field("/metadata/annotations", annotations),
        field(
            "/metadata/annotations/note",
            vec![json!("3"), json!("x\ny"), json!(null)],
        ),
        field(
            "/metadata/finalizers",
            vec![
                json!(["example.com/hold"]),
                json!(["example.com/hold", "example.com/two"]),
                json!([]),
                json!(["bad"]),
                json!(null),
            ],
        ),
        field(
            "/metadata/ownerReferences",
            vec![
                json!([owner("x", Some(true))]),
                json!([owner("x", Some(true)), owner("y", Some(true))]),
                json!([owner("x", None)]),
                json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "x" }]),
                json!(null),
            ],
        ),
        field("/metadata/generation", vec![json!(7)]),
        field(
            "/metadata/creationTimestamp",
            vec![json!(null), json!("2001-01-01T00:00:00Z")],
        ),
        field(
            "/metadata/deletionTimestamp",
            vec![json!("2001-01-01T00:00:00Z")],
        ),
        field(
            "/metadata/namespace",
            vec![json!("elsewhere"), json!("{ns}")],
        ),
    ]
}

fn owner(name: &str, controller: Option<bool>) -> Value {
    let mut reference = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": "0e0e0e0e-0000-4000-8000-000000000000" });
    if let Some(controller) = controller {
        reference["controller"] = json!(controller);
    }
    reference
}

fn field(pointer: &'static str, values: Vec<Value>) -> Field {
    Field { pointer, values }
}

fn kind(group_version: &str, kind: &str, plural: &str, base: Value, fields: Vec<Field>) -> Kind {
    let root = if group_version.contains('/') {
        "/apis"
    } else {
        "/api"
    };
    Kind {
        plural: plural.to_owned(),
        path: format!("{root}/{group_version}/namespaces/{{ns}}/{plural}"),
        api_version: group_version.to_owned(),
        kind: kind.to_owned(),
        base,
        fields,
        status: Vec::new(),
        scale: false,
        schema: None,
    }
}

fn template() -> Value {
    json!({
        "metadata": { "labels": { "app": "x" } },
        // Without a token: its volume has a random name, and nobody here gives one out.
        "spec": { "automountServiceAccountToken": false, "containers": [{ "name": "app", "image": "app:1", "ports": [{ "containerPort": 8080 }] }] },
    })
}

fn containers() -> Vec<Value> {
    vec![
        json!([{ "name": "app", "image": "app:2" }]),
        json!([{ "name": "app", "image": "app", "env": [{ "name": "A", "value": "1" }, { "name": "B" }] }]),
        json!([{ "name": "app", "image": "app:2", "ports": [{ "containerPort": 80, "name": "web" }, { "containerPort": 81, "protocol": "UDP" }] }, { "name": "side", "image": "side:1" }]),
        json!([{ "name": "app", "image": "app:1" }, { "name": "app", "image": "app:2" }]),
        json!([{ "name": "app" }]),
        json!([{ "name": "Bad_Name", "image": "app:1" }]),
        json!([{ "name": "app", "image": "app:1", "readinessProbe": { "httpGet": { "path": "/ready", "port": 8080 } }, "resources": { "requests": { "cpu": "100m", "memory": "1Gi" } } }]),
        json!([{ "name": "app", "image": "app:latest", "imagePullPolicy": "Never", "lifecycle": { "preStop": { "sleep": { "seconds": 5 } } } }]),
        json!([]),
    ]
}

fn conditions() -> Vec<Value> {
    vec![
        json!([{ "type": "Available", "status": "True", "reason": "Enough", "message": "m" }]),
        json!([{ "type": "Available", "status": "False" }, { "type": "Progressing", "status": "True", "lastUpdateTime": "2001-01-01T00:00:00Z" }]),
        json!([]),
        json!(null),
    ]
}

fn numbers() -> Vec<Value> {
    vec![
        json!(0),
        json!(1),
        json!(3),
        json!(-1),
        json!("x"),
        json!(null),
    ]
}

/// The built-in ones.
pub fn built_in() -> Vec<Kind> {
    let mut deployment = kind(
        "apps/v1",
        "Deployment",
        "deployments",
        json!({ "spec": { "replicas": 2, "selector": { "matchLabels": { "app": "x" } }, "template": template() } }),
        vec![
            field("/spec/replicas", numbers()),
            field(
                "/spec/paused",
                vec![json!(true), json!(false), json!(null), json!("yes")],
            ),
            field(
                "/spec/minReadySeconds",
                vec![json!(5), json!(-1), json!(700)],
            ),
            field(
                "/spec/progressDeadlineSeconds",
                vec![json!(30), json!(0), json!(null)],
            ),
            field(
                "/spec/revisionHistoryLimit",
                vec![json!(2), json!(-1), json!(null)],
            ),
            field(
                "/spec/strategy",
                vec![
                    json!({ "type": "Recreate" }),
                    json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "30%", "maxUnavailable": 0 } }),
                    json!({ "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 0 } }),
                    json!({ "type": "Nope" }),
                    json!({ "rollingUpdate": { "maxUnavailable": "x%" } }),
                    json!(null),
                ],
            ),
            field("/spec/template/spec/containers", containers()),
            field(
                "/spec/template/spec/containers/0/image",
                vec![json!("app:3"), json!("")],
            ),
            field(
                "/spec/template/spec/terminationGracePeriodSeconds",
                vec![json!(5), json!(-1), json!(null)],
            ),
            field(
                "/spec/template/spec/restartPolicy",
                vec![json!("Always"), json!("Never")],
            ),
            field(
                "/spec/template/metadata/labels",
                vec![
                    json!({ "app": "x", "v": "2" }),
                    json!({ "app": "y" }),
                    json!(null),
                ],
            ),
            field(
                "/spec/template/metadata/annotations",
                vec![json!({ "at": "1" }), json!(null)],
            ),
            field(
                "/spec/selector",
                vec![
                    json!({ "matchLabels": { "app": "y" } }),
                    json!({}),
                    json!(null),
                ],
            ),
            field("/spec/unknown", vec![json!(1)]),
        ],
    );
    deployment.status = vec![
        field("/status/replicas", numbers()),
        field("/status/readyReplicas", numbers()),
        field(
            "/status/observedGeneration",
            vec![json!(1), json!(2), json!(-2)],
        ),
        field("/status/conditions", conditions()),
        field("/spec/replicas", vec![json!(9)]),
    ];
    deployment.scale = true;

    let mut replica_set = kind(
        "apps/v1",
        "ReplicaSet",
        "replicasets",
        json!({ "spec": { "replicas": 1, "selector": { "matchLabels": { "app": "x" } }, "template": template() } }),
        vec![
            field("/spec/replicas", numbers()),
            field("/spec/minReadySeconds", vec![json!(5), json!(-1)]),
            field("/spec/template/spec/containers", containers()),
            field(
                "/spec/template/metadata/labels",
                vec![json!({ "app": "x", "v": "2" }), json!({ "app": "y" })],
            ),
            field(
                "/spec/selector",
                vec![json!({ "matchLabels": { "app": "y" } }), json!({})],
            ),
        ],
    );
    replica_set.status = vec![
        field("/status/replicas", numbers()),
        field("/status/fullyLabeledReplicas", numbers()),
        field("/status/readyReplicas", numbers()),
        field("/status/availableReplicas", numbers()),
        field("/status/conditions", conditions()),
    ];
    replica_set.scale = true;

    let mut pod = kind(
        "v1",
        "Pod",
        "pods",
        json!({ "metadata": { "labels": { "app": "x" } }, "spec": template()["spec"] }),
        vec![
            field("/spec/containers", containers()),
            field("/spec/containers/0/image", vec![json!("app:3"), json!("")]),
            field("/spec/activeDeadlineSeconds", vec![json!(5), json!(0)]),
            field("/spec/restartPolicy", vec![json!("Never"), json!("Nope")]),
            field(
                "/spec/terminationGracePeriodSeconds",
                vec![json!(1), json!(-1)],
            ),
        ],
    );
    pod.status = vec![
        field("/status/phase", vec![json!("Running"), json!("Failed")]),
        field(
            "/status/conditions",
            vec![
                json!([{ "type": "Ready", "status": "True" }]),
                json!([{ "type": "Ready", "status": "False", "lastTransitionTime": "2001-01-01T00:00:00Z" }]),
            ],
        ),
        field("/status/podIP", vec![json!("10.1.2.3"), json!("bad")]),
    ];

    let mut service = kind(
        "v1",
        "Service",
        "services",
        json!({ "spec": { "selector": { "app": "x" }, "ports": [{ "port": 80 }] } }),
        vec![
            field(
                "/spec/selector",
                vec![
                    json!({ "app": "y" }),
                    json!({ "app": "x", "pod-template-hash": "1" }),
                    json!(null),
                    json!({ "app": "bad value!" }),
                ],
            ),
            field(
                "/spec/selector/pod-template-hash",
                vec![json!("a"), json!("b"), json!(null)],
            ),
            field(
                "/spec/ports",
                vec![
                    json!([{ "port": 80, "targetPort": "web" }]),
                    json!([{ "port": 80, "name": "a" }, { "port": 81, "name": "b", "targetPort": 8080 }]),
                    json!([{ "port": 80 }, { "port": 81 }]),
                    json!([{ "port": 0 }]),
                    json!([]),
                ],
            ),
            field(
                "/spec/clusterIP",
                vec![json!("None"), json!("10.1.1.1"), json!("x"), json!("")],
            ),
            field(
                "/spec/type",
                vec![
                    json!("NodePort"),
                    json!("ExternalName"),
                    json!("Nope"),
                    json!("LoadBalancer"),
                ],
            ),
            field(
                "/spec/sessionAffinity",
                vec![json!("ClientIP"), json!("None"), json!("Nope")],
            ),
            field(
                "/spec/publishNotReadyAddresses",
                vec![json!(true), json!(false)],
            ),
        ],
    );
    service.status = vec![field(
        "/status/loadBalancer",
        vec![json!({ "ingress": [{ "ip": "1.2.3.4" }] }), json!({})],
    )];

    let text = |name: &str| json!({ "data": { "x": "1", "y": name } });
    vec![
        deployment,
        replica_set,
        pod,
        service,
        kind(
            "v1",
            "ConfigMap",
            "configmaps",
            text("2"),
            vec![
                field(
                    "/data",
                    vec![
                        json!({ "x": "2" }),
                        json!({ "x": "1", "z": "3" }),
                        json!({ "bad/key": "1" }),
                        json!({ "x": 5 }),
                        json!(null),
                    ],
                ),
                field(
                    "/data/x",
                    vec![json!("1"), json!("5"), json!(""), json!(null)],
                ),
                field("/data/y", vec![json!("7"), json!(null)]),
                field(
                    "/binaryData",
                    vec![
                        json!({ "b": "AAEC" }),
                        json!({ "x": "AAEC" }),
                        json!({ "b": "?" }),
                        json!(null),
                    ],
                ),
                field("/immutable", vec![json!(true), json!(false), json!(null)]),
            ],
        ),
        kind(
            "v1",
            "Secret",
            "secrets",
            json!({ "data": { "x": "MQ==" } }),
            vec![
                field(
                    "/data",
                    vec![json!({ "x": "Mg==" }), json!({ "x": "?" }), json!(null)],
                ),
                field("/stringData", vec![json!({ "x": "plain", "y": "2" })]),
                field(
                    "/type",
                    vec![
                        json!("Opaque"),
                        json!("example.com/own"),
                        json!("kubernetes.io/tls"),
                    ],
                ),
                field("/immutable", vec![json!(true), json!(false)]),
            ],
        ),
        kind(
            "apps/v1",
            "ControllerRevision",
            "controllerrevisions",
            json!({ "revision": 1, "data": { "a": { "b": 1 } } }),
            vec![
                field("/revision", vec![json!(2), json!(-1), json!(0)]),
                field(
                    "/data",
                    vec![json!({ "a": { "b": 1 } }), json!({ "a": 2 }), json!(null)],
                ),
            ],
        ),
        kind(
            "coordination.k8s.io/v1",
            "Lease",
            "leases",
            json!({ "spec": { "holderIdentity": "one", "leaseDurationSeconds": 15 } }),
            vec![
                field(
                    "/spec/holderIdentity",
                    vec![json!("two"), json!(""), json!(null)],
                ),
                field(
                    "/spec/leaseDurationSeconds",
                    vec![json!(30), json!(0), json!("x")],
                ),
                field("/spec/leaseTransitions", vec![json!(1), json!(-1)]),
                field(
                    "/spec/renewTime",
                    vec![
                        json!("2001-01-01T00:00:00.000000Z"),
                        json!("2001-01-01T00:00:01.5Z"),
                        json!("yesterday"),
                        json!(null),
                    ],
                ),
            ],
        ),
        kind(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            "endpointslices",
            json!({ "metadata": { "labels": { "kubernetes.io/service-name": "web" } }, "addressType": "IPv4", "endpoints": [{ "addresses": ["10.1.0.1"], "conditions": { "ready": true } }], "ports": [{ "name": "web", "port": 80 }] }),
            vec![
                field(
                    "/endpoints",
                    vec![
                        json!([{ "addresses": ["10.1.0.2"], "conditions": { "ready": false, "serving": true, "terminating": true } }]),
                        json!([{ "addresses": [] }]),
                        json!([{ "addresses": ["x"] }]),
                        json!([]),
                        json!(null),
                    ],
                ),
                field(
                    "/ports",
                    vec![
                        json!([{ "port": 81 }]),
                        json!([{ "name": "a", "port": 1 }, { "name": "a", "port": 2 }]),
                        json!(null),
                    ],
                ),
                field("/addressType", vec![json!("IPv6"), json!("Nope")]),
            ],
        ),
        kind(
            "events.k8s.io/v1",
            "Event",
            "events",
            json!({ "eventTime": "2001-01-01T00:00:00.000000Z", "reportingController": "example.com/c", "reportingInstance": "c-1", "action": "Act", "reason": "Because", "type": "Normal", "note": "n", "regarding": { "apiVersion": "v1", "kind": "ConfigMap", "name": "x", "namespace": "{ns}" } }),
            vec![
                field(
                    "/series",
                    vec![json!({ "count": 2, "lastObservedTime": "2001-01-01T00:00:05.000000Z" })],
                ),
                field("/note", vec![json!("m"), json!("")]),
                field("/reason", vec![json!("Other"), json!("")]),
                field("/type", vec![json!("Warning"), json!("Nope")]),
                field("/eventTime", vec![json!(null)]),
            ],
        ),
    ]
}
