//! Bugs of a planner: it is shown what is not so, or what it decided is bent.

use crossfade_api::{Action, Phase, StepState};
use crossfade_engine::effect::{SplitTo, Target};
use crossfade_engine::observed::Owner;
use crossfade_engine::{Decision, Effect, Memory, Observed};

use super::{Kind, Planted};

/// All of them.
pub(super) static BUGS: &[Planted] = &[
    Planted {
        name: "skip-settling-and-drain",
        what: "the settle floor and the drain are taken for zero",
        kind: Kind::Shown(no_drain),
    },
    Planted {
        name: "weight-before-capacity",
        what: "every pod of the candidate counts as ready",
        kind: Kind::Shown(all_ready),
    },
    Planted {
        name: "freeze-the-verdict",
        what: "errors of the candidate are not counted",
        kind: Kind::Shown(no_errors),
    },
    Planted {
        name: "old-numbers-are-fresh",
        what: "a pod that does not answer counts as one that just did, and few requests are enough",
        kind: Kind::Shown(always_fresh),
    },
    Planted {
        name: "forget-one-of-two-services",
        what: "only the first Service is seen",
        kind: Kind::Shown(one_service),
    },
    Planted {
        name: "ignore-the-fence",
        what: "writes that may still land late are forgotten",
        kind: Kind::Shown(no_fence),
    },
    Planted {
        name: "miss-a-revert",
        what: "a template pushed in mid-release is not seen",
        kind: Kind::Shown(old_template),
    },
    Planted {
        name: "abort-waits-for-settling",
        what: "a command is not looked at while a weight settles",
        kind: Kind::Shown(deaf_while_settling),
    },
    Planted {
        name: "ignore-replicas",
        what: "the candidate does not follow N",
        kind: Kind::Decided(no_resize),
    },
    Planted {
        name: "status-before-abort",
        what: "the answer to an abort is written before its first effect",
        kind: Kind::Decided(status_first),
    },
    Planted {
        name: "forget-the-abort",
        what: "a decision to take the candidate away is dropped after its first effect",
        kind: Kind::Decided(forget_rollback),
    },
    Planted {
        name: "delete-before-weight-zero",
        what: "a rollback deletes the parallel Deployment first",
        kind: Kind::Decided(delete_first),
    },
    Planted {
        name: "scale-down-before-drain",
        what: "a rollback scales the candidate to 0 as soon as the weight is written",
        kind: Kind::Decided(shrink_first),
    },
    Planted {
        name: "park-before-the-hand-over",
        what: "the warm stay parks the workload's ReplicaSets",
        kind: Kind::Decided(park_early),
    },
    Planted {
        name: "park-the-active-one-first",
        what: "the ReplicaSet with pods is parked before the empty ones",
        kind: Kind::Decided(park_active_first),
    },
    Planted {
        name: "old-pods-end-at-the-flip",
        what: "stable is scaled to 0 as soon as the candidate has everything",
        kind: Kind::Decided(end_stable),
    },
    Planted {
        name: "orphan-before-transfer",
        what: "the parallel Deployment is deleted before its ReplicaSet has been handed over",
        kind: Kind::Decided(delete_before_transfer),
    },
    Planted {
        name: "transfer-one-pod",
        what: "the hand-over writes size 1",
        kind: Kind::Decided(transfer_one),
    },
    Planted {
        name: "unpause-before-unpin",
        what: "the last two writes of a hand-over change places",
        kind: Kind::Decided(unpause_first),
    },
    Planted {
        name: "never-unpause",
        what: "the last write of a release is left out",
        kind: Kind::Decided(never_unpause),
    },
    Planted {
        name: "keep-the-copy",
        what: "stable's template is kept for ever",
        kind: Kind::Decided(keep_copy),
    },
    Planted {
        name: "wait-without-a-reason",
        what: "the status does not say what it waits for",
        kind: Kind::Decided(no_reason),
    },
    Planted {
        name: "decide-without-words",
        what: "the status has no message",
        kind: Kind::Decided(no_message),
    },
    Planted {
        name: "write-in-circles",
        what: "each pass finds something new to write about the same step",
        kind: Kind::Decided(spin),
    },
];

fn no_drain(_: &mut Observed, memory: &mut Memory) {
    if let Some(release) = memory.release.as_mut() {
        release.plan.drain = 0;
        release.plan.settle_floor = 0;
    }
}

fn all_ready(seen: &mut Observed, memory: &mut Memory) {
    let stable = memory
        .release
        .as_ref()
        .map(|release| release.stable.uid.clone());
    for pod in &mut seen.pods {
        if Some(&pod.replica_set) != stable.as_ref() && !pod.deleting {
            pod.ready = true;
        }
    }
}

fn no_errors(seen: &mut Observed, _: &mut Memory) {
    for tick in &mut seen.ticks {
        tick.candidate.errors = 0;
    }
}

fn always_fresh(seen: &mut Observed, memory: &mut Memory) {
    let now = seen
        .feed
        .iter()
        .flat_map(|feed| feed.pods.values())
        .filter_map(|pod| pod.last_answer)
        .max();
    let uids: Vec<String> = seen.pods.iter().map(|pod| pod.uid.clone()).collect();
    if let Some(feed) = seen.feed.as_mut() {
        for uid in uids {
            feed.pods.entry(uid).or_default().last_answer = now;
        }
    }
    if let Some(release) = memory.release.as_mut() {
        release.plan.analysis.min_requests = 0;
        release.plan.analysis.interval = 3_600_000;
    }
}

fn one_service(seen: &mut Observed, _: &mut Memory) {
    seen.services.truncate(1);
}

fn no_fence(seen: &mut Observed, _: &mut Memory) {
    seen.fenced_until = None;
}

fn old_template(seen: &mut Observed, memory: &mut Memory) {
    let under_way = matches!(memory.phase, Phase::Progressing | Phase::Warm);
    let template = seen
        .parallels
        .first()
        .map(|parallel| parallel.template.clone());
    if let (true, Some(workload), Some(template)) = (under_way, seen.workload.as_mut(), template) {
        workload.template = template;
    }
}

fn deaf_while_settling(seen: &mut Observed, memory: &mut Memory) {
    let settling = memory
        .release
        .as_ref()
        .is_some_and(|release| matches!(release.state, StepState::Settling | StepState::Observing));
    let abort = seen
        .rollout
        .control
        .as_ref()
        .is_some_and(|control| control.action == Action::Abort);
    if settling && abort {
        seen.rollout.control = None;
    }
}

fn no_resize(_: &Observed, _: &Memory, decision: &mut Decision) {
    decision
        .effects
        .retain(|effect| effect.name() != "ScaleParallel");
}

fn status_first(_: &Observed, _: &Memory, decision: &mut Decision) {
    decision.effects_first = false;
}

fn forget_rollback(_: &Observed, before: &Memory, decision: &mut Decision) {
    if before.phase == Phase::RollingBack
        && decision.effects.is_empty()
        && let Some(release) = decision.memory.release.as_mut()
        && release.weighted
    {
        decision.memory.phase = Phase::Progressing;
        release.rollback = None;
        release.state = StepState::Scaling;
        release.stay_since = None;
    }
}

fn the_parallel(seen: &Observed) -> Option<(Target, u32)> {
    let parallel = seen.parallels.iter().find(|parallel| !parallel.deleting)?;
    let target = Target {
        name: parallel.name.clone(),
        uid: parallel.uid.clone(),
        resource_version: parallel.resource_version.clone(),
    };
    Some((target, parallel.replicas))
}

fn delete_first(seen: &Observed, _: &Memory, decision: &mut Decision) {
    if decision.memory.phase == Phase::RollingBack
        && let Some((target, _)) = the_parallel(seen)
    {
        decision
            .effects
            .insert(0, Effect::DeleteParallel { target });
    }
}

fn shrink_first(seen: &Observed, before: &Memory, decision: &mut Decision) {
    if before.phase == Phase::RollingBack
        && let Some((target, from)) = the_parallel(seen)
        && from > 0
    {
        decision.effects.insert(
            0,
            Effect::ScaleParallel {
                target,
                from,
                to: 0,
            },
        );
    }
}

fn own_sets(seen: &Observed) -> Vec<(Target, usize, u32)> {
    seen.replica_sets
        .iter()
        .filter(|set| set.owner == Owner::Workload && !set.deleting)
        .map(|set| {
            (
                Target {
                    name: set.name.clone(),
                    uid: set.uid.clone(),
                    resource_version: set.resource_version.clone(),
                },
                set.owner_index.unwrap_or(0),
                set.replicas,
            )
        })
        .collect()
}

fn park_early(seen: &Observed, _: &Memory, decision: &mut Decision) {
    if decision.memory.phase == Phase::Warm {
        for (target, owner_index, _) in own_sets(seen) {
            decision.effects.push(Effect::Park {
                target,
                owner_index,
            });
        }
    }
}

fn park_active_first(seen: &Observed, _: &Memory, decision: &mut Decision) {
    if !decision
        .effects
        .iter()
        .any(|effect| effect.name() == "Park")
    {
        return;
    }
    decision.effects.retain(|effect| effect.name() != "Park");
    if let Some((target, owner_index, _)) =
        own_sets(seen).into_iter().max_by_key(|(_, _, size)| *size)
    {
        decision.effects.push(Effect::Park {
            target,
            owner_index,
        });
    }
}

fn end_stable(seen: &Observed, _: &Memory, decision: &mut Decision) {
    let stable = decision
        .memory
        .release
        .as_ref()
        .map(|release| release.stable.uid.clone());
    if decision.memory.phase == Phase::Warm
        && decision.effects.is_empty()
        && let Some((target, _, from)) = own_sets(seen)
            .into_iter()
            .find(|(target, ..)| Some(&target.uid) == stable.as_ref())
        && from > 0
    {
        decision.effects.push(Effect::ScaleReplicaSet {
            target,
            from,
            to: 0,
        });
    }
}

fn delete_before_transfer(seen: &Observed, _: &Memory, decision: &mut Decision) {
    if decision
        .effects
        .iter()
        .any(|effect| effect.name() == "Transfer")
        && let Some((target, _)) = the_parallel(seen)
    {
        decision
            .effects
            .insert(0, Effect::OrphanParallel { target });
    }
}

fn transfer_one(_: &Observed, _: &Memory, decision: &mut Decision) {
    for effect in &mut decision.effects {
        if let Effect::Transfer { replicas, .. } = effect {
            *replicas = 1;
        }
    }
}

fn unpause_first(seen: &Observed, _: &Memory, decision: &mut Decision) {
    let released = decision.memory.phase == Phase::HandingOver
        && decision.effects.iter().any(|effect| {
            matches!(
                effect,
                Effect::Split {
                    to: SplitTo::Released,
                    ..
                }
            )
        });
    if released && let Some(workload) = seen.workload.as_ref() {
        decision.effects.insert(
            0,
            Effect::Unpause {
                target: Target {
                    name: workload.name.clone(),
                    uid: workload.uid.clone(),
                    resource_version: workload.resource_version.clone(),
                },
                template: workload.template.clone(),
            },
        );
    }
}

fn never_unpause(_: &Observed, _: &Memory, decision: &mut Decision) {
    decision.effects.retain(|effect| effect.name() != "Unpause");
}

fn keep_copy(_: &Observed, _: &Memory, decision: &mut Decision) {
    decision
        .effects
        .retain(|effect| effect.name() != "DropKeptTemplate");
}

fn no_reason(_: &Observed, _: &Memory, decision: &mut Decision) {
    if let Some(step) = decision.report.status.step.as_mut() {
        step.waiting_on = None;
    }
}

fn no_message(_: &Observed, _: &Memory, decision: &mut Decision) {
    decision.report.status.message = None;
}

fn spin(seen: &Observed, before: &Memory, decision: &mut Decision) {
    let under_way = matches!(decision.memory.phase, Phase::Progressing | Phase::Warm);
    if let (true, Some(release), Some(old)) = (
        under_way,
        decision.memory.release.as_mut(),
        before.release.as_ref(),
    ) {
        release.reminded = old.reminded + 1;
    }
    let _ = seen;
}
