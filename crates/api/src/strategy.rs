//! How a release goes: steps, approvals, waits in front of traffic.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Weight};

/// Exactly one way to release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Strategy {
    /// Growing shares of traffic, judged at each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// All traffic at once, after a preview and an approval if they are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blue_green: Option<BlueGreen>,
}

/// A canary: growing shares of traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Canary {
    /// Steps in order; absent: those of the policy, else 5 %, 20 % and 50 % for two minutes each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub steps: Option<Vec<Step>>,
    /// Pods of the smallest canary, default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub min_replicas: Option<u32>,
}

/// What a template takes that has served everything before and is still in the Deployment's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RetainedRevisions {
    /// No steps and no approvals: full size, all traffic, the warm stay.
    #[default]
    Short,
    /// The plan, as any other template.
    Steps,
}

/// Blue-green: one move of all traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlueGreen {
    /// A Service that shows the candidate before the move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub preview_service: Option<String>,
    /// Asks a person before the move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
}

/// One entry of the plan; exactly one of `weight` and `approval`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// Share of traffic for the candidate, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
    /// Shortest stay at this weight, counted from the moment the weight is verified and all pods
    /// of the step are ready; default one minute. Only beside `weight`.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub stay: Option<Duration>,
    /// Waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
}

/// Waiting for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// How long to wait; absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What happens after the timeout, default abort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<ApprovalThen>,
}

/// What an approval that nobody gave turns into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ApprovalThen {
    /// Roll back.
    #[default]
    Abort,
    /// Go on.
    Advance,
}

/// Waiting until what stands in front of the pods does what was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settle {
    /// Shortest wait after the objects agree, default 3 s: proxies learn endpoints later than the
    /// API shows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Duration>,
}

/// Waiting after a side lost its traffic until its open requests are over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drain {
    /// Shortest wait, default 5 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<Duration>,
}
