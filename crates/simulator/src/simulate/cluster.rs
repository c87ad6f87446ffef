//! As much of a cluster as a release needs until it is decided: one workload, its candidate, Services that
//! follow pods a second late, pods that start, requests that flow between events. Everything happens at
//! once but for pods and endpoints. Knows nothing of plans.

use std::collections::{BTreeMap, BTreeSet};

use crossfade_engine::Effect;
use crossfade_engine::effect::SplitTo;
use crossfade_engine::observed::KeptTemplate;
use crossfade_judge::{Arm, PodCount, Tick};
use fastrand::Rng;
use serde_json::{Value, json};

use super::draw::binomial;
use super::{Fault, Question};

/// Milliseconds since the run began.
pub type Millis = i64;

/// Endpoints follow pods and selectors so much later.
const LAG: Millis = 1_000;
/// Pods are ready after this long, drawn.
const START: std::ops::RangeInclusive<Millis> = 2_000..=8_000;
/// A pod that crashes does so this long after it became ready.
const CRASH: Millis = 30_000;

/// A side of the release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Stable,
    Candidate,
}

impl Side {
    /// The pods' `pod-template-hash`.
    pub const fn hash(self) -> &'static str {
        match self {
            Self::Stable => "aaaa",
            Self::Candidate => "bbbb",
        }
    }

    /// uid of the ReplicaSet.
    pub const fn set(self) -> &'static str {
        match self {
            Self::Stable => "set-stable",
            Self::Candidate => "set-candidate",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Pod {
    pub uid: String,
    pub side: Side,
    pub created: Millis,
    /// `None`: never.
    pub ready_at: Option<Millis>,
    pub ready: bool,
    pub crashed: bool,
    /// Counters, and where they stood at the last tick.
    pub requests: u64,
    pub errors: u64,
    ticked: (u64, u64),
}

#[derive(Clone, Debug)]
pub struct Service {
    pub resource_version: u64,
    pub hash: Option<String>,
    pub held: bool,
    pub endpoints: BTreeSet<String>,
    /// What is on its way, and when it is there.
    coming: Option<(Millis, BTreeSet<String>)>,
}

#[derive(Clone, Debug)]
pub struct Parallel {
    pub name: String,
    pub candidate: String,
    pub replicas: u32,
    pub resource_version: u64,
    pub template: Value,
    pub originals: Value,
}

#[derive(Debug)]
pub struct Cluster {
    pub now: Millis,
    pub replicas: u32,
    pub version: u64,
    pub pushed: bool,
    pub pods: Vec<Pod>,
    pub service: Option<Service>,
    pub parallel: Option<Parallel>,
    pub kept: Vec<KeptTemplate>,
    pub ticks: Vec<Tick>,
    pub answered: BTreeMap<String, Millis>,
    /// Requests answered by the candidate, and the bad ones.
    pub answers: u64,
    pub bad: u64,
    fault: Fault,
    rate: f64,
    base: f64,
    interval: Millis,
    next_tick: Option<Millis>,
    ticked: u64,
    names: u64,
    /// Requests not sent yet, below one.
    rest: f64,
    turn: usize,
    draw: Rng,
}

/// The template of a side, as the user writes it.
pub fn template(side: Side) -> Value {
    let tag = match side {
        Side::Stable => "stable",
        Side::Candidate => "candidate",
    };
    json!({
        "metadata": { "labels": { "app": "web" }, "annotations": { "prometheus.io/port": "8080" } },
        "spec": { "containers": [{ "name": "app", "image": format!("web:{tag}") }] },
    })
}

impl Cluster {
    /// The old version serves.
    pub fn new(question: &Question, fault: Fault, draw: Rng) -> Self {
        let interval = question.validated.plan.analysis.interval.max(1_000);
        let mut cluster = Self {
            now: 0,
            replicas: question.replicas.max(1),
            version: 1,
            pushed: false,
            pods: Vec::new(),
            service: None,
            parallel: None,
            kept: Vec::new(),
            ticks: Vec::new(),
            answered: BTreeMap::new(),
            answers: 0,
            bad: 0,
            fault,
            rate: question.rate.max(0.0),
            base: question.base_errors,
            interval: Millis::try_from(interval).unwrap_or(Millis::MAX),
            next_tick: None,
            ticked: 0,
            names: 0,
            rest: 0.0,
            turn: 0,
            draw,
        };
        for _ in 0..cluster.replicas {
            cluster.add_pod(Side::Stable);
        }
        for pod in &mut cluster.pods {
            (pod.ready, pod.ready_at) = (true, Some(0));
        }
        cluster.service = question.service.then(|| Service {
            resource_version: 1,
            hash: None,
            held: false,
            endpoints: cluster.pods.iter().map(|pod| pod.uid.clone()).collect(),
            coming: None,
        });
        cluster
    }

    fn fresh(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn add_pod(&mut self, side: Side) {
        self.names += 1;
        let start = self.draw.i64(START);
        let never = side == Side::Candidate && self.fault == Fault::NeverReady;
        self.pods.push(Pod {
            uid: format!("pod-{}", self.names),
            side,
            created: self.now,
            ready_at: (!never).then_some(self.now + start),
            ready: false,
            crashed: false,
            requests: 0,
            errors: 0,
            ticked: (0, 0),
        });
    }

    /// The next moment at which anything happens by itself.
    pub fn next(&self) -> Option<Millis> {
        let pods = self
            .pods
            .iter()
            .filter(|pod| !pod.crashed)
            .filter_map(|pod| {
                let at = pod.ready_at?;
                match (pod.ready, self.crashes(pod)) {
                    (false, _) => Some(at),
                    (true, true) => Some(at + CRASH),
                    (true, false) => None,
                }
            });
        let endpoints = self
            .service
            .iter()
            .filter_map(|service| service.coming.as_ref().map(|(at, _)| *at));
        pods.chain(endpoints)
            .chain(self.next_tick)
            .filter(|at| *at > self.now)
            .min()
    }

    fn crashes(&self, pod: &Pod) -> bool {
        pod.side == Side::Candidate && self.fault == Fault::Crash
    }

    /// Time goes on; nothing happens before `to`.
    pub fn advance(&mut self, to: Millis) {
        self.flow(to - self.now);
        self.now = to;
        for index in 0..self.pods.len() {
            let crashes = self.pods.get(index).is_some_and(|pod| self.crashes(pod));
            if let Some(pod) = self.pods.get_mut(index)
                && let Some(at) = pod.ready_at
            {
                pod.crashed |= crashes && to >= at + CRASH;
                pod.ready = to >= at && !pod.crashed;
            }
        }
        self.react();
    }

    /// Requests of so many milliseconds, each pod in service the same number.
    fn flow(&mut self, length: Millis) {
        let serving: Vec<usize> = (0..self.pods.len())
            .filter(|index| self.pods.get(*index).is_some_and(|pod| self.serves(pod)))
            .collect();
        if serving.is_empty() || length <= 0 {
            return;
        }
        let all = self.rate * length as f64 / 1000.0 + self.rest;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rates and lengths are far below 2^63 and not negative"
        )]
        let whole = all.floor() as u64;
        self.rest = all - whole as f64;
        let (count, each) = (serving.len(), whole / serving.len() as u64);
        let over = usize::try_from(whole % count as u64).unwrap_or_default();
        self.turn = (self.turn + 1) % count;
        for (place, index) in serving.into_iter().enumerate() {
            let more = (place + self.turn) % count < over;
            let share = each + u64::from(more);
            let Some(pod) = self.pods.get_mut(index) else {
                continue;
            };
            let errors = match (pod.side, self.fault) {
                (Side::Candidate, Fault::Errors(errors)) => errors,
                _ => self.base,
            };
            let bad = binomial(&mut self.draw, share, errors);
            pod.requests += share;
            pod.errors += bad;
            if pod.side == Side::Candidate {
                self.answers += share;
                self.bad += bad;
            }
        }
    }

    fn serves(&self, pod: &Pod) -> bool {
        pod.ready
            && self
                .service
                .as_ref()
                .is_none_or(|service| service.endpoints.contains(&pod.uid))
    }

    /// Whether requests still reach the candidate.
    pub fn candidate_serves(&self) -> bool {
        self.pods
            .iter()
            .any(|pod| pod.side == Side::Candidate && self.serves(pod))
    }

    /// What the cluster's controllers do about a change.
    fn react(&mut self) {
        let wanted = self
            .parallel
            .as_ref()
            .map_or(0, |parallel| parallel.replicas) as usize;
        let mut have = self
            .pods
            .iter()
            .filter(|pod| pod.side == Side::Candidate)
            .count();
        while have < wanted {
            self.add_pod(Side::Candidate);
            have += 1;
        }
        while have > wanted {
            // The youngest goes first.
            if let Some(last) = self
                .pods
                .iter()
                .rposition(|pod| pod.side == Side::Candidate)
            {
                self.pods.remove(last);
            }
            have -= 1;
        }
        let Some(service) = &mut self.service else {
            return;
        };
        let selected: BTreeSet<String> = self
            .pods
            .iter()
            .filter(|pod| pod.ready)
            .filter(|pod| {
                service
                    .hash
                    .as_ref()
                    .is_none_or(|hash| hash == pod.side.hash())
            })
            .map(|pod| pod.uid.clone())
            .collect();
        if service
            .coming
            .as_ref()
            .is_some_and(|(at, _)| *at <= self.now)
            && let Some((_, endpoints)) = service.coming.take()
        {
            service.endpoints = endpoints;
        }
        let latest = service
            .coming
            .as_ref()
            .map_or(&service.endpoints, |(_, endpoints)| endpoints);
        if *latest != selected {
            service.coming = Some((self.now + LAG, selected));
        }
    }

    /// Counts of the interval that has ended, while somebody asks.
    pub fn measure(&mut self, asked: bool) {
        if !asked {
            self.next_tick = None;
            return;
        }
        let first = self.next_tick.is_none();
        if !first && self.next_tick.is_some_and(|at| at > self.now) {
            return;
        }
        self.next_tick = Some(self.now + self.interval);
        let mut arms = BTreeMap::from([(Side::Stable, Vec::new()), (Side::Candidate, Vec::new())]);
        for pod in self.pods.iter_mut().filter(|pod| pod.ready) {
            if self.fault == Fault::NoMetrics && pod.side == Side::Candidate {
                continue;
            }
            self.answered.insert(pod.uid.clone(), self.now);
            let count = PodCount {
                requests: pod.requests - pod.ticked.0,
                errors: pod.errors - pod.ticked.1,
            };
            pod.ticked = (pod.requests, pod.errors);
            // What an old pod had counted before anybody asked is where counting starts.
            if !first {
                arms.entry(pod.side).or_default().push(count);
            }
        }
        if first {
            return;
        }
        self.ticked += 1;
        let mut arm = |side| Arm::from_pods(arms.remove(&side).unwrap_or_default());
        let (candidate, stable) = (arm(Side::Candidate), arm(Side::Stable));
        self.ticks.push(Tick {
            number: self.ticked,
            at_millis: self.now,
            candidate,
            stable,
        });
    }

    /// Does what the planner asks for; what belongs to the time after the decision is not done.
    pub fn apply(&mut self, effect: &Effect) {
        let version = self.fresh();
        match effect {
            Effect::Split { to, .. } => {
                if let Some(service) = &mut self.service {
                    service.resource_version = version;
                    (service.hash, service.held) = match to {
                        SplitTo::Stable { hash } | SplitTo::Candidate { hash } => {
                            (Some(hash.clone()), true)
                        }
                        SplitTo::Both => (None, true),
                        SplitTo::Released => (None, false),
                    };
                }
            }
            Effect::KeepTemplate {
                name,
                candidate,
                hash,
                template,
                ..
            } => self.kept.push(KeptTemplate {
                name: name.clone(),
                uid: format!("kept-{version}"),
                candidate: candidate.clone(),
                hash: hash.clone(),
                template: template.clone(),
            }),
            Effect::CreateParallel(new) => {
                self.parallel = Some(Parallel {
                    name: new.name.clone(),
                    candidate: new.candidate.clone(),
                    replicas: new.replicas,
                    resource_version: version,
                    template: new.template.clone(),
                    originals: new.originals.clone(),
                });
            }
            Effect::ScaleParallel { to, .. } => {
                if let Some(parallel) = &mut self.parallel {
                    (parallel.replicas, parallel.resource_version) = (*to, version);
                }
            }
            Effect::DropKeptTemplate { target } => self.kept.retain(|kept| kept.uid != target.uid),
            Effect::DeleteParallel { .. } => self.parallel = None,
            Effect::GiveBack { .. }
            | Effect::RestoreManagedFields { .. }
            | Effect::PauseParallel { .. }
            | Effect::OrphanParallel { .. }
            | Effect::CreateReplicaSet(_)
            | Effect::DeleteReplicaSet { .. }
            | Effect::Park { .. }
            | Effect::Transfer { .. }
            | Effect::ScaleReplicaSet { .. }
            | Effect::Return { .. }
            | Effect::WriteTemplate { .. }
            | Effect::Disown { .. }
            | Effect::Unpause { .. } => {}
        }
        self.react();
    }
}
