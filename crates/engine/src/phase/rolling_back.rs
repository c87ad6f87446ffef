//! RollingBack: weight 0, settle, drain, then the candidate goes, then the Services are given back.
//!
//! The first effect needs nothing but the API server. Only if stable has no ready endpoint does the
//! weight stay, says so, and asks for `--force`.

use crossfade_api::{Duration, HistoryEntry, Phase, RejectedEntry};

use crate::effect::{Effect, SplitTo};
use crate::memory::{Cause, KEPT_ENTRIES, Rejected, Release, TakenAway};
use crate::observed::Workload;
use crate::report::WaitingOn;
use crate::sides::count;
use crate::step::{Pass, after};
use crate::traffic::{Settled, target};

/// Its event, once a minute.
const SLOW: &str = "RollBackSlow";
/// The candidate of one template may be taken away so many times …
const OFTEN: usize = 3;
/// … within at least this time, in milliseconds; then the template is held. It is longer where a release takes
/// longer to be ended, or what ends each of them would go on for ever.
const WITHIN: u64 = 600_000;
/// Whoever supersedes a release now and then over hours is no fight but a working day.
const SUPERSEDED_WITHIN: u64 = 3_600_000;
/// What ends a release less often than this is looked at by then.
const LONGEST_WITHIN: u64 = 86_400_000;

impl Pass<'_> {
    pub(crate) fn rolling_back(&mut self, workload: &Workload) {
        self.enter(Phase::RollingBack);
        self.remember_candidate_set();
        self.remember_originals();
        let Some(release) = self.memory.release.clone() else {
            self.enter(Phase::Idle);
            self.wake(self.now);
            return;
        };
        let rollback = release.rollback.clone().unwrap_or_default();
        // An unpaused workload must not meet a pinned Service (law 10): then there is no going back to
        // stable alone, and the Services stay as their users wrote them. Nor is there anything to keep
        // off once no candidate pod is left: giving the Services back must not be undone by a pin.
        // And stable cannot take anything back once the Deployment itself has ended its pods, as an
        // unpaused one did before it was paused again: then what the Deployment runs serves.
        // One that somebody deleted is made again, and until its pods are gone they answer.
        let lost = workload.replicas > 0
            && workload.observed_generation >= workload.generation
            && match self.stable_set() {
                Some(set) => set.replicas == 0,
                None => !self.remaking() && self.stable_ready() == 0,
            };
        let left =
            self.candidate_left() || self.sent_to_the_ending(self.candidate_pods()).is_some();
        let split = if workload.paused && left && !lost {
            SplitTo::Stable {
                hash: release.stable.hash.clone(),
            }
        } else {
            SplitTo::Released
        };
        if split != SplitTo::Released && !self.is_written(&split) {
            self.note_reset(&split);
            // Endpoints may be slower than their write and ours: that they never showed it proves nothing.
            self.drain_anew();
        }
        if !self.is_written(&split) {
            let candidate_serves = self.candidate_ready() > 0 && release.weighted;
            // Scaled to 0 stable has no pod because its user wants none.
            // Where the Deployment has ended its pods itself, what it runs instead takes over.
            let instead = split == SplitTo::Released && self.own_ready() > 0;
            let stable_down = self.stable_ready() == 0 && workload.replicas > 0 && !instead;
            if workload.paused && candidate_serves && stable_down && !rollback.force {
                self.patiently(
                    SLOW,
                    WaitingOn::PodsReady,
                    "a ready pod of stable: it has none, so the weight stays with the candidate",
                    "abort --force takes the weight all the same",
                );
                return;
            }
            if split == SplitTo::Released && workload.paused {
                // Nothing would be written before: live looks until then would only take turns with watches.
                if let Some(until) = self.fence() {
                    self.wait(
                        WaitingOn::Fence,
                        "writes that may still land late; then it is looked again",
                        Some(until),
                        "then the Services are given back",
                    );
                    return;
                }
                // Pods that a lagging watch does not show yet would serve at once.
                if !self.absence_is_sure() {
                    self.patiently(
                        SLOW,
                        WaitingOn::Observed,
                        "the server to confirm that no candidate pod is left",
                        "then the Services are given back",
                    );
                    return;
                }
            }
            let (text, then) = if split == SplitTo::Released {
                (
                    "the Services to be given back",
                    "then the release has ended",
                )
            } else {
                (
                    "the weight 0 to be written on every Service",
                    "then settle and drain",
                )
            };
            self.write_split(split);
            self.patiently(SLOW, WaitingOn::Observed, text, then);
            return;
        }
        if split != SplitTo::Released {
            self.note_written();
            if let Some(release) = self.memory.release.as_mut()
                && let Some(rollback) = release.rollback.as_mut()
            {
                rollback.written = true;
            }
        }
        if !self.write_previews(split.clone()) {
            if split != SplitTo::Released {
                self.drain_anew();
            }
            self.patiently(
                SLOW,
                WaitingOn::Observed,
                "the preview to be taken from the candidate",
                "then settle and drain",
            );
            return;
        }
        if !self.restore_managed_fields() {
            self.patiently(
                SLOW,
                WaitingOn::Observed,
                "managedFields of the Services to be put back",
                "then it goes on",
            );
            return;
        }
        // Who was trying it had requests under way as well.
        let shown = self.previews().any(|service| service.held);
        if let Some(release) = self.memory.release.as_mut() {
            release.weighted |= shown;
        }
        self.note_served();
        // Without a Service pods take work by themselves until they are told to end.
        // One that was deleted meanwhile had sent requests too.
        let in_front =
            self.services().next().is_some() || shown || !self.memory.originals.is_empty();
        let served = |release: &Release| release.weighted && in_front;
        if self.memory.release.as_ref().is_some_and(served) && !self.drained(&split) {
            return;
        }
        if !self.candidate_removed() {
            return;
        }
        // A creation that may still land late would serve unjudged from Services given back.
        if let Some(until) = self.fence() {
            self.wait(
                WaitingOn::Fence,
                "writes that may still land late; then it is looked again",
                Some(until),
                "then the release has ended",
            );
            return;
        }
        if let Some(ending) = self.sent_to_the_ending(self.candidate_pods()) {
            self.patiently(
                SLOW,
                WaitingOn::PodsGone,
                ending,
                "then the Services are given back",
            );
            return;
        }
        if !self.release_services() {
            self.patiently(
                SLOW,
                WaitingOn::Observed,
                "the Services to be given back",
                "then the release has ended",
            );
            return;
        }
        self.rolled_back_now();
    }

    fn drain_anew(&mut self) {
        let release = self.memory.release.as_mut();
        if let Some(rollback) = release.and_then(|release| release.rollback.as_mut()) {
            rollback.clear_since = None;
        }
    }

    fn fought(&self) -> Option<&str> {
        let rollback = self.memory.release.as_ref()?.rollback.as_ref()?;
        rollback.fought.as_deref()
    }

    /// Settle, then drain. In a rollback settling never gives up.
    fn drained(&mut self, split: &SplitTo) -> bool {
        if let Some(until) = self.fence() {
            // What lands meanwhile may give weight once more: the drain counts from after the fence.
            self.drain_anew();
            self.wait(
                WaitingOn::Fence,
                "writes that may still land late; then every Service is read again",
                Some(until),
                "then settle and drain",
            );
            return false;
        }
        let now = self.now;
        let began = self.memory.release.as_ref().is_some_and(|release| {
            (release.rollback.as_ref()).is_some_and(|rollback| rollback.clear_since.is_some())
        });
        // Once the drain runs only the candidate's own endpoints count: pods of stable that come and go
        // must not begin it anew.
        let settled = match self.settled(split) {
            Settled::NotYet(_) if began && !self.candidate_in_endpoints() => Settled::Yes,
            settled => settled,
        };
        // Given back it shows both sides, as its user wrote it.
        let preview = self
            .previews()
            .filter(|_| *split != SplitTo::Released)
            .find(|service| self.names_candidate(service));
        let settled = match (settled, preview) {
            (Settled::Yes, Some(preview)) => Settled::NotYet(format!(
                "endpoints of the preview {} still hold pods of the candidate",
                preview.name
            )),
            (settled, _) => settled,
        };
        if let Settled::NotYet(mut why) = settled {
            self.drain_anew();
            if let Some(fought) = self.fought() {
                why = format!("{why}; {fought}");
            }
            self.patiently(
                SLOW,
                WaitingOn::Settle,
                why,
                "it never gives up; abort needs nothing more from you",
            );
            return false;
        }
        let floor = self.settle_floor();
        let Some(release) = self.memory.release.as_mut() else {
            return false;
        };
        let length = floor.saturating_add(release.plan.drain);
        let Some(rollback) = release.rollback.as_mut() else {
            return true;
        };
        let since = *rollback.clear_since.get_or_insert(now);
        if self.elapsed(since, length) {
            return true;
        }
        let fought = self.fought().map(|who| format!("; {who}"));
        self.wait(
            WaitingOn::Drain,
            format!(
                "proxies and open requests of the candidate ({}){}",
                Duration::from_milliseconds(length),
                fought.unwrap_or_default()
            ),
            Some(after(since, length)),
            "then its pods are deleted",
        );
        false
    }

    /// Takes the parallel Deployment away and waits until no pod of it is left undeleted.
    fn candidate_removed(&mut self) -> bool {
        for parallel in &self.seen.parallels {
            if !parallel.deleting {
                self.emit(Effect::DeleteParallel {
                    target: target(&parallel.name, &parallel.uid, &parallel.resource_version),
                });
            }
        }
        let pods = count(self.candidate_pods().filter(|pod| !pod.deleting));
        if self.candidate_left() {
            self.patiently(
                SLOW,
                WaitingOn::PodsGone,
                format!("the candidate's pods to be deleted; {pods} are left"),
                "the garbage collector ends them; then the Services are given back",
            );
            return false;
        }
        true
    }

    /// Within how long, if this end is one too many: what ends every release, or two tools that write the template
    /// in turn, would otherwise go on for ever.
    fn too_often(&mut self, cause: Cause) -> Option<u64> {
        let now = self.now;
        let release = self.memory.release.as_ref()?;
        let began = release.started_at.unwrap_or(now);
        let lasted = now.as_millisecond().saturating_sub(began.as_millisecond());
        // Twice, for the other tool's turn comes in between.
        let turns = u64::try_from(lasted)
            .unwrap_or(0)
            .saturating_mul(2 * OFTEN as u64);
        let within = match cause {
            Cause::Superseded => turns.clamp(WITHIN, SUPERSEDED_WITHIN),
            Cause::Interrupted | Cause::Held => turns.clamp(WITHIN, LONGEST_WITHIN),
            Cause::Failed | Cause::Aborted => WITHIN,
        };
        let fingerprint = release.fingerprint.clone();
        let ends = &mut self.memory.taken_away;
        ends.insert(
            0,
            TakenAway {
                fingerprint: fingerprint.clone(),
                at: now,
            },
        );
        ends.truncate(KEPT_ENTRIES);
        let count = ends
            .iter()
            .filter(|end| end.fingerprint == fingerprint && now < after(end.at, within))
            .count();
        (count >= OFTEN).then_some(within)
    }

    fn rolled_back_now(&mut self) {
        let now = self.now;
        let Some(release) = self.memory.release.as_ref() else {
            return;
        };
        let rollback = release.rollback.clone().unwrap_or_default();
        if rollback.cause == Cause::Held {
            // Under its new name: whoever retries means what is held now.
            let (print, name) = (release.fingerprint.clone(), release.candidate.clone());
            for rejected in &mut self.memory.rejected {
                if rejected.fingerprint == print {
                    rejected.entry.candidate.clone_from(&name);
                }
            }
            self.enter(Phase::RolledBack);
            self.wake(now);
            return;
        }
        // A person who aborts knows what comes and goes.
        let within = (rollback.cause != Cause::Aborted)
            .then(|| self.too_often(rollback.cause))
            .flatten();
        let often = within.is_some();
        let Some(release) = self.memory.release.as_ref() else {
            return;
        };
        let mut reason = rollback.reason.clone();
        if let Some(within) = within {
            reason.push_str(&format!(
                "; its candidate was taken away {OFTEN} times within {}: it is held until retry",
                Duration::from_milliseconds(within)
            ));
            if rollback.cause == Cause::Superseded {
                reason.push_str("; let one tool alone write the template");
            }
        }
        let (outcome, rejected) = match rollback.cause {
            Cause::Failed => ("rolled-back", true),
            Cause::Aborted => ("aborted", true),
            Cause::Superseded => ("superseded", often),
            Cause::Interrupted | Cause::Held => ("interrupted", often),
        };
        let history = HistoryEntry {
            candidate: release.candidate.clone(),
            images: release.images.clone(),
            outcome: outcome.to_owned(),
            reason: reason.clone(),
            started_at: release.started_at,
            ended_at: Some(now),
            replaced_pods: release.replaced_pods.clone(),
        };
        if rejected {
            let entry = Rejected {
                fingerprint: release.fingerprint.clone(),
                often,
                entry: RejectedEntry {
                    candidate: release.candidate.clone(),
                    images: release.images.clone(),
                    reason: reason.clone(),
                    at: Some(now),
                },
            };
            self.memory
                .rejected
                .retain(|known| known.fingerprint != entry.fingerprint);
            self.memory.rejected.insert(0, entry);
            self.memory.rejected.truncate(KEPT_ENTRIES);
        }
        // One that appeared again after its end is not another release.
        let again = |known: &HistoryEntry| {
            known.candidate == history.candidate && known.started_at == history.started_at
        };
        if !self.memory.history.first().is_some_and(again) {
            self.memory.history.insert(0, history);
        }
        self.memory.history.truncate(KEPT_ENTRIES);
        let held =
            |workload: &Workload| workload.paused && workload.replicas > 0 && !workload.deleting;
        let down = self.stable_ready() == 0 && self.seen.workload.as_ref().is_some_and(held);
        let text = match self.stable_missing() {
            Some(missing) => format!("{reason}; {missing}"),
            None if down => format!("{reason}; no pod of stable is ready to serve"),
            None => format!("stable serves alone: {reason}"),
        };
        self.event(true, "RolledBack", text);
        self.enter(Phase::RolledBack);
        self.wake(now);
    }
}
