//! What Kubernetes' own controllers do in the world: Deployments (paused ones too, with the measured
//! traps), ReplicaSets, EndpointSlices, the scheduler, garbage collection.

use std::collections::BTreeSet;

use crossfade_engine::observed::PodTrouble;

use crate::world::{Dep, Own, PodState, Set, World, hash, image, same};

/// The scheduler's word for a pod that fits nowhere.
const UNSCHEDULABLE: &str = "Unschedulable";

/// Which controllers get to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awake {
    pub deployments: bool,
    pub sets: bool,
    pub rest: bool,
}

impl Awake {
    pub const ALL: Self = Self {
        deployments: true,
        sets: true,
        rest: true,
    };
}

impl World {
    /// Lets the controllers work until nothing moves any more at this moment.
    pub fn react(&mut self, awake: Awake) {
        for _ in 0..200 {
            let before = (self.counter, self.moves);
            if awake.rest {
                self.collect();
            }
            if awake.deployments && !self.deployments_rest {
                // A parallel Deployment first: it is as quick to adopt as the workload.
                for index in 0..self.parallels.len() {
                    let parallel = self.parallels[index].clone();
                    self.parallels[index] = self.sync(parallel);
                }
                if let Some(web) = self.workload.take() {
                    self.workload = Some(self.sync(web));
                }
            }
            if awake.sets {
                for index in 0..self.sets.len() {
                    self.sync_set(index);
                }
            }
            if awake.rest {
                self.schedule();
            }
            self.pods_move();
            if awake.rest {
                self.endpoints();
            }
            if before == (self.counter, self.moves) {
                return;
            }
        }
        panic!("the model's controllers do not come to rest");
    }

    fn collect(&mut self) {
        let now = self.now;
        let due: Vec<String> = self
            .doomed
            .iter()
            .filter(|(at, _)| *at <= now)
            .map(|(_, uid)| uid.clone())
            .collect();
        self.doomed.retain(|(at, _)| *at > now);
        self.moves += u64::from(!due.is_empty());
        for uid in due {
            if let Some(parallel) = self
                .parallels
                .iter()
                .find(|known| known.uid == uid)
                .cloned()
            {
                if parallel.deleting {
                    // Orphan: what it still owns is set free.
                    for set in &mut self.sets {
                        if set.own == Own::Deployment(uid.clone()) {
                            set.own = Own::Nobody;
                        }
                    }
                    self.parallels.retain(|known| known.uid != uid);
                } else {
                    self.delete_parallel(&uid);
                }
            } else if let Some(set) = self.sets.iter().find(|set| set.uid == uid) {
                // The collector asks the server once more: what has another owner by now stays.
                let exists = |owner: &String| {
                    let mut all = self.workload.iter().chain(&self.parallels);
                    all.any(|known| known.uid == *owner)
                };
                match &set.own {
                    Own::Deployment(owner) if !exists(owner) => {}
                    _ => continue,
                }
                self.sets.retain(|set| set.uid != uid);
                self.doomed.push((now + 1000, uid));
            } else {
                let grace = self.grace;
                for pod in self
                    .pods
                    .iter_mut()
                    .filter(|pod| pod.set == uid && pod.gone_at.is_none())
                {
                    pod.gone_at = Some(now + grace);
                }
            }
        }
    }

    /// The Deployment controller looks at the workload once; nobody else does anything.
    pub fn sync_workload(&mut self) {
        if let Some(web) = self.workload.take() {
            let web = self.sync(web);
            self.workload = Some(web);
        }
    }

    fn sync(&mut self, dep: Dep) -> Dep {
        let before = dep.clone();
        let mut dep = dep;
        let owner = Own::Deployment(dep.uid.clone());
        if !dep.deleting {
            for index in 0..self.sets.len() {
                if self.sets[index].own == Own::Nobody {
                    let rv = self.rv();
                    self.sets[index].own = owner.clone();
                    self.sets[index].rv = rv;
                }
            }
            self.roll(&mut dep, &owner);
        }
        let own: Vec<&Set> = self.sets.iter().filter(|set| set.own == owner).collect();
        dep.status_replicas = own.iter().map(|set| set.status_replicas).sum();
        dep.failure = own.iter().find_map(|set| set.failure.clone());
        dep.observed = dep.generation;
        if dep != before {
            dep.rv = self.rv();
        }
        dep
    }

    fn roll(&mut self, dep: &mut Dep, owner: &Own) {
        let mut own: Vec<usize> = (0..self.sets.len())
            .filter(|index| self.sets[*index].own == *owner)
            .collect();
        own.sort_by_key(|index| (self.sets[*index].created, self.sets[*index].name.clone()));
        let mut new = own
            .iter()
            .copied()
            .find(|index| same(&self.sets[*index].template, &dep.template));
        if new.is_none() && !dep.paused {
            new = Some(self.create_set(dep, owner));
            own.extend(new);
        }
        let newest = own
            .iter()
            .map(|index| self.sets[*index].revision)
            .max()
            .unwrap_or(0);
        if let Some(new) = new {
            let top = own
                .iter()
                .filter(|index| **index != new)
                .map(|index| self.sets[*index].revision)
                .max()
                .unwrap_or(0);
            if self.sets[new].revision <= top || self.sets[new].revision == 0 {
                let rv = self.rv();
                self.sets[new].revision = newest + 1;
                self.sets[new].rv = rv;
            }
            dep.revision = self.sets[new].revision;
            if dep.bypass.is_some() && self.sets[new].bypass != dep.bypass {
                let rv = self.rv();
                self.sets[new].bypass.clone_from(&dep.bypass);
                self.sets[new].rv = rv;
            }
        }
        if dep.paused {
            self.scale(dep, &own, new);
        } else if let Some(new) = new {
            self.rolling(dep, &own, new);
        }
        // History beyond the limit, oldest first.
        let empty: Vec<String> = own
            .iter()
            .filter(|index| Some(**index) != new)
            .map(|index| &self.sets[*index])
            .filter(|set| {
                set.replicas == 0 && set.status_replicas == 0 && set.observed >= set.generation
            })
            .map(|set| set.uid.clone())
            .collect();
        let surplus = empty.len().saturating_sub(dep.history_limit);
        let doomed: BTreeSet<String> = empty.into_iter().take(surplus).collect();
        self.sets.retain(|set| !doomed.contains(&set.uid));
    }

    /// `scale()` of the Deployment controller, which runs while paused.
    fn scale(&mut self, dep: &Dep, own: &[usize], new: Option<usize>) {
        let active: Vec<usize> = own
            .iter()
            .copied()
            .filter(|index| self.sets[*index].replicas > 0)
            .collect();
        match active.as_slice() {
            [] => {
                if let Some(latest) = new.or_else(|| own.last().copied()) {
                    self.resize(latest, dep.replicas, dep);
                }
            }
            [only] => self.resize(*only, dep.replicas, dep),
            several => {
                if let Some(new) = new
                    && self.sets[new].replicas == dep.replicas
                    && self.sets[new].desired == dep.replicas
                    && self.sets[new].available == dep.replicas
                {
                    for old in several.iter().filter(|index| **index != new) {
                        self.resize(*old, 0, dep);
                    }
                    return;
                }
                let total = dep.replicas + dep.surge;
                let sum: u32 = several.iter().map(|index| self.sets[*index].replicas).sum();
                let mut rest = i64::from(total) - i64::from(sum);
                let mut order = several.to_vec();
                order.sort_by_key(|index| std::cmp::Reverse(self.sets[*index].replicas));
                for index in &order {
                    let set = &self.sets[*index];
                    let maximum = i64::from(set.maximum.max(1));
                    let size = i64::from(set.replicas);
                    let part = (size * i64::from(total) * 2 + maximum) / (2 * maximum) - size;
                    let part = if rest >= 0 {
                        part.clamp(0, rest)
                    } else {
                        part.clamp(rest, 0)
                    };
                    rest -= part;
                    self.resize(
                        *index,
                        u32::try_from((size + part).max(0)).unwrap_or(0),
                        dep,
                    );
                }
                if let Some(first) = order.first() {
                    let size = i64::from(self.sets[*first].replicas) + rest;
                    self.resize(*first, u32::try_from(size.max(0)).unwrap_or(0), dep);
                }
            }
        }
    }

    fn rolling(&mut self, dep: &Dep, own: &[usize], new: usize) {
        let total: u32 = own.iter().map(|index| self.sets[*index].replicas).sum();
        let size = self.sets[new].replicas;
        if size > dep.replicas {
            self.resize(new, dep.replicas, dep);
        } else if size < dep.replicas {
            let room = (dep.replicas + dep.surge).saturating_sub(total);
            let up = room.min(dep.replicas - size);
            self.resize(new, size + up, dep);
        }
        let total: u32 = own.iter().map(|index| self.sets[*index].replicas).sum();
        let set = &self.sets[new];
        let missing = set.replicas.saturating_sub(set.available);
        let mut spare = total
            .saturating_sub(dep.replicas.saturating_sub(dep.unavailable))
            .saturating_sub(missing);
        for old in own.iter().filter(|index| **index != new) {
            let size = self.sets[*old].replicas;
            let down = size.min(spare);
            spare -= down;
            if down > 0 {
                self.resize(*old, size - down, dep);
            }
        }
    }

    fn resize(&mut self, index: usize, to: u32, dep: &Dep) {
        if self.sets[index].replicas == to {
            return;
        }
        let rv = self.rv();
        let set = &mut self.sets[index];
        set.replicas = to;
        set.generation += 1;
        set.desired = dep.replicas;
        set.maximum = dep.replicas + dep.surge;
        set.rv = rv;
    }

    fn create_set(&mut self, dep: &Dep, owner: &Own) -> usize {
        let uid = self.id("rs");
        let rv = self.rv();
        let mut hash = hash(&dep.template);
        while self
            .sets
            .iter()
            .any(|set| set.name == format!("{}-{hash}", dep.name))
        {
            hash.push('x');
        }
        let mut template = dep.template.clone();
        template["metadata"]["labels"]["pod-template-hash"] = hash.clone().into();
        self.sets.push(Set {
            name: format!("{}-{hash}", dep.name),
            uid,
            rv,
            created: self.now,
            own: owner.clone(),
            hash,
            generation: 1,
            observed: 0,
            replicas: 0,
            status_replicas: 0,
            available: 0,
            template,
            bypass: dep.bypass.clone(),
            revision: 0,
            desired: dep.replicas,
            maximum: dep.replicas + dep.surge,
            failure: None,
        });
        self.sets.len() - 1
    }

    fn sync_set(&mut self, index: usize) {
        let set = self.sets[index].clone();
        let mut mine: Vec<usize> = (0..self.pods.len())
            .filter(|pod| {
                let pod = &self.pods[*pod];
                pod.set == set.uid && pod.gone_at.is_none() && !pod.finished
            })
            .collect();
        let wanted = set.replicas as usize;
        let mut failure = None;
        if mine.len() < wanted {
            for _ in mine.len()..wanted {
                let running = self.pods.iter().filter(|pod| pod.gone_at.is_none()).count();
                if self.quota.is_some_and(|quota| running >= quota) {
                    failure = Some(
                        "FailedCreate: pods \"web\" is forbidden: exceeded quota: pods".to_owned(),
                    );
                    break;
                }
                self.create_pod(&set);
            }
        } else if mine.len() > wanted {
            // Not ready ones first, then the youngest.
            mine.sort_by_key(|pod| {
                (
                    self.pods[*pod].ready,
                    std::cmp::Reverse(self.pods[*pod].created),
                    self.pods[*pod].name.clone(),
                )
            });
            let gone = self.now + self.grace;
            for pod in mine.iter().take(mine.len() - wanted) {
                self.pods[*pod].gone_at = Some(gone);
            }
        }
        let mine: Vec<&PodState> = self
            .pods
            .iter()
            .filter(|pod| pod.set == set.uid && pod.gone_at.is_none() && !pod.finished)
            .collect();
        let counts = (
            u32::try_from(mine.len()).unwrap_or(0),
            u32::try_from(mine.iter().filter(|pod| pod.ready).count()).unwrap_or(0),
        );
        let now = (
            set.status_replicas,
            set.available,
            set.observed,
            set.failure.clone(),
        );
        if now != (counts.0, counts.1, set.generation, failure.clone()) {
            let rv = self.rv();
            let set = &mut self.sets[index];
            (set.status_replicas, set.available) = counts;
            set.observed = set.generation;
            set.failure = failure;
            set.rv = rv;
        }
    }

    fn create_pod(&mut self, set: &Set) {
        let uid = self.id("pod");
        let image = image(&set.template);
        let manner = self.manner(&image);
        let trouble = manner.crash.then(|| PodTrouble {
            container: "app".to_owned(),
            reason: "CrashLoopBackOff".to_owned(),
            message: "it ended with Error (exit code 1)".to_owned(),
        });
        let pending = self.room.map(|_| PodTrouble {
            container: String::new(),
            reason: UNSCHEDULABLE.to_owned(),
            message: "0/2 nodes are available: 2 Insufficient cpu".to_owned(),
        });
        self.pods.push(PodState {
            name: format!("{}-{}", set.name, uid.trim_start_matches("pod-")),
            set: set.uid.clone(),
            set_name: set.name.clone(),
            hash: set.hash.clone(),
            image,
            created: self.now,
            ready_at: manner
                .start
                .filter(|_| !manner.crash && pending.is_none())
                .map(|start| self.now + start),
            ready: false,
            ready_since: 0,
            gone_at: None,
            finished: false,
            restarts: 0,
            trouble: pending.or(trouble),
            last_served: None,
            uid,
        });
    }

    /// Pending pods get a node as soon as there is room, in their order. A pod that ends has its room until it is gone.
    fn schedule(&mut self) {
        let waits = |pod: &PodState| {
            let trouble = pod.trouble.as_ref();
            trouble.is_some_and(|trouble| trouble.reason == UNSCHEDULABLE)
        };
        let mut placed = self.pods.iter().filter(|pod| !waits(pod)).count();
        for index in 0..self.pods.len() {
            let pod = &self.pods[index];
            if !waits(pod) || pod.gone_at.is_some() || self.room.is_some_and(|room| placed >= room)
            {
                continue;
            }
            let start = self.manner(&pod.image).start;
            let now = self.now;
            let pod = &mut self.pods[index];
            (pod.trouble, pod.ready_at) = (None, start.map(|start| now + start));
            self.moves += 1;
            placed += 1;
        }
    }

    fn pods_move(&mut self) {
        let now = self.now;
        self.pods
            .retain(|pod| pod.gone_at.is_none_or(|at| at > now));
        for pod in &mut self.pods {
            if !pod.ready && pod.gone_at.is_none() && pod.ready_at.is_some_and(|at| at <= now) {
                self.moves += 1;
                pod.ready = true;
                pod.ready_since = now;
            }
        }
    }

    fn endpoints(&mut self) {
        let now = self.now;
        for service in &mut self.services {
            let wanted: BTreeSet<String> = self
                .pods
                .iter()
                .filter(|pod| {
                    (pod.serving() || service.publish_not_ready && !pod.finished)
                        && service.hash.as_ref().is_none_or(|hash| *hash == pod.hash)
                })
                .map(|pod| pod.uid.clone())
                .collect();
            if let Some((at, next)) = service.pending.clone()
                && at <= now
            {
                self.moves += 1;
                service.endpoints = next;
                service.pending = None;
            }
            if service.pending.is_none() && wanted != service.endpoints {
                self.moves += 1;
                service.pending = Some((now + self.lag, wanted));
            }
            // One that cannot be held serves pods as any rollout would have it.
            let open = service.refusal.is_some() && service.held.is_none();
            for pod in self
                .pods
                .iter_mut()
                .filter(|pod| !open && service.endpoints.contains(&pod.uid))
            {
                pod.last_served = Some(now);
            }
        }
    }
}
