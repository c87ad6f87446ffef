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

impl Context {
    /// Before anything runs. The future publishes events; it ends with the context.
    pub fn new(
        ports: Ports,
        settings: Settings,
        metrics: Metrics,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let wire = Wire::new(ports.client.clone(), settings.write_timeout);
        let (events, publisher) =
            Events::new(wire.clone(), Arc::clone(&ports.clock), &settings.instance);
        let context = Self {
            queue: Queue::new(settings.concurrency),
            always: Arc::new(Always::default()),
            states: States::default(),
            events,
            metrics,
            health: Arc::new(WatchHealth::default()),
            wire,
            ports,
            settings,
        };
        (Arc::new(context), publisher)
    }
}
