//! Who owns what: adoption, release, orphaning, deletion, taken names, and caches that lag behind all
//! of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects"
)]

mod actors_support;

use std::sync::{Arc, Mutex};

use actors_support::{Lab, REVISION, SPACE};
use crossfade_fakeapi::Change;
use crossfade_simulator::actors::{Deed, Delay, Diary, Person, Propagation};
use serde_json::{Value, json};

fn revision(object: &Value) -> String {
    object["metadata"]["annotations"][REVISION]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test(start_paused = true)]
async fn orphaning_keeps_the_pods_and_deleting_kills_them() {
    for (propagation, left) in [("Orphan", 2), ("Background", 0), ("Foreground", 0)] {
        let mut lab = Lab::new(1).await;
        lab.deploy("web", 2, "app:1", json!({})).await;
        lab.until_complete("web").await;
        lab.delete("deployments", "web", propagation).await;
        lab.until("gone", |lab| !lab.exists("deployments", "web"))
            .await;
        lab.seconds(120).await;
        assert_eq!(lab.pods("app:1").len(), left, "{propagation}");
        assert_eq!(
            lab.api.list("replicasets", Some(SPACE)).len(),
            usize::from(left > 0)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn orphaning_hands_over_every_replica_set_with_its_number() {
    let mut lab = Lab::new(1).await;
    lab.deploy("web", 2, "app:1", json!({})).await;
    lab.until_complete("web").await;
    lab.gate("web", "app:3").await;
    lab.deploy("web-canary", 2, "app:2", json!({})).await;
    lab.until_complete("web-canary").await;
    lab.image("web-canary", "app:3").await;
    lab.seconds(30).await;
    lab.delete("deployments", "web-canary", "Orphan").await;
    lab.until("adopted", |lab| lab.sets("web").len() == 3).await;
    lab.seconds(20).await;
    let number = |image: &str| revision(&lab.set("web", image));
    assert_eq!(
        (number("app:1"), number("app:2")),
        ("1".into(), "1".into()),
        "duplicates"
    );
    let new = lab.set("web", "app:3");
    // It was 2 under its own Deployment: the highest old one is 1, so 2 stays.
    assert_eq!(revision(&new), "2");
    assert_eq!(revision(&lab.deployment("web")), "2");
}

#[tokio::test(start_paused = true)]
async fn the_adopted_one_gets_the_next_revision() {
    let mut lab = Lab::new(1).await;
    lab.deploy("web", 2, "app:1", json!({})).await;
    lab.until_complete("web").await;
    lab.gate("web", "app:2").await;
    lab.deploy("web-canary", 2, "app:2", json!({})).await;
    lab.until_complete("web-canary").await;
    lab.delete("deployments", "web-canary", "Orphan").await;
    lab.until("adopted", |lab| lab.sets("web").len() == 2).await;
    lab.seconds(20).await;
    let new = lab.set("web", "app:2");
    assert_eq!(revision(&new), "2");
    assert_eq!(
        new["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"],
        "1"
    );
    assert_eq!(revision(&lab.deployment("web")), "2");
    // Even paused, kubectl rollout status would say success.
    assert!(lab.complete("web"));
}

#[tokio::test(start_paused = true)]
async fn a_taken_name_moves_the_collision_count() {
    let mut lab = Lab::new(1).await;
    lab.deploy("web", 1, "app:1", json!({})).await;
    lab.until_complete("web").await;
    let first = lab.set("web", "app:1");
    lab.delete("deployments", "web", "Orphan").await;
    lab.until("gone", |lab| !lab.exists("deployments", "web"))
        .await;
    // Another one holds the name, of another selector: it is neither adopted nor fits.
    let name = first["metadata"]["name"].as_str().unwrap().to_owned();
    lab.delete("replicasets", &name, "Background").await;
    lab.until("gone", |lab| {
        lab.api.list("replicasets", Some(SPACE)).is_empty()
    })
    .await;
    let mut taken = first.clone();
    taken["metadata"] = json!({"name": name, "namespace": SPACE, "labels": {"app": "other"}});
    taken["spec"]["selector"] = json!({"matchLabels": {"app": "other"}});
    taken["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    taken["spec"]["replicas"] = 0.into();
    taken.as_object_mut().unwrap().remove("status");
    lab.kubectl
        .create("replicasets", SPACE, taken)
        .await
        .unwrap();
    lab.seconds(1).await;
    lab.deploy("web", 1, "app:1", json!({})).await;
    lab.until_complete("web").await;
    assert_eq!(lab.deployment("web")["status"]["collisionCount"], 1);
    assert_ne!(lab.set("web", "app:1")["metadata"]["name"], name);
}

#[tokio::test(start_paused = true)]
async fn labels_decide_what_is_released_and_adopted_again() {
    let mut lab = Lab::new(1).await;
    lab.deploy("web", 2, "app:1", json!({})).await;
    lab.until_complete("web").await;
    lab.pause("web", true).await;
    lab.seconds(2).await;
    let set = lab.set("web", "app:1");
    let name = set["metadata"]["name"].as_str().unwrap().to_owned();
    lab.patch(
        "replicasets",
        &name,
        json!({"metadata": {"labels": {"app": "parked"}}}),
    )
    .await
    .unwrap();
    lab.until("released", |lab| lab.sets("web").is_empty())
        .await;
    lab.until("status 0", |lab| {
        lab.deployment("web")["status"].get("replicas").is_none()
    })
    .await;
    assert_eq!(lab.pods("app:1").len(), 2, "its pods stay");
    lab.patch(
        "replicasets",
        &name,
        json!({"metadata": {"labels": {"app": "web"}}}),
    )
    .await
    .unwrap();
    lab.until("adopted", |lab| lab.sets("web").len() == 1).await;
    // The same for one pod: it is released, and another one takes its place.
    let pods = lab.api.list("pods", Some(SPACE));
    let pod = pods[0]["metadata"]["name"].as_str().unwrap();
    lab.patch(
        "pods",
        pod,
        json!({"metadata": {"labels": {"app": "mine"}}}),
    )
    .await
    .unwrap();
    lab.until("replaced", |lab| lab.pods("app:1").len() == 3)
        .await;
    let released = lab.object("pods", pod);
    let owners = released["metadata"]["ownerReferences"]
        .as_array()
        .map_or(0, Vec::len);
    assert_eq!(owners, 0);
}

#[tokio::test(start_paused = true)]
async fn of_two_that_fit_either_may_adopt() {
    let mut adopters = std::collections::BTreeSet::new();
    for seed in 1..12 {
        let mut lab = Lab::new(seed).await;
        lab.deploy("web", 1, "app:1", json!({})).await;
        lab.deploy("web-canary", 1, "app:2", json!({})).await;
        lab.until_complete("web").await;
        lab.until_complete("web-canary").await;
        let labels = json!({"app": "web", "pod-template-hash": "made"});
        let set = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "made", "labels": labels},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "app:3"}]}}},
        });
        lab.kubectl.create("replicasets", SPACE, set).await.unwrap();
        lab.seconds(5).await;
        let owner = lab.object("replicasets", "made")["metadata"]["ownerReferences"][0]["name"]
            .as_str()
            .unwrap()
            .to_owned();
        adopters.insert(owner);
    }
    assert_eq!(adopters.len(), 2, "{adopters:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_lags_makes_no_pod_twice() {
    let mut lab = Lab::with(3, |settings| settings.sight = Delay::millis(50, 3000)).await;
    let most = Arc::new(Mutex::new(0));
    let (seen, api) = (Arc::clone(&most), lab.api.clone());
    lab.api.observe(Arc::new(move |_: &Change| {
        let mut most = seen.lock().unwrap();
        *most = (*most).max(api.list("pods", Some(SPACE)).len());
    }));
    lab.deploy("web", 6, "app:1", json!({})).await;
    lab.until_complete("web").await;
    lab.seconds(30).await;
    assert_eq!(*most.lock().unwrap(), 6);
    assert_eq!(lab.api.list("replicasets", Some(SPACE)).len(), 1);
    lab.scale("web", 2).await;
    lab.seconds(30).await;
    assert_eq!(lab.pods("app:1").len(), 2, "and deletes none twice");
}

#[tokio::test(start_paused = true)]
async fn a_person_recreates_the_workload_under_its_name() {
    let mut lab = Lab::new(1).await;
    lab.deploy("web", 2, "app:1", json!({})).await;
    lab.until_complete("web").await;
    let before = lab.deployment("web")["metadata"]["uid"].clone();
    let diary = Diary::default();
    for propagation in [Propagation::Background, Propagation::Foreground] {
        let deed = Deed::Recreate {
            resource: "deployments".into(),
            object: actors_support::named("web"),
            propagation,
        };
        let person = Person {
            api: lab.api.clone(),
            client: lab
                .cluster
                .client(crossfade_fakeapi::Caller::new("joe", "kubectl"), "joe"),
            script: vec![(std::time::Duration::from_secs(1), deed)],
            diary: diary.clone(),
            random: lab.cluster.random("joe"),
        };
        lab.running.add(person.run());
        lab.seconds(90).await;
        assert!(lab.complete("web"), "{}", lab.picture());
    }
    assert!(
        diary.read().iter().all(|done| done.refused.is_none()),
        "{:?}",
        diary.read()
    );
    assert_ne!(lab.deployment("web")["metadata"]["uid"], before);
    lab.seconds(120).await;
    assert_eq!(lab.pods("app:1").len(), 2);
    assert_eq!(lab.api.list("replicasets", Some(SPACE)).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_is_going_adopts_nothing_whatever_the_cache_says() {
    for seed in 0..10 {
        let mut lab = Lab::with(seed, |settings| settings.sight = Delay::millis(10, 5000)).await;
        lab.deploy("web", 2, "app:1", json!({})).await;
        lab.until_complete("web").await;
        // Somebody's finalizer keeps it for a while after its dependents have been set free.
        let finalizers = |list: Value| json!({"metadata": {"finalizers": list}});
        let held = finalizers(json!(["example.com/hold"]));
        lab.patch("deployments", "web", held).await.unwrap();
        let before = lab.pods("app:1");
        lab.delete("deployments", "web", "Orphan").await;
        lab.seconds(20).await;
        assert!(lab.exists("deployments", "web"));
        let owned = |lab: &Lab| {
            lab.api.list("replicasets", Some(SPACE))[0]["metadata"]
                .get("ownerReferences")
                .and_then(Value::as_array)
                .is_some_and(|owners| !owners.is_empty())
        };
        assert!(!owned(&lab), "seed {seed}");
        lab.patch("deployments", "web", finalizers(json!([])))
            .await
            .unwrap();
        lab.seconds(60).await;
        assert!(!lab.exists("deployments", "web"));
        assert_eq!(lab.pods("app:1"), before, "seed {seed}");
    }
}
