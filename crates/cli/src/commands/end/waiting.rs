//! Waiting for the release of one template, or of one candidate: whatever else is released, held or taken
//! away meanwhile is not the answer. Pure.

use std::collections::BTreeSet;

use crossfade_api::{HistoryEntry, Phase, RolloutStatus};
use tokio::time::Instant;

use super::{ASK, End, Ended, Judge, Look, STANDS, Since, awaits_approval, is_settled, stuck};
use crate::commands::gate::Gate;
use crate::exit::Exit;
use crate::rollout::Rollout;

/// What is waited for, and what was seen of it.
#[derive(Debug, Default)]
pub struct Waiting {
    before: Ended,
    /// The candidate that was there before and is another: its end and its approval are not meant.
    not: Option<String>,
    /// Fingerprint of the template; `None`: any that is not of that candidate.
    print: Option<String>,
    /// Its images: known by them is an end whose beginning was not seen.
    images: Vec<String>,
    /// Candidates that were seen to be made from it.
    ours: BTreeSet<String>,
    /// It was taken away without anybody's wish and starts again by itself.
    interrupted: Option<HistoryEntry>,
    /// The template is to be released although it was rejected before.
    retries: bool,
    /// That alone is waited for.
    until_retried: bool,
    stuck: Since,
    apart: Since,
}

impl Waiting {
    /// For the candidate there is.
    pub fn for_candidate(rollout: &Rollout) -> Self {
        let candidate = candidate(rollout);
        Self {
            before: Ended::of(Some(rollout)),
            print: print_of(rollout).filter(|_| candidate.is_some()),
            ours: candidate.into_iter().collect(),
            ..Self::default()
        }
    }

    /// For a template. `rollout`: as it was before; its candidate is another unless it is under way with
    /// this very template.
    pub fn for_template(
        rollout: Option<&Rollout>,
        template: Option<(String, Vec<String>)>,
    ) -> Self {
        let (print, images) = template.unzip();
        let other = |rollout: &&Rollout| {
            let under_way = (rollout.status.as_ref()).is_some_and(|status| {
                let phase = status.phase.unwrap_or_default();
                use Phase::{HandingOver, Preparing, Progressing, Warm};
                matches!(phase, Preparing | Progressing | Warm | HandingOver)
            });
            !(under_way && print.is_some() && print_of(rollout) == print)
        };
        Self {
            before: Ended::of(rollout),
            not: rollout.filter(other).and_then(candidate),
            images: images.unwrap_or_default(),
            print,
            ..Self::default()
        }
    }

    /// If it is held because it was rejected before, it is released again.
    pub fn retrying(self) -> Self {
        Self {
            retries: true,
            ..self
        }
    }

    /// Only until it is released again.
    pub fn until_retried(self) -> Self {
        Self {
            until_retried: true,
            ..self.retrying()
        }
    }

    /// Whether the candidate of this state is made from what is waited for.
    fn means(&self, rollout: &Rollout, candidate: &str) -> bool {
        if self.not.as_deref() == Some(candidate) {
            return false;
        }
        match (&self.print, print_of(rollout)) {
            (Some(wanted), Some(print)) => *wanted == print,
            // A controller of another version: that it is not the one before has to do.
            _ => self.ours.is_empty() || self.ours.contains(candidate),
        }
    }

    fn is_ours(&self, entry: &HistoryEntry) -> bool {
        let known = self.print.is_some() || !self.ours.is_empty();
        self.not.as_ref() != Some(&entry.candidate)
            && (self.ours.contains(&entry.candidate)
                || !known
                || !self.images.is_empty() && self.images == entry.images)
    }

    /// Nothing of ours is seen: every now and then the Deployment is asked.
    fn apart(&mut self, now: Instant) -> Look {
        if !self.apart.stands(true, ASK, now) {
            return Look::GoOn;
        }
        self.apart = Since::default();
        Look::Ask
    }

    /// At rest on something: taken back for good, or held.
    fn settled(&mut self, status: &RolloutStatus, candidate: &str) -> Look {
        if let Some(entry) = &self.interrupted {
            return End::of(entry).into();
        }
        if self.retries {
            return Look::Retry;
        }
        // Tried before we waited, or held without a try.
        let known = status.history.iter().find(|it| it.candidate == candidate);
        known.map_or_else(held, |entry| End::of(entry).into())
    }
}

impl Judge for Waiting {
    fn look(&mut self, rollout: Option<&Rollout>, now: Instant) -> Look {
        let Some((rollout, status)) = rollout.and_then(|it| Some((it, it.status.as_ref()?))) else {
            return self.apart(now);
        };
        // What was asked for is not written yet: all that is seen is from before it.
        if undo_pending(rollout) {
            return Look::GoOn;
        }
        let candidate = candidate(rollout).filter(|candidate| self.means(rollout, candidate));
        self.ours.extend(candidate.clone());
        for entry in self.before.new_in(&status.history) {
            if self.is_ours(entry) && entry.outcome != "interrupted" {
                return End::of(entry).into();
            }
            if self.is_ours(entry) {
                self.interrupted = Some(entry.clone());
            }
        }
        if candidate.is_some() && awaits_approval(status) {
            return End::approval().into();
        }
        if self.until_retried && candidate.is_some() && begun(rollout, status) {
            let sentence = "the template is being released, without a retry";
            return End::without_entry(Exit::Done, sentence).into();
        }
        let why = stuck(status);
        if self.stuck.stands(why.is_some(), STANDS, now) {
            return End::without_entry(Exit::Error, why.unwrap_or_default()).into();
        }
        match candidate {
            Some(candidate) if is_settled(status) => self.settled(status, &candidate),
            Some(_) => {
                self.apart = Since::default();
                Look::GoOn
            }
            None => self.apart(now),
        }
    }

    fn asked(&mut self, rollout: Option<&Rollout>, gate: Option<&Gate>) -> Look {
        let Some(gate) = gate else {
            return End::gone().into();
        };
        if self
            .print
            .as_ref()
            .is_some_and(|print| gate.print() != *print)
        {
            let sentence = "the Deployment has another template: somebody pushed one in between, or the revision asked for is not kept any more";
            return End::without_entry(Exit::Aborted, sentence).into();
        }
        let status = rollout.and_then(|rollout| rollout.status.as_ref());
        let at_rest = status.is_some_and(|it| matches!(it.phase, None | Some(Phase::Idle)));
        if !at_rest || gate.paused() || !(gate.serves() || gate.empty()) {
            return Look::GoOn;
        }
        match &self.interrupted {
            Some(entry) => End::of(entry).into(),
            None => {
                let images = gate.images().join(", ");
                End::without_entry(Exit::Done, format!("at rest with {images}")).into()
            }
        }
    }

    fn unasked(&mut self, _rollout: Option<&Rollout>) -> Look {
        Look::GoOn
    }

    fn retried(&mut self, rollout: &Rollout) -> Option<End> {
        self.retries = false;
        self.not = candidate(rollout);
        let said = || End::without_entry(Exit::Done, "the template is released again");
        self.until_retried.then(said)
    }
}

pub(super) fn held() -> Look {
    End::held().into()
}

pub(super) fn candidate(rollout: &Rollout) -> Option<String> {
    let candidate = rollout.status.as_ref()?.candidate.as_ref()?;
    Some(candidate.name.clone())
}

/// Fingerprint of the candidate's template, as the controller remembers it.
pub fn print_of(rollout: &Rollout) -> Option<String> {
    let print = rollout
        .raw()
        .pointer("/status/memory/release/fingerprint")?;
    print.as_str().map(str::to_owned)
}

/// Whether something of the candidate is started: one that is held passes through the same phases.
fn begun(rollout: &Rollout, status: &RolloutStatus) -> bool {
    let held = rollout.raw().pointer("/status/memory/release/held");
    let phase = status.phase.unwrap_or_default();
    matches!(phase, Phase::Preparing | Phase::Progressing | Phase::Warm)
        && held != Some(&serde_json::Value::Bool(true))
}

fn undo_pending(rollout: &Rollout) -> bool {
    rollout.raw().pointer("/status/memory/undo").is_some()
}

#[cfg(test)]
mod tests;
