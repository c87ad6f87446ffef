//! What one workload's releases have been through, as far as the laws need it: who the sides are, what
//! each carried and when, what was told to whom. Only recorded here, judged elsewhere.

use crossfade_fakeapi::At;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crossfade_fakeapi::Change;
use serde_json::Value;

use super::Sight;
use super::model::{Model, max_unavailable, pinned_to, size};
use crate::json::{annotation, controller, deleting, flag, label, same_pods, text};

/// How far back states are kept: longer than any lag of a world's watches.
const KEPT: Duration = Duration::from_secs(90);

/// What the Services give the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carries {
    Nothing,
    Share,
    Everything,
}

/// Counts at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    pub at: Duration,
    pub candidate_ready: i64,
    pub stable_ready: i64,
    pub replicas: i64,
    pub max_unavailable: i64,
    /// The workload is not paused.
    pub unpaused: bool,
}

impl State {
    /// Ready pods that carry everything of so many replicas.
    pub fn enough(&self, replicas: i64) -> i64 {
        (replicas - self.max_unavailable).max(1)
    }
}

/// One release, from its first write to the next one's.
#[derive(Clone, Debug, Default)]
pub struct Release {
    pub parallel_uid: String,
    pub parallel_name: String,
    /// uid and hash of the candidate's ReplicaSet, once it is there.
    pub candidate_set: Option<(String, String)>,
    /// That ReplicaSet is gone.
    pub candidate_deleted: bool,
    /// uid and hash of what served before.
    pub stable_set: (String, String),
    /// Stable's ReplicaSet was deleted, not by us.
    pub stable_lost: bool,
    /// The workload had a size of 0.
    pub emptied: bool,
    /// The candidate has had weight.
    pub weighted: bool,
    /// N for which the candidate last had enough pods ready to carry everything.
    pub complete_for: Option<i64>,
    /// Some write of ours has given it weight.
    pub given: bool,
    /// When a Service last gave something to the candidate.
    pub candidate_carried: Duration,
    /// When a Service last gave something to stable.
    pub stable_carried: Duration,
    /// Pods of the candidate when the hand-over began, those lost and those made since, the largest N.
    pub handed_over: Option<HandedOver>,
}

/// Pods in a hand-over.
#[derive(Clone, Debug, Default)]
pub struct HandedOver {
    /// The judged pods that are still there.
    pub judged: BTreeSet<String>,
    /// How many they were when it began.
    pub began: usize,
    /// Those that took the place of lost ones, as long as they are there.
    pub others: BTreeSet<String>,
    /// Pods lost since it began, others among them.
    pub lost: usize,
    pub made: usize,
    pub largest: i64,
}

/// An abort that was written.
#[derive(Clone, Copy, Debug)]
pub struct Abort {
    pub at: Duration,
    /// Nothing is left of its first effect to be done.
    pub done: bool,
    /// A write to a Service has been sent since.
    pub tried: bool,
}

/// The book of one workload.
#[derive(Clone, Debug)]
pub struct Book {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Of the Rollout that is about this workload.
    pub phase: String,
    pub rollout: Value,
    pub release: Option<Release>,
    pub abort: Option<Abort>,
    pub states: VecDeque<State>,
    pub carries: Carries,
    /// Since when the candidate carries more than its pods can.
    pub short_since: Option<Duration>,
    /// Since when a Service names a candidate that was given no weight.
    pub unjudged_since: Option<Duration>,
    /// Since when a pinned Service meets an unpaused workload, not by us.
    pub exposed_since: Option<Duration>,
    /// Since when managedFields of a Service or of the workload name us.
    pub named_since: Option<Duration>,
    /// The workload's template came together with a new bypass.
    pub let_pass: bool,
    /// Hashes of its ReplicaSets that others than its controller deleted.
    pub deleted_sets: BTreeSet<String>,
    /// So often a person asked to go back and no template was written for it yet.
    pub undos: u32,
    /// When the Rollout's status last changed.
    pub status_at: Duration,
}

impl Book {
    /// Of a workload that was just opted in.
    #[must_use]
    pub fn new(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            phase: String::new(),
            rollout: Value::Null,
            release: None,
            abort: None,
            states: VecDeque::new(),
            carries: Carries::Nothing,
            short_since: None,
            unjudged_since: None,
            exposed_since: None,
            named_since: None,
            let_pass: false,
            deleted_sets: BTreeSet::new(),
            undos: 0,
            status_at: Duration::ZERO,
        }
    }

    /// The workload as it is.
    #[must_use]
    pub fn workload<'a>(&self, model: &'a Model) -> Option<&'a Value> {
        model
            .get("deployments", &self.namespace, &self.name)
            .filter(|object| text(object, "/metadata/uid") == self.uid)
    }

    /// Whether the Rollout's phase is one of these.
    #[must_use]
    pub fn in_phase(&self, phases: &[&str]) -> bool {
        phases.contains(&self.phase.as_str())
    }

    /// Takes a change in, before the laws look at it.
    pub fn see(&mut self, change: &Change, sight: &Sight<'_>) {
        let object = change.after.as_deref();
        match change.key.resource.as_str() {
            "rollouts" if self.is_about(change) => self.see_rollout(change, sight),
            "deployments" => {
                self.see_bypass(change);
                if let Some(object) = object
                    && change.before.is_none()
                    && label(object, "crossfade.dev/workload-uid") == self.uid
                {
                    self.begin(object, sight);
                }
            }
            "replicasets" => {
                self.see_stable(change);
                let gone = change.before.as_deref().filter(|_| object.is_none());
                self.see_deleted(change);
                if let (Some(gone), Some(release)) = (gone, self.release.as_mut()) {
                    let uid = text(gone, "/metadata/uid");
                    let known = release.candidate_set.as_ref();
                    release.candidate_deleted |= known.is_some_and(|(known, _)| known == uid);
                }
                if let (Some(object), Some(release)) = (object, self.release.as_mut())
                    && (release.candidate_set.is_none() || release.candidate_deleted)
                    && controller(object).is_some_and(|(_, uid)| uid == release.parallel_uid)
                {
                    // Deleted by somebody, it is made again by its Deployment, which was not.
                    release.candidate_deleted = false;
                    release.candidate_set = Some((
                        text(object, "/metadata/uid").to_owned(),
                        label(object, "pod-template-hash").to_owned(),
                    ));
                }
            }
            "pods" => self.see_pod(change),
            _ => {}
        }
        self.note_state(sight);
    }

    /// After the laws have looked: what holds from now on.
    pub fn seen(&mut self, change: &Change, sight: &Sight<'_>) {
        self.carries = self.carried(sight.model);
        let now = sight.now;
        let stable = self.stable_carries(sight.model);
        let carries = self.carries;
        if let Some(release) = self.release.as_mut() {
            if carries > Carries::Nothing {
                release.weighted = true;
                release.candidate_carried = now;
            }
            if stable {
                release.stable_carried = now;
            }
        }
        if let (Some(before), Some(after)) = (change.before.as_deref(), change.after.as_deref())
            && text(after, "/metadata/uid") == self.uid
            && sight.facts.ourselves.contains(&change.caller.user)
            && before.at("/spec/template") != after.at("/spec/template")
        {
            self.undos = self.undos.saturating_sub(1);
        }
    }

    fn see_bypass(&mut self, change: &Change) {
        let (Some(before), Some(after)) = (change.before.as_deref(), change.after.as_deref())
        else {
            return;
        };
        if text(after, "/metadata/uid") == self.uid
            && before.at("/spec/template") != after.at("/spec/template")
        {
            let bypass = |object| annotation(object, "crossfade.dev/bypass");
            self.let_pass = !bypass(after).is_empty() && bypass(after) != bypass(before);
        }
    }

    /// One of its ReplicaSets goes, or is about to, and not by its controller's hand.
    fn see_deleted(&mut self, change: &Change) {
        let Some(before) = change.before.as_deref() else {
            return;
        };
        let goes = change.after.as_deref().is_none_or(deleting);
        // A parked one is the Rollout's meanwhile, and goes with it.
        let parked = |kind: &str| {
            kind == "Rollout" && change.key.name.starts_with(&format!("{}-", self.name))
        };
        let of_workload =
            controller(before).is_some_and(|(kind, owner)| owner == self.uid || parked(kind));
        if goes && of_workload && !change.caller.user.ends_with(":deployment-controller") {
            let hash = label(before, "pod-template-hash").to_owned();
            self.deleted_sets.insert(hash);
        }
    }

    /// Stable's ReplicaSet goes, or another of its hash takes its place.
    fn see_stable(&mut self, change: &Change) {
        let uid = self.uid.clone();
        let Some(release) = self.release.as_mut() else {
            return;
        };
        let Some(object) = change.after.as_deref().filter(|object| !deleting(object)) else {
            let gone = change.before.as_deref();
            release.stable_lost |=
                gone.is_some_and(|set| text(set, "/metadata/uid") == release.stable_set.0);
            return;
        };
        let of_workload = controller(object).is_some_and(|(_, owner)| owner == uid);
        if release.stable_lost
            && change.before.is_none()
            && of_workload
            && label(object, "pod-template-hash") == release.stable_set.1
        {
            text(object, "/metadata/uid").clone_into(&mut release.stable_set.0);
        }
    }

    fn is_about(&self, change: &Change) -> bool {
        let object = change.after.as_ref().or(change.before.as_ref());
        object.is_some_and(|object| {
            let named = text(object, "/spec/deployment");
            let name = if named.is_empty() {
                text(object, "/metadata/name")
            } else {
                named
            };
            name == self.name
        })
    }

    fn see_rollout(&mut self, change: &Change, sight: &Sight<'_>) {
        let Some(object) = change.after.as_deref() else {
            self.phase.clear();
            self.rollout = Value::Null;
            return;
        };
        let command = |object: &Value| object.at("/spec/control").cloned();
        let before = change.before.as_deref().and_then(&command);
        if change
            .before
            .as_ref()
            .and_then(|before| before.get("status"))
            != object.get("status")
        {
            self.status_at = sight.now;
        }
        let phase = text(object, "/status/phase").to_owned();
        if phase != self.phase {
            self.enter(&phase, sight);
        }
        self.rollout = object.clone();
        let now = command(object);
        let undo = now
            .as_ref()
            .is_some_and(|control| text(control, "/action") == "undo");
        if undo && now != before {
            self.undos += 1;
        }
        let abort = now
            .as_ref()
            .is_some_and(|control| text(control, "/action") == "abort");
        // Another command took its place before anybody acted on it: the last word counts.
        let unheard = |abort: &Abort| !abort.done && !abort.tried;
        if !abort && now != before && self.abort.as_ref().is_some_and(unheard) {
            self.abort = None;
        }
        if abort
            && now != before
            && self.in_phase(&["Preparing", "Progressing", "Warm"])
            && self.abort.is_none()
        {
            let candidate = now
                .as_ref()
                .map_or("", |control| text(control, "/candidate"));
            let known = text(object, "/status/candidate/name");
            if candidate.is_empty() || candidate == known {
                self.abort = Some(Abort {
                    at: sight.now,
                    done: false,
                    tried: false,
                });
            }
        }
    }

    fn enter(&mut self, phase: &str, sight: &Sight<'_>) {
        if phase == "HandingOver" {
            let replicas = self.workload(sight.model).map_or(0, size);
            if let Some(release) = self.release.as_mut() {
                let judged = release.candidate_set.as_ref().map(|(uid, _)| {
                    sight
                        .model
                        .pods(&self.namespace, uid)
                        .filter(|pod| !deleting(pod))
                        .map(|pod| text(pod, "/metadata/uid").to_owned())
                        .collect::<BTreeSet<_>>()
                });
                let judged = judged.unwrap_or_default();
                release.handed_over = Some(HandedOver {
                    began: judged.len(),
                    judged,
                    largest: replicas,
                    ..HandedOver::default()
                });
            }
        }
        if matches!(phase, "Idle" | "RolledBack" | "HandingOver") {
            self.abort = None;
        }
        phase.clone_into(&mut self.phase);
    }

    /// A parallel Deployment of ours appears: a release.
    fn begin(&mut self, parallel: &Value, sight: &Sight<'_>) {
        let stable = sight
            .model
            .of("replicasets", &self.namespace)
            .filter(|set| controller(set).is_some_and(|(_, uid)| uid == self.uid))
            .filter(|set| size(set) > 0 && !deleting(set))
            .find(|set| {
                !parallel.at("/spec/template").is_some_and(|template| {
                    set.at("/spec/template")
                        .is_some_and(|own| same_pods(own, template))
                })
            })
            .map(|set| {
                (
                    text(set, "/metadata/uid").to_owned(),
                    label(set, "pod-template-hash").to_owned(),
                )
            });
        self.release = Some(Release {
            parallel_uid: text(parallel, "/metadata/uid").to_owned(),
            parallel_name: text(parallel, "/metadata/name").to_owned(),
            stable_set: stable.unwrap_or_default(),
            stable_carried: sight.now,
            ..Release::default()
        });
        self.states.clear();
    }

    fn see_pod(&mut self, change: &Change) {
        let Some(release) = self.release.as_mut() else {
            return;
        };
        let Some(handed) = release.handed_over.as_mut() else {
            return;
        };
        let of_candidate = |pod: &Value| {
            release
                .candidate_set
                .as_ref()
                .is_some_and(|(set, _)| controller(pod).is_some_and(|(_, uid)| uid == set))
        };
        match (&change.before, &change.after) {
            (None, Some(pod)) if of_candidate(pod) => {
                handed.made += 1;
                handed.others.insert(text(pod, "/metadata/uid").to_owned());
            }
            (Some(before), after) => {
                let going = after.as_ref().is_none_or(|after| {
                    deleting(after) || text(after, "/status/phase") == "Failed"
                });
                let uid = text(before, "/metadata/uid");
                if going && (handed.judged.remove(uid) || handed.others.remove(uid)) {
                    handed.lost += 1;
                }
            }
            _ => {}
        }
    }

    fn note_state(&mut self, sight: &Sight<'_>) {
        let Some(workload) = self.workload(sight.model) else {
            return;
        };
        let ready = |set: &str| sight.model.ready(&self.namespace, set);
        let release = self.release.as_ref();
        let candidate = release.and_then(|release| release.candidate_set.as_ref());
        let state = State {
            at: sight.now,
            candidate_ready: candidate.map_or(0, |(uid, _)| ready(uid)),
            stable_ready: release.map_or(0, |release| ready(&release.stable_set.0)),
            replicas: size(workload),
            max_unavailable: max_unavailable(workload),
            unpaused: !flag(workload, "/spec/paused"),
        };
        if let Some(release) = self.release.as_mut() {
            release.emptied |= state.replicas == 0;
        }
        if let Some(release) = self.release.as_mut()
            && state.candidate_ready >= state.enough(state.replicas)
        {
            release.complete_for = Some(state.replicas);
        }
        if let Some(handed) = self
            .release
            .as_mut()
            .and_then(|release| release.handed_over.as_mut())
        {
            handed.largest = handed.largest.max(state.replicas);
        }
        let same = self.states.back().is_some_and(|last| {
            State {
                at: state.at,
                ..*last
            } == state
        });
        if !same {
            self.states.push_back(state);
        }
        // The last one before the window still held at its beginning.
        while self
            .states
            .get(1)
            .is_some_and(|second| second.at + KEPT < sight.now)
        {
            self.states.pop_front();
        }
    }

    /// The states that held at some time between `from` and now.
    pub fn states_since(&self, from: Duration) -> impl Iterator<Item = &State> {
        let first = self
            .states
            .iter()
            .rposition(|state| state.at <= from)
            .unwrap_or(0);
        self.states.iter().skip(first)
    }

    /// What the Services give the candidate now.
    #[must_use]
    pub fn carried(&self, model: &Model) -> Carries {
        let (Some(release), Some(workload)) = (self.release.as_ref(), self.workload(model)) else {
            return Carries::Nothing;
        };
        let Some((set, hash)) = release.candidate_set.as_ref() else {
            return Carries::Nothing;
        };
        // Without any pod that stays there is nothing to carry, whatever is written.
        if !model.pods(&self.namespace, set).any(|pod| !deleting(pod)) {
            return Carries::Nothing;
        }
        model
            .services(&self.namespace, workload)
            .map(|service| match pinned_to(service) {
                None => Carries::Share,
                Some(pinned) if pinned == hash => Carries::Everything,
                Some(_) => Carries::Nothing,
            })
            .max()
            .unwrap_or(Carries::Nothing)
    }

    /// Whether a Service gives something to stable now.
    #[must_use]
    pub fn stable_carries(&self, model: &Model) -> bool {
        let (Some(release), Some(workload)) = (self.release.as_ref(), self.workload(model)) else {
            return false;
        };
        model
            .services(&self.namespace, workload)
            .any(|service| pinned_to(service).is_none_or(|pinned| pinned == release.stable_set.1))
    }
}
