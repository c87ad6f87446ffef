//! Policies: what several Rollouts share. They name no objects.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AnalysisSpec, CreatedMetadata, Drain, Duration, RetainedRevisions, Settle, Strategy};

/// Waits in front of traffic, without names of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyTraffic {
    /// See [`Settle`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<Settle>,
    /// See [`Drain`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
}

macro_rules! policy {
    ($(#[$attribute:meta])* $name:ident, $kind:literal, $short:literal $(, $scope:ident)?) => {
        $(#[$attribute])*
        #[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[kube(
            group = "crossfade.dev",
            version = "v1alpha1",
            kind = $kind,
            shortname = $short,
            category = "crossfade",
            derive = "PartialEq",
            $($scope,)?
        )]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        #[x_kube(validation = crate::rollout::one_strategy())]
        #[x_kube(validation = crate::rollout::one_of_each_step())]
        #[x_kube(validation = crate::rollout::stay_beside_weight())]
        pub struct $name {
            /// How to release.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub strategy: Option<Strategy>,
            /// Last stay at 100 %, stable standing by, default five minutes.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub warm: Option<Duration>,
            /// Waits in front of traffic.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub traffic: Option<PolicyTraffic>,
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
        }
    };
}

policy!(
    /// What the Rollouts of one namespace share. The one named `default` applies without being named.
    RolloutPolicySpec, "RolloutPolicy", "xpol", namespaced
);
policy!(
    /// What the Rollouts of the cluster share. The one named `default` applies without being named.
    ClusterRolloutPolicySpec, "ClusterRolloutPolicy", "xcpol"
);

impl From<ClusterRolloutPolicySpec> for RolloutPolicySpec {
    fn from(spec: ClusterRolloutPolicySpec) -> Self {
        let ClusterRolloutPolicySpec {
            strategy,
            warm,
            traffic,
            analysis,
            progress_deadline,
            retained_revisions,
            created_metadata,
        } = spec;
        Self {
            strategy,
            warm,
            traffic,
            analysis,
            progress_deadline,
            retained_revisions,
            created_metadata,
        }
    }
}
