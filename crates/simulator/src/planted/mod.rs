//! Planted bugs: the oracles must be able to fail. Each wraps the planner, changes requests on their way
//! out, or lets a process act on a lease it does not hold; the shipped controller stays as it is.

mod decisions;
mod requests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crossfade_api::RolloutSpec;
use crossfade_controller::ports::Planner;
use crossfade_engine::validated::Policies;
use crossfade_engine::{Decision, Memory, Observed, Validated};
use jiff::Timestamp;

use crate::faults::door::{Tamper, Tampered};

/// Changes what the planner is shown; the memory it is given too.
type Before = fn(&mut Observed, &mut Memory);
/// Changes what it decided, knowing what it was shown and remembered.
type After = fn(&Observed, &Memory, &mut Decision);

/// Where a bug sits.
#[derive(Clone, Copy)]
enum Kind {
    Shown(Before),
    Decided(After),
    Sent(fn(&mut Tampered)),
    Lease,
}

/// One bug.
#[derive(Clone, Copy)]
pub struct Planted {
    pub name: &'static str,
    /// What it does, for the table.
    pub what: &'static str,
    kind: Kind,
}

impl std::fmt::Debug for Planted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

impl Planted {
    /// The planner with the bug.
    #[must_use]
    pub fn planner(&self, real: Arc<dyn Planner>) -> Arc<dyn Planner> {
        match self.kind {
            Kind::Shown(_) | Kind::Decided(_) => Arc::new(Wrapped {
                real,
                kind: self.kind,
            }),
            Kind::Sent(_) | Kind::Lease => real,
        }
    }

    /// What it does to requests.
    #[must_use]
    pub fn tamper(&self) -> Option<Tamper> {
        match self.kind {
            Kind::Sent(change) => Some(Arc::new(change)),
            _ => None,
        }
    }

    /// Whether processes act without the lease.
    #[must_use]
    pub const fn ignores_the_lease(&self) -> bool {
        matches!(self.kind, Kind::Lease)
    }
}

struct Wrapped {
    real: Arc<dyn Planner>,
    kind: Kind,
}

impl Planner for Wrapped {
    fn validate(
        &self,
        spec: &RolloutSpec,
        annotations: &BTreeMap<String, String>,
        policies: &Policies,
    ) -> Validated {
        self.real.validate(spec, annotations, policies)
    }

    fn step(
        &self,
        rollout: &Validated,
        seen: &Observed,
        memory: &Memory,
        now: Timestamp,
    ) -> Decision {
        match self.kind {
            Kind::Shown(change) => {
                let (mut seen, mut memory) = (seen.clone(), memory.clone());
                change(&mut seen, &mut memory);
                self.real.step(rollout, &seen, &memory, now)
            }
            Kind::Decided(change) => {
                let mut decision = self.real.step(rollout, seen, memory, now);
                change(seen, memory, &mut decision);
                decision
            }
            Kind::Sent(_) | Kind::Lease => self.real.step(rollout, seen, memory, now),
        }
    }
}

/// All of them.
#[must_use]
pub fn all() -> Vec<&'static Planted> {
    decisions::BUGS
        .iter()
        .chain(requests::BUGS)
        .chain([&LEASE])
        .collect()
}

/// One by name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Planted> {
    all().into_iter().find(|planted| planted.name == name)
}

static LEASE: Planted = Planted {
    name: "act-without-the-lease",
    what: "every process acts, whoever holds the lease",
    kind: Kind::Lease,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_and_each_has_its_name() {
        let mut names: Vec<&str> = all().iter().map(|planted| planted.name).collect();
        assert!(names.len() >= 20, "{}", names.len());
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
