//! What is the answer to whoever waits, and what is not.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::commands::gate::tests::gate;

/// A state: phase, what is waited for, candidate with the fingerprint of its template, ended releases.
fn state(
    phase: &str,
    on: &str,
    candidate: Option<(&str, &str)>,
    history: &[(&str, &str)],
) -> Rollout {
    let condition = |kind: &str, status: bool, reason: &str| {
        json!({ "type": kind, "status": if status { "True" } else { "False" }, "reason": reason,
            "message": "why", "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    let history: Vec<Value> = history
        .iter()
        .map(|(candidate, outcome)| json!({ "candidate": candidate, "outcome": outcome, "reason": "because" }))
        .collect();
    let waits = if on == "Approval" {
        "AwaitingApproval"
    } else {
        "Observing"
    };
    let side = candidate.map(|(name, _)| json!({ "name": name, "replicas": 3, "ready": 3 }));
    let release = candidate.map(|(_, print)| json!({ "fingerprint": print }));
    Rollout::read(json!({
        "metadata": { "name": "web" }, "spec": {},
        "status": {
            "phase": phase, "candidate": side, "history": history, "memory": { "release": release },
            "step": { "index": 0, "of": 1, "text": "", "state": waits,
                "weight": { "asked": 20, "written": 20, "verified": 20 } },
            "conditions": [condition("Progressing", true, on),
                condition("Stalled", phase == "RolledBack" || on == "Mend", "Refused")],
        },
    }))
}

fn v3(before: &Rollout) -> Waiting {
    let template = ("p3".to_owned(), vec!["app:3".to_owned()]);
    Waiting::for_template(Some(before), Some(template))
}

fn exit(look: Look) -> Option<Exit> {
    match look {
        Look::End(end) => Some(end.exit),
        _ => None,
    }
}

#[test]
fn another_candidates_approval_and_end_are_not_the_answer() {
    let now = Instant::now();
    let before = state("Progressing", "Approval", Some(("b", "p2")), &[]);
    let mut waiting = v3(&before);
    assert_eq!(exit(waiting.look(Some(&before), now)), None);
    let superseded = state(
        "RolledBack",
        "RolledBack",
        Some(("b", "p2")),
        &[("b", "superseded")],
    );
    assert_eq!(exit(waiting.look(Some(&superseded), now)), None);
    let own = state(
        "Progressing",
        "Approval",
        Some(("c", "p3")),
        &[("b", "superseded")],
    );
    assert_eq!(exit(waiting.look(Some(&own), now)), Some(Exit::Approval));
    let over = state(
        "Idle",
        "Idle",
        None,
        &[("c", "promoted"), ("b", "superseded")],
    );
    assert_eq!(exit(waiting.look(Some(&over), now)), Some(Exit::Done));
}

#[test]
fn what_is_interrupted_starts_again() {
    let now = Instant::now();
    let before = state("Idle", "Idle", None, &[]);
    let mut waiting = v3(&before);
    let looks = [
        state(
            "RolledBack",
            "RolledBack",
            Some(("c", "p3")),
            &[("c", "interrupted")],
        ),
        state(
            "Preparing",
            "PodsReady",
            Some(("d", "p3")),
            &[("c", "interrupted")],
        ),
    ];
    for rollout in &looks {
        assert_eq!(exit(waiting.look(Some(rollout), now)), None);
    }
    let over = state(
        "Idle",
        "Idle",
        None,
        &[("d", "promoted"), ("c", "interrupted")],
    );
    assert_eq!(exit(waiting.look(Some(&over), now)), Some(Exit::Done));
    // One time too many, and it is held.
    let held = state(
        "RolledBack",
        "NewTemplate",
        Some(("d", "p3")),
        &[("d", "interrupted")],
    );
    let mut waiting = v3(&before);
    assert_eq!(exit(waiting.look(Some(&held), now)), Some(Exit::Aborted));
}

#[test]
fn what_cannot_be_released_is_told_in_rolled_back_too() {
    let now = Instant::now();
    let later = now + STANDS;
    for phase in ["Idle", "RolledBack"] {
        let before = state(
            phase,
            "NewTemplate",
            Some(("b", "p2")),
            &[("b", "rolled-back")],
        );
        let mut waiting = v3(&before);
        let refused = state(phase, "Mend", Some(("b", "p2")), &[("b", "rolled-back")]);
        assert_eq!(exit(waiting.look(Some(&refused), now)), None);
        assert_eq!(
            exit(waiting.look(Some(&refused), later)),
            Some(Exit::Error),
            "{phase}"
        );
    }
    let settled = state("RolledBack", "NewTemplate", Some(("b", "p2")), &[]);
    let mut waiting = v3(&settled);
    waiting.look(Some(&settled), now);
    assert_eq!(
        exit(waiting.look(Some(&settled), later)),
        None,
        "not seen yet"
    );
}

#[test]
fn what_was_rejected_before_is_retried_once() {
    let now = Instant::now();
    let before = state(
        "RolledBack",
        "NewTemplate",
        Some(("b", "p2")),
        &[("b", "rolled-back")],
    );
    let mut waiting = v3(&before).retrying();
    assert!(!matches!(waiting.look(Some(&before), now), Look::Retry));
    let held = state(
        "RolledBack",
        "NewTemplate",
        Some(("c", "p3")),
        &[("b", "rolled-back")],
    );
    assert!(matches!(waiting.look(Some(&held), now), Look::Retry));
    assert!(waiting.retried(&held).is_none());
    assert_eq!(exit(waiting.look(Some(&held), now)), None);
    let failed = state(
        "RolledBack",
        "NewTemplate",
        Some(("d", "p3")),
        &[("d", "rolled-back")],
    );
    assert_eq!(
        exit(waiting.look(Some(&failed), now)),
        Some(Exit::RolledBack)
    );
    // Nobody asked for another try.
    assert_eq!(
        exit(v3(&before).look(Some(&held), now)),
        Some(Exit::RolledBack)
    );
    let begun = state("Preparing", "PodsReady", Some(("c", "p3")), &[]);
    let mut raw = begun.raw().clone();
    raw["status"]["memory"]["release"]["held"] = json!(true);
    let passing = Rollout::read(raw);
    let mut only = v3(&before).until_retried();
    assert_eq!(exit(only.look(Some(&passing), now)), None);
    assert_eq!(exit(only.look(Some(&begun), now)), Some(Exit::Done));
    assert_eq!(exit(v3(&before).look(Some(&begun), now)), None);
    assert!(
        only.retried(&held)
            .is_some_and(|end| end.exit == Exit::Done)
    );
}

#[test]
fn the_deployment_says_what_the_rollout_does_not() {
    let idle = state("Idle", "Idle", None, &[("x", "promoted")]);
    let template = |image: &str| {
        let gate = gate(image, false);
        Waiting::for_template(Some(&idle), Some((gate.print(), gate.images())))
    };
    let now = Instant::now();
    let mut waiting = template("app:1");
    assert!(matches!(waiting.look(Some(&idle), now), Look::GoOn));
    assert!(matches!(waiting.look(Some(&idle), now + ASK), Look::Ask));
    let serves = waiting.asked(Some(&idle), Some(&gate("app:1", false)));
    assert_eq!(exit(serves), Some(Exit::Done));
    let mut waiting = template("app:2");
    let another = waiting.asked(Some(&idle), Some(&gate("app:1", false)));
    assert_eq!(exit(another), Some(Exit::Aborted), "somebody else's push");
    let gated = waiting.asked(Some(&idle), Some(&gate("app:2", true)));
    assert_eq!(exit(gated), None, "about to begin");
    let started = waiting.asked(Some(&idle), Some(&gate("app:2", false)));
    assert_eq!(exit(started), None, "its own rollout goes on");
    assert_eq!(exit(waiting.asked(None, None)), Some(Exit::Error));
}

#[test]
fn an_undo_is_over_when_its_template_is() {
    let now = Instant::now();
    let before = state("Progressing", "Stay", Some(("b", "p2")), &[]);
    let mut waiting = v3(&before);
    let mut raw = state("Idle", "Observed", None, &[("b", "aborted")])
        .raw()
        .clone();
    raw["status"]["memory"]["undo"] = json!({ "insteadOf": "p2", "by": "ann" });
    let pending = Rollout::read(raw);
    for time in [now, now + STANDS * 2] {
        assert!(matches!(waiting.look(Some(&pending), time), Look::GoOn));
    }
    // A person aborts the release of the version that was asked for.
    let aborted = state(
        "RolledBack",
        "NewTemplate",
        Some(("c", "p3")),
        &[("c", "aborted"), ("b", "aborted")],
    );
    assert_eq!(exit(waiting.look(Some(&aborted), now)), Some(Exit::Aborted));
    let mut waiting = v3(&before);
    let others = state("Idle", "Idle", None, &[("x", "promoted"), ("b", "aborted")]);
    assert_eq!(
        exit(waiting.look(Some(&others), now)),
        None,
        "somebody else's release"
    );
}

#[test]
fn a_command_waits_for_its_candidate_alone() {
    let now = Instant::now();
    let before = state(
        "Progressing",
        "Stay",
        Some(("b", "p2")),
        &[("a", "promoted")],
    );
    let mut waiting = Waiting::for_candidate(&before);
    assert_eq!(exit(waiting.look(Some(&before), now)), None);
    let approval = state("Progressing", "Approval", Some(("b", "p2")), &[]);
    assert_eq!(
        exit(waiting.look(Some(&approval), now)),
        Some(Exit::Approval)
    );
    let over = state(
        "RolledBack",
        "NewTemplate",
        Some(("b", "p2")),
        &[("b", "rolled-back")],
    );
    assert_eq!(exit(waiting.look(Some(&over), now)), Some(Exit::RolledBack));
    // Two seconds of one state are no end of a release under way.
    let same = waiting.look(Some(&before), now + Duration::from_secs(60));
    assert!(matches!(same, Look::GoOn));
}
