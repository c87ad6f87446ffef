//! Stable's counts over its last ten minutes, in at most 41 slots.
//!
//! What the ceiling is made of once stable no longer runs beside the candidate. Kept per 15 seconds, however short the ticks are, so that
//! the whole state stays under 4 KiB. Does not belong here: the ceiling itself.

use serde::{Deserialize, Serialize};

use crate::tick::Counts;

const SLOT_MILLIS: i64 = 15_000;
const SLOTS: i64 = 40;

/// Slots of fifteen seconds, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History(Vec<Slot>);

/// Number of the slot, requests, bad ones, ticks with requests. A tuple, because names would double its size.
type Slot = (i64, u64, u64, u32);

impl History {
    /// Adds one tick's counts and drops what is older than ten minutes. A time before the last one (a clock set back)
    /// counts as that: order is not invented.
    pub fn push(&mut self, at_millis: i64, counts: Counts) {
        if counts.requests == 0 {
            return;
        }
        let slot = at_millis.div_euclid(SLOT_MILLIS);
        match self.0.last_mut() {
            Some(last) if last.0 >= slot => {
                last.1 = last.1.saturating_add(counts.requests);
                last.2 = last.2.saturating_add(counts.bad);
                last.3 = last.3.saturating_add(1);
            }
            _ => self.0.push((slot, counts.requests, counts.bad, 1)),
        }
        let newest = self.0.last().map_or(slot, |last| last.0);
        self.0.retain(|kept| kept.0 >= newest.saturating_sub(SLOTS));
    }

    /// Counts and ticks within ten minutes (and the rest of a slot) before the newest.
    #[must_use]
    pub fn total(&self) -> (Counts, u64) {
        self.0
            .iter()
            .fold((Counts::default(), 0), |(counts, ticks), slot| {
                (
                    counts.plus(Counts {
                        requests: slot.1,
                        bad: slot.2,
                    }),
                    ticks + u64::from(slot.3),
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_ten_minutes_in_few_slots() {
        let mut history = History::default();
        for second in 0..3_600 {
            history.push(
                second * 1_000,
                Counts {
                    requests: 10,
                    bad: 1,
                },
            );
        }
        assert_eq!(history.0.len(), 41);
        let (counts, ticks) = history.total();
        assert_eq!((counts.requests, counts.bad, ticks), (6_150, 615, 615));
    }

    #[test]
    fn a_clock_set_back_or_far_forward_does_no_harm() {
        let mut history = History::default();
        history.push(
            600_000,
            Counts {
                requests: 1,
                bad: 0,
            },
        );
        history.push(
            0,
            Counts {
                requests: 2,
                bad: 0,
            },
        );
        assert_eq!(history.total().0.requests, 3);
        history.push(
            i64::MAX,
            Counts {
                requests: 5,
                bad: 0,
            },
        );
        history.push(
            i64::MIN,
            Counts {
                requests: 5,
                bad: 0,
            },
        );
        assert_eq!(history.total().0.requests, 10);
    }

    #[test]
    fn ticks_without_requests_are_no_history() {
        let mut history = History::default();
        history.push(0, Counts::default());
        assert_eq!(history.total(), (Counts::default(), 0));
    }
}
