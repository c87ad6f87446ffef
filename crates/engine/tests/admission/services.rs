//! Services under release keep our key and mark; commands carry who wrote them.

use crossfade_engine::admit::{Answer, Hook, Live};
use serde_json::{Value, json};

use super::*;

fn service(key: Option<&str>, mark: Option<&str>) -> Value {
    let mut service = json!({"metadata": {"name": "web", "labels": {"a": "b"}}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}});
    if let Some(key) = key {
        service["spec"]["selector"]["pod-template-hash"] = json!(key);
    }
    if let Some(mark) = mark {
        service["metadata"]["labels"]["crossfade.dev/held-by"] = json!(mark);
    }
    service
}

fn traffic(user: &str, old: &Value, new: &Value) -> Answer {
    ask(Hook::Traffic, user, old, new, &Live::default())
}

#[test]
fn our_key_and_mark_stay_when_a_service_is_applied_again() {
    let pinned = service(Some("abc"), Some("uid"));
    for new in [
        service(None, None),
        service(Some("other"), Some("uid")),
        service(Some("abc"), Some("forged")),
        without(service(None, None), "/metadata", "labels"),
    ] {
        let (stored, warnings) = applied(traffic(ANN, &pinned, &new), &new);
        assert_eq!(
            stored["spec"]["selector"]["pod-template-hash"],
            json!("abc")
        );
        assert_eq!(
            stored["metadata"]["labels"]["crossfade.dev/held-by"],
            json!("uid")
        );
        assert!(!warnings.is_empty());
    }
    // What else they change is theirs.
    let moved = with(service(None, None), "/spec/ports", json!([{"port": 81}]));
    let (stored, _) = applied(traffic(ANN, &pinned, &moved), &moved);
    assert_eq!(stored["spec"]["ports"], json!([{"port": 81}]));
}

#[test]
fn a_service_that_another_installation_holds_is_written_by_that_one_alone() {
    let (pinned, new) = (service(Some("abc"), Some("uid")), service(None, None));
    let kept = |user: &str, live: &Live| {
        let (stored, _) = applied(ask(Hook::Traffic, user, &pinned, &new, live), &new);
        stored != new
    };
    let held = Live {
        holder: Some("another".to_owned()),
        ..Live::default()
    };
    assert!(kept(ANN, &held) && !kept("another", &held) && kept("another", &Live::default()));
    // Of a workload that is gone there is nothing to guard.
    let departed = Live {
        departed: true,
        ..Live::default()
    };
    assert!(!kept(ANN, &departed));
    // Who holds it is read for everybody but us, and only where there is a mark.
    let read = |user, old| needs_live(Hook::Traffic, user, US, &new, old);
    assert!(read(ANN, &pinned));
    assert!(!read(US, &pinned) && !read(ANN, &service(Some("abc"), None)));
}

#[test]
fn a_widened_service_is_not_pinned_by_others() {
    let wide = service(None, Some("uid"));
    let (stored, _) = applied(
        traffic(ANN, &wide, &service(Some("abc"), None)),
        &service(Some("abc"), None),
    );
    assert!(
        stored["spec"]["selector"]
            .get("pod-template-hash")
            .is_none()
    );
    assert_eq!(
        stored["metadata"]["labels"]["crossfade.dev/held-by"],
        json!("uid")
    );
}

#[test]
fn services_at_rest_and_our_own_writes_pass() {
    assert!(allowed(&traffic(
        ANN,
        &service(Some("v1"), None),
        &service(None, None)
    )));
    assert!(allowed(&traffic(
        US,
        &service(Some("abc"), Some("uid")),
        &service(None, None)
    )));
    assert!(allowed(&traffic(
        ANN,
        &service(Some("abc"), Some("uid")),
        &service(Some("abc"), Some("uid"))
    )));
}

fn rollout(control: Value) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"control": control}})
}

fn stamped(user: &str, old: &Value, new: &Value) -> Value {
    applied(ask(Hook::Stamp, user, old, new, &Live::default()), new).0["spec"]["control"].clone()
}

#[test]
fn commands_carry_who_wrote_them() {
    let none = json!({"metadata": {"name": "web"}, "spec": {}});
    let control = stamped(ANN, &none, &rollout(json!({"action": "abort"})));
    assert_eq!(
        control["author"],
        json!({"user": "ann", "at": "2026-01-01T12:00:00Z"})
    );
    // Whatever the writer claims is replaced.
    let forged = rollout(
        json!({"action": "promote", "full": true, "author": {"user": "the-boss", "at": "x"}}),
    );
    assert_eq!(stamped(ANN, &none, &forged)["author"]["user"], json!("ann"));
    assert!(allowed(&ask(
        Hook::Stamp,
        ANN,
        &rollout(json!({"action": "abort"})),
        &none,
        &Live::default()
    )));
}

#[test]
fn an_author_is_not_changed_without_the_command() {
    let ours = rollout(json!({"action": "abort", "author": {"user": "ann", "at": "t"}}));
    for author in [Some("mallory"), None] {
        let mut new = ours.clone();
        match author {
            Some(user) => new["spec"]["control"]["author"]["user"] = json!(user),
            None => new = rollout(json!({"action": "abort"})),
        }
        assert_eq!(
            stamped("mallory", &ours, &new)["author"]["user"],
            json!("ann")
        );
    }
    // One written while admission was away stays unverified.
    let unverified = rollout(json!({"action": "abort"}));
    let claimed = rollout(json!({"action": "abort", "author": {"user": "ann", "at": "t"}}));
    assert!(
        stamped("mallory", &unverified, &claimed)
            .get("author")
            .is_none()
    );
}
