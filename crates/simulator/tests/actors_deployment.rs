//! Deployments and ReplicaSets outside a hand-over: rolling, scaling, revisions, history, deadlines,
//! deletions, aborts, collisions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects"
)]

mod actors_support;

use std::sync::{Arc, Mutex};

use actors_support::{Lab, REVISION, SPACE, quick};
use crossfade_fakeapi::Change;
use crossfade_simulator::actors::{Deed, Delay, Diary, Fate, Manner, Person, Propagation};
use serde_json::{Value, json};

fn revision(object: &Value) -> String {
    object["metadata"]["annotations"][REVISION]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_rolling_update_keeps_to_surge_and_availability() {
    let mut lab = Lab::new(1).await;
    // Apart in time: the real controller, too, goes below its bound when several pods become ready
    // before the old ReplicaSet's status has caught up.
    lab.cluster.manners.set_default(Manner {
        start: Delay::millis(1000, 60_000),
        ..quick()
    });
    lab.deploy("web", 10, "app:1", json!({})).await;
    lab.until_complete("web").await;
    let bounds: Arc<Mutex<(usize, i64)>> = Arc::new(Mutex::new((usize::MAX, 0)));
    let (seen, api) = (Arc::clone(&bounds), lab.api.clone());
    lab.api.observe(Arc::new(move |_: &Change| {
        let pods = api.list("pods", Some(SPACE));
        let ready = pods
            .iter()
            .filter(|pod| pod["metadata"].get("deletionTimestamp").is_none())
            .filter(|pod| {
                pod["status"]["conditions"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
            })
            .count();
        // Sizes asked for: pods of one may begin before those of the other have been deleted.
        let asked = api
            .list("replicasets", Some(SPACE))
            .iter()
            .map(|set| set["spec"]["replicas"].as_i64().unwrap())
            .sum();
        let mut seen = seen.lock().unwrap();
        *seen = (seen.0.min(ready), seen.1.max(asked));
    }));
    lab.image("web", "app:2").await;
    lab.until("started", |lab| !lab.pods("app:2").is_empty())
        .await;
    lab.until_complete("web").await;
    let (least, most) = *bounds.lock().unwrap();
    assert_eq!((least, most), (8, 13), "25 % of 10: 2 unavailable, 3 more");
    let found = lab.deployment("web");
    assert_eq!(revision(&found), "2");
    assert_eq!(revision(&lab.set("web", "app:1")), "1");
    assert_eq!(
        lab.condition("web", "Progressing").1,
        "NewReplicaSetAvailable"
    );
    assert_eq!(
        found["status"]["observedGeneration"],
        found["metadata"]["generation"]
    );
    assert!(found["status"].get("unavailableReplicas").is_none());
}

#[tokio::test(start_paused = true)]
async fn recreate_waits_for_the_last_old_pod() {
    let mut lab = Lab::new(1).await;
    lab.deploy("web", 3, "app:1", json!({"strategy": {"type": "Recreate"}}))
        .await;
    lab.until_complete("web").await;
    let mixed = Arc::new(Mutex::new(false));
    let (seen, api) = (Arc::clone(&mixed), lab.api.clone());
    lab.api.observe(Arc::new(move |change: &Change| {
        if change.key.resource == "pods" {
            let images: std::collections::BTreeSet<String> = api
                .list("pods", Some(SPACE))
                .iter()
                .map(|pod| pod["spec"]["containers"][0]["image"].to_string())
                .collect();
            *seen.lock().unwrap() |= images.len() > 1;
        }
    }));
    lab.image("web", "app:2").await;
    lab.until("replaced", |lab| lab.pods("app:2").len() == 3)
        .await;
    lab.until_complete("web").await;
    assert!(!*mixed.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn going_back_reuses_the_old_one_and_remembers_its_revision() {
    let mut lab = Lab::new(1).await;
    for image in ["app:1", "app:2", "app:1"] {
        if lab.exists("deployments", "web") {
            lab.image("web", image).await;
        } else {
            lab.deploy("web", 2, image, json!({})).await;
        }
        lab.seconds(30).await;
        assert!(lab.complete("web"));
    }
    let back = lab.set("web", "app:1");
    assert_eq!(revision(&back), "3");
    assert_eq!(
        back["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"],
        "1"
    );
    assert_eq!(lab.api.list("replicasets", Some(SPACE)).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn annotations_are_copied_and_undo_brings_the_old_ones_back() {
    let mut lab = Lab::new(1).await;
    lab.deploy("web", 2, "app:1", json!({})).await;
    lab.until_complete("web").await;
    let body = json!({"metadata": {"annotations": {"example.com/opt-in": "yes"}}, "spec": {"template": {"metadata": {"annotations": {"v": "2"}}}}});
    lab.patch("deployments", "web", body).await.unwrap();
    lab.seconds(30).await;
    assert!(lab.complete("web"));
    let newest = lab
        .api
        .list("replicasets", Some(SPACE))
        .into_iter()
        .find(|set| revision(set) == "2")
        .unwrap();
    assert_eq!(
        newest["metadata"]["annotations"]["example.com/opt-in"],
        "yes"
    );
    let diary = Diary::default();
    let deed = Deed::KubectlUndo {
        deployment: actors_support::named("web"),
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
    person.run().await;
    assert_eq!(diary.read()[0].refused, None);
    let found = lab.deployment("web");
    assert!(
        found["metadata"]["annotations"]
            .get("example.com/opt-in")
            .is_none()
    );
    lab.seconds(30).await;
    assert_eq!(revision(&lab.deployment("web")), "3");
}

#[tokio::test(start_paused = true)]
async fn history_is_forgotten_beyond_its_limit_while_paused_too() {
    let mut lab = Lab::new(1).await;
    lab.deploy("web", 2, "app:1", json!({"revisionHistoryLimit": 1}))
        .await;
    lab.until_complete("web").await;
    for image in ["app:2", "app:3", "app:4"] {
        lab.image("web", image).await;
        lab.seconds(30).await;
    }
    assert_eq!(
        lab.sets("web").keys().collect::<Vec<_>>(),
        ["app:3", "app:4"]
    );
    // A stable one that an autoscaler took to 0 is history for a paused one.
    let mut lab = Lab::new(2).await;
    lab.deploy("web", 2, "app:1", json!({"revisionHistoryLimit": 0}))
        .await;
    lab.until_complete("web").await;
    lab.gate("web", "app:2").await;
    lab.scale("web", 0).await;
    lab.until("stable is deleted", |lab| lab.sets("web").is_empty())
        .await;
    lab.scale("web", 2).await;
    lab.seconds(60).await;
    assert!(
        lab.api.list("pods", Some(SPACE)).is_empty(),
        "and it makes none"
    );
}

#[tokio::test(start_paused = true)]
async fn a_paused_one_scales_but_starts_nothing_new() {
    let mut lab = Lab::new(1).await;
    lab.deploy("web", 3, "app:1", json!({})).await;
    lab.until_complete("web").await;
    lab.gate("web", "app:2").await;
    lab.scale("web", 5).await;
    lab.until("five", |lab| {
        lab.deployment("web")["status"]["availableReplicas"] == 5
    })
    .await;
    assert_eq!(lab.sets("web"), [("app:1".to_owned(), 5)].into());
    assert_eq!(
        lab.condition("web", "Progressing"),
        ("Unknown".to_owned(), "DeploymentPaused".to_owned())
    );
    let found = lab.deployment("web");
    assert!(found["status"].get("updatedReplicas").is_none());
    // Template and pause back in one request: no pod is replaced.
    let before = lab.pods("app:1");
    lab.patch("deployments", "web", json!({"spec": {"paused": null, "template": {"spec": {"containers": [{"name": "app", "image": "app:1", "ports": [{"containerPort": 8080}]}]}}}}))
        .await
        .unwrap();
    lab.seconds(20).await;
    assert_eq!(lab.pods("app:1"), before);
    assert!(lab.complete("web"));
}

#[tokio::test(start_paused = true)]
async fn abort_leaves_stable_alone_and_a_reverted_template_is_complete_at_once() {
    let mut lab = Lab::new(1).await;
    lab.deploy("web", 3, "app:1", json!({})).await;
    lab.until_complete("web").await;
    let before = lab.pods("app:1");
    lab.gate("web", "app:2").await;
    lab.deploy("web-canary", 3, "app:2", json!({})).await;
    lab.until_complete("web-canary").await;
    lab.delete("deployments", "web-canary", "Background").await;
    lab.until("the candidate is gone", |lab| {
        lab.pods("app:2").is_empty() && lab.api.list("replicasets", Some(SPACE)).len() == 1
    })
    .await;
    assert_eq!(lab.pods("app:1"), before);
    lab.scale("web", 5).await;
    lab.until("five", |lab| lab.pods("app:1").len() == 5).await;
    let five = lab.pods("app:1");
    lab.image("web", "app:1").await;
    lab.until("updated", |lab| {
        lab.deployment("web")["status"]["updatedReplicas"] == 5
    })
    .await;
    lab.pause("web", false).await;
    lab.seconds(30).await;
    assert_eq!(lab.pods("app:1"), five);
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
async fn paused_time_does_not_count_for_the_deadline() {
    let mut lab = Lab::new(1).await;
    lab.deploy("web", 2, "app:1", json!({"progressDeadlineSeconds": 3}))
        .await;
    lab.until_complete("web").await;
    lab.gate("web", "app:2").await;
    lab.seconds(10).await;
    lab.image("web", "app:1").await;
    let reasons: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&reasons);
    lab.api.observe(Arc::new(move |change: &Change| {
        if let ("deployments", Some(after)) = (change.key.resource.as_str(), &change.after) {
            for condition in after["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
            {
                if condition["type"] == "Progressing" {
                    seen.lock()
                        .unwrap()
                        .push(condition["reason"].as_str().unwrap().to_owned());
                }
            }
        }
    }));
    lab.pause("web", false).await;
    lab.seconds(20).await;
    let mut reasons = reasons.lock().unwrap().clone();
    reasons.dedup();
    assert!(
        !reasons.contains(&"ProgressDeadlineExceeded".to_owned()),
        "{reasons:?}"
    );
    assert_eq!(
        reasons.iter().rev().take(2).rev().collect::<Vec<_>>(),
        ["DeploymentResumed", "NewReplicaSetAvailable"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_does_not_move_times_out_and_a_paused_abort_never_does() {
    let mut lab = Lab::new(1).await;
    let never = Manner {
        fate: Fate::NeverReady,
        ..quick()
    };
    lab.cluster.manners.set_image("app:2", never);
    lab.deploy("web", 2, "app:1", json!({"progressDeadlineSeconds": 30}))
        .await;
    lab.until_complete("web").await;
    lab.gate("web", "app:2").await;
    lab.seconds(3600).await;
    assert_eq!(lab.condition("web", "Progressing").1, "DeploymentPaused");
    lab.pause("web", false).await;
    lab.seconds(25).await;
    assert_eq!(lab.condition("web", "Progressing").1, "ReplicaSetUpdated");
    lab.seconds(20).await;
    assert_eq!(
        lab.condition("web", "Progressing"),
        ("False".to_owned(), "ProgressDeadlineExceeded".to_owned())
    );
    // Pausing does not take that back.
    lab.pause("web", true).await;
    lab.seconds(10).await;
    assert_eq!(
        lab.condition("web", "Progressing").1,
        "ProgressDeadlineExceeded"
    );
}

#[tokio::test(start_paused = true)]
async fn a_longer_min_ready_seconds_makes_adopted_pods_unavailable_for_a_while() {
    let mut lab = Lab::new(1).await;
    lab.deploy("web", 2, "app:1", json!({"minReadySeconds": 60}))
        .await;
    lab.until_complete("web").await;
    lab.gate("web", "app:2").await;
    lab.deploy("web-canary", 2, "app:2", json!({})).await;
    lab.until_complete("web-canary").await;
    lab.delete("deployments", "web-canary", "Orphan").await;
    lab.until("old to 0", |lab| lab.sets("web").get("app:1") == Some(&0))
        .await;
    lab.until("unavailable", |lab| {
        lab.condition("web", "Available").0 == "False"
    })
    .await;
    assert_eq!(lab.set("web", "app:2")["spec"]["minReadySeconds"], 60);
    lab.until("available", |lab| {
        lab.condition("web", "Available").0 == "True"
    })
    .await;
    assert_eq!(lab.pods("app:2").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn min_ready_seconds_delay_availability() {
    let mut lab = Lab::new(1).await;
    lab.deploy("web", 2, "app:1", json!({"minReadySeconds": 30}))
        .await;
    lab.until("ready", |lab| {
        lab.deployment("web")["status"]["readyReplicas"] == 2
    })
    .await;
    lab.seconds(20).await;
    assert!(
        lab.deployment("web")["status"]
            .get("availableReplicas")
            .is_none()
    );
    lab.seconds(15).await;
    assert_eq!(lab.deployment("web")["status"]["availableReplicas"], 2);
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
async fn at_rest_nothing_is_written_for_a_day() {
    let mut lab = Lab::new(1).await;
    lab.deploy("web", 3, "app:1", json!({})).await;
    lab.until_complete("web").await;
    lab.image("web", "app:2").await;
    lab.seconds(700).await;
    let before = lab.api.revision();
    lab.seconds(86_400).await;
    assert_eq!(lab.api.revision(), before);
}
