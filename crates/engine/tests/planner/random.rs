//! Random worlds: pushes, commands, scaling, failing pods and sleepy controllers in any order. The laws
//! hold after every effect, and when people leave it alone it comes to rest and stays there.

use crossfade_api::{Action, Author, ControlSpec, Phase, RolloutSpec};
use crossfade_engine::validated::{Policies, validate};
use proptest::prelude::*;
use serde_json::json;

use crate::controllers::Awake;
use crate::run::{FAULTS, Run};
use crate::world::{Manner, World, template};

#[derive(Clone, Debug)]
enum Move {
    Wait(i64),
    Push(u8),
    Command(u8, bool),
    Scale(u32),
    FailPods(bool, usize),
    Metrics(bool),
    Fence(i64),
    ServiceAppears,
    Sleep(bool, bool, bool),
    Unpause,
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        8 => prop_oneof![0..3_i64, 0..15_i64, 0..90_i64].prop_map(|seconds| Move::Wait(seconds * 1000)),
        3 => (1..6_u8).prop_map(Move::Push),
        3 => (0..6_u8, any::<bool>()).prop_map(|(action, flag)| Move::Command(action, flag)),
        2 => prop_oneof![1 => Just(0_u32), 9 => 1..9_u32].prop_map(Move::Scale),
        2 => (any::<bool>(), 1..4_usize).prop_map(|(candidate, count)| Move::FailPods(candidate, count)),
        1 => any::<bool>().prop_map(Move::Metrics),
        1 => (1..8_i64).prop_map(|seconds| Move::Fence(seconds * 1000)),
        1 => Just(Move::ServiceAppears),
        1 => any::<(bool, bool, bool)>().prop_map(|(one, two, three)| Move::Sleep(one, two, three)),
    ]
}

#[derive(Clone, Debug)]
struct Plan {
    replicas: u32,
    unavailable: u32,
    services: usize,
    weights: Vec<u32>,
    scrape: bool,
    moves: Vec<Move>,
    crash: Option<(usize, usize)>,
}

fn plans(unpausing: bool) -> impl Strategy<Value = Plan> {
    let moves = if unpausing {
        prop_oneof![9 => moves(), 1 => Just(Move::Unpause)].boxed()
    } else {
        moves().boxed()
    };
    (
        (1..7_u32, 0..2_u32, 1..3_usize),
        prop::collection::vec(1..100_u32, 1..4),
        any::<bool>(),
        prop::collection::vec(moves, 1..25),
        prop::option::of((0..40_usize, 0..6_usize)),
    )
        .prop_map(
            |((replicas, unavailable, services), mut weights, scrape, moves, crash)| {
                weights.sort_unstable();
                Plan {
                    replicas,
                    unavailable,
                    services,
                    weights,
                    scrape,
                    moves,
                    crash,
                }
            },
        )
}

fn start(plan: &Plan) -> Run {
    let steps: Vec<_> = plan
        .weights
        .iter()
        .map(|weight| json!({"weight": weight, "for": "20s"}))
        .collect();
    let source = if plan.scrape { "pods" } else { "none" };
    let spec: RolloutSpec = serde_json::from_value(json!({
        "warm": "30s",
        "progressDeadline": "3m",
        "strategy": {"canary": {"steps": steps}},
        "analysis": {"source": source, "noData": {"limit": "5m"}},
    }))
    .expect("a spec");
    let mut world = World::new(plan.replicas);
    world.web().unavailable = plan.unavailable;
    for number in 0..plan.services {
        world.add_service(&format!("web-{number}"));
    }
    for (image, start, errors) in [
        ("app:3", Some(3000), 300),
        ("app:4", None, 0),
        ("app:5", Some(25_000), 0),
    ] {
        world.manners.insert(
            image.to_owned(),
            Manner {
                start,
                crash: false,
                errors,
            },
        );
    }
    let mut run = Run::new(
        world,
        validate(&spec, &Default::default(), &Policies::default()),
    );
    run.advance(10_000);
    run.effects = 0;
    run.crash = plan.crash.map(|(at, fault)| (at, FAULTS[fault]));
    run
}

fn act(run: &mut Run, act: &Move) {
    match act {
        Move::Wait(time) => {
            let until = run.world.now + time;
            run.advance(until);
        }
        Move::Push(number) => run.world.push(template(&format!("app:{number}"))),
        Move::Command(number, flag) => {
            let action = [
                Action::Promote,
                Action::Pause,
                Action::Resume,
                Action::Abort,
                Action::Retry,
                Action::Undo,
            ][usize::from(*number)];
            run.world.generation += 1;
            run.world.control = Some(ControlSpec {
                id: Some(format!("id-{}", run.world.generation)),
                candidate: None,
                step: None,
                action,
                full: (action == Action::Promote).then_some(*flag),
                force: (action == Action::Abort).then_some(*flag),
                revision: None,
                reason: None,
                author: Some(Author {
                    user: "ann".to_owned(),
                    at: "now".to_owned(),
                }),
            });
        }
        Move::Scale(number) => run.world.edit(|web| web.replicas = *number),
        Move::FailPods(candidate, count) => {
            let pods = if *candidate {
                run.candidate_pods()
            } else {
                run.stable_pods()
            };
            for pod in pods.into_iter().take(*count) {
                run.excuse(&pod.uid);
                let gone = run.world.now + run.world.grace;
                if let Some(known) = run.world.pods.iter_mut().find(|known| known.uid == pod.uid) {
                    known.gone_at = Some(gone);
                }
            }
        }
        Move::Metrics(on) => run.world.metrics = *on,
        Move::Fence(time) => run.world.fence = Some(run.world.now + time),
        Move::ServiceAppears => {
            if run.world.services.len() < 4 {
                let name = format!("web-{}", run.world.services.len());
                run.world.add_service(&name);
            }
        }
        Move::Sleep(deployments, sets, rest) => {
            run.awake = Awake {
                deployments: *deployments,
                sets: *sets,
                rest: *rest,
            };
            run.settle();
            run.awake = Awake::ALL;
        }
        Move::Unpause => {
            run.lawless = true;
            run.world.edit(|web| web.paused = false);
        }
    }
    run.settle();
}

fn holds(plan: &Plan) -> Result<(), TestCaseError> {
    let mut run = start(plan);
    for step in &plan.moves {
        run.say(&format!("{step:?}"));
        act(&mut run, step);
        prop_assert!(
            run.violations.is_empty(),
            "{:#?}\n{}",
            run.violations,
            run.log
        );
    }
    // People leave it alone, with metrics and pods as they should be.
    run.say("left alone");
    run.world.metrics = true;
    run.crash = None;
    run.world.edit(|web| web.replicas = web.replicas.max(2));
    act(&mut run, &Move::Command(2, false));
    let until = run.world.now + 2 * 3_600_000;
    run.advance(until);
    let broken = |pod: &crate::world::PodState| !pod.ready;
    if run.lawless && run.stable_pods().iter().any(broken) {
        // An unpaused Deployment has rolled out pods that never get ready: a release beside them waits
        // for a person.
        return Ok(());
    }
    if run.memory.phase == Phase::RollingBack {
        // Stable has no pod that ever gets ready: that takes a person.
        act(&mut run, &Move::Command(3, true));
        run.advance(until + 600_000);
    }
    prop_assert!(
        run.violations.is_empty(),
        "{:#?}\n{}",
        run.violations,
        run.log
    );
    prop_assert!(
        matches!(run.memory.phase, Phase::Idle | Phase::RolledBack),
        "still in {:?}\n{}",
        run.memory.phase,
        run.log
    );
    let web = run.world.workload.clone().expect("it is there");
    if run.memory.phase == Phase::Idle && run.memory.refused.is_none() {
        let gated =
            web.paused
                && run.world.sets.iter().any(|set| {
                    set.replicas > 0 && crate::world::same(&set.template, &web.template)
                });
        prop_assert!(!web.paused || gated, "at rest and paused\n{}", run.log);
    }
    for service in &run.world.services {
        prop_assert!(
            service.hash.is_none() && service.held.is_none(),
            "{} is held at rest\n{}",
            service.name,
            run.log
        );
        prop_assert!(
            !service.fields.to_string().contains("\"crossfade\""),
            "{} shows our hand\n{}",
            service.name,
            run.log
        );
    }
    prop_assert!(
        run.world.parallels.is_empty(),
        "a parallel Deployment at rest\n{}",
        run.log
    );
    // And then nothing happens any more.
    let (effects, memory, passes) = (run.effects, run.memory.clone(), run.passes);
    let until = run.world.now + 3_600_000;
    run.advance(until);
    run.settle();
    prop_assert_eq!(effects, run.effects);
    prop_assert_eq!(&memory, &run.memory);
    prop_assert!(
        run.passes - passes < 20,
        "{} passes in an hour at rest",
        run.passes - passes
    );
    if std::env::var_os("CASES").is_some() {
        let outcomes: Vec<&str> = run
            .memory
            .history
            .iter()
            .map(|entry| entry.outcome.as_str())
            .collect();
        println!(
            "ended {:?} after {} effects in {} passes: {outcomes:?}",
            run.memory.phase, run.effects, run.passes
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(150), failure_persistence: None, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_laws_hold_in_random_worlds(plan in plans(false)) {
        holds(&plan)?;
    }

    #[test]
    fn the_laws_hold_when_people_unpause(plan in plans(true)) {
        holds(&plan)?;
    }
}
