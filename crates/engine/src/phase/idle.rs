//! Idle: nothing to do, until a gated template is found. Also puts right what a lost memory or a
//! former life left behind.

use crossfade_api::annotations::STRATEGY;
use crossfade_api::{Phase, RetainedRevisions, StepState};

use crate::effect::Effect;
use crate::identity::{fingerprint, images, same_template};
use crate::memory::{KEPT_ENTRIES, Memory, Original, Release, Side};
use crate::observed::{KeptTemplate, Owner, Service, Workload};
use crate::report::WaitingOn;
use crate::step::Pass;
use crate::traffic::target;
use crate::{identity, memory};

/// Longest part of the workload's name in the name of the parallel Deployment: its ReplicaSet and
/// pods append up to 17 characters and pod names are cut at 63.
const NAME: usize = 36;

impl Pass<'_> {
    pub(crate) fn idle(&mut self, workload: &Workload) {
        if self.recover_memory(workload) {
            return;
        }
        if !self.services_at_rest() {
            return;
        }
        self.memory.release = None;
        if !workload.deleting && self.write_undone(workload) {
            return;
        }
        let changed = !self.serves_alone(workload);
        let ours = self.memory.gated || !self.seen.kept.is_empty();
        if workload.paused && !workload.deleting && !changed && ours {
            // It was paused for a template that is gone again. A template kept says so too, should the
            // memory be lost.
            self.emit(Effect::Unpause {
                target: target(&workload.name, &workload.uid, &workload.resource_version),
                template: workload.template.clone(),
            });
            self.wait(
                WaitingOn::Observed,
                "the Deployment to be unpaused, its template being the one that serves",
                None,
                "then it is at rest",
            );
            return;
        }
        for kept in &self.seen.kept {
            self.emit(Effect::DropKeptTemplate {
                target: target(&kept.name, &kept.uid, ""),
            });
        }
        self.memory.gated = workload.paused && changed;
        if !workload.paused || workload.deleting {
            self.memory.refused = None;
            self.tell_bypassed(workload);
            self.tell_invalid();
            return;
        }
        if changed && self.let_pass(workload) {
            return;
        }
        if !changed {
            self.memory.refused = None;
            self.wait(
                WaitingOn::Mend,
                "somebody to unpause the Deployment, whose template is the one that serves",
                None,
                "kubectl rollout resume, or push another template",
            );
            return;
        }
        if workload.strategy_annotation.is_none() {
            // Not what was refused before: that is not what keeps it now.
            self.memory.refused = Some(format!(
                "it has to opt in again ({STRATEGY}), being paused on a template that never served; or push the template that serves, or kubectl rollout resume without analysis"
            ));
            self.wait(
                WaitingOn::Mend,
                format!("the Deployment to opt in again ({STRATEGY}): it is paused on a template that never served"),
                None,
                "opt in, push the template that serves, or kubectl rollout resume without analysis",
            );
            return;
        }
        self.start(workload);
    }

    /// At rest no Service has anything of ours. False: something is being given back first.
    pub(crate) fn services_at_rest(&mut self) -> bool {
        if !self.restore_managed_fields() || !self.release_services() {
            self.wait(
                WaitingOn::Observed,
                "leftovers on Services to be given back",
                None,
                "then it is at rest",
            );
            return false;
        }
        self.memory.originals.clear();
        true
    }

    /// Says once, with nothing gated yet, that the next release will be refused, and why.
    fn tell_invalid(&mut self) {
        let problems = &self.validated.problems;
        let invalid = (!problems.is_empty()).then(|| problems.join("; "));
        if let Some(text) = &invalid
            && self.memory.invalid.as_ref() != Some(text)
        {
            self.event(
                true,
                "Invalid",
                format!("nothing is changed, and no release can start: {text}"),
            );
        }
        self.memory.invalid = invalid;
    }

    /// Starts a release of the workload's template, or says why not.
    pub(crate) fn start(&mut self, workload: &Workload) {
        let problems = self.refusals(workload);
        if !problems.is_empty() {
            let text = problems.join("; ");
            if self.memory.refused.as_ref() != Some(&text) {
                self.event(true, "Refused", text.clone());
            }
            self.wait(
                WaitingOn::Mend,
                format!("the release to be possible: {text}"),
                None,
                "mend it; the gated template then starts by itself",
            );
            self.memory.refused = Some(text);
            return;
        }
        let active = self.active_sets();
        let [stable] = active.as_slice() else { return };
        self.memory.refused = None;
        let candidate = self.seen.fresh_candidate.clone();
        let (mut plan, mut sources) = (self.validated.plan.clone(), self.validated.sources.clone());
        if let Some(revision) = self.retained(workload)
            && plan.retained == RetainedRevisions::Short
        {
            plan.steps.clear();
            sources.insert(
                "steps".to_owned(),
                format!("none: this template is revision {revision}, which has served before"),
            );
        }
        self.note_served_alone(fingerprint(&stable.template));
        let print = fingerprint(&workload.template);
        // Pushed again from rest a rejected template is somebody's new try, until it was one too many.
        let held = (self.memory.rejected.iter()).any(|rejected| {
            rejected.fingerprint == print
                && (rejected.often || self.memory.phase == Phase::RolledBack)
        });
        let release = Release {
            held,
            parallel: format!("{}-{candidate}", cut(&workload.name, NAME)),
            candidate,
            fingerprint: print,
            images: images(&workload.template),
            started_at: Some(self.now),
            stable: Side {
                name: stable.name.clone(),
                uid: stable.uid.clone(),
                hash: stable.hash.clone(),
                images: images(&stable.template),
            },
            plan,
            sources,
            state: StepState::Scaling,
            state_since: Some(self.now),
            progress_since: Some(self.now),
            ..Release::default()
        };
        if !release.held {
            self.event(
                false,
                "ReleaseStarted",
                format!(
                    "candidate {} ({}) beside stable {} ({})",
                    release.candidate,
                    release.images.join(", "),
                    release.stable.name,
                    release.stable.images.join(", ")
                ),
            );
        }
        self.memory.release = Some(release);
        self.enter(Phase::Preparing);
        self.preparing(workload);
    }

    /// Remembers a template that has everything: the short plan is for going back to one of those.
    pub(crate) fn note_served_alone(&mut self, print: String) {
        let served = &mut self.memory.served;
        served.retain(|known| *known != print);
        served.insert(0, print);
        served.truncate(KEPT_ENTRIES);
    }

    /// The revision in the workload's history that has this template and has served everything before. One
    /// that was taken back since, or that only ever passed beside another, has to pass every step.
    fn retained(&self, workload: &Workload) -> Option<u64> {
        let print = fingerprint(&workload.template);
        if !self.memory.served.contains(&print)
            || (self.memory.rejected.iter()).any(|rejected| rejected.fingerprint == print)
        {
            return None;
        }
        self.seen
            .own_replica_sets()
            .filter(|set| set.replicas == 0 && !set.deleting)
            .find(|set| same_template(&set.template, &workload.template))
            .map(|set| set.revision)
    }

    /// Why the gated template cannot be released: each names what is wrong and the mend.
    fn refusals(&self, workload: &Workload) -> Vec<String> {
        let mut problems = self.validated.problems.clone();
        if !workload.rolling_update {
            problems.push("spec.strategy.type of the Deployment is Recreate, which forbids two versions side by side; set it to RollingUpdate".to_owned());
        }
        if let Some(manager) = &workload.paused_by_manifest {
            problems.push(format!("the manifest of the Deployment sets spec.paused ({manager}); remove the field from it, Crossfade sets and clears it"));
        }
        if let Some(other) = &workload.claimed_by {
            problems.push(format!(
                "the Deployment is claimed by {other}; let only one tool release it"
            ));
        }
        if workload.replicas == 0 && workload.claimed_by.is_none() {
            problems.push("spec.replicas of the Deployment is 0; scale it up, so that there is something to compare with".to_owned());
        }
        match self.active_sets().as_slice() {
            // Its last pods end, and the paused Deployment starts another: what is left will not serve.
            [ending] if ending.replicas == 0 && workload.replicas > 0 => problems.push(format!(
                "ReplicaSet {} is scaled to 0 and its last pods end: an earlier rollout has not ended; let it end first",
                ending.name
            )),
            [_] => {}
            [] if workload.replicas == 0 => {}
            [] => problems.push("no ReplicaSet of the Deployment has pods; wait until one does".to_owned()),
            several => problems.push(format!(
                "{} ReplicaSets of the Deployment have pods: an earlier rollout was stopped half-way; push one of their templates again, kubectl rollout resume, let that end, then release this one",
                several.len()
            )),
        }
        let in_front = |service: &&Service| {
            let named = self.validated.plan.service.as_deref() == Some(&service.name);
            !service.deleting && (service.selects_workload || named)
        };
        for service in self.seen.services.iter().filter(in_front) {
            if service.held_by_other.is_some() {
                continue;
            }
            if let Some(refusal) = &service.refusal {
                problems.push(format!("Service {}: {refusal}", service.name));
            } else if service.pinned_to.is_some() && !self.is_ours(service) {
                problems.push(format!(
                    "spec.selector of Service {} names pod-template-hash, a label that only Kubernetes sets and that each release changes; remove it from the selector",
                    service.name
                ));
            }
        }
        if let Some(wanted) = &self.validated.plan.service
            && !self
                .seen
                .services
                .iter()
                .any(|service| service.name == *wanted && service.selects_workload)
        {
            problems.push(format!(
                "spec.traffic.service: \"{wanted}\" is not a Service that selects the pods of the Deployment; correct the name or its selector"
            ));
        }
        if let Some(wanted) = self
            .validated
            .plan
            .blue_green
            .as_ref()
            .and_then(|plan| plan.preview.as_ref())
        {
            let mut in_front = self.seen.services.iter().filter(in_front);
            let named = in_front
                .clone()
                .any(|service| service.name == *wanted && service.selects_workload);
            if !named {
                problems.push(format!(
                    "spec.strategy.blueGreen.previewService: \"{wanted}\" is not a Service that selects the pods of the Deployment; create it with the Deployment's selector, or correct the name"
                ));
            } else if in_front.all(|service| service.name == *wanted) {
                problems.push(format!(
                    "spec.strategy.blueGreen.previewService: \"{wanted}\" is the only Service in front of the Deployment; a preview needs a Service of its own"
                ));
            }
        }
        for service in self
            .seen
            .services
            .iter()
            .filter(|service| service.selects_workload)
        {
            if let Some(uid) = &service.held_by_other {
                problems.push(format!("Service {} is held by the release of another Deployment (uid {uid}); wait until that ends", service.name));
            }
        }
        if self.validated.plan.analysis.scrape
            && self.validated.plan.analysis.pods.port.is_none()
            && !names_port(&workload.template)
        {
            problems.push(
                "no metrics port is known; annotate the pod template with prometheus.io/port, set spec.analysis.pods.port, or do without metrics by spec.analysis.source: none (annotation crossfade.dev/analysis: none)"
                    .to_owned(),
            );
        }
        problems
    }

    /// Memory lost with a candidate present: roll back, or finish a hand-over that had begun to park.
    fn recover_memory(&mut self, workload: &Workload) -> bool {
        let parked = self.seen.parked_replica_sets().next().is_some();
        let parallel = self
            .seen
            .parallels
            .iter()
            .find(|parallel| !parallel.deleting);
        // Parked is also what came up in the place of a stable that was deleted. The hand-over pauses the
        // parallel Deployment before it parks; and once that is gone, what serves is not stable.
        let remade = self.seen.own_replica_sets().find(|set| {
            let stables = |kept: &&KeptTemplate| {
                kept.hash == set.hash && same_template(&kept.template, &set.template)
            };
            set.replicas > 0 && self.seen.kept.iter().any(|kept| stables(&kept))
        });
        // At rest by a phase that is remembered nothing was forgotten: two that have pods are a rollout of the
        // Deployment's own that another template has stopped.
        let forgotten = self.memory.phase_since.is_none();
        let strays =
            forgotten && workload.paused && remade.is_some() && self.active_sets().len() > 1;
        if !parked && parallel.is_none() && !strays {
            return false;
        }
        let parked = parked
            && match parallel {
                Some(parallel) => parallel.paused,
                None => remade.is_none(),
            };
        let kept = parallel.and_then(|parallel| parallel.originals.clone());
        let read = |key: &str| kept.as_ref().and_then(|kept| kept.get(key)).cloned();
        let mut release: Release = read("release")
            .and_then(|value| serde_json::from_value(value).ok())
            .unwrap_or_default();
        let originals: std::collections::BTreeMap<String, Original> = read("originals")
            .and_then(|value| serde_json::from_value(value).ok())
            .unwrap_or_default();
        let of_stable = |kept: &&KeptTemplate| remade.is_none_or(|set| set.hash == kept.hash);
        if let Some(kept) = self.seen.kept.iter().find(of_stable) {
            kept.candidate.clone_into(&mut release.candidate);
        }
        if let Some(parallel) = parallel {
            parallel.name.clone_into(&mut release.parallel);
            parallel.candidate.clone_into(&mut release.candidate);
            release.fingerprint = identity::fingerprint(&parallel.template);
        }
        if release.plan == crate::validated::Plan::default() {
            release.plan = self.validated.plan.clone();
        }
        if release.stable.uid.is_empty()
            && let Some(stable) = remade.or(match self.active_sets().as_slice() {
                [only] => Some(*only),
                _ => None,
            })
            && !parked
        {
            release.stable = Side {
                name: stable.name.clone(),
                uid: stable.uid.clone(),
                hash: stable.hash.clone(),
                images: images(&stable.template),
            };
        }
        if parked && release.set.is_none() {
            // Until the transfer it is the parallel Deployment's; the Deployment's own may still be
            // stable's then, if parking had only begun.
            let of = |wanted: &Owner| {
                let sets = &self.seen.replica_sets;
                sets.iter()
                    .find(|set| set.owner == *wanted && set.replicas > 0)
            };
            let before = parallel.and_then(|parallel| of(&Owner::Parallel(parallel.uid.clone())));
            release.set = before.or_else(|| of(&Owner::Workload)).map(|set| Side {
                name: set.name.clone(),
                uid: set.uid.clone(),
                hash: set.hash.clone(),
                images: images(&set.template),
            });
        }
        release.weighted = true;
        release.strays = strays;
        self.memory = Memory {
            workload_uid: workload.uid.clone(),
            release: Some(release),
            originals,
            control: self.memory.control.clone(),
            handled: self.memory.handled.clone(),
            consumed: self.memory.consumed.clone(),
            history: std::mem::take(&mut self.memory.history),
            rejected: std::mem::take(&mut self.memory.rejected),
            taken_away: std::mem::take(&mut self.memory.taken_away),
            served: std::mem::take(&mut self.memory.served),
            ..Memory::default()
        };
        if parked {
            self.event(true, "MemoryLost", "what was remembered about the release is gone; its hand-over had begun and is finished".to_owned());
            self.enter(Phase::HandingOver);
            self.handing_over(workload);
        } else {
            self.roll_back(
                memory::Cause::Interrupted,
                "what was remembered about the release is gone; the candidate is taken away"
                    .to_owned(),
            );
            self.rolling_back(workload);
        }
        true
    }
}

/// Whether the pods say where their metrics are: by the port annotation, or by asking to be scraped
/// with one container port to choose from.
fn names_port(template: &serde_json::Value) -> bool {
    let annotation = |key: &str| {
        template
            .pointer("/metadata/annotations")
            .and_then(|map| map.get(key))
            .and_then(serde_json::Value::as_str)
    };
    let containers = template
        .pointer("/spec/containers")
        .and_then(serde_json::Value::as_array);
    let ports = containers.map_or(0, |containers| {
        containers
            .iter()
            .filter_map(|container| container.get("ports").and_then(serde_json::Value::as_array))
            .map(Vec::len)
            .sum()
    });
    annotation("prometheus.io/port").is_some()
        || (annotation("prometheus.io/scrape") == Some("true") && ports == 1)
}

/// A name cut to at most `length` characters that still ends in a letter or digit.
fn cut(name: &str, length: usize) -> &str {
    let end = name
        .char_indices()
        .nth(length)
        .map_or(name.len(), |(index, _)| index);
    name.get(..end).unwrap_or(name).trim_end_matches(['-', '.'])
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn cut_names_end_well() {
        assert_eq!(cut("web", 36), "web");
        assert_eq!(cut("a-b", 2), "a");
        assert_eq!(cut("payments.v2.backend", 9), "payments");
    }
}
