//! Built-in kinds: defaults, what the registry fills in, and validation, with the messages of
//! kube-apiserver 1.34.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong"
)]

mod common;

use common::*;
use crossfade_fakeapi::Reply;
use serde_json::{Value, json};

fn causes(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 422, "{}", reply.body);
    reply.body["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| {
            format!(
                "{}: {}",
                cause["field"].as_str().unwrap_or_default(),
                cause["message"].as_str().unwrap()
            )
        })
        .collect()
}

/// The refusal of an object after a change to it.
async fn refused(path: &str, mut object: Value, change: impl FnOnce(&mut Value)) -> Vec<String> {
    change(&mut object);
    causes(&World::new().post(path, object).await)
}

#[tokio::test]
async fn a_deployment_gets_the_defaults_of_the_real_server() {
    let world = World::new();
    let mut sent = deployment("web");
    sent["spec"]["replicas"] = Value::Null;
    sent["spec"]["paused"] = json!(false);
    sent["spec"]["minReadySeconds"] = json!(0);
    sent["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
    sent["spec"]["template"]["spec"] = json!({
        "serviceAccountName": "runner", "initContainers": [], "hostNetwork": false,
        "volumes": [{ "name": "c", "configMap": { "name": "c" } }, { "name": "e" }],
        "containers": [
            { "name": "main", "image": "registry:5000/web", "command": [],
              "ports": [{ "containerPort": 8080 }],
              "env": [{ "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
                      { "name": "EMPTY", "value": "" }],
              "readinessProbe": { "httpGet": { "port": 8080 } } },
            { "name": "side", "image": "side@sha256:0123", "lifecycle": { "preStop": { "httpGet": { "port": 1 } } } },
        ],
    });
    let stored = world.create(DEPLOYMENTS, sent).await;
    let common = |image: &str, policy: &str, name: &str| {
        json!({
            "name": name, "image": image, "imagePullPolicy": policy, "resources": {},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        })
    };
    let mut main = common("registry:5000/web", "Always", "main");
    main["ports"] = json!([{ "containerPort": 8080, "protocol": "TCP" }]);
    main["env"] = json!([
        { "name": "IP", "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "status.podIP" } } },
        { "name": "EMPTY" },
    ]);
    main["readinessProbe"] = json!({
        "httpGet": { "path": "/", "port": 8080, "scheme": "HTTP" },
        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
    });
    let mut side = common("side@sha256:0123", "IfNotPresent", "side");
    side["lifecycle"] =
        json!({ "preStop": { "httpGet": { "path": "/", "port": 1, "scheme": "HTTP" } } });
    assert_eq!(
        stored["spec"],
        json!({
            "replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "selector": { "matchLabels": { "app": "web" } },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "25%", "maxSurge": "25%" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": {
                    "containers": [main, side],
                    "volumes": [
                        { "name": "c", "configMap": { "name": "c", "defaultMode": 420 } },
                        { "name": "e", "emptyDir": {} },
                    ],
                    "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
                    "dnsPolicy": "ClusterFirst", "securityContext": {}, "schedulerName": "default-scheduler",
                    "serviceAccountName": "runner", "serviceAccount": "runner",
                },
            },
        })
    );
}

#[tokio::test]
async fn mistakes_in_a_deployment_are_named() {
    let check = |change: fn(&mut Value)| refused(DEPLOYMENTS, deployment("web"), change);
    let mismatch = "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`";
    assert_eq!(
        check(|d| d["spec"]["replicas"] = json!(-1)).await,
        ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]
    );
    assert_eq!(
        check(|d| d["spec"]["selector"] = Value::Null).await,
        ["spec.selector: Required value", mismatch]
    );
    assert_eq!(
        check(|d| d["spec"]["selector"] = json!({})).await,
        ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]
    );
    assert_eq!(
        check(|d| d["spec"]["selector"] = json!({ "matchLabels": { "app": "other" } })).await,
        [mismatch]
    );
    assert_eq!(
        check(|d| d["spec"]["strategy"] =
            json!({ "rollingUpdate": { "maxSurge": 0, "maxUnavailable": "0%" } }))
        .await,
        [
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0"
        ]
    );
    assert_eq!(
        check(|d| d["spec"]["strategy"] = json!({ "rollingUpdate": { "maxUnavailable": "101%" } }))
            .await,
        [
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"
        ]
    );
    assert_eq!(
        check(|d| d["spec"]["strategy"] = json!({ "type": "Recreate", "rollingUpdate": {} })).await,
        [
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"
        ]
    );
    assert_eq!(
        check(|d| d["spec"]["strategy"] = json!({ "type": "Canary" })).await,
        [
            "spec.strategy: Unsupported value: {\"Type\":\"Canary\",\"RollingUpdate\":null}: supported values: \"Recreate\", \"RollingUpdate\""
        ]
    );
    assert_eq!(
        check(|d| {
            d["spec"]["minReadySeconds"] = json!(30);
            d["spec"]["progressDeadlineSeconds"] = json!(30);
        })
        .await,
        ["spec.progressDeadlineSeconds: Invalid value: 30: must be greater than minReadySeconds"]
    );
    assert_eq!(
        check(|d| d["spec"]["template"]["spec"]["restartPolicy"] = json!("Never")).await,
        [
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""
        ]
    );
    assert_eq!(
        check(|d| d["spec"]["template"]["spec"]["containers"] = json!([])).await,
        ["spec.template.spec.containers: Required value"]
    );
    assert_eq!(
        check(|d| {
            d["spec"]["template"]["spec"]["containers"] = json!([
                { "name": "a", "image": "x", "ports": [{ "containerPort": 70000 }] }, { "name": "a" }]);
        })
        .await,
        [
            "spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            "spec.template.spec.containers[1].image: Required value",
            "spec.template.spec.containers[1].name: Duplicate value: \"a\"",
        ]
    );
    assert_eq!(
        check(|d| d["metadata"]["name"] = json!("Web_1")).await,
        [
            "metadata.name: Invalid value: \"Web_1\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        ]
    );
    assert_eq!(
        check(|d| d["metadata"]["labels"]["long"] = json!("x".repeat(64))).await,
        [format!(
            "metadata.labels: Invalid value: \"{}\": must be no more than 63 characters",
            "x".repeat(64)
        )]
    );
    let wrong = check(|d| d["metadata"]["annotations"] = json!({ "a b": "1" })).await;
    assert!(
        wrong[0]
            .starts_with("metadata.annotations: Invalid value: \"a b\": name part must consist of"),
        "{wrong:?}"
    );
    assert_eq!(
        check(|d| d["metadata"]["annotations"] = json!({ "a": "x".repeat(262_144) })).await,
        ["metadata.annotations: Too long: may not be more than 262144 bytes"]
    );
    assert_eq!(
        check(|d| {
            let owner = |name: &str| json!({ "apiVersion": "v1", "kind": "K", "name": name, "uid": name, "controller": true });
            d["metadata"]["ownerReferences"] = json!([owner("a"), owner("b")]);
        })
        .await,
        ["metadata.ownerReferences: Invalid value: [{\"apiVersion\":\"v1\",\"kind\":\"K\",\"name\":\"a\",\"uid\":\"a\",\"controller\":true},{\"apiVersion\":\"v1\",\"kind\":\"K\",\"name\":\"b\",\"uid\":\"b\",\"controller\":true}]: Only one reference can have Controller set to true. Found \"true\" in references for K/a and K/b"]
    );
}

#[tokio::test]
async fn what_cannot_be_decoded_is_a_bad_request() {
    let world = World::new();
    let mut labels = deployment("web");
    labels["metadata"]["labels"] = json!({ "a": 1 });
    let reply = world.post(DEPLOYMENTS, labels).await;
    assert_eq!(reply.status, 400);
    assert_eq!(
        reply.body["message"],
        "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"
    );
    let mut replicas = deployment("web");
    replicas["spec"]["replicas"] = json!("2");
    let reply = world.post(DEPLOYMENTS, replicas).await;
    assert_eq!(
        reply.body["message"],
        "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
    );
}

#[tokio::test]
async fn selectors_of_workloads_never_change() {
    let world = World::new();
    world.create(DEPLOYMENTS, deployment("web")).await;
    let reply = world
        .merge(
            format!("{DEPLOYMENTS}/web"),
            json!({ "spec": {
                "selector": { "matchLabels": { "app": "web", "tier": "a" } },
                "template": { "metadata": { "labels": { "tier": "a" } } } } }),
        )
        .await;
    assert_eq!(
        causes(&reply),
        [
            "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\",\"tier\":\"a\"}}: field is immutable"
        ]
    );
}

#[tokio::test]
async fn counts_in_a_status_fit_together() {
    let world = World::new();
    world.create(DEPLOYMENTS, deployment("web")).await;
    let reply = world
        .merge(
            format!("{DEPLOYMENTS}/web/status"),
            json!({ "status": { "replicas": 1, "readyReplicas": 2, "availableReplicas": 3 } }),
        )
        .await;
    assert_eq!(
        causes(&reply),
        [
            "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas",
        ]
    );
}

#[tokio::test]
async fn zero_counts_are_left_out_as_the_types_do() {
    let world = World::new();
    world.create(DEPLOYMENTS, deployment("web")).await;
    let reply = world
        .merge(
            format!("{DEPLOYMENTS}/web/status"),
            json!({ "status": { "replicas": 0, "readyReplicas": 0, "observedGeneration": 1 } }),
        )
        .await;
    assert_eq!(reply.body["status"], json!({ "observedGeneration": 1 }));
    let mut set = deployment("web-1");
    set["kind"] = json!("ReplicaSet");
    let set = world.create(REPLICASETS, set).await;
    assert_eq!(set["status"], json!({ "replicas": 0 }));
    assert!(set["spec"].get("strategy").is_none());
}

#[tokio::test]
async fn a_service_gets_an_address_and_keeps_it() {
    let world = World::new();
    let mut sent = service("web");
    sent["spec"]["ports"] = json!([{ "port": 80 }]);
    let stored = world.create(SERVICES, sent.clone()).await;
    let address = stored["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(address.starts_with("10.96."), "{address}");
    assert_eq!(
        stored["spec"],
        json!({
            "clusterIP": address, "clusterIPs": [address], "type": "ClusterIP", "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80 }], "selector": { "app": "web" },
        })
    );
    assert_eq!(stored["status"], json!({ "loadBalancer": {} }));
    let other = world.create(SERVICES, service("other")).await;
    assert_ne!(other["spec"]["clusterIP"], json!(address));
    // A PUT that says nothing of the address keeps it.
    sent["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"].clone();
    sent["spec"]["selector"] = json!({ "app": "web", "x": "y" });
    let replaced = world.put(format!("{SERVICES}/web"), sent).await;
    assert_eq!(replaced.status, 200, "{}", replaced.body);
    assert_eq!(replaced.body["spec"]["clusterIP"], json!(address));
    let moved = world
        .merge(
            format!("{SERVICES}/web"),
            json!({ "spec": { "clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.7"] } }),
        )
        .await;
    assert_eq!(
        causes(&moved),
        ["spec.clusterIPs[0]: Invalid value: [\"10.96.7.7\"]: may not change once set"]
    );
    let mut headless = service("headless");
    headless["spec"]["clusterIP"] = json!("None");
    let headless = world.create(SERVICES, headless).await;
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
}

#[tokio::test]
async fn mistakes_in_a_service_are_named() {
    let check = |change: fn(&mut Value)| refused(SERVICES, service("web"), change);
    assert_eq!(
        check(|s| s["metadata"]["name"] = json!("1web")).await,
        [
            "metadata.name: Invalid value: \"1web\": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
        ]
    );
    assert_eq!(
        check(|s| s["spec"]["ports"] = json!([])).await,
        ["spec.ports: Required value"]
    );
    assert_eq!(
        check(|s| s["spec"]["ports"] = json!([{ "port": 80 }, { "port": 80 }])).await,
        [
            "spec.ports[0].name: Required value",
            "spec.ports[1].name: Required value",
            "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\"TargetPort\":0,\"NodePort\":0}",
        ]
    );
    assert_eq!(
        check(|s| s["spec"]["ports"] = json!([{ "port": 0, "protocol": "ICMP" }])).await[..2],
        [
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ]
    );
    assert_eq!(
        check(|s| s["spec"]["type"] = json!("Internal")).await,
        [
            "spec.type: Unsupported value: \"Internal\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\""
        ]
    );
}

#[tokio::test]
async fn a_pod_starts_pending_with_its_class() {
    let world = World::new();
    let stored = world.create(PODS, pod("a", None)).await;
    assert_eq!(
        stored["status"],
        json!({ "phase": "Pending", "qosClass": "BestEffort" })
    );
    assert_eq!(stored["spec"]["enableServiceLinks"], true);
    let mut limited = pod("b", None);
    limited["spec"]["containers"][0]["resources"] =
        json!({ "limits": { "cpu": "1", "memory": "1Gi" } });
    let stored = world.create(PODS, limited).await;
    assert_eq!(stored["status"]["qosClass"], "Guaranteed");
    assert_eq!(
        stored["spec"]["containers"][0]["resources"]["requests"],
        json!({ "cpu": "1", "memory": "1Gi" })
    );
    let reply = world
        .merge(
            format!("{PODS}/a"),
            json!({ "spec": { "restartPolicy": "Never" } }),
        )
        .await;
    assert!(
        causes(&reply)[0]
            .starts_with("spec: Forbidden: pod updates may not change fields other than")
    );
}

#[tokio::test]
async fn a_pods_addresses_are_one_in_two_places() {
    let world = World::new();
    world.create(PODS, pod("a", None)).await;
    let status = format!("{PODS}/a/status");
    let address = |ip: &str| json!({ "status": { "podIP": ip } });
    let stored = world.merge(status.clone(), address("10.1.2.3")).await;
    assert_eq!(
        stored.body["status"]["podIPs"],
        json!([{ "ip": "10.1.2.3" }])
    );
    let refused = world.merge(status, address("bad")).await;
    assert!(causes(&refused)[0].starts_with("status.podIPs[0]: Invalid value: \"bad\""));
}

#[tokio::test]
async fn revisions_leases_and_slices_keep_their_rules() {
    let world = World::new();
    let revisions = "/apis/apps/v1/namespaces/default/controllerrevisions";
    let revision = json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": { "name": "r" },
        "data": { "spec": { "a": null } }, "revision": 1,
    });
    let stored = world.create(revisions, revision).await;
    assert_eq!(stored["data"], json!({ "spec": { "a": null } }));
    let changed = world
        .merge(
            format!("{revisions}/r"),
            json!({ "data": { "spec": { "b": 1 } } }),
        )
        .await;
    assert!(causes(&changed)[0].ends_with("field is immutable"));
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "l" },
        "spec": { "leaseDurationSeconds": 0 },
    });
    assert_eq!(
        causes(&world.post(leases, lease).await),
        ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"]
    );
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": { "name": "s" },
        "addressType": "IPv4", "endpoints": [], "ports": [{ "port": 80 }],
    });
    let stored = world.create(slices, slice).await;
    // An empty list reads back as none.
    assert_eq!(stored["endpoints"], json!(null));
    assert_eq!(
        stored["ports"],
        json!([{ "name": "", "port": 80, "protocol": "TCP" }])
    );
}

#[tokio::test]
async fn an_update_repeats_its_complaint_about_metadata_as_the_real_server_does() {
    let world = World::new();
    world.create(CONFIGMAPS, configmap("c", json!({}))).await;
    let reply = world
        .merge(
            format!("{CONFIGMAPS}/c"),
            json!({ "metadata": { "labels": { "a": "-" } } }),
        )
        .await;
    // By all kinds, by all updates, and by the kind as an update and as a creation.
    assert_eq!(causes(&reply).len(), 4);
    let message = reply.body["message"].as_str().unwrap();
    assert_eq!(message.matches("a valid label must be").count(), 1);
}
