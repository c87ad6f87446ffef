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
use crossfade_simulator::actors::{Deed, Delay, Diary, Fate, Manner, Person};
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
