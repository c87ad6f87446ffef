//! What stands at the top of a scenario file: the cluster and the plan as they are before anything happens.

use std::collections::BTreeMap;

use crate::script::parse;
use crate::world::World;

/// Whether it is a line of this kind; then it is so.
pub fn stands(
    line: &str,
    words: &[&str],
    world: &mut World,
    spec: &mut serde_json::Value,
    annotations: &mut BTreeMap<String, String>,
) -> bool {
    match words {
        ["replicas", number] => world.web().replicas = parse(number),
        ["surge", number] => world.web().surge = parse(number),
        ["unavailable", number] => world.web().unavailable = parse(number),
        ["service", name, kind @ ..] => {
            world.add_service(name);
            let service = world.services.last_mut().expect("the one just made");
            match kind {
                [] => {}
                ["local"] => service.local_policy = true,
                ["headless"] => service.headless = true,
                // Of type LoadBalancer: what balances it is not kube-proxy.
                ["balancer"] => service.balanced = true,
                ["not-ready"] => service.publish_not_ready = true,
                _ => panic!("{kind:?} is no kind of Service"),
            }
        }
        ["preview", name] => {
            world.add_service(name);
            let service = world.services.last_mut().expect("the one just made");
            service.preview = true;
        }
        ["spec", ..] => {
            let more: serde_json::Value = serde_json::from_str(line.trim_start_matches("spec"))
                .unwrap_or_else(|error| panic!("{line}: {error}"));
            for (key, value) in more.as_object().expect("an object") {
                spec[key] = value.clone();
            }
        }
        ["annotation", key, value @ ..] => {
            annotations.insert((*key).to_owned(), value.join(" "));
        }
        _ => return false,
    }
    true
}
