//! The controller's processes in a world: started, crashed and started again, frozen, with wrong clocks.
//! The faults that happen at a time are carried out here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::faults::{Fault, What, When};
use crate::replica::{Blueprint, Replica};
use crate::trace::lock;
use crate::webhooks::Webhooks;

/// A process that a fault has ended.
pub type Crashed = (usize, u32);

/// The processes.
#[derive(Debug)]
pub struct Processes {
    blueprint: Blueprint,
    webhooks: Arc<Webhooks>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    running: BTreeMap<usize, Replica>,
    incarnations: BTreeMap<usize, u32>,
    /// How long a process that ended is away.
    away: fastrand::Rng,
    /// Nothing is started any more until somebody says so.
    held: bool,
    /// Never started again.
    retired: BTreeSet<usize>,
    crashes: u32,
}

impl Processes {
    /// With none running yet.
    #[must_use]
    pub fn new(blueprint: Blueprint, webhooks: Arc<Webhooks>, away: fastrand::Rng) -> Arc<Self> {
        Arc::new(Self {
            blueprint,
            webhooks,
            inner: Mutex::new(Inner {
                running: BTreeMap::new(),
                incarnations: BTreeMap::new(),
                away,
                held: false,
                retired: BTreeSet::new(),
                crashes: 0,
            }),
        })
    }

    /// Starts the process of a replica, if none runs.
    pub fn start(&self, index: usize) {
        let incarnation = {
            let mut inner = lock(&self.inner);
            if inner.running.contains_key(&index) || inner.held || inner.retired.contains(&index) {
                return;
            }
            let count = inner.incarnations.entry(index).or_default();
            *count += 1;
            *count
        };
        let trace = &self.blueprint.doors.trace;
        trace.line(&format_args!("process {index}.{incarnation} starts"));
        let replica = Replica::start(&self.blueprint, index, incarnation);
        self.webhooks.serve(index, replica.admission.clone());
        lock(&self.inner).running.insert(index, replica);
    }

    /// SIGKILL. Returns whether that process was running.
    pub fn crash(&self, index: usize, incarnation: Option<u32>) -> bool {
        let replica = {
            let mut inner = lock(&self.inner);
            let right = inner
                .running
                .get(&index)
                .is_some_and(|replica| incarnation.is_none_or(|one| one == replica.incarnation));
            if !right {
                return false;
            }
            inner.crashes += 1;
            inner.running.remove(&index)
        };
        self.webhooks.leave(index);
        if let Some(replica) = replica {
            let trace = &self.blueprint.doors.trace;
            trace.line(&format_args!(
                "process {index}.{} is killed",
                replica.incarnation
            ));
            replica.crash();
        }
        true
    }

    /// SIGKILL, for good.
    pub fn retire(&self, index: usize) {
        lock(&self.inner).retired.insert(index);
        self.crash(index, None);
    }

    /// SIGKILL for all, and none starts again before [`Processes::release`].
    pub fn hold(&self) {
        let indices: Vec<usize> = {
            let mut inner = lock(&self.inner);
            inner.held = true;
            inner.running.keys().copied().collect()
        };
        for index in indices {
            self.crash(index, None);
        }
    }

    /// They may start again, and do.
    pub fn release(&self, replicas: usize) {
        lock(&self.inner).held = false;
        for index in 0..replicas {
            self.start(index);
        }
    }

    /// How many were killed.
    #[must_use]
    pub fn crashes(&self) -> u32 {
        lock(&self.inner).crashes
    }

    /// Processes that ended by themselves, which none should.
    #[must_use]
    pub fn ended_by_themselves(&self) -> Vec<usize> {
        lock(&self.inner)
            .running
            .iter()
            .filter(|(_, replica)| replica.ended_by_itself())
            .map(|(index, _)| *index)
            .collect()
    }

    /// Whether one leads.
    #[must_use]
    pub fn led(&self) -> bool {
        lock(&self.inner)
            .running
            .values()
            .any(|replica| replica.leadership.borrow().leading)
    }

    /// Keeps every replica running: one that a fault has ended is started again a moment later.
    pub async fn keep(self: Arc<Self>, mut crashed: mpsc::UnboundedReceiver<Crashed>) {
        while let Some((index, incarnation)) = crashed.recv().await {
            if !self.crash(index, Some(incarnation)) {
                continue;
            }
            self.restart_later(index);
        }
    }

    fn restart_later(self: &Arc<Self>, index: usize) {
        let away = Duration::from_millis(lock(&self.inner).away.u64(50..4_000));
        let processes = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(away).await;
            processes.start(index);
        });
    }

    /// Carries out the faults that happen at a time.
    pub async fn disturb(self: Arc<Self>, faults: Vec<Fault>) {
        let began = Instant::now();
        let mut timed: Vec<(Duration, Fault)> = faults
            .into_iter()
            .filter_map(|fault| match fault.when {
                When::At(at) => Some((at, fault)),
                When::Call(_) | When::LeaseCall(_) => None,
            })
            .collect();
        timed.sort_by_key(|(at, fault)| (*at, fault.number));
        for (at, fault) in timed {
            tokio::time::sleep_until(began + at).await;
            self.blueprint
                .doors
                .trace
                .line(&format_args!("fault {fault}"));
            self.carry_out(&fault.what);
        }
    }

    fn carry_out(self: &Arc<Self>, what: &What) {
        let doors = &self.blueprint.doors;
        match what {
            What::Crash { replica } => {
                if self.crash(*replica, None) {
                    self.restart_later(*replica);
                }
            }
            What::Freeze { replica, length } => {
                if let Some(running) = lock(&self.inner).running.get(replica) {
                    running.link.freeze(*length);
                }
            }
            What::Skew {
                replica,
                milliseconds,
            } => {
                if let Some(running) = lock(&self.inner).running.get(replica) {
                    running.clock.set_skew(*milliseconds);
                }
            }
            What::CutWatches(resource) => doors.api.cut_watches(resource.as_deref()),
            What::HoldWatches { resource, length } => {
                doors.api.hold_watches(resource, Instant::now() + *length);
            }
            What::Compact => doors.api.compact(),
            What::AdmissionDown(length) => self.webhooks.down(*length),
            What::Outage(length) => {
                *lock(&doors.outage_until) = Some(Instant::now() + *length);
            }
            What::Refused(_)
            | What::ErrorAfter
            | What::LostReply
            | What::Late(_)
            | What::Hung
            | What::Slow(_)
            | What::Twice
            | What::Again
            | What::CrashAtCall { .. } => {}
        }
    }

    /// The end of all faults: clocks are right, everybody answers.
    pub fn calm(&self) {
        self.webhooks.up();
        *lock(&self.blueprint.doors.outage_until) = None;
        for replica in lock(&self.inner).running.values() {
            replica.clock.set_skew(0);
        }
    }
}
