//! Reading: lists and their pages, selectors, metadata only, stale reads, other versions, discovery.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong"
)]

mod common;

use bytes::Bytes;
use common::*;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::ServiceExt;

fn names(list: &Value) -> Vec<&str> {
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

async fn with_maps(count: usize) -> World {
    let world = World::new();
    for index in 0..count {
        world
            .create(
                CONFIGMAPS,
                configmap(&format!("m{index}"), json!({"n": index.to_string()})),
            )
            .await;
    }
    world
}

/// A GET through HTTP with an Accept header.
async fn accept(world: &World, path: &str, accept: &str) -> Value {
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
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn lists_are_ordered_and_their_items_carry_no_type() {
    let world = with_maps(3).await;
    let list = world.get(CONFIGMAPS).await.body;
    assert_eq!(list["kind"], "ConfigMapList");
    assert_eq!(list["apiVersion"], "v1");
    assert_eq!(
        list["metadata"]["resourceVersion"],
        world.api.revision().to_string()
    );
    assert_eq!(names(&list), ["m0", "m1", "m2"]);
    assert!(list["items"][0].get("kind").is_none());
    // Custom kinds keep it.
    world.define_widgets().await;
    world.create(WIDGETS, widget("w", json!({}))).await;
    assert_eq!(world.get(WIDGETS).await.body["items"][0]["kind"], "Widget");
    // By HTTP it is the same, byte for byte of every item.
    assert_eq!(
        accept(&world, CONFIGMAPS, "application/json").await,
        world.get(CONFIGMAPS).await.body
    );
}

#[tokio::test]
async fn pages_show_one_snapshot() {
    let world = with_maps(5).await;
    let first = world.get(format!("{CONFIGMAPS}?limit=2")).await.body;
    assert_eq!(names(&first), ["m0", "m1"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    // What happens in between does not show.
    world.delete(format!("{CONFIGMAPS}/m3"), json!({})).await;
    world.create(CONFIGMAPS, configmap("m2a", json!({}))).await;
    world
        .merge(
            format!("{CONFIGMAPS}/m4"),
            json!({"data": {"n": "changed"}}),
        )
        .await;
    let rest = world
        .get(format!("{CONFIGMAPS}?limit=9&continue={token}"))
        .await
        .body;
    assert_eq!(names(&rest), ["m2", "m3", "m4"]);
    assert_eq!(rest["items"][2]["data"]["n"], "4");
    assert_eq!(
        rest["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    assert!(rest["metadata"].get("continue").is_none());
    world.api.compact();
    let late = world
        .get(format!("{CONFIGMAPS}?limit=9&continue={token}"))
        .await;
    assert_eq!((late.status, late.reason()), (410, "Expired"));
}

#[tokio::test]
async fn selectors_of_labels_and_fields() {
    let world = World::new();
    world.create(PODS, pod("a", Some("node-1"))).await;
    world.create(PODS, pod("b", None)).await;
    let listed = |query: &'static str| {
        let world = &world;
        async move { world.get(format!("{PODS}?{query}")).await }
    };
    assert_eq!(
        names(&listed("fieldSelector=spec.nodeName%3Dnode-1").await.body),
        ["a"]
    );
    assert_eq!(
        names(&listed("fieldSelector=spec.nodeName%3D").await.body),
        ["b"]
    );
    assert_eq!(
        names(&listed("fieldSelector=metadata.name%3Db").await.body),
        ["b"]
    );
    assert_eq!(
        names(&listed("fieldSelector=status.phase%21%3DPending").await.body),
        Vec::<&str>::new()
    );
    assert_eq!(
        names(&listed("labelSelector=app+in+%28web%29").await.body),
        ["a", "b"]
    );
    let unknown = listed("fieldSelector=spec.color%3Dred").await;
    assert_eq!(unknown.status, 400);
    assert_eq!(
        unknown.body["message"],
        "field label not supported: spec.color"
    );
}

#[tokio::test]
async fn metadata_alone_by_accept() {
    let world = World::new();
    let web = world.create(DEPLOYMENTS, deployment("web")).await;
    let kind = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let one = accept(&world, &format!("{DEPLOYMENTS}/web"), kind).await;
    assert_eq!(one["kind"], "PartialObjectMetadata");
    assert_eq!(one["apiVersion"], "meta.k8s.io/v1");
    assert_eq!(one["metadata"], web["metadata"]);
    assert!(one.get("spec").is_none());
    let list = accept(
        &world,
        DEPLOYMENTS,
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    )
    .await;
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn stale_reads_are_for_version_zero_only() {
    let world = with_maps(1).await;
    let then = world.api.revision();
    world
        .merge(format!("{CONFIGMAPS}/m0"), json!({"data": {"n": "new"}}))
        .await;
    world.create(CONFIGMAPS, configmap("m1", json!({}))).await;
    world.api.stale_reads("configmaps", Some(then));
    let old = world
        .get(format!("{CONFIGMAPS}?resourceVersion=0"))
        .await
        .body;
    assert_eq!(names(&old), ["m0"]);
    assert_eq!(old["items"][0]["data"]["n"], "0");
    assert_eq!(old["metadata"]["resourceVersion"], then.to_string());
    assert_eq!(
        world
            .get(format!("{CONFIGMAPS}/m0?resourceVersion=0"))
            .await
            .body["data"]["n"],
        "0"
    );
    assert_eq!(names(&world.get(CONFIGMAPS).await.body), ["m0", "m1"]);
    world.api.stale_reads("configmaps", None);
    assert_eq!(
        names(
            &world
                .get(format!("{CONFIGMAPS}?resourceVersion=0"))
                .await
                .body
        ),
        ["m0", "m1"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_version_from_the_future_is_waited_for_and_then_refused() {
    let world = with_maps(1).await;
    let far = world.api.revision() + 100;
    let before = tokio::time::Instant::now();
    let refused = world
        .get(format!("{CONFIGMAPS}?resourceVersion={far}"))
        .await;
    assert_eq!((refused.status, refused.reason()), (504, "Timeout"));
    assert_eq!(
        refused.body["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );
    assert_eq!(before.elapsed(), std::time::Duration::from_secs(3));
}

#[tokio::test]
async fn exact_lists_show_the_past() {
    let world = with_maps(1).await;
    let then = world.api.revision();
    world.create(CONFIGMAPS, configmap("m1", json!({}))).await;
    let path = format!("{CONFIGMAPS}?resourceVersion={then}&resourceVersionMatch=Exact");
    assert_eq!(names(&world.get(path.as_str()).await.body), ["m0"]);
    world.api.compact();
    assert_eq!(world.get(path.as_str()).await.status, 410);
}

#[tokio::test]
async fn another_version_of_a_custom_kind_differs_in_its_name() {
    let world = World::new();
    let mut definition = widget_definition();
    let mut older = definition["spec"]["versions"][0].clone();
    older["name"] = json!("v1beta1");
    older["storage"] = json!(false);
    definition["spec"]["versions"]
        .as_array_mut()
        .unwrap()
        .push(older);
    world
        .create(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            definition,
        )
        .await;
    world
        .create(WIDGETS, widget("w", json!({"color": "red"})))
        .await;
    let beta = "/apis/example.com/v1beta1/namespaces/default/widgets";
    let read = world.get(format!("{beta}/w")).await.body;
    assert_eq!(read["apiVersion"], "example.com/v1beta1");
    assert_eq!(read["spec"]["color"], "red");
    let mut written = read.clone();
    written["spec"]["color"] = json!("blue");
    let put = world.put(format!("{beta}/w"), written).await;
    assert_eq!(put.status, 200, "{}", put.body);
    assert_eq!(put.body["apiVersion"], "example.com/v1beta1");
    assert_eq!(
        world.get(format!("{WIDGETS}/w")).await.body["apiVersion"],
        "example.com/v1"
    );
}

#[tokio::test]
async fn discovery_knows_kinds_their_endpoints_and_definitions() {
    let world = World::new();
    let apps = world.get("/apis/apps/v1").await.body;
    let named: Vec<&str> = apps["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| resource["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        named,
        [
            "controllerrevisions",
            "deployments",
            "deployments/status",
            "deployments/scale",
            "replicasets",
            "replicasets/status",
            "replicasets/scale"
        ]
    );
    assert_eq!(world.get("/apis/example.com/v1").await.status, 404);
    world.define_widgets().await;
    let widgets = world.get("/apis/example.com/v1").await.body;
    assert_eq!(widgets["resources"][0]["kind"], "Widget");
    let groups = world.get("/apis").await.body;
    assert!(groups["groups"].as_array().unwrap().iter().any(|group| {
        group["name"] == "example.com" && group["preferredVersion"]["version"] == "v1"
    }));
    assert_eq!(world.get("/version").await.body["minor"], "34");
    assert_eq!(world.get("/readyz").await.body, "ok");
    let aggregated = accept(
        &world,
        "/apis",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    )
    .await;
    assert_eq!(aggregated["kind"], "APIGroupDiscoveryList");
    // The kind goes with its definition, and its objects with it.
    world.create(WIDGETS, widget("w", json!({}))).await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";
    assert_eq!(world.delete(path, json!({})).await.status, 200);
    assert_eq!(world.get(WIDGETS).await.status, 404);
    assert!(world.api.list("widgets", None).is_empty());
}

#[tokio::test]
async fn who_am_i() {
    let world = World::new();
    let review = world
        .post(
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}),
        )
        .await;
    assert_eq!(review.status, 201);
    assert_eq!(review.body["status"]["userInfo"]["username"], "admin");
}

#[tokio::test]
async fn a_large_list_is_read_in_pages_without_loss() {
    let world = World::new();
    for index in 0..5000 {
        let key = crossfade_fakeapi::Key::new("configmaps", "default", format!("m{index:04}"));
        world
            .api
            .put_raw(&key, configmap(&key.name, json!({"a": "b"})));
    }
    let mut seen = 0;
    let mut token = String::new();
    loop {
        let page = world
            .get(format!("{CONFIGMAPS}?limit=500&continue={token}"))
            .await
            .body;
        seen += page["items"].as_array().unwrap().len();
        match page["metadata"]["continue"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, 5000);
}
