//! Who owns which field: updates, server-side apply, conflicts, entries taken away. Known answers from
//! kube-apiserver 1.34.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong"
)]

mod common;

use common::*;
use crossfade_fakeapi::Key;
use serde_json::{Value, json};

#[tokio::test]
async fn a_created_deployment_is_its_creators() {
    let world = World::new();
    let web = world.create(DEPLOYMENTS, deployment("web")).await;
    let entries = web["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["manager"], "kubectl");
    assert_eq!(entries[0]["operation"], "Update");
    assert_eq!(entries[0]["apiVersion"], "apps/v1");
    assert_eq!(entries[0]["fieldsType"], "FieldsV1");
    assert_eq!(entries[0]["time"], "2023-11-14T22:13:20Z");
    // As `kubectl get deployment -o yaml --show-managed-fields` shows it after `kubectl create`.
    assert_eq!(
        entries[0]["fieldsV1"],
        json!({
            "f:metadata": { "f:labels": { ".": {}, "f:app": {} } },
            "f:spec": {
                "f:progressDeadlineSeconds": {}, "f:replicas": {}, "f:revisionHistoryLimit": {}, "f:selector": {},
                "f:strategy": {
                    "f:rollingUpdate": { ".": {}, "f:maxSurge": {}, "f:maxUnavailable": {} }, "f:type": {},
                },
                "f:template": {
                    "f:metadata": { "f:labels": { ".": {}, "f:app": {} } },
                    "f:spec": {
                        "f:containers": { "k:{\"name\":\"main\"}": {
                            ".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {},
                            "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {},
                        } },
                        "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {},
                        "f:terminationGracePeriodSeconds": {},
                    },
                },
            },
        })
    );
}

#[tokio::test]
async fn a_created_service_owns_its_selector_as_a_whole() {
    let world = World::new();
    let web = world.create(SERVICES, service("web")).await;
    assert_eq!(
        owned(&web, "kubectl", "Update", "").unwrap(),
        json!({ "f:spec": {
            "f:internalTrafficPolicy": {},
            "f:ports": { ".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {
                ".": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {},
            } },
            "f:selector": {}, "f:sessionAffinity": {}, "f:type": {},
        } })
    );
}

#[tokio::test]
async fn a_written_field_changes_hands() {
    let world = World::new();
    world.create(DEPLOYMENTS, deployment("web")).await;
    world.later(5);
    let path = format!("{DEPLOYMENTS}/web?fieldManager=scaler");
    let scaled = world
        .merge(&path, json!({"spec": {"replicas": 5}}))
        .await
        .body;
    assert_eq!(
        owned(&scaled, "scaler", "Update", "").unwrap(),
        json!({"f:spec": {"f:replicas": {}}})
    );
    assert!(
        owned(&scaled, "kubectl", "Update", "").unwrap()["f:spec"]
            .get("f:replicas")
            .is_none()
    );
    // An equal value is not a write, and no time moves.
    world.later(5);
    let again = world
        .merge(
            format!("{DEPLOYMENTS}/web?fieldManager=other"),
            json!({"spec": {"replicas": 5}}),
        )
        .await
        .body;
    assert_eq!(again, scaled);
    // The field goes, and its owner's entry with it.
    let path = format!("{DEPLOYMENTS}/web?fieldManager=pauser");
    let paused = world
        .merge(&path, json!({"spec": {"paused": true}}))
        .await
        .body;
    assert_eq!(
        owned(&paused, "pauser", "Update", "").unwrap(),
        json!({"f:spec": {"f:paused": {}}})
    );
    let resumed = world
        .merge(
            format!("{DEPLOYMENTS}/web"),
            json!({"spec": {"paused": null}}),
        )
        .await
        .body;
    assert!(owned(&resumed, "pauser", "Update", "").is_none());
}

#[tokio::test]
async fn the_status_endpoint_has_entries_of_its_own() {
    let world = World::new();
    world.create(DEPLOYMENTS, deployment("web")).await;
    let condition = json!({"type": "Available", "status": "True"});
    let written = world
        .merge(
            format!("{DEPLOYMENTS}/web/status?fieldManager=controller"),
            json!({"status": {"replicas": 2, "conditions": [condition]}}),
        )
        .await
        .body;
    assert_eq!(
        owned(&written, "controller", "Update", "status").unwrap(),
        json!({"f:status": {
            "f:conditions": { ".": {}, "k:{\"type\":\"Available\"}": {
                ".": {}, "f:lastTransitionTime": {}, "f:lastUpdateTime": {}, "f:status": {}, "f:type": {},
            } },
            "f:replicas": {},
        }})
    );
}

#[tokio::test]
async fn owner_references_and_finalizers_are_owned_one_by_one() {
    let world = World::new();
    let owner =
        |uid: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": uid, "uid": uid});
    let mut map = configmap("a", json!({}));
    map["metadata"]["ownerReferences"] = json!([owner("u1")]);
    map["metadata"]["finalizers"] = json!(["example.com/one"]);
    world.create(CONFIGMAPS, map).await;
    let second = world
        .patch(
            format!("{CONFIGMAPS}/a?fieldManager=second"),
            json!([
                {"op": "add", "path": "/metadata/ownerReferences/-", "value": owner("u2")},
                {"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/two"},
            ]),
        )
        .await
        .body;
    assert_eq!(
        owned(&second, "second", "Update", "").unwrap(),
        json!({"f:metadata": {
            "f:finalizers": { "v:\"example.com/two\"": {} },
            "f:ownerReferences": { "k:{\"uid\":\"u2\"}": {} },
        }})
    );
}

#[tokio::test]
async fn an_applied_object_is_owned_as_declared() {
    let world = World::new();
    let path = format!("{DEPLOYMENTS}/web");
    let created = world.apply(&path, "gitops", "", deployment("web")).await;
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(
        owned(&created.body, "gitops", "Apply", "").unwrap(),
        json!({
            "f:metadata": { "f:labels": { "f:app": {} } },
            "f:spec": {
                "f:replicas": {}, "f:selector": {},
                "f:template": {
                    "f:metadata": { "f:labels": { "f:app": {} } },
                    "f:spec": { "f:containers": { "k:{\"name\":\"main\"}": { ".": {}, "f:image": {}, "f:name": {} } } },
                },
            },
        })
    );
    // Defaults are nobody's.
    assert_eq!(created.body["spec"]["revisionHistoryLimit"], 10);
    let again = world.apply(&path, "gitops", "", deployment("web")).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.body, created.body);
}

#[tokio::test]
async fn what_somebody_else_owns_is_a_conflict_unless_forced() {
    let world = World::new();
    let path = format!("{DEPLOYMENTS}/web");
    world.create(DEPLOYMENTS, deployment("web")).await;
    let mut other = deployment("web");
    other["spec"]["replicas"] = json!(7);
    let refused = world.apply(&path, "gitops", "", other.clone()).await;
    assert_eq!((refused.status, refused.reason()), (409, "Conflict"));
    assert_eq!(
        refused.body["message"],
        r#"Apply failed with 1 conflict: conflict with "kubectl" using apps/v1: .spec.replicas"#
    );
    assert_eq!(
        refused.body["details"]["causes"],
        json!([{
            "reason": "FieldManagerConflict", "message": r#"conflict with "kubectl" using apps/v1"#, "field": ".spec.replicas",
        }])
    );
    other["spec"]["template"]["spec"]["containers"][0]["image"] = json!("example.com/web:2");
    let two = world.apply(&path, "gitops", "", other.clone()).await;
    assert_eq!(
        two.body["message"],
        "Apply failed with 2 conflicts: conflicts with \"kubectl\" using apps/v1:\n- .spec.replicas\n- .spec.template.spec.containers[name=\"main\"].image"
    );
    let forced = world
        .apply(&path, "gitops", "&force=true", other.clone())
        .await;
    assert_eq!(forced.status, 200);
    assert_eq!(forced.body["spec"]["replicas"], 7);
    assert!(
        owned(&forced.body, "kubectl", "Update", "").unwrap()["f:spec"]
            .get("f:replicas")
            .is_none()
    );
    // Another applier with an equal value owns it too.
    let shared = world
        .apply(
            &path,
            "second",
            "",
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 7}}),
        )
        .await;
    assert_eq!(shared.status, 200, "{}", shared.body);
    assert!(
        owned(&shared.body, "gitops", "Apply", "").unwrap()["f:spec"]
            .get("f:replicas")
            .is_some()
    );
    assert!(owned(&shared.body, "second", "Apply", "").is_some());
    other["spec"]["replicas"] = json!(8);
    let third = world.apply(&path, "gitops", "", other).await;
    assert_eq!(
        third.body["message"],
        r#"Apply failed with 1 conflict: conflict with "second": .spec.replicas"#
    );
}

#[tokio::test]
async fn what_is_no_longer_declared_goes_unless_shared() {
    let world = World::new();
    let path = format!("{CONFIGMAPS}/a");
    world
        .apply(
            &path,
            "one",
            "",
            configmap("a", json!({"x": "1", "y": "2"})),
        )
        .await;
    world
        .apply(&path, "two", "", configmap("a", json!({"y": "2"})))
        .await;
    world.merge(&path, json!({"data": {"z": "3"}})).await;
    let less = world
        .apply(&path, "one", "", configmap("a", json!({})))
        .await;
    assert_eq!(
        less.body["data"],
        json!({"y": "2", "z": "3"}),
        "{}",
        less.body
    );
}

#[tokio::test]
async fn items_of_lists_with_keys_come_and_go_by_key() {
    let world = World::new();
    let path = format!("{DEPLOYMENTS}/web");
    let with_env = |env: Value| {
        let mut web = deployment("web");
        web["spec"]["template"]["spec"]["containers"][0]["env"] = env;
        web
    };
    let variable = |name: &str| json!({"name": name, "value": "1"});
    world
        .apply(
            &path,
            "gitops",
            "",
            with_env(json!([variable("A"), variable("B")])),
        )
        .await;
    // Somebody else adds a container with a port.
    world
        .patch(
            &path,
            json!([{"op": "add", "path": "/spec/template/spec/containers/-",
                "value": {"name": "side", "image": "example.com/side:1", "ports": [{"containerPort": 80}]}}]),
        )
        .await;
    let next = world
        .apply(
            &path,
            "gitops",
            "",
            with_env(json!([variable("B"), variable("C")])),
        )
        .await;
    let containers = next.body["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap();
    assert_eq!(containers.len(), 2);
    assert_eq!(containers[0]["env"], json!([variable("B"), variable("C")]));
    assert_eq!(
        containers[1]["ports"],
        json!([{"containerPort": 80, "protocol": "TCP"}])
    );
    // A default of a key is known though nobody wrote it.
    let port = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": {"containers": [
        {"name": "side", "ports": [{"containerPort": 80, "name": "http"}]}]}}}});
    let named = world.apply(&path, "ports", "", port).await;
    assert_eq!(
        named.body["spec"]["template"]["spec"]["containers"][1]["ports"],
        json!([{"containerPort": 80, "name": "http", "protocol": "TCP"}]),
        "{}",
        named.body
    );
}

#[tokio::test]
async fn custom_kinds_follow_their_schema() {
    let world = World::new();
    world.define_widgets().await;
    let path = format!("{WIDGETS}/w");
    let spec = json!({
        "color": "red", "tags": ["a", "b"], "selector": {"x": "1"},
        "parts": [{"name": "p", "weight": 1}],
    });
    let created = world.apply(&path, "one", "", widget("w", spec)).await;
    assert_eq!(created.status, 201, "{}", created.body);
    assert_eq!(
        owned(&created.body, "one", "Apply", "").unwrap(),
        json!({"f:spec": {
            "f:color": {}, "f:selector": {}, "f:tags": {"v:\"a\"": {}, "v:\"b\"": {}},
            "f:parts": {"k:{\"name\":\"p\"}": {".": {}, "f:name": {}, "f:weight": {}}},
        }})
    );
    let second = widget(
        "w",
        json!({"tags": ["c"], "parts": [{"name": "q", "weight": 2}]}),
    );
    let both = world.apply(&path, "two", "", second).await;
    assert_eq!(both.body["spec"]["tags"], json!(["a", "b", "c"]));
    assert_eq!(both.body["spec"]["parts"].as_array().unwrap().len(), 2);
    // An atomic map is taken as a whole.
    let clash = world
        .apply(
            &path,
            "two",
            "",
            widget("w", json!({"selector": {"y": "2"}})),
        )
        .await;
    assert_eq!(
        clash.body["message"],
        r#"Apply failed with 1 conflict: conflict with "one": .spec.selector"#
    );
    let created = world
        .create(WIDGETS, widget("u", json!({"color": "red"})))
        .await;
    assert_eq!(
        owned(&created, "kubectl", "Update", "").unwrap(),
        json!({"f:spec": {".": {}, "f:color": {}}})
    );
}

#[tokio::test]
async fn one_key_of_a_selector_takes_the_field_and_giving_the_entries_back_helps() {
    // Measured on a real server: an update of one key of a Service's selector takes the whole field;
    // the owner's next apply gets 409; after the entry is removed by a patch it succeeds.
    let world = World::new();
    let path = format!("{SERVICES}/web");
    world.apply(&path, "gitops", "", service("web")).await;
    let pinned = world
        .patch(
            format!("{path}?fieldManager=controller"),
            json!([{"op": "add", "path": "/spec/selector/hash", "value": "abc"}]),
        )
        .await
        .body;
    assert_eq!(
        owned(&pinned, "controller", "Update", "").unwrap(),
        json!({"f:spec": {"f:selector": {}}})
    );
    let gitops = owned(&pinned, "gitops", "Apply", "").unwrap();
    assert!(gitops["f:spec"].get("f:selector").is_none());
    let refused = world.apply(&path, "gitops", "", service("web")).await;
    assert_eq!(
        refused.body["message"],
        r#"Apply failed with 1 conflict: conflict with "controller" using v1: .spec.selector"#
    );
    let index = pinned["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .position(|entry| entry["manager"] == "controller")
        .unwrap();
    let cleaned = world
        .patch(
            format!("{path}?fieldManager=controller"),
            json!([
                {"op": "test", "path": format!("/metadata/managedFields/{index}/manager"), "value": "controller"},
                {"op": "remove", "path": format!("/metadata/managedFields/{index}")},
            ]),
        )
        .await
        .body;
    assert!(owned(&cleaned, "controller", "Update", "").is_none());
    assert_eq!(cleaned["spec"]["selector"]["hash"], "abc");
    let applied = world.apply(&path, "gitops", "", service("web")).await;
    assert_eq!(applied.status, 200, "{}", applied.body);
    assert_eq!(applied.body["spec"]["selector"], json!({"app": "web"}));
}

#[tokio::test]
async fn entries_read_before_can_be_put_back() {
    let world = World::new();
    let path = format!("{SERVICES}/web");
    let before = world.apply(&path, "gitops", "", service("web")).await.body;
    world
        .patch(
            format!("{path}?fieldManager=controller"),
            json!([{"op": "add", "path": "/spec/selector/hash", "value": "abc"}]),
        )
        .await;
    let restored = world
        .patch(
            format!("{path}?fieldManager=controller"),
            json!([{"op": "replace", "path": "/metadata/managedFields", "value": before["metadata"]["managedFields"]}]),
        )
        .await
        .body;
    assert_eq!(
        restored["metadata"]["managedFields"],
        before["metadata"]["managedFields"]
    );
}

#[tokio::test]
async fn an_empty_entry_ends_tracking_until_somebody_applies() {
    let world = World::new();
    let path = format!("{CONFIGMAPS}/a");
    world
        .create(CONFIGMAPS, configmap("a", json!({"x": "1"})))
        .await;
    let cleared = world
        .merge(&path, json!({"metadata": {"managedFields": [{}]}}))
        .await
        .body;
    assert!(
        cleared["metadata"].get("managedFields").is_none(),
        "{cleared}"
    );
    let written = world.merge(&path, json!({"data": {"x": "2"}})).await.body;
    assert!(written["metadata"].get("managedFields").is_none());
    // An empty list does the same.
    world
        .create(CONFIGMAPS, configmap("b", json!({"x": "1"})))
        .await;
    let other = world
        .merge(
            format!("{CONFIGMAPS}/b"),
            json!({"metadata": {"managedFields": []}}),
        )
        .await
        .body;
    assert!(other["metadata"].get("managedFields").is_none(), "{other}");
    let clash = world
        .apply(&path, "one", "", configmap("a", json!({"x": "3"})))
        .await;
    assert_eq!(
        clash.body["message"],
        r#"Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .data.x"#
    );
}

#[tokio::test]
async fn what_an_apply_must_not_say() {
    let world = World::new();
    let path = format!("{CONFIGMAPS}/a");
    let mut map = configmap("a", json!({}));
    let nobody = world
        .call(crossfade_fakeapi::Call::patch(&path, APPLY, map.clone()))
        .await;
    assert_eq!(nobody.status, 422);
    assert_eq!(
        nobody.body["message"],
        r#"PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch"#
    );
    map["metadata"]["managedFields"] = json!([]);
    let entries = world.apply(&path, "one", "", map).await;
    assert_eq!(
        (entries.status, entries.body["message"].as_str()),
        (400, Some("metadata.managedFields must be nil"))
    );
    let forced = world.merge(format!("{path}?force=true"), json!({})).await;
    assert_eq!(
        forced.body["message"],
        r#"PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch"#
    );
    let long = "m".repeat(129);
    let long = world
        .post(
            format!("{CONFIGMAPS}?fieldManager={long}"),
            configmap("a", json!({})),
        )
        .await;
    assert_eq!(
        long.body["message"],
        r#"CreateOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than 128 bytes"#
    );
}

#[tokio::test]
async fn an_apply_with_an_old_version_is_a_conflict() {
    let world = World::new();
    let path = format!("{CONFIGMAPS}/a");
    let first = world
        .apply(&path, "one", "", configmap("a", json!({"x": "1"})))
        .await
        .body;
    world.merge(&path, json!({"data": {"y": "1"}})).await;
    let mut guarded = configmap("a", json!({"x": "2"}));
    guarded["metadata"]["resourceVersion"] = json!(version(&first));
    let late = world.apply(&path, "one", "", guarded).await;
    assert_eq!(late.status, 409);
    assert!(
        late.body["message"]
            .as_str()
            .unwrap()
            .contains("the object has been modified")
    );
    assert!(
        world
            .api
            .get(&Key::new("configmaps", "default", "a"))
            .unwrap()["data"]["x"]
            == "1"
    );
}

#[tokio::test]
async fn more_than_ten_updaters_become_one() {
    let world = World::new();
    world
        .create(CONFIGMAPS, configmap("a", json!({"a": "b"})))
        .await;
    for index in 0..14 {
        world.later(1);
        let field = format!("k{index}");
        world
            .merge(
                format!("{CONFIGMAPS}/a?fieldManager=m{index}"),
                json!({"data": {field: "1"}}),
            )
            .await;
    }
    let map = world.get(format!("{CONFIGMAPS}/a")).await.body;
    let entries = map["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 10);
    assert_eq!(entries[0]["manager"], "ancient-changes");
    assert!(entries[0]["fieldsV1"]["f:data"].get("f:k0").is_some());
}

#[tokio::test]
async fn who_comes_to_share_a_field_without_changing_it_has_no_time() {
    let world = World::new();
    let path = format!("{CONFIGMAPS}/a");
    let map = || configmap("a", json!({"x": "1"}));
    world.apply(&path, "one", "", map()).await;
    world.later(60);
    let shared = world.apply(&path, "two", "", map()).await.body;
    let entries = shared["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    for entry in entries {
        let time = entry.get("time").and_then(Value::as_str);
        if entry["manager"] == "one" {
            assert_eq!(time, Some("2023-11-14T22:13:20Z"));
        } else {
            assert_eq!(time, None);
        }
    }
}
