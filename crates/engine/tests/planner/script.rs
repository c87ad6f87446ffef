//! The language of the scenario files: one command a line, `#` begins a remark.

use crossfade_api::{Action, ControlSpec, Phase, RolloutSpec};
use crossfade_engine::validated::{Policies, validate};
use serde_json::json;

use crate::disturb;
use crate::objects::Own;
use crate::run::{Fault, Run};
use crate::setup;
use crate::world::{Manner, Millis, World, template};

/// Longest wait for a phase.
const PATIENCE: Millis = 4 * 3_600_000;

/// Runs a scenario; with a crash, `expect` is left out: only laws and the end count.
pub fn run(text: &str, crash: Option<(usize, Fault)>) -> Run {
    let mut spec = json!({"warm": "1m", "strategy": {"canary": {"steps": [{"weight": 20, "for": "30s"}, {"weight": 50, "for": "30s"}]}}});
    let mut annotations = std::collections::BTreeMap::new();
    let mut world = World::new(4);
    let mut rest = Vec::new();
    for line in text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        let begins =
            rest.is_empty() && setup::stands(line, &words, &mut world, &mut spec, &mut annotations);
        if !begins {
            rest.push((line, words));
        }
    }
    let spec: RolloutSpec =
        serde_json::from_value(spec).unwrap_or_else(|error| panic!("spec: {error}"));
    let mut run = Run::new(world, validate(&spec, &annotations, &Policies::default()));
    run.advance(10_000);
    run.world.now = 0;
    for pod in &mut run.world.pods {
        pod.ready_since = 0;
    }
    run.log.clear();
    run.effects = 0;
    run.crash = crash;
    for (line, words) in rest {
        if !line.starts_with("expect") {
            run.say(line);
        }
        command(&mut run, line, &words, crash.is_none());
    }
    run
}

pub fn parse<T: std::str::FromStr>(text: &str) -> T {
    text.parse()
        .unwrap_or_else(|_| panic!("\"{text}\" is not a number"))
}

pub fn length(text: &str) -> Millis {
    let length: crossfade_api::Duration = text
        .parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"));
    i64::try_from(length.milliseconds()).expect("a length")
}

fn command(run: &mut Run, line: &str, words: &[&str], strict: bool) {
    match words {
        ["wait", time] => {
            let until = run.world.now + length(time);
            run.advance(until);
            return;
        }
        ["until", phase, state @ ..] => {
            until(run, phase, state.first().copied(), strict);
            return;
        }
        ["expect", rest @ ..] => {
            if strict {
                expect(run, line, rest);
            }
            return;
        }
        ["push", image] => run.world.push(template(image)),
        ["push-past", image, reason @ ..] => {
            run.world.push_past(template(image), reason.join(" "));
        }
        // Nobody looks between the two.
        ["push-past-then-push", past, image, reason @ ..] => {
            run.world.push_past(template(past), reason.join(" "));
            run.world.push(template(image));
        }
        // In between the Deployment controller has begun: one pod of the old comes down before one of the
        // new goes up.
        ["push-past-halfway-then-push", past, image, reason @ ..] => {
            // Its old pod still stands in the endpoints.
            run.lawless = true;
            run.world.web().surge = 0;
            run.world.push_past(template(past), reason.join(" "));
            // At rest the gate lets it pass.
            run.world.web().paused = false;
            run.world.sync_workload();
            run.world.push(template(image));
            run.pass();
        }
        ["deployment-controller-looks"] => {
            run.world.sync_workload();
            return;
        }
        ["annotate-bypass", reason @ ..] => {
            run.world.edit(|web| web.bypass = Some(reason.join(" ")));
        }
        ["push-raw", image] => run.world.push(raw(image)),
        ["push", image, "label", key, value] => {
            let mut labelled = template(image);
            labelled["metadata"]["labels"][*key] = json!(value);
            run.world.push(labelled);
        }
        ["command", rest @ ..] => control(run, rest),
        ["scale", number] => run.world.edit(|web| web.replicas = parse(number)),
        // maxUnavailable is a share of N.
        ["scale", number, "unavailable", share] => run.world.edit(|web| {
            web.replicas = parse(number);
            web.unavailable = parse(share);
        }),
        ["image", image, manner @ ..] => {
            let mut known = run.world.manner(image);
            for word in manner {
                match word.split_once('=').unwrap_or((word, "")) {
                    ("crash", _) => known.crash = true,
                    ("never", _) => known.start = None,
                    ("start", time) => known.start = Some(length(time)),
                    ("errors", share) => {
                        known.errors = parse::<u64>(share.trim_end_matches('%')) * 10
                    }
                    other => panic!("{other:?} in {line}"),
                }
            }
            run.world
                .manners
                .insert((*image).to_owned(), Manner { ..known });
        }
        // The plan of somebody who mends, or breaks, it in between.
        ["respec", ..] => {
            let spec: RolloutSpec = serde_json::from_str(line.trim_start_matches("respec"))
                .unwrap_or_else(|error| panic!("{line}: {error}"));
            run.validated = validate(&spec, &Default::default(), &Policies::default());
            run.world.moves += 1;
        }
        ["lose-memory"] => {
            run.memory = crossfade_engine::Memory::default();
        }
        // Nobody looks in between: who comes next knows of neither.
        ["lose-memory-with-the-workload"] => {
            run.lawless = true;
            run.memory = crossfade_engine::Memory::default();
            run.world.delete_workload();
        }
        // The second of our two writes to that Service did not come through.
        ["lose-memory-between-writes", name] => {
            run.memory = crossfade_engine::Memory::default();
            let mut services = run.world.services.iter_mut();
            let service = services
                .find(|service| service.name == *name)
                .expect("a Service of that name");
            let list = service.fields.as_array_mut().expect("a list");
            list.push(json!({"manager": crate::world::OURSELVES}));
        }
        ["unpause"] => {
            run.lawless = true;
            run.world.edit(|web| web.paused = false);
        }
        ["pause-by-manifest"] => run.world.edit(|web| {
            web.paused = true;
            web.paused_by_manifest = Some("argocd".to_owned());
        }),
        ["manifest-mended"] => run.world.edit(|web| web.paused_by_manifest = None),
        ["claimed-by", "nobody"] => run.world.edit(|web| web.claimed_by = None),
        ["claimed-by", other @ ..] => run.world.edit(|web| web.claimed_by = Some(other.join(" "))),
        ["recreate-strategy"] => run.world.edit(|web| web.rolling_update = false),
        ["rolling-update-strategy"] => run.world.edit(|web| web.rolling_update = true),
        ["no-port", image] => {
            let mut bare = template(image);
            bare["metadata"]["annotations"] = serde_json::Value::Null;
            run.world.push(bare);
        }
        ["second-active", image] => {
            // A native rollout that was stopped half-way, before the opt-in.
            run.world.manners.insert(
                (*image).to_owned(),
                Manner {
                    start: None,
                    crash: false,
                    errors: 0,
                },
            );
            run.world.edit(|web| web.template = template(image));
        }
        ["delete-workload"] => {
            run.lawless = true;
            run.world.delete_workload();
        }
        ["create-workload", image] => {
            run.lawless = true;
            run.world.create_workload(4, image);
        }
        ["opt-out"] => run.world.edit(|web| web.strategy_annotation = None),
        ["opt-in"] => run
            .world
            .edit(|web| web.strategy_annotation = Some("canary".to_owned())),
        ["pass"] => {
            run.pass();
            return;
        }
        ["until-stage", effect] => {
            stage(run, effect, strict);
            return;
        }
        ["history-limit", number] => run.world.edit(|web| web.history_limit = parse(number)),
        ["ghost-parallel", image] => {
            let web = run.world.web().clone();
            let (uid, rv) = (run.world.id("par"), run.world.rv());
            let name = run
                .memory
                .release
                .as_ref()
                .map(|release| release.parallel.clone())
                .unwrap_or_default();
            run.world.parallels.push(crate::world::Dep {
                name,
                uid,
                rv,
                paused: false,
                replicas: 1,
                template: template(image),
                candidate: "c0".to_owned(),
                originals: None,
                history_limit: 0,
                revision: 0,
                ..web
            });
        }
        ["delete-parallel"] => {
            let uid = run
                .world
                .parallels
                .first()
                .expect("a parallel Deployment")
                .uid
                .clone();
            run.world.delete_parallel(&uid);
        }
        _ => assert!(disturb::happens(run, words), "unknown command: {line}"),
    }
    run.settle();
}

fn raw(image: &str) -> serde_json::Value {
    let mut raw = template(image);
    raw["spec"]["fieldFromTheFuture"] = json!({"deep": [1, {"nothing": null}]});
    raw["spec"]["containers"][0]["resizePolicyOfTomorrow"] = json!("Swap");
    raw
}

fn control(run: &mut Run, words: &[&str]) {
    let action = match words.first().copied() {
        Some("promote") => Action::Promote,
        Some("pause") => Action::Pause,
        Some("resume") => Action::Resume,
        Some("abort") => Action::Abort,
        Some("retry") => Action::Retry,
        Some("undo") => Action::Undo,
        other => panic!("{other:?} is no action"),
    };
    let author = crossfade_api::Author {
        user: "ann".to_owned(),
        at: "now".to_owned(),
    };
    let mut control = ControlSpec {
        id: None,
        candidate: None,
        step: None,
        action,
        full: None,
        force: None,
        revision: None,
        reason: None,
        author: Some(author),
    };
    for word in &words[1..] {
        match word.split_once('=').unwrap_or((word, "")) {
            ("full", _) => control.full = Some(true),
            ("force", _) => control.force = Some(true),
            ("revision", number) => control.revision = Some(parse(number)),
            ("id", id) => control.id = Some(id.to_owned()),
            ("step", step) => control.step = Some(parse(step)),
            ("candidate", candidate) => control.candidate = Some(candidate.to_owned()),
            other => panic!("{other:?} in a command"),
        }
    }
    run.world.generation += 1;
    run.world.control = Some(control);
}

fn at(run: &Run, phase: &str, state: Option<&str>) -> bool {
    let there = run.memory.phase.as_str() == phase;
    let release = run.memory.release.as_ref();
    there
        && state.is_none_or(|wanted| {
            release.is_some_and(|release| match wanted.strip_prefix("step") {
                Some(step) => release.step == parse::<u32>(step),
                None => format!("{:?}", release.state) == wanted,
            })
        })
}

fn until(run: &mut Run, phase: &str, state: Option<&str>, strict: bool) {
    let late = run.world.now + PATIENCE;
    // Stages of the hand-over are shorter than a moment: pass by pass.
    while !at(run, phase, state) && run.world.now < late {
        if run.pass() {
            continue;
        }
        run.tick_quietly(late);
    }
    assert!(
        !strict || run.world.now < late,
        "never came to {phase} {state:?}:\n{}",
        run.log
    );
}

/// Pass by pass until the next one asks for that effect.
fn stage(run: &mut Run, effect: &str, strict: bool) {
    let late = run.world.now + PATIENCE;
    while !run.asks_for(effect) && run.world.now < late {
        if !run.pass() {
            run.tick_quietly(late);
        }
    }
    assert!(
        !strict || run.world.now < late,
        "never asked for {effect}:\n{}",
        run.log
    );
}

fn expect(run: &Run, line: &str, words: &[&str]) {
    let web = run.world.workload.as_ref();
    let holds = match words {
        // Every pod that a preview names is of this version.
        ["preview-shows", image] => run
            .world
            .services
            .iter()
            .filter(|service| service.preview)
            .all(|service| {
                !service.endpoints.is_empty()
                    && run
                        .world
                        .pods
                        .iter()
                        .filter(|pod| service.endpoints.contains(&pod.uid))
                        .all(|pod| pod.image == *image)
            }),
        ["phase", phase] => {
            run.memory.phase == Phase::Idle && *phase == "Idle"
                || run.memory.phase.as_str() == *phase
        }
        ["serves", image] => {
            run.world.services.iter().all(|service| {
                !service.endpoints.is_empty()
                    && run
                        .world
                        .pods
                        .iter()
                        .filter(|pod| service.endpoints.contains(&pod.uid))
                        .all(|pod| pod.image == *image)
            }) && run
                .world
                .pods
                .iter()
                .filter(|pod| pod.gone_at.is_none() && !pod.finished)
                .all(|pod| pod.image == *image)
        }
        // Whatever else runs.
        ["serves-only", image] => run.world.services.iter().all(|service| {
            let mut pods = run.world.pods.iter();
            pods.all(|pod| pod.image == *image || !service.endpoints.contains(&pod.uid))
        }),
        // The pods that serve are of this ReplicaSet.
        ["set", name] => {
            let mut active = run.world.sets.iter().filter(|set| set.replicas > 0);
            active.next().is_some_and(|set| set.name == *name) && active.next().is_none()
        }
        // A revision is still there to go back to.
        ["history", image] => run.world.sets.iter().any(|set| {
            matches!(&set.own, Own::Deployment(uid) if web.is_some_and(|web| web.uid == *uid))
                && set.replicas == 0
                && crate::world::image(&set.template) == *image
        }),
        ["rest"] => {
            let services = run.world.services.iter().all(|service| {
                service.hash.is_none()
                    && service.held.is_none()
                    && service
                        .fields
                        .as_array()
                        .is_some_and(|list| !list.is_empty())
                    && !service.fields.to_string().contains("\"crossfade\"")
            });
            let parked = run
                .world
                .sets
                .iter()
                .any(|set| set.own == crate::world::Own::Rollout);
            services
                && !parked
                && run.world.parallels.is_empty()
                && run.world.kept.is_empty()
                && web.is_none_or(|web| !web.paused)
                && run.memory.release.is_none()
                && run.memory.originals.is_empty()
        }
        ["outcome", outcome] => run
            .memory
            .history
            .first()
            .is_some_and(|entry| entry.outcome == *outcome),
        ["control", outcome] => run
            .memory
            .control
            .as_ref()
            .is_some_and(|control| control.outcome == *outcome),
        ["raw"] => {
            let wanted = raw("app:2");
            let web = web.is_some_and(|web| web.template == wanted);
            let serving = run
                .world
                .sets
                .iter()
                .find(|set| set.replicas > 0)
                .map(|set| {
                    let mut template = set.template.clone();
                    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
                        labels.remove("pod-template-hash");
                    }
                    template
                });
            web && serving == Some(wanted)
        }
        ["pods", number] => {
            run.world
                .pods
                .iter()
                .filter(|pod| pod.gone_at.is_none() && !pod.finished)
                .count()
                == parse::<usize>(number)
        }
        ["log", text @ ..] => logged(run, text),
        ["no-log", text @ ..] => !logged(run, text),
        _ => panic!("unknown: {line}"),
    };
    assert!(holds, "{line} does not hold:\n{}\n{}", run.log, run.end());
}

/// Whether the report says so, however it is folded.
fn logged(run: &Run, text: &[&str]) -> bool {
    let words: Vec<&str> = run.log.split_whitespace().collect();
    words.join(" ").contains(&text.join(" "))
}
