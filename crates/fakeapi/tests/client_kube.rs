//! A real `kube` client and its runtime's watcher against the fake API: list, watch, bookmarks, lost
//! history, streaming lists, metadata only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong"
)]

mod common;

use std::time::Duration;

use common::*;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use serde_json::json;

fn client(world: &World) -> Client {
    Client::new(world.api.service(world.caller.clone()), "default")
}

fn map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

/// What an event is, in a word.
fn short<K: ResourceExt>(event: &Event<K>) -> String {
    match event {
        Event::Init => "init".to_owned(),
        Event::InitApply(object) => format!("init {}", object.name_any()),
        Event::InitDone => "init done".to_owned(),
        Event::Apply(object) => format!("apply {}", object.name_any()),
        Event::Delete(object) => format!("delete {}", object.name_any()),
    }
}

#[tokio::test(start_paused = true)]
async fn requests_of_a_typed_client() {
    let world = World::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&world));
    let created = maps
        .create(&PostParams::default(), &map("a"))
        .await
        .unwrap();
    assert_eq!(created.uid().unwrap().len(), 36);
    let patched = maps
        .patch(
            "a",
            &PatchParams::default(),
            &Patch::Merge(json!({"data": {"x": "1"}})),
        )
        .await
        .unwrap();
    assert_eq!(patched.data.unwrap()["x"], "1");
    let applied = maps
        .patch(
            "b",
            &PatchParams::apply("me"),
            &Patch::Apply(json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"y": "2"},
            })),
        )
        .await
        .unwrap();
    assert_eq!(applied.name_any(), "b");
    let list = maps.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), 2);
    assert!(maps.get_opt("none").await.unwrap().is_none());
    let error = maps
        .create(&PostParams::default(), &map("a"))
        .await
        .unwrap_err();
    let kube::Error::Api(status) = error else {
        panic!("{error}");
    };
    assert!(status.is_already_exists());
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
    let metadata = maps.get_metadata("b").await.unwrap();
    assert_eq!(metadata.name_any(), "b");
}

#[tokio::test(start_paused = true)]
async fn the_watcher_lists_watches_and_lists_again_when_history_is_lost() {
    let world = World::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&world));
    maps.create(&PostParams::default(), &map("a"))
        .await
        .unwrap();
    let mut events = Box::pin(watcher::watcher(
        maps.clone(),
        watcher::Config::default().timeout(120),
    ));
    for expected in ["init", "init a", "init done"] {
        assert_eq!(short(&events.try_next().await.unwrap().unwrap()), expected);
    }
    maps.create(&PostParams::default(), &map("b"))
        .await
        .unwrap();
    assert_eq!(short(&events.try_next().await.unwrap().unwrap()), "apply b");
    // Over several timeouts nothing comes, and nothing is lost: bookmarks keep the version new.
    assert!(
        tokio::time::timeout(Duration::from_secs(1000), events.next())
            .await
            .is_err()
    );
    world.api.compact();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(
        short(&events.try_next().await.unwrap().unwrap()),
        "delete a"
    );
    // Cut off, and when the watch comes back its past is gone: an error, then a new list.
    world.api.hold_watches(
        "configmaps",
        tokio::time::Instant::now() + Duration::from_secs(30),
    );
    maps.create(&PostParams::default(), &map("c"))
        .await
        .unwrap();
    world.api.compact();
    let mut seen = Vec::new();
    while seen.last().map(String::as_str) != Some("init done") {
        seen.push(match events.next().await.unwrap() {
            Ok(event) => short(&event),
            Err(error) => {
                assert!(
                    error.to_string().contains("410") || format!("{error:?}").contains("410"),
                    "{error:?}"
                );
                "error 410".to_owned()
            }
        });
    }
    assert_eq!(seen, ["error 410", "init", "init b", "init c", "init done"]);
}

#[tokio::test(start_paused = true)]
async fn the_watcher_comes_back_after_a_cut_but_not_after_an_http_410() {
    let world = World::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&world));
    maps.create(&PostParams::default(), &map("a"))
        .await
        .unwrap();
    let mut events = Box::pin(watcher::watcher(maps.clone(), watcher::Config::default()));
    for expected in ["init", "init a", "init done"] {
        assert_eq!(short(&events.try_next().await.unwrap().unwrap()), expected);
    }
    let quiet = tokio::time::timeout(Duration::from_secs(5), events.next()).await;
    assert!(quiet.is_err());
    // Cut while something happens: it is seen afterwards.
    world.api.cut_watches(None);
    maps.create(&PostParams::default(), &map("b"))
        .await
        .unwrap();
    assert_eq!(short(&events.try_next().await.unwrap().unwrap()), "apply b");
    // Cut while something happens and is forgotten. kube 5 lists again for an ERROR event only: as
    // long as the refusal is an HTTP status it asks for the same version again and again.
    world.api.refuse_old_watches(true);
    world.api.cut_watches(None);
    maps.create(&PostParams::default(), &map("c"))
        .await
        .unwrap();
    world.api.compact();
    for _ in 0..3 {
        let error = events.next().await.unwrap().unwrap_err();
        assert!(
            matches!(error, watcher::Error::WatchStartFailed(_)),
            "{error:?}"
        );
    }
    world.api.refuse_old_watches(false);
    let error = events.next().await.unwrap().unwrap_err();
    assert!(matches!(error, watcher::Error::WatchError(_)), "{error:?}");
    for expected in ["init", "init a", "init b", "init c", "init done"] {
        assert_eq!(short(&events.try_next().await.unwrap().unwrap()), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn streaming_lists_and_metadata() {
    let world = World::new();
    world.create(DEPLOYMENTS, deployment("web")).await;
    let api: Api<PartialObjectMeta<Deployment>> = Api::default_namespaced(client(&world));
    let mut events = Box::pin(watcher::watcher(
        api,
        watcher::Config::default().streaming_lists(),
    ));
    for expected in ["init", "init web", "init done"] {
        assert_eq!(short(&events.try_next().await.unwrap().unwrap()), expected);
    }
    world
        .merge(
            format!("{DEPLOYMENTS}/web"),
            json!({"metadata": {"labels": {"x": "y"}}}),
        )
        .await;
    let Event::Apply(web) = events.try_next().await.unwrap().unwrap() else {
        panic!("an apply was expected");
    };
    assert_eq!(web.labels()["x"], "y");
}

#[tokio::test(start_paused = true)]
async fn pages_of_the_watcher_and_discovery() {
    let world = World::new();
    for index in 0..7 {
        world
            .create(CONFIGMAPS, configmap(&format!("m{index}"), json!({})))
            .await;
    }
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&world));
    let events = watcher::watcher(maps, watcher::Config::default().page_size(3));
    let names: Vec<String> = events
        .take(9)
        .map(|event| short(&event.unwrap()))
        .collect()
        .await;
    assert_eq!(names[1], "init m0");
    assert_eq!(names[7], "init m6");
    assert_eq!(names[8], "init done");
    let version = client(&world).apiserver_version().await.unwrap();
    assert_eq!(version.minor, "34");
    let groups = client(&world).list_api_groups().await.unwrap();
    assert!(groups.groups.iter().any(|group| group.name == "apps"));
    let core = client(&world).list_core_api_resources("v1").await.unwrap();
    assert!(
        core.resources
            .iter()
            .any(|resource| resource.name == "pods")
    );
}
