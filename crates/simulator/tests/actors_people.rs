//! Those who interfere: a Git tool in its three ways, an autoscaler, another controller, a person; what
//! pods tell of themselves; and that a seed replays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects"
)]

mod actors_support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors_support::{Lab, SPACE, manifest, named};
use crossfade_fakeapi::{Caller, Change};
use crossfade_simulator::actors::{
    Applies, Autoscaler, Deed, Delay, Diary, Git, Habits, Meddler, Patch, Person, Propagation,
    Repository, Target, path, with_habits,
};
use serde_json::{Value, json};

fn service_manifest() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": SPACE},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})
}

fn git(lab: &mut Lab, applies: Applies) -> Repository {
    let repository = Repository::default();
    repository.push(manifest("web", 3, "app:1"));
    repository.push(service_manifest());
    let tool = Git {
        client: lab
            .cluster
            .client(Caller::new("git", "argocd-controller/v3"), "git"),
        repository: repository.clone(),
        applies,
        manager: "argocd-controller".to_owned(),
        every: Delay::millis(9_000, 11_000),
        random: lab.cluster.random("git"),
    };
    lab.running.add(tool.run());
    repository
}

/// Pins the Service as another controller would: one key of its selector.
async fn pin(lab: &Lab) {
    lab.kubectl
        .patch(
            Patch::Json,
            &path("services", SPACE, "web", ""),
            &[("fieldManager", "other")],
            json!([{"op": "add", "path": "/spec/selector/pod-template-hash", "value": "x"}]),
        )
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn git_applies_without_writing_what_is_there_already() {
    for applies in [
        Applies::ClientSide,
        Applies::ServerSide,
        Applies::ServerSideForced,
    ] {
        let mut lab = Lab::new(1).await;
        let repository = git(&mut lab, applies);
        lab.until("made", |lab| lab.exists("deployments", "web"))
            .await;
        lab.until_complete("web").await;
        lab.seconds(60).await;
        let before = lab.api.revision();
        lab.seconds(600).await;
        assert_eq!(lab.api.revision(), before, "{applies:?} writes for nothing");
        // What is in nobody's manifest is left alone.
        lab.pause("web", true).await;
        lab.seconds(60).await;
        assert_eq!(lab.deployment("web")["spec"]["paused"], true, "{applies:?}");
        // A push arrives, drift is mended.
        repository.push(manifest("web", 3, "app:2"));
        lab.scale("web", 7).await;
        lab.seconds(15).await;
        let refused: Vec<_> = repository
            .log()
            .into_iter()
            .filter_map(|applied| applied.refused)
            .collect();
        let found = lab.deployment("web");
        if applies == Applies::ServerSide {
            // /scale took the field.
            assert!(
                refused.iter().any(|refused| refused.status == 409),
                "{refused:?}"
            );
            assert_eq!(found["spec"]["replicas"], 7);
        } else {
            assert_eq!(refused, [], "{applies:?}");
            assert_eq!(found["spec"]["replicas"], 3, "{applies:?}");
            assert_eq!(
                found["spec"]["template"]["spec"]["containers"][0]["image"],
                "app:2"
            );
            assert_eq!(found["spec"]["paused"], true, "{applies:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pinned_service_and_git() {
    for (applies, stays) in [
        (Applies::ClientSide, true),
        (Applies::ServerSide, true),
        (Applies::ServerSideForced, false),
    ] {
        let mut lab = Lab::new(1).await;
        let repository = git(&mut lab, applies);
        lab.until("made", |lab| lab.exists("services", "web")).await;
        lab.seconds(20).await;
        pin(&lab).await;
        lab.seconds(30).await;
        let selector = lab.object("services", "web")["spec"]["selector"].clone();
        assert_eq!(
            selector.get("pod-template-hash").is_some(),
            stays,
            "{applies:?}: {selector}"
        );
        let refused = repository
            .log()
            .iter()
            .filter(|applied| applied.refused.is_some())
            .count();
        // Only server-side apply sees that the whole selector is somebody else's by now.
        assert_eq!(refused > 0, applies == Applies::ServerSide, "{applies:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn client_side_apply_takes_back_what_it_no_longer_wants() {
    let mut lab = Lab::new(1).await;
    let repository = git(&mut lab, Applies::ClientSide);
    let mut more = manifest("web", 3, "app:1");
    more["metadata"]["annotations"] = json!({"example.com/a": "1"});
    more["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "1"}]);
    repository.push(more);
    lab.until("made", |lab| lab.exists("deployments", "web"))
        .await;
    lab.patch(
        "deployments",
        "web",
        json!({"metadata": {"annotations": {"example.com/b": "2"}}}),
    )
    .await
    .unwrap();
    lab.seconds(30).await;
    assert_eq!(
        lab.deployment("web")["metadata"]["annotations"]["example.com/a"],
        "1"
    );
    repository.push(manifest("web", 3, "app:1"));
    lab.seconds(30).await;
    let found = lab.deployment("web");
    let annotations = &found["metadata"]["annotations"];
    assert!(annotations.get("example.com/a").is_none(), "{annotations}");
    assert_eq!(annotations["example.com/b"], "2");
    assert!(
        found["spec"]["template"]["spec"]["containers"][0]
            .get("env")
            .is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn an_autoscaler_and_another_controller_write_at_their_times() {
    let mut lab = Lab::new(1).await;
    lab.kubectl
        .create("services", SPACE, service_manifest())
        .await
        .unwrap();
    lab.deploy("web", 3, "app:1", json!({})).await;
    lab.until_complete("web").await;
    let written: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&written);
    lab.api.observe(Arc::new(move |change: &Change| {
        if change.caller.user.ends_with("autoscaler") || change.caller.user == "mesh" {
            seen.lock().unwrap().push(format!(
                "{} {} {}",
                change.caller.user, change.key, change.subresource
            ));
        }
    }));
    let autoscaler = Autoscaler {
        client: lab.cluster.client(
            crossfade_simulator::actors::controller_manager("horizontal-pod-autoscaler"),
            "autoscaler",
        ),
        deployment: named("web"),
        every: Delay::millis(10_000, 60_000),
        sizes: 2..=6,
        times: 20,
        random: lab.cluster.random("autoscaler"),
    };
    lab.running.add(autoscaler.run());
    let meddler = Meddler {
        client: lab.cluster.client(Caller::new("mesh", "mesh/v1"), "mesh"),
        resource: "services".into(),
        object: named("web"),
        every: Delay::millis(30_000, 90_000),
        times: 5,
        patches: vec![
            json!({"spec": {"selector": {"pod-template-hash": null}}}),
            json!({"spec": {"selector": {"track": "x"}}}),
        ],
        random: lab.cluster.random("mesh"),
    };
    lab.running.add(meddler.run());
    lab.seconds(3600).await;
    let written = written.lock().unwrap().clone();
    let scaled = written
        .iter()
        .filter(|line| line.ends_with("scale"))
        .count();
    assert!((10..=20).contains(&scaled), "{written:?}");
    assert!(
        written.iter().any(|line| line.starts_with("mesh services")),
        "{written:?}"
    );
    assert!(lab.complete("web"));
}

#[tokio::test(start_paused = true)]
async fn pods_tell_what_they_were_sent() {
    let mut lab = Lab::new(1).await;
    lab.kubectl
        .create("services", SPACE, service_manifest())
        .await
        .unwrap();
    lab.deploy("web", 2, "app:1", json!({})).await;
    lab.until_complete("web").await;
    lab.seconds(5).await;
    lab.cluster.traffic.set_errors("app:1", 20_000);
    lab.cluster
        .traffic
        .flow("users", Target::Service(named("web")), 100);
    lab.seconds(100).await;
    let mut all = 0;
    for pod in lab.api.list("pods", Some(SPACE)) {
        let ip = pod["status"]["podIP"].as_str().unwrap();
        let uri = format!("http://{ip}:8080/metrics").parse().unwrap();
        let answer = lab.cluster.metrics.answer(&uri).await.unwrap();
        let text = String::from_utf8(answer.body().to_vec()).unwrap();
        let count = |code: &str| -> u64 {
            text.lines()
                .find_map(|line| {
                    line.strip_prefix(&format!("http_requests_total{{code=\"{code}\"}} "))
                })
                .unwrap()
                .parse()
                .unwrap()
        };
        assert!((95..=100).contains(&count("500")), "{text}");
        all += count("200") + count("500");
    }
    assert!((9_990..=10_010).contains(&all), "{all}");
}

/// Every commit of a world full of people.
async fn trace(seed: u64) -> Vec<String> {
    let mut lab = Lab::with(seed, |settings| settings.sight = Delay::millis(1, 500)).await;
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let (seen, began) = (Arc::clone(&lines), tokio::time::Instant::now());
    lab.api.observe(Arc::new(move |change: &Change| {
        seen.lock().unwrap().push(format!(
            "{:?} {} {:?} {} {}",
            began.elapsed(),
            change.caller.user,
            change.verb,
            change.key,
            change.subresource
        ));
    }));
    let repository = git(&mut lab, Applies::ClientSide);
    lab.cluster
        .traffic
        .flow("users", Target::Service(named("web")), 100);
    lab.until("made", |lab| lab.exists("deployments", "web"))
        .await;
    let web = || named("web");
    let script = vec![
        (
            Duration::from_secs(30),
            Deed::Image {
                deployment: web(),
                image: "app:2".into(),
            },
        ),
        (
            Duration::from_secs(40),
            Deed::Pause {
                deployment: web(),
                paused: true,
            },
        ),
        (
            Duration::from_secs(45),
            Deed::Scale {
                deployment: web(),
                replicas: 6,
            },
        ),
        (
            Duration::from_secs(60),
            Deed::Pause {
                deployment: web(),
                paused: false,
            },
        ),
        (
            Duration::from_secs(70),
            Deed::DeleteOneOf {
                resource: "pods".into(),
                namespace: SPACE.into(),
                labels: json!({"app": "web"}),
                propagation: Propagation::Background,
            },
        ),
        (
            Duration::from_secs(80),
            Deed::Revert {
                deployment: web(),
                revision: None,
            },
        ),
        (
            Duration::from_secs(100),
            Deed::Recreate {
                resource: "deployments".into(),
                object: web(),
                propagation: Propagation::Foreground,
            },
        ),
        (
            Duration::from_secs(200),
            Deed::Delete {
                resource: "services".into(),
                object: web(),
                propagation: Propagation::Background,
            },
        ),
    ];
    let habits = Habits {
        repeats: 300,
        swaps: 200,
        loses: 100,
    };
    let mut random = lab.cluster.random("jane");
    let diary = Diary::default();
    let person = Person {
        api: lab.api.clone(),
        client: lab.cluster.client(Caller::new("jane", "kubectl"), "jane"),
        script: with_habits(script, habits, &mut random),
        diary: diary.clone(),
        random,
    };
    lab.running.add(person.run());
    lab.seconds(150).await;
    lab.cluster.nodes.lose("node-2");
    lab.seconds(900).await;
    assert!(diary.read().len() >= 4, "{:?}", diary.read());
    assert!(
        lab.complete("web"),
        "it comes to rest whatever was done\n{}",
        lab.picture()
    );
    let mut lines = lines.lock().unwrap().clone();
    lines.push(format!("{:?}", repository.log().len()));
    lines.extend(
        lab.cluster
            .traffic
            .pods()
            .iter()
            .map(|pod| format!("{} {}", pod.ip, pod.answered)),
    );
    lines
}

#[tokio::test(start_paused = true)]
async fn a_seed_replays_and_another_one_differs() {
    let first = trace(5).await;
    assert!(first.len() > 100);
    for (one, other) in first.iter().zip(trace(5).await) {
        assert_eq!(*one, other);
    }
    assert_ne!(first, trace(6).await);
}

#[tokio::test(start_paused = true)]
async fn whatever_people_do_it_comes_to_rest() {
    for seed in 10..30 {
        trace(seed).await;
    }
}
