//! Why a release stands where it stands and what gets it moving.

use crossfade_api::{Phase, Rollout, StepState};
use jiff::Timestamp;
use kube::ResourceExt;

use super::status::status;
use crate::follow::phase;

/// What is wrong with a pod or a Deployment, in the cluster's own words.
#[derive(Debug, PartialEq, Eq)]
pub struct Trouble {
    /// `pod web-1, container app`.
    pub what: String,
    pub reason: String,
    pub message: String,
}

/// The status, the troubles and the ways on.
pub fn explain(rollout: &Rollout, troubles: &[Trouble], now: Timestamp) -> String {
    let mut text = status(rollout, now);
    text.push_str("\npods\n");
    if troubles.is_empty() {
        text.push_str("  nothing unusual\n");
    }
    for trouble in troubles {
        text.push_str(&format!(
            "  {}: {}: {}\n",
            trouble.what, trouble.reason, trouble.message
        ));
    }
    if let Some(status) = &rollout.status {
        if let Some(plan) = status.plan.as_ref().filter(|plan| !plan.sources.is_empty()) {
            text.push_str("\nplan from\n");
            for (field, source) in &plan.sources {
                text.push_str(&format!("  {field}: {source}\n"));
            }
        }
        if phase(rollout) == Phase::RolledBack && !status.rejected.is_empty() {
            text.push_str("\nrejected\n");
            for entry in &status.rejected {
                text.push_str(&format!(
                    "  {} {}: {}\n",
                    entry.candidate,
                    entry.images.join(", "),
                    entry.reason
                ));
            }
        }
    }
    text.push_str("\nways on\n");
    for way in ways(rollout) {
        text.push_str(&format!("  {way}\n"));
    }
    text
}

/// What a person can do now.
fn ways(rollout: &Rollout) -> Vec<String> {
    let name = rollout.name_any();
    let state = rollout
        .status
        .as_ref()
        .and_then(|status| status.step.as_ref())
        .map(|step| step.state);
    let abort = format!("crossfade abort {name}: takes the new version away");
    let promote = |what: &str| format!("crossfade promote {name}: {what}");
    match (phase(rollout), state) {
        (Phase::Idle, _) => {
            vec!["push another template, or crossfade run: starts a release".to_owned()]
        }
        (Phase::Preparing, _) => vec![abort, "push another template: replaces this one".to_owned()],
        (Phase::Progressing | Phase::Warm, Some(StepState::AwaitingApproval)) => {
            vec![promote("gives the approval"), abort]
        }
        (Phase::Progressing | Phase::Warm, Some(StepState::Paused)) => {
            vec![format!("crossfade resume {name}: goes on"), abort]
        }
        (Phase::Progressing | Phase::Warm, Some(StepState::Held)) => vec![
            promote("goes on in spite of the verdict's hold"),
            format!("crossfade promote --full {name}: keeps the new version without judgement"),
            abort,
        ],
        (Phase::Progressing | Phase::Warm, _) => vec![
            promote("ends this stay"),
            format!("crossfade pause {name}: stays here"),
            abort,
            "push stable's template again (git revert): takes the new version away".to_owned(),
        ],
        (Phase::HandingOver, _) => {
            vec!["none is needed; going back now is a new release of the old template".to_owned()]
        }
        (Phase::RollingBack, _) => vec![
            "none is needed; another template may be pushed now and starts afterwards".to_owned(),
        ],
        (Phase::RolledBack, _) => vec![
            "push a mended template: starts a release".to_owned(),
            "push stable's template again (git revert): ends this, no pod is replaced".to_owned(),
            format!("crossfade retry {name}: releases the rejected template again"),
        ],
    }
}
