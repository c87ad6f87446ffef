//! The Rollout: how one workload is released, and what goes on.

use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    AnalysisSpec, ControlSpec, CreatedMetadata, Drain, Duration, RetainedRevisions, RolloutStatus,
    Settle, Strategy,
};

/// How one Deployment is released (spec) and what goes on and why (status).
///
/// One per workload, of the same name. A field that is absent comes from the annotations of the
/// Deployment, then the policy they name, then the policies named `default`, then the default.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "crossfade.dev",
    version = "v1alpha1",
    kind = "Rollout",
    namespaced,
    status = "RolloutStatus",
    shortname = "xro",
    category = "crossfade",
    derive = "PartialEq",
    printcolumn(json_path = ".status.phase", name = "Phase", type_ = "string"),
    printcolumn(json_path = ".status.step.text", name = "Step", type_ = "string"),
    printcolumn(json_path = ".status.verdict.outcome", name = "Verdict", type_ = "string"),
    printcolumn(json_path = ".status.message", name = "Message", type_ = "string", priority = 1),
    printcolumn(json_path = ".metadata.creationTimestamp", name = "Age", type_ = "date"),
    validation = unhandled_abort_stays()
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = one_strategy())]
#[x_kube(validation = one_of_each_step())]
#[x_kube(validation = stay_beside_weight())]
#[x_kube(validation = deployment_stays())]
pub struct RolloutSpec {
    /// The Deployment; default: the name of the Rollout. Set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub deployment: Option<String>,
    /// How to release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Last stay at 100 %, stable standing by, default five minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<Duration>,
    /// Which Services and how long to wait for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficSpec>,
    /// What is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisSpec>,
    /// Longest wait for pods to become ready without structural progress, default ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline: Option<Duration>,
    /// What an undo, or a template pushed again that has served everything before, takes: `short`, the default,
    /// has no steps and no approvals; `steps` has those of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained_revisions: Option<RetainedRevisions>,
    /// What the objects that a release creates carry beside Crossfade's own marks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_metadata: Option<CreatedMetadata>,
    /// The newest command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlSpec>,
}

/// What stands in front of the pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrafficSpec {
    /// The Service whose split the plan is about; absent: every Service that selects the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub service: Option<String>,
    /// Waiting until proxies have learnt what was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<Settle>,
    /// Waiting for open requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
}

pub(crate) fn one_strategy() -> Rule {
    Rule::new("!has(self.strategy) || has(self.strategy.canary) != has(self.strategy.blueGreen)")
        .message("spec.strategy needs exactly one of canary and blueGreen")
}

pub(crate) fn one_of_each_step() -> Rule {
    Rule::new("!has(self.strategy) || !has(self.strategy.canary) || !has(self.strategy.canary.steps) || self.strategy.canary.steps.all(s, has(s.weight) != has(s.approval))")
        .message("each entry of spec.strategy.canary.steps needs exactly one of weight and approval")
}

pub(crate) fn stay_beside_weight() -> Rule {
    Rule::new("!has(self.strategy) || !has(self.strategy.canary) || !has(self.strategy.canary.steps) || self.strategy.canary.steps.all(s, !has(s.for) || has(s.weight))")
        .message("in spec.strategy.canary.steps, for goes with weight only; an approval has its timeout")
}

fn deployment_stays() -> Rule {
    Rule::new("!has(oldSelf.deployment) || (has(self.deployment) && self.deployment == oldSelf.deployment)")
        .message("spec.deployment is set once; make another Rollout for another Deployment")
}

/// An abort nobody has carried out yet is replaced by another abort or a retry only, so that a
/// late `promote` cannot undo an abort.
///
/// A command without an id is handled when the newest answer is to an abort without an id: a rule
/// cannot read `metadata.generation`. That leaves the moment between an earlier such abort and an
/// unhandled command after it; whoever wants no such moment gives an id, as the command line does.
fn unhandled_abort_stays() -> Rule {
    Rule::new(
        "!has(oldSelf.spec.control) || oldSelf.spec.control.action != 'abort' \
         || (has(self.spec.control) && (self.spec.control == oldSelf.spec.control || self.spec.control.action in ['abort','retry'])) \
         || (has(oldSelf.status) && has(oldSelf.status.control) && (has(oldSelf.spec.control.id) \
         ? oldSelf.status.control.id == oldSelf.spec.control.id \
         : (oldSelf.status.control.action == 'abort' && oldSelf.status.control.id.startsWith('generation-'))))",
    )
    .message("the abort in spec.control is not carried out yet; only abort or retry may replace it")
}
