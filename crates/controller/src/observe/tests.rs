//! From raw objects to what the planner sees.

use crossfade_engine::observed::Owner;
use serde_json::json;

use super::*;

fn shared(objects: Vec<Value>) -> Vec<Arc<Value>> {
    objects.into_iter().map(Arc::new).collect()
}

fn owner(kind: &str, name: &str, uid: &str) -> Value {
    json!([{ "kind": "Something", "uid": "x" }, { "kind": kind, "name": name, "uid": uid, "controller": true }])
}

fn set(name: &str, uid: &str, hash: &str, owners: Value, label: &str) -> Value {
    json!({
        "metadata": { "name": name, "uid": uid, "resourceVersion": "3", "labels": { "app": "web", "pod-template-hash": hash }, "ownerReferences": owners, "annotations": { "deployment.kubernetes.io/revision": "2" } },
        "spec": { "replicas": 2, "template": { "metadata": { "creationTimestamp": null, "labels": { "app": "web", "v": label } }, "spec": { "futureField": 1 } } },
        "status": { "replicas": 2, "readyReplicas": 1, "availableReplicas": 1, "observedGeneration": 4 },
    })
}

fn pod(name: &str, uid: &str, set: &str, status: Value) -> Value {
    json!({ "metadata": { "name": name, "uid": uid, "labels": { "app": "web" }, "ownerReferences": owner("ReplicaSet", "s", set) }, "status": status })
}

fn snapshot() -> Snapshot {
    let ready = json!({ "phase": "Running", "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2024-01-01T00:00:00Z" }] });
    Snapshot {
        workload: Some(Arc::new(json!({
            "metadata": { "namespace": "shop", "name": "web", "uid": "w1", "resourceVersion": "9", "generation": 2, "annotations": { "crossfade.dev/strategy": "canary" } },
            "spec": { "replicas": 4, "paused": true, "selector": { "matchLabels": { "app": "web" } }, "template": { "metadata": { "labels": { "app": "web", "v": "2" } }, "spec": { "futureField": 2 } } },
            "status": { "observedGeneration": 2, "conditions": [{ "type": "Available", "status": "True" }] },
        }))),
        replica_sets: shared(vec![
            set("web-a", "s1", "a", owner("Deployment", "web", "w1"), "1"),
            set(
                "web-c1-b",
                "s2",
                "b",
                owner("Deployment", "web-c1", "gone"),
                "2",
            ),
            set("web-old", "s3", "o", owner("Rollout", "web", "r1"), "0"),
            set("other", "s4", "z", owner("Deployment", "other", "w9"), "1"),
            set("orphan", "s5", "y", json!([]), "1"),
        ]),
        pods: shared(vec![
            pod("p1", "u1", "s1", ready),
            pod(
                "p2",
                "u2",
                "s2",
                json!({ "phase": "Pending", "containerStatuses": [{ "name": "app", "restartCount": 3, "state": { "waiting": { "reason": "ImagePullBackOff", "message": "not found" } } }] }),
            ),
            pod(
                "p3",
                "u3",
                "s2",
                json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes" }] }),
            ),
            pod("stranger", "u9", "elsewhere", json!({ "phase": "Running" })),
        ]),
        slices: shared(vec![json!({
            "metadata": { "name": "web-1", "labels": { "kubernetes.io/service-name": "web" } },
            "endpoints": [
                { "targetRef": { "kind": "Pod", "uid": "u1" }, "conditions": {} },
                { "targetRef": { "kind": "Pod", "uid": "u2" }, "conditions": { "ready": false } },
                { "targetRef": { "kind": "Pod", "uid": "u3" }, "conditions": { "ready": false, "terminating": true } },
            ],
        })]),
        services: shared(vec![
            json!({ "metadata": { "name": "web", "uid": "v1", "resourceVersion": "5", "labels": { "crossfade.dev/held-by": "w1" } }, "spec": { "clusterIP": "10.1.1.1", "selector": { "app": "web", "pod-template-hash": "a" } } }),
            json!({ "metadata": { "name": "old-only", "uid": "v2" }, "spec": { "clusterIP": "10.1.1.2", "selector": { "v": "1" } } }),
            json!({ "metadata": { "name": "unrelated", "uid": "v3" }, "spec": { "selector": { "app": "db" } } }),
            json!({ "metadata": { "name": "nobody", "uid": "v4" }, "spec": {} }),
            json!({ "metadata": { "name": "headless", "uid": "v5" }, "spec": { "clusterIP": "None", "selector": { "app": "web" } } }),
        ]),
        revisions: shared(vec![
            json!({ "metadata": { "name": "k", "uid": "k1", "labels": { "crossfade.dev/workload-uid": "w1", "crossfade.dev/candidate": "c1" } }, "data": { "hash": "a", "template": { "x": null } } }),
            json!({ "metadata": { "name": "foreign" }, "data": {} }),
        ]),
        ..Snapshot::default()
    }
}

fn seen() -> Observed {
    let rollout = json!({ "metadata": { "namespace": "shop", "name": "web", "uid": "r1", "generation": 3 }, "spec": {} });
    let mut memory = Memory {
        workload_uid: "w1".to_owned(),
        ..Memory::default()
    };
    memory.release = Some(crossfade_engine::memory::Release {
        parallel: "web-c1".to_owned(),
        ..Default::default()
    });
    observe(
        &rollout,
        &RolloutSpec::default(),
        &memory,
        &snapshot(),
        Extras::default(),
    )
}

#[test]
fn each_replica_set_has_its_owner() {
    let seen = seen();
    let owners: Vec<(&str, &Owner)> = seen
        .replica_sets
        .iter()
        .map(|set| (set.name.as_str(), &set.owner))
        .collect();
    assert_eq!(
        owners,
        vec![
            ("web-a", &Owner::Workload),
            // Its Deployment is gone already: known by the name the memory holds.
            ("web-c1-b", &Owner::Parallel("gone".to_owned())),
            ("web-old", &Owner::Rollout),
            ("other", &Owner::Other("Deployment other".to_owned())),
            ("orphan", &Owner::Nobody),
        ]
    );
    assert_eq!(seen.replica_sets[0].owner_index, Some(1));
    assert_eq!(seen.replica_sets[4].owner_index, None);
    assert_eq!(
        (
            seen.replica_sets[0].ready,
            seen.replica_sets[0].revision,
            seen.replica_sets[0].observed_generation
        ),
        (1, 2, 4)
    );
}

#[test]
fn templates_pass_through_untouched() {
    let seen = seen();
    assert_eq!(
        seen.replica_sets[0].template,
        json!({ "metadata": { "creationTimestamp": null, "labels": { "app": "web", "v": "1" } }, "spec": { "futureField": 1 } })
    );
    assert_eq!(seen.kept.len(), 1);
    assert_eq!(seen.kept[0].template, json!({ "x": null }));
}

#[test]
fn pods_say_why_they_do_not_run() {
    let seen = seen();
    assert_eq!(
        seen.pods
            .iter()
            .map(|pod| pod.name.as_str())
            .collect::<Vec<_>>(),
        ["p1", "p2", "p3"]
    );
    assert!(seen.pods[0].ready && seen.pods[0].trouble.is_none());
    let pull = seen.pods[1].trouble.as_ref().unwrap();
    assert_eq!(
        (
            pull.container.as_str(),
            pull.reason.as_str(),
            pull.message.as_str(),
            seen.pods[1].restarts
        ),
        ("app", "ImagePullBackOff", "not found", 3)
    );
    assert_eq!(
        seen.pods[2].trouble.as_ref().unwrap().reason,
        "Unschedulable"
    );
}

#[test]
fn services_say_where_they_point_and_why_not() {
    let seen = seen();
    let names: Vec<&str> = seen
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert_eq!(names, ["web", "old-only", "headless"]);
    let web = &seen.services[0];
    assert_eq!(
        (
            web.pinned_to.as_deref(),
            web.held,
            web.selects_workload,
            web.refusal.as_deref()
        ),
        (Some("a"), true, true, None)
    );
    assert_eq!(
        (
            web.ready_endpoints.as_slice(),
            web.unready_endpoints.as_slice()
        ),
        (&["u1".to_owned()][..], &["u2".to_owned()][..])
    );
    assert!(
        seen.services[1]
            .refusal
            .as_deref()
            .unwrap()
            .contains("not those of the new template")
    );
    let headless = &seen.services[2];
    assert_eq!(
        (
            headless.headless,
            headless.flips_by_both,
            headless.refusal.as_deref()
        ),
        (true, true, None)
    );
}

/// One that an Ingress sends to, or may send to, is flipped by way of both sides.
#[test]
fn a_service_behind_an_ingress_is_not_flipped_at_once() {
    let snapshot = snapshot();
    let by_both = |names: Option<&[&str]>| {
        let extras = Extras {
            behind_ingresses: names
                .map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
            ..Extras::default()
        };
        let seen = observe(
            &json!({}),
            &RolloutSpec::default(),
            &Memory::default(),
            &snapshot,
            extras,
        );
        let web = seen
            .services
            .into_iter()
            .find(|service| service.name == "web");
        web.unwrap().flips_by_both
    };
    assert!(!by_both(Some(&[])));
    assert!(!by_both(Some(&["api"])));
    assert!(by_both(Some(&["web"])));
    assert!(by_both(None), "not known");
}

#[test]
fn strangers_behind_a_service_are_named() {
    let snapshot = snapshot();
    let template = snapshot
        .workload
        .as_ref()
        .unwrap()
        .pointer("/spec/template")
        .unwrap()
        .clone();
    let questions = services::questions(
        &snapshot,
        &template,
        &json!({ "matchLabels": { "app": "web" } }),
    );
    assert!(
        questions.iter().all(|question| question.covered),
        "{questions:?}"
    );
    let sets = snapshot
        .replica_sets
        .iter()
        .map(|set| text(set, "/metadata/uid").to_owned())
        .collect();
    assert_eq!(
        services::strangers(&snapshot.pods, "app=web", &sets).as_deref(),
        Some("stranger")
    );
    let wider = services::questions(
        &snapshot,
        &template,
        &json!({ "matchLabels": { "app": "web", "tier": "front" } }),
    );
    assert!(wider.iter().all(|question| !question.covered));
}

#[test]
fn another_installation_under_way_is_named() {
    let held = json!({ "metadata": {}, "status": { "controller": "blue", "phase": "Warm" } });
    assert!(claimed(&held, "green").unwrap().contains("blue"));
    assert_eq!(claimed(&held, "blue"), None);
    let in_phase = |phase: &str| json!({ "status": { "controller": "blue", "phase": phase } });
    // Its rejected template is held by the admission of the one that rejected it.
    assert!(claimed(&in_phase("RolledBack"), "green").is_some());
    assert_eq!(claimed(&in_phase("Idle"), "green"), None);
    assert_eq!(claimed(&in_phase(""), "green"), None);
}
