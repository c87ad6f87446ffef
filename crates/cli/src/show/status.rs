//! Where one release stands: some lines for the screen, one for a log.

use crossfade_api::{Phase, SideStatus, StepStatus};
use jiff::Timestamp;
use kube::ResourceExt;

use crate::clock;
use crate::find;
use crate::follow::phase;
use crate::rollout::Rollout;

/// One line for a log. Changes only when something changes: no running times.
pub fn line(rollout: &Rollout) -> String {
    let status = rollout.status.as_ref();
    let phase = rollout.phase_word();
    let step = status
        .and_then(|status| status.step.as_ref())
        .filter(|step| step.text != phase)
        .map_or(String::new(), |step| format!(" {}", step.text));
    let message = status
        .and_then(|status| status.message.as_deref())
        .unwrap_or("not looked at yet by the controller");
    format!("{} {phase}{step}: {message}", rollout.name_any())
}

/// Some lines for the screen.
pub fn status(rollout: &Rollout, now: Timestamp) -> String {
    let mut text = format!(
        "{} in {}: {}\n",
        rollout.name_any(),
        rollout.namespace().unwrap_or_default(),
        rollout.phase_word()
    );
    for unread in [rollout.unreadable(), rollout.misread()]
        .into_iter()
        .flatten()
    {
        text.push_str(&format!("  {:<10} {unread}\n", "unreadable"));
    }
    let Some(status) = &rollout.status else {
        text.push_str(&format!(
            "  not looked at yet: is the controller running, and no older Rollout for the same Deployment there? {} \
             says how to see that\n",
            find::about(rollout, "explain")
        ));
        return text;
    };
    let mut say = |head: &str, what: &str| {
        if !what.is_empty() {
            text.push_str(&format!("  {head:<10} {what}\n"));
        }
    };
    if let Some(message) = &status.message {
        say("now", message);
    }
    if let Some(step) = &status.step {
        if phase(rollout) != Phase::RolledBack {
            say(
                "step",
                &format!(
                    "{} (for {})",
                    step.text,
                    step.since.map_or_else(
                        || "-".to_owned(),
                        |since| clock::length(now.duration_since(since).as_secs())
                    )
                ),
            );
            let weight = step.weight;
            say(
                "weight",
                &format!(
                    "asked {}, written {}, verified {}",
                    weight.asked, weight.written, weight.verified
                ),
            );
        }
        say("waits for", &waiting(step, now));
    }
    if let Some(candidate) = &status.candidate {
        say("candidate", &side(candidate));
    }
    if let Some(stable) = &status.stable {
        say("stable", &side(stable));
    }
    if let Some(verdict) = &status.verdict {
        say(
            "verdict",
            &format!("{}: {}", verdict.outcome, verdict.reason),
        );
        for signal in &verdict.signals {
            let ratio = signal.ratio_at_least.map_or_else(String::new, |ratio| {
                format!(", at least {ratio:.2} times stable's")
            });
            let evidence = signal
                .evidence
                .map_or_else(String::new, |evidence| format!(", evidence {evidence:.2}"));
            say(
                "",
                &format!(
                    "{}: candidate {}, stable {}{ratio}{evidence}",
                    signal.name, signal.candidate, signal.stable
                ),
            );
        }
    }
    if let Some(plan) = &status.plan {
        let current = status.step.as_ref().map(|step| step.index as usize);
        let under_way = matches!(phase(rollout), Phase::Progressing | Phase::Warm);
        for (index, step) in plan.steps.iter().enumerate() {
            let mark = match current {
                Some(current) if under_way && index == current => ">",
                Some(current) if under_way && index < current => "+",
                _ => " ",
            };
            say(
                if index == 0 { "plan" } else { "" },
                &format!("{mark} {step}"),
            );
        }
    }
    if let Some(control) = &status.control {
        say(
            "command",
            &format!(
                "{} by {}: {}: {}",
                control.action, control.by, control.outcome, control.message
            ),
        );
    }
    for condition in status
        .conditions
        .iter()
        .filter(|condition| condition.type_ == "Stalled" && condition.status == "True")
    {
        say(
            "stalled",
            &format!("{}: {}", condition.reason, condition.message),
        );
    }
    if let Some(last) = status.history.first() {
        say(
            "last",
            &format!(
                "{} {} {}: {}",
                last.candidate,
                last.outcome,
                clock::ago(last.ended_at, now),
                last.reason
            ),
        );
    }
    text
}

fn side(side: &SideStatus) -> String {
    format!(
        "{}  {}/{} ready  {}",
        side.name,
        side.ready,
        side.replicas,
        side.images.join(", ")
    )
}

/// What it waits for, until when, and what then.
pub(super) fn waiting(step: &StepStatus, now: Timestamp) -> String {
    let Some(on) = &step.waiting_on else {
        return String::new();
    };
    let until = step.until.map_or_else(
        || "never ends by itself".to_owned(),
        |at| clock::until(at, now),
    );
    let then = step
        .then
        .as_ref()
        .map_or_else(String::new, |then| format!("; then: {then}"));
    format!("{on} ({until}{then})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_nobody_looked_at_names_the_command_that_says_more() {
        let _plugin = crate::called::tests::as_plugin();
        let new = Rollout::read(serde_json::json!({
            "metadata": { "name": "web", "namespace": "shop" }, "spec": {},
        }));
        let text = status(&new, Timestamp::UNIX_EPOCH);
        let part = "kubectl crossfade -n shop --context east explain web says";
        assert!(text.contains(part), "{part} in {text}");
    }

    #[test]
    fn says_step_wait_and_verdict() {
        let rollout: Rollout = serde_json::from_value(serde_json::json!({
            "apiVersion": "crossfade.dev/v1alpha1", "kind": "Rollout",
            "metadata": { "name": "web", "namespace": "shop" },
            "spec": {},
            "status": {
                "phase": "Progressing", "message": "observing",
                "step": {
                    "index": 1, "of": 3, "text": "2/3 20% Observing", "state": "Observing",
                    "weight": { "asked": 20, "written": 20, "verified": 20 },
                    "since": "2026-01-01T00:00:00Z", "waitingOn": "the stay",
                    "until": "2026-01-01T00:02:00Z", "then": "the verdict decides",
                },
                "verdict": { "outcome": "watching", "reason": "nothing unusual", "signals": [] },
                "plan": { "steps": ["5 %", "20 %", "warm"], "sources": {} },
            },
        }))
        .unwrap();
        let text = status(&rollout, "2026-01-01T00:00:30Z".parse().unwrap());
        for part in [
            "2/3 20% Observing (for 30s)",
            "the stay (in 1m30s; then: the verdict decides)",
            "watching: nothing unusual",
            "> 20 %",
            "+ 5 %",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert_eq!(
            line(&rollout),
            "web Progressing 2/3 20% Observing: observing"
        );
    }
}
