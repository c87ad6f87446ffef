//! The queue: which workload is looked at when. One pass per workload at a time, the earliest
//! deadline is kept, one slot is reserved for aborts, and an abort cancels the running pass of its
//! workload at its next await (writes run on beside it, see `perform`).
//!
//! Knows nothing of what a pass does. kube's own Controller loses timers, shares one back-off among
//! watches and lets aborts wait behind a hung call.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use crate::error::{Class, delay};
use crate::lock;

/// A Rollout, or the Deployment that shall get one of its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    /// Of a namespace and a name.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

#[derive(Debug, Default)]
struct Inner {
    due: BTreeMap<Key, Due>,
    running: BTreeMap<Key, Arc<Notify>>,
    panics: BTreeMap<Key, u32>,
    panics_total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    at: Instant,
    urgent: bool,
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
    slots: usize,
}

impl Queue {
    /// With so many passes at once, at least two: one is kept free for aborts.
    #[must_use]
    pub fn new(slots: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner::default()),
            changed: Notify::new(),
            slots: slots.max(2),
        })
    }

    /// Looks at a workload at this time, or earlier if that is already planned.
    pub fn wake(&self, key: &Key, at: Instant) {
        {
            let mut inner = lock(&self.inner);
            let due = inner
                .due
                .entry(key.clone())
                .or_insert(Due { at, urgent: false });
            due.at = due.at.min(at);
        }
        self.changed.notify_one();
    }

    /// Looks at a workload as soon as a slot is free.
    pub fn wake_now(&self, key: &Key) {
        self.wake(key, Instant::now());
    }

    /// An abort: before everybody else, in the reserved slot if need be; its running pass ends at
    /// its next await.
    pub fn urgent(&self, key: &Key) {
        {
            let mut inner = lock(&self.inner);
            let now = Instant::now();
            inner.due.insert(
                key.clone(),
                Due {
                    at: now,
                    urgent: true,
                },
            );
            if let Some(cancel) = inner.running.get(key) {
                cancel.notify_one();
            }
        }
        self.changed.notify_one();
    }

    /// Drops what is planned and what ran, when nothing runs any more.
    pub fn clear(&self) {
        let mut inner = lock(&self.inner);
        inner.due.clear();
        inner.running.clear();
    }

    /// Keys waiting and keys running.
    #[must_use]
    pub fn depth(&self) -> (usize, usize) {
        let inner = lock(&self.inner);
        (inner.due.len(), inner.running.len())
    }

    /// Passes that panicked since the start.
    #[must_use]
    pub fn panics(&self) -> u64 {
        lock(&self.inner).panics_total
    }

    fn take(&self, now: Instant) -> Result<(Key, Arc<Notify>), Option<Instant>> {
        let mut inner = lock(&self.inner);
        let free = self.slots.saturating_sub(inner.running.len());
        let mut next: Option<(bool, Instant, &Key)> = None;
        let mut later: Option<Instant> = None;
        for (key, due) in &inner.due {
            if inner.running.contains_key(key) {
                continue;
            }
            if due.at > now {
                later = Some(later.map_or(due.at, |at| at.min(due.at)));
                continue;
            }
            if free == 0 || (free == 1 && !due.urgent) {
                continue;
            }
            let better = next.is_none_or(|(urgent, at, _)| {
                (due.urgent, std::cmp::Reverse(due.at)) > (urgent, std::cmp::Reverse(at))
            });
            if better {
                next = Some((due.urgent, due.at, key));
            }
        }
        let Some(key) = next.map(|(_, _, key)| key.clone()) else {
            return Err(later);
        };
        inner.due.remove(&key);
        let cancel = Arc::new(Notify::new());
        inner.running.insert(key.clone(), Arc::clone(&cancel));
        Ok((key, cancel))
    }

    /// Runs passes until `stop` turns true, then waits for those in flight. A pass returns when its
    /// workload wants to be looked at again.
    pub async fn run<F, P>(self: Arc<Self>, pass: F, mut stop: watch::Receiver<bool>)
    where
        F: Fn(Key) -> P,
        P: Future<Output = Option<Instant>> + Send + 'static,
    {
        let mut passes: JoinSet<Option<Instant>> = JoinSet::new();
        let mut keys: BTreeMap<Id, Key> = BTreeMap::new();
        loop {
            let stopping = *stop.borrow();
            let mut wait = None;
            if !stopping {
                wait = self.fill(&pass, &mut passes, &mut keys);
            }
            if stopping && passes.is_empty() {
                return;
            }
            let until = wait.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                () = self.changed.notified(), if !stopping => {}
                () = tokio::time::sleep_until(until), if !stopping => {}
                changed = stop.changed(), if !stopping => {
                    // The other end is gone: nobody will ever say stop, so stop.
                    if changed.is_err() {
                        stop = watch::channel(true).1;
                    }
                }
                Some(ended) = passes.join_next_with_id(), if !passes.is_empty() => {
                    self.ended(ended, &mut keys);
                }
            }
        }
    }

    /// Starts what is due as long as there are slots; returns when the next one is.
    fn fill<F, P>(
        &self,
        pass: &F,
        passes: &mut JoinSet<Option<Instant>>,
        keys: &mut BTreeMap<Id, Key>,
    ) -> Option<Instant>
    where
        F: Fn(Key) -> P,
        P: Future<Output = Option<Instant>> + Send + 'static,
    {
        loop {
            let (key, cancel) = match self.take(Instant::now()) {
                Ok(taken) => taken,
                Err(later) => return later,
            };
            let work = pass(key.clone());
            let handle = passes.spawn(async move {
                tokio::select! {
                    biased;
                    () = cancel.notified() => None,
                    wake = work => wake,
                }
            });
            keys.insert(handle.id(), key);
        }
    }

    fn ended(
        &self,
        ended: Result<(Id, Option<Instant>), tokio::task::JoinError>,
        keys: &mut BTreeMap<Id, Key>,
    ) {
        let (id, wake, panicked) = match ended {
            Ok((id, wake)) => (id, wake, false),
            Err(error) => (error.id(), None, error.is_panic()),
        };
        let Some(key) = keys.remove(&id) else { return };
        let wake = {
            let mut inner = lock(&self.inner);
            inner.running.remove(&key);
            if panicked {
                inner.panics_total += 1;
                let count = inner.panics.entry(key.clone()).or_default();
                *count += 1;
                let wait = delay(Class::Bug, *count - 1, &key.name);
                tracing::error!(workload = %key, times = *count, ?wait, "a pass panicked; trying again later");
                Some(Instant::now() + wait)
            } else {
                inner.panics.remove(&key);
                wake
            }
        };
        if let Some(at) = wake {
            self.wake(&key, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn key(name: &str) -> Key {
        Key::new("n", name)
    }

    struct Runner {
        queue: Arc<Queue>,
        log: Arc<Mutex<Vec<(String, u64)>>>,
        stop: watch::Sender<bool>,
        task: tokio::task::JoinHandle<()>,
    }

    fn start<P: Future<Output = Option<Instant>> + Send + 'static>(
        slots: usize,
        pass: impl Fn(Key) -> P + Send + Sync + 'static,
    ) -> Runner {
        let queue = Queue::new(slots);
        let log: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
        let (stop, receiver) = watch::channel(false);
        let began = Instant::now();
        let seen = Arc::clone(&log);
        let task = tokio::spawn(Arc::clone(&queue).run(
            move |key| {
                lock(&seen).push((key.name.clone(), (Instant::now() - began).as_secs()));
                pass(key)
            },
            receiver,
        ));
        Runner {
            queue,
            log,
            stop,
            task,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_deadline_is_kept() {
        let runner = start(4, |_| async { None });
        let now = Instant::now();
        runner.queue.wake(&key("a"), now + Duration::from_secs(60));
        runner.queue.wake(&key("a"), now + Duration::from_secs(10));
        runner.queue.wake(&key("a"), now + Duration::from_secs(90));
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!(*lock(&runner.log), vec![("a".to_owned(), 10)]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_pass_at_a_time_and_events_meanwhile_are_not_lost() {
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let (r, m) = (Arc::clone(&running), Arc::clone(&most));
        let runner = start(4, move |_| {
            let (r, m) = (Arc::clone(&r), Arc::clone(&m));
            async move {
                m.fetch_max(r.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_secs(5)).await;
                r.fetch_sub(1, Ordering::SeqCst);
                None
            }
        });
        runner.queue.wake_now(&key("a"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        runner.queue.wake_now(&key("a"));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(most.load(Ordering::SeqCst), 1);
        assert_eq!(
            *lock(&runner.log),
            vec![("a".to_owned(), 0), ("a".to_owned(), 5)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_abort_has_a_slot_of_its_own_and_cancels_its_pass() {
        let runner = start(2, |_| async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            None
        });
        for name in ["a", "b"] {
            runner.queue.wake_now(&key(name));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(lock(&runner.log).len(), 1, "the last slot is kept free");
        runner.queue.urgent(&key("c"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(lock(&runner.log).last().unwrap().0, "c");
        runner.queue.urgent(&key("a"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(
            *lock(&runner.log).last().unwrap(),
            ("a".to_owned(), 2),
            "cancelled and started anew"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_counted_and_tried_again() {
        let runner = start(4, |key| async move {
            assert!(key.name != "bad", "on purpose");
            None
        });
        runner.queue.wake_now(&key("bad"));
        runner.queue.wake_now(&key("good"));
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(runner.queue.panics() >= 2);
        assert!(lock(&runner.log).iter().any(|(name, _)| name == "good"));
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_lets_passes_finish() {
        let done = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&done);
        let runner = start(4, move |_| {
            let count = Arc::clone(&count);
            async move {
                tokio::time::sleep(Duration::from_secs(3)).await;
                count.fetch_add(1, Ordering::SeqCst);
                None
            }
        });
        runner.queue.wake_now(&key("a"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        runner.stop.send(true).unwrap();
        runner.task.await.unwrap();
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }
}
