//! Scheduler, kubelets and what watches over nodes, as one actor: places pods, runs them in their
//! manner, tells their status, ends them. Tells the data plane what each process can do at each
//! instant. Which pods there should be is decided elsewhere.

mod life;
mod status;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossfade_fakeapi::{Clock, FakeApi};
use fastrand::Rng;
use serde_json::Value;
use tokio::time::Instant;

pub use table::{Node, Nodes};

use self::life::Run;
use super::client::Client;
use super::delay::Delay;
use super::informer::{Event, Informer, Name};
use super::manner::Manners;
use super::object::{deleting, pod_finished, text, uid};
use super::traffic::Traffic;

/// How quick a cluster is with its pods.
#[derive(Clone, Copy, Debug)]
pub struct NodeDelays {
    /// From a pod's creation to its node.
    pub schedule: Delay,
    /// Until a kubelet has noticed something: a new pod, a deletion, a probe's result.
    pub kubelet: Delay,
    /// Until the pods of a lost node are marked not ready (40 s as shipped).
    pub unreachable: Delay,
    /// From then until they are deleted (300 s as shipped).
    pub evict: Delay,
    /// From then until the node object and its pods are gone by force.
    pub forget: Delay,
}

impl Default for NodeDelays {
    fn default() -> Self {
        Self {
            schedule: Delay::millis(5, 50),
            kubelet: Delay::millis(10, 300),
            unreachable: Delay::millis(35_000, 50_000),
            evict: Delay::exactly(Duration::from_secs(300)),
            forget: Delay::millis(10_000, 60_000),
        }
    }
}

/// What happens to a pod next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The scheduler looks for a node.
    Bind,
    /// The kubelet has seen it.
    Admit,
    /// The image is there, or cannot be had.
    Pulled,
    /// Its container starts.
    Begin,
    /// It accepts requests.
    Accept,
    /// Its readiness is told.
    Tell,
    /// Its container ends by itself.
    Crash,
    /// Readiness goes.
    Falter,
    /// The kubelet has seen the deletion.
    Stop,
    /// SIGTERM.
    Terminate,
    /// Its process ends.
    Exit,
    /// The kubelet takes it out of the API.
    Remove,
    /// Its node is marked unreachable.
    Unreachable,
    /// It is deleted because of its node.
    Evict,
    /// It is removed by force because of its node.
    Forget,
}

/// Scheduler and kubelets.
pub struct NodeActor {
    api: FakeApi,
    scheduler: Client,
    kubelet: Client,
    watcher: Client,
    informer: Informer,
    clock: Clock,
    random: Rng,
    delays: NodeDelays,
    nodes: Nodes,
    manners: Manners,
    traffic: Traffic,
    runs: BTreeMap<String, Run>,
    agenda: BTreeMap<(Instant, u64), (String, Step)>,
    steps: u64,
    addresses: u32,
    waiting: BTreeSet<String>,
}

impl std::fmt::Debug for NodeActor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("NodeActor")
            .field("runs", &self.runs)
            .field("agenda", &self.agenda)
            .finish_non_exhaustive()
    }
}

/// The kinds it looks at.
pub const SEES: [&str; 1] = ["pods"];

/// What the actor works with.
#[derive(Debug)]
pub struct Hands {
    pub scheduler: Client,
    pub kubelet: Client,
    /// For pods of lost nodes.
    pub watcher: Client,
}

impl NodeActor {
    /// `informer` follows [`SEES`] without a lag: how late kubelets are is in `delays`.
    #[must_use]
    pub fn new(
        api: &FakeApi,
        hands: Hands,
        informer: Informer,
        clock: Clock,
        random: Rng,
        delays: NodeDelays,
        handles: (Nodes, Manners, Traffic),
    ) -> Self {
        let (nodes, manners, traffic) = handles;
        Self {
            api: api.clone(),
            scheduler: hands.scheduler,
            kubelet: hands.kubelet,
            watcher: hands.watcher,
            informer,
            clock,
            random,
            delays,
            nodes,
            manners,
            traffic,
            runs: BTreeMap::new(),
            agenda: BTreeMap::new(),
            steps: 0,
            addresses: 0,
            waiting: BTreeSet::new(),
        }
    }

    /// Works until dropped.
    pub async fn run(mut self) {
        for event in self.informer.initial() {
            self.note(&event);
        }
        loop {
            for event in self.informer.take() {
                self.note(&event);
            }
            self.lose_nodes();
            let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
            if next.is_some_and(|at| at <= Instant::now()) {
                if let Some((_, (uid, step))) = self.agenda.pop_first() {
                    self.step(&uid, step).await;
                }
                continue;
            }
            tokio::select! {
                biased;
                () = self.nodes.changed() => self.retry_waiting(),
                () = self.informer.wait(next) => {}
            }
        }
    }

    fn note(&mut self, event: &Event) {
        if let Some(before) = &event.before
            && event
                .after
                .as_ref()
                .is_none_or(|after| uid(after) != uid(before))
        {
            self.gone(uid(before));
        }
        let Some(pod) = &event.after else { return };
        let id = uid(pod).to_owned();
        if let Some(run) = self.runs.get_mut(&id) {
            run.pod = Arc::clone(pod);
        } else {
            if pod_finished(pod) {
                return;
            }
            let manner = self.manners.of(pod);
            self.runs.insert(
                id.clone(),
                Run::new(event.name.clone(), Arc::clone(pod), manner),
            );
            if text(pod, "/spec/nodeName").is_empty() {
                let delay = self.delays.schedule;
                self.after(delay, &id, Step::Bind);
            } else {
                self.after(self.delays.kubelet, &id, Step::Admit);
            }
        }
        if deleting(pod)
            && let Some(run) = self.runs.get_mut(&id)
            && !run.stopping
        {
            run.stopping = true;
            self.after(self.delays.kubelet, &id, Step::Stop);
        }
    }

    fn gone(&mut self, id: &str) {
        if let Some(run) = self.runs.remove(id)
            && !run.ip.is_empty()
        {
            self.traffic.gone(&run.ip);
        }
        self.waiting.remove(id);
        self.agenda.retain(|_, (known, _)| known != id);
        self.retry_waiting();
    }

    /// There may be room now.
    fn retry_waiting(&mut self) {
        for id in std::mem::take(&mut self.waiting) {
            self.after(self.delays.schedule, &id, Step::Bind);
        }
    }

    fn after(&mut self, delay: Delay, id: &str, step: Step) {
        let delay = delay.draw(&mut self.random);
        self.at(Instant::now() + delay, id, step);
    }

    fn at(&mut self, at: Instant, id: &str, step: Step) {
        self.steps += 1;
        self.agenda.insert((at, self.steps), (id.to_owned(), step));
    }

    /// Takes steps of these kinds off the agenda of a pod.
    fn drop_steps(&mut self, id: &str, steps: &[Step]) {
        self.agenda
            .retain(|_, (known, step)| known != id || !steps.contains(step));
    }

    fn lose_nodes(&mut self) {
        for node in self.nodes.take_lost() {
            let there: Vec<String> = self
                .runs
                .iter()
                .filter(|(_, run)| run.node == node)
                .map(|(id, _)| id.clone())
                .collect();
            let (unreachable, evict, forget) = (
                self.delays.unreachable.draw(&mut self.random),
                self.delays.evict.draw(&mut self.random),
                self.delays.forget.draw(&mut self.random),
            );
            let now = Instant::now();
            if !there.is_empty() {
                // Garbage collection follows, and whoever waits for it.
                self.nodes
                    .give_up(now + unreachable + evict + forget + Duration::from_secs(5));
            }
            for id in there {
                self.agenda.retain(|_, (known, _)| *known != id);
                if let Some(run) = self.runs.get_mut(&id) {
                    run.dead = true;
                    if !run.ip.is_empty() {
                        self.traffic.ended(&run.ip);
                    }
                }
                self.at(now + unreachable, &id, Step::Unreachable);
                self.at(now + unreachable + evict, &id, Step::Evict);
                self.at(now + unreachable + evict + forget, &id, Step::Forget);
            }
        }
    }

    /// Pods on each node, those on their way out too: they need their place until they are gone.
    fn crowd(&self) -> BTreeMap<String, usize> {
        let mut crowd = BTreeMap::new();
        for run in self.runs.values().filter(|run| !run.node.is_empty()) {
            *crowd.entry(run.node.clone()).or_default() += 1;
        }
        crowd
    }

    fn address(&mut self) -> String {
        let number = self.addresses;
        self.addresses += 1;
        let (block, rest) = (number / 250, number % 250 + 1);
        format!("10.{}.{}.{rest}", 244 + block / 250, block % 250)
    }

    /// The pod as the API holds it, if it is still the same one.
    fn stored(&self, name: &Name, id: &str) -> Option<Arc<Value>> {
        let key = crossfade_fakeapi::Key::new("pods", name.0.clone(), name.1.clone());
        self.api.get(&key).filter(|pod| uid(pod) == id)
    }
}
