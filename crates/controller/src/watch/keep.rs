//! One watch, kept up with a back-off and a health of its own: a kind that fails does not slow the
//! others down.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use kube::Api;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;

use super::raw::Raw;
use super::store::{Place, Store, place, uid, version};
use crate::error::{Class, delay};
use crate::lock;
use crate::ports::Clock;

/// Load balancers drop idle connections after four minutes; the server ends the watch well before.
const WATCH_SECONDS: u32 = 120;
/// A watch without an answer of any kind for so long after a failure is standing again: opening it
/// would have failed by then.
const STANDING_AFTER: Duration = Duration::from_secs(12);

/// How one watch is doing.
#[derive(Clone, Debug, Default)]
pub struct WatchState {
    /// The namespace it is about; empty: the whole cluster.
    pub scope: String,
    /// Its first list is complete.
    pub synced: bool,
    /// Last event or list.
    pub last_success: Option<Timestamp>,
    /// Since when it fails, and how.
    pub failing: Option<(Timestamp, String)>,
    /// Failures since the start.
    pub failures: u64,
}

/// Health of the watches, by name.
#[derive(Debug, Default)]
pub struct WatchHealth {
    kinds: Mutex<BTreeMap<String, WatchState>>,
}

impl WatchHealth {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, WatchState> {
        lock(&self.kinds).clone()
    }

    /// What keeps this process from its work, in words: a watch of the whole cluster that fails for longer than this,
    /// and first lists that are still to come. A namespace that cannot be read, for its right or itself is gone, keeps
    /// nobody else from being served while there is another that can.
    #[must_use]
    pub fn in_the_way(&self, now: Timestamp, patience: Duration) -> Vec<String> {
        let kinds = lock(&self.kinds);
        let lasts = |since: &Timestamp| {
            u128::try_from(now.duration_since(*since).as_millis()).unwrap_or(0)
                >= patience.as_millis()
        };
        let mut told = BTreeMap::<&str, Vec<String>>::new();
        let mut waited_for = Vec::new();
        for (name, state) in &*kinds {
            let of_scope = told.entry(&state.scope).or_default();
            match &state.failing {
                Some((since, why)) if lasts(since) => of_scope.push(format!("{name}: {why}")),
                Some((_, why)) if !state.synced => {
                    waited_for.push(format!("{name} is not listed yet ({why})"));
                }
                None if !state.synced => waited_for.push(format!("{name} is not listed yet")),
                _ => {}
            }
        }
        let everywhere = told.remove("").unwrap_or_default();
        let nowhere = !told.is_empty() && told.values().all(|scope| !scope.is_empty());
        let of_namespaces = told.into_values().flatten().filter(|_| nowhere);
        (everywhere.into_iter().chain(of_namespaces))
            .chain(waited_for)
            .collect()
    }

    /// The watches that fail for longer than this, in words.
    #[must_use]
    pub fn failing(&self, now: Timestamp, longer_than: Duration) -> Vec<String> {
        lock(&self.kinds)
            .iter()
            .filter_map(|(name, state)| {
                let (since, why) = state.failing.as_ref()?;
                let lasted = now.duration_since(*since);
                (lasted.as_secs() >= i64::try_from(longer_than.as_secs()).unwrap_or(i64::MAX))
                    .then(|| format!("{name}: {why}"))
            })
            .collect()
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut WatchState)) {
        change(lock(&self.kinds).entry(name.to_owned()).or_default());
    }

    /// Names a watch before it starts, so that readiness waits for it.
    pub fn expect(&self, name: &str, scope: &str) {
        self.change(name, |state| scope.clone_into(&mut state.scope));
    }

    /// Forgets a watch that is closed.
    pub fn forget(&self, name: &str) {
        lock(&self.kinds).remove(name);
    }
}

/// What a watch is made of.
pub struct Kept<const META: bool> {
    pub name: String,
    pub api: Api<Raw<META>>,
    pub config: watcher::Config,
    pub store: Arc<Store>,
    /// The namespace; empty: the whole cluster.
    pub scope: String,
    /// What of an object is kept; `None`: nothing, it is as good as not there.
    pub prune: fn(Value) -> Option<Value>,
    /// Told what changed.
    pub changed: Box<dyn Fn(&Place) + Send + Sync>,
    /// Told after each complete list.
    pub listed: Box<dyn Fn() + Send + Sync>,
    pub health: Arc<WatchHealth>,
    pub clock: Arc<dyn Clock>,
}

impl<const META: bool> std::fmt::Debug for Kept<META> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Kept")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<const META: bool> Kept<META> {
    /// Keeps the watch up until the task is dropped.
    pub async fn run(self) {
        let mut events = pin!(watcher(
            self.api.clone(),
            self.config.clone().timeout(WATCH_SECONDS)
        ));
        let mut attempt = 0_u32;
        loop {
            let failing = attempt > 0;
            let event = tokio::select! {
                event = events.next() => event,
                () = tokio::time::sleep(STANDING_AFTER), if failing => {
                    attempt = 0;
                    self.health.change(&self.name, |state| state.failing = None);
                    continue;
                }
            };
            match event {
                // The watcher never ends by itself.
                None => return,
                // A list is asked for; nothing was answered yet.
                Some(Ok(Event::Init)) => self.store.begin(&self.scope),
                Some(Ok(event)) => {
                    attempt = 0;
                    let done = matches!(event, Event::InitDone);
                    self.take(event);
                    let now = self.clock.now();
                    self.health.change(&self.name, |state| {
                        state.last_success = Some(now);
                        state.failing = None;
                        state.synced |= done;
                    });
                    if done {
                        (self.listed)();
                    }
                }
                Some(Err(error)) => {
                    let wait = delay(Class::Unavailable, attempt, &self.name);
                    attempt = attempt.saturating_add(1);
                    let (now, text) = (self.clock.now(), error.to_string());
                    tracing::warn!(watch = %self.name, error = %text, ?wait, "a watch failed");
                    self.health.change(&self.name, |state| {
                        state.failures += 1;
                        let since = state.failing.as_ref().map_or(now, |(since, _)| *since);
                        state.failing = Some((since, text));
                    });
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Whether an object changed what the store shows.
    fn show(&self, at: &Place, object: Value) -> bool {
        let (uid, version) = (uid(&object).to_owned(), version(&object));
        match (self.prune)(object) {
            Some(kept) => self.store.apply(&self.scope, kept),
            None => self.store.delete(&self.scope, at, &uid, version),
        }
    }

    fn take(&self, event: Event<Raw<META>>) {
        match event {
            Event::Apply(object) => {
                let at = place(&object.value);
                if self.show(&at, object.value) {
                    (self.changed)(&at);
                }
            }
            Event::Delete(object) => {
                let (at, object) = (place(&object.value), &object.value);
                let (uid, version) = (uid(object), version(object));
                if self.store.delete(&self.scope, &at, uid, version) {
                    (self.changed)(&at);
                }
            }
            Event::Init => self.store.begin(&self.scope),
            Event::InitApply(object) => {
                if let Some(kept) = (self.prune)(object.value) {
                    self.store.listed(&self.scope, kept);
                }
            }
            Event::InitDone => {
                for at in self.store.complete(&self.scope) {
                    (self.changed)(&at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_namespace_that_cannot_be_read_keeps_no_other_from_being_served() {
        let health = WatchHealth::default();
        let second = |second| Timestamp::from_second(second).unwrap();
        let told = |at| health.in_the_way(second(at), Duration::from_secs(30));
        health.expect("ClusterRolloutPolicies", "");
        health.expect("Rollouts in a", "a");
        health.expect("Rollouts in b", "b");
        assert_eq!(told(0).len(), 3, "nothing is listed yet");
        let listed =
            |name: &str| health.change(name, |state| (state.synced, state.failing) = (true, None));
        let fails = |name: &str, since| {
            health.change(name, |state| {
                state.failing = Some((second(since), "forbidden".to_owned()))
            });
        };
        listed("ClusterRolloutPolicies");
        listed("Rollouts in a");
        fails("Rollouts in b", 0);
        assert_eq!(
            told(10),
            ["Rollouts in b is not listed yet (forbidden)"],
            "it may come"
        );
        assert_eq!(told(30), Vec::<String>::new(), "it is waited for no longer");
        fails("Rollouts in a", 40);
        assert_eq!(
            told(50),
            Vec::<String>::new(),
            "it was listed, and may come back"
        );
        assert_eq!(told(70).len(), 2, "nobody can be served");
        listed("Rollouts in a");
        fails("ClusterRolloutPolicies", 70);
        assert_eq!(told(100), ["ClusterRolloutPolicies: forbidden"]);
    }

    /// The time of a test whose clock is paused.
    struct Running(tokio::time::Instant);

    impl Clock for Running {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH + self.0.elapsed()
        }
    }

    /// The watcher says before each list that it begins: that is no answer.
    #[tokio::test(start_paused = true)]
    async fn a_list_that_is_refused_again_and_again_fails_since_the_first_time() {
        let refused = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            let (code, status) = crate::testing::status(403);
            let body = kube::client::Body::from(status.to_string().into_bytes());
            let mut response = http::Response::new(body);
            *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
            Ok::<_, std::convert::Infallible>(response)
        });
        let client = kube::Client::new(refused, "default");
        let health = Arc::<WatchHealth>::default();
        health.expect("Rollouts in b", "b");
        let kind = super::super::raw::kind("crossfade.dev", "v1alpha1", "Rollout", "rollouts");
        let kept = Kept::<false> {
            name: "Rollouts in b".to_owned(),
            api: Api::namespaced_with(client, "b", &kind),
            config: watcher::Config::default(),
            store: Arc::default(),
            scope: "b".to_owned(),
            prune: Some,
            changed: Box::new(|_| {}),
            listed: Box::new(|| {}),
            health: Arc::clone(&health),
            clock: Arc::new(Running(tokio::time::Instant::now())),
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), kept.run()).await;
        assert!(ended.is_err(), "it goes on trying");
        let state = health.all().remove("Rollouts in b").unwrap();
        let (since, why) = state.failing.unwrap();
        assert!(
            since.as_second() < 5,
            "failing since {since} only, after {} failures: {why}",
            state.failures
        );
        assert!(state.failures < 40, "{} lists in a minute", state.failures);
    }
}
