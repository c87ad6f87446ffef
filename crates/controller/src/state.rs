//! What is known of one workload between passes, and may be lost: fences, watches, feed, answers
//! that need not be asked twice. What must not be lost is in the Rollout's status.
//!
//! Fences are kept on the monotonic clock: a time of day that is set forward would end them early. For
//! the same reason the time of a release under way runs on from one reading of the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossfade_engine::Effect;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::around::BehindIngresses;
use crate::error::{Class, delay};
use crate::feed::Feed;
use crate::lock;
use crate::ports::Clock;
use crate::queue::Key;
use crate::watch::release::ReleaseWatches;

/// Writes that may still land.
#[derive(Debug, Default)]
pub struct Fence {
    /// Of an unanswered write, a start or a take-over.
    until: Option<Instant>,
    /// Writes sent and not answered yet, each with the time after which it cannot land.
    open: BTreeMap<u64, Instant>,
}

/// A write that was refused for good reasons: sent again at once it is refused again.
#[derive(Debug)]
struct Refusal {
    effect: Effect,
    why: String,
    /// Refusals in a row.
    times: u32,
    /// Until then it is not sent again.
    until: Instant,
}

/// State of one key.
#[derive(Debug, Default)]
pub struct KeyState {
    fence: Mutex<Fence>,
    next_write: AtomicU64,
    /// Failures in a row.
    pub attempts: AtomicU32,
    /// The next pass reads live: what the watches showed was refused as stale.
    pub read_live: AtomicBool,
    pub watches: Mutex<Option<Arc<ReleaseWatches>>>,
    pub feed: Mutex<Option<Arc<Feed>>>,
    /// Passes in a row that asked for the next one at once.
    pub spins: AtomicU32,
    /// Services, by uid and selector, that were found to select nobody else's pods.
    pub services: Mutex<BTreeSet<String>>,
    /// Who stands in front of its Services.
    pub behind_ingresses: Mutex<Option<BehindIngresses>>,
    /// A reading of the time of day, and when it was taken.
    reading: Mutex<Option<(Timestamp, Instant)>>,
    /// When the planner wanted to look again, should its effects be refused: a deadline is not put off by a back-off.
    pub due: Mutex<Option<Instant>>,
    refusal: Mutex<Option<Refusal>>,
    /// When the status was last written.
    pub written_at: Mutex<Option<Instant>>,
}

impl KeyState {
    fn fenced(until: Instant) -> Self {
        Self {
            fence: Mutex::new(Fence {
                until: Some(until),
                open: BTreeMap::new(),
            }),
            ..Self::default()
        }
    }

    /// Now, for a release under way: a clock that is set forward cuts no drain short, one that is set back
    /// holds up no deadline.
    pub fn now(&self, clock: &dyn Clock) -> Timestamp {
        let mut reading = lock(&self.reading);
        let (time, at) = *reading.get_or_insert_with(|| (clock.now(), Instant::now()));
        time.saturating_add(at.elapsed()).unwrap_or(time)
    }

    /// No release is under way: the clock may be read anew.
    pub fn set_clock(&self) {
        *lock(&self.reading) = None;
    }

    /// A write leaves now; until it is answered it counts as one that may land.
    pub fn write_begins(&self, until: Instant) -> u64 {
        let id = self.next_write.fetch_add(1, Ordering::Relaxed);
        lock(&self.fence).open.insert(id, until);
        id
    }

    /// It was answered, or given up: then it may land until `late`.
    pub fn write_ended(&self, id: u64, late: Option<Instant>) {
        let mut fence = lock(&self.fence);
        fence.open.remove(&id);
        fence.until = fence.until.max(late);
    }

    /// For how much longer a write may still land late; `None`: none can.
    #[must_use]
    pub fn fenced_for(&self) -> Option<Duration> {
        let now = Instant::now();
        let fence = lock(&self.fence);
        fence
            .open
            .values()
            .copied()
            .chain(fence.until)
            .max()
            .filter(|until| *until > now)
            .map(|until| until - now)
    }

    /// The same as a time of day, for a planner whose clock shows `now`.
    #[must_use]
    pub fn fenced_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.fenced_for().map(|left| now + left)
    }

    /// Takes down that `effect` was refused, the so-manieth time in a row: whatever else wakes the workload, it is not
    /// sent again before a time that grows with that.
    pub fn refused(&self, effect: &Effect, class: Class, why: String, workload: &str) {
        let mut refusal = lock(&self.refusal);
        let before = refusal.take().filter(|before| before.effect == *effect);
        let times = before.map_or(0, |before| before.times.saturating_add(1));
        *refusal = Some(Refusal {
            effect: effect.clone(),
            why,
            times,
            until: Instant::now() + delay(class, times, workload),
        });
    }

    /// Somebody has spoken, or the release is over: what was refused is tried again at once.
    pub fn forget_refusal(&self) {
        *lock(&self.refusal) = None;
    }

    /// Until when, and why, this effect is held back. One that differs in anything, be it the version of the
    /// object it writes, is not the one that was refused.
    #[must_use]
    pub fn held_back(&self, effect: &Effect) -> Option<(Instant, String)> {
        let refusal = lock(&self.refusal);
        let refusal = refusal.as_ref()?;
        let held = refusal.until > Instant::now() && refusal.effect == *effect;
        held.then(|| (refusal.until, refusal.why.clone()))
    }

    /// Closes what a release under way keeps open.
    pub fn close_release(&self) {
        self.forget_refusal();
        *lock(&self.watches) = None;
        *lock(&self.feed) = None;
        lock(&self.services).clear();
    }
}

/// State of all keys.
#[derive(Debug, Default)]
pub struct States {
    keys: Mutex<BTreeMap<Key, Arc<KeyState>>>,
    fenced_until: Mutex<Option<Instant>>,
}

impl States {
    /// After a start or a take-over: a former leader's writes may still land for so long.
    pub fn take_over(&self, write_timeout: Duration) {
        lock(&self.keys).clear();
        *lock(&self.fenced_until) = Some(Instant::now() + write_timeout);
    }

    /// The state of a key, made when it is first asked for.
    #[must_use]
    pub fn of(&self, key: &Key) -> Arc<KeyState> {
        let mut keys = lock(&self.keys);
        if let Some(known) = keys.get(key) {
            return Arc::clone(known);
        }
        let made = match *lock(&self.fenced_until) {
            Some(until) => Arc::new(KeyState::fenced(until)),
            None => Arc::default(),
        };
        keys.insert(key.clone(), Arc::clone(&made));
        made
    }

    /// Forgets a key whose Rollout and Deployment are gone.
    pub fn forget(&self, key: &Key) {
        lock(&self.keys).remove(key);
    }

    /// Drops everything, after the lead is lost.
    pub fn clear(&self) {
        lock(&self.keys).clear();
    }

    /// How many releases have their watches open.
    #[must_use]
    pub fn active(&self) -> usize {
        lock(&self.keys)
            .values()
            .filter(|state| lock(&state.watches).is_some())
            .count()
    }
}

#[cfg(test)]
mod tests {
    struct Adjusted(Mutex<i64>);

    impl Clock for Adjusted {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(*lock(&self.0)).unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_release_runs_on_whatever_the_clock_is_set_to() {
        let clock = Adjusted(Mutex::new(1_700_000_000));
        let state = KeyState::default();
        let began = state.now(&clock);
        for adjusted in [1_700_000_090, 1_600_000_000] {
            *lock(&clock.0) = adjusted;
            tokio::time::advance(2 * SECOND).await;
            let passed = state.now(&clock).duration_since(began);
            assert!(passed.as_secs() <= 4 && passed.as_secs() >= 2, "{passed}");
        }
        state.set_clock();
        assert_eq!(state.now(&clock).as_second(), 1_600_000_000);
    }

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_open_write_fences_until_it_is_answered() {
        let state = KeyState::default();
        let begun = Instant::now();
        assert_eq!(state.fenced_for(), None);
        let id = state.write_begins(begun + 5 * SECOND);
        tokio::time::advance(SECOND).await;
        assert_eq!(state.fenced_for(), Some(4 * SECOND));
        state.write_ended(id, None);
        assert_eq!(state.fenced_for(), None);
        let id = state.write_begins(begun + 7 * SECOND);
        state.write_ended(id, Some(begun + 9 * SECOND));
        tokio::time::advance(7 * SECOND).await;
        assert_eq!(state.fenced_for(), Some(SECOND));
        tokio::time::advance(SECOND).await;
        assert_eq!(state.fenced_for(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_take_over_fences_everybody_whatever_the_time_of_day() {
        let states = States::default();
        states.take_over(5 * SECOND);
        tokio::time::advance(SECOND).await;
        let state = states.of(&Key::new("n", "a"));
        assert_eq!(state.fenced_for(), Some(4 * SECOND));
        for noon in [1_000_000, 2_000_000] {
            let noon = Timestamp::from_second(noon).unwrap();
            assert_eq!(state.fenced_until(noon), Some(noon + 4 * SECOND));
        }
    }
}
