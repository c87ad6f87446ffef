//! The hand-over as it was measured on a real cluster, in raw calls: pin, gate, parallel Deployment, flip,
//! park, transfer, delete by orphaning, return, unpin, unpause; with requests flowing all the while.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects"
)]

mod actors_support;

use actors_support::{DESIRED, Lab, MAXIMUM, REVISION, SPACE, named, quick};
use crossfade_simulator::actors::{Delay, MILLION, Manner, Stop, Target};
use serde_json::{Value, json};

const HASH: &str = "pod-template-hash";

fn text(object: &Value, pointer: &str) -> String {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn hash(set: &Value) -> String {
    set["metadata"]["labels"][HASH].as_str().unwrap().to_owned()
}

/// The object that holds what is parked; any kind will do for ownership.
async fn holder(lab: &Lab) -> Value {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "holder", "namespace": SPACE}});
    match lab.kubectl.create("configmaps", SPACE, object).await {
        Ok(created) => created,
        Err(_) => lab.object("configmaps", "holder"),
    }
}

fn owned_by(owner: &Value, api_version: &str, kind: &str) -> Value {
    json!([{"apiVersion": api_version, "kind": kind, "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true}])
}

/// One write with the resourceVersion that was read.
async fn write(lab: &Lab, set: &Value, change: impl Fn(&mut Value)) {
    loop {
        let mut copy = lab.object("replicasets", &text(set, "/metadata/name"));
        change(&mut copy);
        match lab.kubectl.replace("replicasets", "", copy).await {
            Ok(_) => return,
            Err(refused) => assert_eq!(refused.status, 409, "{refused:?}"),
        }
    }
}

async fn pin(lab: &Lab, to: Option<&str>) {
    let value = to.map_or(Value::Null, |hash| json!(hash));
    lab.patch(
        "services",
        "web",
        json!({"spec": {"selector": {HASH: value}}}),
    )
    .await
    .unwrap();
}

fn endpoints(lab: &Lab) -> Vec<(String, bool)> {
    lab.api
        .list("endpointslices", Some(SPACE))
        .iter()
        .flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default())
        .map(|endpoint| {
            (
                text(&endpoint, "/targetRef/uid"),
                endpoint["conditions"]["ready"] == true,
            )
        })
        .collect()
}

fn ready(lab: &Lab) -> Vec<String> {
    let mut uids: Vec<String> = endpoints(lab)
        .into_iter()
        .filter_map(|(uid, ready)| ready.then_some(uid))
        .collect();
    uids.sort();
    uids
}

async fn start(lab: &mut Lab, replicas: i64) {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": SPACE},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    lab.kubectl
        .create("services", SPACE, service)
        .await
        .unwrap();
    lab.deploy("web", replicas, "app:0", json!({})).await;
    lab.until_complete("web").await;
    lab.until("endpoints", |lab| {
        ready(lab).len() == lab.pods("app:0").len()
    })
    .await;
    lab.seconds(5).await;
    lab.cluster
        .traffic
        .flow("users", Target::Service(named("web")), 370);
}

/// One release of `image` from `before`; N is changed between park and transfer.
async fn release(lab: &mut Lab, number: i64, before: &str, image: &str, resized: Option<i64>) {
    let stable = lab.set("web", before);
    pin(lab, Some(&hash(&stable))).await;
    lab.seconds(3).await;
    lab.gate("web", image).await;
    let size = lab.deployment("web")["spec"]["replicas"].as_i64().unwrap();
    let parallel = format!("web-canary-{number}");
    lab.deploy(&parallel, 1, image, json!({"revisionHistoryLimit": 0}))
        .await;
    lab.until_complete(&parallel).await;
    lab.scale(&parallel, size).await;
    lab.until_complete(&parallel).await;
    let new = lab.set(&parallel, image);
    let judged = lab.pods(image);
    assert_eq!(judged.len(), usize::try_from(size).unwrap());

    // Flip, and wait until every proxy knows.
    pin(lab, Some(&hash(&new))).await;
    let wanted = judged.clone();
    lab.until("the flip", move |lab| ready(lab) == wanted).await;
    lab.seconds(3).await;

    // Pause the parallel Deployment, park all, the active one last.
    lab.pause(&parallel, true).await;
    let name = parallel.clone();
    lab.until("paused and seen", move |lab| {
        let found = lab.deployment(&name);
        found["metadata"]["generation"] == found["status"]["observedGeneration"]
    })
    .await;
    let holder = holder(lab).await;
    let web = lab.deployment("web");
    let mut own: Vec<Value> = lab
        .api
        .list("replicasets", Some(SPACE))
        .iter()
        .filter(|set| set["metadata"]["ownerReferences"][0]["uid"] == web["metadata"]["uid"])
        .map(|set| (**set).clone())
        .collect();
    own.sort_by_key(|set| set["spec"]["replicas"].as_i64());
    for set in &own {
        let parked = owned_by(&holder, "v1", "ConfigMap");
        write(lab, set, |set| {
            set["metadata"]["ownerReferences"] = parked.clone()
        })
        .await;
    }
    lab.seconds(1).await;
    assert!(
        lab.sets("web").is_empty(),
        "a paused one makes none\n{}",
        lab.picture()
    );
    if let Some(size) = resized {
        lab.scale("web", size).await;
    }

    // Transfer: owner, size and annotations in one write.
    let size = lab.deployment("web")["spec"]["replicas"].as_i64().unwrap();
    let revision: i64 = text(
        &web,
        "/metadata/annotations/deployment.kubernetes.io~1revision",
    )
    .parse()
    .unwrap();
    let taken = owned_by(&web, "apps/v1", "Deployment");
    write(lab, &new, |set| {
        set["metadata"]["ownerReferences"] = taken.clone();
        set["spec"]["replicas"] = size.into();
        set["metadata"]["annotations"][DESIRED] = size.to_string().into();
        set["metadata"]["annotations"][MAXIMUM] = (size + (size + 3) / 4).to_string().into();
        set["metadata"]["annotations"][REVISION] = (revision + 1).to_string().into();
    })
    .await;
    let image_name = image.to_owned();
    lab.until("web counts it", move |lab| {
        let found = lab.deployment("web");
        let set = lab.set("web", &image_name);
        found["metadata"]["generation"] == found["status"]["observedGeneration"]
            && found["status"]["replicas"] == set["status"]["replicas"]
    })
    .await;
    lab.delete("deployments", &parallel, "Orphan").await;
    let name = parallel.clone();
    lab.until("the parallel Deployment goes", move |lab| {
        !lab.exists("deployments", &name)
    })
    .await;

    // Old to 0, then back as history.
    write(lab, &stable, |set| set["spec"]["replicas"] = 0.into()).await;
    let old = text(&stable, "/metadata/name");
    lab.until("old pods end", move |lab| {
        let set = lab.object("replicasets", &old);
        set["status"]["replicas"] == 0
            && set["status"]["observedGeneration"] == set["metadata"]["generation"]
    })
    .await;
    for set in &own {
        write(lab, set, |set| {
            set["metadata"]
                .as_object_mut()
                .unwrap()
                .remove("ownerReferences");
        })
        .await;
    }
    let count = own.len() + 1;
    lab.until("history is back", move |lab| lab.sets("web").len() == count)
        .await;
    pin(lab, None).await;
    lab.seconds(2).await;
    lab.pause("web", false).await;
    lab.until_complete("web").await;

    let serving = lab.pods(image);
    let kept = judged.iter().filter(|uid| serving.contains(uid)).count();
    assert_eq!(
        kept,
        judged.len().min(serving.len()),
        "the judged pods serve on"
    );
    assert_eq!(lab.pods(before), Vec::<String>::new());
    let found = lab.deployment("web");
    assert!(
        found["spec"]
            .get("paused")
            .is_none_or(|paused| paused == false)
    );
    assert_eq!(lab.condition("web", "Available").0, "True");
    lab.until("progress is told", |lab| {
        lab.condition("web", "Progressing")
            == ("True".to_owned(), "NewReplicaSetAvailable".to_owned())
    })
    .await;
    assert_eq!(
        text(
            &lab.deployment("web"),
            "/metadata/annotations/deployment.kubernetes.io~1revision"
        ),
        (revision + 1).to_string()
    );
}

#[tokio::test(start_paused = true)]
async fn the_chain_loses_no_request_and_keeps_the_judged_pods() {
    let mut lab = Lab::new(1).await;
    start(&mut lab, 4).await;
    release(&mut lab, 1, "app:0", "app:1", None).await;
    lab.seconds(5).await;
    assert_eq!(lab.cluster.traffic.losses(), []);
    let answered: u64 = lab
        .cluster
        .traffic
        .pods()
        .iter()
        .map(|pod| pod.answered)
        .sum();
    assert!(answered / MILLION > 4000, "{answered}");
}

#[tokio::test(start_paused = true)]
async fn four_releases_in_a_row_with_growing_history_and_changing_size() {
    for seed in 1..4 {
        let mut lab = Lab::new(seed).await;
        // Fewer replicas end pods that serve: nothing can keep their requests but themselves.
        lab.cluster.manners.set_default(Manner {
            stop: Stop::Drain {
                time: std::time::Duration::from_secs(5),
                accepts: true,
            },
            ..quick()
        });
        start(&mut lab, 4).await;
        for (number, resized) in [(1, None), (2, Some(4)), (3, Some(3)), (4, Some(5))] {
            let (before, image) = (format!("app:{}", number - 1), format!("app:{number}"));
            release(&mut lab, number, &before, &image, resized).await;
        }
        lab.seconds(5).await;
        assert_eq!(lab.cluster.traffic.losses(), []);
        let mut revisions: Vec<(String, String)> = lab
            .api
            .list("replicasets", Some(SPACE))
            .iter()
            .map(|set| {
                (
                    text(
                        set,
                        "/metadata/annotations/deployment.kubernetes.io~1revision",
                    ),
                    text(set, "/spec/template/spec/containers/0/image"),
                )
            })
            .collect();
        revisions.sort();
        let expected: Vec<(String, String)> = (0..5)
            .map(|number| ((number + 1).to_string(), format!("app:{number}")))
            .collect();
        assert_eq!(revisions, expected);
        // No historic one ever came up: each had its own time only.
        assert_eq!(lab.pods("app:4").len(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn parking_only_the_active_one_brings_history_up() {
    let mut lab = Lab::new(1).await;
    lab.deploy("web", 4, "app:0", json!({})).await;
    lab.until_complete("web").await;
    lab.image("web", "app:1").await;
    lab.until_complete("web").await;
    lab.gate("web", "app:2").await;
    lab.seconds(2).await;
    let holder = holder(&lab).await;
    let parked = owned_by(&holder, "v1", "ConfigMap");
    let active = lab.set("web", "app:1");
    write(&lab, &active, |set| {
        set["metadata"]["ownerReferences"] = parked.clone()
    })
    .await;
    lab.until("history came up", |lab| {
        lab.sets("web") == [("app:0".to_owned(), 4)].into()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_re_pointing_the_service_is_empty_and_with_it_it_never_is() {
    let mut lab = Lab::new(1).await;
    start(&mut lab, 4).await;
    let stable = lab.set("web", "app:0");
    pin(&lab, Some(&hash(&stable))).await;
    lab.gate("web", "app:1").await;
    lab.deploy("web-canary", 4, "app:1", json!({})).await;
    lab.until_complete("web-canary").await;
    lab.seconds(2).await;
    let counts: std::sync::Arc<std::sync::Mutex<Vec<usize>>> = std::sync::Arc::default();
    let seen = std::sync::Arc::clone(&counts);
    lab.api.observe(std::sync::Arc::new(
        move |change: &crossfade_fakeapi::Change| {
            if let ("endpointslices", Some(after)) = (change.key.resource.as_str(), &change.after) {
                let ready = after["endpoints"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|endpoint| endpoint["conditions"]["ready"] == true)
                    .count();
                seen.lock().unwrap().push(ready);
            }
        },
    ));
    pin(&lab, Some(&hash(&lab.set("web-canary", "app:1")))).await;
    lab.seconds(2).await;
    assert_eq!(*counts.lock().unwrap(), [4], "one write");
    // Back to the old hash and hand over by orphaning: its pods go, and the Service with them.
    pin(&lab, Some(&hash(&stable))).await;
    lab.seconds(2).await;
    lab.delete("deployments", "web-canary", "Orphan").await;
    lab.until("the Service is empty", |lab| ready(lab).is_empty())
        .await;
    lab.seconds(5).await;
    assert!(lab.cluster.traffic.lost() > 0);
}

#[tokio::test(start_paused = true)]
async fn pods_that_drain_lose_less_than_pods_that_exit_in_a_native_rolling_update() {
    let mut lost = Vec::new();
    for stop in [
        Stop::AtOnce,
        Stop::Drain {
            time: std::time::Duration::from_secs(10),
            accepts: true,
        },
    ] {
        let mut lab = Lab::with(1, |settings| settings.proxy = Delay::millis(50, 1000)).await;
        lab.cluster.manners.set_default(Manner { stop, ..quick() });
        start(&mut lab, 4).await;
        lab.image("web", "app:1").await;
        lab.until_complete("web").await;
        lab.seconds(20).await;
        lost.push(lab.cluster.traffic.lost() / MILLION);
    }
    assert!(lost[0] > 10, "{lost:?}");
    assert_eq!(lost[1], 0);
}
