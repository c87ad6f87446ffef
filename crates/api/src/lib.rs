//! Crossfade's kinds, annotations, condition names and defaults.
//!
//! Everything a user can write or read through the Kubernetes API is declared here, and nothing
//! else: no client, no decision, no input or output. The schema is generated from these types
//! into `deploy/`.

pub mod analysis;
pub mod annotations;
pub mod conditions;
pub mod control;
pub mod created;
pub mod duration;
pub mod install;
pub mod policy;
pub mod rollout;
pub mod status;
pub mod strategy;
pub mod weight;

pub use analysis::{AnalysisSource, AnalysisSpec, Inconclusive, NoData, NoDataThen, PodMetrics};
pub use control::{Action, Author, ControlSpec};
pub use created::CreatedMetadata;
pub use duration::Duration;
pub use policy::{
    ClusterRolloutPolicy, ClusterRolloutPolicySpec, PolicyTraffic, RolloutPolicy, RolloutPolicySpec,
};
pub use rollout::{Rollout, RolloutSpec, TrafficSpec};
pub use status::{
    ControlStatus, HistoryEntry, Phase, PlanStatus, RejectedEntry, RolloutStatus, SideStatus,
    SignalStatus, StepState, StepStatus, VerdictStatus, WeightStatus,
};
pub use strategy::{
    Approval, ApprovalThen, BlueGreen, Canary, Drain, RetainedRevisions, Settle, Step, Strategy,
};
pub use weight::Weight;

/// API group of every Crossfade kind.
pub const GROUP: &str = "crossfade.dev";
/// Version of every Crossfade kind.
pub const VERSION: &str = "v1alpha1";
/// Field manager named in each write of the controller.
pub const FIELD_MANAGER: &str = "crossfade";
