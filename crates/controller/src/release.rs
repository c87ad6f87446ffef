//! What a release under way keeps open between passes: its six watches and the feed of its pods.
//! What is read from them, and what it leads to, is the pass's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossfade_api::Phase;
use crossfade_engine::Memory;
use crossfade_engine::observed::{Observed, Owner};
use crossfade_metrics_analysis::PodsSource;
use crossfade_metrics_analysis::template::container_ports;
use serde_json::Value;

use crate::context::Context;
use crate::feed::{Feed, Source};
use crate::lock;
use crate::observe::read::text;
use crate::queue::Key;
use crate::snapshot::{Snapshot, label_selector};
use crate::state::KeyState;
use crate::watch::release::ReleaseWatches;

/// Whether a release is under way.
pub(crate) fn under_way(memory: &Memory) -> bool {
    memory.release.is_some() && !matches!(memory.phase, Phase::Idle | Phase::RolledBack)
}

/// Whether watches are kept open: a release is under way, or a gated template waits for a mend that
/// nothing else would show us.
fn watched(memory: &Memory) -> bool {
    under_way(memory) || memory.refused.is_some()
}

/// Number of the last tick in the written memory.
pub(crate) fn folded(memory: &Memory) -> Option<u64> {
    memory
        .release
        .as_ref()
        .and_then(|release| release.judge.as_ref())
        .and_then(|judge| judge.last_tick)
}

/// Opens or closes watches and feed as the release needs them.
pub(crate) fn keep_open(
    context: &Arc<Context>,
    key: &Key,
    state: &Arc<KeyState>,
    memory: &Memory,
    snapshot: &Snapshot,
    seen: &Observed,
) {
    let Some(workload) = snapshot.workload.as_deref().filter(|_| watched(memory)) else {
        state.close_release();
        return;
    };
    {
        let mut watches = lock(&state.watches);
        let selector = label_selector(workload.pointer("/spec/selector").unwrap_or(&Value::Null));
        if !watches
            .as_ref()
            .is_some_and(|watches| watches.fits(text(workload, "/metadata/uid"), &selector))
        {
            // Until they stand, passes read live.
            *watches = Some(Arc::new(ReleaseWatches::open(context, key, workload)));
        }
    }
    feed(context, key, state, memory, snapshot, seen);
}

fn feed(
    context: &Arc<Context>,
    key: &Key,
    state: &KeyState,
    memory: &Memory,
    snapshot: &Snapshot,
    seen: &Observed,
) {
    let mut feed = lock(&state.feed);
    let wanted = memory.release.as_ref().filter(|release| {
        release.plan.analysis.scrape && matches!(memory.phase, Phase::Progressing | Phase::Warm)
    });
    let Some(release) = wanted else {
        *feed = None;
        return;
    };
    let analysis = &release.plan.analysis;
    let pods = PodsSource::from(&analysis.pods);
    let interval = Duration::from_millis(analysis.interval.max(100));
    if !feed
        .as_ref()
        .is_some_and(|feed| feed.fits(&release.candidate, &pods, interval))
    {
        *feed = Some(Arc::new(Feed::start(
            context,
            key,
            &release.candidate,
            pods,
            interval,
            folded(memory),
        )));
    }
    if let Some(feed) = feed.as_ref() {
        feed.aim(sources(snapshot, seen, &release.stable.uid));
    }
}

/// The pods of both sides that can answer.
fn sources(snapshot: &Snapshot, seen: &Observed, stable: &str) -> Vec<Source> {
    let candidates: BTreeSet<&str> = seen
        .replica_sets
        .iter()
        .filter(|set| matches!(set.owner, Owner::Parallel(_)))
        .map(|set| set.uid.as_str())
        .collect();
    let raw: BTreeMap<&str, &Value> = snapshot
        .pods
        .iter()
        .map(|pod| (text(pod, "/metadata/uid"), pod.as_ref()))
        .collect();
    // The ports stand in the template: pods are kept without their spec.
    let ports: BTreeMap<&str, Vec<u16>> = seen
        .replica_sets
        .iter()
        .map(|set| (set.uid.as_str(), container_ports(&set.template)))
        .collect();
    seen.pods
        .iter()
        .filter(|pod| pod.ready && !pod.finished && !pod.deleting)
        .filter(|pod| pod.replica_set == stable || candidates.contains(pod.replica_set.as_str()))
        .map(|pod| Source {
            uid: pod.uid.clone(),
            name: pod.name.clone(),
            ip: pod.ip.clone(),
            annotations: raw
                .get(pod.uid.as_str())
                .and_then(|object| object.pointer("/metadata/annotations"))
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect(),
            container_ports: ports
                .get(pod.replica_set.as_str())
                .cloned()
                .unwrap_or_default(),
            created: pod.created,
            candidate: pod.replica_set != stable,
        })
        .collect()
}
