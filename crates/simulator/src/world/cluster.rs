//! The cluster around the controller in one world: the actors with this world's settings, the load, and
//! the few knobs scripts turn.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossfade_fakeapi::{Caller, FakeApi, GarbageDelays};
use serde_json::Value;
use tokio::time::Instant;

use super::install::NAMESPACE;
use crate::actors::{self, Client, Delay, Fate, Manner, Running, Settings, Stop, Target, Telling};
use crate::json::text;
use crate::oracles::Oracles;
use crate::ports::WorldClock;
use crate::replica::PodHttp;
use crate::scenario::Setup;
use crate::trace::lock;

/// What scraping pods of an image gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metrics {
    Good,
    Missing,
    Late,
    NotANumber,
    Reset,
    Stale,
    ServerError,
    Huge,
}

/// The cluster.
pub struct Cluster {
    inner: actors::Cluster,
    api: FakeApi,
    oracles: Arc<Oracles>,
    running: Mutex<Running>,
    /// When the load began, to tell its losses apart from those while the first pods started.
    loaded: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Cluster {
    /// Starts the actors.
    #[must_use]
    pub fn start(
        api: &FakeApi,
        setup: &Setup,
        seed: u64,
        clock: &WorldClock,
        oracles: Arc<Oracles>,
    ) -> Self {
        let time = clock.clone();
        let settings = Settings::new(seed, Arc::new(move || time.timestamp()));
        let inner = actors::Cluster::new(api, settings);
        inner.manners.set_default(Manner {
            start: Delay::millis(500, 2_500),
            fate: Fate::Starts,
            stop: if setup.exits_at_once {
                Stop::AtOnce
            } else {
                Stop::Drain {
                    time: Duration::from_secs(5),
                    accepts: true,
                }
            },
            ..Manner::default()
        });
        let mut running = inner.spawn();
        let collected = api.clone();
        let delays = GarbageDelays::default();
        running.add(async move { collected.run_garbage_collector(delays).await });
        Self {
            inner,
            api: api.clone(),
            oracles,
            running: Mutex::new(running),
            loaded: Mutex::default(),
        }
    }

    /// The actors themselves.
    #[must_use]
    pub const fn actors(&self) -> &actors::Cluster {
        &self.inner
    }

    /// One more actor.
    pub fn add(&self, actor: impl Future<Output = ()> + Send + 'static) {
        lock(&self.running).add(actor);
    }

    /// A client for an actor of a scenario.
    #[must_use]
    pub fn client(&self, user: &str, agent: &str) -> Client {
        self.inner.client(Caller::new(user, agent), user)
    }

    /// HTTP to pods, as the controller's port takes it. The oracles hear of each scrape that was
    /// answered with counters.
    #[must_use]
    pub fn pod_http(&self) -> PodHttp {
        let (metrics, oracles) = (self.inner.metrics.clone(), Arc::clone(&self.oracles));
        Arc::new(move |request| {
            let (metrics, oracles) = (metrics.clone(), Arc::clone(&oracles));
            Box::pin(async move {
                let uri = request.uri().clone();
                let answer = metrics.answer(&uri).await?;
                if answer.status() == http::StatusCode::OK && !nonsense(answer.body()) {
                    oracles.scraped(uri.host().unwrap_or_default());
                }
                Ok(answer)
            })
        })
    }

    /// Requests begin to flow to every Service of the setup.
    pub fn start_load(&self, setup: &Setup) {
        *lock(&self.loaded) = Some(Instant::now());
        for app in &setup.apps {
            // Whoever publishes pods that are not ready asks for lost requests.
            for front in app.fronts.iter().filter(|front| !front.publishes_not_ready) {
                let service = (NAMESPACE.to_owned(), front.name.to_owned());
                self.inner
                    .traffic
                    .flow(front.name, Target::Service(service), setup.requests);
            }
        }
    }

    /// Requests of every Service stop.
    pub fn stop_load(&self, setup: &Setup) {
        for front in setup.apps.iter().flat_map(|app| &app.fronts) {
            let service = (NAMESPACE.to_owned(), front.name.to_owned());
            self.inner
                .traffic
                .flow(front.name, Target::Service(service), 0);
        }
    }

    /// What an image does.
    pub fn manner(&self, image: &str, manner: Manner) {
        self.inner.manners.set_image(image, manner);
    }

    /// So many of a hundred answers of an image are errors.
    pub fn errors(&self, image: &str, percent: u32) {
        self.inner.traffic.set_errors(image, percent * 10_000);
    }

    /// Pods the namespace may have.
    pub fn quota(&self, pods: Option<usize>) {
        self.inner.quotas.set(NAMESPACE, pods);
    }

    /// What scraping pods of a version gives.
    pub fn metrics(&self, tag: &str, metrics: Metrics) {
        let telling = match metrics {
            Metrics::Good => Telling::Plain,
            Metrics::Missing => Telling::Missing,
            Metrics::Late => Telling::Late(Delay::millis(500, 5_000)),
            Metrics::NotANumber => Telling::NotANumber,
            Metrics::Reset => Telling::Reset,
            Metrics::Stale => Telling::Stale,
            Metrics::ServerError => Telling::Status(503),
            Metrics::Huge => Telling::Huge(5 << 20),
        };
        self.inner
            .metrics
            .set_image(&super::manifests::image(tag), telling);
    }

    /// The node with the first pod of an image stops; another comes later.
    pub fn lose_a_node_of(&self, image: &str) {
        if let Some(node) = self.node_of(image) {
            self.inner.nodes.lose(&node);
        }
    }

    /// The node with the first pod of an image takes no more pods, as `kubectl cordon` does: names and images of those on it.
    #[must_use]
    pub fn cordon_a_node_of(&self, image: &str) -> Vec<(String, String)> {
        let Some(node) = self.node_of(image) else {
            return Vec::new();
        };
        self.inner.nodes.put(&node, 0);
        (self.api.list("pods", Some(NAMESPACE)).iter())
            .filter(|pod| text(pod, "/spec/nodeName") == node)
            .map(|pod| {
                let of = |pointer| text(pod, pointer).to_owned();
                (of("/metadata/name"), of("/spec/containers/0/image"))
            })
            .collect()
    }

    fn node_of(&self, image: &str) -> Option<String> {
        (self.api.list("pods", Some(NAMESPACE)).iter())
            .find(|pod| text(pod, "/spec/containers/0/image") == image)
            .map(|pod| text(pod, "/spec/nodeName").to_owned())
            .filter(|node| !node.is_empty())
    }

    /// Whether pods of a lost node are still to be given up: minutes later others take their place.
    #[must_use]
    pub fn misses_pods(&self) -> bool {
        self.inner.nodes.miss_pods()
    }

    /// Requests that were lost since the load began, in words.
    #[must_use]
    pub fn lost(&self) -> Vec<String> {
        let Some(since) = *lock(&self.loaded) else {
            return Vec::new();
        };
        self.inner
            .traffic
            .losses()
            .into_iter()
            .filter(|loss| loss.to > since && loss.millionths > 0)
            .map(|loss| {
                let pod = loss.pod.as_ref().map_or_else(
                    || "no pod".to_owned(),
                    |pod| format!("{} ({})", pod.name, pod.image),
                );
                format!(
                    "{}.{:03} requests to {pod}, {:?}, {} ms after the load began",
                    loss.millionths / 1_000_000,
                    loss.millionths % 1_000_000 / 1_000,
                    loss.why,
                    loss.from.saturating_duration_since(since).as_millis()
                )
            })
            .collect()
    }
}

/// Numbers nobody can use.
fn nonsense(body: &[u8]) -> bool {
    String::from_utf8_lossy(body.get(..2_000.min(body.len())).unwrap_or_default()).contains("NaN")
}

/// A value with what a Git tool adds to it.
#[must_use]
pub fn in_namespace(mut manifest: Value) -> Value {
    if let Some(metadata) = manifest
        .pointer_mut("/metadata")
        .and_then(Value::as_object_mut)
    {
        metadata.insert("namespace".to_owned(), NAMESPACE.into());
    }
    manifest
}
