//! The objects of the model: what a cluster holds, as far as a release cares. What happens to them
//! stands in `world` and `controllers`.

use std::collections::BTreeSet;

use crossfade_engine::observed::PodTrouble;
use serde_json::Value;

use crate::world::Millis;

#[derive(Clone, Debug, PartialEq)]
pub struct Dep {
    pub name: String,
    pub uid: String,
    pub rv: u64,
    pub generation: i64,
    pub observed: i64,
    pub deleting: bool,
    pub replicas: u32,
    pub paused: bool,
    pub template: Value,
    pub strategy_annotation: Option<String>,
    pub bypass: Option<String>,
    /// As admission writes it down.
    pub bypass_template: Option<String>,
    /// managedFields name us.
    pub in_managed_fields: bool,
    pub rolling_update: bool,
    pub paused_by_manifest: Option<String>,
    /// Another tool, or another installation, releases it.
    pub claimed_by: Option<String>,
    pub surge: u32,
    pub unavailable: u32,
    pub revision: u64,
    pub history_limit: usize,
    pub candidate: String,
    pub originals: Option<Value>,
    pub status_replicas: u32,
    pub failure: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Own {
    #[default]
    Nobody,
    Deployment(String),
    Rollout,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    pub name: String,
    pub uid: String,
    pub rv: u64,
    pub created: Millis,
    pub own: Own,
    pub hash: String,
    pub generation: i64,
    pub observed: i64,
    pub replicas: u32,
    pub status_replicas: u32,
    pub available: u32,
    pub template: Value,
    pub bypass: Option<String>,
    pub revision: u64,
    pub desired: u32,
    pub maximum: u32,
    pub failure: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PodState {
    pub name: String,
    pub uid: String,
    pub set: String,
    pub set_name: String,
    pub hash: String,
    pub image: String,
    pub created: Millis,
    pub ready_at: Option<Millis>,
    pub ready: bool,
    pub ready_since: Millis,
    pub gone_at: Option<Millis>,
    /// Failed: evicted, or its node was shut down. No ReplicaSet counts or ends it.
    pub finished: bool,
    pub restarts: u32,
    pub trouble: Option<PodTrouble>,
    /// When an endpoint last named it as ready.
    pub last_served: Option<Millis>,
}

impl PodState {
    pub fn serving(&self) -> bool {
        self.ready && self.gone_at.is_none()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Svc {
    pub name: String,
    pub uid: String,
    pub rv: u64,
    pub hash: Option<String>,
    pub held: Option<String>,
    pub fields: Value,
    pub endpoints: BTreeSet<String>,
    pub pending: Option<(Millis, BTreeSet<String>)>,
    pub refusal: Option<String>,
    pub publish_not_ready: bool,
    pub local_policy: bool,
    pub headless: bool,
    /// A load balancer, an Ingress or a route sends to it.
    pub balanced: bool,
    /// People try the candidate through it; no user does.
    pub preview: bool,
    pub created: Millis,
}

/// uid in the mark of a Service that another workload's release holds.
pub const ANOTHER_WORKLOAD: &str = "another-workload";

/// How the pods of an image behave.
#[derive(Clone, Debug, PartialEq)]
pub struct Manner {
    /// Until ready; `None`: never.
    pub start: Option<Millis>,
    pub crash: bool,
    /// Errors in 1,000 requests.
    pub errors: u64,
}
