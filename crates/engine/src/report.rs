//! What a pass says: what it did and why, what it waits for, until when, and what then. Status,
//! events, metrics, the command line and golden files all come from here.

use crossfade_api::{Phase, RolloutStatus, StepState};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What a pass says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The status to show. `memory`, `observedGeneration` and condition times are filled in by
    /// whoever writes it.
    pub status: RolloutStatus,
    pub phase: Phase,
    pub state: Option<StepState>,
    /// What happened in this pass that users should be told, in order.
    pub events: Vec<Event>,
    /// What it waits for now.
    pub waiting: Option<Waiting>,
}

/// Something users should be told once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Warning instead of Normal.
    pub warning: bool,
    /// PascalCase, stable.
    pub reason: String,
    pub message: String,
}

/// What a release waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    pub on: WaitingOn,
    /// In words, with numbers.
    pub text: String,
    /// The deadline; `None`: never.
    pub until: Option<Timestamp>,
    /// What happens at the deadline, or the way out of a wait without one.
    pub then: String,
}

/// The kinds of waits. Each has a deadline in the design's table or says never by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WaitingOn {
    /// A mend by a person: the release cannot start or go on as things are.
    Mend,
    /// A write that may still land late.
    Fence,
    /// The API server to show what was written.
    Observed,
    /// Pods to become ready.
    PodsReady,
    /// Proxies and endpoints.
    Settle,
    /// The shortest stay.
    Stay,
    /// A clear verdict.
    Verdict,
    /// Metrics.
    Data,
    /// A person's approval.
    Approval,
    /// A person's `resume`.
    Resume,
    /// Open requests.
    Drain,
    /// Pods to end.
    PodsGone,
    /// A stage of the hand-over.
    HandOver,
    /// A new template, `retry` or a revert.
    NewTemplate,
}

impl WaitingOn {
    /// Every kind, so that whoever explains waits can prove that it knows them all.
    pub const ALL: [Self; 14] = [
        Self::Mend,
        Self::Fence,
        Self::Observed,
        Self::PodsReady,
        Self::Settle,
        Self::Stay,
        Self::Verdict,
        Self::Data,
        Self::Approval,
        Self::Resume,
        Self::Drain,
        Self::PodsGone,
        Self::HandOver,
        Self::NewTemplate,
    ];

    /// The word in the status, as the reason of the condition `Progressing`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mend => "Mend",
            Self::Fence => "Fence",
            Self::Observed => "Observed",
            Self::PodsReady => "PodsReady",
            Self::Settle => "Settle",
            Self::Stay => "Stay",
            Self::Verdict => "Verdict",
            Self::Data => "Data",
            Self::Approval => "Approval",
            Self::Resume => "Resume",
            Self::Drain => "Drain",
            Self::PodsGone => "PodsGone",
            Self::HandOver => "HandOver",
            Self::NewTemplate => "NewTemplate",
        }
    }

    /// The kind a reason names; `None`: it names none, as while nothing is waited for.
    #[must_use]
    pub fn from_reason(reason: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|on| on.as_str() == reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_word_of_its_own_that_is_no_phase() {
        for (index, on) in WaitingOn::ALL.into_iter().enumerate() {
            assert_eq!(WaitingOn::from_reason(on.as_str()), Some(on));
            // `ALL` leaves none out: it stands in the order of the enumeration, without a gap.
            assert_eq!(on as usize, index);
            assert_eq!(serde_json::to_value(on).unwrap(), on.as_str());
        }
        assert_eq!(WaitingOn::NewTemplate as usize + 1, WaitingOn::ALL.len());
        for phase in [
            "Idle",
            "Preparing",
            "Progressing",
            "Warm",
            "HandingOver",
            "RollingBack",
        ] {
            assert_eq!(WaitingOn::from_reason(phase), None);
        }
    }
}
