//! What every part of the running controller shares. Holds, does nothing.

use std::sync::Arc;

use crate::events::Events;
use crate::metrics::Metrics;
use crate::ports::Ports;
use crate::queue::Queue;
use crate::run::Settings;
use crate::state::States;
use crate::watch::{Always, WatchHealth};
use crate::wire::Wire;

/// Shared by all passes.
#[derive(Debug)]
pub struct Context {
    pub ports: Ports,
    pub settings: Settings,
    pub wire: Wire,
    pub always: Arc<Always>,
    pub queue: Arc<Queue>,
    pub states: States,
    pub events: Events,
    pub metrics: Metrics,
    pub health: Arc<WatchHealth>,
}
