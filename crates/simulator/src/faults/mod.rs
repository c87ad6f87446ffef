//! What goes wrong in a world, as a plain list: each fault has a number and can be left out, so that a
//! failing world can be made smaller. Drawing the list is in [`draw`]; faults of calls are carried out
//! in [`door`], the others by the world.

pub mod answers;
pub mod door;
pub mod draw;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::trace::lock;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Its place in the drawn list: names it when it is left out.
    pub number: usize,
    pub when: When,
    pub what: What,
}

/// When it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// To this call of the controllers, counted from 1; leases and watches are not counted.
    Call(u64),
    /// To this call about the lease, counted from 1.
    LeaseCall(u64),
    /// So long after the world's script began.
    At(Duration),
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// The call is refused and not carried out: 409, 429, 500, 503.
    Refused(u16),
    /// It is carried out and answered with 500.
    ErrorAfter,
    /// It is carried out; the connection breaks before the answer.
    LostReply,
    /// The connection breaks at once; it is carried out so long after.
    Late(Duration),
    /// It is never carried out and never answered.
    Hung,
    /// It is carried out after so long, and answered then.
    Slow(Duration),
    /// It is carried out twice; the second answer is given.
    Twice,
    /// It is carried out twice; the first answer is given.
    Again,
    /// The process ends before the call is carried out, or after that and before the answer.
    CrashAtCall { carried_out: bool },
    /// A process ends between two calls.
    Crash { replica: usize },
    /// A process stands still: what it sends and what it is sent waits.
    Freeze { replica: usize, length: Duration },
    /// Its clock is wrong by so much from then on.
    Skew { replica: usize, milliseconds: i64 },
    /// Watches of a kind end; of all kinds without one.
    CutWatches(Option<String>),
    /// Events of a kind are delivered late.
    HoldWatches { resource: String, length: Duration },
    /// The history of watches is forgotten: 410.
    Compact,
    /// Nobody answers admission.
    AdmissionDown(Duration),
    /// Every call of every replica is refused with 503.
    Outage(Duration),
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{} ", self.number)?;
        match self.when {
            When::Call(call) => write!(formatter, "call {call}: ")?,
            When::LeaseCall(call) => write!(formatter, "lease call {call}: ")?,
            When::At(at) => write!(formatter, "at {} ms: ", at.as_millis())?,
        }
        write!(formatter, "{:?}", self.what)
    }
}

/// Counts of the controllers' calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls, leases and watches not counted.
    pub calls: u64,
    /// Of these, writes.
    pub writes: u64,
    /// About leases.
    pub lease: u64,
    /// Watches opened.
    pub watches: u64,
}

/// The faults of calls still to come, and the count of calls.
#[derive(Debug, Default)]
pub struct Schedule {
    inner: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    calls: BTreeMap<u64, What>,
    lease: BTreeMap<u64, What>,
    counts: Counts,
    over: bool,
    every_effect_twice: bool,
}

/// What a call is, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Read,
    Write,
    Lease,
    Watch,
}

impl Schedule {
    /// From a list; what happens at a time is not in it.
    #[must_use]
    pub fn new(faults: &[Fault], every_effect_twice: bool) -> Self {
        let mut pending = Pending {
            every_effect_twice,
            ..Pending::default()
        };
        for fault in faults {
            match fault.when {
                When::Call(call) => {
                    pending.calls.insert(call, fault.what.clone());
                }
                When::LeaseCall(call) => {
                    pending.lease.insert(call, fault.what.clone());
                }
                When::At(_) => {}
            }
        }
        Self {
            inner: Mutex::new(pending),
        }
    }

    /// Counts a call; returns its number and what happens to it.
    pub fn next(&self, class: Class) -> (u64, Option<What>) {
        let mut inner = lock(&self.inner);
        let twice = inner.every_effect_twice && class == Class::Write && !inner.over;
        let (number, fault) = match class {
            Class::Watch => {
                inner.counts.watches += 1;
                return (inner.counts.watches, None);
            }
            Class::Lease => {
                inner.counts.lease += 1;
                let number = inner.counts.lease;
                (number, inner.lease.remove(&number))
            }
            Class::Read | Class::Write => {
                inner.counts.calls += 1;
                inner.counts.writes += u64::from(class == Class::Write);
                let number = inner.counts.calls;
                (number, inner.calls.remove(&number))
            }
        };
        let fault = fault.filter(|_| !inner.over);
        (number, fault.or_else(|| twice.then_some(What::Again)))
    }

    /// From now on nothing goes wrong any more.
    pub fn end(&self) {
        lock(&self.inner).over = true;
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        lock(&self.inner).counts.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_meets_its_call_once_and_none_after_the_end() {
        let fault = |call, what| Fault {
            number: 0,
            when: When::Call(call),
            what,
        };
        let schedule = Schedule::new(
            &[fault(2, What::LostReply), fault(4, What::Refused(409))],
            false,
        );
        assert_eq!(schedule.next(Class::Read), (1, None));
        assert_eq!(schedule.next(Class::Lease), (1, None));
        assert_eq!(schedule.next(Class::Write), (2, Some(What::LostReply)));
        assert_eq!(schedule.next(Class::Write), (3, None));
        schedule.end();
        assert_eq!(schedule.next(Class::Write), (4, None));
        assert_eq!(schedule.counts().writes, 3);
    }

    #[test]
    fn every_effect_twice_means_writes() {
        let schedule = Schedule::new(&[], true);
        assert_eq!(schedule.next(Class::Read).1, None);
        assert_eq!(schedule.next(Class::Write).1, Some(What::Again));
    }
}
