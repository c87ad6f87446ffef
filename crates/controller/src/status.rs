//! The status to write and whether it is worth a write. Pure: report and memory in, JSON out.

use crossfade_api::RolloutStatus;
use crossfade_engine::Memory;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::release::under_way;
use crate::run::Settings;

/// How much differs between what stands there and what should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing.
    None,
    /// Numbers of the analysis and texts that carry them: written with the next other change, or
    /// after a minute.
    Quiet,
    /// Anything else: written before it is acted on.
    Loud,
}

/// Where the user of the installation stands that `status.controller` names.
pub const HOLDER: &str = "/status/memory/user";

/// The status of a Rollout from the planner's report and memory. It names the installation that carries
/// the release out, at rest that which did last.
///
/// # Errors
/// When they cannot be written as JSON, which is a bug.
pub fn build(
    mut shown: RolloutStatus,
    memory: &Memory,
    rollout: &Value,
    ourselves: &Settings,
    now: Timestamp,
) -> Result<Value, serde_json::Error> {
    let generation = rollout
        .pointer("/metadata/generation")
        .and_then(Value::as_i64);
    shown.memory = None;
    shown.observed_generation = generation;
    // At rest any installation may look; if each named itself, two of them would write for ever.
    let text = |pointer| rollout.pointer(pointer).and_then(Value::as_str);
    let (installation, user) = match (text("/status/controller"), text(HOLDER)) {
        (Some(named), Some(user)) if !named.is_empty() && !under_way(memory) => (named, user),
        _ => (ourselves.installation.as_str(), ourselves.user.as_str()),
    };
    shown.controller = Some(installation.to_owned());
    for condition in &mut shown.conditions {
        condition.observed_generation = condition.observed_generation.or(generation);
    }
    let mut status = serde_json::to_value(shown)?;
    // Put in as it is: inside `shown` the largest part would be written into JSON twice.
    if let Some(map) = status.as_object_mut() {
        let mut memory = serde_json::to_value(memory)?;
        memory["user"] = json!(user);
        map.insert("memory".to_owned(), memory);
    }
    stamp(
        &mut status,
        rollout.get("status").unwrap_or(&Value::Null),
        now,
    );
    Ok(status)
}

/// A condition whose status did not change keeps its time.
fn stamp(status: &mut Value, before: &Value, now: Timestamp) {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let known = before.get("conditions").and_then(Value::as_array);
    for condition in status
        .get_mut("conditions")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let same = known.into_iter().flatten().find(|other| {
            other.get("type") == condition.get("type")
                && other.get("status") == condition.get("status")
        });
        let time = same
            .and_then(|other| other.get("lastTransitionTime"))
            .cloned()
            .unwrap_or_else(|| json!(now));
        if let Some(map) = condition.as_object_mut() {
            map.insert("lastTransitionTime".to_owned(), time);
        }
    }
}

/// Compares what stands there with what should.
#[must_use]
pub fn change(before: &Value, after: &Value) -> Change {
    if before == after {
        Change::None
    } else if same_but_quiet(before, after, "") {
        Change::Quiet
    } else {
        Change::Loud
    }
}

/// Whether a value moves with every tick of the analysis. By where it stands, as a pointer with `-`
/// for any place in a list.
fn is_quiet(at: &str) -> bool {
    matches!(
        at,
        "/message"
            | "/verdict/reason"
            | "/verdict/signals"
            | "/memory/release/judge"
            | "/step/then"
            | "/conditions/-/message"
            // What is waited for: the same news as in the messages, and while a release is under way
            // in `step`, which is not quiet.
            | "/conditions/-/reason"
    )
}

/// Whether a quiet value stands somewhere in here.
fn has_quiet(at: &str) -> bool {
    matches!(
        at,
        "" | "/verdict" | "/memory" | "/memory/release" | "/step" | "/conditions" | "/conditions/-"
    )
}

/// Whether two statuses differ in nothing, or only in what moves with every tick.
fn same_but_quiet(before: &Value, after: &Value, at: &str) -> bool {
    if !has_quiet(at) {
        return before == after;
    }
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let missing = |name: &&String| !before.contains_key(*name);
            before
                .keys()
                .chain(after.keys().filter(missing))
                .all(|name| {
                    let at = format!("{at}/{name}");
                    is_quiet(&at)
                        || (at == "/step/waitingOn" && only_counts(before, after))
                        || match (before.get(name), after.get(name)) {
                            (Some(before), Some(after)) => same_but_quiet(before, after, &at),
                            _ => false,
                        }
                })
        }
        (Value::Array(before), Value::Array(after)) => {
            let at = format!("{at}/-");
            before.len() == after.len()
                && before
                    .iter()
                    .zip(after)
                    .all(|(before, after)| same_but_quiet(before, after, &at))
        }
        _ => before == after,
    }
}

/// Whether a held step waits for the same and has only counted on: it may do so for hours.
fn only_counts(before: &Map<String, Value>, after: &Map<String, Value>) -> bool {
    let words = |step: &Map<String, Value>| {
        let text = step.get("waitingOn").and_then(Value::as_str)?;
        let held = step.get("state").and_then(Value::as_str) == Some("Held");
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        held.then(|| text.replace(is_number, ""))
    };
    let words_before = words(before);
    words_before.is_some() && words_before == words(after)
}

/// Adds to the message which write was refused. Returns whether that is news.
pub fn refused(status: &mut Value, why: &str) -> bool {
    const MARK: &str = "; refused: ";
    let Some(message) = status.get("message").and_then(Value::as_str) else {
        return false;
    };
    let before = message.split(MARK).next().unwrap_or_default();
    let short: String = why.chars().take(700).collect();
    let after = format!("{before}{MARK}{short}");
    if after == message {
        return false;
    }
    if let Some(map) = status.as_object_mut() {
        map.insert("message".to_owned(), json!(after));
    }
    true
}

/// What to say about a Rollout that cannot be read: the rest of its status stays.
#[must_use]
pub fn unreadable(rollout: &Value, why: &str, now: Timestamp) -> Value {
    let before = rollout.get("status").cloned().unwrap_or_else(|| json!({}));
    let mut status = before.clone();
    let generation = rollout
        .pointer("/metadata/generation")
        .and_then(Value::as_i64);
    let condition = |kind: &str, value: &str| json!({ "type": kind, "status": value, "reason": "Unreadable", "message": why, "observedGeneration": generation });
    if let Some(map) = status.as_object_mut() {
        map.insert("message".to_owned(), json!(why));
        map.insert("observedGeneration".to_owned(), json!(generation));
        map.insert(
            "conditions".to_owned(),
            json!([condition("Ready", "False"), condition("Stalled", "True")]),
        );
    }
    stamp(&mut status, &before, now);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    #[test]
    fn numbers_of_the_analysis_are_quiet() {
        let before = json!({"phase": "Progressing", "message": "1 of 10", "verdict": {"outcome": "watching", "reason": "1 of 10"}, "memory": {"release": {"step": 1, "judge": {"lastTick": 4}}}});
        let mut after = before.clone();
        assert_eq!(change(&before, &after), Change::None);
        after["memory"]["release"]["judge"]["lastTick"] = json!(5);
        after["verdict"]["reason"] = json!("2 of 20");
        after["message"] = json!("2 of 20");
        assert_eq!(change(&before, &after), Change::Quiet);
        after["verdict"]["outcome"] = json!("bad");
        assert_eq!(change(&before, &after), Change::Loud);
        let mut gone = before.clone();
        gone["verdict"] = json!({"outcome": "watching"});
        assert_eq!(change(&before, &gone), Change::Quiet);
        gone["verdict"] = json!({"outcome": "watching", "side": "stable"});
        assert_eq!(change(&before, &gone), Change::Loud);
        let at_rest = |waits_on: &str, status: &str| json!({"phase": "Idle", "conditions": [{"type": "Progressing", "status": status, "reason": waits_on}]});
        let idle = at_rest("Idle", "False");
        assert_eq!(change(&idle, &at_rest("Mend", "False")), Change::Quiet);
        assert_eq!(change(&idle, &at_rest("Idle", "True")), Change::Loud);
        let mut stepped = before.clone();
        stepped["memory"]["release"]["step"] = json!(2);
        assert_eq!(change(&before, &stepped), Change::Loud);
    }

    #[test]
    fn a_held_step_that_only_counts_on_is_quiet() {
        let at = |state: &str, text: &str| json!({ "step": { "state": state, "waitingOn": text } });
        let (one, two) = ("errors: 5 of 100 (5.00 %)", "errors: 6 of 118 (5.08 %)");
        assert_eq!(change(&at("Held", one), &at("Held", two)), Change::Quiet);
        assert_eq!(
            change(&at("Held", one), &at("Held", "no data")),
            Change::Loud
        );
        assert_eq!(
            change(&at("Observing", one), &at("Held", two)),
            Change::Loud
        );
        // How many pods are ready is news while one waits for them.
        let scaling = |text| at("Scaling", text);
        let (one, two) = (scaling("1 of 3 ready"), scaling("2 of 3 ready"));
        assert_eq!(change(&one, &two), Change::Loud);
    }

    #[test]
    fn two_installations_at_rest_do_not_take_the_status_from_each_other() {
        let ourselves = Settings {
            namespaces: None,
            write_timeout: std::time::Duration::from_secs(1),
            installation: "green".to_owned(),
            user: "green's".to_owned(),
            instance: String::new(),
            concurrency: 1,
        };
        let named = |memory: &Memory, before: &str| {
            let user = format!("{before}'s");
            let rollout = json!({"status": {"controller": before, "memory": {"user": user}}});
            let shown = RolloutStatus::default();
            let status = build(shown, memory, &rollout, &ourselves, now()).unwrap();
            let name = status["controller"].as_str().unwrap().to_owned();
            assert_eq!(status["memory"]["user"], format!("{name}'s"));
            name
        };
        let rest = Memory::default();
        assert_eq!(named(&rest, ""), "green");
        assert_eq!(named(&rest, "blue"), "blue");
        let begun = Memory {
            phase: crossfade_api::Phase::Preparing,
            release: Some(crossfade_engine::memory::Release::default()),
            ..Memory::default()
        };
        assert_eq!(named(&begun, "blue"), "green");
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let before = json!({"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}]});
        let mut same = json!({"conditions": [{"type": "Ready", "status": "True", "message": "new words"}, {"type": "Stalled", "status": "False"}]});
        stamp(&mut same, &before, now());
        assert_eq!(
            same["conditions"][0]["lastTransitionTime"],
            "2020-01-01T00:00:00Z"
        );
        assert_eq!(
            same["conditions"][1]["lastTransitionTime"],
            "2023-11-14T22:13:20Z"
        );
    }

    #[test]
    fn a_refusal_is_shown_once() {
        let mut status = json!({"message": "waits for a write"});
        assert!(refused(&mut status, "denied by a webhook"));
        assert_eq!(
            status["message"],
            "waits for a write; refused: denied by a webhook"
        );
        assert!(!refused(&mut status, "denied by a webhook"));
        assert!(refused(&mut status, "denied by another"));
        assert_eq!(
            status["message"],
            "waits for a write; refused: denied by another"
        );
    }
}
