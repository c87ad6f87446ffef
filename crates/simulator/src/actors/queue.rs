//! A controller's work queue: each key once, in the order it came, later or again after a failure
//! with growing pauses. What the work is, is not known here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// First pause after a failure, and longest one: client-go's default item limiter.
const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1000);

/// Keys to work on.
#[derive(Debug)]
pub struct WorkQueue<K> {
    waiting: VecDeque<K>,
    present: BTreeSet<K>,
    later: BTreeSet<(Instant, K)>,
    failures: BTreeMap<K, u32>,
}

impl<K: Ord + Clone> Default for WorkQueue<K> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            present: BTreeSet::new(),
            later: BTreeSet::new(),
            failures: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> WorkQueue<K> {
    /// As soon as possible.
    pub fn add(&mut self, key: K) {
        if self.present.insert(key.clone()) {
            self.waiting.push_back(key);
        }
    }

    /// Not before this instant. Every wish is kept, as client-go keeps the earliest and drops
    /// none that is earlier; a superfluous later one costs a pass that changes nothing.
    pub fn add_at(&mut self, key: K, at: Instant) {
        self.later.insert((at, key));
    }

    /// After a failure: 5 ms, 10 ms, 20 ms, … 1000 s.
    pub fn retry(&mut self, key: K, now: Instant) {
        let failures = self.failures.entry(key.clone()).or_default();
        let pause = FIRST.saturating_mul(1 << (*failures).min(20)).min(LONGEST);
        *failures += 1;
        self.add_at(key, now + pause);
    }

    /// After a success: the next failure pauses shortly again.
    pub fn forget(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// The next key, if one is due.
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        while let Some((at, key)) = self.later.first() {
            if *at > now {
                break;
            }
            let key = key.clone();
            self.later.pop_first();
            self.add(key);
        }
        let key = self.waiting.pop_front()?;
        self.present.remove(&key);
        Some(key)
    }

    /// When the next key becomes due; nothing if none will by itself.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        self.later.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_each_in_order_and_again_with_growing_pauses() {
        let now = Instant::now();
        let mut queue = WorkQueue::default();
        queue.add("b");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.pop(now), Some("b"));
        assert_eq!(queue.pop(now), Some("a"));
        assert_eq!(queue.pop(now), None);
        for pause in [5, 10, 20] {
            queue.retry("a", now);
            let due = now + Duration::from_millis(pause);
            assert_eq!(queue.next_at(), Some(due));
            assert_eq!(queue.pop(due - Duration::from_millis(1)), None);
            assert_eq!(queue.pop(due), Some("a"));
        }
        queue.forget(&"a");
        queue.retry("a", now);
        assert_eq!(queue.next_at(), Some(now + FIRST));
        for _ in 0..40 {
            queue.retry("a", now);
        }
        assert!(
            queue
                .later
                .last()
                .is_some_and(|(at, _)| *at == now + LONGEST)
        );
    }
}
