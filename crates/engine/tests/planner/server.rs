//! What the API server does with an effect: preconditions, then the change. Controllers come after.

use crossfade_engine::Effect;
use crossfade_engine::effect::{ServiceWrite, SplitTo, Target};
use crossfade_engine::observed::KeptTemplate;
use serde_json::json;

use crate::world::{Answer, Dep, OURSELVES, Own, Set, World};

impl World {
    /// What the API server does with one effect.
    pub fn apply(&mut self, effect: &Effect, cut_short: bool) -> Answer {
        match effect {
            Effect::Split { .. } if self.refuses_services => Answer::Refused,
            Effect::Split { services, to } => {
                let mut answer = Answer::Done;
                for write in services {
                    if self.point(write, to, cut_short) == Answer::Conflict {
                        answer = Answer::Conflict;
                    }
                }
                answer
            }
            Effect::GiveBack { services } => {
                let mut answer = Answer::Done;
                for write in services {
                    if self.give_back(write, cut_short) == Answer::Conflict {
                        answer = Answer::Conflict;
                    }
                }
                answer
            }
            Effect::RestoreManagedFields {
                service,
                managed_fields,
            } => {
                let rv = self.rv();
                match self
                    .services
                    .iter_mut()
                    .find(|known| is(&known.uid, known.rv, service))
                {
                    Some(known) => {
                        known.fields.clone_from(managed_fields);
                        known.rv = rv;
                        Answer::Done
                    }
                    None => Answer::Conflict,
                }
            }
            Effect::KeepTemplate { .. } if self.refuses_copies => Answer::Refused,
            Effect::KeepTemplate {
                name,
                candidate,
                hash,
                template,
                ..
            } => {
                if self.kept.iter().any(|kept| kept.name == *name) {
                    return Answer::Done;
                }
                let uid = self.id("kept");
                self.kept.push(KeptTemplate {
                    name: name.clone(),
                    uid,
                    candidate: candidate.clone(),
                    hash: hash.clone(),
                    template: template.clone(),
                });
                Answer::Done
            }
            Effect::DropKeptTemplate { target } => {
                let before = self.kept.len();
                self.kept.retain(|kept| kept.uid != target.uid);
                if self.kept.len() < before {
                    Answer::Done
                } else {
                    Answer::Conflict
                }
            }
            Effect::CreateParallel(new) => {
                if self.parallels.iter().any(|known| known.name == new.name) {
                    return Answer::Done;
                }
                let uid = self.id("par");
                let rv = self.rv();
                let web = self.web().clone();
                self.parallels.push(Dep {
                    name: new.name.clone(),
                    uid,
                    rv,
                    generation: 1,
                    observed: 0,
                    paused: false,
                    replicas: new.replicas,
                    template: new.template.clone(),
                    candidate: new.candidate.clone(),
                    originals: Some(new.originals.clone()),
                    history_limit: 0,
                    revision: 0,
                    status_replicas: 0,
                    ..web
                });
                Answer::Done
            }
            Effect::ScaleParallel { target, to, .. } => {
                self.parallel(target, |parallel| parallel.replicas = *to)
            }
            Effect::PauseParallel { target } => {
                self.parallel(target, |parallel| parallel.paused = true)
            }
            Effect::DeleteParallel { target } => {
                if !self.parallels.iter().any(|known| known.uid == target.uid) {
                    return Answer::Conflict;
                }
                self.delete_parallel(&target.uid.clone());
                Answer::Done
            }
            Effect::OrphanParallel { target } => {
                let at = self.now + 1000;
                let rv = self.rv();
                let known = self
                    .parallels
                    .iter_mut()
                    .find(|known| is(&known.uid, known.rv, target) && !known.deleting);
                let Some(known) = known else {
                    return Answer::Conflict;
                };
                known.deleting = true;
                known.rv = rv;
                self.doomed.push((at, target.uid.clone()));
                Answer::Done
            }
            Effect::DeleteReplicaSet { target } => {
                let before = self.sets.len();
                self.sets.retain(|set| !is(&set.uid, set.rv, target));
                if self.sets.len() < before {
                    Answer::Done
                } else {
                    Answer::Conflict
                }
            }
            Effect::CreateReplicaSet(_) if self.refuses_sets => Answer::Refused,
            Effect::CreateReplicaSet(new) => {
                if self.sets.iter().any(|set| set.name == new.name) {
                    return Answer::Done;
                }
                let (uid, rv) = (self.id("set"), self.rv());
                let own = Own::Deployment(self.web().uid.clone());
                self.sets.push(Set {
                    name: new.name.clone(),
                    uid,
                    rv,
                    created: self.now,
                    own,
                    hash: new.hash.clone(),
                    generation: 1,
                    observed: 0,
                    replicas: new.replicas,
                    status_replicas: 0,
                    available: 0,
                    template: new.template.clone(),
                    bypass: None,
                    revision: new.revision,
                    desired: new.replicas,
                    maximum: new.maximum,
                    failure: None,
                });
                Answer::Done
            }
            Effect::Park { target, .. } => {
                let web = Own::Deployment(self.web().uid.clone());
                self.set(target, |set| {
                    let owned = set.own == web;
                    if owned {
                        set.own = Own::Rollout;
                    }
                    owned
                })
            }
            Effect::Transfer {
                target,
                replicas,
                maximum,
                revision,
                ..
            } => {
                let web = Own::Deployment(self.web().uid.clone());
                self.set(target, |set| {
                    let owned = set.own != Own::Nobody;
                    if owned {
                        set.own = web;
                        set.generation += i64::from(set.replicas != *replicas);
                        set.replicas = *replicas;
                        set.desired = *replicas;
                        set.maximum = *maximum;
                        set.revision = *revision;
                    }
                    owned
                })
            }
            Effect::ScaleReplicaSet { target, to, .. } => self.set(target, |set| {
                set.generation += i64::from(set.replicas != *to);
                set.replicas = *to;
                true
            }),
            Effect::Return { target, .. } => self.set(target, |set| {
                let ours = set.own == Own::Rollout;
                if ours {
                    set.own = Own::Nobody;
                }
                ours
            }),
            Effect::WriteTemplate { target, from, to } => {
                let fits = self
                    .workload
                    .as_ref()
                    .is_some_and(|web| web.uid == target.uid && web.template == *from);
                if !fits {
                    return Answer::Conflict;
                }
                self.edit(|web| {
                    web.template = to.clone();
                    web.paused = true;
                    web.in_managed_fields = cut_short;
                });
                Answer::Done
            }
            Effect::Disown { target, .. } => {
                let rv = self.rv();
                match self
                    .workload
                    .as_mut()
                    .filter(|web| is(&web.uid, web.rv, target))
                {
                    Some(web) => {
                        (web.in_managed_fields, web.rv) = (false, rv);
                        Answer::Done
                    }
                    None => Answer::Conflict,
                }
            }
            Effect::Unpause { target, template } => {
                let fits = self.workload.as_ref().is_some_and(|web| {
                    web.uid == target.uid && web.template == *template && web.paused
                });
                if !fits {
                    return Answer::Conflict;
                }
                self.edit(|web| web.paused = false);
                Answer::Done
            }
        }
    }

    fn point(&mut self, write: &ServiceWrite, to: &SplitTo, cut_short: bool) -> Answer {
        let rv = self.rv();
        let mark = self.workload.as_ref().map(|web| web.uid.clone());
        let known = self
            .services
            .iter_mut()
            .find(|known| is(&known.uid, known.rv, &write.service));
        let Some(service) = known else {
            return Answer::Conflict;
        };
        assert_eq!(service.hash, write.from, "compiled from what was seen");
        service.rv = rv;
        (service.hash, service.held) = match to {
            SplitTo::Stable { hash } | SplitTo::Candidate { hash } => (Some(hash.clone()), mark),
            SplitTo::Both => (None, mark),
            SplitTo::Released => (None, None),
        };
        if !cut_short {
            service.fields.clone_from(&write.managed_fields);
        } else if let Some(list) = service.fields.as_array_mut()
            && !list.iter().any(|entry| entry["manager"] == OURSELVES)
        {
            list.push(json!({"manager": OURSELVES}));
        }
        Answer::Done
    }

    /// Cut short, the pin is off and the mark stands; without a pin there is one write only.
    fn give_back(&mut self, write: &ServiceWrite, cut_short: bool) -> Answer {
        let rv = self.rv();
        let known = self
            .services
            .iter_mut()
            .find(|known| is(&known.uid, known.rv, &write.service));
        let Some(service) = known else {
            return Answer::Conflict;
        };
        assert_eq!(service.hash, write.from, "compiled from what was seen");
        service.rv = rv;
        if service.hash.take().is_some() {
            if let Some(list) = service.fields.as_array_mut()
                && !list.iter().any(|entry| entry["manager"] == OURSELVES)
            {
                list.push(json!({"manager": OURSELVES}));
            }
            if cut_short {
                return Answer::Done;
            }
        }
        service.held = None;
        service.fields.clone_from(&write.managed_fields);
        Answer::Done
    }

    fn parallel(&mut self, target: &Target, change: impl FnOnce(&mut Dep)) -> Answer {
        let rv = self.rv();
        let known = self
            .parallels
            .iter_mut()
            .find(|known| is(&known.uid, known.rv, target));
        let Some(parallel) = known else {
            return Answer::Conflict;
        };
        change(parallel);
        parallel.rv = rv;
        parallel.generation += 1;
        Answer::Done
    }

    fn set(&mut self, target: &Target, change: impl FnOnce(&mut Set) -> bool) -> Answer {
        let rv = self.rv();
        let known = self
            .sets
            .iter_mut()
            .find(|set| is(&set.uid, set.rv, target));
        let Some(set) = known else {
            return Answer::Conflict;
        };
        if !change(set) {
            return Answer::Conflict;
        }
        set.rv = rv;
        Answer::Done
    }
}

fn is(uid: &str, rv: u64, target: &Target) -> bool {
    uid == target.uid && rv.to_string() == target.resource_version
}
