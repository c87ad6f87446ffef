//! Moving and checking the split over the Services of a release.
//!
//! A split is one effect over all of them. Before the first write to a Service what its users left
//! in managedFields goes into memory; after each write it is put back.

use crossfade_api::Weight;

use crate::effect::{Effect, ServiceWrite, SplitTo, Target};
use crate::memory::Original;
use crate::observed::{Pod, Service};
use crate::sides::in_service;
use crate::step::{Pass, after};

/// How long clients of a headless Service may go by an old answer, in milliseconds: the time to live that
/// clusters commonly give their names (`ttl 30` of CoreDNS's kubernetes plugin).
const NAMES_ARE_CACHED: u64 = 30_000;

/// What a split looks like from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    Yes,
    /// Why not yet.
    NotYet(String),
}

impl<'a> Pass<'a> {
    /// The Services of the release: those that select the workload's pods and those that carry our mark.
    pub(crate) fn services(&self) -> impl Iterator<Item = &'a Service> {
        let named = self
            .memory
            .release
            .as_ref()
            .and_then(|release| release.plan.service.clone());
        let preview = self.preview_name();
        self.seen.services.iter().filter(move |service| {
            // A Service named in the plan is the one the shares are about; every other one that
            // selects the pods must move with it, or it would mix unjudged pods in.
            !service.deleting
                && preview.as_deref() != Some(&service.name)
                && (service.selects_workload
                    || service.held
                    || named.as_deref() == Some(&service.name))
                && service.held_by_other.is_none()
                // Pinned, it would serve nobody or cut others off. What we hold already stays ours.
                && (service.refusal.is_none() || service.held)
        })
    }

    /// A Service in front of the workload that cannot be used: why, and the mend.
    pub(crate) fn unusable_service(&self) -> Option<String> {
        let of_workload = |service: &&Service| {
            !service.deleting && service.selects_workload && service.held_by_other.is_none()
        };
        (self.seen.services.iter())
            .filter(of_workload)
            .find_map(|service| service.refusal.clone())
    }

    /// Where a weight points the Services.
    pub(crate) fn split_for(&self, weight: Weight) -> Option<SplitTo> {
        let release = self.memory.release.as_ref()?;
        Some(if weight == Weight::ZERO {
            SplitTo::Stable {
                hash: release.stable.hash.clone(),
            }
        } else if weight == Weight::FULL {
            SplitTo::Candidate {
                hash: self.candidate_hash()?,
            }
        } else {
            SplitTo::Both
        })
    }

    /// Whether every Service is written as `to` says.
    pub(crate) fn is_written(&self, to: &SplitTo) -> bool {
        self.services().all(|service| points(service, to))
    }

    /// What Services have to be while no new weight may be given yet: as the others of the release are,
    /// or on stable before any weight. So one that appears or is rewritten meanwhile serves nothing
    /// that was not to serve.
    pub(crate) fn split_to_hold(&self) -> Option<SplitTo> {
        let release = self.memory.release.as_ref()?;
        let stable = SplitTo::Stable {
            hash: release.stable.hash.clone(),
        };
        let on_stable = self.services().any(|service| points(service, &stable));
        if !release.shifted || on_stable {
            return Some(stable);
        }
        let all = SplitTo::Candidate {
            hash: self.candidate_hash()?,
        };
        let on_candidate = self.services().any(|service| points(service, &all));
        // Where all is moved at once there is no both: stable has it, unless the others show that the candidate does.
        let before = (release.step.checked_sub(1))
            .map_or(Weight::ZERO, |before| release.plan.weight_at(before));
        let at_once =
            before == Weight::ZERO && release.plan.weight_at(release.step) == Weight::FULL;
        Some(match (on_candidate, at_once) {
            (true, _) => all,
            (false, true) => stable,
            (false, false) => SplitTo::Both,
        })
    }

    /// Writes the split where it is not written yet. Returns whether nothing was left to write.
    pub(crate) fn write_split(&mut self, to: SplitTo) -> bool {
        let services: Vec<ServiceWrite> = self
            .services()
            .filter(|service| !points(service, &to))
            .map(|service| self.service_write(service))
            .collect();
        if services.is_empty() {
            return true;
        }
        self.emit(Effect::Split { services, to });
        false
    }

    /// Whether a Service carries our mark, or one of this release's hashes without it: somebody may
    /// have taken the label off and left the key.
    pub(crate) fn is_ours(&self, service: &Service) -> bool {
        let hash_of_ours = || {
            let stable = self
                .memory
                .release
                .as_ref()
                .map(|release| release.stable.hash.clone());
            let pinned = service.pinned_to.as_ref().filter(|hash| !hash.is_empty());
            pinned.is_some()
                && (pinned == stable.as_ref() || pinned == self.candidate_hash().as_ref())
        };
        service.held || (service.held_by_other.is_none() && hash_of_ours())
    }

    /// Gives the Services of this release back. Returns whether nothing was left to write.
    pub(crate) fn release_services(&mut self) -> bool {
        let released = self.ours_released();
        let nothing = released.is_none();
        if let Some(effect) = released {
            self.emit(effect);
        }
        nothing
    }

    /// The same past the fence: an unpaused workload and a pin must not coexist.
    pub(crate) fn give_ours_back_at_once(&mut self) -> bool {
        let released = self.ours_released();
        let nothing = released.is_none();
        if let Some(effect) = released {
            self.emit_at_once(effect);
        }
        nothing
    }

    fn ours_released(&self) -> Option<Effect> {
        let services: Vec<ServiceWrite> = self
            .seen
            .services
            .iter()
            .filter(|service| self.is_ours(service))
            .map(|service| self.service_write(service))
            .collect();
        let to = SplitTo::Released;
        (!services.is_empty()).then_some(Effect::Split { services, to })
    }

    /// Gives back the Services of this workload, of its former life, and those that nobody holds any
    /// more. No fence holds that up, because what is pinned may serve nobody. Returns whether nothing
    /// was left to write.
    pub(crate) fn give_all_back(&mut self) -> bool {
        self.give_back(|pass, service| {
            let former = &pass.memory.workload_uid;
            pass.is_ours(service)
                || service.holder_gone
                || (!former.is_empty() && service.held_by_other.as_ref() == Some(former))
        })
    }

    /// Gives back the Services whose mark names a workload that is gone: its Rollout and all memory
    /// went with it, so that nobody else will. Returns whether nothing was left to write.
    pub(crate) fn give_leftovers_back(&mut self) -> bool {
        self.give_back(|_, service| service.holder_gone)
    }

    fn give_back(&mut self, whose: impl Fn(&Self, &Service) -> bool) -> bool {
        let services: Vec<ServiceWrite> = self
            .seen
            .services
            .iter()
            .filter(|service| whose(self, service))
            .map(|service| self.service_write(service))
            .collect();
        let nothing = services.is_empty();
        if !nothing {
            self.emit_at_once(Effect::GiveBack { services });
        }
        nothing
    }

    pub(crate) fn service_write(&self, service: &Service) -> ServiceWrite {
        let remembered = || {
            self.memory
                .originals
                .get(&service.name)
                .filter(|original| original.uid == service.uid)
                .map(|original| &original.managed_fields)
        };
        ServiceWrite {
            service: target(&service.name, &service.uid, &service.resource_version),
            from: service.pinned_to.clone(),
            held: service.held || service.held_by_other.is_some(),
            managed_fields: (service.users_managed_fields())
                .or_else(remembered)
                // The memory was lost between our two writes: what is there without us comes closest.
                .unwrap_or(&service.other_managed_fields)
                .clone(),
        }
    }

    /// Remembers managedFields as their users left them. Called before any split is written, so that
    /// they are in the status when the first write goes out.
    pub(crate) fn remember_originals(&mut self) {
        let seen: Vec<(String, Original)> = self
            .services()
            .chain(self.previews())
            .filter_map(|service| {
                Some((
                    service.name.clone(),
                    Original {
                        uid: service.uid.clone(),
                        managed_fields: service.users_managed_fields()?.clone(),
                        written: false,
                    },
                ))
            })
            .collect();
        for (name, mut original) in seen {
            original.written = self.was_written(&name, &original.uid);
            // Times in managedFields move with every re-apply; only who owns what is worth a write.
            let changed = self.memory.originals.get(&name).is_none_or(|known| {
                known.uid != original.uid
                    || without_times(&known.managed_fields)
                        != without_times(&original.managed_fields)
            });
            if changed {
                self.memory.originals.insert(name, original);
            }
        }
    }

    pub(crate) fn was_written(&self, service: &str, uid: &str) -> bool {
        let original = self.memory.originals.get(service);
        original.is_some_and(|original| original.uid == uid && original.written)
    }

    /// Notes that the split of this step stands on every Service.
    pub(crate) fn note_written(&mut self) {
        let names: Vec<String> = self
            .services()
            .map(|service| service.name.clone())
            .collect();
        for name in names {
            if let Some(original) = self.memory.originals.get_mut(&name) {
                original.written = true;
            }
        }
        if let Some(release) = self.memory.release.as_mut() {
            release.written_step = Some(release.step);
        }
    }

    /// Puts managedFields back where a write of ours was cut short. Returns whether nothing was left.
    pub(crate) fn restore_managed_fields(&mut self) -> bool {
        let cut_short: Vec<Effect> = self
            .seen
            .services
            .iter()
            .filter(|service| {
                !service.deleting && service.in_managed_fields && service.held_by_other.is_none()
            })
            .map(|service| {
                let original = self
                    .memory
                    .originals
                    .get(&service.name)
                    .filter(|original| original.uid == service.uid)
                    .map_or(&service.other_managed_fields, |original| {
                        &original.managed_fields
                    });
                Effect::RestoreManagedFields {
                    service: target(&service.name, &service.uid, &service.resource_version),
                    managed_fields: original.clone(),
                }
            })
            .collect();
        let nothing = cut_short.is_empty();
        for effect in cut_short {
            self.emit(effect);
        }
        nothing
    }

    /// Whether endpoints agree with the split: what proxies are told, not what was written.
    pub(crate) fn settled(&self, to: &SplitTo) -> Settled {
        let candidate: Vec<&str> = self.candidate_pods().map(|pod| pod.uid.as_str()).collect();
        for service in self.services() {
            if !points(service, to) {
                return Settled::NotYet(format!("Service {} is not written yet", service.name));
            }
            let missing = |uids: Vec<&str>| -> Option<usize> {
                let missing = uids
                    .iter()
                    .filter(|uid| !service.ready_endpoints.iter().any(|ready| ready == *uid))
                    .count();
                (missing > 0).then_some(missing)
            };
            let ready_candidate: Vec<&str> = self
                .candidate_pods()
                .filter(|pod| in_service(pod))
                .map(|pod| pod.uid.as_str())
                .collect();
            let ready_stable: Vec<&str> = self
                .stable_pods()
                .filter(|pod| in_service(pod))
                .map(|pod| pod.uid.as_str())
                .collect();
            let is_candidate = |uid: &String| candidate.contains(&uid.as_str());
            let (wanted, wrong): (Vec<&str>, usize) = match to {
                SplitTo::Stable { .. } => (
                    ready_stable,
                    service
                        .ready_endpoints
                        .iter()
                        .filter(|uid| is_candidate(uid))
                        .count(),
                ),
                SplitTo::Candidate { .. } => (
                    ready_candidate,
                    service
                        .ready_endpoints
                        .iter()
                        .filter(|uid| !is_candidate(uid))
                        .count(),
                ),
                SplitTo::Both => (ready_candidate.into_iter().chain(ready_stable).collect(), 0),
                SplitTo::Released => (Vec::new(), 0),
            };
            if let Some(missing) = missing(wanted) {
                return Settled::NotYet(format!(
                    "endpoints of Service {} lack {missing} ready pods",
                    service.name
                ));
            }
            if wrong > 0 {
                return Settled::NotYet(format!(
                    "endpoints of Service {} still hold {wrong} pods of the other side",
                    service.name
                ));
            }
        }
        Settled::Yes
    }

    /// Whether proxies are still told of a pod of the candidate.
    pub(crate) fn candidate_in_endpoints(&self) -> bool {
        self.services().any(|service| self.names_candidate(service))
    }

    /// The same of stable.
    pub(crate) fn stable_in_endpoints(&self) -> bool {
        self.stable_pods().any(|pod| {
            self.services()
                .any(|service| service.ready_endpoints.contains(&pod.uid))
        })
    }

    /// What is waited for while pods of a side end: a Service that publishes pods that are not ready, or has a Local policy,
    /// sends to them to the last. Those that have failed answer nobody, and may stay for ever.
    pub(crate) fn sent_to_the_ending(
        &self,
        mut pods: impl Iterator<Item = &'a Pod>,
    ) -> Option<String> {
        let to_the_ending = |service: &Service| service.publish_not_ready || service.local_policy;
        let service = self.services().find(|service| to_the_ending(service))?;
        let pod = pods.find(|pod| !pod.finished)?;
        Some(format!(
            "pod {} to be gone: Service {} publishes pods that are not ready, or has a Local policy (if its node is lost: kubectl delete pod {} --force)",
            pod.name, service.name, pod.name
        ))
    }

    /// Whether endpoints of a Service name a pod of the candidate.
    pub(crate) fn names_candidate(&self, service: &Service) -> bool {
        let mut pods = self.candidate_pods();
        pods.any(|pod| service.ready_endpoints.contains(&pod.uid))
    }

    /// A Service that appears in mid-release may name a pod of the candidate before it is pinned: then its
    /// end needs a drain.
    pub(crate) fn note_served(&mut self) {
        let served = self.candidate_in_endpoints();
        if let Some(release) = self.memory.release.as_mut() {
            release.weighted |= served;
        }
    }

    /// The candidate's share as it is written now.
    pub(crate) fn written_weight(&self) -> Weight {
        let Some(release) = self.memory.release.as_ref() else {
            return Weight::ZERO;
        };
        let mut services = self.services().peekable();
        if services.peek().is_none() {
            // Nothing stands in front: pods take work as they are, and the share is theirs.
            return self.share_of_pods();
        }
        let hash = self.candidate_hash();
        let mut highest = Weight::ZERO;
        for service in services {
            let weight = match &service.pinned_to {
                Some(pinned) if *pinned == release.stable.hash => Weight::ZERO,
                Some(pinned) if Some(pinned) == hash.as_ref() => Weight::FULL,
                Some(_) => Weight::ZERO,
                None => self.share_of_pods(),
            };
            highest = highest.max(weight);
        }
        highest
    }

    /// Whether everything goes to the candidate because it is written so, not because stable has no
    /// ready pod just now.
    pub(crate) fn flipped(&self) -> bool {
        let hash = self.candidate_hash();
        hash.is_some() && self.services().any(|service| service.pinned_to == hash)
    }

    /// How long a change of endpoints takes to be known everywhere, in milliseconds.
    pub(crate) fn settle_floor(&self) -> u64 {
        let floor = (self.memory.release.as_ref()).map_or(0, |release| release.plan.settle_floor);
        if self.services().any(|service| service.headless) {
            floor.max(NAMES_ARE_CACHED)
        } else {
            floor
        }
    }

    /// Waits for endpoints and the settle floor. Returns whether both are there.
    pub(crate) fn settle(&mut self, to: &SplitTo) -> Result<bool, String> {
        let now = self.now;
        let settled = self.settled(to);
        let floor = self.settle_floor();
        let Some(release) = self.memory.release.as_mut() else {
            return Ok(false);
        };
        match settled {
            Settled::NotYet(why) => {
                release.agreed_since = None;
                Err(why)
            }
            Settled::Yes => {
                let since = *release.agreed_since.get_or_insert(now);
                if now >= after(since, floor) {
                    Ok(true)
                } else {
                    self.wake(after(since, floor));
                    Ok(false)
                }
            }
        }
    }
}

pub(crate) fn points(service: &Service, to: &SplitTo) -> bool {
    match to {
        SplitTo::Stable { hash } | SplitTo::Candidate { hash } => {
            service.held && service.pinned_to.as_ref() == Some(hash)
        }
        SplitTo::Both => service.held && service.pinned_to.is_none(),
        SplitTo::Released => !service.held && service.pinned_to.is_none(),
    }
}

pub(crate) fn target(name: &str, uid: &str, resource_version: &str) -> Target {
    Target {
        name: name.to_owned(),
        uid: uid.to_owned(),
        resource_version: resource_version.to_owned(),
    }
}

fn without_times(managed_fields: &serde_json::Value) -> Vec<serde_json::Value> {
    managed_fields
        .as_array()
        .map(|entries| {
            entries
                .iter()
                .map(|entry| {
                    let mut entry = entry.clone();
                    if let Some(map) = entry.as_object_mut() {
                        map.remove("time");
                    }
                    entry
                })
                .collect()
        })
        .unwrap_or_default()
}
