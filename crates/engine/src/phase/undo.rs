//! `undo`: back to what served before the release, or to a revision of the workload's history. The
//! release ends as by an abort; then the template is written into the workload, the one write to a
//! template that is ours, and only because somebody asked for it.

use crossfade_api::{ControlSpec, Phase};
use serde_json::Value;

use crate::effect::Effect;
use crate::identity::{fingerprint, images, same_template, without_hash};
use crate::memory::{Cause, Undo};
use crate::observed::{ReplicaSet, Workload};
use crate::report::WaitingOn;
use crate::step::Pass;
use crate::traffic::target;

impl Pass<'_> {
    /// Takes the command on.
    pub(crate) fn undo(
        &mut self,
        workload: &Workload,
        control: &ControlSpec,
    ) -> (&'static str, String) {
        let phase = self.memory.phase;
        if let (Some(meant), Some(release)) = (&control.candidate, &self.memory.release)
            && *meant != release.candidate
        {
            return (
                "superseded",
                format!(
                    "it was meant for candidate {meant}; now it is {}",
                    release.candidate
                ),
            );
        }
        let revision = control
            .revision
            .and_then(|number| u64::try_from(number).ok());
        let at_rest = phase == Phase::Idle;
        if at_rest && (self.active_sets().len() != 1 || workload.replicas == 0) {
            // Gated, it could not be released, and would hold up the rollout that is under way.
            return (
                "refused",
                "the Deployment has no version to go back from: it is of size 0, or its own rollout has not ended; scale it up, or wait for that rollout, or push the template that shall serve".to_owned(),
            );
        }
        // A template that is gated and cannot be released is withdrawn; what serves has done nothing.
        let withdrawn = (self.active_sets().first().copied()).filter(|set| {
            at_rest
                && revision.is_none()
                && workload.paused
                && !same_template(&set.template, &workload.template)
        });
        let revision = match (revision, at_rest, withdrawn) {
            (None, true, None) => self.revision_before(workload),
            (revision, _, _) => revision,
        };
        let known = match revision {
            Some(number) => self
                .of_revision(number)
                .map(|set| (Some(set.uid.clone()), images(&set.template))),
            None if at_rest => withdrawn.map(|set| (Some(set.uid.clone()), images(&set.template))),
            None => self
                .template_before()
                .map(|template| (None, images(&template))),
        };
        let Some((set, images)) = known else {
            return ("refused", self.no_revision(control.revision));
        };
        let who = control
            .author
            .as_ref()
            .map_or("somebody unverified", |author| author.user.as_str());
        let why =
            (control.reason.as_ref()).map_or_else(String::new, |reason| format!(": {reason}"));
        let by = format!("{who}{why}");
        if matches!(phase, Phase::Preparing | Phase::Progressing | Phase::Warm) {
            self.effects_first = true;
            self.roll_back(Cause::Aborted, format!("undone by {by}"));
        }
        self.memory.undo = Some(Undo {
            set,
            instead_of: fingerprint(&workload.template),
            by,
        });
        let back = images.join(", ");
        let said = match revision {
            Some(number) => format!("back to revision {number} ({back})"),
            None => format!("back to what served before ({back})"),
        };
        ("done", said)
    }

    /// The template is written; our name goes too, for the next apply of its users must not meet us.
    /// Returns whether it is still to go.
    fn disown(&mut self, workload: &Workload) -> bool {
        let Some(managed_fields) = workload.others_managed_fields.clone() else {
            self.memory.undo = None;
            return false;
        };
        self.emit(Effect::Disown {
            target: target(&workload.name, &workload.uid, &workload.resource_version),
            managed_fields,
        });
        self.wait(
            WaitingOn::Observed,
            "managedFields of the Deployment to be left to its users",
            None,
            "then it goes on",
        );
        true
    }

    fn no_revision(&self, asked: Option<i64>) -> String {
        let mut kept: Vec<u64> = self
            .seen
            .own_replica_sets()
            .filter(|set| !set.deleting)
            .map(|set| set.revision)
            .collect();
        kept.sort_unstable();
        let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
        let what = asked.map_or_else(
            || "there is no earlier revision".to_owned(),
            |number| format!("revision {number} is not kept"),
        );
        format!(
            "{what}; kept are: {} (kubectl rollout history; spec.revisionHistoryLimit says how many)",
            kept.join(", ")
        )
    }

    /// The revision that served before the one that serves now.
    fn revision_before(&self, workload: &Workload) -> Option<u64> {
        let now = workload.revision;
        self.seen
            .own_replica_sets()
            .filter(|set| !set.deleting && set.revision < now)
            .filter(|set| !same_template(&set.template, &workload.template))
            .map(|set| set.revision)
            .max()
    }

    fn of_revision(&self, number: u64) -> Option<&ReplicaSet> {
        self.seen
            .own_replica_sets()
            .find(|set| !set.deleting && set.revision == number)
    }

    /// What served before the release.
    fn template_before(&self) -> Option<Value> {
        let release = self.memory.release.as_ref()?;
        let kept = || {
            let mut kept = self.seen.kept.iter();
            kept.find(|kept| kept.candidate == release.candidate)
                .map(|kept| &kept.template)
        };
        self.stable_set()
            .map(|set| &set.template)
            .or_else(kept)
            .map(without_hash)
    }

    /// At rest: writes the template that was asked for. Returns whether that is under way.
    pub(crate) fn write_undone(&mut self, workload: &Workload) -> bool {
        let Some(undo) = self.memory.undo.clone() else {
            return false;
        };
        let wanted = match &undo.set {
            Some(uid) => self
                .seen
                .own_replica_sets()
                .find(|set| set.uid == *uid)
                .map(|set| without_hash(&set.template)),
            None => self.template_before(),
        };
        let Some(wanted) = wanted else {
            if self.disown(workload) {
                return true;
            }
            // Its template may be the workload's by now: then the release deletes the empty ReplicaSet.
            if self.memory.phase == Phase::RolledBack || !workload.paused {
                let text =
                    "the revision that was asked for is not kept any more; push its template";
                self.event(true, "UndoFailed", text.to_owned());
            }
            return false;
        };
        if same_template(&wanted, &workload.template) {
            return self.disown(workload);
        }
        if fingerprint(&workload.template) != undo.instead_of {
            return self.disown(workload);
        }
        self.emit(Effect::WriteTemplate {
            target: target(&workload.name, &workload.uid, &workload.resource_version),
            from: workload.template.clone(),
            to: wanted.clone(),
        });
        self.wait(
            WaitingOn::Observed,
            format!(
                "the template to be written back ({}), as asked by {}",
                images(&wanted).join(", "),
                undo.by
            ),
            None,
            "then it is released, or unpaused if it is the one that serves",
        );
        true
    }
}
