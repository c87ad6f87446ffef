//! One pass: from what was seen and remembered to what to do, what to remember and what to say.
//!
//! The order matters and is the same in every phase: a new life first, then requests before
//! judgement (law 10), then the command, then the phase, then what other releases left behind; at rest
//! that comes before the phase. What a single phase does stands in
//! `phase/`; the parts phases share (traffic, pods, verdict) in modules of their own.

use crossfade_api::{Phase, StepState};
use jiff::{SignedDuration, Timestamp};

use crate::effect::SplitTo;
use crate::memory::{Cause, Memory, Release, Rollback};
use crate::observed::{Observed, Workload};
use crate::report::{Event, Report, Waiting, WaitingOn};
use crate::traffic::target;
use crate::{Decision, Effect, Validated};

/// Decides one pass.
#[must_use]
pub fn step(validated: &Validated, seen: &Observed, before: &Memory, now: Timestamp) -> Decision {
    let mut memory = before.clone();
    memory.begun_by(now);
    let mut pass = Pass {
        validated,
        seen,
        memory,
        now,
        effects: Vec::new(),
        events: Vec::new(),
        waiting: None,
        wake_at: None,
        blocked: false,
        effects_first: false,
        read_live: false,
    };
    pass.run();
    pass.memory.keep_state_since(before);
    pass.finish()
}

/// The state of one pass while it is being decided.
pub(crate) struct Pass<'a> {
    pub(crate) validated: &'a Validated,
    pub(crate) seen: &'a Observed,
    pub(crate) memory: Memory,
    pub(crate) now: Timestamp,
    pub(crate) effects: Vec<Effect>,
    pub(crate) events: Vec<Event>,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) wake_at: Option<Timestamp>,
    /// An effect had to wait for the fence; nothing may overtake it.
    blocked: bool,
    pub(crate) effects_first: bool,
    read_live: bool,
}

/// What the workload's template is, compared with both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Candidate,
    Stable,
    Another,
}

impl<'a> Pass<'a> {
    fn run(&mut self) {
        let Some(workload) = self.seen.workload.as_ref() else {
            self.workload_gone();
            return;
        };
        if self.memory.workload_uid != workload.uid && !self.new_life(workload) {
            return;
        }
        if !workload.paused
            && let Some(release) = self.memory.release.as_mut()
        {
            release.unpaused = true;
        }
        if self.unpin_before_all(workload) {
            return;
        }
        self.note_push(workload);
        self.command(workload);
        // An abort must not wait for anything that the checks below may find.
        let at_rest = matches!(self.memory.phase, Phase::Idle | Phase::RolledBack);
        if at_rest && !self.give_leftovers_back() {
            self.wait(
                WaitingOn::Observed,
                "Services to be given back that the release of a deleted Deployment left pinned",
                None,
                "then this one is looked at",
            );
            return;
        }
        // Law 6: taking the weight away comes before everything, also before stable is made whole.
        let rolling_back = self.memory.phase == Phase::RollingBack;
        if !rolling_back && self.rescue(workload) {
            return;
        }
        match self.memory.phase {
            Phase::Idle => self.idle(workload),
            Phase::Preparing => self.preparing(workload),
            Phase::Progressing | Phase::Warm => {
                self.progressing(workload);
                // What may be refused for ever holds nothing else up.
                if self.effects.is_empty() {
                    self.keep_again();
                }
            }
            Phase::HandingOver => self.handing_over(workload),
            Phase::RollingBack => self.rolling_back(workload),
            Phase::RolledBack => self.rolled_back(workload),
        }
        if rolling_back {
            self.rescue(workload);
        }
        self.remake_late(workload);
        if !at_rest && !self.effects.iter().any(Effect::moves_traffic) {
            self.give_leftovers_back();
        }
    }

    fn finish(mut self) -> Decision {
        if self
            .effects
            .iter()
            .filter(|effect| effect.moves_traffic())
            .count()
            > 1
        {
            // At most one move of traffic leaves a pass; the next one is decided on what it led to.
            let mut moved = false;
            self.effects
                .retain(|effect| !effect.moves_traffic() || !std::mem::replace(&mut moved, true));
        }
        let status = crate::status::status(&self);
        let state = self.memory.release.as_ref().map(|release| release.state);
        Decision {
            report: Report {
                status,
                phase: self.memory.phase,
                state,
                events: self.events,
                waiting: self.waiting,
            },
            memory: self.memory,
            effects: self.effects,
            wake_at: self.wake_at,
            effects_first: self.effects_first,
            read_live: self.read_live,
        }
    }

    /// Nothing of that name: whatever still carries our mark gets it taken off.
    fn workload_gone(&mut self) {
        if !self.give_all_back() {
            self.wait(
                WaitingOn::Observed,
                "the Services to be given back",
                None,
                "nothing else is left to do",
            );
            return;
        }
        if !self.restore_managed_fields() {
            self.wait(
                WaitingOn::Observed,
                "managedFields of the Services to be put back",
                None,
                "nothing else is left to do",
            );
            return;
        }
        // Where what the Deployment owned was to stay, the candidate that nobody judged is not meant.
        let parallels: Vec<Effect> = self
            .seen
            .parallels
            .iter()
            .filter(|parallel| !parallel.deleting)
            .map(|parallel| Effect::DeleteParallel {
                target: target(&parallel.name, &parallel.uid, &parallel.resource_version),
            })
            .collect();
        for effect in parallels {
            self.emit(effect);
        }
        if !self.seen.parallels.is_empty() {
            self.wait(
                WaitingOn::PodsGone,
                "the candidate of the deleted Deployment to be gone",
                None,
                "nothing else is left to do",
            );
            return;
        }
        // Parked ReplicaSets have our Rollout for an owner; nobody else takes them along.
        let parked: Vec<Effect> = self
            .seen
            .parked_replica_sets()
            .map(|set| {
                let target = target(&set.name, &set.uid, &set.resource_version);
                if set.replicas > 0 {
                    Effect::ScaleReplicaSet {
                        target,
                        from: set.replicas,
                        to: 0,
                    }
                } else {
                    Effect::DeleteReplicaSet { target }
                }
            })
            .collect();
        if !parked.is_empty() {
            for effect in parked {
                self.emit(effect);
            }
            self.wait(
                WaitingOn::PodsGone,
                "parked ReplicaSets of the deleted Deployment to be gone",
                None,
                "nothing else is left to do",
            );
            return;
        }
        self.forget("");
        self.wait(
            WaitingOn::Mend,
            "the Deployment to exist",
            None,
            "create it, or delete this Rollout",
        );
    }

    /// A recreated workload: old state is dropped, leftovers removed. Returns whether the pass may go on.
    fn new_life(&mut self, workload: &Workload) -> bool {
        if self.memory.workload_uid.is_empty() {
            workload.uid.clone_into(&mut self.memory.workload_uid);
            return true;
        }
        if !self.give_all_back() {
            self.wait(
                WaitingOn::Observed,
                "the Services of the deleted Deployment to be given back",
                None,
                "then its successor is taken on",
            );
            return false;
        }
        if !self.restore_managed_fields() {
            self.wait(
                WaitingOn::Observed,
                "managedFields of the Services to be put back",
                None,
                "then its successor is taken on",
            );
            return false;
        }
        self.event(
            true,
            "WorkloadRecreated",
            "the Deployment was recreated; what was remembered about the old one is dropped"
                .to_owned(),
        );
        self.forget(&workload.uid);
        true
    }

    /// Drops what was remembered about a workload. Commands are the Rollout's: one that was carried
    /// out is not carried out again because the workload is another.
    fn forget(&mut self, workload_uid: &str) {
        self.memory = Memory {
            workload_uid: workload_uid.to_owned(),
            control: self.memory.control.take(),
            handled: self.memory.handled.take(),
            consumed: std::mem::take(&mut self.memory.consumed),
            ..Memory::default()
        };
    }

    /// Law 10: a pinned Service and an unpaused workload never coexist. Returns whether this pass is
    /// used up by it.
    fn unpin_before_all(&mut self, workload: &Workload) -> bool {
        let pinned = self
            .seen
            .services
            .iter()
            .any(|service| service.pinned_to.is_some() && self.is_ours(service));
        if workload.paused || !pinned {
            return false;
        }
        if self.memory.phase != Phase::HandingOver
            && let Some(release) = &self.memory.release
            && release.rollback.is_none()
        {
            self.roll_back(
                Cause::Interrupted,
                "the Deployment was unpaused by somebody else; its own rollout goes on and the candidate is taken away".to_owned(),
            );
        }
        self.effects_first = true;
        self.give_ours_back_at_once();
        self.wait(
            WaitingOn::Observed,
            "the Services to be unpinned, because the Deployment is not paused",
            None,
            "the release ends then",
        );
        true
    }

    /// What the workload's template is now.
    pub(crate) fn relation(&self, workload: &Workload, release: &Release) -> Relation {
        let same = crate::identity::same_template;
        let parallel = self.parallel();
        let candidate = match parallel {
            Some(parallel) => same(&workload.template, &parallel.template),
            None => self.candidate_set().map_or_else(
                || crate::identity::fingerprint(&workload.template) == release.fingerprint,
                |set| same(&workload.template, &set.template),
            ),
        };
        // The fingerprint speaks too: a webhook may have changed the parallel Deployment only.
        if candidate || crate::identity::fingerprint(&workload.template) == release.fingerprint {
            return Relation::Candidate;
        }
        let stable = match self.stable_set() {
            Some(set) => same(&workload.template, &set.template),
            None => self.seen.kept.iter().any(|kept| {
                kept.candidate == release.candidate && same(&workload.template, &kept.template)
            }),
        };
        if stable {
            Relation::Stable
        } else {
            Relation::Another
        }
    }

    /// Latches the decision to take the candidate away. The first one stays.
    pub(crate) fn roll_back(&mut self, cause: Cause, reason: String) {
        let now = self.now;
        if let Some(release) = self.memory.release.as_mut()
            && release.rollback.is_none()
        {
            release.rollback = Some(Rollback {
                cause,
                reason: reason.clone(),
                at: Some(now),
                ..Rollback::default()
            });
            release.paused = None;
            release.reminded = 0;
            self.event(true, "RollingBack", reason);
        }
        self.enter(Phase::RollingBack);
    }

    pub(crate) fn enter(&mut self, phase: Phase) {
        if self.memory.phase != phase {
            self.memory.phase = phase;
            self.memory.phase_since = Some(self.now);
        }
    }

    pub(crate) fn enter_state(&mut self, state: StepState) {
        let now = self.now;
        if let Some(release) = self.memory.release.as_mut()
            && release.state != state
        {
            release.state = state;
            release.state_since = Some(now);
            release.agreed_since = None;
        }
    }

    /// Asks for a write, unless a fence is up for it. Behind a fenced write nothing else goes.
    pub(crate) fn emit(&mut self, effect: Effect) {
        if matches!(
            &effect,
            Effect::Split {
                to: SplitTo::Stable { .. },
                ..
            }
        ) {
            // Weight goes back to stable whatever else is held up.
            self.effects.push(effect);
            return;
        }
        if self.blocked {
            return;
        }
        if let Some(until) = self.fence()
            && effect.is_fenced()
        {
            self.blocked = true;
            self.wait(
                WaitingOn::Fence,
                "writes that may still land late",
                Some(until),
                "then it goes on",
            );
            return;
        }
        self.effects.push(effect);
    }

    /// Asks for a write that no fence holds up: requests are lost until it is done, and a late write
    /// of ours fails on the resourceVersion that it moves.
    pub(crate) fn emit_at_once(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// When the fence ends, if one is up.
    pub(crate) fn fence(&self) -> Option<Timestamp> {
        self.seen.fenced_until.filter(|until| *until > self.now)
    }

    /// Whether what this pass does not see is not there. If it looked at watches, the next one reads.
    pub(crate) fn absence_is_sure(&mut self) -> bool {
        if !self.seen.from_watches {
            return true;
        }
        self.read_live = true;
        self.wake(self.now);
        false
    }

    /// Says what the pass waits for. The first to speak stays: it is what holds the rest up.
    pub(crate) fn wait(
        &mut self,
        on: WaitingOn,
        text: impl Into<String>,
        until: Option<Timestamp>,
        then: impl Into<String>,
    ) {
        if let Some(until) = until {
            self.wake(until);
        }
        if self.waiting.is_none() {
            self.waiting = Some(Waiting {
                on,
                text: text.into(),
                until,
                then: then.into(),
            });
        }
    }

    pub(crate) fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    pub(crate) fn event(&mut self, warning: bool, reason: &str, message: String) {
        self.events.push(Event {
            warning,
            reason: reason.to_owned(),
            message,
        });
    }

    /// Whether `length` milliseconds have passed since `since`; asks to be woken if not.
    pub(crate) fn elapsed(&mut self, since: Timestamp, length: u64) -> bool {
        let until = after(since, length);
        if self.now >= until {
            return true;
        }
        self.wake(until);
        false
    }
}

/// A point in time `milliseconds` later; the end of time if there is none.
pub(crate) fn after(since: Timestamp, milliseconds: u64) -> Timestamp {
    let length = SignedDuration::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX));
    since.checked_add(length).unwrap_or(Timestamp::MAX)
}
