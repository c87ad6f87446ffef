//! What happens to the cluster in the scenario files, by itself or by the hands of others: pods, Services, room, metrics, what
//! is refused. What users ask of a release stands in `script`.

use serde_json::json;

use crate::objects::{PodState, Svc};
use crate::run::Run;
use crate::script::{length, parse};

/// Whether it is a command of this kind; then it has happened.
pub fn happens(run: &mut Run, words: &[&str]) -> bool {
    match words {
        ["pod-fails", side, count] => pods_fail(run, side, parse(count)),
        // At one moment, as with the node they are on.
        ["pods-fail-both", count] => {
            pods_fail(run, "candidate", parse(count));
            pods_fail(run, "stable", parse(count));
        }
        ["pod-evicted", side] => {
            let uid = of_side(run, side).first().expect("a pod").uid.clone();
            run.excuse(&uid);
            let mut pods = run.world.pods.iter_mut();
            let pod = pods.find(|pod| pod.uid == uid).expect("it is there");
            (pod.finished, pod.ready, pod.ready_at) = (true, false, None);
            run.world.moves += 1;
        }
        ["pod-crashes", "candidate"] => {
            let pods = run.candidate_pods();
            let uid = pods.first().expect("a candidate pod").uid.clone();
            let pod = run
                .world
                .pods
                .iter_mut()
                .find(|pod| pod.uid == uid)
                .expect("it is there");
            pod.ready = false;
            pod.ready_at = None;
            pod.restarts = 1;
            pod.trouble = Some(crossfade_engine::observed::PodTrouble {
                container: "app".to_owned(),
                reason: "CrashLoopBackOff".to_owned(),
                message: "exit code 1".to_owned(),
            });
        }
        ["from-watches"] => run.world.watched = true,
        ["pods-unseen"] => run.world.pods_unseen = true,
        ["metrics", "off"] => run.world.metrics = false,
        ["metrics", "on"] => run.world.metrics = true,
        ["stable-metrics", "off"] => run.world.stable_is_silent = true,
        ["rate", number] => run.world.rate = parse(number),
        ["quota", "none"] => run.world.quota = None,
        ["quota", number] => run.world.quota = Some(parse(number)),
        ["room", "any"] => {
            run.world.room = None;
            run.world.moves += 1;
        }
        ["room", number] => run.world.room = Some(parse(number)),
        ["fence", time] => run.world.fence = Some(run.world.now + length(time)),
        ["service-appears", name] => run.world.add_service(name),
        ["service-appears", name, "foreign"] => {
            run.world.add_service(name);
            let service = run.world.services.last_mut().expect("the one just made");
            service.refusal = Some("it also selects pods of others (db-0)".to_owned());
        }
        ["service-goes", name] => run.world.services.retain(|service| service.name != *name),
        // `replace` drops our mark as well; a forced server-side apply the selector only.
        ["service-rewritten" | "service-reset", name] => {
            let rv = run.world.rv();
            let service = service(run, name);
            (service.hash, service.rv) = (None, rv);
            if words[0] == "service-rewritten" {
                service.held = None;
            }
            service.fields = json!([{"manager": "argocd", "operation": "Apply", "fieldsV1": {"f:spec": {"f:selector": {}}}}]);
        }
        ["service-pinned-by-hand", name] => {
            let rv = run.world.rv();
            let service = service(run, name);
            (service.hash, service.rv) = (Some("abc".to_owned()), rv);
        }
        // Between the two writes of another workload's release.
        ["service-held-by-another", name] => {
            let service = service(run, name);
            service.held = Some(crate::objects::ANOTHER_WORKLOAD.to_owned());
            let list = service.fields.as_array_mut().expect("a list");
            list.push(json!({"manager": crate::world::OURSELVES}));
        }
        ["service-foreign", name] => {
            let service = service(run, name);
            service.refusal = Some("it also selects pods of others (db-0)".to_owned());
        }
        // Whatever was wrong with it, or stood in the way.
        ["service-mended", name] => {
            let rv = run.world.rv();
            let service = service(run, name);
            (service.hash, service.held, service.refusal) = (None, None, None);
            service.rv = rv;
            let list = service.fields.as_array_mut().expect("a list");
            list.retain(|entry| entry["manager"] != crate::world::OURSELVES);
        }
        // An Ingress names it from now on.
        ["ingress-appears", name] => {
            service(run, name).balanced = true;
            run.world.moves += 1;
        }
        ["refuse-copies"] => run.world.refuses_copies = true,
        ["allow-copies"] => run.world.refuses_copies = false,
        ["refuse-sets"] => run.world.refuses_sets = true,
        ["allow-sets"] => run.world.refuses_sets = false,
        ["delete-stable"] => {
            run.lawless = true;
            let release = run.memory.release.clone().unwrap_or_default();
            for pod in run.stable_pods() {
                run.excuse(&pod.uid);
            }
            run.world
                .sets
                .retain(|known| known.uid != release.stable.uid);
            run.world
                .doomed
                .push((run.world.now + 1000, release.stable.uid));
        }
        // Parked or not: it is empty.
        ["delete-revision", image] => {
            let gone = |set: &crate::world::Set| {
                set.replicas == 0 && crate::world::image(&set.template) == *image
            };
            run.world.sets.retain(|set| !gone(set));
            run.world.moves += 1;
        }
        ["delete-parked"] => {
            let parked = |set: &&crate::world::Set| set.own == crate::world::Own::Rollout;
            let uids: Vec<String> = (run.world.sets.iter().filter(parked))
                .map(|set| set.uid.clone())
                .collect();
            run.world.sets.retain(|set| !uids.contains(&set.uid));
            let at = run.world.now + 1000;
            run.world
                .doomed
                .extend(uids.into_iter().map(|uid| (at, uid)));
        }
        ["delete-candidate"] => {
            let set = run
                .memory
                .release
                .as_ref()
                .and_then(|release| release.set.clone())
                .unwrap_or_default()
                .uid;
            for pod in run.candidate_pods() {
                run.excuse(&pod.uid);
            }
            run.world.sets.retain(|known| known.uid != set);
            run.world.doomed.push((run.world.now + 1000, set));
        }
        ["readiness", side, count, "off"] => readiness(run, side, parse(count), false),
        ["readiness", side, count, "on"] => readiness(run, side, parse(count), true),
        ["deployment-controller-stops"] => run.world.deployments_rest = true,
        ["deployment-controller-runs"] => run.world.deployments_rest = false,
        ["kept-template-deleted"] => {
            run.world.kept.clear();
            run.world.moves += 1;
        }
        ["refuse-services"] => run.world.refuses_services = true,
        ["allow-services"] => run.world.refuses_services = false,
        ["endpoints-lag", time] => run.world.lag = length(time),
        _ => return false,
    }
    true
}

fn service<'a>(run: &'a mut Run, name: &str) -> &'a mut Svc {
    (run.world.services.iter_mut())
        .find(|service| service.name == name)
        .expect("a Service of that name")
}

/// The kubelet says so of the first pods of a side; they run on.
fn readiness(run: &mut Run, side: &str, count: usize, ready: bool) {
    for pod in of_side(run, side).into_iter().take(count) {
        run.excuse(&pod.uid);
        let now = run.world.now;
        run.world.moves += 1;
        if let Some(known) = run.world.pods.iter_mut().find(|known| known.uid == pod.uid) {
            known.ready = ready;
            known.ready_at = None;
            known.ready_since = now;
        }
    }
}

fn of_side(run: &Run, side: &str) -> Vec<PodState> {
    match side {
        "candidate" => run.candidate_pods(),
        "stable" => run.stable_pods(),
        other => panic!("{other} is no side"),
    }
}

fn pods_fail(run: &mut Run, side: &str, count: usize) {
    for pod in of_side(run, side).into_iter().take(count) {
        run.excuse(&pod.uid);
        let gone = run.world.now + run.world.grace;
        if let Some(known) = run.world.pods.iter_mut().find(|known| known.uid == pod.uid) {
            known.gone_at = Some(gone);
        }
    }
}
