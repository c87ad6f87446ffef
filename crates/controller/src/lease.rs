//! Leader election by a Lease: who acts, and until when.
//!
//! Expiry is measured on the local monotonic clock since the record was last seen to change; no
//! clock of another machine is ever compared with ours. The Lease does not fence: every write
//! still carries its own precondition. Not here: what a leader does.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::admission::Now;

/// Who we are and how long a lease holds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the Lease.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Our name, different for every process ever started.
    pub identity: String,
    /// How long others wait after our last renewal.
    pub duration: Duration,
}

impl Settings {
    /// From the last renewal until we stop acting by ourselves: well before others may start.
    #[must_use]
    pub fn renew_deadline(&self) -> Duration {
        self.duration * 2 / 3
    }

    /// Between two looks: as leader a fifth of the lease, as standby at most a second, so that a
    /// clean stop of the leader is noticed soon.
    #[must_use]
    pub fn pause(&self, leading: bool) -> Duration {
        let fifth = self.duration / 5;
        if leading {
            fifth
        } else {
            fifth.min(Duration::from_secs(1))
        }
    }
}

/// Whether we act.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// We may act.
    pub leading: bool,
    /// Since when, if so.
    pub since: Option<Instant>,
    /// Counts every change of leader; `leaseTransitions` of the record.
    pub epoch: u64,
}

/// What matters of the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty: nobody.
    pub holder: String,
    /// How long it holds, as its holder wrote.
    pub duration: Duration,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// There is no record: make it.
    Create,
    /// Nobody holds it, or its holder has not renewed it in time.
    Take,
    /// It is ours.
    Renew,
    /// Somebody else holds it.
    Wait,
    /// We acted until now and must stop.
    StepDown,
}

/// Decides.
///
/// `since_change` is how long ago, on our own clock, the record was last seen to change.
/// `since_renewal` is how long ago our last successful renewal was begun; `None`: we do not lead.
#[must_use]
pub fn decide(
    record: Option<&Record>,
    since_change: Duration,
    since_renewal: Option<Duration>,
    settings: &Settings,
) -> Move {
    if since_renewal.is_some_and(|since| since >= settings.renew_deadline()) {
        return Move::StepDown;
    }
    let leading = since_renewal.is_some();
    match record {
        // Somebody deleted it: whoever creates it next leads, and that need not be us.
        None if leading => Move::StepDown,
        None => Move::Create,
        Some(record) if record.holder == settings.identity => {
            // Not leading although it names us: a write of ours landed without an answer.
            if leading { Move::Renew } else { Move::Take }
        }
        Some(_) if leading => Move::StepDown,
        Some(record) if record.holder.is_empty() => Move::Take,
        Some(record) if since_change >= record.duration.max(settings.duration) => Move::Take,
        Some(_) => Move::Wait,
    }
}

/// Takes part in the election until `stop` turns true; then gives the lease back. Let running
/// work end before `stop`.
pub async fn run(
    client: Client,
    settings: Settings,
    now: Now,
    leadership: watch::Sender<Leadership>,
    mut stop: watch::Receiver<bool>,
) {
    let mut elector = Elector {
        api: Api::namespaced(client, &settings.namespace),
        settings,
        now,
        leadership,
        seen: None,
        changed: Instant::now(),
        renewed: None,
    };
    loop {
        if *stop.borrow() {
            break;
        }
        elector.turn().await;
        let pause = elector.settings.pause(elector.renewed.is_some());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    elector.release().await;
}

struct Elector {
    api: Api<Lease>,
    settings: Settings,
    now: Now,
    leadership: watch::Sender<Leadership>,
    /// The record as last read, and its resourceVersion.
    seen: Option<Lease>,
    changed: Instant,
    renewed: Option<Instant>,
}

impl Elector {
    /// One look and what follows from it.
    async fn turn(&mut self) {
        let begun = Instant::now();
        // Nobody else writes a lease that holds, so that the version last seen is the one there: renewing
        // takes one call. If it is another all the same, the write is refused, and what it is is read.
        let holds = self
            .renewed
            .is_some_and(|at| at.elapsed() < self.settings.renew_deadline());
        if holds && self.seen.is_some() && self.write(begun).await {
            return;
        }
        let limit = self.call_limit();
        match tokio::time::timeout(limit, self.api.get_opt(&self.settings.name)).await {
            Ok(Ok(lease)) => self.look(lease),
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot read the lease");
                return self.step_down_if_late();
            }
            Err(_) => {
                tracing::warn!("the API server does not answer for the lease");
                return self.step_down_if_late();
            }
        }
        let record = self.seen.as_ref().map(record);
        match decide(
            record.as_ref(),
            self.changed.elapsed(),
            self.renewed.map(|at| at.elapsed()),
            &self.settings,
        ) {
            Move::Wait => {}
            Move::StepDown => self.step_down("the lease is no longer ours"),
            Move::Create | Move::Take | Move::Renew => {
                self.write(begun).await;
            }
        }
    }

    fn look(&mut self, lease: Option<Lease>) {
        let version = |lease: &Option<Lease>| {
            lease
                .as_ref()
                .and_then(|lease| lease.metadata.resource_version.clone())
        };
        if version(&lease) != version(&self.seen) {
            self.changed = Instant::now();
        }
        self.seen = lease;
    }

    /// The lease with us as holder, written under the version last seen. Returns whether it was accepted.
    async fn write(&mut self, begun: Instant) -> bool {
        let before = self
            .seen
            .as_ref()
            .and_then(|lease| lease.spec.clone())
            .unwrap_or_default();
        let ours = before.holder_identity.as_deref() == Some(&self.settings.identity);
        let time = Some(MicroTime((self.now)()));
        let transitions = before.lease_transitions.unwrap_or(0);
        let spec = LeaseSpec {
            holder_identity: Some(self.settings.identity.clone()),
            lease_duration_seconds: Some(whole_seconds(self.settings.duration)),
            acquire_time: if ours {
                before.acquire_time
            } else {
                time.clone()
            },
            renew_time: time,
            lease_transitions: Some(if ours {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..LeaseSpec::default()
        };
        let epoch = u64::try_from(spec.lease_transitions.unwrap_or(0)).unwrap_or(0);
        match self.put(spec).await {
            Ok(lease) => {
                self.look(Some(lease));
                // From before the first call: what others measure began later.
                self.renewed = Some(begun);
                let new = self.leadership.send_if_modified(|leadership| {
                    let changed = !leadership.leading || leadership.epoch != epoch;
                    if changed {
                        *leadership = Leadership {
                            leading: true,
                            since: Some(Instant::now()),
                            epoch,
                        };
                    }
                    changed
                });
                if new {
                    tracing::info!(epoch, identity = self.settings.identity, "leading");
                }
                true
            }
            Err(why) => {
                tracing::warn!(why, "cannot write the lease");
                self.step_down_if_late();
                false
            }
        }
    }

    async fn put(&self, spec: LeaseSpec) -> Result<Lease, String> {
        let lease = |metadata| Lease {
            metadata,
            spec: Some(spec),
        };
        let parameters = PostParams {
            field_manager: Some("crossfade".to_owned()),
            ..PostParams::default()
        };
        let limit = self.call_limit();
        let written = match &self.seen {
            None => {
                let lease = lease(ObjectMeta {
                    name: Some(self.settings.name.clone()),
                    ..ObjectMeta::default()
                });
                tokio::time::timeout(limit, self.api.create(&parameters, &lease)).await
            }
            Some(seen) => {
                let lease = lease(seen.metadata.clone());
                tokio::time::timeout(
                    limit,
                    self.api.replace(&self.settings.name, &parameters, &lease),
                )
                .await
            }
        };
        match written {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// No call outlives the time until we must stop acting.
    fn call_limit(&self) -> Duration {
        let usual = (self.settings.duration / 3).min(Duration::from_secs(5));
        match self.renewed {
            Some(at) => usual.min(self.settings.renew_deadline().saturating_sub(at.elapsed())),
            None => usual,
        }
    }

    fn step_down_if_late(&mut self) {
        if self
            .renewed
            .is_some_and(|at| at.elapsed() >= self.settings.renew_deadline())
        {
            self.step_down("the lease was not renewed in time");
        }
    }

    fn step_down(&mut self, why: &str) {
        self.renewed = None;
        self.leadership.send_if_modified(|leadership| {
            let changed = leadership.leading;
            leadership.leading = false;
            leadership.since = None;
            changed
        });
        tracing::warn!(why, "no longer leading");
    }

    /// Gives the lease back, so that a standby need not wait for it to expire.
    async fn release(&mut self) {
        if self.renewed.is_none() {
            return;
        }
        self.step_down("stopping");
        let Some(spec) = self.seen.as_ref().and_then(|lease| lease.spec.clone()) else {
            return;
        };
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            renew_time: Some(MicroTime((self.now)())),
            ..spec
        };
        if let Err(why) = self.put(spec).await {
            tracing::warn!(
                why,
                "cannot give the lease back, a standby waits until it expires"
            );
        }
    }
}

fn whole_seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs().max(1)).unwrap_or(i32::MAX)
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.as_ref();
    let seconds = spec
        .and_then(|spec| spec.lease_duration_seconds)
        .and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec
            .and_then(|spec| spec.holder_identity.clone())
            .unwrap_or_default(),
        duration: Duration::from_secs(seconds.unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response, StatusCode};
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    fn settings(identity: &str) -> Settings {
        Settings {
            name: "crossfade".to_owned(),
            namespace: "crossfade-system".to_owned(),
            identity: identity.to_owned(),
            duration: Duration::from_secs(15),
        }
    }

    fn held(by: &str) -> Record {
        Record {
            holder: by.to_owned(),
            duration: Duration::from_secs(15),
        }
    }

    #[test]
    fn decides_by_the_record_and_our_own_clock() {
        let second = Duration::from_secs;
        let (me, other, free) = (held("me"), held("other"), held(""));
        let short = Record {
            holder: "other".to_owned(),
            duration: second(3),
        };
        for (record, since_change, since_renewal, expected) in [
            (None, 0, None, Move::Create),
            (None, 0, Some(1), Move::StepDown),
            (Some(&other), 14, None, Move::Wait),
            (Some(&other), 15, None, Move::Take),
            (Some(&short), 14, None, Move::Wait),
            (Some(&free), 0, None, Move::Take),
            (Some(&me), 3, Some(3), Move::Renew),
            (Some(&me), 0, None, Move::Take),
            (Some(&me), 9, Some(9), Move::Renew),
            (Some(&me), 10, Some(10), Move::StepDown),
            (Some(&other), 0, Some(1), Move::StepDown),
        ] {
            let decided = decide(
                record,
                second(since_change),
                since_renewal.map(second),
                &settings("me"),
            );
            assert_eq!(
                decided, expected,
                "{record:?} {since_change} {since_renewal:?}"
            );
        }
    }

    /// One lease with optimistic locking; answers nothing while `silent`.
    #[derive(Default)]
    struct Store {
        lease: Option<Value>,
        version: u64,
        silent: bool,
    }

    fn client(store: Arc<Mutex<Store>>) -> Client {
        let service = tower::service_fn(move |request: Request<Body>| {
            let store = Arc::clone(&store);
            async move {
                let method = request.method().clone();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                if store.lock().unwrap().silent {
                    std::future::pending::<()>().await;
                }
                let mut store = store.lock().unwrap();
                let failed = |code: u16| {
                    (
                        code,
                        json!({
                            "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "", "code": code,
                            "reason": if code == 404 { "NotFound" } else { "Conflict" },
                        }),
                    )
                };
                let (code, value) = if method == Method::GET {
                    store
                        .lease
                        .clone()
                        .map_or_else(|| failed(404), |lease| (200, lease))
                } else {
                    let mut lease: Value = serde_json::from_slice(&body).unwrap();
                    let current = store
                        .lease
                        .as_ref()
                        .map(|lease| lease["metadata"]["resourceVersion"].clone());
                    let asked = lease["metadata"].get("resourceVersion").cloned();
                    if current == asked {
                        store.version += 1;
                        lease["metadata"]["resourceVersion"] = json!(store.version.to_string());
                        store.lease = Some(lease.clone());
                        (200, lease)
                    } else {
                        failed(409)
                    }
                };
                let mut response = Response::new(Body::from(value.to_string().into_bytes()));
                *response.status_mut() = StatusCode::from_u16(code).unwrap();
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        Client::new(service, "default")
    }

    struct Running {
        leadership: watch::Receiver<Leadership>,
        stop: watch::Sender<bool>,
    }

    fn start(store: &Arc<Mutex<Store>>, identity: &str) -> Running {
        let (sender, leadership) = watch::channel(Leadership::default());
        let (stop, stopped) = watch::channel(false);
        let now: Now = Arc::new(|| jiff::Timestamp::UNIX_EPOCH);
        tokio::spawn(run(
            client(Arc::clone(store)),
            settings(identity),
            now,
            sender,
            stopped,
        ));
        Running { leadership, stop }
    }

    async fn seconds(number: u64) {
        tokio::time::sleep(Duration::from_secs(number)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_and_a_clean_stop_hands_over_within_two_seconds() {
        let store = Arc::new(Mutex::new(Store::default()));
        let first = start(&store, "first");
        seconds(1).await;
        let second = start(&store, "second");
        seconds(60).await;
        assert!(first.leadership.borrow().leading);
        assert!(!second.leadership.borrow().leading);
        assert_eq!(first.leadership.borrow().epoch, 1);
        first.stop.send_replace(true);
        seconds(2).await;
        assert!(!first.leadership.borrow().leading);
        assert!(second.leadership.borrow().leading);
        assert_eq!(second.leadership.borrow().epoch, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_off_leader_stops_before_another_may_start() {
        let store = Arc::new(Mutex::new(Store::default()));
        let first = start(&store, "first");
        seconds(5).await;
        assert!(first.leadership.borrow().leading);
        store.lock().unwrap().silent = true;
        seconds(11).await;
        assert!(!first.leadership.borrow().leading);
    }
}
