//! The gate and the backstop behind it: template changes, unpausing, opting out, native passage.

use crossfade_api::Phase;
use crossfade_engine::admit::{Hook, needs_live};
use serde_json::{Value, json};

use super::*;

#[test]
fn a_changed_template_is_stored_paused_whatever_the_phase() {
    for phase in [None, Some(Phase::Idle), Some(Phase::RolledBack)]
        .into_iter()
        .chain(UNDER_WAY.map(Some))
    {
        let live = live(phase, &[set("app:1", 4)]);
        let (stored, _) = applied(
            ask(Hook::Gate, ANN, &web("app:1"), &web("app:2"), &live),
            &web("app:2"),
        );
        assert_eq!(stored["spec"]["paused"], json!(true), "{phase:?}");
        assert_eq!(stored["spec"]["template"], template("app:2"));
        assert!(allowed(&ask(
            Hook::Backstop,
            ANN,
            &web("app:1"),
            &stored,
            &live
        )));
        assert!(needs_live(
            Hook::Gate,
            ANN,
            US,
            &web("app:2"),
            &web("app:1")
        ));
    }
}

#[test]
fn what_changes_no_template_is_nobodys_business() {
    for new in [
        web("app:1"),
        with(web("app:1"), "/spec/replicas", json!(9)),
        with(web("app:1"), "/metadata/labels", json!({"a": "b"})),
    ] {
        for hook in [Hook::Gate, Hook::Backstop] {
            assert!(!needs_live(hook, ANN, US, &new, &web("app:1")));
            assert!(allowed(&ask(hook, ANN, &web("app:1"), &new, &idle())));
        }
    }
    let bare = |image| {
        without(
            web(image),
            "/metadata/annotations",
            "crossfade.dev/strategy",
        )
    };
    for hook in [Hook::Gate, Hook::Backstop] {
        assert!(!needs_live(hook, ANN, US, &bare("app:2"), &bare("app:1")));
        assert!(allowed(&ask(
            hook,
            ANN,
            &bare("app:1"),
            &bare("app:2"),
            &idle()
        )));
    }
}

#[test]
fn opting_in_together_with_a_template_is_gated() {
    let old = without(
        web("app:1"),
        "/metadata/annotations",
        "crossfade.dev/strategy",
    );
    let live = live(None, &[set("app:1", 4)]);
    let (stored, _) = applied(
        ask(Hook::Gate, ANN, &old, &web("app:2"), &live),
        &web("app:2"),
    );
    assert_eq!(stored["spec"]["paused"], json!(true));
}

#[test]
fn a_put_without_paused_does_not_unpause() {
    let old = paused(web("app:2"));
    for phase in UNDER_WAY {
        let live = live(Some(phase), &[set("app:1", 4)]);
        let answer = ask(Hook::Gate, ANN, &old, &web("app:2"), &live);
        let (stored, warnings) = applied(answer, &web("app:2"));
        assert_eq!(stored["spec"]["paused"], json!(true), "{phase:?}");
        assert!(warnings.contains("spec.paused stays true"), "{warnings}");
        let message = refused(ask(Hook::Backstop, ANN, &old, &web("app:2"), &live));
        assert!(message.contains("break-glass"), "{message}");
    }
}

#[test]
fn a_person_may_unpause_what_serves_anyway() {
    for phase in [None, Some(Phase::Idle), Some(Phase::RolledBack)] {
        let live = live(phase, &[set("app:1", 4), set("app:0", 0)]);
        for hook in [Hook::Gate, Hook::Backstop] {
            let answer = ask(hook, ANN, &paused(web("app:1")), &web("app:1"), &live);
            assert!(allowed(&answer), "{phase:?} {answer:?}");
        }
        // A gated or rejected template is another matter.
        let answer = ask(Hook::Gate, ANN, &paused(web("app:2")), &web("app:2"), &live);
        let (stored, _) = applied(answer, &web("app:2"));
        assert_eq!(stored["spec"]["paused"], json!(true), "{phase:?}");
        refused(ask(
            Hook::Backstop,
            ANN,
            &paused(web("app:2")),
            &web("app:2"),
            &live,
        ));
    }
}

#[test]
fn ours_may_unpause_but_not_change_a_template_on_the_way() {
    let live = live(Some(Phase::HandingOver), &[set("app:2", 4)]);
    let old = paused(web("app:2"));
    for hook in [Hook::Gate, Hook::Backstop] {
        assert!(!needs_live(hook, US, US, &web("app:2"), &old));
        assert!(allowed(&ask(hook, US, &old, &web("app:2"), &live)));
    }
    // A later webhook changed the image in our own unpause.
    let message = refused(ask(Hook::Backstop, US, &old, &web("zzz:1"), &live));
    assert!(
        message.contains("a webhook that runs after the gate"),
        "{message}"
    );
}

#[test]
fn a_later_webhook_cannot_walk_round_the_gate() {
    // A label-only write of a user; `zzz` changes the image after the gate was skipped.
    let message = refused(ask(
        Hook::Backstop,
        ANN,
        &web("app:1"),
        &web("zzz:1"),
        &idle(),
    ));
    assert!(message.contains("break-glass"), "{message}");
    // In a pushed template the change comes with the pause: stored, and judged as stored.
    assert!(allowed(&ask(
        Hook::Backstop,
        ANN,
        &web("app:1"),
        &paused(web("zzz:1")),
        &idle()
    )));
}

#[test]
fn rollout_undo_drops_annotations_and_gets_them_back() {
    for phase in [
        Some(Phase::Idle),
        Some(Phase::Warm),
        Some(Phase::RolledBack),
    ] {
        let live = live(phase, &[set("app:1", 4)]);
        for annotations in [json!({"team": "old"}), Value::Null] {
            let mut undone = with(web("app:0"), "/metadata/annotations", annotations);
            if undone["metadata"]["annotations"].is_null() {
                undone = without(undone, "/metadata", "annotations");
            }
            let (stored, warnings) =
                applied(ask(Hook::Gate, ANN, &web("app:1"), &undone, &live), &undone);
            let annotations = &stored["metadata"]["annotations"];
            assert_eq!(annotations["crossfade.dev/strategy"], json!("canary"));
            assert_eq!(annotations["crossfade.dev/steps"], json!("5%, 50%"));
            assert_ne!(
                annotations["team"],
                json!("shop"),
                "other people's annotations are theirs"
            );
            assert_eq!(stored["spec"]["paused"], json!(true));
            assert!(
                warnings.contains("opt out in a write of its own"),
                "{warnings}"
            );
            assert!(allowed(&ask(
                Hook::Backstop,
                ANN,
                &web("app:1"),
                &stored,
                &live
            )));
        }
    }
}

#[test]
fn undo_with_a_null_map_of_annotations() {
    let undone = with(web("app:0"), "/metadata/annotations", Value::Null);
    let (stored, _) = applied(
        ask(Hook::Gate, ANN, &web("app:1"), &undone, &idle()),
        &undone,
    );
    assert_eq!(
        stored["metadata"]["annotations"]["crossfade.dev/strategy"],
        json!("canary")
    );
}

#[test]
fn a_bypass_is_not_put_back() {
    let old = with(
        web("app:1"),
        "/metadata/annotations/crossfade.dev~1bypass",
        json!("incident"),
    );
    let undone = with(web("app:0"), "/metadata/annotations", json!({}));
    let (stored, _) = applied(ask(Hook::Gate, ANN, &old, &undone, &idle()), &undone);
    assert!(
        stored["metadata"]["annotations"]
            .get("crossfade.dev/bypass")
            .is_none()
    );
}

#[test]
fn opting_out_is_a_write_of_its_own_at_rest() {
    let out = |image| {
        without(
            web(image),
            "/metadata/annotations",
            "crossfade.dev/strategy",
        )
    };
    for hook in [Hook::Gate, Hook::Backstop] {
        for phase in [None, Some(Phase::Idle)] {
            let live = live(phase, &[set("app:1", 4)]);
            assert!(
                allowed(&ask(hook, ANN, &web("app:1"), &out("app:1"), &live)),
                "{phase:?}"
            );
        }
        for phase in UNDER_WAY.into_iter().chain([Phase::RolledBack]) {
            let live = live(Some(phase), &[set("app:1", 4)]);
            let message = refused(ask(hook, ANN, &web("app:1"), &out("app:1"), &live));
            assert!(
                message.contains(phase.as_str()) && message.contains("then opt out"),
                "{message}"
            );
        }
    }
}

#[test]
fn opting_out_does_not_let_a_gated_template_go() {
    // Idle, but a template is gated: dropping opt-in and pause in one write would roll it out.
    let out = without(
        web("app:2"),
        "/metadata/annotations",
        "crossfade.dev/strategy",
    );
    let old = paused(web("app:2"));
    let (stored, _) = applied(ask(Hook::Gate, ANN, &old, &out, &idle()), &out);
    assert_eq!(stored["spec"]["paused"], json!(true));
    refused(ask(Hook::Backstop, ANN, &old, &out, &idle()));
}

#[test]
fn a_bypass_counts_in_the_write_that_brings_it() {
    let bypass = |image, why: &str| {
        with(
            web(image),
            "/metadata/annotations/crossfade.dev~1bypass",
            json!(why),
        )
    };
    let answer = ask(
        Hook::Gate,
        ANN,
        &web("app:1"),
        &bypass("app:2", "incident 7"),
        &idle(),
    );
    let (stored, warnings) = applied(answer, &bypass("app:2", "incident 7"));
    assert!(stored["spec"].get("paused").is_none());
    assert!(warnings.contains("incident 7"), "{warnings}");
    assert!(allowed(&ask(
        Hook::Backstop,
        ANN,
        &web("app:1"),
        &bypass("app:2", "incident 7"),
        &idle()
    )));
    // Left over in Git, or empty, or in a release it means nothing.
    for (old, new, phase) in [
        (
            bypass("app:1", "incident 7"),
            bypass("app:2", "incident 7"),
            Phase::Idle,
        ),
        (web("app:1"), bypass("app:2", ""), Phase::Idle),
        (web("app:1"), bypass("app:2", "incident 7"), Phase::Warm),
        (
            web("app:1"),
            bypass("app:2", "incident 7"),
            Phase::RolledBack,
        ),
    ] {
        let live = live(Some(phase), &[set("app:1", 4)]);
        let (stored, _) = applied(ask(Hook::Gate, ANN, &old, &new, &live), &new);
        assert_eq!(stored["spec"]["paused"], json!(true), "{phase:?}");
    }
}

#[test]
fn a_bypass_that_comes_back_from_a_replica_set_counts_no_more() {
    let past = |image: &str, reason: &str| {
        with(
            web(image),
            "/metadata/annotations/crossfade.dev~1bypass",
            json!(reason),
        )
    };
    let mut used = set("app:0", 0);
    used["metadata"] = json!({"annotations": {"crossfade.dev/bypass": "INC-1"}});
    let live = live(Some(Phase::Idle), &[set("app:1", 4), used]);
    // kubectl rollout undo, or a chart that keeps the value.
    let (gated, warnings) = stored(&web("app:1"), &past("app:0", "INC-1"), &live);
    assert!(
        gated && warnings.contains("give another reason"),
        "{warnings}"
    );
    assert!(!stored(&web("app:1"), &past("app:2", "INC-2"), &live).0);
}

/// The Deployment controller copies annotations to ReplicaSets, and `kubectl rollout undo` takes them from there.
#[test]
fn annotations_that_come_back_with_a_revision_are_told() {
    let planned = |image: &str, steps: Option<&str>| match steps {
        Some(steps) => with(
            web(image),
            "/metadata/annotations/crossfade.dev~1steps",
            json!(steps),
        ),
        None => without(web(image), "/metadata/annotations", "crossfade.dev/steps"),
    };
    let now = "5%, 50%";
    for (image, before, earlier, written, told) in [
        ("app:0", Some(now), Some("50%"), Some("50%"), "\"50%\""),
        ("app:0", None, Some("50%"), Some("50%"), "it was not set"),
        (
            "app:0",
            Some(now),
            None,
            None,
            "crossfade.dev/steps: not set",
        ),
        // Somebody's own plan for it, and the plan as it was.
        ("app:0", Some(now), Some("50%"), Some("10%"), ""),
        ("app:0", Some(now), Some("50%"), Some(now), ""),
        ("app:2", Some(now), Some("50%"), Some("50%"), ""),
    ] {
        let mut set_before = set("app:0", 0);
        set_before["metadata"] = planned("app:0", earlier)["metadata"].clone();
        let live = live(Some(Phase::Idle), &[set("app:1", 4), set_before]);
        let old = planned("app:1", before);
        let (gated, warnings) = stored(&old, &planned(image, written), &live);
        let case = format!("{image}: {before:?}, {earlier:?}, {written:?}: {warnings}");
        assert!(gated, "{case}");
        assert_eq!(warnings.contains("brings back"), !told.is_empty(), "{case}");
        assert!(warnings.contains(told), "{case}");
    }
}

#[test]
fn a_native_rollout_that_was_paused_may_go_on() {
    let live = live(Some(Phase::Idle), &[set("app:1", 3), set("app:2", 1)]);
    for hook in [Hook::Gate, Hook::Backstop] {
        let resumed = ask(hook, ANN, &paused(web("app:2")), &web("app:2"), &live);
        assert!(allowed(&resumed), "{resumed:?}");
    }
    let (kept, warnings) = stored(&paused(web("app:3")), &web("app:3"), &live);
    assert!(kept, "its template serves nowhere");
    assert!(warnings.contains("push one of theirs again"), "{warnings}");
}

#[test]
fn a_release_that_another_installation_carries_out_is_unpaused_by_that_one_alone() {
    let (old, new) = (paused(web("app:2")), web("app:2"));
    for phase in UNDER_WAY {
        let mut live = live(Some(phase), &[set("app:1", 4)]);
        live.holder = Some("another".to_owned());
        for hook in [Hook::Gate, Hook::Backstop] {
            assert!(
                allowed(&ask(hook, "another", &old, &new, &live)),
                "{phase:?}"
            );
            assert!(!allowed(&ask(hook, ANN, &old, &new, &live)), "{phase:?}");
            // Another template is gated whoever writes it.
            let other = ask(hook, "another", &old, &web("app:3"), &live);
            assert!(!allowed(&other), "{phase:?}");
        }
    }
}

#[test]
fn a_bypass_is_written_down_for_its_template_only() {
    const RECORD: &str = "/metadata/annotations/crossfade.dev~1bypass-template";
    let past = |image: &str, reason: &str| {
        with(
            web(image),
            "/metadata/annotations/crossfade.dev~1bypass",
            json!(reason),
        )
    };
    let print =
        |object: &Value| crossfade_engine::identity::fingerprint(&object["spec"]["template"]);
    let written = |old: &Value, new: &Value, phase| {
        let live = live(Some(phase), &[set("app:1", 4)]);
        applied(ask(Hook::Gate, ANN, old, new, &live), new).0
    };
    for phase in [Phase::Idle, Phase::Progressing, Phase::RolledBack] {
        let let_pass = written(&web("app:1"), &past("app:2", "INC-1"), phase);
        let record = let_pass.pointer(RECORD).and_then(Value::as_str);
        assert_eq!(record, Some(print(&let_pass).as_str()), "{phase:?}");
        // The next template leaves the reason where it is: that was not about it.
        let next = with(
            let_pass.clone(),
            "/spec/template",
            web("app:3")["spec"]["template"].clone(),
        );
        assert_eq!(written(&let_pass, &next, phase).pointer(RECORD), None);
    }
    // Copied along with a manifest it is nobody's word.
    let copied = with(web("app:2"), RECORD, json!(print(&web("app:2"))));
    assert_eq!(
        written(&web("app:1"), &copied, Phase::Progressing).pointer(RECORD),
        None
    );
}
