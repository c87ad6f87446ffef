//! Commands: each is carried out once, and each gets an answer.

use crossfade_api::{Action, ControlSpec, ControlStatus, Phase, StepState};

use crate::identity::fingerprint;
use crate::memory::Cause;
use crate::observed::Workload;
use crate::step::Pass;
use crate::validated::PlannedStep;

/// Ids remembered, so that a command re-applied from Git is not carried out again.
const CONSUMED: usize = 20;

impl Pass<'_> {
    /// Handles the command in `spec.control` if it is new.
    pub(crate) fn command(&mut self, workload: &Workload) {
        let Some(control) = self.seen.rollout.control.clone() else {
            return;
        };
        if self.memory.handled.as_ref() == Some(&control) {
            return;
        }
        let id = control
            .id
            .clone()
            .unwrap_or_else(|| format!("generation-{}", self.seen.rollout.generation));
        if self.memory.consumed.contains(&id) {
            return;
        }
        // A hand-over takes a second or two; then there is something to undo.
        if control.action == Action::Undo && self.memory.phase == Phase::HandingOver {
            return;
        }
        let (outcome, message) = self.carry_out(workload, &control);
        let by = control
            .author
            .as_ref()
            .map_or_else(|| "unverified".to_owned(), |author| author.user.clone());
        let warning = outcome != "done";
        self.event(
            warning,
            "Command",
            format!("{} by {by}: {outcome}: {message}", control.action.as_str()),
        );
        self.memory.control = Some(ControlStatus {
            id: id.clone(),
            generation: self.seen.rollout.generation,
            action: control.action.as_str().to_owned(),
            outcome: outcome.to_owned(),
            message,
            by,
            at: Some(self.now),
        });
        self.memory.handled = Some(control);
        self.memory.consumed.insert(0, id);
        self.memory.consumed.truncate(CONSUMED);
    }

    fn carry_out(&mut self, workload: &Workload, control: &ControlSpec) -> (&'static str, String) {
        let phase = self.memory.phase;
        match control.action {
            Action::Retry => return self.retry(workload, control),
            Action::Undo => return self.undo(workload, control),
            _ => {}
        }
        let Some(release) = self.memory.release.as_mut() else {
            // Pushed a moment ago it may be about to begin, or it cannot begin.
            let said = if workload.paused && !self.serves_alone(workload) {
                "no release is under way: a template is gated, and its release has not begun; undo withdraws it"
            } else {
                "no release is under way; push a template first"
            };
            return ("refused", said.to_owned());
        };
        if let Some(candidate) = &control.candidate
            && *candidate != release.candidate
        {
            return (
                "superseded",
                format!(
                    "it was meant for candidate {candidate}; now it is {}",
                    release.candidate
                ),
            );
        }
        if let Some(step) = control.step
            && control.action != Action::Abort
            && step != release.step
        {
            return (
                "superseded",
                format!(
                    "it was meant for step {step}; the release is at step {}",
                    release.step
                ),
            );
        }
        let who = control
            .author
            .as_ref()
            .map_or("somebody unverified", |author| author.user.as_str())
            .to_owned();
        let why = control
            .reason
            .clone()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        let under_way = matches!(phase, Phase::Preparing | Phase::Progressing | Phase::Warm);
        match control.action {
            Action::Abort if under_way => {
                let force = control.force.unwrap_or(false);
                self.effects_first = true;
                self.roll_back(Cause::Aborted, format!("aborted by {who}{why}"));
                if let Some(rollback) = self.memory.release.as_mut().and_then(|release| release.rollback.as_mut()) {
                    rollback.force = force;
                }
                ("done", "the candidate is taken away".to_owned())
            }
            Action::Abort if phase == Phase::RollingBack => {
                let force = control.force.unwrap_or(false);
                if let Some(rollback) = release.rollback.as_mut() {
                    rollback.force |= force;
                    // It would start again by itself.
                    if rollback.cause == Cause::Interrupted {
                        rollback.cause = Cause::Aborted;
                        rollback.reason = format!("{}; aborted by {who}{why}", rollback.reason);
                    }
                }
                ("done", "the candidate is being taken away already".to_owned())
            }
            Action::Abort if phase == Phase::HandingOver => (
                "too-late",
                "the hand-over has begun and goes forward only; use undo, or push the earlier template".to_owned(),
            ),
            Action::Promote if under_way => {
                if control.full.unwrap_or(false) {
                    release.paused = None;
                    release.full = Some(format!("{who}{why}"));
                    let warm = release.plan.warm_index();
                    if release.step != warm {
                        release.step = warm;
                        release.stay_since = None;
                        release.agreed_since = None;
                        release.progress_since = Some(self.now);
                        release.most_ready = 0;
                        release.complete_for = 0;
                        release.state = StepState::Scaling;
                    }
                    return ("done", format!("every remaining step and the verdict are skipped, by {who}{why}"));
                }
                if phase == Phase::Preparing {
                    return ("refused", "the candidate has not started yet; promote ends the stay of a step, or use --full".to_owned());
                }
                if release.paused.take().is_some() {
                    (release.no_data_since, release.hold_since) = (None, None);
                }
                release.skip_stay = true;
                let approval = matches!(
                    release.plan.steps.get(release.step as usize),
                    Some(PlannedStep::Approval { .. })
                );
                let said = match (approval, release.plan.analysis.scrape) {
                    (true, _) => "it is approved",
                    (false, true) => "the stay of this step ends; missing data still hold it",
                    (false, false) => "the stay of this step ends",
                };
                ("done", said.to_owned())
            }
            Action::Pause if under_way => {
                release.paused = Some(format!("paused by {who}{why}"));
                ("done", "it stays where it is until resume".to_owned())
            }
            Action::Resume if under_way => {
                if release.paused.take().is_some() {
                    release.reminded = 0;
                    // Their time did not run meanwhile.
                    (release.no_data_since, release.hold_since) = (None, None);
                    let approval = matches!(
                        release.plan.steps.get(release.step as usize),
                        Some(PlannedStep::Approval { .. })
                    );
                    if approval && release.stay_since.is_some() {
                        release.stay_since = Some(self.now);
                    }
                    ("done", "it goes on".to_owned())
                } else {
                    ("refused", "it is not paused".to_owned())
                }
            }
            Action::Abort | Action::Promote | Action::Pause | Action::Resume | Action::Retry | Action::Undo => {
                ("refused", format!("the release is in phase {}; {} has no meaning there", phase.as_str(), control.action.as_str()))
            }
        }
    }
    /// Frees the template that is held, whichever release it was taken back in.
    fn retry(&mut self, workload: &Workload, control: &ControlSpec) -> (&'static str, String) {
        let print = fingerprint(&workload.template);
        let held = self
            .memory
            .rejected
            .iter()
            .position(|rejected| rejected.fingerprint == print);
        let Some(index) = held.filter(|_| self.memory.phase == Phase::RolledBack) else {
            return (
                "refused",
                "there is nothing to retry; retry releases a template again after it was taken back"
                    .to_owned(),
            );
        };
        let known = self
            .memory
            .rejected
            .get(index)
            .map(|rejected| rejected.entry.candidate.clone())
            .unwrap_or_default();
        if let Some(meant) = &control.candidate
            && *meant != known
        {
            return (
                "superseded",
                format!(
                    "it was meant for candidate {meant}; the template that is held was taken back as {known}"
                ),
            );
        }
        self.memory.rejected.remove(index);
        ("done", "the template is released again".to_owned())
    }
}
