//! Creating, replacing and patching: names, namespaces, versions, generations, endpoints, and what is
//! said when it is refused. Answers as kube-apiserver 1.34 gives them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong"
)]

mod common;

use common::*;
use crossfade_fakeapi::{Call, Key};
use http::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_new_object_gets_uid_time_version_and_generation() {
    let world = World::new();
    let web = world.create(DEPLOYMENTS, deployment("web")).await;
    let metadata = &web["metadata"];
    assert_eq!(metadata["generation"], 1);
    assert_eq!(metadata["namespace"], "default");
    assert_eq!(metadata["creationTimestamp"], "2023-11-14T22:13:20Z");
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert_eq!(version(&web), world.api.revision().to_string());
    assert_eq!(web["status"], json!({}));
    let stored = world
        .api
        .get(&Key::new("deployments", "default", "web"))
        .unwrap();
    assert_eq!(*stored, web);
}

#[tokio::test]
async fn names_are_taken_once_and_made_when_asked() {
    let world = World::new();
    world.create(CONFIGMAPS, configmap("a", json!({}))).await;
    let again = world.post(CONFIGMAPS, configmap("a", json!({}))).await;
    assert_eq!(again.status, 409);
    assert_eq!(again.reason(), "AlreadyExists");
    assert_eq!(again.body["message"], r#"configmaps "a" already exists"#);
    assert_eq!(
        again.body["details"],
        json!({"name": "a", "kind": "configmaps"})
    );
    let generated = world
        .create(
            CONFIGMAPS,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "made-"}}),
        )
        .await;
    let name = generated["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("made-") && name.len() == 10, "{name}");
}

#[tokio::test]
async fn namespaces_must_exist_and_not_be_going() {
    let world = World::new();
    let nowhere = world
        .post(
            "/api/v1/namespaces/nowhere/configmaps",
            configmap("a", json!({})),
        )
        .await;
    assert_eq!(nowhere.status, 404);
    assert_eq!(nowhere.body["message"], r#"namespaces "nowhere" not found"#);
    world
        .create(
            "/api/v1/namespaces",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}),
        )
        .await;
    let path = "/api/v1/namespaces/team/configmaps";
    world.create(path, configmap("a", json!({}))).await;
    let going = world.delete("/api/v1/namespaces/team", json!({})).await;
    assert_eq!(going.status, 200);
    assert_eq!(going.body["status"]["phase"], "Terminating");
    let late = world.post(path, configmap("b", json!({}))).await;
    assert_eq!(late.status, 403);
    assert_eq!(
        late.body["message"],
        r#"configmaps "b" is forbidden: unable to create new content in namespace team because it is being terminated"#
    );
    assert_eq!(
        late.body["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    // What is there can still be changed.
    assert!(
        world
            .merge(format!("{path}/a"), json!({"data": {"x": "y"}}))
            .await
            .is_success()
    );
}

#[tokio::test]
async fn generation_moves_with_the_spec_only() {
    let world = World::new();
    world.create(DEPLOYMENTS, deployment("web")).await;
    let path = format!("{DEPLOYMENTS}/web");
    let generation =
        |reply: &crossfade_fakeapi::Reply| reply.body["metadata"]["generation"].clone();
    let scaled = world.merge(&path, json!({"spec": {"replicas": 3}})).await;
    assert_eq!(generation(&scaled), 2);
    let labelled = world
        .merge(&path, json!({"metadata": {"labels": {"x": "y"}}}))
        .await;
    assert_eq!(generation(&labelled), 2);
    // The Deployment controller must see annotations, so they count for Deployments.
    let annotated = world
        .merge(&path, json!({"metadata": {"annotations": {"x": "y"}}}))
        .await;
    assert_eq!(generation(&annotated), 3);
    let status = world
        .merge(format!("{path}/status"), json!({"status": {"replicas": 3}}))
        .await;
    assert_eq!(generation(&status), 3);
    assert_eq!(status.body["status"]["replicas"], 3);
    let forced = world
        .merge(&path, json!({"metadata": {"generation": 99}}))
        .await;
    assert_eq!(generation(&forced), 3);
    let set = world
        .create(REPLICASETS, {
            let mut set = deployment("rs");
            set["kind"] = json!("ReplicaSet");
            set
        })
        .await;
    assert_eq!(set["status"], json!({"replicas": 0}));
    let annotated = world
        .merge(
            format!("{REPLICASETS}/rs"),
            json!({"metadata": {"annotations": {"x": "y"}}}),
        )
        .await;
    assert_eq!(generation(&annotated), 1);
}

#[tokio::test]
async fn each_endpoint_changes_its_own_part() {
    let world = World::new();
    world.define_widgets().await;
    let mut new = widget("w", json!({"color": "red"}));
    new["status"] = json!({"phase": "Made up"});
    let created = world.create(WIDGETS, new).await;
    assert!(created.get("status").is_none());
    let path = format!("{WIDGETS}/w");
    let main = world
        .merge(
            &path,
            json!({"spec": {"color": "blue"}, "status": {"phase": "Ready"}}),
        )
        .await;
    assert!(main.body.get("status").is_none());
    assert_eq!(main.body["metadata"]["generation"], 2);
    let status = world
        .merge(
            format!("{path}/status"),
            json!({"spec": {"color": "green"}, "metadata": {"labels": {"a": "b"}}, "status": {"phase": "Ready"}}),
        )
        .await;
    assert_eq!(status.body["status"]["phase"], "Ready");
    assert_eq!(status.body["spec"]["color"], "blue");
    assert!(status.body["metadata"].get("labels").is_none());
    assert_eq!(status.body["metadata"]["generation"], 2);
}

#[tokio::test]
async fn a_write_that_changes_nothing_is_none() {
    let world = World::new();
    let web = world.create(DEPLOYMENTS, deployment("web")).await;
    let path = format!("{DEPLOYMENTS}/web");
    let before = world.api.revision();
    world.later(60);
    for reply in [
        world.merge(&path, json!({"spec": {"replicas": 2}})).await,
        world.put(&path, web.clone()).await,
        world
            .patch(
                &path,
                json!([{"op": "test", "path": "/spec/replicas", "value": 2}]),
            )
            .await,
        world.put(&path, deployment("web")).await,
    ] {
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(version(&reply.body), version(&web));
    }
    assert_eq!(world.api.revision(), before);
}

#[tokio::test]
async fn an_old_resource_version_is_a_conflict() {
    let world = World::new();
    let old = world.create(DEPLOYMENTS, deployment("web")).await;
    let path = format!("{DEPLOYMENTS}/web");
    world.merge(&path, json!({"spec": {"replicas": 3}})).await;
    let message = r#"Operation cannot be fulfilled on deployments.apps "web": the object has been modified; please apply your changes to the latest version and try again"#;
    let put = world.put(&path, old.clone()).await;
    assert_eq!((put.status, put.reason()), (409, "Conflict"));
    assert_eq!(put.body["message"], message);
    assert_eq!(
        put.body["details"],
        json!({"name": "web", "group": "apps", "kind": "deployments"})
    );
    let merge = world
        .merge(
            &path,
            json!({"metadata": {"resourceVersion": version(&old)}, "spec": {"replicas": 4}}),
        )
        .await;
    assert_eq!(
        (merge.status, merge.body["message"].as_str()),
        (409, Some(message))
    );
    let patch = world
        .patch(
            &path,
            json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": version(&old)}]),
        )
        .await;
    assert_eq!(patch.status, 409);
    // A test is no precondition of its own: it says 422.
    let test = world
        .patch(
            &path,
            json!([{"op": "test", "path": "/metadata/resourceVersion", "value": version(&old)}]),
        )
        .await;
    assert_eq!((test.status, test.reason()), (422, "Invalid"));
    assert_eq!(
        test.body["message"],
        "the server rejected our request due to an error in our request"
    );
}

#[tokio::test]
async fn a_put_without_version_depends_on_the_kind() {
    let world = World::new();
    world.define_widgets().await;
    world.create(DEPLOYMENTS, deployment("web")).await;
    let mut next = deployment("web");
    next["spec"]["replicas"] = json!(5);
    assert_eq!(
        world.put(format!("{DEPLOYMENTS}/web"), next).await.status,
        200
    );
    world.create(WIDGETS, widget("w", json!({}))).await;
    let put = world
        .put(format!("{WIDGETS}/w"), widget("w", json!({"color": "red"})))
        .await;
    assert_eq!(put.status, 422);
    assert_eq!(
        put.body["message"],
        r#"widgets.example.com "w" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"#
    );
}

#[tokio::test]
async fn a_uid_in_a_put_is_a_precondition() {
    let world = World::new();
    let mut web = world.create(DEPLOYMENTS, deployment("web")).await;
    web["metadata"]["uid"] = json!("another");
    web["spec"]["replicas"] = json!(9);
    let put = world.put(format!("{DEPLOYMENTS}/web"), web).await;
    assert_eq!(put.status, 409);
    assert!(
        put.body["message"]
            .as_str()
            .unwrap()
            .contains("Precondition failed: UID in precondition: another, UID in object meta: "),
        "{}",
        put.body
    );
    let patch = world
        .merge(
            format!("{DEPLOYMENTS}/web"),
            json!({"metadata": {"uid": "another"}}),
        )
        .await;
    assert_eq!((patch.status, patch.reason()), (422, "Invalid"));
}

#[tokio::test]
async fn what_is_not_there_or_not_served() {
    let world = World::new();
    for (reply, status, message) in [
        (
            world.get(format!("{DEPLOYMENTS}/no")).await,
            404,
            r#"deployments.apps "no" not found"#,
        ),
        (
            world.get("/api/v1/namespaces/no").await,
            404,
            r#"namespaces "no" not found"#,
        ),
        (
            world.get("/apis/none.example.com/v1/things").await,
            404,
            "the server could not find the requested resource",
        ),
        (
            world.merge(format!("{DEPLOYMENTS}/no"), json!({})).await,
            404,
            r#"deployments.apps "no" not found"#,
        ),
        (
            world
                .put(format!("{DEPLOYMENTS}/no"), deployment("no"))
                .await,
            404,
            r#"deployments.apps "no" not found"#,
        ),
        (
            world.delete(format!("{DEPLOYMENTS}/no"), json!({})).await,
            404,
            r#"deployments.apps "no" not found"#,
        ),
        (
            world
                .put(format!("{DEPLOYMENTS}/other"), deployment("no"))
                .await,
            400,
            "the name of the object (no) does not match the name on the URL (other)",
        ),
    ] {
        assert_eq!(reply.status, status, "{}", reply.body);
        assert_eq!(reply.body["message"], message);
        assert_eq!(reply.body["kind"], "Status");
        assert_eq!(reply.body["code"], status);
    }
    let strategic = world
        .call(Call::patch(
            format!("{DEPLOYMENTS}/no"),
            "application/strategic-merge-patch+json",
            json!({}),
        ))
        .await;
    assert_eq!(
        (strategic.status, strategic.reason()),
        (415, "UnsupportedMediaType")
    );
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let world = World::new();
    let before = world.api.revision();
    let created = world
        .post(format!("{DEPLOYMENTS}?dryRun=All"), deployment("web"))
        .await;
    assert_eq!(created.status, 201);
    assert!(created.body["metadata"]["uid"].is_string());
    assert!(created.body["metadata"].get("resourceVersion").is_none());
    assert_eq!(world.api.revision(), before);
    world.create(DEPLOYMENTS, deployment("web")).await;
    let before = world.api.revision();
    let path = format!("{DEPLOYMENTS}/web");
    let patched = world
        .merge(
            format!("{path}?dryRun=All"),
            json!({"spec": {"replicas": 7}}),
        )
        .await;
    assert_eq!(patched.body["spec"]["replicas"], 7);
    assert_eq!(
        world.delete(&path, json!({"dryRun": ["All"]})).await.status,
        200
    );
    assert_eq!(world.api.revision(), before);
    assert_eq!(world.get(&path).await.body["spec"]["replicas"], 2);
}

#[tokio::test]
async fn scale_is_an_endpoint_of_its_own() {
    let world = World::new();
    let web = world.create(DEPLOYMENTS, deployment("web")).await;
    let path = format!("{DEPLOYMENTS}/web/scale");
    let scale = world.get(&path).await.body;
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(scale["apiVersion"], "autoscaling/v1");
    assert_eq!(scale["spec"]["replicas"], 2);
    assert_eq!(
        scale["status"],
        json!({"replicas": 0, "selector": "app=web"})
    );
    assert_eq!(scale["metadata"]["uid"], web["metadata"]["uid"]);
    let patched = world.merge(&path, json!({"spec": {"replicas": 4}})).await;
    assert_eq!(patched.body["spec"]["replicas"], 4);
    let stored = world.get(format!("{DEPLOYMENTS}/web")).await.body;
    assert_eq!(stored["spec"]["replicas"], 4);
    assert_eq!(stored["metadata"]["generation"], 2);
    assert_eq!(
        owned(&stored, "kubectl", "Update", "scale"),
        Some(json!({"f:spec": {"f:replicas": {}}}))
    );
    // A Scale read before carries its version.
    let stale = world.put(&path, scale).await;
    assert_eq!(stale.status, 409);
    let negative = world.merge(&path, json!({"spec": {"replicas": -1}})).await;
    assert_eq!(negative.status, 422);
}

#[tokio::test]
async fn the_scale_of_a_custom_kind_follows_its_paths() {
    let world = World::new();
    world.define_widgets().await;
    world
        .create(WIDGETS, widget("w", json!({"replicas": 1})))
        .await;
    world
        .merge(
            format!("{WIDGETS}/w/status"),
            json!({"status": {"replicas": 1, "selector": "app=w"}}),
        )
        .await;
    let scale = world.get(format!("{WIDGETS}/w/scale")).await.body;
    assert_eq!(scale["spec"]["replicas"], 1);
    assert_eq!(scale["status"], json!({"replicas": 1, "selector": "app=w"}));
    world
        .merge(
            format!("{WIDGETS}/w/scale"),
            json!({"spec": {"replicas": 6}}),
        )
        .await;
    assert_eq!(
        world.get(format!("{WIDGETS}/w")).await.body["spec"]["replicas"],
        6
    );
}

#[tokio::test]
async fn json_patches_apply_to_the_newest_object() {
    let world = World::new();
    world.create(DEPLOYMENTS, deployment("web")).await;
    let path = format!("{DEPLOYMENTS}/web");
    // A finalizer is added as kube-runtime does: nothing is there, and that is tested.
    let added = world
        .patch(
            &path,
            json!([
                {"op": "test", "path": "/metadata/finalizers", "value": null},
                {"op": "add", "path": "/metadata/finalizers", "value": ["example.com/keep"]},
            ]),
        )
        .await;
    assert_eq!(
        added.body["metadata"]["finalizers"],
        json!(["example.com/keep"]),
        "{}",
        added.body
    );
    let missing = world
        .patch(&path, json!([{"op": "remove", "path": "/spec/none"}]))
        .await;
    assert_eq!((missing.status, missing.reason()), (422, "Invalid"));
    let malformed = world.patch(&path, json!({"op": "remove"})).await;
    assert_eq!((malformed.status, malformed.reason()), (400, "BadRequest"));
}

#[tokio::test]
async fn a_put_of_a_lease_may_create() {
    let world = World::new();
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"holderIdentity": "me"}});
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let created = world
        .call(Call::json(Method::PUT, path, lease.clone()))
        .await;
    assert_eq!(created.status, 201, "{}", created.body);
    let unversioned = world.call(Call::json(Method::PUT, path, lease)).await;
    assert_eq!(unversioned.status, 422);
}

#[tokio::test]
async fn observers_see_commits_in_order_with_both_sides() {
    use std::sync::{Arc, Mutex};
    let world = World::new();
    let seen: Arc<Mutex<Vec<(String, bool, bool)>>> = Arc::default();
    let log = Arc::clone(&seen);
    world.api.observe(Arc::new(move |change| {
        log.lock().unwrap().push((
            format!("{:?} {} {}", change.verb, change.key, change.subresource),
            change.before.is_some(),
            change.after.is_some(),
        ));
    }));
    world.create(CONFIGMAPS, configmap("a", json!({}))).await;
    world
        .merge(format!("{CONFIGMAPS}/a"), json!({"data": {"x": "1"}}))
        .await;
    world
        .merge(format!("{CONFIGMAPS}/a"), json!({"data": {"x": "1"}}))
        .await;
    world.delete(format!("{CONFIGMAPS}/a"), Value::Null).await;
    assert_eq!(
        *seen.lock().unwrap(),
        [
            ("Create configmaps default/a ".to_owned(), false, true),
            ("Patch configmaps default/a ".to_owned(), true, true),
            ("Delete configmaps default/a ".to_owned(), true, false),
        ]
    );
}

#[tokio::test]
async fn the_same_seed_gives_the_same_objects() {
    let make = || async {
        let world = World::new();
        world.create(DEPLOYMENTS, deployment("web")).await
    };
    assert_eq!(make().await, make().await);
}

#[tokio::test]
async fn a_snapshot_starts_new_servers() {
    let world = World::new();
    world.define_widgets().await;
    world.create(WIDGETS, widget("w", json!({}))).await;
    let snapshot = world.api.snapshot();
    world
        .merge(format!("{WIDGETS}/w"), json!({"spec": {"color": "red"}}))
        .await;
    let copy = World {
        api: crossfade_fakeapi::FakeApi::restore(&snapshot, options(&world.seconds, 100)),
        caller: world.caller.clone(),
        seconds: world.seconds.clone(),
    };
    let found = copy.get(format!("{WIDGETS}/w")).await.body;
    assert_eq!(found["spec"], json!({}));
    copy.merge(format!("{WIDGETS}/w"), json!({"spec": {"size": "big"}}))
        .await;
    assert_eq!(
        world.get(format!("{WIDGETS}/w")).await.body["spec"],
        json!({"color": "red"})
    );
}
