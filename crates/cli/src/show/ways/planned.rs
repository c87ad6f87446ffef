//! Ways on from statuses as the planner itself writes them: what `explain` says has to fit those, not what
//! somebody thought of.

use crossfade_api::RolloutSpec;
use crossfade_engine::observed::{Observed, Owner, Pod, ReplicaSet, Workload as Seen};
use crossfade_engine::validated::{Policies, validate};
use crossfade_engine::{Memory, step};
use serde_json::{Value, json};

use super::*;

fn template(image: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "web" }, "annotations": { "prometheus.io/port": "8080" } },
        "spec": { "containers": [{ "name": "app", "image": image }] },
    })
}

fn set(uid: &str, replicas: u32, image: &str) -> ReplicaSet {
    ReplicaSet {
        name: format!("web-{uid}"),
        uid: uid.to_owned(),
        owner: Owner::Workload,
        hash: uid.to_owned(),
        replicas,
        status_replicas: replicas,
        ready: replicas,
        available: replicas,
        template: template(image),
        revision: 1,
        ..ReplicaSet::default()
    }
}

/// A Deployment of three pods, paused on the template with this image, v1 being what serves.
fn seen(image: &str) -> Observed {
    Observed {
        workload: Some(Seen {
            name: "web".to_owned(),
            uid: "w".to_owned(),
            replicas: 3,
            paused: true,
            strategy_annotation: Some("canary".to_owned()),
            rolling_update: true,
            template: template(image),
            available: true,
            ..Seen::default()
        }),
        replica_sets: vec![set("s1", 3, "web:v1")],
        fresh_candidate: "c0ffee".to_owned(),
        ..Observed::default()
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

/// The Rollout as the controller writes it after a pass at rest.
fn rollout(seen: &Observed, spec: Value, memory: Memory) -> Rollout {
    let spec: RolloutSpec = serde_json::from_value(spec).unwrap();
    let validated = validate(
        &spec,
        &std::collections::BTreeMap::new(),
        &Policies::default(),
    );
    let decision = step(&validated, seen, &memory, at(0));
    let mut status = serde_json::to_value(&decision.report.status).unwrap();
    status["memory"] = serde_json::to_value(&decision.memory).unwrap();
    serde_json::from_value(json!({
        "apiVersion": "crossfade.dev/v1alpha1", "kind": "Rollout",
        "metadata": { "name": "web", "namespace": "shop" }, "spec": spec, "status": status,
    }))
    .unwrap()
}

fn known() -> Memory {
    Memory {
        workload_uid: "w".to_owned(),
        phase_since: Some(at(-60)),
        ..Memory::default()
    }
}

fn there(paused: bool, opted_in: bool) -> Workload {
    Workload::There {
        paused,
        opted_in,
        replicas: 3,
    }
}

fn says(ways: &Ways, part: &str) -> bool {
    ways.wait.contains(part)
        || (ways.ways.iter()).any(|way| {
            way.does.contains(part)
                || (way.command.as_deref()).is_some_and(|command| command.contains(part))
        })
}

#[test]
fn a_refused_template_can_be_withdrawn_and_nobody_has_to_unpause() {
    let mut seen = seen("web:v2");
    if let Some(workload) = seen.workload.as_mut() {
        workload.rolling_update = false;
    }
    let said = ways(
        &rollout(&seen, json!({}), known()),
        there(true, true),
        at(1),
    );
    assert!(
        said.wait
            .starts_with("a person: a template is gated and cannot be released: "),
        "{said:?}"
    );
    assert!(said.wait.contains("Recreate"), "{said:?}");
    assert!(says(&said, "crossfade -n shop undo web"), "{said:?}");
    assert!(!says(&said, "rollout resume"), "{said:?}");
}

#[test]
fn paused_by_hand_is_no_refused_template() {
    // With problems of the plan too, which say of the next release that it cannot start.
    for spec in [json!({}), json!({ "analysis": { "source": "prometheus" } })] {
        let said = ways(
            &rollout(&seen("web:v1"), spec.clone(), known()),
            there(true, true),
            at(1),
        );
        assert!(
            said.wait.contains("paused by hand"),
            "{spec}: {}",
            said.wait
        );
        assert!(
            says(&said, "kubectl -n shop rollout resume deployment/web"),
            "{said:?}"
        );
        assert!(!says(&said, "undo web"), "{said:?}");
    }
}

#[test]
fn opted_out_on_a_gated_template_is_told_as_that() {
    let mut seen = seen("web:v2");
    if let Some(workload) = seen.workload.as_mut() {
        workload.strategy_annotation = None;
    }
    let said = ways(
        &rollout(&seen, json!({}), known()),
        there(true, false),
        at(1),
    );
    assert!(said.wait.contains("opted out"), "{}", said.wait);
    assert!(says(&said, "crossfade.dev/strategy=canary"), "{said:?}");
    assert!(
        !says(&said, "then kubectl rollout resume"),
        "it unpauses by itself: {said:?}"
    );
}

#[test]
fn a_deployment_that_is_gone_is_told_as_that() {
    let gone = Observed::default();
    let said = ways(&rollout(&gone, json!({}), known()), Workload::Gone, at(1));
    assert_eq!(said.wait, "the Deployment web to exist");
    assert!(says(&said, "delete rollout.crossfade.dev web"), "{said:?}");
}

/// A candidate at half of three, and stable with too few ready pods.
#[test]
fn a_stable_that_is_not_whole_never_rolls_back_by_itself() {
    let memory: Memory = serde_json::from_value(json!({
        "phase": "Progressing", "phaseSince": at(-600), "workloadUid": "w",
        "release": {
            "candidate": "c0ffee", "parallel": "web-c0ffee", "stateSince": at(-600),
            "staySince": at(-600), "state": "Observing", "completeFor": 3, "weighted": true,
            "set": { "name": "web-c1", "uid": "c1", "hash": "c1", "images": [] },
            "fingerprint": crossfade_engine::identity::fingerprint(&template("web:v2")),
            "stable": { "name": "web-s1", "uid": "s1", "hash": "s1", "images": [] },
            "plan": { "steps": [{ "weight": { "weight": 50, "stay": 1000 } }], "progressDeadline": 600_000,
                "minReplicas": 1 },
        },
    }))
    .unwrap();
    let pod = |set: &str, number: u32, ready: bool| Pod {
        name: format!("{set}-{number}"),
        uid: format!("{set}-{number}"),
        replica_set: set.to_owned(),
        ready,
        ready_since: ready.then(|| at(-600)),
        created: Some(at(-900)),
        ..Pod::default()
    };
    let mut seen = seen("web:v2");
    let mut candidate = set("c1", 3, "web:v2");
    candidate.owner = Owner::Parallel("p".to_owned());
    seen.replica_sets.push(candidate);
    seen.parallels = vec![crossfade_engine::observed::Parallel {
        name: "web-c0ffee".to_owned(),
        uid: "p".to_owned(),
        candidate: "c0ffee".to_owned(),
        replicas: 3,
        template: template("web:v2"),
        ..crossfade_engine::observed::Parallel::default()
    }];
    for number in 0..3 {
        seen.pods.push(pod("c1", number, true));
        seen.pods.push(pod("s1", number, number == 0));
    }
    let rollout = rollout(&seen, json!({}), memory);
    let status = rollout.status.as_ref().unwrap();
    let step = status.step.as_ref().unwrap();
    assert_eq!(
        (step.state, step.until),
        (StepState::Held, None),
        "{status:?}"
    );
    let said = ways(&rollout, there(true, true), at(1));
    assert_eq!(said.waits_on, Some("PodsReady"));
    assert!(!says(&said, "until the deadline"), "{said:?}");
    assert!(says(&said, "does not roll back by itself"), "{said:?}");
    let first = said.ways[0].command.as_deref().unwrap();
    assert!(first.ends_with("-l pod-template-hash=s1"), "{first}");
}
