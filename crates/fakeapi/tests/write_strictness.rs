//! What a real kube-apiserver 1.34 turned out to be stricter, or laxer, about than one would think.
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

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

fn message(reply: &Reply) -> &str {
    reply.body["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_body_of_a_deletion_makes_its_query_count_for_nothing() {
    let world = World::new();
    let path = format!("{CONFIGMAPS}/a");
    let query = format!("{path}?dryRun=All");
    world.create(CONFIGMAPS, configmap("a", json!({}))).await;
    let dry = json!({"dryRun": ["All"]});
    assert_eq!(world.delete(&path, dry).await.status, 200);
    assert_eq!(world.get(&path).await.status, 200);
    assert_eq!(world.delete(query, json!({})).await.status, 200);
    assert_eq!(world.get(&path).await.status, 404);
}

#[tokio::test]
async fn the_name_of_an_object_being_deleted_is_taken_still() {
    let world = World::new();
    let mut held = configmap("a", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.create(CONFIGMAPS, held).await;
    world
        .delete(
            format!("{CONFIGMAPS}/a"),
            json!({"kind": "DeleteOptions", "apiVersion": "v1"}),
        )
        .await;
    let again = world.post(CONFIGMAPS, configmap("a", json!({}))).await;
    assert_eq!((again.status, again.reason()), (409, "AlreadyExists"));
    assert_eq!(
        message(&again),
        r#"object is being deleted: configmaps "a" already exists"#
    );
}

#[tokio::test]
async fn a_put_creates_services_but_no_configmaps() {
    let world = World::new();
    let service = world.put(format!("{SERVICES}/web"), service("web")).await;
    assert_eq!(service.status, 201, "{}", service.body);
    let map = world
        .put(format!("{CONFIGMAPS}/a"), configmap("a", json!({})))
        .await;
    assert_eq!(map.status, 404);
}

#[tokio::test]
async fn what_is_not_of_its_type_is_refused() {
    let world = World::new();
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"x": "!"},
    });
    let reply = world.post(SECRETS, secret).await;
    assert_eq!(reply.status, 400);
    assert_eq!(
        message(&reply),
        "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 0"
    );
    let reply = world
        .post(CONFIGMAPS, configmap("a", json!({"x": 1})))
        .await;
    assert_eq!(reply.status, 400);
    assert!(
        message(&reply).contains("cannot unmarshal number"),
        "{}",
        reply.body
    );
    let mut many = deployment("web");
    many["spec"]["replicas"] = json!("two");
    assert_eq!(world.post(DEPLOYMENTS, many).await.status, 400);
}

#[tokio::test]
async fn an_empty_list_of_entries_resets_them() {
    let world = World::new();
    let stored = world
        .create(CONFIGMAPS, configmap("a", json!({"x": "1"})))
        .await;
    assert!(stored["metadata"]["managedFields"].is_array());
    let mut sent = stored;
    sent["metadata"]["managedFields"] = json!([]);
    let reply = world.put(format!("{CONFIGMAPS}/a"), sent).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.body["metadata"].get("managedFields"), None);
}

#[tokio::test]
async fn unknown_fields_are_refused_only_when_asked() {
    let world = World::new();
    let mut web = deployment("web");
    web["spec"]["sice"] = json!(1);
    let strict = world
        .post(format!("{DEPLOYMENTS}?fieldValidation=Strict"), web.clone())
        .await;
    assert_eq!(strict.status, 400);
    assert!(
        message(&strict).ends_with("strict decoding error: unknown field \"spec.sice\""),
        "{}",
        strict.body
    );
    let warned = world.post(DEPLOYMENTS, web).await;
    assert_eq!(warned.status, 201);
    assert_eq!(warned.body["spec"].get("sice"), None);
}

#[tokio::test]
async fn a_json_patch_replaces_what_is_not_there() {
    let world = World::new();
    world
        .create(CONFIGMAPS, configmap("a", json!({"x": "1"})))
        .await;
    let replace =
        |path: &str, value: Value| json!([{"op": "replace", "path": path, "value": value}]);
    let path = format!("{CONFIGMAPS}/a");
    let reply = world.patch(&path, replace("/data/y", json!("2"))).await;
    assert_eq!(reply.body["data"], json!({"x": "1", "y": "2"}));
    // What holds it has to be there, though.
    let reply = world.patch(&path, replace("/none/y", json!("2"))).await;
    assert_eq!(reply.status, 422);
}

#[tokio::test]
async fn lists_of_custom_kinds_end_with_an_empty_token() {
    let world = World::new();
    world.define_widgets().await;
    let widgets = world.get(WIDGETS).await.body;
    assert_eq!(widgets["metadata"]["continue"], "");
    let maps = world.get(CONFIGMAPS).await.body;
    assert_eq!(maps["metadata"].get("continue"), None);
}

#[tokio::test]
async fn a_put_of_another_uid_is_a_failed_precondition() {
    let world = World::new();
    let mut stored = world.create(CONFIGMAPS, configmap("a", json!({}))).await;
    stored["metadata"]["uid"] = json!("0e0e0e0e-0000-4000-8000-000000000000");
    // Before the version is looked at.
    stored["metadata"]["resourceVersion"] = json!("1");
    let reply = world.put(format!("{CONFIGMAPS}/a"), stored).await;
    assert_eq!((reply.status, reply.reason()), (409, "Conflict"));
    assert!(
        message(&reply).contains("Precondition failed: UID in precondition"),
        "{}",
        reply.body
    );
}

#[tokio::test]
async fn events_say_when_who_and_why() {
    let world = World::new();
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "eventTime": "2001-01-01T00:00:00.000000Z", "reportingController": "example.com/c",
        "reportingInstance": "c-1", "action": "Act", "reason": "Because", "type": "Normal",
        "regarding": {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "namespace": "default"},
    });
    let mut mute = event.clone();
    mute["action"] = json!("");
    let reply = world.post(EVENTS, mute).await;
    assert_eq!(reply.status, 422);
    assert_eq!(reply.body["details"]["causes"][0]["field"], "action");
    world.create(EVENTS, event).await;
    let changed = world
        .merge(format!("{EVENTS}/e"), json!({"reason": "Other"}))
        .await;
    assert_eq!(changed.status, 422, "{}", changed.body);
}

#[tokio::test]
async fn an_applied_configuration_states_its_type_and_may_leave_out_a_known_name() {
    let world = World::new();
    let path = format!("{CONFIGMAPS}/a");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": "1"}});
    let unnamed = world.apply(&path, "one", "", map.clone()).await;
    assert_eq!(unnamed.status, 400);
    assert_eq!(
        message(&unnamed),
        "the name of the object (a based on URL) was undeterminable: name must be provided"
    );
    world.create(CONFIGMAPS, configmap("a", json!({}))).await;
    assert_eq!(world.apply(&path, "one", "", map.clone()).await.status, 200);
    for (api_version, kind, shown) in [
        ("wrong/v1", "ConfigMap", "wrong/v1, Kind=ConfigMap"),
        ("v1", "Wrong", "/v1, Kind=Wrong"),
        ("", "", "/, Kind="),
    ] {
        let mut other = map.clone();
        other["apiVersion"] = json!(api_version);
        other["kind"] = json!(kind);
        let reply = world.apply(&path, "one", "", other).await;
        assert_eq!(reply.status, 400);
        assert_eq!(message(&reply), format!("invalid object type: {shown}"));
    }
}
