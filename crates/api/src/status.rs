//! What a Rollout says about itself. Written by the controller from its report; read by people,
//! by the command line and by GitOps tools.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Weight;

/// Where a release stands.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Phase {
    /// Nothing to do.
    #[default]
    Idle,
    /// Checking, pinning, starting the candidate.
    Preparing,
    /// Going through the steps.
    Progressing,
    /// The candidate serves everything, stable stands by.
    Warm,
    /// The judged pods become the workload's own. Forward only.
    HandingOver,
    /// Taking the candidate away.
    RollingBack,
    /// Stable serves; the template is rejected.
    RolledBack,
}

impl Phase {
    /// The word shown to users.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Preparing => "Preparing",
            Self::Progressing => "Progressing",
            Self::Warm => "Warm",
            Self::HandingOver => "HandingOver",
            Self::RollingBack => "RollingBack",
            Self::RolledBack => "RolledBack",
        }
    }
}

/// What a step is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StepState {
    /// Waiting for pods.
    #[default]
    Scaling,
    /// Writing the weight.
    Shifting,
    /// Waiting until the weight is in force.
    Settling,
    /// Watching the candidate.
    Observing,
    /// The stay is over; the verdict does not allow to go on.
    Held,
    /// Waiting for a person.
    AwaitingApproval,
    /// Stopped by a person.
    Paused,
}

/// The status of a Rollout.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Where the release stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Generation of the spec this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The installation that holds this workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<String>,
    /// One sentence: what goes on and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What served before the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<SideStatus>,
    /// What is being released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<SideStatus>,
    /// Where in the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepStatus>,
    /// What the analysis says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictStatus>,
    /// The newest command carried out or refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlStatus>,
    /// The plan in force and where each part came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// Templates that were rolled back or aborted, newest first, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<RejectedEntry>,
    /// Ended releases, newest first, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryEntry>,
    /// Ready, Progressing, Stalled, after the rules of kstatus.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// What the controller must not forget. Its form is the controller's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub memory: Option<Value>,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// Stable or candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SideStatus {
    /// Stable: its ReplicaSet. Candidate: the name made for it at its start.
    pub name: String,
    /// Label `pod-template-hash` of its pods, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template_hash: Option<String>,
    /// Images of its containers, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Pods asked for.
    pub replicas: u32,
    /// Pods ready and in service.
    pub ready: u32,
    /// When the release of this side began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
}

/// Where in the plan a release stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// Counted from 0; the warm stay is one past the last.
    pub index: u32,
    /// Steps of the plan, the warm stay not counted.
    pub of: u32,
    /// For the eye: `2/4 20% Observing`.
    pub text: String,
    /// What the step is doing.
    pub state: StepState,
    /// Share of the candidate.
    pub weight: WeightStatus,
    /// Since when it is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_on: Option<String>,
    /// Deadline of the wait; absent with `waitingOn` set means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What happens at the deadline, or who can end a wait without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<String>,
}

/// The candidate's share of traffic, percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WeightStatus {
    /// What the plan says.
    pub asked: Weight,
    /// What is written now.
    pub written: Weight,
    /// What is seen in force.
    pub verified: Weight,
}

/// What the analysis says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerdictStatus {
    /// `watching`, `hold`, `bad`, `safe`, `no-data`, `inconclusive` or `none`.
    pub outcome: String,
    /// A sentence with numbers.
    pub reason: String,
    /// The signals behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<SignalStatus>,
}

/// One signal of the analysis.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignalStatus {
    /// `errors` or `health`.
    pub name: String,
    /// The candidate's numbers, for example `31 of 155 (20.0 %)`.
    pub candidate: String,
    /// Stable's numbers.
    pub stable: String,
    /// With the release's confidence the candidate's ratio is at least this many times stable's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio_at_least: Option<f64>,
    /// Natural logarithm of the evidence against the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<f64>,
}

/// What became of the newest command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlStatus {
    /// The command's id.
    pub id: String,
    /// Generation of the Rollout at which the command was read.
    pub generation: i64,
    /// What it asked for.
    pub action: String,
    /// `done`, `refused`, `too-late` or `superseded`.
    pub outcome: String,
    /// Why, and what to do instead.
    pub message: String,
    /// Who wrote it, or `unverified`.
    pub by: String,
    /// When it was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// The plan in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// Each step as text, the share that pods can give beside the one asked for.
    pub steps: Vec<String>,
    /// Where each part came from: `spec`, `annotations`, `policy NAME`, `built in`.
    pub sources: std::collections::BTreeMap<String, String>,
}

/// A template that was taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectedEntry {
    /// The candidate's name.
    pub candidate: String,
    /// Its images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// An ended release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// The candidate's name.
    pub candidate: String,
    /// Its images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// `promoted`, `rolled-back`, `aborted`, `superseded`, `interrupted` or `bypassed`.
    pub outcome: String,
    /// Why, in a sentence.
    pub reason: String,
    /// Start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// End.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Names of judged pods that were lost and replaced before the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced_pods: Vec<String>,
}
