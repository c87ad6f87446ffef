//! The actors of a cluster around the API in memory: controllers of workloads, scheduler and kubelets,
//! EndpointSlices, proxies and the requests they send, pods' metrics; and those who interfere: an
//! autoscaler, a Git tool, a person, another controller. Each acts through the API with an identity of
//! its own, waits by tokio's clock and draws from the seed. Nothing here knows Crossfade's rules, and no
//! actor is faulty by itself: faults of the network are elsewhere.
//!
//! A world makes a [`Cluster`], [spawns](Cluster::spawn) it, and adds the others as it likes:
//!
//! ```ignore
//! let cluster = Cluster::new(&api, Settings::new(seed, clock));
//! let mut running = cluster.spawn();
//! cluster.traffic.flow("users", Target::Service(name("shop", "web")), 100);
//! cluster.manners.set_image("app:bad", Manner { fate: Fate::CrashLoop(..), ..Manner::default() });
//! running.add(Person { .. }.run());
//! ```

mod autoscaler;
mod claim;
mod client;
mod deed;
mod delay;
mod deployment;
mod endpoint_slice;
mod git;
mod informer;
mod manner;
mod meddler;
mod node;
mod object;
mod person;
mod proxy;
mod queue;
mod quota;
mod replica_set;
mod scrape;
mod template;
mod three_way;
mod traffic;

use std::time::Duration;

use crossfade_fakeapi::{Caller, Clock, FakeApi};
use fastrand::Rng;
use tokio::task::{JoinError, JoinSet};

pub use autoscaler::Autoscaler;
pub use client::{Client, Outcome, Patch, Refused, controller_manager, path};
pub use deed::{Deed, Propagation, done};
pub use delay::Delay;
pub use git::{Applied, Applies, Git, Repository};
pub use informer::Name;
pub use manner::{Crash, Fate, Flap, MANNER, Manner, Manners, Stop};
pub use meddler::Meddler;
pub use node::{Node, NodeDelays, Nodes};
pub use person::{Diary, Done, Habits, Person, with_habits};
pub use quota::Quotas;
pub use scrape::{PodMetrics, Series, Telling};
pub use traffic::{Counters, Loss, MILLION, PodFacts, PodTraffic, Target, Traffic, Why};

use self::deployment::DeploymentController;
use self::endpoint_slice::EndpointSliceController;
use self::informer::Informer;
use self::node::{Hands, NodeActor};
use self::proxy::Proxy;
use self::replica_set::ReplicaSetController;
use crate::random;

/// How a cluster is.
#[derive(Clone)]
pub struct Settings {
    /// Everything the actors draw comes from it.
    pub seed: u64,
    /// Time as objects show it; it must move with tokio's.
    pub clock: Clock,
    /// One call of an actor, on its way.
    pub latency: Delay,
    /// How late the controllers' caches are, drawn for each change.
    pub sight: Delay,
    /// From a change to the EndpointSlice that follows from it.
    pub endpoints: Delay,
    /// How late proxies learn of a slice or route.
    pub proxy: Delay,
    /// Proxies among which each flow is split evenly.
    pub proxies: usize,
    /// How long a request takes.
    pub request: Duration,
    pub nodes: NodeDelays,
    /// Nodes and pods that fit on each.
    pub room: Vec<(String, usize)>,
    pub series: Series,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("seed", &self.seed)
            .field("latency", &self.latency)
            .field("sight", &self.sight)
            .field("endpoints", &self.endpoints)
            .field("proxy", &self.proxy)
            .field("proxies", &self.proxies)
            .field("request", &self.request)
            .field("nodes", &self.nodes)
            .field("room", &self.room)
            .field("series", &self.series)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// A small healthy cluster: times as on a quiet real one, two nodes with room for all.
    #[must_use]
    pub fn new(seed: u64, clock: Clock) -> Self {
        Self {
            seed,
            clock,
            latency: Delay::millis(1, 4),
            sight: Delay::millis(1, 10),
            endpoints: Delay::millis(5, 100),
            proxy: Delay::millis(5, 1000),
            proxies: 2,
            request: Duration::from_millis(50),
            nodes: NodeDelays::default(),
            room: vec![("node-1".to_owned(), 110), ("node-2".to_owned(), 110)],
            series: Series::default(),
        }
    }
}

/// The actors every cluster has, and the handles a world pulls at.
#[derive(Clone, Debug)]
pub struct Cluster {
    api: FakeApi,
    settings: Settings,
    /// How pods behave.
    pub manners: Manners,
    /// Nodes: lose one, add one.
    pub nodes: Nodes,
    /// Pods a namespace may have.
    pub quotas: Quotas,
    /// Requests: where they go, what they meet.
    pub traffic: Traffic,
    /// What pods tell of themselves.
    pub metrics: PodMetrics,
}

impl Cluster {
    /// Not running yet.
    #[must_use]
    pub fn new(api: &FakeApi, settings: Settings) -> Self {
        let traffic = Traffic::new(settings.proxies, settings.request);
        let nodes = Nodes::default();
        for (name, room) in &settings.room {
            nodes.put(name, *room);
        }
        let random = random::of(settings.seed, "actors/metrics");
        Self {
            api: api.clone(),
            manners: Manners::default(),
            nodes,
            quotas: Quotas::default(),
            metrics: PodMetrics::new(traffic.clone(), settings.series.clone(), random),
            traffic,
            settings,
        }
    }

    /// A generator of its own for a part with this name.
    #[must_use]
    pub fn random(&self, part: &str) -> Rng {
        random::of(self.settings.seed, &format!("actors/{part}"))
    }

    /// Calls in somebody's name, as late as everybody's.
    #[must_use]
    pub fn client(&self, caller: Caller, part: &str) -> Client {
        let random = self.random(&format!("{part}/calls"));
        Client::new(&self.api, caller, self.settings.latency, random)
    }

    fn informer(&self, kinds: &[&'static str], lag: Delay, part: &str) -> Informer {
        Informer::new(&self.api, kinds, lag, self.random(&format!("{part}/sight")))
    }

    /// The Deployment controller alone.
    pub async fn run_deployments(&self) {
        let client = self.client(controller_manager("deployment-controller"), "deployments");
        let informer = self.informer(&deployment::SEES, self.settings.sight, "deployments");
        let clock = self.settings.clock.clone();
        let random = self.random("deployments/order");
        DeploymentController::new(client, informer, clock, random)
            .run()
            .await;
    }

    /// The ReplicaSet controller alone.
    pub async fn run_replica_sets(&self) {
        let client = self.client(controller_manager("replicaset-controller"), "replicasets");
        let informer = self.informer(&replica_set::SEES, self.settings.sight, "replicasets");
        let clock = self.settings.clock.clone();
        ReplicaSetController::new(client, informer, clock, self.quotas.clone())
            .run()
            .await;
    }

    /// Scheduler and kubelets alone.
    pub async fn run_nodes(&self) {
        let hands = Hands {
            scheduler: self.client(
                Caller::new("system:kube-scheduler", "kube-scheduler/v1.34.4"),
                "scheduler",
            ),
            kubelet: self.client(
                Caller::new("system:node:node", "kubelet/v1.34.4"),
                "kubelet",
            ),
            watcher: self.client(controller_manager("node-controller"), "node-controller"),
        };
        let informer = self.informer(&node::SEES, Delay::NONE, "nodes");
        let handles = (
            self.nodes.clone(),
            self.manners.clone(),
            self.traffic.clone(),
        );
        let clock = self.settings.clock.clone();
        let delays = self.settings.nodes;
        NodeActor::new(
            &self.api,
            hands,
            informer,
            clock,
            self.random("nodes"),
            delays,
            handles,
        )
        .run()
        .await;
    }

    /// The EndpointSlice controller alone.
    pub async fn run_endpoint_slices(&self) {
        let client = self.client(
            controller_manager("endpointslice-controller"),
            "endpointslices",
        );
        let informer = self.informer(&endpoint_slice::SEES, self.settings.sight, "endpointslices");
        let random = self.random("endpointslices");
        let delay = self.settings.endpoints;
        EndpointSliceController::new(&self.api, client, informer, random, delay)
            .run()
            .await;
    }

    /// One proxy alone; its number is below `Settings::proxies`.
    pub async fn run_proxy(&self, number: usize) {
        let informer = self.informer(
            &proxy::SEES,
            self.settings.proxy,
            &format!("proxy-{number}"),
        );
        Proxy::new(number, informer, self.traffic.clone())
            .run()
            .await;
    }

    /// Starts all of them, each as a task. Must be called within a tokio runtime.
    #[must_use]
    pub fn spawn(&self) -> Running {
        let mut running = Running(JoinSet::new());
        let cluster = self.clone();
        running.add(async move { cluster.run_deployments().await });
        let cluster = self.clone();
        running.add(async move { cluster.run_replica_sets().await });
        let cluster = self.clone();
        running.add(async move { cluster.run_nodes().await });
        let cluster = self.clone();
        running.add(async move { cluster.run_endpoint_slices().await });
        for number in 0..self.settings.proxies {
            let cluster = self.clone();
            running.add(async move { cluster.run_proxy(number).await });
        }
        running
    }
}

/// Actors at work. Dropping it ends them.
#[derive(Debug)]
pub struct Running(JoinSet<()>);

impl Running {
    /// One more.
    pub fn add(&mut self, actor: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(actor);
    }

    /// Waits until an actor fails: a world without one of its parts shows nothing. Those that end
    /// by themselves (a person, an autoscaler) are no failure.
    pub async fn failed(&mut self) -> JoinError {
        loop {
            match self.0.join_next().await {
                Some(Ok(())) => {}
                Some(Err(error)) => return error,
                None => std::future::pending().await,
            }
        }
    }
}
