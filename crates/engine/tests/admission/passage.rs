//! Native passage: where nothing serves there is nothing to judge against, and a template change is Kubernetes' own rollout.

use crossfade_api::Phase;
use crossfade_engine::admit::{Hook, Live};
use crossfade_engine::identity::fingerprint;
use serde_json::{Value, json};

use super::*;

/// Nothing to judge against, in each way there is.
fn nothing_serves() -> Vec<(&'static str, Value)> {
    let status = |status: &str, since: &str| json!({"replicas": 4, "conditions": [{"type": "Available", "status": status, "lastTransitionTime": since}]});
    vec![
        ("N is 0", with(web("app:1"), "/spec/replicas", json!(0))),
        (
            "never available",
            with(web("app:1"), "/status", json!({"replicas": 4})),
        ),
        ("without a status", without(web("app:1"), "", "status")),
        (
            "not available for a minute",
            with(
                web("app:1"),
                "/status",
                status("False", "2026-01-01T11:59:00Z"),
            ),
        ),
    ]
}

/// The same Deployment with another template.
fn pushed(old: &Value, image: &str) -> Value {
    with(old.clone(), "/spec/template", template(image))
}

#[test]
fn each_way_of_serving_nobody_passes_at_rest_alone() {
    for (way, old) in nothing_serves() {
        let new = pushed(&old, "app:2");
        for phase in [None, Some(Phase::Idle)] {
            let live = live(phase, &[set("app:1", 4)]);
            let (gated, warnings) = stored(&old, &new, &live);
            assert!(!gated, "{way}, {phase:?}");
            assert!(warnings.contains("passes natively"), "{way}: {warnings}");
        }
        for phase in UNDER_WAY.into_iter().chain([Phase::RolledBack]) {
            let live = live(Some(phase), &[set("app:1", 4)]);
            assert!(stored(&old, &new, &live).0, "{way}, in {phase:?}");
        }
        let rejected = Live {
            rejected: vec![fingerprint(&template("app:2"))],
            ..idle()
        };
        assert!(stored(&old, &new, &rejected).0, "{way}, rejected");
        // What waits gated stays so, and what is pushed in its place.
        let waits = paused(old);
        for image in ["app:2", "app:3"] {
            let new = pushed(&waits, image);
            assert!(stored(&waits, &new, &idle()).0, "{way}, already gated");
        }
    }
}

#[test]
fn less_than_a_minute_without_pods_is_gated() {
    for since in ["2026-01-01T11:59:01Z", "2026-01-01T12:00:00Z"] {
        let status = json!({"replicas": 4, "conditions": [{"type": "Available", "status": "False", "lastTransitionTime": since}]});
        let old = with(web("app:1"), "/status", status);
        let (gated, warnings) = stored(&old, &pushed(&old, "app:2"), &idle());
        assert!(gated && !warnings.contains("passes natively"), "{since}");
    }
}

#[test]
fn one_available_pod_is_enough_to_judge_against() {
    let status = json!({"replicas": 4, "availableReplicas": 1, "conditions": [{"type": "Available", "status": "False", "lastTransitionTime": "2026-01-01T09:00:00Z"}]});
    let old = with(web("app:1"), "/status", status);
    assert!(stored(&old, &pushed(&old, "app:2"), &idle()).0);
}

#[test]
fn nothing_to_judge_against_passes_natively() {
    let scaled = |image| with(web(image), "/spec/replicas", json!(0));
    let native = |old: &Value, new: &Value, live: &Live| {
        let answer = ask(Hook::Gate, ANN, old, new, live);
        let (stored, warnings) = applied(answer, new);
        assert_eq!(&stored, new);
        assert!(warnings.contains("passes natively"), "{warnings}");
        assert!(allowed(&ask(Hook::Backstop, ANN, old, new, live)));
    };
    native(
        &scaled("app:1"),
        &scaled("app:2"),
        &live(Some(Phase::Idle), &[]),
    );
    // Never available, or not for a minute.
    let down = with(web("app:1"), "/status", json!({"replicas": 4}));
    native(&down, &web("app:2"), &idle());
    let since = |time: &str| json!({"replicas": 4, "conditions": [{"type": "Available", "status": "False", "lastTransitionTime": time}]});
    let old = with(web("app:1"), "/status", since("2026-01-01T11:58:59Z"));
    native(&old, &web("app:2"), &idle());
    let fresh = with(web("app:1"), "/status", since("2026-01-01T11:59:30Z"));
    let (stored, _) = applied(
        ask(Hook::Gate, ANN, &fresh, &web("app:2"), &idle()),
        &web("app:2"),
    );
    assert_eq!(
        stored["spec"]["paused"],
        json!(true),
        "half a minute is no outage yet"
    );
    // Not in a release, and not for a rejected template.
    for phase in UNDER_WAY.into_iter().chain([Phase::RolledBack]) {
        let live = live(Some(phase), &[]);
        let (stored, _) = applied(
            ask(Hook::Gate, ANN, &down, &web("app:2"), &live),
            &web("app:2"),
        );
        assert_eq!(stored["spec"]["paused"], json!(true), "{phase:?}");
    }
    // A template that waits gated stays gated.
    let gated = paused(down);
    let (stored, _) = applied(
        ask(Hook::Gate, ANN, &gated, &web("app:2"), &idle()),
        &web("app:2"),
    );
    assert_eq!(stored["spec"]["paused"], json!(true));
}

#[test]
fn a_native_rollout_that_moves_is_waited_for_and_a_stuck_one_replaced() {
    let live = live(Some(Phase::Idle), &[set("app:1", 4), set("app:2", 1)]);
    let moved = |time: &str| json!({"availableReplicas": 4, "conditions": [{"type": "Progressing", "status": "True", "lastUpdateTime": time}]});
    let moving = with(web("app:2"), "/status", moved("2026-01-01T11:59:30Z"));
    for hook in [Hook::Gate, Hook::Backstop] {
        let message = refused(ask(hook, ANN, &moving, &web("app:3"), &live));
        assert!(message.contains("try again"), "{message}");
    }
    let stuck = with(web("app:2"), "/status", moved("2026-01-01T11:58:30Z"));
    for hook in [Hook::Gate, Hook::Backstop] {
        assert!(allowed(&ask(hook, ANN, &stuck, &web("app:3"), &live)));
    }
}

#[test]
fn gate_and_backstop_that_disagree_refuse() {
    // Available pods came back between the two: the backstop decides again on what is live now.
    let old = with(web("app:1"), "/status", json!({"replicas": 4}));
    assert!(allowed(&ask(Hook::Gate, ANN, &old, &web("app:2"), &idle())));
    refused(ask(
        Hook::Backstop,
        ANN,
        &web("app:1"),
        &web("app:2"),
        &idle(),
    ));
    // A release began between the two.
    refused(ask(
        Hook::Backstop,
        ANN,
        &old,
        &web("app:2"),
        &live(Some(Phase::Preparing), &[]),
    ));
}

#[test]
fn where_all_pods_may_be_unavailable_the_condition_says_nothing() {
    // maxUnavailable is N: Available is True with no pod, and its time is of long ago.
    let status = json!({"replicas": 1, "conditions": [{"type": "Available", "status": "True", "lastTransitionTime": "2026-01-01T09:00:00Z"}]});
    let flaps = with(web("app:1"), "/status", status);
    let (gated, _) = stored(&flaps, &web("app:2"), &idle());
    assert!(gated, "a readiness that flaps is no outage");
}

#[test]
fn a_rejected_template_never_passes_natively() {
    let down = with(web("app:1"), "/status", json!({"replicas": 4}));
    let rejected = Live {
        rejected: vec![fingerprint(&template("app:2"))],
        ..idle()
    };
    assert!(stored(&down, &web("app:2"), &rejected).0);
    assert!(
        !stored(&down, &web("app:3"), &rejected).0,
        "another one does"
    );
    let past = with(
        web("app:2"),
        "/metadata/annotations/crossfade.dev~1bypass",
        json!("INC-1: known"),
    );
    assert!(!stored(&down, &past, &rejected).0, "a bypass is a word");
}
