//! The status and the sentence users read, made from the pass and nothing else.

use crossfade_api::{
    Phase, PlanStatus, RolloutStatus, SideStatus, StepState, StepStatus, Weight, WeightStatus,
    conditions,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::report::WaitingOn;
use crate::step::Pass;

/// Longest text put into the status; what others wrote may be long.
const LONGEST: usize = 1024;

pub(crate) fn status(pass: &Pass<'_>) -> RolloutStatus {
    let memory = &pass.memory;
    let release = memory.release.as_ref();
    let replicas = pass
        .seen
        .workload
        .as_ref()
        .map_or(0, |workload| workload.replicas);
    let mut status = RolloutStatus {
        phase: Some(memory.phase),
        message: Some(short(&message(pass))),
        stable: release.map(|release| SideStatus {
            name: release.stable.name.clone(),
            pod_template_hash: Some(release.stable.hash.clone()).filter(|hash| !hash.is_empty()),
            images: release.stable.images.clone(),
            replicas: pass.stable_set().map_or(0, |set| set.replicas),
            ready: pass.stable_ready(),
            started_at: None,
        }),
        candidate: release.map(|release| SideStatus {
            name: release.candidate.clone(),
            pod_template_hash: pass.candidate_hash(),
            images: release.images.clone(),
            replicas: pass
                .parallel()
                .map(|parallel| parallel.replicas)
                .or_else(|| pass.candidate_set().map(|set| set.replicas))
                .unwrap_or(0),
            ready: pass.candidate_ready(),
            started_at: release.started_at,
        }),
        step: None,
        verdict: None,
        control: memory.control.clone(),
        plan: release.map(|release| PlanStatus {
            steps: release.plan.describe(replicas),
            sources: release.sources.clone(),
        }),
        rejected: memory
            .rejected
            .iter()
            .map(|rejected| rejected.entry.clone())
            .collect(),
        history: memory.history.clone(),
        ..RolloutStatus::default()
    };
    if memory.phase != Phase::Idle {
        status.step = step(pass);
        status.verdict = pass.verdict_status();
    } else {
        status.stable = None;
        status.candidate = None;
        status.plan = None;
    }
    status.conditions = condition_list(pass);
    status
}

fn step(pass: &Pass<'_>) -> Option<StepStatus> {
    let release = pass.memory.release.as_ref()?;
    let asked = match pass.memory.phase {
        Phase::Progressing | Phase::Warm | Phase::HandingOver => {
            release.plan.weight_at(release.step)
        }
        _ => Weight::ZERO,
    };
    let written = pass.written_weight();
    let verified = match release.state {
        StepState::Scaling | StepState::Shifting | StepState::Settling
            if release.stay_since.is_none() =>
        {
            Weight::ZERO.max(if asked == Weight::ZERO {
                written
            } else {
                Weight::ZERO
            })
        }
        _ => written,
    };
    let steps = release.plan.warm_index();
    let text = match pass.memory.phase {
        Phase::Progressing => format!("{}/{steps} {asked} {:?}", release.step + 1, release.state),
        Phase::Warm => format!("warm {asked} {:?}", release.state),
        other => other.as_str().to_owned(),
    };
    let waiting = pass.waiting.as_ref();
    Some(StepStatus {
        index: release.step,
        of: steps,
        text,
        state: release.state,
        weight: WeightStatus {
            asked,
            written,
            verified,
        },
        since: release.state_since,
        waiting_on: waiting.map(|waiting| short(&waiting.text)),
        until: waiting.and_then(|waiting| waiting.until),
        then: waiting.map(|waiting| waiting.then.clone()),
    })
}

/// One sentence: what goes on and why.
fn message(pass: &Pass<'_>) -> String {
    let release = pass.memory.release.as_ref();
    let waiting = pass.waiting.as_ref().map(|waiting| {
        let until = waiting
            .until
            .map_or_else(|| "never".to_owned(), |until| until.to_string());
        format!(
            "waits for {} (until {until}, then: {})",
            waiting.text,
            waiting.then.strip_prefix("then ").unwrap_or(&waiting.then)
        )
    });
    let what = match (pass.memory.phase, release) {
        (Phase::Idle, _) => match &pass.memory.refused {
            Some(refused) => format!("a template is gated and cannot be released: {refused}"),
            None if !pass.validated.problems.is_empty() => format!(
                "at rest; the next release cannot start: {}",
                pass.validated.problems.join("; ")
            ),
            None => "at rest".to_owned(),
        },
        (Phase::RolledBack, _) if pass.memory.refused.is_some() => {
            let serves = pass
                .stable_missing()
                .unwrap_or_else(|| "stable serves".to_owned());
            format!(
                "{serves}; the new template cannot be released: {}",
                pass.memory.refused.as_deref().unwrap_or_default()
            )
        }
        (Phase::RollingBack | Phase::RolledBack, Some(release)) => {
            let reason = release
                .rollback
                .as_ref()
                .map_or("", |rollback| rollback.reason.as_str());
            format!("{}: {reason}", pass.memory.phase.as_str())
        }
        (phase, Some(release)) => format!("{} candidate {}", phase.as_str(), release.candidate),
        (phase, None) => phase.as_str().to_owned(),
    };
    match waiting {
        Some(waiting) if pass.memory.refused.is_none() => format!("{what}; {waiting}"),
        _ => what,
    }
}

fn condition_list(pass: &Pass<'_>) -> Vec<Condition> {
    let phase = pass.memory.phase;
    let refused = pass.memory.refused.as_deref();
    let under_way = matches!(
        phase,
        Phase::Preparing
            | Phase::Progressing
            | Phase::Warm
            | Phase::HandingOver
            | Phase::RollingBack
    );
    let problems =
        (!pass.validated.problems.is_empty()).then(|| pass.validated.problems.join("; "));
    let message = short(&message(pass));
    // At rest, but somebody has to do something: unpause, opt in, create the Deployment.
    let to_mend = phase == Phase::Idle && waits_on(pass) == Some(WaitingOn::Mend);
    let stalled = phase == Phase::RolledBack
        || refused.is_some()
        || to_mend
        || (phase == Phase::Idle && problems.is_some());
    let stalled_reason = if refused.is_some() || problems.is_some() {
        "Refused"
    } else if to_mend {
        WaitingOn::Mend.as_str()
    } else {
        "RolledBack"
    };
    let ready = phase == Phase::Idle && !stalled;
    let stalled_text = refused
        .map(str::to_owned)
        .or(problems.filter(|_| phase == Phase::Idle))
        .unwrap_or_else(|| message.clone());
    vec![
        condition(
            pass,
            conditions::READY,
            ready,
            if ready { "AtRest" } else { phase.as_str() },
            &message,
        ),
        condition(
            pass,
            conditions::PROGRESSING,
            under_way,
            waits_on(pass).map_or(phase.as_str(), WaitingOn::as_str),
            &message,
        ),
        condition(
            pass,
            conditions::STALLED,
            stalled,
            if stalled {
                stalled_reason
            } else {
                "NotStalled"
            },
            if stalled { &stalled_text } else { "" },
        ),
    ]
}

/// What is waited for, for `explain` and for scripts: the kind beside the words of the message, in every
/// phase. The same wait as in the message: a template that cannot be released speaks first.
fn waits_on(pass: &Pass<'_>) -> Option<WaitingOn> {
    match pass.memory.refused {
        Some(_) => Some(WaitingOn::Mend),
        None => pass.waiting.as_ref().map(|waiting| waiting.on),
    }
}

/// The time is the one of this pass; whoever writes the status keeps the old one where the status of
/// the condition did not change.
fn condition(pass: &Pass<'_>, kind: &str, status: bool, reason: &str, message: &str) -> Condition {
    Condition {
        last_transition_time: Time(pass.now),
        message: short(message),
        observed_generation: Some(pass.seen.rollout.generation),
        reason: reason.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        type_: kind.to_owned(),
    }
}

fn short(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let mut end = LONGEST;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}
