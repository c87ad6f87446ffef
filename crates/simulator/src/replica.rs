//! One process of the controller: the shipped `run` and the shipped election, with the world's client,
//! clock and names. Started, crashed and stopped like a process; what it does is its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossfade_api::install::Installation;
use crossfade_controller::admission::{self, Admission};
use crossfade_controller::health::Health;
use crossfade_controller::lease::{self, Leadership};
use crossfade_controller::metrics::Metrics;
use crossfade_controller::ports::{Clock, Outbound, OutboundError, Planner};
use crossfade_controller::run::{Shown, WATCHES};
use crossfade_controller::{Ports, Settings, run};
use crossfade_fakeapi::Caller;
use futures::future::BoxFuture;
use kube::client::ClientBuilder;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower::timeout::TimeoutLayer;

use crate::faults::door::{Door, Doors, Link};
use crate::ports::{SeededIds, WorldClock};
use crate::random;

/// Answers HTTP to pods.
pub type PodHttp = Arc<
    dyn Fn(http::Request<Bytes>) -> BoxFuture<'static, Result<http::Response<Bytes>, String>>
        + Send
        + Sync,
>;

/// What all processes of a world are made from.
#[derive(Clone)]
pub struct Blueprint {
    pub doors: Arc<Doors>,
    pub clock: WorldClock,
    pub installation: Installation,
    /// Processes of that installation; those after them are another's, which serves the namespace too.
    pub controllers: usize,
    pub beside: Option<Installation>,
    pub seed: u64,
    pub lease: Duration,
    pub write_timeout: Duration,
    pub pods: PodHttp,
    pub planner: Arc<dyn Planner>,
    /// A planted bug may let it act on a lease it does not hold.
    pub lease_is_ignored: bool,
}

impl std::fmt::Debug for Blueprint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Blueprint")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Blueprint {
    /// Whose process a replica is.
    #[must_use]
    pub fn installation_of(&self, index: usize) -> &Installation {
        let beside = self.beside.as_ref().filter(|_| index >= self.controllers);
        beside.unwrap_or(&self.installation)
    }
}

/// A running process.
#[derive(Debug)]
pub struct Replica {
    pub index: usize,
    pub incarnation: u32,
    pub link: Arc<Link>,
    pub clock: WorldClock,
    pub admission: Admission,
    pub leadership: watch::Receiver<Leadership>,
    stop: watch::Sender<bool>,
    stop_lease: watch::Sender<bool>,
    lease: JoinHandle<()>,
    running: JoinHandle<()>,
}

impl Replica {
    /// Starts a process, as `main` does but for sockets and signals.
    #[must_use]
    pub fn start(blueprint: &Blueprint, index: usize, incarnation: u32) -> Self {
        let link = Arc::new(Link::default());
        let installation = blueprint.installation_of(index);
        let door = Door {
            shared: Arc::clone(&blueprint.doors),
            link: Arc::clone(&link),
            caller: Caller::new(installation.username(), "crossfade-controller/0.1"),
            installation: installation.name.as_str().into(),
            replica: index,
            incarnation,
        };
        let headers = TimeoutLayer::new(
            Duration::from_secs(10).max(blueprint.write_timeout * 2 + Duration::from_secs(1)),
        );
        let client = ClientBuilder::new(door, "default")
            .with_layer(&headers)
            .build();
        let clock = blueprint.clock.of_a_replica();
        let now: admission::Now = {
            let clock = clock.clone();
            Arc::new(move || clock.now())
        };
        let identity = format!("{}-{index}-{incarnation}", installation.name);
        let part = format!("ids {index} {incarnation}");
        let ports = Ports {
            client: client.clone(),
            clock: Arc::new(clock.clone()),
            outbound: outbound(&blueprint.pods, &link),
            ids: Arc::new(SeededIds::new(random::of(blueprint.seed, &part))),
            planner: Arc::clone(&blueprint.planner),
        };
        let settings = Settings {
            namespaces: installation.namespaces.clone(),
            write_timeout: blueprint.write_timeout,
            installation: installation.name.clone(),
            user: installation.username(),
            instance: identity.clone(),
            concurrency: 4,
        };
        let (stop, stopped) = watch::channel(false);
        let (stop_lease, lease_stopped) = watch::channel(false);
        let (leading, leadership) = watch::channel(Leadership::default());
        let shown = Shown {
            health: Health::waiting_for([WATCHES]),
            metrics: Metrics::default(),
        };
        let seen = if blueprint.lease_is_ignored {
            let (always, leads) = watch::channel(Leadership {
                leading: true,
                since: None,
                epoch: 1,
            });
            // Kept for as long as the process runs.
            tokio::spawn(async move { always.closed().await });
            leads
        } else {
            leadership.clone()
        };
        let running = tokio::spawn(run(ports, settings, shown, seen, stopped));
        let lease = tokio::spawn(lease::run(
            client.clone(),
            lease::Settings {
                name: installation.name.clone(),
                namespace: installation.namespace.clone(),
                identity,
                duration: blueprint.lease,
            },
            Arc::clone(&now),
            leading,
            lease_stopped,
        ));
        let admission = Admission {
            client,
            planner: admission::Planner {
                admit: crossfade_engine::admit::admit,
                needs_live: crossfade_engine::admit::needs_live,
            },
            installation: installation.name.clone(),
            ourselves: installation.username(),
            now,
            counts: admission::Counts::default(),
        };
        Self {
            index,
            incarnation,
            link,
            clock,
            admission,
            leadership,
            stop,
            stop_lease,
            lease,
            running,
        }
    }

    /// Whether it has ended by itself, which it never should.
    #[must_use]
    pub fn ended_by_itself(&self) -> bool {
        !self.link.ended() && (self.running.is_finished() || self.lease.is_finished())
    }

    /// SIGKILL: nothing of it reaches the world any more. Its tasks are told to end; what they still
    /// try goes nowhere.
    pub fn crash(self) {
        self.link.end();
        self.lease.abort();
        self.stop.send_replace(true);
    }

    /// SIGTERM: passes end, then the lease is given back.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.running.await;
        self.stop_lease.send_replace(true);
        let _ = tokio::time::timeout(Duration::from_secs(5), self.lease).await;
        self.link.end();
    }
}

/// HTTP to pods; a process that has ended hears nothing any more.
fn outbound(pods: &PodHttp, link: &Arc<Link>) -> Outbound {
    let (pods, link) = (Arc::clone(pods), Arc::clone(link));
    Outbound::new(tower::service_fn(move |request: http::Request<Bytes>| {
        let (answer, link) = (pods(request), Arc::clone(&link));
        async move {
            let answer = answer.await;
            link.thawed().await;
            if link.ended() {
                std::future::pending::<()>().await;
            }
            answer.map_err(OutboundError)
        }
    }))
}
