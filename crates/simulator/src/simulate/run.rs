//! One run: the shipped planner over the small cluster, from the push to the decision and, if the
//! candidate is taken away, until it gets no more traffic.

use std::collections::BTreeMap;

use crossfade_api::{Action, ControlSpec, Phase, StepState};
use crossfade_engine::observed::{
    Feed, FeedPod, Observed, Owner, Parallel, Pod, PodTrouble, ReplicaSet, RolloutSeen, Service,
    Workload,
};
use crossfade_engine::report::WaitingOn;
use crossfade_engine::{Decision, Memory, step};
use jiff::Timestamp;
use serde_json::json;

use super::cluster::{Cluster, Millis, Side, template};
use super::{Fault, Question};
use crate::random;

/// Simulated time begins here, in milliseconds of Unix time.
const BEGINNING: i64 = 1_800_000_000_000;
/// No plan is followed for longer.
const LONGEST: Millis = 14 * 86_400_000;
/// Passes at one moment before it counts as going round in circles.
const PASSES: usize = 50;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The hand-over began.
    Promoted,
    /// The candidate was taken away and gets no more traffic.
    RolledBack,
    /// It waits for a person, or was not over in two weeks.
    Waits,
}

/// One run's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub ended: Ended,
    /// Requests the candidate answered, and those it answered badly.
    pub answers: u64,
    pub bad: u64,
    /// Since the push.
    pub millis: i64,
    /// In the planner's words.
    pub reason: String,
}

struct Run<'a> {
    question: &'a Question,
    fault: Fault,
    cluster: Cluster,
    memory: Memory,
    control: Option<ControlSpec>,
    commands: i64,
    wake: Option<Millis>,
}

/// One run; the same question, fault and number give the same end.
#[must_use]
pub fn one(question: &Question, fault: Fault, number: u32) -> End {
    let draw = random::of(question.seed, &format!("simulate/{fault}/{number}"));
    let mut run = Run {
        question,
        fault,
        cluster: Cluster::new(question, fault, draw),
        memory: Memory::default(),
        control: None,
        commands: 0,
        wake: None,
    };
    run.pass();
    run.cluster.pushed = true;
    loop {
        run.measure();
        for _ in 0..PASSES {
            let (moved, decision) = run.pass();
            if let Some(end) = run.end(&decision) {
                return end;
            }
            if !moved {
                break;
            }
        }
        let wake = run.wake.filter(|at| *at > run.cluster.now);
        let Some(next) = run.cluster.next().into_iter().chain(wake).min() else {
            // Nothing will ever happen by itself.
            return run.ended(Ended::Waits, "nothing moves any more".to_owned());
        };
        if next > LONGEST {
            return run.ended(Ended::Waits, "not over in two weeks".to_owned());
        }
        run.cluster.advance(next);
    }
}

impl Run<'_> {
    fn ended(&self, ended: Ended, reason: String) -> End {
        End {
            ended,
            answers: self.cluster.answers,
            bad: self.cluster.bad,
            millis: self.cluster.now,
            reason,
        }
    }

    fn end(&self, decision: &Decision) -> Option<End> {
        match self.memory.phase {
            Phase::HandingOver => return Some(self.ended(Ended::Promoted, String::new())),
            Phase::RollingBack | Phase::RolledBack if !self.cluster.candidate_serves() => {
                let reason = self
                    .memory
                    .release
                    .as_ref()
                    .and_then(|release| release.rollback.as_ref())
                    .map_or_else(String::new, |rollback| rollback.reason.clone());
                return Some(self.ended(Ended::RolledBack, reason));
            }
            _ => {}
        }
        let waiting = decision.report.waiting.as_ref()?;
        let person = waiting.until.is_none()
            && matches!(
                waiting.on,
                WaitingOn::Mend | WaitingOn::Verdict | WaitingOn::Data | WaitingOn::Resume
            );
        person.then(|| self.ended(Ended::Waits, waiting.text.clone()))
    }

    /// One pass. Returns whether anything was done or remembered.
    fn pass(&mut self) -> (bool, Decision) {
        let seen = self.observe();
        let decision = step(
            &self.question.validated,
            &seen,
            &self.memory,
            timestamp(self.cluster.now),
        );
        self.wake = decision
            .wake_at
            .map(|at| (at.as_millisecond() - BEGINNING).max(self.cluster.now + 1));
        let moved = !decision.effects.is_empty() || decision.memory != self.memory;
        self.memory = decision.memory.clone();
        for effect in &decision.effects {
            self.cluster.apply(effect);
        }
        self.forget_ticks();
        let approved = self.approve();
        (moved || approved, decision)
    }

    /// Folded ticks are in the memory now.
    fn forget_ticks(&mut self) {
        let last = self
            .memory
            .release
            .as_ref()
            .and_then(|release| release.judge.as_ref()?.last_tick);
        self.cluster
            .ticks
            .retain(|tick| last.is_none_or(|last| tick.number > last));
    }

    /// Approvals are given at once: how long a person takes is no part of the question.
    fn approve(&mut self) -> bool {
        let release = self.memory.release.as_ref();
        let asked = self.memory.phase == Phase::Progressing
            && release.is_some_and(|release| release.state == StepState::AwaitingApproval);
        if !asked {
            return false;
        }
        self.commands += 1;
        self.control = Some(ControlSpec {
            id: Some(format!("approval-{}", self.commands)),
            candidate: None,
            step: None,
            action: Action::Promote,
            full: None,
            force: None,
            revision: None,
            reason: None,
            author: None,
        });
        true
    }

    fn measure(&mut self) {
        let asked = self.memory.release.is_some()
            && matches!(
                self.memory.phase,
                Phase::Preparing | Phase::Progressing | Phase::Warm
            );
        self.cluster.measure(asked);
    }

    fn observe(&self) -> Observed {
        let cluster = &self.cluster;
        let release = self.memory.release.as_ref();
        let stable = self.replica_set(Side::Stable, Owner::Workload, cluster.replicas);
        let candidate = cluster.parallel.as_ref().map(|parallel| {
            let owner = Owner::Parallel("parallel".to_owned());
            self.replica_set(Side::Candidate, owner, parallel.replicas)
        });
        Observed {
            rollout: RolloutSeen {
                name: "web".to_owned(),
                namespace: "simulated".to_owned(),
                uid: "rollout".to_owned(),
                generation: 1 + self.commands,
                control: self.control.clone(),
                deleting: false,
            },
            workload: Some(self.workload()),
            parallels: cluster
                .parallel
                .iter()
                .map(|parallel| Parallel {
                    name: parallel.name.clone(),
                    uid: "parallel".to_owned(),
                    resource_version: parallel.resource_version.to_string(),
                    generation: 1,
                    observed_generation: 1,
                    candidate: parallel.candidate.clone(),
                    replicas: parallel.replicas,
                    template: parallel.template.clone(),
                    originals: Some(parallel.originals.clone()),
                    ..Parallel::default()
                })
                .collect(),
            replica_sets: std::iter::once(stable).chain(candidate).collect(),
            pods: cluster.pods.iter().map(pod).collect(),
            services: cluster.service.iter().map(service).collect(),
            kept: cluster.kept.clone(),
            ticks: cluster.ticks.clone(),
            feed: release.map(|release| Feed {
                candidate: release.candidate.clone(),
                pods: self.answers(),
            }),
            fenced_until: None,
            fresh_candidate: "c1".to_owned(),
            from_watches: false,
        }
    }

    /// What the feed knows of each pod.
    fn answers(&self) -> BTreeMap<String, FeedPod> {
        self.cluster
            .pods
            .iter()
            .map(|pod| {
                let last = self.cluster.answered.get(&pod.uid);
                let silent = self.fault == Fault::NoMetrics && pod.side == Side::Candidate;
                let known = FeedPod {
                    name: pod.uid.clone(),
                    last_answer: last.map(|at| timestamp(*at)),
                    last_error: silent.then(|| "answered 404 Not Found".to_owned()),
                };
                (pod.uid.clone(), known)
            })
            .collect()
    }

    fn workload(&self) -> Workload {
        let cluster = &self.cluster;
        let side = if cluster.pushed {
            Side::Candidate
        } else {
            Side::Stable
        };
        Workload {
            name: "web".to_owned(),
            uid: "workload".to_owned(),
            resource_version: if cluster.pushed { "2" } else { "1" }.to_owned(),
            generation: 1 + i64::from(cluster.pushed),
            observed_generation: 1 + i64::from(cluster.pushed),
            replicas: cluster.replicas,
            paused: cluster.pushed,
            strategy_annotation: Some("canary".to_owned()),
            rolling_update: true,
            max_surge: 1,
            max_unavailable: self.question.max_unavailable,
            selector: json!({ "matchLabels": { "app": "web" } }),
            strategy: json!({ "type": "RollingUpdate" }),
            template: template(side),
            revision: 1,
            status_replicas: cluster.replicas,
            available: true,
            ..Workload::default()
        }
    }

    fn replica_set(&self, side: Side, owner: Owner, replicas: u32) -> ReplicaSet {
        let pods = || self.cluster.pods.iter().filter(move |pod| pod.side == side);
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let ready = count(pods().filter(|pod| pod.ready).count());
        let mut template = template(side);
        if let Some(labels) = template
            .pointer_mut("/metadata/labels")
            .and_then(serde_json::Value::as_object_mut)
        {
            labels.insert("pod-template-hash".to_owned(), side.hash().into());
        }
        ReplicaSet {
            name: format!("web-{}", side.hash()),
            uid: side.set().to_owned(),
            resource_version: "1".to_owned(),
            created: Some(timestamp(0)),
            owner,
            owner_index: Some(0),
            hash: side.hash().to_owned(),
            generation: 1,
            observed_generation: 1,
            replicas,
            status_replicas: count(pods().count()),
            ready,
            available: ready,
            template,
            revision: 1,
            has_annotations: true,
            ..ReplicaSet::default()
        }
    }
}

fn timestamp(at: Millis) -> Timestamp {
    Timestamp::from_millisecond(BEGINNING + at).unwrap_or(Timestamp::MAX)
}

fn pod(pod: &super::cluster::Pod) -> Pod {
    Pod {
        name: pod.uid.clone(),
        uid: pod.uid.clone(),
        replica_set: pod.side.set().to_owned(),
        created: Some(timestamp(pod.created)),
        ready: pod.ready,
        ready_since: pod.ready_at.filter(|_| pod.ready).map(timestamp),
        ip: Some("10.0.0.1".to_owned()),
        restarts: u32::from(pod.crashed),
        trouble: pod.crashed.then(|| PodTrouble {
            container: "app".to_owned(),
            reason: "CrashLoopBackOff".to_owned(),
            message: "it ended with Error (exit code 1)".to_owned(),
        }),
        ..Pod::default()
    }
}

fn service(service: &super::cluster::Service) -> Service {
    Service {
        name: "web".to_owned(),
        uid: "service".to_owned(),
        resource_version: service.resource_version.to_string(),
        pinned_to: service.hash.clone(),
        held: service.held,
        selects_workload: true,
        other_managed_fields: json!([]),
        ready_endpoints: service.endpoints.iter().cloned().collect(),
        ..Service::default()
    }
}
