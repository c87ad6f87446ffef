//! Every wait has a way out, and every command that is named can be given as it stands.

use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::args::Arguments;

const HELD: Workload = Workload::There {
    paused: true,
    opted_in: true,
    replicas: 3,
};

const PHASES: [Phase; 7] = [
    Phase::Idle,
    Phase::Preparing,
    Phase::Progressing,
    Phase::Warm,
    Phase::HandingOver,
    Phase::RollingBack,
    Phase::RolledBack,
];

fn at(time: &str) -> Timestamp {
    format!("2026-01-01T{time}Z").parse().unwrap()
}

/// A Rollout that waits; `change` is merged into its status.
fn waiting(phase: Phase, on: &str, stalled: Option<(&str, &str)>, change: Value) -> Rollout {
    let condition = |kind: &str, status: bool, reason: &str, message: &str| {
        json!({ "type": kind, "status": if status { "True" } else { "False" }, "reason": reason,
            "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    let side = |ready: u32| json!({ "name": "web-5f", "podTemplateHash": "5f", "replicas": 3, "ready": ready });
    let mut status = json!({
        "phase": phase.as_str(), "message": "it waits", "controller": "crossfade",
        "stable": side(3), "candidate": side(1),
        "step": {
            "index": 0, "of": 3, "text": "1/3", "state": "Observing", "waitingOn": "something",
            "weight": { "asked": 20, "written": 20, "verified": 20 },
        },
        "conditions": [
            condition("Progressing", phase != Phase::Idle, on, "it waits"),
            condition("Stalled", stalled.is_some(), stalled.map_or("NotStalled", |(reason, _)| reason),
                stalled.map_or("", |(_, message)| message)),
        ],
    });
    for (field, value) in change.as_object().into_iter().flatten() {
        status[field] = value.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "crossfade.dev/v1alpha1", "kind": "Rollout",
        "metadata": { "name": "web", "namespace": "shop" }, "spec": {}, "status": status,
    }))
    .unwrap()
}

/// Where it stands in the terminal: in the words of a person, with commands that parse.
fn proves_a_way_out(ways: &Ways, case: &str) {
    assert!(!ways.wait.is_empty(), "{case}: nothing is waited for");
    assert!(
        ways.ways.iter().any(|way| way.command.is_some()),
        "{case}: no command in {ways:?}"
    );
    for way in &ways.ways {
        assert!(!way.does.is_empty(), "{case}: {way:?}");
        let Some(command) = &way.command else {
            continue;
        };
        assert!(!command.contains("NAME"), "{case}: {command}");
        if command.starts_with("crossfade ") {
            assert!(
                command.starts_with("crossfade -n shop "),
                "{case}: {command}"
            );
            let parsed = Arguments::try_parse_from(command.split_whitespace());
            assert!(parsed.is_ok(), "{case}: {command}: {}", parsed.unwrap_err());
        } else {
            assert!(command.starts_with("kubectl "), "{case}: {command}");
        }
    }
}

fn commands(ways: &Ways) -> Vec<&str> {
    let commands = ways.ways.iter().filter_map(|way| way.command.as_deref());
    commands.collect()
}

#[test]
fn every_wait_in_every_phase_has_a_way_out() {
    let workloads = [
        Workload::Gone,
        HELD,
        Workload::There {
            paused: true,
            opted_in: false,
            replicas: 3,
        },
        Workload::There {
            paused: false,
            opted_in: true,
            replicas: 0,
        },
    ];
    for on in WaitingOn::ALL {
        for phase in PHASES {
            for workload in workloads {
                let rollout = waiting(phase, on.as_str(), None, Value::Null);
                let ways = ways(&rollout, workload, at("00:00:30"));
                let case = format!("{on:?} in {phase:?}, {workload:?}");
                assert_eq!(ways.waits_on, Some(on.as_str()), "{case}");
                proves_a_way_out(&ways, &case);
            }
        }
    }
}

#[test]
fn every_kind_of_wait_stands_in_the_table_for_users() {
    let table = include_str!("../../../../../docs/life-of-a-release.md");
    for on in WaitingOn::ALL {
        let row = format!("\n| `{}` | ", on.as_str());
        assert!(table.contains(&row), "{on:?} has no row");
    }
}

#[test]
fn every_wait_has_words_of_its_own() {
    let texts: std::collections::BTreeSet<String> = WaitingOn::ALL
        .into_iter()
        .map(|on| {
            let rollout = waiting(Phase::Progressing, on.as_str(), None, Value::Null);
            ways(&rollout, HELD, at("00:00:30")).wait
        })
        .collect();
    assert_eq!(texts.len(), WaitingOn::ALL.len());
}

#[test]
fn what_a_person_waited_for_can_do_comes_first() {
    for (on, phase, command) in [
        ("Approval", Phase::Progressing, "promote web"),
        ("Resume", Phase::Warm, "resume web"),
        ("Verdict", Phase::Progressing, "promote web"),
        ("Stay", Phase::Warm, "promote web"),
        ("NewTemplate", Phase::RolledBack, "retry web"),
    ] {
        let ways = ways(&waiting(phase, on, None, Value::Null), HELD, at("00:00:30"));
        assert_eq!(
            commands(&ways)[0],
            format!("crossfade -n shop {command}"),
            "{on}"
        );
    }
    let data = ways(
        &waiting(Phase::Progressing, "Data", None, Value::Null),
        HELD,
        at("00:00:30"),
    );
    let data = commands(&data);
    assert!(
        data.contains(&"crossfade -n shop promote --full web"),
        "{data:?}"
    );
    assert!(
        !data.contains(&"crossfade -n shop promote web"),
        "it does not help: {data:?}"
    );
}

#[test]
fn before_a_move_of_all_traffic_promote_is_enough() {
    let change = json!({ "step": {
        "index": 0, "of": 0, "text": "warm", "state": "Held", "weight": { "asked": 100, "written": 0, "verified": 0 },
    } });
    let ways = ways(
        &waiting(Phase::Warm, "Data", None, change),
        HELD,
        at("00:00:30"),
    );
    assert_eq!(commands(&ways)[0], "crossfade -n shop promote web");
}

#[test]
fn at_rest_what_is_refused_opted_out_paused_or_gone_has_its_own_way() {
    let idle = |stalled: Option<&str>, workload: Workload| {
        let on = if stalled == Some("invalid") {
            "Idle"
        } else {
            "Mend"
        };
        let stalled = stalled.map(|_| ("Refused", "no metrics port is known"));
        ways(
            &waiting(Phase::Idle, on, stalled, json!({ "step": null })),
            workload,
            at("00:00:30"),
        )
    };
    let there = |paused, opted_in| Workload::There {
        paused,
        opted_in,
        replicas: 3,
    };
    for (case, said, wait, command) in [
        (
            "refused",
            idle(Some("refused"), HELD),
            "cannot be released: no metrics port",
            "crossfade -n shop plan web",
        ),
        (
            "invalid",
            idle(Some("invalid"), there(false, true)),
            "next release cannot start: no metrics",
            "kubectl -n shop edit rollout.crossfade.dev web",
        ),
        (
            "opted out",
            idle(None, there(true, false)),
            "opted out",
            "kubectl -n shop annotate deployment/web crossfade.dev/strategy=canary",
        ),
        (
            "paused by hand",
            idle(None, there(true, true)),
            "paused by hand",
            "kubectl -n shop rollout resume deployment/web",
        ),
        (
            "gone",
            idle(None, Workload::Gone),
            "to exist",
            "kubectl -n shop delete rollout.crossfade.dev web",
        ),
    ] {
        proves_a_way_out(&said, case);
        assert!(said.wait.contains(wait), "{case}: {}", said.wait);
        assert!(
            commands(&said).contains(&command),
            "{case}: {:?}",
            commands(&said)
        );
    }
}

#[test]
fn at_rest_a_paused_deployment_that_nobody_speaks_of_points_at_the_controller() {
    let rollout = waiting(Phase::Idle, "Idle", None, json!({ "step": null }));
    let gated = ways(&rollout, HELD, at("00:00:30"));
    proves_a_way_out(&gated, "gated");
    assert!(
        gated.ways[0].does.contains("whether the controller runs"),
        "{gated:?}"
    );
    let rest = ways(
        &rollout,
        Workload::There {
            paused: false,
            opted_in: true,
            replicas: 3,
        },
        at("00:00:30"),
    );
    proves_a_way_out(&rest, "at rest");
    assert_eq!(rest.waits_on, None);
}

#[test]
fn rolling_back_with_stable_down_names_the_force() {
    let force = "crossfade -n shop abort --force web";
    let down = json!({ "stable": { "name": "web-5f", "podTemplateHash": "5f", "replicas": 3, "ready": 0 } });
    let said = ways(
        &waiting(Phase::RollingBack, "PodsReady", None, down),
        HELD,
        at("00:00:30"),
    );
    proves_a_way_out(&said, "stable down");
    assert!(commands(&said).contains(&force), "{said:?}");
    assert!(
        commands(&said).contains(&"kubectl -n shop describe pods -l pod-template-hash=5f"),
        "{said:?}"
    );
    assert!(
        !said.wait.contains("by itself")
            && !said
                .ways
                .iter()
                .any(|way| way.does.contains("none is needed"))
    );
    let up = ways(
        &waiting(Phase::RollingBack, "PodsReady", None, Value::Null),
        HELD,
        at("00:00:30"),
    );
    assert!(!commands(&up).contains(&force), "{up:?}");
}

#[test]
fn without_a_word_phase_and_state_decide() {
    for (phase, state, command) in [
        (Phase::Progressing, "AwaitingApproval", "promote web"),
        (Phase::Warm, "Paused", "resume web"),
        (Phase::Progressing, "Held", "promote --full web"),
        (Phase::Preparing, "Scaling", "abort web"),
        (Phase::HandingOver, "Observing", "undo web"),
        (Phase::RollingBack, "Observing", "status -w web"),
        (Phase::RolledBack, "Observing", "retry web"),
    ] {
        let change = json!({ "step": { "index": 0, "of": 3, "text": "", "state": state,
            "weight": { "asked": 20, "written": 20, "verified": 20 } } });
        let said = ways(
            &waiting(phase, phase.as_str(), None, change),
            HELD,
            at("00:00:30"),
        );
        proves_a_way_out(&said, state);
        let command = format!("crossfade -n shop {command}");
        assert!(
            commands(&said).contains(&command.as_str()),
            "{state}: {said:?}"
        );
    }
}

#[test]
fn who_does_not_look_or_cannot_read_is_named() {
    let rollout = waiting(
        Phase::Warm,
        "Stay",
        Some(("Unreadable", "spec.warm: \"x\"")),
        Value::Null,
    );
    let said = ways(&rollout, HELD, at("00:00:30"));
    proves_a_way_out(&said, "unreadable");
    assert!(said.wait.contains("spec.warm"), "{said:?}");
    let mut raw = rollout.raw().clone();
    raw["status"] = Value::Null;
    let rollout = Rollout::read(raw);
    let said = ways(&rollout, HELD, at("00:00:30"));
    proves_a_way_out(&said, "not looked at");

    let overdue = json!({ "step": { "index": 0, "of": 3, "text": "", "state": "Observing", "waitingOn": "the stay",
        "until": "2026-01-01T00:02:00Z", "weight": { "asked": 20, "written": 20, "verified": 20 } } });
    let rollout = waiting(Phase::Progressing, "Stay", None, overdue);
    let late = |now| {
        let said = ways(&rollout, HELD, at(now));
        said.ways.iter().any(|way| way.does.contains("overdue"))
    };
    assert!(!late("00:02:30") && late("00:04:00"));
}

#[test]
fn run_is_told_the_deployment_and_the_others_the_rollout() {
    let mut raw = waiting(Phase::Idle, "Idle", None, json!({ "step": null }))
        .raw()
        .clone();
    raw["spec"]["deployment"] = json!("front");
    let workload = Workload::There {
        paused: false,
        opted_in: true,
        replicas: 3,
    };
    let said = ways(&Rollout::read(raw), workload, at("00:00:30"));
    let commands = commands(&said);
    assert!(commands.contains(&"crossfade -n shop undo web"), "{said:?}");
    let run = "crossfade -n shop run deployment/front --image CONTAINER=IMAGE";
    assert!(commands.contains(&run), "{said:?}");
}

#[test]
fn commands_go_to_the_cluster_that_was_looked_at() {
    let global = crate::args::Global {
        namespace: None,
        context: Some("prod".to_owned()),
        kubeconfig: None,
    };
    let caller = Caller::new(called::Called::Plugin, &global);
    for on in WaitingOn::ALL {
        for phase in PHASES {
            let rollout = waiting(phase, on.as_str(), None, Value::Null);
            let ways = ways_by(caller.clone(), &rollout, HELD, at("00:00:30"));
            for command in commands(&ways) {
                assert!(command.contains(" --context prod "), "{command}");
                assert!(
                    command.starts_with("kubectl crossfade -n shop ")
                        || !command.starts_with("kubectl crossfade"),
                    "{command}"
                );
                assert!(!command.starts_with("crossfade"), "{command}");
            }
        }
    }
}
