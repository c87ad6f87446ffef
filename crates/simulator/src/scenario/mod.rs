//! Scenarios: what stands there at the beginning, what users and others do, and how it must end. Each is
//! a plain function over the [`Stage`]; faults come from outside.

pub mod abandoned;
pub mod beside;
pub mod blue_green;
pub mod commands;
pub mod deadlines;
pub mod disturbed;
pub mod fights;
pub mod flips;
pub mod gone;
pub mod handed_over;
mod hands;
pub mod others;
pub mod passage;
pub mod phases;
pub mod random;
pub mod refused;
pub mod rejected;
pub mod releases;
pub mod short;
pub mod stable;
pub mod unclear;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;

use crate::world::manifests::{App, plan};
use crate::world::stage::Stage;

/// What a scenario needs.
#[derive(Clone, Debug)]
pub struct Setup {
    pub apps: Vec<App>,
    pub plan: Value,
    /// Processes of the controller.
    pub controllers: usize,
    /// Another installation serves the namespace too, by one process.
    pub beside: bool,
    pub lease: Duration,
    pub write_timeout: Duration,
    /// Requests a second to each Service.
    pub requests: u64,
    /// Pods stop taking requests when they are told to end; else they go on until they are out of the
    /// endpoints.
    pub exits_at_once: bool,
    /// Nobody but Crossfade ends pods: no request may be lost.
    pub lossless: bool,
    /// API writes of one calm run.
    pub writes: u64,
    /// What stands there at the beginning was put there by server-side apply of this field manager.
    pub applied_by: Option<&'static str>,
}

impl Setup {
    /// Processes of all installations.
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.controllers + usize::from(self.beside)
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            apps: vec![App::new(4)],
            plan: plan(),
            controllers: 1,
            beside: false,
            lease: Duration::from_secs(15),
            write_timeout: Duration::from_secs(5),
            requests: 200,
            exits_at_once: false,
            lossless: true,
            writes: 80,
            applied_by: None,
        }
    }
}

/// How a scenario must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At rest, the pods of this version serving.
    Promoted(&'static str),
    /// RolledBack, the pods of this version serving, the workload paused on another template.
    RolledBack(&'static str),
    /// Nothing of it is left.
    Gone,
    /// Whatever the laws allow, but at rest or waiting for a person.
    AnyRest,
}

/// What a script does; an error says what did not come about.
pub type Script = fn(Arc<Stage>) -> BoxFuture<'static, Result<(), String>>;

/// One scenario.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub setup: fn(&mut fastrand::Rng) -> Setup,
    pub script: Script,
    pub end: End,
    /// What is written at the end does not depend on when what happened: the faulty run must end as the
    /// calm one.
    pub comparable: bool,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

/// Every named scenario, by the order of the end-to-end list.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    all.extend(releases::SCENARIOS);
    all.extend(commands::SCENARIOS);
    all.extend(disturbed::SCENARIOS);
    all.extend(others::SCENARIOS);
    all.extend(abandoned::SCENARIOS);
    all.extend(stable::SCENARIOS);
    all.extend(blue_green::SCENARIOS);
    all.extend(phases::SCENARIOS);
    all.extend(beside::SCENARIOS);
    all.extend(gone::SCENARIOS);
    all.extend(passage::SCENARIOS);
    all.extend(handed_over::SCENARIOS);
    all.extend(deadlines::SCENARIOS);
    all.extend(refused::SCENARIOS);
    all.extend(short::SCENARIOS);
    all.extend(phases::UNDONE);
    all.extend(flips::SCENARIOS);
    all.extend(unclear::SCENARIOS);
    all.extend(rejected::SCENARIOS);
    all.extend(fights::SCENARIOS);
    all
}

/// One by name; `random` is one too.
#[must_use]
pub fn named(name: &str) -> Option<Scenario> {
    if name == random::SCENARIO.name {
        return Some(random::SCENARIO);
    }
    all().into_iter().find(|scenario| scenario.name == name)
}

/// The usual setup.
#[must_use]
pub fn usual(_: &mut fastrand::Rng) -> Setup {
    Setup::default()
}

/// A release with more in it than the usual one.
fn long(_: &mut fastrand::Rng) -> Setup {
    Setup {
        writes: 400,
        ..Setup::default()
    }
}

/// Pods end, or Services lose their endpoints, by other hands too.
fn lossy(draw: &mut fastrand::Rng) -> Setup {
    Setup {
        lossless: false,
        ..long(draw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = all().iter().map(|scenario| scenario.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(named("canary-promotes").is_some());
        assert!(named("random").is_some());
    }
}
