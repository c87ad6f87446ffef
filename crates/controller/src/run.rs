//! Wires the parts together and runs them: watches always, passes while this process leads. No
//! sockets and no signals here; those are `main`'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossfade_api::Phase;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::context::Context;
use crate::health::Health;
use crate::lease::Leadership;
use crate::leftovers;
use crate::metrics::Metrics;
use crate::pass::pass;
use crate::ports::Ports;
use crate::watch::{Always, phase_of};

/// Between two looks at the watches' health.
const LOOK: Duration = Duration::from_secs(1);
/// A watch that fails for longer makes this process not ready.
const PATIENCE: Duration = Duration::from_secs(30);
/// A namespace whose lists fail for longer is not waited for by who begins to lead.
const LISTING: Duration = Duration::from_secs(2);
/// Longest time passes in flight may take after a stop.
const GRACE: Duration = Duration::from_secs(20);
/// Head start of releases under way at a take-over.
const REST: Duration = Duration::from_millis(100);
/// The part of readiness that is ours.
pub const WATCHES: &str = "watches";

/// What is set once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Only these namespaces; `None`: all.
    pub namespaces: Option<Vec<String>>,
    /// Time limit of a write, and the fence after one without an answer.
    pub write_timeout: Duration,
    /// This installation's name.
    pub installation: String,
    /// Its user, by which the admission of other installations knows it.
    pub user: String,
    /// This process's name in events.
    pub instance: String,
    /// Most passes at once.
    pub concurrency: usize,
}

/// Where the state of the process is shown.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    pub health: Health,
    pub metrics: Metrics,
}

/// Runs until `stop` turns true and the passes in flight are over.
pub async fn run(
    ports: Ports,
    settings: Settings,
    shown: Shown,
    mut leadership: watch::Receiver<Leadership>,
    mut stop: watch::Receiver<bool>,
) {
    let (context, publisher) = Context::new(ports, settings, shown.metrics.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(publisher);
    context.always.open(
        &mut tasks,
        &context.ports,
        context.settings.namespaces.as_deref(),
        &context.queue,
        &context.health,
    );
    tasks.spawn(look(Arc::clone(&context), shown.health, leadership.clone()));

    while !*stop.borrow() {
        tokio::select! {
            _ = until(&mut stop, |stop| *stop) => break,
            led = until(&mut leadership, |leadership| leadership.leading) => {
                // Nobody will ever let us lead.
                if !led {
                    break;
                }
            }
        }
        lead(&context, &mut leadership, &mut stop).await;
    }
    context.states.clear();
}

/// Waits for a value; false if nobody is left to send one.
async fn until<T>(receiver: &mut watch::Receiver<T>, wanted: fn(&T) -> bool) -> bool {
    receiver.wait_for(wanted).await.is_ok()
}

/// Acts until the lead is lost or the process stops.
async fn lead(
    context: &Arc<Context>,
    leadership: &mut watch::Receiver<Leadership>,
    stop: &mut watch::Receiver<bool>,
) {
    while !(context.health)
        .in_the_way(context.ports.clock.now(), LISTING)
        .is_empty()
    {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
            _ = until(leadership, |leadership| !leadership.leading) => return,
            _ = until(stop, |stop| *stop) => return,
        }
    }
    tracing::info!("leading: every workload is looked at");
    context.queue.clear();
    context.states.take_over(context.settings.write_timeout);
    // Releases under way first: there may be a thousand workloads at rest.
    let rest = tokio::time::Instant::now() + REST;
    for key in context.always.all_keys() {
        match context.always.rollouts.get(&key.namespace, &key.name) {
            Some(rollout) if Always::unhandled_abort(&rollout) => context.queue.urgent(&key),
            Some(rollout) if !matches!(phase_of(&rollout), Phase::Idle | Phase::RolledBack) => {
                context.queue.wake_now(&key)
            }
            _ => context.queue.wake(&key, rest),
        }
    }
    for key in leftovers::keys(context.settings.namespaces.as_deref()) {
        context.queue.wake(&key, rest);
    }
    let (halt, halted) = watch::channel(false);
    let shared = Arc::clone(context);
    let mut passes = tokio::spawn(
        Arc::clone(&context.queue).run(move |key| pass(Arc::clone(&shared), key), halted),
    );
    tokio::select! {
        _ = until(leadership, |leadership| !leadership.leading) => {
            // Passes end here; a write in flight runs on, held by its precondition and the successor's fence.
            tracing::warn!("the lead is lost: passes are stopped");
            passes.abort();
            let _ = passes.await;
            context.queue.clear();
            context.states.clear();
        }
        _ = until(stop, |stop| *stop) => {
            halt.send_replace(true);
            if tokio::time::timeout(GRACE, &mut passes).await.is_err() {
                tracing::warn!("passes in flight did not end within {} s", GRACE.as_secs());
                passes.abort();
            }
        }
        ended = &mut passes => {
            tracing::error!(?ended, "the queue ended by itself; it is started anew");
            context.queue.clear();
        }
    }
}

/// Shows what the watches and the queue say about themselves.
async fn look(context: Arc<Context>, health: Health, leadership: watch::Receiver<Leadership>) {
    let mut beat = tokio::time::interval(LOOK);
    loop {
        beat.tick().await;
        let now = context.ports.clock.now();
        let in_the_way = context.health.in_the_way(now, PATIENCE);
        if in_the_way.is_empty() {
            health.working(WATCHES);
        } else {
            health.failing(WATCHES, &in_the_way.join("; "));
        }
        let leading = leadership.borrow().leading;
        context.metrics.set_state(
            leading,
            context.health.failing(now, Duration::ZERO).len(),
            context.queue.panics(),
        );
        let mut phases: BTreeMap<&str, i64> = [
            Phase::Idle,
            Phase::Preparing,
            Phase::Progressing,
            Phase::Warm,
            Phase::HandingOver,
            Phase::RollingBack,
            Phase::RolledBack,
        ]
        .into_iter()
        .map(|phase| (phase.as_str(), 0))
        .collect();
        for rollout in context.always.rollouts.all() {
            *phases.entry(phase_of(&rollout).as_str()).or_default() += 1;
        }
        context.metrics.set_phases(phases);
    }
}
