//! What must be remembered because it cannot be read again. Written to the Rollout's status before
//! it is acted on.
//!
//! Not here: the weight in force, sizes and the stage of the hand-over; those are read each time.

use std::collections::BTreeMap;

use crossfade_api::{ControlSpec, ControlStatus, HistoryEntry, Phase, RejectedEntry, StepState};
use crossfade_judge as judge;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::observed::Workload;
use crate::validated::Plan;

/// How many ended releases and rejected templates are kept.
pub const KEPT_ENTRIES: usize = 10;

/// The memory of one Rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    pub phase: Phase,
    /// When the phase began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase_since: Option<Timestamp>,
    /// A new uid is a new life: everything older is dropped.
    pub workload_uid: String,
    /// The release under way, or, in RolledBack, the one that was taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// What became of the newest command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlStatus>,
    /// The newest command handled, whole: one without an id is known by its content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handled: Option<ControlSpec>,
    /// Ids of the commands handled, newest first: each is carried out once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consumed: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Rejected>,
    /// Releases whose candidate was taken away again, newest first: of each template only the last few count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taken_away: Vec<TakenAway>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
    /// Fingerprints of the templates that have served alone, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub served: Vec<String>,
    /// managedFields of each Service before our first write, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub originals: BTreeMap<String, Original>,
    /// The newest template, and the bypass beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pushed: Option<Pushed>,
    /// The template that somebody asked to go back to, until the workload has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
    /// The workload is paused on a template that was gated at rest: going back to the one that serves
    /// unpauses it again.
    pub gated: bool,
    /// Why nothing goes on in Idle although a template is gated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What of the plan cannot be carried out, as last told at rest: each is told once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid: Option<String>,
}

/// What a Service looked like before our first write.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Original {
    pub uid: String,
    pub managed_fields: Value,
    /// A split of this release was seen to be written on it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub written: bool,
}

/// When a release ended without being promoted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TakenAway {
    /// Of the candidate's template.
    pub fingerprint: String,
    pub at: Timestamp,
}

/// Where `undo` goes back to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Undo {
    /// uid of a ReplicaSet of the workload's history (its revision changes as soon as the workload has its
    /// template); `None`: what served before the release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// Fingerprint of the template that is to go: another one pushed since is somebody's newer word.
    pub instead_of: String,
    /// Who, and why.
    pub by: String,
}

/// A template and the bypass that stood beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pushed {
    pub fingerprint: String,
    /// Value of the annotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bypass: Option<String>,
    /// It came in the write of the template, for the first time, and has not let it pass yet.
    pub passes: bool,
}

impl Memory {
    /// A state that was left and entered again within one pass has lasted all the while. A time that moves
    /// with every pass would be written with every pass.
    pub(crate) fn keep_state_since(&mut self, before: &Self) {
        let same_phase = self.phase == before.phase;
        if let (Some(was), Some(is)) = (&before.release, &mut self.release)
            && same_phase
            && (&was.candidate, was.step, was.state) == (&is.candidate, is.step, is.state)
        {
            is.state_since = was.state_since;
        }
    }

    /// Beginnings that lie in the future began now: a clock that was set back, or a former leader's that
    /// was ahead, must not make a wait longer than it says.
    pub(crate) fn begun_by(&mut self, now: Timestamp) {
        let clamp = |since: &mut Option<Timestamp>| {
            if let Some(since) = since {
                *since = now.min(*since);
            }
        };
        let Some(release) = &mut self.release else {
            return;
        };
        clamp(&mut self.phase_since);
        for since in [
            &mut release.state_since,
            &mut release.progress_since,
            &mut release.agreed_since,
            &mut release.stay_since,
            &mut release.no_data_since,
            &mut release.hold_since,
            &mut release.lost_since,
            &mut release.empty_since,
        ] {
            clamp(since);
        }
        if let Some(rollback) = &mut release.rollback {
            clamp(&mut rollback.clear_since);
        }
    }
}

/// One release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Release {
    /// The candidate's name, made once.
    pub candidate: String,
    /// The parallel Deployment's name, made once.
    pub parallel: String,
    /// Fingerprint of the candidate's template, to recognise it after its pods are gone.
    pub fingerprint: String,
    pub images: Vec<String>,
    /// Its template was rejected before: nothing of a candidate is started until somebody retries.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// What served before.
    pub stable: Side,
    /// Since when stable has no ReplicaSet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_since: Option<Timestamp>,
    /// uids of ReplicaSets that were stable's and were deleted by somebody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost_stable: Vec<String>,
    /// Others of the workload's ReplicaSets than stable's may have pods that nobody asked for: stable's was
    /// deleted, or the size was 0.
    pub strays: bool,
    /// Since when the workload has a size of 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_since: Option<Timestamp>,
    /// The workload was unpaused by somebody since the release began.
    pub unpaused: bool,
    /// The candidate's ReplicaSet, once it was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<Side>,
    /// The plan it started with.
    pub plan: Plan,
    /// Where each part of the plan came from.
    pub sources: BTreeMap<String, String>,
    /// Index into the plan's steps; one past the last is the warm stay.
    pub step: u32,
    pub state: StepState,
    /// When the state began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_since: Option<Timestamp>,
    /// When the step began; the progress deadline runs from here or from the last progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_since: Option<Timestamp>,
    /// Most ready pods seen in this step: only more than that is progress.
    pub most_ready: u32,
    /// Since when objects and endpoints agree with what was written; the settle floor runs from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreed_since: Option<Timestamp>,
    /// A person ended the stay of this step.
    pub skip_stay: bool,
    /// The candidate has had traffic: its end needs a drain.
    pub weighted: bool,
    /// A weight was written for it: until then everything stays with stable.
    pub shifted: bool,
    /// When the stay began: weight verified and all pods of the step ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stay_since: Option<Timestamp>,
    /// Requests the candidate had answered when the stay began.
    pub requests_before: u64,
    /// N for which the candidate was last complete, for law 1.
    pub complete_for: u32,
    /// maxUnavailable of that N: a share of a larger one would be more than it had to spare.
    pub complete_unavailable: u32,
    /// How often a side fell short.
    pub shortfalls: u32,
    /// The step whose weight was seen to be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_step: Option<u32>,
    /// When Services were written back by others after that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resets: Vec<Timestamp>,
    /// A person has stopped it: who and why, and the state to go back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// Hours of pause already told.
    pub reminded: u64,
    /// Since when there is no data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_data_since: Option<Timestamp>,
    /// Since when the verdict is unclear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_since: Option<Timestamp>,
    /// It went on over a verdict that was unclear: how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unclear: Option<String>,
    /// `promote --full`: who and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<String>,
    /// The latched decision to take the candidate away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// State of the judge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<judge::State>,
    /// uids of candidate pods that served while judged, and their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub judged_pods: BTreeMap<String, String>,
    /// Judged pods that were lost since.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replaced_pods: Vec<String>,
}

impl Release {
    /// Pods that the N for which it was last complete may lack: N may have been raised since, and maxUnavailable with it.
    pub(crate) fn may_lack(&self, workload: &Workload) -> u32 {
        if self.complete_for == 0 || self.complete_for >= workload.replicas {
            workload.max_unavailable
        } else {
            workload.max_unavailable.min(self.complete_unavailable)
        }
    }
}

/// The ReplicaSet of a side, remembered from when it was first seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Side {
    pub name: String,
    pub uid: String,
    pub hash: String,
    pub images: Vec<String>,
}

/// Why a candidate is taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollback {
    pub cause: Cause,
    /// In words, with numbers.
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Since when every Service is seen on stable and the endpoints agree; settle and drain count
    /// from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clear_since: Option<Timestamp>,
    /// Every Service was seen on stable.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub written: bool,
    /// When others wrote one back after that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resets: Vec<Timestamp>,
    /// Who does so again and again, and the mend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fought: Option<String>,
    /// Take the weight although stable has no ready endpoint.
    pub force: bool,
}

/// What made the candidate go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The verdict, the health of the pods or a deadline.
    #[default]
    Failed,
    /// A person.
    Aborted,
    /// Another template, or stable's, was pushed.
    Superseded,
    /// The workload was unpaused, recreated, scaled to 0, or the memory lost.
    Interrupted,
    /// The template was rejected before: nothing of a candidate was started.
    Held,
}

/// A template that is held until `retry` or `run`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rejected {
    pub fingerprint: String,
    /// It came and went too often: pushed again, it is held as well, not released.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub often: bool,
    pub entry: RejectedEntry,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_in_the_future_begins_now() {
        let at = |second| Timestamp::from_second(second).ok();
        let mut memory = Memory {
            phase_since: at(90),
            release: Some(Release {
                state_since: at(110),
                stay_since: at(200),
                rollback: Some(Rollback {
                    clear_since: at(201),
                    ..Rollback::default()
                }),
                ..Release::default()
            }),
            ..Memory::default()
        };
        memory.begun_by(at(100).unwrap());
        assert_eq!(memory.phase_since, at(90));
        let release = memory.release.unwrap();
        assert_eq!(
            (release.state_since, release.stay_since),
            (at(100), at(100))
        );
        assert_eq!(release.agreed_since, None);
        assert_eq!(release.rollback.unwrap().clear_since, at(100));
    }
}
