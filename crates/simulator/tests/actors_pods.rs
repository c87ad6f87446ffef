//! Pods in every manner, nodes that are lost or full, quotas, and what EndpointSlices show of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects"
)]

mod actors_support;

use std::time::Duration;

use actors_support::{Lab, SPACE, named, quick};
use crossfade_simulator::actors::{Crash, Delay, Fate, Flap, MILLION, Manner, Stop, Target, Why};
use serde_json::{Value, json};

async fn service(lab: &Lab, name: &str, spec: Value) {
    let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": SPACE}, "spec": spec});
    lab.kubectl.create("services", SPACE, object).await.unwrap();
}

fn endpoints(lab: &Lab, service: &str) -> Vec<Value> {
    lab.api
        .list("endpointslices", Some(SPACE))
        .iter()
        .filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == service)
        .flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default())
        .collect()
}

fn ready(lab: &Lab, service: &str) -> usize {
    endpoints(lab, service)
        .iter()
        .filter(|endpoint| endpoint["conditions"]["ready"] == true)
        .count()
}

fn pod(lab: &Lab) -> Value {
    (*lab.api.list("pods", Some(SPACE))[0]).clone()
}

fn waiting(pod: &Value) -> &str {
    pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]
        .as_str()
        .unwrap_or("")
}

fn condition<'a>(pod: &'a Value, kind: &str) -> &'a Value {
    pod["status"]["conditions"]
        .as_array()
        .and_then(|list| list.iter().find(|condition| condition["type"] == kind))
        .unwrap_or(&Value::Null)
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_pulled_until_it_can() {
    let mut lab = Lab::new(1).await;
    let broken = Manner {
        fate: Fate::ImagePullBackOff,
        ..quick()
    };
    lab.cluster.manners.set_image("app:1", broken);
    lab.deploy("web", 1, "app:1", json!({})).await;
    lab.until("tried", |lab| {
        lab.api
            .list("pods", Some(SPACE))
            .first()
            .is_some_and(|pod| waiting(pod) == "ImagePullBackOff")
    })
    .await;
    assert_eq!(pod(&lab)["status"]["phase"], "Pending");
    lab.cluster.manners.set_image("app:1", quick());
    lab.until_complete("web").await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_backs_off_and_counts() {
    let mut lab = Lab::new(1).await;
    let crashing = Manner {
        fate: Fate::CrashLoop(Duration::from_secs(1)),
        ..quick()
    };
    lab.cluster.manners.set_image("app:1", crashing);
    lab.deploy("web", 1, "app:1", json!({})).await;
    lab.seconds(120).await;
    let found = pod(&lab);
    let restarts = found["status"]["containerStatuses"][0]["restartCount"]
        .as_i64()
        .unwrap();
    // At once, then after 10, 20, 40 s and 1 s of life each.
    assert_eq!(restarts, 5, "{found}");
    assert_eq!(waiting(&found), "CrashLoopBackOff");
    assert_eq!(found["status"]["phase"], "Running");
    assert_eq!(condition(&found, "Ready")["status"], "False");
    assert_eq!(
        found["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"],
        1
    );
    assert!(!lab.complete("web"));
}

#[tokio::test(start_paused = true)]
async fn a_crash_later_and_readiness_that_flaps() {
    let mut lab = Lab::new(1).await;
    let crashing = Manner {
        crash: Some(Crash {
            after: Duration::from_secs(30),
            times: 1,
        }),
        ..quick()
    };
    lab.cluster.manners.set_image("app:1", crashing);
    service(
        &lab,
        "web",
        json!({"selector": {"app": "web"}, "ports": [{"port": 80}]}),
    )
    .await;
    lab.deploy("web", 1, "app:1", json!({})).await;
    lab.until_complete("web").await;
    lab.until("crashed", |lab| {
        condition(&pod(lab), "Ready")["status"] == "False"
    })
    .await;
    lab.until("well again", |lab| {
        condition(&pod(lab), "Ready")["status"] == "True"
    })
    .await;
    assert_eq!(
        pod(&lab)["status"]["containerStatuses"][0]["restartCount"],
        1
    );
    lab.seconds(300).await;
    assert_eq!(
        pod(&lab)["status"]["containerStatuses"][0]["restartCount"],
        1,
        "once"
    );

    let mut lab = Lab::new(1).await;
    let flapping = Manner {
        flap: Some(Flap {
            ready: Duration::from_secs(10),
            unready: Duration::from_secs(5),
            answers: true,
            times: 2,
        }),
        ..quick()
    };
    lab.cluster.manners.set_image("app:1", flapping);
    service(
        &lab,
        "web",
        json!({"selector": {"app": "web"}, "ports": [{"port": 80}]}),
    )
    .await;
    lab.deploy("web", 1, "app:1", json!({})).await;
    lab.until_complete("web").await;
    for _ in 0..2 {
        lab.until("unready", |lab| ready(lab, "web") == 0).await;
        lab.until("ready", |lab| ready(lab, "web") == 1).await;
    }
    lab.seconds(60).await;
    assert_eq!(ready(&lab, "web"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_full_cluster_leaves_pods_pending_until_there_is_room() {
    let mut lab = Lab::with(1, |settings| settings.room = vec![("n1".into(), 2)]).await;
    lab.deploy("web", 3, "app:1", json!({})).await;
    lab.seconds(30).await;
    let pods = lab.api.list("pods", Some(SPACE));
    let pending: Vec<_> = pods
        .iter()
        .filter(|pod| pod["status"]["phase"] == "Pending")
        .collect();
    assert_eq!(pending.len(), 1);
    let scheduled = condition(pending[0], "PodScheduled");
    assert_eq!(scheduled["reason"], "Unschedulable");
    assert_eq!(
        scheduled["message"],
        "0/1 nodes are available: 1 Too many pods."
    );
    lab.cluster.nodes.put("n2", 10);
    lab.until_complete("web").await;
    assert_eq!(lab.cluster.nodes.all().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_quota_refuses_pods_and_the_deployment_says_so() {
    let mut lab = Lab::new(1).await;
    lab.cluster.quotas.set(SPACE, Some(2));
    lab.deploy("web", 4, "app:1", json!({})).await;
    lab.until("told", |lab| {
        lab.condition("web", "ReplicaFailure").0 == "True"
    })
    .await;
    lab.seconds(30).await;
    assert_eq!(lab.pods("app:1").len(), 2);
    let set = lab.set("web", "app:1");
    let failure = &set["status"]["conditions"][0];
    assert_eq!(failure["reason"], "FailedCreate");
    assert!(
        failure["message"]
            .as_str()
            .unwrap()
            .contains("exceeded quota")
    );
    lab.cluster.quotas.set(SPACE, None);
    // The back-off has grown by now, but not beyond what it waited so far.
    lab.until_complete("web").await;
    assert_eq!(lab.condition("web", "ReplicaFailure").0, "");
}

#[tokio::test(start_paused = true)]
async fn a_lost_node_takes_its_pods_late() {
    let mut lab = Lab::new(1).await;
    service(
        &lab,
        "web",
        json!({"selector": {"app": "web"}, "ports": [{"port": 80}]}),
    )
    .await;
    lab.deploy("web", 4, "app:1", json!({})).await;
    lab.until_complete("web").await;
    lab.seconds(5).await;
    lab.cluster
        .traffic
        .flow("users", Target::Service(named("web")), 100);
    lab.cluster.nodes.lose("node-1");
    lab.seconds(30).await;
    assert_eq!(ready(&lab, "web"), 4, "nobody knows yet");
    assert!(lab.cluster.traffic.lost() > 1000 * MILLION);
    lab.seconds(30).await;
    assert_eq!(ready(&lab, "web"), 2);
    let lost = lab.cluster.traffic.lost();
    lab.seconds(60).await;
    assert_eq!(lab.cluster.traffic.lost(), lost);
    lab.seconds(400).await;
    assert!(lab.complete("web"));
    assert_eq!(ready(&lab, "web"), 4);
    assert_eq!(lab.api.list("pods", Some(SPACE)).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_pod_hook_signal_and_kill() {
    for (stop, hook, least, most) in [
        (Stop::AtOnce, 0, 0, 1),
        (Stop::AtOnce, 5, 5, 6),
        (
            Stop::Drain {
                time: Duration::from_secs(8),
                accepts: true,
            },
            0,
            8,
            9,
        ),
        (
            Stop::Drain {
                time: Duration::from_secs(80),
                accepts: true,
            },
            0,
            30,
            31,
        ),
        (Stop::Never, 0, 30, 31),
    ] {
        let mut lab = Lab::new(1).await;
        lab.cluster
            .manners
            .set_image("app:1", Manner { stop, ..quick() });
        let container = json!([{"name": "app", "image": "app:1", "lifecycle": {"preStop": {"sleep": {"seconds": hook}}}}]);
        let more = if hook > 0 {
            json!({"template": {"spec": {"containers": container}}})
        } else {
            json!({})
        };
        lab.deploy("web", 1, "app:1", more).await;
        lab.until_complete("web").await;
        let began = tokio::time::Instant::now();
        lab.scale("web", 0).await;
        lab.until("gone", |lab| lab.api.list("pods", Some(SPACE)).is_empty())
            .await;
        let took = began.elapsed().as_secs();
        assert!((least..=most).contains(&took), "{stop:?} {hook}: {took} s");
    }
}

#[tokio::test(start_paused = true)]
async fn terminating_pods_serve_and_are_not_ready() {
    let mut lab = Lab::new(1).await;
    lab.cluster.manners.set_default(Manner {
        stop: Stop::Drain {
            time: Duration::from_secs(20),
            accepts: true,
        },
        ..quick()
    });
    service(
        &lab,
        "web",
        json!({"selector": {"app": "web"}, "ports": [{"port": 80}]}),
    )
    .await;
    service(&lab, "all", json!({"selector": {"app": "web"}, "publishNotReadyAddresses": true, "ports": [{"port": 80}]})).await;
    service(&lab, "none", json!({"ports": [{"port": 80}]})).await;
    lab.deploy("web", 1, "app:1", json!({})).await;
    lab.until_complete("web").await;
    lab.seconds(5).await;
    lab.cluster
        .traffic
        .flow("users", Target::Service(named("web")), 100);
    lab.scale("web", 0).await;
    lab.seconds(5).await;
    let found = &endpoints(&lab, "web")[0]["conditions"];
    assert_eq!(
        *found,
        json!({"ready": false, "serving": true, "terminating": true})
    );
    let found = &endpoints(&lab, "all")[0]["conditions"];
    assert_eq!(
        *found,
        json!({"ready": true, "serving": true, "terminating": true})
    );
    assert!(endpoints(&lab, "none").is_empty());
    // With no ready endpoint, proxies use those that still serve.
    assert_eq!(lab.cluster.traffic.lost(), 0);
    lab.seconds(30).await;
    assert_eq!(
        lab.cluster.traffic.losses().last().unwrap().why,
        Why::NoEndpoint
    );
}

#[tokio::test(start_paused = true)]
async fn a_selector_switches_in_one_write_and_several_services_follow() {
    let mut lab = Lab::new(1).await;
    for name in ["web", "web-internal"] {
        service(
            &lab,
            name,
            json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}),
        )
        .await;
    }
    lab.deploy("web", 3, "app:1", json!({})).await;
    lab.until_complete("web").await;
    lab.until("both", |lab| {
        ready(lab, "web") == 3 && ready(lab, "web-internal") == 3
    })
    .await;
    lab.patch(
        "services",
        "web",
        json!({"spec": {"selector": {"pod-template-hash": "nobody"}}}),
    )
    .await
    .unwrap();
    lab.until("empty", |lab| endpoints(lab, "web").is_empty())
        .await;
    assert_eq!(ready(&lab, "web-internal"), 3);
    let slices = lab.api.list("endpointslices", Some(SPACE));
    assert_eq!(slices.len(), 2, "the empty one stays");
    assert_eq!(slices[0]["ports"][0]["port"], 8080);
    // Deleting a Service takes its slices.
    lab.delete("services", "web", "Background").await;
    lab.until("its slice is gone", |lab| {
        lab.api.list("endpointslices", Some(SPACE)).len() == 1
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn proxies_are_late_and_pods_that_exit_at_once_lose_requests() {
    let mut lab = Lab::with(1, |settings| settings.proxy = Delay::millis(1000, 1000)).await;
    service(
        &lab,
        "web",
        json!({"selector": {"app": "web"}, "ports": [{"port": 80}]}),
    )
    .await;
    lab.deploy("web", 2, "app:1", json!({})).await;
    lab.until_complete("web").await;
    lab.seconds(5).await;
    lab.cluster
        .traffic
        .flow("users", Target::Service(named("web")), 1000);
    lab.seconds(10).await;
    let before = lab.cluster.traffic.lost();
    assert_eq!(before, 0);
    lab.scale("web", 1).await;
    lab.seconds(10).await;
    let lost = lab.cluster.traffic.lost() / MILLION;
    // Half of 1000/s for the second by which proxies are late, less what the kubelet was late itself.
    assert!((400..700).contains(&lost), "{lost}");
}
