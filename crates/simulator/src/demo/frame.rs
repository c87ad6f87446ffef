//! What the demo shows: one look at everything, and what happened in between. Plain values; how they
//! are drawn is in `picture`, where they are shown is the caller's.

use std::collections::BTreeMap;
use std::time::Duration;

use crossfade_api::{Phase, Rollout, SideStatus};
use jiff::Timestamp;
use serde::Serialize;

use super::backends::version;
use super::counts::{Answers, Counts};

/// One look.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Since the demo began.
    pub at: Duration,
    /// The time of day, for deadlines.
    pub now: Timestamp,
    /// What is told just now.
    pub chapter: String,
    /// As the API has it.
    pub rollout: Option<Rollout>,
    pub counts: Counts,
    /// Answers of the last moments, and how long those were.
    pub recent: (BTreeMap<String, Answers>, Duration),
}

impl Frame {
    /// The phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.rollout
            .as_ref()
            .and_then(|rollout| rollout.status.as_ref()?.phase)
            .unwrap_or_default()
    }
}

/// Version of a side.
#[must_use]
pub fn version_of(side: &SideStatus) -> &str {
    side.images.first().map_or("", |image| version(image))
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Since the demo began.
    pub at: Duration,
    pub warning: bool,
    /// A word for it: an event's reason, or who did it.
    pub what: String,
    pub text: String,
}

/// Where the demo is shown.
pub trait View: Send {
    /// Several times a second.
    fn frame(&mut self, frame: &Frame);
    /// In order, each once.
    fn told(&mut self, told: &Told);
}

/// How it ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Everything went as told: no request lost, the good version kept, the bad one taken back.
    pub as_told: bool,
    /// What did not.
    pub problems: Vec<String>,
    pub seconds: f64,
    /// Requests sent.
    pub requests: u64,
    /// Requests without an answer.
    pub lost: u64,
    /// Why, for the first ones.
    pub lost_because: Vec<String>,
    /// Answers with a status of 500 and more that reached a client.
    pub bad_answers: u64,
    pub connections: u64,
    pub versions: BTreeMap<String, Answers>,
    pub releases: Vec<Release>,
}

/// One release of the demo.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    pub version: String,
    /// Errors in a hundred answers of it.
    pub errors_percent: f64,
    pub expected: String,
    /// As the Rollout's history names it.
    pub outcome: String,
    pub reason: String,
    pub seconds: f64,
    /// In order.
    pub phases: Vec<PhaseTime>,
    /// Pods that are new since the hand-over began.
    pub pods_made_by_hand_over: usize,
    /// Answers of this version while it was released.
    pub answers: Answers,
}

/// How long a phase took.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseTime {
    pub phase: String,
    pub seconds: f64,
}

/// The closing words.
#[must_use]
pub fn closing(summary: &Summary) -> String {
    let mut text = String::new();
    for release in &summary.releases {
        let phases: Vec<String> = release
            .phases
            .iter()
            .map(|phase| format!("{} {:.1} s", phase.phase, phase.seconds))
            .collect();
        text.push_str(&format!(
            "{} ({} % errors): {} after {:.1} s: {}\n",
            release.version,
            release.errors_percent,
            release.outcome,
            release.seconds,
            release.reason
        ));
        if !phases.is_empty() {
            text.push_str(&format!("  {}\n", phases.join(", ")));
        }
        text.push_str(&format!(
            "  answered {} requests meanwhile, {} of them badly",
            release.answers.requests, release.answers.bad
        ));
        if release.outcome == "promoted" {
            text.push_str(&format!(
                "; pods made by the hand-over: {}",
                release.pods_made_by_hand_over
            ));
        }
        text.push('\n');
    }
    let versions: Vec<String> = summary
        .versions
        .iter()
        .map(|(version, answers)| format!("{version} {}", answers.requests))
        .collect();
    text.push_str(&format!(
        "requests {} ({}) over {} connections in {:.0} s\nlost {}\nbad answers {}\n",
        summary.requests,
        versions.join(", "),
        summary.connections,
        summary.seconds,
        summary.lost,
        summary.bad_answers
    ));
    for why in &summary.lost_because {
        text.push_str(&format!("  lost: {why}\n"));
    }
    for problem in &summary.problems {
        text.push_str(&format!("not as told: {problem}\n"));
    }
    text
}
