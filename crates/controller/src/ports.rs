//! What the controller needs from outside: a client, time, names, other HTTP and the planner. The
//! simulator passes its own; nothing else in the library may reach for them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use crossfade_api::RolloutSpec;
use crossfade_engine::validated::{self, Policies};
use crossfade_engine::{Decision, Memory, Observed, Validated};
use jiff::Timestamp;
use tower::util::BoxCloneSyncService;

/// The time of day. Waits use tokio's clock.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Names that must not repeat.
pub trait Ids: Send + Sync {
    /// A short name for a candidate: letters and digits.
    fn candidate(&self) -> String;
}

/// The planner. A port, so that a recording or failing one can take its place.
pub trait Planner: Send + Sync {
    /// The plan that is asked for, or why there is none.
    fn validate(
        &self,
        spec: &RolloutSpec,
        annotations: &BTreeMap<String, String>,
        policies: &Policies,
    ) -> Validated;
    /// What to do next.
    fn step(
        &self,
        rollout: &Validated,
        seen: &Observed,
        memory: &Memory,
        now: Timestamp,
    ) -> Decision;
}

/// The planner of the engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Engine;

impl Planner for Engine {
    fn validate(
        &self,
        spec: &RolloutSpec,
        annotations: &BTreeMap<String, String>,
        policies: &Policies,
    ) -> Validated {
        validated::validate(spec, annotations, policies)
    }

    fn step(
        &self,
        rollout: &Validated,
        seen: &Observed,
        memory: &Memory,
        now: Timestamp,
    ) -> Decision {
        crossfade_engine::step(rollout, seen, memory, now)
    }
}

/// Why a request to something that is not Kubernetes has no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct OutboundError(pub String);

/// All HTTP that is not Kubernetes: requests and answers whole, bounded in size by whoever adapts.
pub type Outbound = BoxCloneSyncService<http::Request<Bytes>, http::Response<Bytes>, OutboundError>;

/// The controller's doors to the world.
#[derive(Clone)]
pub struct Ports {
    /// Without retries of its own: this crate retries by class of error.
    pub client: kube::Client,
    pub clock: Arc<dyn Clock>,
    pub outbound: Outbound,
    pub ids: Arc<dyn Ids>,
    pub planner: Arc<dyn Planner>,
}

impl fmt::Debug for Ports {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Ports")
    }
}
