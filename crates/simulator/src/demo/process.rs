//! The controller of the demo: the shipped `run`, election and admission, over the API in memory. Only
//! its doors are given here; what it does is its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossfade_api::install::Installation;
use crossfade_controller::admission::{self, Admission};
use crossfade_controller::health::Health;
use crossfade_controller::lease::{self, Leadership};
use crossfade_controller::metrics::Metrics;
use crossfade_controller::ports::{Clock, Engine};
use crossfade_controller::run::{Shown, WATCHES};
use crossfade_controller::{Ports, Settings, run};
use crossfade_engine::admit::Hook;
use crossfade_fakeapi::{Caller, FakeApi, WebhookCaller, WebhookTarget};
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::backends::Backends;
use super::http::outbound;
use crate::ports::SeededIds;
use crate::random;
use crate::trace::lock;

/// Time limit of a write, and the fence after a start or a write without an answer. Shorter than as
/// shipped: the API is in this process.
const WRITE: Duration = Duration::from_secs(2);
/// Of the election.
const LEASE: Duration = Duration::from_secs(15);

/// The time of day, as it was given.
struct GivenClock(crossfade_fakeapi::Clock);

impl Clock for GivenClock {
    fn now(&self) -> Timestamp {
        (self.0)()
    }
}

/// Carries reviews to the controller's own function, without sockets.
#[derive(Default)]
pub struct Hooks(Mutex<Option<Admission>>);

impl std::fmt::Debug for Hooks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Hooks")
    }
}

impl WebhookCaller for Hooks {
    fn call(
        &self,
        webhook: WebhookTarget,
        review: Value,
        _timeout: Duration,
    ) -> BoxFuture<'static, Result<Value, String>> {
        let admission = lock(&self.0).clone();
        Box::pin(async move {
            let hook = match webhook.name.split('.').next() {
                Some("gate") => Hook::Gate,
                Some("backstop") => Hook::Backstop,
                Some("traffic") => Hook::Traffic,
                Some("stamp") => Hook::Stamp,
                _ => return Err("no such host".to_owned()),
            };
            let admission = admission.ok_or("connect: connection refused")?;
            let answer = admission
                .answer(hook, review.to_string().as_bytes())
                .await
                .map_err(|error| error.to_string())?;
            serde_json::from_slice(&answer).map_err(|error| error.to_string())
        })
    }
}

/// The controller, running. Dropping it ends it.
#[derive(Debug)]
pub struct Process {
    leadership: watch::Receiver<Leadership>,
    /// Kept: the controller ends when nobody can tell it to.
    _stop: [watch::Sender<bool>; 2],
    tasks: JoinSet<()>,
}

impl Process {
    /// Starts it, as `main` does but for sockets and signals.
    #[must_use]
    pub fn start(
        api: &FakeApi,
        installation: &Installation,
        clock: &crossfade_fakeapi::Clock,
        seed: u64,
        backends: &Backends,
    ) -> Self {
        let caller = Caller::new(
            installation.username(),
            concat!("crossfade/", env!("CARGO_PKG_VERSION")),
        );
        let client = kube::Client::new(api.service(caller), "default");
        let identity = format!("{}-demo", installation.name);
        let now: admission::Now = Arc::clone(clock);
        let hooks = Hooks(Mutex::new(Some(Admission {
            client: client.clone(),
            planner: admission::Planner {
                admit: crossfade_engine::admit::admit,
                needs_live: crossfade_engine::admit::needs_live,
            },
            installation: installation.name.clone(),
            ourselves: installation.username(),
            now: Arc::clone(&now),
            counts: admission::Counts::default(),
        })));
        api.set_webhooks(Arc::new(hooks));
        let (stop, stopped) = watch::channel(false);
        let (stop_lease, lease_stopped) = watch::channel(false);
        let (leading, leadership) = watch::channel(Leadership::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(lease::run(
            client.clone(),
            lease::Settings {
                name: installation.name.clone(),
                namespace: installation.namespace.clone(),
                identity: identity.clone(),
                duration: LEASE,
            },
            now,
            leading,
            lease_stopped,
        ));
        let ports = Ports {
            client,
            clock: Arc::new(GivenClock(Arc::clone(clock))),
            outbound: outbound(backends),
            ids: Arc::new(SeededIds::new(random::of(seed, "demo/candidates"))),
            planner: Arc::new(Engine),
        };
        let settings = Settings {
            namespaces: installation.namespaces.clone(),
            write_timeout: WRITE,
            installation: installation.name.clone(),
            user: installation.username(),
            instance: identity,
            concurrency: 4,
        };
        let shown = Shown {
            health: Health::waiting_for([WATCHES]),
            metrics: Metrics::default(),
        };
        tasks.spawn(run(ports, settings, shown, leadership.clone(), stopped));
        Self {
            leadership,
            _stop: [stop, stop_lease],
            tasks,
        }
    }

    /// Waits until it leads; false if it ended instead.
    pub async fn leads(&mut self) -> bool {
        self.leadership
            .wait_for(|leadership| leadership.leading)
            .await
            .is_ok()
    }

    /// Whether a part of it has ended, which none should.
    pub fn ended(&mut self) -> bool {
        self.tasks.try_join_next().is_some()
    }
}
