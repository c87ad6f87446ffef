//! The laws of the design, checked on the raw world and independent of the planner's own notions.

use std::collections::BTreeSet;

use crossfade_api::{Action, Phase, conditions};
use crossfade_engine::effect::SplitTo;
use crossfade_engine::report::WaitingOn;
use crossfade_engine::{Decision, Effect, Memory};

use crate::world::{Own, PodState, Svc, World, same};

fn of_set<'a>(world: &'a World, set: &'a str) -> impl Iterator<Item = &'a PodState> {
    world.pods.iter().filter(move |pod| pod.set == set)
}

fn with_hash<'a>(world: &'a World, hash: &'a str) -> impl Iterator<Item = &'a PodState> {
    world
        .pods
        .iter()
        .filter(move |pod| pod.hash == hash && pod.serving())
}

fn paused(world: &World) -> bool {
    world.workload.as_ref().is_some_and(|web| web.paused)
}

/// Pods that answer requests, or did so less than the drain ago.
fn busy<'a>(
    world: &'a World,
    pods: impl Iterator<Item = &'a PodState>,
    drain: i64,
) -> Option<&'a PodState> {
    let mut pods = pods.filter(|pod| pod.gone_at.is_none());
    pods.find(|pod| pod.last_served.is_some_and(|at| at + drain > world.now))
}

/// Law 11: every wait is shown, with its kind, in words and with what comes then.
fn says_what_it_waits_for(decision: &Decision) -> Result<(), String> {
    let report = &decision.report;
    let condition = |kind: &str| {
        let mut conditions = report.status.conditions.iter();
        conditions.find(|condition| condition.type_ == kind)
    };
    let shown = condition(conditions::PROGRESSING).map(|condition| condition.reason.as_str());
    let expected = match (&decision.memory.refused, &report.waiting) {
        (Some(_), _) => WaitingOn::Mend.as_str(),
        (None, Some(waiting)) => waiting.on.as_str(),
        (None, None) => report.phase.as_str(),
    };
    if shown != Some(expected) {
        return Err(format!(
            "it waits for {expected}, the status says {shown:?}"
        ));
    }
    // Whoever waits for `Ready`, or gives up at `Stalled`, as kubectl and Flux do, learns of it, too.
    let is_true = |kind| condition(kind).is_some_and(|condition| condition.status == "True");
    let mend = expected == WaitingOn::Mend.as_str();
    if mend && (is_true(conditions::READY) || !is_true(conditions::STALLED)) {
        return Err("somebody has to mend something, and it shows Ready or not Stalled".to_owned());
    }
    match &report.waiting {
        Some(waiting) if waiting.text.is_empty() || waiting.then.is_empty() => {
            Err(format!("a wait without words: {waiting:?}"))
        }
        _ => Ok(()),
    }
}

/// What must hold of a decision before anything of it is done.
pub fn decision(world: &World, memory: &Memory, decision: &Decision) -> Result<(), String> {
    let moves = decision
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Split { .. }))
        .count();
    if moves > 1 {
        return Err(format!("{moves} effects move traffic in one pass"));
    }
    says_what_it_waits_for(decision)?;
    let held = (decision.memory.release.as_ref()).is_some_and(|release| release.held);
    let begins =
        |effect: &&Effect| matches!(effect, Effect::Split { .. } | Effect::CreateParallel { .. });
    if held && let Some(effect) = decision.effects.iter().find(begins) {
        return Err(format!("{} for a template that is held", effect.name()));
    }
    let abort = world
        .control
        .as_ref()
        .is_some_and(|control| control.action == Action::Abort);
    let under_way = matches!(
        memory.phase,
        Phase::Preparing | Phase::Progressing | Phase::Warm
    );
    let taken = under_way
        && decision.memory.phase == Phase::RollingBack
        && abort
        && decision.memory.control != memory.control;
    if taken && paused(world) {
        let release = memory.release.as_ref().ok_or("aborted without a release")?;
        let open: Vec<&str> = world
            .fronts()
            .filter(|service| service.hash.as_ref() != Some(&release.stable.hash))
            .map(|service| service.name.as_str())
            .collect();
        let stable_up = of_set(world, &release.stable.uid).any(PodState::serving);
        let weighted = world
            .fronts()
            .any(|service| service.hash.as_ref() != Some(&release.stable.hash))
            && release.weighted;
        if weighted && stable_up {
            let Some(Effect::Split {
                services,
                to: SplitTo::Stable { .. },
            }) = decision.effects.first()
            else {
                return Err(format!(
                    "abort does not begin with weight 0: {:?}",
                    decision.effects.first()
                ));
            };
            let written: BTreeSet<&str> = services
                .iter()
                .map(|write| write.service.name.as_str())
                .collect();
            if let Some(missed) = open.iter().find(|name| !written.contains(*name)) {
                return Err(format!("abort leaves Service {missed}"));
            }
        }
    }
    if decision.memory.phase != Phase::Idle {
        match &decision.report.waiting {
            None if decision.effects.is_empty() && decision.memory == *memory => {
                return Err(format!(
                    "phase {} waits without a reason",
                    memory.phase.as_str()
                ));
            }
            Some(waiting) if waiting.text.is_empty() || waiting.then.is_empty() => {
                return Err("a wait without words".to_owned());
            }
            _ => {}
        }
    }
    if memory.phase != Phase::HandingOver && decision.memory.phase == Phase::HandingOver {
        let release = decision
            .memory
            .release
            .as_ref()
            .ok_or("hand-over without a release")?;
        let parked = world.sets.iter().any(|set| set.own == Own::Rollout);
        let analysis = &release.plan.analysis;
        let data = world.metrics && world.judged_requests >= u64::from(analysis.min_requests);
        if !parked && analysis.scrape && release.full.is_none() && !data {
            return Err(format!("promoted on {} requests", world.judged_requests));
        }
    }
    Ok(())
}

/// What must hold when an effect is carried out.
pub fn effect(
    world: &World,
    memory: &Memory,
    effect: &Effect,
    lawless: bool,
) -> Result<(), String> {
    let release = memory.release.as_ref();
    let drain = release.map_or(0, |release| i64::try_from(release.plan.drain).unwrap_or(0));
    let web = world.workload.as_ref();
    let fenced = world.fence.is_some_and(|until| until > world.now);
    match effect {
        Effect::Split { to, services } => {
            let pins = matches!(to, SplitTo::Stable { .. } | SplitTo::Candidate { .. });
            if pins && !paused(world) {
                return Err("a Service is pinned under an unpaused workload".to_owned());
            }
            if fenced && matches!(to, SplitTo::Candidate { .. } | SplitTo::Both) {
                return Err("weight moves away from stable behind the fence".to_owned());
            }
            if let (SplitTo::Candidate { hash }, Some(web)) = (to, web) {
                let ready = u32::try_from(with_hash(world, hash).count()).unwrap_or(0);
                let needed = web.replicas.saturating_sub(web.unavailable).max(1);
                let gaining = world
                    .fronts()
                    .any(|service| service.hash.is_some() && service.hash.as_ref() != Some(hash))
                    || world.fronts().all(|service| service.hash.is_none());
                if gaining && memory.phase != Phase::HandingOver && ready < needed {
                    return Err(format!(
                        "everything goes to {ready} ready pods, {needed} are needed"
                    ));
                }
            }
            let gains = services.iter().any(|write| write.from.is_some());
            if let (SplitTo::Both, Some(release), true) = (to, release, gains)
                && let Some(set) = &release.set
                && !of_set(world, &set.uid).any(PodState::serving)
            {
                return Err("weight for a candidate without a ready pod".to_owned());
            }
        }
        Effect::DeleteParallel { target } => {
            if fenced {
                return Err("deleted behind the fence".to_owned());
            }
            let sets: Vec<&str> = world
                .sets
                .iter()
                .filter(|set| set.own == Own::Deployment(target.uid.clone()))
                .map(|set| set.uid.as_str())
                .collect();
            let pods = world
                .pods
                .iter()
                .filter(|pod| sets.contains(&pod.set.as_str()));
            if paused(world)
                && !lawless
                && let Some(pod) = busy(world, pods, drain)
            {
                return Err(format!(
                    "pod {} is deleted while it serves or drains",
                    pod.name
                ));
            }
        }
        Effect::ScaleParallel { from, to, .. } if to < from => {
            let full = world.fronts().any(|service| {
                service.hash.is_some()
                    && release
                        .and_then(|release| release.set.as_ref())
                        .map(|set| &set.hash)
                        == service.hash.as_ref()
            });
            let wanted = web.map_or(0, |web| web.replicas);
            let least = if full { wanted } else { wanted.min(1) };
            if *to < least || fenced {
                return Err(format!(
                    "the candidate shrinks to {to}, it carries the share of {least}"
                ));
            }
        }
        Effect::ScaleReplicaSet { target, to: 0, .. } => {
            let pods = of_set(world, &target.uid);
            if web.is_some()
                && paused(world)
                && !lawless
                && let Some(pod) = busy(world, pods, drain)
            {
                return Err(format!(
                    "old pod {} ends while it serves or drains",
                    pod.name
                ));
            }
        }
        Effect::Park { target, .. } => {
            let Some(web) = web else {
                return Err("parked without a workload".to_owned());
            };
            let own: Vec<_> = world
                .sets
                .iter()
                .filter(|set| set.own == Own::Deployment(web.uid.clone()))
                .collect();
            let active = own
                .iter()
                .any(|set| set.uid == target.uid && set.replicas > 0);
            // Without another with pods the paused Deployment starts one of the empty ones.
            let others = || own.iter().filter(|set| set.uid != target.uid);
            if active
                && web.paused
                && others().all(|set| set.replicas == 0)
                && others().next().is_some()
            {
                return Err("the active ReplicaSet is parked before its history".to_owned());
            }
        }
        Effect::Unpause { template, .. } => {
            if let Some(service) = world.services.iter().find(|service| service.hash.is_some()) {
                return Err(format!("unpaused while Service {} is pinned", service.name));
            }
            let web = web.ok_or("unpaused without a workload")?;
            let own = Own::Deployment(web.uid.clone());
            let oldest = world
                .sets
                .iter()
                .filter(|set| set.own == own && same(&set.template, template))
                .min_by_key(|set| (set.created, set.name.clone()));
            let print = crossfade_engine::identity::fingerprint(template);
            let passes = web.bypass_template.as_ref() == Some(&print);
            // Where nothing serves there is no pod to be replaced.
            let mut sets = world.sets.iter().filter(|set| set.own == own);
            let passes = passes || sets.all(|set| set.replicas == 0);
            if !passes && oldest.is_none_or(|set| set.replicas != web.replicas) {
                return Err(
                    "unpausing would replace pods: the oldest match is not the one that serves"
                        .to_owned(),
                );
            }
        }
        _ => {}
    }
    Ok(())
}

/// What must hold at every moment, whoever moved; nobody from outside has broken the rules.
pub fn standing(world: &World, memory: &Memory) -> Result<(), String> {
    let (Some(release), Some(web)) = (memory.release.as_ref(), world.workload.as_ref()) else {
        return Ok(());
    };
    if !web.paused || web.uid != memory.workload_uid {
        return Ok(());
    }
    if matches!(
        memory.phase,
        Phase::Preparing | Phase::Progressing | Phase::Warm
    ) {
        let stable = world.sets.iter().find(|set| set.uid == release.stable.uid);
        let own = Own::Deployment(web.uid.clone());
        match stable {
            Some(set)
                if set.own == own
                    && (set.replicas == web.replicas
                        || set.observed < set.generation
                        || web.observed < web.generation) => {}
            other => return Err(format!("stable is not whole: {other:?}")),
        }
    }
    let set = release
        .set
        .as_ref()
        .map(|set| set.uid.as_str())
        .unwrap_or_default();
    if matches!(memory.phase, Phase::Idle | Phase::RolledBack) {
        return Ok(());
    }
    // The slices of a new Service are begun before anybody can have pinned it.
    let seasoned = |service: &&Svc| service.created == 0 || service.created + 3000 < world.now;
    for service in world.fronts().filter(seasoned) {
        for uid in &service.endpoints {
            let Some(pod) = world.pods.iter().find(|pod| pod.uid == *uid) else {
                continue;
            };
            let known = pod.set == release.stable.uid || pod.set == set;
            // Somebody deleted its ReplicaSet: the garbage collector is on its way.
            let doomed = !world.sets.iter().any(|set| set.uid == pod.set);
            if !known && !doomed {
                return Err(format!(
                    "Service {} serves from pod {} of neither side",
                    service.name, pod.name
                ));
            }
            if pod.set == set && !release.weighted {
                return Err(format!(
                    "Service {} serves from {} before any weight",
                    service.name, pod.name
                ));
            }
        }
    }
    let strange = world.sets.iter().find(|known| {
        known.replicas > 0
            && known.uid != set
            && known.uid != release.stable.uid
            && matches!(&known.own, Own::Deployment(uid) if *uid == web.uid)
    });
    if let Some(strange) = strange {
        return Err(format!("history ReplicaSet {} came up", strange.name));
    }
    Ok(())
}
