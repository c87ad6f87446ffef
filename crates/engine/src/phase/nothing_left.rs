//! RolledBack with nothing of stable left: what is true then, and the ways out. Making stable's ReplicaSet again is
//! `rescue`'s.

use crossfade_api::annotations::BYPASS;

use crate::effect::Effect;
use crate::identity::{fingerprint, images, same_template};
use crate::observed::Workload;
use crate::report::WaitingOn;
use crate::step::{Pass, after};
use crate::traffic::target;

/// Nothing has served for so long: then a template may pass without analysis, as at the gate. In milliseconds.
const UNSERVED: u64 = 60_000;
/// Between two looks at the last pods, in milliseconds.
const LOOK: u64 = 2_000;

impl Pass<'_> {
    /// Whether stable ought to serve, its ReplicaSet is gone, and nothing came up in its place. Pods of it may still be
    /// about to end.
    fn nothing_left(&self, workload: &Workload) -> bool {
        workload.paused
            && workload.replicas > 0
            && self.stable_set().is_none_or(|set| set.deleting)
            && self.active_sets().iter().all(|set| set.deleting)
    }

    /// Why stable cannot serve although it ought to, and what does, for people; `None`: its ReplicaSet is there.
    pub(crate) fn stable_missing(&self) -> Option<String> {
        let held = |workload: &&Workload| workload.paused && workload.replicas > 0;
        let workload = self.seen.workload.as_ref().filter(held)?;
        if self.stable_set().is_some_and(|set| !set.deleting) {
            return None;
        }
        if self.remaking() {
            return Some(format!("{}, and is being made again", self.deleted()));
        }
        let mut others = self.active_sets().into_iter().filter(|set| !set.deleting);
        Some(match others.next() {
            Some(other) => format!(
                "{}; {} ({}) serves in its place",
                self.deleted(),
                other.name,
                images(&other.template).join(", ")
            ),
            None => format!("{}; {}", self.gone(workload), self.ways_out()),
        })
    }

    fn deleted(&self) -> String {
        let pods = match self.stable_ready() {
            0 => "no pod of stable serves".to_owned(),
            ending => format!("stable's last {ending} pods end"),
        };
        format!("{pods}, its ReplicaSet was deleted by somebody")
    }

    fn copy_is_kept(&self) -> bool {
        let release = self.memory.release.as_ref();
        release.is_some_and(|release| self.kept_of(release).is_some())
    }

    /// What became of stable.
    fn gone(&self, workload: &Workload) -> String {
        let why = if self.copy_is_kept() {
            "could not be made again so far (events say why)"
        } else {
            "no copy of its template was kept to make it again from"
        };
        let missing = workload.replicas;
        format!("{} and {why}: {missing} pods are missing", self.deleted())
    }

    /// How something serves again.
    fn ways_out(&self) -> String {
        let allow = if self.copy_is_kept() {
            "allow the creation, which is tried on, or "
        } else {
            ""
        };
        format!(
            "{allow}push a template: stable's, or another, which passes without analysis once nothing has served for 60 s, or at once with {BYPASS}"
        )
    }

    /// At rest with nothing left that serves or could be served from. Returns whether it is so.
    pub(super) fn without_stable(&mut self, workload: &Workload) -> bool {
        let Some(release) = self.memory.release.clone() else {
            return false;
        };
        if !self.nothing_left(workload) {
            return false;
        }
        // Of a template that could not be released: what is said here is why.
        self.memory.refused = None;
        let print = fingerprint(&workload.template);
        let stables = self
            .kept_of(&release)
            .is_some_and(|kept| same_template(&kept.template, &workload.template));
        let rejected = (self.memory.rejected.iter()).any(|known| known.fingerprint == print);
        // The one that was taken back was pushed for analysis. Of another one nobody can ask more than the gate would.
        let passes = stables || print != release.fingerprint && !rejected;
        let unserved = (release.lost_since)
            .filter(|_| self.stable_ready() == 0)
            .map(|since| after(since, UNSERVED));
        if passes && (stables || unserved.is_some_and(|until| self.now >= until)) {
            let text = if stables {
                "its template is stable's, and no pod is left to be replaced".to_owned()
            } else {
                format!(
                    "nothing has served for 60 s, so {} passes without analysis",
                    images(&workload.template).join(", ")
                )
            };
            self.event(true, "PassesNatively", text.clone());
            self.emit(Effect::Unpause {
                target: target(&workload.name, &workload.uid, &workload.resource_version),
                template: workload.template.clone(),
            });
            self.wait(
                WaitingOn::Observed,
                format!("the Deployment to be unpaused: {text}"),
                None,
                "then it is at rest, and makes its pods itself",
            );
            return true;
        }
        if self.stable_ready() > 0 {
            // Nothing else tells when they have ended.
            self.wake(after(self.now, LOOK));
        }
        let text = format!("a pod that serves: {}", self.gone(workload));
        let (until, then) = match unserved.filter(|_| passes) {
            Some(until) => (
                Some(until),
                "the template passes without analysis".to_owned(),
            ),
            None => (None, self.ways_out()),
        };
        self.wait(WaitingOn::Mend, text, until, then);
        true
    }
}
