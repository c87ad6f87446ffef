//! Watching: what comes, in which order, when a watch ends, and what cannot be shown any more.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong"
)]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::*;
use crossfade_fakeapi::Body;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::ServiceExt;

struct Watch {
    body: Body,
}

impl Watch {
    async fn open(world: &World, path: &str) -> (u16, Self) {
        Self::open_as(world, path, "application/json").await
    }

    async fn open_as(world: &World, path: &str, accept: &str) -> (u16, Self) {
        let request = http::Request::get(path)
            .header("accept", accept)
            .body(Full::new(Bytes::new()))
            .unwrap();
        let answer = world
            .api
            .service(world.caller.clone())
            .oneshot(request)
            .await
            .unwrap();
        let status = answer.status().as_u16();
        (
            status,
            Self {
                body: answer.into_body(),
            },
        )
    }

    /// The next event, nothing at the end.
    async fn next(&mut self) -> Option<Value> {
        let frame = self.body.frame().await?.unwrap();
        Some(serde_json::from_slice(frame.data_ref().unwrap()).unwrap())
    }

    /// Type and name of the next event.
    async fn short(&mut self) -> String {
        match self.next().await {
            Some(event) => format!(
                "{} {}",
                event["type"].as_str().unwrap(),
                event["object"]["metadata"]["name"].as_str().unwrap_or("-")
            ),
            None => "END".to_owned(),
        }
    }

    /// Nothing comes for this long.
    async fn is_quiet(&mut self, seconds: u64) -> bool {
        tokio::time::timeout(Duration::from_secs(seconds), self.next())
            .await
            .is_err()
    }
}

fn watch_from(revision: u64, more: &str) -> String {
    format!("{CONFIGMAPS}?watch=true&resourceVersion={revision}{more}")
}

#[tokio::test(start_paused = true)]
async fn events_come_in_order_from_a_version() {
    let world = World::new();
    world
        .create(CONFIGMAPS, configmap("before", json!({})))
        .await;
    let revision = world.api.revision();
    world.create(CONFIGMAPS, configmap("a", json!({}))).await;
    let (status, mut watch) = Watch::open(&world, &watch_from(revision, "")).await;
    assert_eq!(status, 200);
    world
        .merge(format!("{CONFIGMAPS}/a"), json!({"data": {"x": "1"}}))
        .await;
    world.delete(format!("{CONFIGMAPS}/a"), json!({})).await;
    // Other kinds and namespaces do not show.
    world.create(DEPLOYMENTS, deployment("web")).await;
    world
        .create(
            "/api/v1/namespaces/kube-system/configmaps",
            configmap("c", json!({})),
        )
        .await;
    assert_eq!(watch.short().await, "ADDED a");
    let modified = watch.next().await.unwrap();
    assert_eq!(modified["type"], "MODIFIED");
    assert_eq!(modified["object"]["kind"], "ConfigMap");
    let deleted = watch.next().await.unwrap();
    assert_eq!(deleted["type"], "DELETED");
    // The last state, with the version of the deletion.
    assert_eq!(deleted["object"]["data"], json!({"x": "1"}));
    let version = |event: &Value| version(&event["object"]).parse::<u64>().unwrap();
    assert_eq!(version(&deleted), version(&modified) + 1);
    assert!(watch.is_quiet(10).await);
}

#[tokio::test(start_paused = true)]
async fn without_a_version_what_is_there_comes_first() {
    let world = World::new();
    world.create(CONFIGMAPS, configmap("a", json!({}))).await;
    for path in [
        format!("{CONFIGMAPS}?watch=true"),
        format!("{CONFIGMAPS}?watch=true&resourceVersion=0"),
    ] {
        let (_, mut watch) = Watch::open(&world, &path).await;
        assert_eq!(watch.short().await, "ADDED a");
        assert!(watch.is_quiet(1).await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_leaves_the_selection_is_deleted_for_the_watch() {
    let world = World::new();
    let revision = world.api.revision();
    let (_, mut watch) =
        Watch::open(&world, &watch_from(revision, "&labelSelector=on%3Dyes")).await;
    let labelled = |value: Value| json!({"metadata": {"labels": {"on": value}}});
    world.create(CONFIGMAPS, configmap("a", json!({}))).await;
    let path = format!("{CONFIGMAPS}/a");
    world.merge(&path, labelled(json!("yes"))).await;
    world.merge(&path, json!({"data": {"x": "1"}})).await;
    world.merge(&path, labelled(json!("no"))).await;
    world.merge(&path, json!({"data": {"x": "2"}})).await;
    world.merge(&path, labelled(json!("yes"))).await;
    assert_eq!(watch.short().await, "ADDED a");
    assert_eq!(watch.short().await, "MODIFIED a");
    let left = watch.next().await.unwrap();
    assert_eq!(left["type"], "DELETED");
    // As it last matched.
    assert_eq!(left["object"]["metadata"]["labels"]["on"], "yes");
    assert_eq!(watch.short().await, "ADDED a");
}

#[tokio::test(start_paused = true)]
async fn one_object_is_watched_by_its_name() {
    let world = World::new();
    let revision = world.api.revision();
    let (_, mut watch) = Watch::open(
        &world,
        &watch_from(revision, "&fieldSelector=metadata.name%3Db"),
    )
    .await;
    world.create(CONFIGMAPS, configmap("a", json!({}))).await;
    world.create(CONFIGMAPS, configmap("b", json!({}))).await;
    assert_eq!(watch.short().await, "ADDED b");
    assert!(watch.is_quiet(1).await);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_tell_how_far_the_watch_has_come() {
    let world = World::new();
    let (_, mut watch) = Watch::open(
        &world,
        &watch_from(
            world.api.revision(),
            "&allowWatchBookmarks=true&timeoutSeconds=100",
        ),
    )
    .await;
    let start = Instant::now();
    world.create(DEPLOYMENTS, deployment("web")).await;
    let first = watch.next().await.unwrap();
    assert_eq!(first["type"], "BOOKMARK");
    assert_eq!(start.elapsed().as_secs(), 60);
    assert_eq!(version(&first["object"]), world.api.revision().to_string());
    assert_eq!(first["object"]["kind"], "ConfigMap");
    // Once more before the end.
    assert_eq!(watch.short().await, "BOOKMARK -");
    assert_eq!(start.elapsed().as_secs(), 98);
    assert_eq!(watch.short().await, "END");
    assert_eq!(start.elapsed().as_secs(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_ends_with_its_bookmark() {
    let world = World::new();
    world.create(CONFIGMAPS, configmap("a", json!({}))).await;
    world.create(CONFIGMAPS, configmap("b", json!({}))).await;
    let path = format!(
        "{CONFIGMAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let (_, mut watch) = Watch::open(&world, &path).await;
    assert_eq!(watch.short().await, "ADDED a");
    assert_eq!(watch.short().await, "ADDED b");
    let end = watch.next().await.unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(
        end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    let wrong = Watch::open(
        &world,
        &format!("{CONFIGMAPS}?watch=true&sendInitialEvents=true"),
    )
    .await;
    assert_eq!(wrong.0, 422);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_version_is_gone() {
    let world = World::new();
    let revision = world.api.revision();
    world.create(CONFIGMAPS, configmap("a", json!({}))).await;
    world.api.compact();
    let (status, mut watch) = Watch::open(&world, &watch_from(revision, "")).await;
    assert_eq!(status, 200);
    let error = watch.next().await.unwrap();
    assert_eq!(error["type"], "ERROR");
    assert_eq!(error["object"]["code"], 410);
    assert_eq!(error["object"]["reason"], "Expired");
    assert!(
        error["object"]["message"]
            .as_str()
            .unwrap()
            .starts_with("too old resource version: ")
    );
    assert_eq!(watch.next().await, None);
    world.api.refuse_old_watches(true);
    let (status, mut watch) = Watch::open(&world, &watch_from(revision, "")).await;
    assert_eq!(status, 410);
    assert_eq!(watch.next().await.unwrap()["reason"], "Expired");
}

#[tokio::test(start_paused = true)]
async fn a_short_history_forgets_by_itself() {
    let world = World::with_history(3);
    let revision = world.api.revision();
    for name in ["a", "b", "c", "d"] {
        world.create(CONFIGMAPS, configmap(name, json!({}))).await;
    }
    let (_, mut watch) = Watch::open(&world, &watch_from(revision, "")).await;
    assert_eq!(watch.next().await.unwrap()["type"], "ERROR");
    let (_, mut watch) = Watch::open(&world, &watch_from(revision + 1, "")).await;
    assert_eq!(watch.short().await, "ADDED b");
}

#[tokio::test(start_paused = true)]
async fn an_open_watch_outlives_compaction() {
    let world = World::new();
    let (_, mut watch) = Watch::open(&world, &watch_from(world.api.revision(), "")).await;
    assert!(watch.is_quiet(1).await);
    world.api.compact();
    assert!(watch.is_quiet(1).await);
    world.create(CONFIGMAPS, configmap("a", json!({}))).await;
    assert_eq!(watch.short().await, "ADDED a");
}

#[tokio::test(start_paused = true)]
async fn cut_watches_end_and_others_stay() {
    let world = World::new();
    world.create(DEPLOYMENTS, deployment("web")).await;
    world.create(CONFIGMAPS, configmap("a", json!({}))).await;
    let (_, mut maps) = Watch::open(&world, &format!("{CONFIGMAPS}?watch=true")).await;
    let (_, mut deployments) = Watch::open(&world, &format!("{DEPLOYMENTS}?watch=true")).await;
    assert_eq!(maps.short().await, "ADDED a");
    assert_eq!(deployments.short().await, "ADDED web");
    world.api.cut_watches(Some("configmaps"));
    assert_eq!(maps.short().await, "END");
    assert!(deployments.is_quiet(1).await);
    world.api.cut_watches(None);
    assert_eq!(deployments.short().await, "END");
}

#[tokio::test(start_paused = true)]
async fn held_events_come_late_and_in_order() {
    let world = World::new();
    let start = Instant::now();
    let (_, mut watch) = Watch::open(
        &world,
        &watch_from(world.api.revision(), "&allowWatchBookmarks=true"),
    )
    .await;
    world
        .api
        .hold_watches("configmaps", start + Duration::from_secs(90));
    let before = world.api.revision();
    world.create(CONFIGMAPS, configmap("a", json!({}))).await;
    world.create(CONFIGMAPS, configmap("b", json!({}))).await;
    // A bookmark in between does not skip what is held.
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(version(&bookmark["object"]), before.to_string());
    assert_eq!(watch.short().await, "ADDED a");
    assert_eq!(start.elapsed().as_secs(), 90);
    assert_eq!(watch.short().await, "ADDED b");
}

#[tokio::test(start_paused = true)]
async fn what_was_held_may_be_forgotten_meanwhile() {
    let world = World::new();
    let (_, mut watch) = Watch::open(&world, &watch_from(world.api.revision(), "")).await;
    world
        .api
        .hold_watches("configmaps", Instant::now() + Duration::from_secs(5));
    world.create(CONFIGMAPS, configmap("a", json!({}))).await;
    world.api.compact();
    let error = watch.next().await.unwrap();
    assert_eq!(
        (error["type"].as_str(), error["object"]["code"].as_u64()),
        (Some("ERROR"), Some(410))
    );
    assert_eq!(watch.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn metadata_alone_is_watched_by_accept() {
    let world = World::new();
    world.create(DEPLOYMENTS, deployment("web")).await;
    let (_, mut watch) = Watch::open_as(
        &world,
        &format!("{DEPLOYMENTS}?watch=true"),
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    )
    .await;
    let added = watch.next().await.unwrap();
    assert_eq!(added["object"]["kind"], "PartialObjectMetadata");
    assert!(added["object"].get("spec").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_pod_deleted_by_force_is_seen_without_grace_before_it_goes() {
    let world = World::new();
    world.create(PODS, pod("a", Some("node-1"))).await;
    let revision = world.api.revision();
    world
        .delete(format!("{PODS}/a"), json!({"gracePeriodSeconds": 0}))
        .await;
    let path = format!("{PODS}?watch=true&resourceVersion={revision}");
    let (_, mut watch) = Watch::open(&world, &path).await;
    let marked = watch.next().await.unwrap();
    assert_eq!(marked["type"], "MODIFIED");
    assert_eq!(
        marked["object"]["metadata"]["deletionGracePeriodSeconds"],
        0
    );
    let gone = watch.next().await.unwrap();
    assert_eq!(gone["type"], "DELETED");
    assert_eq!(
        version(&gone["object"]).parse::<u64>().unwrap(),
        revision + 2
    );
}

#[tokio::test(start_paused = true)]
async fn watches_of_a_kind_end_with_its_definition() {
    let world = World::new();
    world.define_widgets().await;
    world.create(WIDGETS, widget("w", json!({}))).await;
    let (_, mut watch) = Watch::open(&world, &format!("{WIDGETS}?watch=true")).await;
    assert_eq!(watch.short().await, "ADDED w");
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";
    world.delete(path, json!({})).await;
    assert_eq!(watch.short().await, "END");
}
