//! What the planner asks for: each idempotent, each with the precondition that makes a stale sight
//! harmless. How it becomes a request is the controller's `compile`; nothing is left to choose.

use crossfade_api::CreatedMetadata;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An object as it was seen: a write happens only if it still is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "do")]
pub enum Effect {
    /// One split of traffic over every Service of the release: all its writes are one effect. Each
    /// Service is written with our mark, then its managedFields are put back.
    Split {
        services: Vec<ServiceWrite>,
        to: SplitTo,
    },
    /// Give Services back whose workload is gone. Memory may be gone too, or go at any moment: the pin
    /// comes off first, and one last write takes our mark and our managedFields together, so that what
    /// is cut short is still found by its mark.
    GiveBack { services: Vec<ServiceWrite> },
    /// Put the managedFields of a Service back after a write of ours that was cut short.
    RestoreManagedFields {
        service: Target,
        managed_fields: Value,
    },
    /// Keep a copy of a template as a ControllerRevision owned by the workload.
    KeepTemplate {
        name: String,
        candidate: String,
        hash: String,
        template: Value,
        /// What users want it to carry.
        metadata: CreatedMetadata,
    },
    /// Drop a kept copy.
    DropKeptTemplate { target: Target },
    /// Create the parallel Deployment.
    CreateParallel(Box<NewParallel>),
    /// Give the parallel Deployment another size.
    ScaleParallel { target: Target, from: u32, to: u32 },
    /// Pause the parallel Deployment, so that it leaves its ReplicaSet alone.
    PauseParallel { target: Target },
    /// Delete the parallel Deployment and its pods.
    DeleteParallel { target: Target },
    /// Delete the parallel Deployment; what it owns stays.
    OrphanParallel { target: Target },
    /// Make stable's ReplicaSet again, the workload its controller.
    CreateReplicaSet(Box<NewReplicaSet>),
    /// Delete an empty ReplicaSet whose template equals the candidate's: the oldest match would win.
    DeleteReplicaSet { target: Target },
    /// Make our Rollout the controller of a ReplicaSet of the workload.
    Park { target: Target, owner_index: usize },
    /// Make the workload the controller of the judged ReplicaSet, with size and annotations.
    Transfer {
        target: Target,
        owner_index: usize,
        has_annotations: bool,
        replicas: u32,
        maximum: u32,
        revision: u64,
        /// Annotations beside Crossfade's own that it has from the parallel Deployment.
        copied: Vec<String>,
    },
    /// Give a ReplicaSet that is parked, or stable's, another size.
    ScaleReplicaSet { target: Target, from: u32, to: u32 },
    /// Drop our ownership of a parked ReplicaSet; the workload takes it back as history.
    Return { target: Target, owner_index: usize },
    /// Write another template into the workload, paused, if its template still is `from`: somebody asked
    /// to go back to it. Who manages the fields stays undecided, so that the next apply meets no conflict.
    WriteTemplate {
        target: Target,
        from: Value,
        to: Value,
    },
    /// Take our name out of the workload's managedFields, where the write of a template was cut short.
    Disown {
        target: Target,
        managed_fields: Value,
    },
    /// Unpause the workload if its template still is this one.
    Unpause { target: Target, template: Value },
}

/// Where the Services point after an [`Effect::Split`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "side")]
pub enum SplitTo {
    /// Pods of stable only.
    Stable { hash: String },
    /// Pods of both sides.
    Both,
    /// Pods of the candidate only.
    Candidate { hash: String },
    /// As the user wrote it, our mark gone.
    Released,
}

/// One Service of a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceWrite {
    pub service: Target,
    /// Hash in its selector now.
    pub from: Option<String>,
    /// Carries our mark now.
    pub held: bool,
    /// managedFields to put back after the write.
    pub managed_fields: Value,
}

/// A parallel Deployment to be created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewParallel {
    pub name: String,
    pub candidate: String,
    pub replicas: u32,
    pub min_ready_seconds: u32,
    pub progress_deadline_seconds: Option<u32>,
    pub selector: Value,
    pub strategy: Value,
    pub template: Value,
    /// Plan and originals, for a lost memory.
    pub originals: Value,
    /// What users want it to carry.
    pub metadata: CreatedMetadata,
}

/// A ReplicaSet to be created under the workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewReplicaSet {
    pub name: String,
    /// Label `pod-template-hash`, in its selector too.
    pub hash: String,
    pub replicas: u32,
    /// Most pods of the workload, surge included, as the Deployment controller notes it.
    pub maximum: u32,
    pub min_ready_seconds: u32,
    pub revision: u64,
    /// The workload's selector.
    pub selector: Value,
    /// With its `pod-template-hash`.
    pub template: Value,
}

impl Effect {
    /// Whether the effect takes something away that a late write of ours may still need: it waits
    /// for the fence. Moving traffic to stable never does.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        match self {
            Self::Split { to, .. } => matches!(
                to,
                SplitTo::Both | SplitTo::Candidate { .. } | SplitTo::Released
            ),
            Self::ScaleParallel { from, to, .. } | Self::ScaleReplicaSet { from, to, .. } => {
                to < from
            }
            Self::GiveBack { .. }
            | Self::DeleteParallel { .. }
            | Self::OrphanParallel { .. }
            | Self::DeleteReplicaSet { .. }
            | Self::DropKeptTemplate { .. }
            | Self::Park { .. }
            | Self::Transfer { .. }
            | Self::Return { .. }
            | Self::Unpause { .. } => true,
            Self::RestoreManagedFields { .. }
            | Self::KeepTemplate { .. }
            | Self::CreateParallel(_)
            | Self::CreateReplicaSet(_)
            | Self::PauseParallel { .. }
            | Self::WriteTemplate { .. }
            | Self::Disown { .. } => false,
        }
    }

    /// Whether the effect, refused, may wait: it takes a release further, or makes stable's ReplicaSet, which is tried
    /// for as long as it is needed. What gives something back or takes a pin out is tried as often as it is wanted.
    #[must_use]
    pub const fn may_wait(&self) -> bool {
        match self {
            Self::Split { to, .. } => matches!(to, SplitTo::Both | SplitTo::Candidate { .. }),
            Self::KeepTemplate { .. }
            | Self::CreateParallel(_)
            | Self::CreateReplicaSet(_)
            | Self::ScaleParallel { .. }
            | Self::PauseParallel { .. }
            | Self::Park { .. }
            | Self::WriteTemplate { .. } => true,
            Self::GiveBack { .. }
            | Self::RestoreManagedFields { .. }
            | Self::DropKeptTemplate { .. }
            | Self::DeleteParallel { .. }
            | Self::OrphanParallel { .. }
            | Self::DeleteReplicaSet { .. }
            | Self::ScaleReplicaSet { .. }
            | Self::Transfer { .. }
            | Self::Return { .. }
            | Self::Unpause { .. }
            | Self::Disown { .. } => false,
        }
    }

    /// Whether the effect moves traffic. At most one such effect leaves a pass.
    #[must_use]
    pub const fn moves_traffic(&self) -> bool {
        matches!(self, Self::Split { .. } | Self::GiveBack { .. })
    }

    /// A stable word for logs, metrics and golden files.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Split { .. } => "Split",
            Self::GiveBack { .. } => "GiveBack",
            Self::RestoreManagedFields { .. } => "RestoreManagedFields",
            Self::KeepTemplate { .. } => "KeepTemplate",
            Self::DropKeptTemplate { .. } => "DropKeptTemplate",
            Self::CreateParallel(_) => "CreateParallel",
            Self::CreateReplicaSet(_) => "CreateReplicaSet",
            Self::WriteTemplate { .. } => "WriteTemplate",
            Self::Disown { .. } => "Disown",
            Self::ScaleParallel { .. } => "ScaleParallel",
            Self::PauseParallel { .. } => "PauseParallel",
            Self::DeleteParallel { .. } => "DeleteParallel",
            Self::OrphanParallel { .. } => "OrphanParallel",
            Self::DeleteReplicaSet { .. } => "DeleteReplicaSet",
            Self::Park { .. } => "Park",
            Self::Transfer { .. } => "Transfer",
            Self::ScaleReplicaSet { .. } => "ScaleReplicaSet",
            Self::Return { .. } => "Return",
            Self::Unpause { .. } => "Unpause",
        }
    }
}
