//! From raw objects to what the planner sees. Pure: values in, values out; the only meaning given
//! here is the API's own. Templates, selectors and strategies pass through untouched.

pub mod claims;
pub mod pods;
pub mod read;
pub mod services;
pub mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crossfade_api::RolloutSpec;
use crossfade_api::annotations::{CANDIDATE, WORKLOAD_UID};
use crossfade_engine::Memory;
use crossfade_engine::observed::{Feed, KeptTemplate, Observed, RolloutSeen};
use crossfade_judge::Tick;
use jiff::Timestamp;
use serde_json::Value;

use crate::snapshot::Snapshot;
use read::{label, number, text};

/// What is not in the snapshot.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// This installation's name.
    pub installation: String,
    /// By Service uid: pods of others that it also selects, in words.
    pub foreign: BTreeMap<String, String>,
    /// uids that Services here are marked with and no Deployment has.
    pub departed: BTreeSet<String>,
    /// Names of the Services that an Ingress sends to; `None`: not known, so each of them may be.
    pub behind_ingresses: Option<BTreeSet<String>>,
    pub ticks: Vec<Tick>,
    pub feed: Option<Feed>,
    pub fenced_until: Option<Timestamp>,
    pub fresh_candidate: String,
}

/// What the planner sees.
#[must_use]
pub fn observe(
    rollout: &Value,
    spec: &RolloutSpec,
    memory: &Memory,
    snapshot: &Snapshot,
    extras: Extras,
) -> Observed {
    let rollout_uid = text(rollout, "/metadata/uid");
    let installation = claimed(rollout, &extras.installation);
    let workload = snapshot.workload.as_deref().map(|object| {
        let claimed_by = installation.or_else(|| claims::other_tool(object));
        workload::workload(object, claimed_by)
    });
    let workload_uid = workload
        .as_ref()
        .map_or(memory.workload_uid.as_str(), |workload| {
            workload.uid.as_str()
        });
    let parallels: Vec<_> = snapshot
        .parallels
        .iter()
        .map(|object| workload::parallel(object))
        .collect();

    let owners = pods::Owners {
        workload: workload_uid,
        rollout: rollout_uid,
        parallels: parallels
            .iter()
            .map(|parallel| parallel.uid.as_str())
            .collect(),
        parallel_name: memory
            .release
            .as_ref()
            .map(|release| release.parallel.as_str())
            .unwrap_or_default(),
    };
    let selector_known = snapshot.workload.is_some();
    let replica_sets: Vec<_> = snapshot
        .replica_sets
        .iter()
        .map(|object| pods::replica_set(object, &owners))
        // Without a selector the list is the whole namespace's: only what is ours counts.
        .filter(|set| {
            selector_known
                || matches!(
                    set.owner,
                    crossfade_engine::observed::Owner::Rollout
                        | crossfade_engine::observed::Owner::Parallel(_)
                )
        })
        .collect();
    let pods = pods::pods(&snapshot.pods, &replica_sets, memory);
    let services = services::services(&services::Look {
        snapshot,
        workload: workload.as_ref(),
        workload_uid,
        remembered_uid: &memory.workload_uid,
        replica_sets: &replica_sets,
        named: spec
            .traffic
            .as_ref()
            .and_then(|traffic| traffic.service.as_deref()),
        foreign: &extras.foreign,
        departed: &extras.departed,
        behind_ingresses: extras.behind_ingresses.as_ref(),
    });
    Observed {
        rollout: RolloutSeen {
            name: text(rollout, "/metadata/name").to_owned(),
            namespace: text(rollout, "/metadata/namespace").to_owned(),
            uid: rollout_uid.to_owned(),
            generation: number(rollout, "/metadata/generation"),
            control: spec.control.clone(),
            deleting: rollout.pointer("/metadata/deletionTimestamp").is_some(),
        },
        workload,
        parallels,
        replica_sets,
        pods,
        services,
        kept: kept(&snapshot.revisions),
        ticks: extras.ticks,
        feed: extras.feed,
        fenced_until: extras.fenced_until,
        fresh_candidate: extras.fresh_candidate,
        from_watches: !snapshot.live,
    }
}

/// Another installation that holds this Rollout, as its status says. At rest anybody may take it.
pub(crate) fn claimed(rollout: &Value, installation: &str) -> Option<String> {
    let holder = text(rollout, "/status/controller");
    let at_rest = matches!(text(rollout, "/status/phase"), "" | "Idle");
    (!holder.is_empty() && holder != installation && !at_rest)
        .then(|| format!("the Crossfade installation {holder}"))
}

fn kept(revisions: &[Arc<Value>]) -> Vec<KeptTemplate> {
    revisions
        .iter()
        .filter(|object| !label(object, WORKLOAD_UID).is_empty())
        .map(|object| KeptTemplate {
            name: text(object, "/metadata/name").to_owned(),
            uid: text(object, "/metadata/uid").to_owned(),
            candidate: label(object, CANDIDATE).to_owned(),
            hash: text(object, "/data/hash").to_owned(),
            template: object
                .pointer("/data/template")
                .cloned()
                .unwrap_or_default(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
