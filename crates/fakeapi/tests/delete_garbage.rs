//! Ends: preconditions, finalizers, grace, propagation, the garbage collector, namespaces, eviction.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong"
)]

mod common;

use std::time::Duration;

use common::*;
use crossfade_fakeapi::{GarbageDelays, Key};
use serde_json::{Value, json};

const DELAYS: GarbageDelays = GarbageDelays {
    collect: Duration::from_secs(2),
    orphan: Duration::from_secs(3),
    namespace: Duration::from_secs(4),
    retry: Duration::from_secs(1),
};

impl World {
    /// A collector beside the test, until the test ends.
    fn collect(&self) {
        let api = self.api.clone();
        tokio::spawn(async move { api.run_garbage_collector(DELAYS).await });
    }

    fn has(&self, resource: &str, name: &str) -> bool {
        self.api.get(&Key::new(resource, "default", name)).is_some()
    }

    /// A ConfigMap owned by another.
    async fn owned_map(&self, name: &str, owner: &Value, block: bool) -> Value {
        let mut map = configmap(name, json!({}));
        map["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"], "blockOwnerDeletion": block,
        }]);
        self.create(CONFIGMAPS, map).await
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_millis(seconds * 1000 + 100)).await;
}

#[tokio::test]
async fn a_finished_deletion_says_what_is_gone() {
    let world = World::new();
    let web = world.create(DEPLOYMENTS, deployment("web")).await;
    let gone = world.delete(format!("{DEPLOYMENTS}/web"), json!({})).await;
    assert_eq!(gone.status, 200);
    assert_eq!(gone.body["status"], "Success");
    assert_eq!(
        gone.body["details"],
        json!({"name": "web", "group": "apps", "kind": "deployments", "uid": web["metadata"]["uid"]})
    );
    assert!(!world.has("deployments", "web"));
    // A new one of the same name is another one.
    let again = world.create(DEPLOYMENTS, deployment("web")).await;
    assert_ne!(again["metadata"]["uid"], web["metadata"]["uid"]);
}

#[tokio::test]
async fn preconditions_must_hold() {
    let world = World::new();
    let web = world.create(DEPLOYMENTS, deployment("web")).await;
    let path = format!("{DEPLOYMENTS}/web");
    for (preconditions, what) in [
        (
            json!({"uid": "x"}),
            r#"Operation cannot be fulfilled on Deployment.apps "web": the UID in the precondition (x) does not match the UID in record ("#,
        ),
        (
            json!({"resourceVersion": "1"}),
            "the ResourceVersion in the precondition (1) does not match the ResourceVersion in record (",
        ),
    ] {
        let refused = world
            .delete(&path, json!({"preconditions": preconditions}))
            .await;
        assert_eq!((refused.status, refused.reason()), (409, "Conflict"));
        assert!(
            refused.body["message"].as_str().unwrap().contains(what),
            "{}",
            refused.body
        );
    }
    let options =
        json!({"preconditions": {"uid": web["metadata"]["uid"], "resourceVersion": version(&web)}});
    assert_eq!(world.delete(&path, options).await.status, 200);
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let world = World::new();
    let mut web = deployment("web");
    web["metadata"]["finalizers"] = json!(["example.com/keep"]);
    world.create(DEPLOYMENTS, web).await;
    let path = format!("{DEPLOYMENTS}/web");
    let marked = world.delete(&path, json!({})).await;
    assert_eq!(marked.status, 200);
    assert_eq!(marked.body["kind"], "Deployment");
    assert_eq!(
        marked.body["metadata"]["deletionTimestamp"],
        "2023-11-14T22:13:20Z"
    );
    assert_eq!(marked.body["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(marked.body["metadata"]["generation"], 2);
    // A second time nothing happens.
    let again = world.delete(&path, json!({})).await;
    assert_eq!(version(&again.body), version(&marked.body));
    let fresh = world
        .merge(
            &path,
            json!({"metadata": {"finalizers": ["example.com/keep", "example.com/new"]}}),
        )
        .await;
    assert_eq!(fresh.status, 422);
    assert!(fresh.body["message"].as_str().unwrap().contains(
        r#"metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"example.com/new"}"#
    ), "{}", fresh.body);
    let last = world
        .merge(&path, json!({"metadata": {"finalizers": []}}))
        .await;
    assert_eq!(last.status, 200);
    assert!(!world.has("deployments", "web"));
}

#[tokio::test]
async fn pods_end_by_their_kubelet() {
    let world = World::new();
    world.create(PODS, pod("on-node", Some("node-1"))).await;
    world.create(PODS, pod("nowhere", None)).await;
    let path = format!("{PODS}/on-node");
    let ending = world.delete(&path, json!({})).await;
    assert_eq!(ending.body["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(
        ending.body["metadata"]["deletionTimestamp"],
        "2023-11-14T22:13:50Z"
    );
    assert!(world.has("pods", "on-node"));
    // Only a shorter grace counts.
    let longer = world.delete(&path, json!({"gracePeriodSeconds": 60})).await;
    assert_eq!(longer.body["metadata"]["deletionGracePeriodSeconds"], 30);
    let shorter = world.delete(&path, json!({"gracePeriodSeconds": 5})).await;
    assert_eq!(
        shorter.body["metadata"]["deletionTimestamp"],
        "2023-11-14T22:13:25Z"
    );
    let over = world.delete(&path, json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(over.status, 200);
    assert!(!world.has("pods", "on-node"));
    // Never scheduled: nobody to wait for.
    assert_eq!(
        world
            .delete(format!("{PODS}/nowhere"), json!({}))
            .await
            .status,
        200
    );
    assert!(!world.has("pods", "nowhere"));
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        let mut map = configmap(name, json!({}));
        if name != "c" {
            map["metadata"]["labels"] = json!({"old": "yes"});
        }
        world.create(CONFIGMAPS, map).await;
    }
    let gone = world
        .delete(format!("{CONFIGMAPS}?labelSelector=old%3Dyes"), json!({}))
        .await;
    assert_eq!(gone.status, 200);
    assert_eq!(gone.body["items"].as_array().unwrap().len(), 2);
    assert_eq!(world.api.list("configmaps", Some("default")).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn in_the_background_dependents_go_after_their_owner() {
    let world = World::new();
    world.collect();
    let owner = world
        .create(CONFIGMAPS, configmap("owner", json!({})))
        .await;
    let child = world.owned_map("child", &owner, true).await;
    world.owned_map("grandchild", &child, true).await;
    pass(10).await;
    assert!(world.has("configmaps", "grandchild"));
    world.delete(format!("{CONFIGMAPS}/owner"), json!({})).await;
    assert!(!world.has("configmaps", "owner"));
    assert!(world.has("configmaps", "child"));
    pass(2).await;
    assert!(!world.has("configmaps", "child"));
    assert!(world.has("configmaps", "grandchild"));
    pass(2).await;
    assert!(!world.has("configmaps", "grandchild"));
}

#[tokio::test(start_paused = true)]
async fn in_the_foreground_the_owner_goes_last() {
    let world = World::new();
    world.collect();
    let owner = world
        .create(CONFIGMAPS, configmap("owner", json!({})))
        .await;
    world.owned_map("blocking", &owner, true).await;
    let mut kept = configmap("kept", json!({}));
    kept["metadata"]["finalizers"] = json!(["example.com/keep"]);
    kept["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true,
    }]);
    world.create(CONFIGMAPS, kept).await;
    let marked = world
        .delete(
            format!("{CONFIGMAPS}/owner"),
            json!({"propagationPolicy": "Foreground"}),
        )
        .await;
    assert_eq!(
        marked.body["metadata"]["finalizers"],
        json!(["foregroundDeletion"])
    );
    pass(5).await;
    assert!(!world.has("configmaps", "blocking"));
    assert!(
        world.has("configmaps", "owner"),
        "one dependent still blocks"
    );
    world
        .merge(
            format!("{CONFIGMAPS}/kept"),
            json!({"metadata": {"finalizers": null}}),
        )
        .await;
    pass(5).await;
    assert!(!world.has("configmaps", "kept"));
    assert!(!world.has("configmaps", "owner"));
}

#[tokio::test(start_paused = true)]
async fn orphans_are_loosened_and_stay() {
    let world = World::new();
    world.collect();
    let owner = world
        .create(CONFIGMAPS, configmap("owner", json!({})))
        .await;
    world.owned_map("child", &owner, true).await;
    let marked = world
        .delete(
            format!("{CONFIGMAPS}/owner"),
            json!({"propagationPolicy": "Orphan"}),
        )
        .await;
    assert_eq!(marked.body["metadata"]["finalizers"], json!(["orphan"]));
    assert!(world.has("configmaps", "owner"));
    pass(4).await;
    assert!(!world.has("configmaps", "owner"));
    let child = world.get(format!("{CONFIGMAPS}/child")).await.body;
    assert!(
        child["metadata"].get("ownerReferences").is_none(),
        "{child}"
    );
    pass(10).await;
    assert!(world.has("configmaps", "child"));
}

#[tokio::test(start_paused = true)]
async fn an_owner_of_the_same_name_is_not_the_owner() {
    let world = World::new();
    let owner = world
        .create(CONFIGMAPS, configmap("owner", json!({})))
        .await;
    world.owned_map("child", &owner, false).await;
    let two = world
        .create(CONFIGMAPS, configmap("second", json!({})))
        .await;
    let mut shared = configmap("shared", json!({}));
    shared["metadata"]["ownerReferences"] = json!([
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]},
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "second", "uid": two["metadata"]["uid"]},
    ]);
    world.create(CONFIGMAPS, shared).await;
    world.delete(format!("{CONFIGMAPS}/owner"), json!({})).await;
    world
        .create(CONFIGMAPS, configmap("owner", json!({})))
        .await;
    // A collector that comes later finds it as well.
    world.collect();
    pass(5).await;
    assert!(!world.has("configmaps", "child"));
    assert!(world.has("configmaps", "owner"));
    let shared = world.get(format!("{CONFIGMAPS}/shared")).await.body;
    assert_eq!(
        shared["metadata"]["ownerReferences"]
            .as_array()
            .unwrap()
            .len(),
        1,
        "another owner lives: only the dead reference goes"
    );
}

#[tokio::test(start_paused = true)]
async fn a_namespace_goes_when_it_is_empty() {
    let world = World::new();
    world.collect();
    world
        .create(
            "/api/v1/namespaces",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}),
        )
        .await;
    let maps = "/api/v1/namespaces/team/configmaps";
    world.create(maps, configmap("a", json!({}))).await;
    let mut kept = configmap("kept", json!({}));
    kept["metadata"]["finalizers"] = json!(["example.com/keep"]);
    world.create(maps, kept).await;
    world.delete("/api/v1/namespaces/team", json!({})).await;
    pass(10).await;
    assert!(
        world
            .api
            .get(&Key::new("configmaps", "team", "a"))
            .is_none()
    );
    assert_eq!(world.get("/api/v1/namespaces/team").await.status, 200);
    world
        .merge(
            format!("{maps}/kept"),
            json!({"metadata": {"finalizers": null}}),
        )
        .await;
    pass(10).await;
    assert_eq!(world.get("/api/v1/namespaces/team").await.status, 404);
}

#[tokio::test]
async fn pods_are_bound_once() {
    let world = World::new();
    world.create(PODS, pod("a", None)).await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"},
        "target": {"kind": "Node", "name": "node-1"}});
    let path = format!("{PODS}/a/binding");
    assert_eq!(world.post(&path, binding.clone()).await.status, 201);
    let bound = world.get(format!("{PODS}/a")).await.body;
    assert_eq!(bound["spec"]["nodeName"], "node-1");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    assert_eq!(world.post(&path, binding).await.status, 409);
}

#[tokio::test]
async fn eviction_asks_the_budget() {
    let world = World::new();
    world.create(PODS, pod("a", Some("node-1"))).await;
    world
        .merge(
            format!("{PODS}/a/status"),
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}),
        )
        .await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    world
        .create(
            budgets,
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
                "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}),
        )
        .await;
    let status = |allowed: i64| {
        json!({"status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1,
            "expectedPods": 1, "observedGeneration": 1}})
    };
    world.merge(format!("{budgets}/b/status"), status(0)).await;
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}});
    let path = format!("{PODS}/a/eviction");
    let refused = world.post(&path, eviction.clone()).await;
    assert_eq!((refused.status, refused.reason()), (429, "TooManyRequests"));
    assert_eq!(
        refused.body["message"],
        "Cannot evict pod as it would violate the pod's disruption budget."
    );
    world.merge(format!("{budgets}/b/status"), status(1)).await;
    let evicted = world.post(&path, eviction).await;
    assert_eq!(evicted.status, 201, "{}", evicted.body);
    assert!(world.get(format!("{PODS}/a")).await.body["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(
        world.get(format!("{budgets}/b")).await.body["status"]["disruptionsAllowed"],
        0
    );
}
