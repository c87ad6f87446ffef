//! RolledBack: stable serves and scales; the workload stays paused on a template nobody wants to
//! serve. Leaves on stable's template, another template or `retry`. Not here: a stable of which nothing is left.

use crossfade_api::Phase;

use crate::effect::Effect;
use crate::identity::{fingerprint, same_template};
use crate::observed::Workload;
use crate::report::WaitingOn;
use crate::step::Pass;
use crate::traffic::target;

impl Pass<'_> {
    pub(crate) fn rolled_back(&mut self, workload: &Workload) {
        if workload.paused && !workload.deleting && self.candidate_left() {
            // A creation that was thought lost has landed: pin, drain and delete as before.
            if let Some(release) = self.memory.release.as_mut() {
                release.weighted = true;
                if let Some(rollback) = release.rollback.as_mut() {
                    rollback.clear_since = None;
                }
                self.event(
                    true,
                    "LateCandidate",
                    "something of the candidate appeared after it was taken away".to_owned(),
                );
                self.rolling_back(workload);
                return;
            }
        }
        if !self.services_at_rest() {
            return;
        }
        if workload.deleting {
            return;
        }
        if self.aside_left_at_rest(workload) {
            return;
        }
        if !workload.paused {
            self.event(
                false,
                "Unpaused",
                "the Deployment is unpaused; nothing is held back any more".to_owned(),
            );
            self.tell_bypassed(workload);
            self.memory.release = None;
            self.enter(Phase::Idle);
            self.wake(self.now);
            return;
        }
        if self.write_undone(workload) {
            return;
        }
        let active = self.active_sets();
        let serves = match active.as_slice() {
            [only] => Some(*only),
            // Scaled to 0.
            [] => self.stable_set(),
            _ => None,
        };
        if serves.is_some_and(|set| same_template(&set.template, &workload.template)) {
            // No pod is replaced: the template is the one its pods have.
            self.emit(Effect::Unpause {
                target: target(&workload.name, &workload.uid, &workload.resource_version),
                template: workload.template.clone(),
            });
            self.wait(
                WaitingOn::Observed,
                "the Deployment to be unpaused, its template being stable's again",
                None,
                "then it is at rest",
            );
            return;
        }
        if self.let_pass(workload) || self.without_stable(workload) {
            return;
        }
        let print = fingerprint(&workload.template);
        let own =
            (self.memory.release.as_ref()).is_some_and(|release| release.fingerprint == print);
        let rejected = (self.memory.rejected.iter()).find(|rejected| rejected.fingerprint == print);
        // An older one takes the place of the newest first: status and `retry` then speak of what is held.
        if own && let Some(rejected) = rejected {
            // Of another template that could not be released.
            self.memory.refused = None;
            let missing = self.stable_missing();
            let text = format!(
                "another template: this one was rejected ({}){}",
                rejected.entry.reason,
                missing.map_or_else(String::new, |missing| format!("; {missing}"))
            );
            self.wait(
                WaitingOn::NewTemplate,
                text,
                None,
                "push another template, revert it, or retry",
            );
            self.drop_older_copies();
            return;
        }
        // A finished release stays in memory until the next one takes its place.
        let before = self.memory.release.take();
        self.start(workload);
        if self.memory.phase == Phase::RolledBack {
            self.memory.release = before;
        }
    }

    /// The copy of stable's template stays, and makes those of earlier candidates useless: without this each
    /// rejected template would leave one.
    fn drop_older_copies(&mut self) {
        let Some(release) = &self.memory.release else {
            return;
        };
        let ours = release.candidate.clone();
        let kept = &self.seen.kept;
        if !kept.iter().any(|kept| kept.candidate == ours) {
            return;
        }
        for older in kept.iter().filter(|kept| kept.candidate != ours) {
            self.emit(Effect::DropKeptTemplate {
                target: target(&older.name, &older.uid, ""),
            });
        }
    }
}
