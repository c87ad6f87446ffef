//! Services on which a release was cut off for good: the workload whose mark they carry is deleted, and
//! its Rollout, with all that was remembered, went with it. A pin on such a Service would serve nobody,
//! or hold up whoever comes after. Found when a workload goes and when a leader begins; what is done
//! about them is the planner's, as everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crossfade_api::RolloutSpec;
use crossfade_api::annotations::HELD_BY;
use crossfade_engine::Memory;
use crossfade_engine::validated::Policies;
use serde_json::Value;
use tokio::time::Instant;

use crate::compile::Names;
use crate::context::Context;
use crate::error::Failure;
use crate::observe::read::{deleting, label, text};
use crate::observe::{self, Extras};
use crate::perform::perform;
use crate::queue::Key;
use crate::snapshot::Snapshot;
use crate::state::KeyState;
use crate::watch::store;
use crate::wire::{Wire, path};

/// The key under which a leader looks for leftovers when it begins: no object has an empty name. Without
/// a namespace all of them are meant.
pub(crate) fn keys(namespaces: Option<&[String]>) -> Vec<Key> {
    match namespaces {
        None => vec![Key::new("", "")],
        Some(names) => names.iter().map(|name| Key::new(name, "")).collect(),
    }
}

/// Of the workloads whose marks these Services carry, but for the `known` ones, those that are gone or going;
/// asked of the server, because caches may not have seen one yet that pins.
///
/// # Errors
/// When they cannot be asked for.
pub(crate) async fn departed(
    wire: &Wire,
    namespace: &str,
    services: &[Arc<Value>],
    known: &[&str],
) -> Result<BTreeSet<String>, Failure> {
    let mut holders: BTreeSet<String> = services
        .iter()
        .map(|service| label(service, HELD_BY))
        .filter(|uid| !uid.is_empty() && !known.contains(uid))
        .map(str::to_owned)
        .collect();
    if holders.is_empty() {
        return Ok(holders);
    }
    let alive = wire
        .list(
            &path::deployments(namespace, ""),
            "",
            "look for the holders of Services",
        )
        .await?;
    // One that is going takes its Rollout along first; a node that is lost can keep it going for hours.
    for workload in alive.iter().filter(|workload| !deleting(workload)) {
        holders.remove(text(workload, "/metadata/uid"));
    }
    Ok(holders)
}

/// Gives back what no workload holds any more, in one namespace or in all. Returns whether something was
/// written, so that it is looked at again.
///
/// # Errors
/// The first refusal; the next pass goes on.
pub(crate) async fn give_back(
    context: &Arc<Context>,
    state: &Arc<KeyState>,
    namespace: &str,
) -> Result<bool, Failure> {
    let marked = context
        .wire
        .list(
            &path::services(namespace, ""),
            HELD_BY,
            "list marked Services",
        )
        .await?;
    let mut places: BTreeMap<String, Vec<Arc<Value>>> = BTreeMap::new();
    for service in marked {
        let (namespace, _) = store::place(&service);
        places.entry(namespace).or_default().push(Arc::new(service));
    }
    let mut done = 0;
    for (namespace, services) in places {
        let departed = departed(&context.wire, &namespace, &services, &[]).await?;
        if departed.is_empty() {
            continue;
        }
        let snapshot = Snapshot {
            services,
            live: true,
            ..Snapshot::default()
        };
        let extras = Extras {
            installation: context.settings.installation.clone(),
            departed,
            ..Extras::default()
        };
        let (spec, memory) = (RolloutSpec::default(), Memory::default());
        let seen = observe::observe(&Value::Null, &spec, &memory, &snapshot, extras);
        let planner = &context.ports.planner;
        let validated = planner.validate(&spec, &BTreeMap::new(), &Policies::default());
        let decision = planner.step(&validated, &seen, &memory, context.ports.clock.now());
        let names = Names {
            namespace,
            ..Names::default()
        };
        let performed = perform(context, state, &names, &decision.effects, Instant::now()).await;
        // What took too long is looked at once more.
        done += performed.done + usize::from(performed.stale);
        if let Some(refusal) = performed.refused {
            return Err(refusal);
        }
    }
    Ok(done > 0)
}
