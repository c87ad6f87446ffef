//! What stands around a release and is in none of its watches: pods of others behind its Services, Ingresses in front of
//! them, marks of workloads that are gone. Each is asked for as seldom as it can be. The release's own objects are
//! `snapshot`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossfade_api::Phase;
use crossfade_engine::Memory;
use crossfade_traffic_switching::ingress;
use serde_json::Value;
use tokio::time::Instant;

use crate::context::Context;
use crate::error::Failure;
use crate::leftovers;
use crate::lock;
use crate::observe::read::text;
use crate::observe::services;
use crate::queue::Key;
use crate::snapshot::Snapshot;
use crate::state::KeyState;
use crate::watch::Always;
use crate::wire::path;

/// Longest wait for the list of Ingresses.
const ASKING: Duration = Duration::from_secs(1);
/// After a failure they are asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Names of the Services that an Ingress sent to at a step of a candidate; `None`: the list was refused.
#[derive(Debug)]
pub struct BehindIngresses {
    step: (String, u32),
    names: Option<BTreeSet<String>>,
    at: Instant,
}

/// By Service uid: pods of others behind it. Asked once per Service and selector while nobody is
/// found; a stranger is looked for again, he may have been a pod of a ReplicaSet not listed yet.
pub(crate) async fn foreign(
    context: &Context,
    key: &Key,
    state: &KeyState,
    snapshot: &Snapshot,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut found = BTreeMap::new();
    let Some(workload) = snapshot.workload.as_deref() else {
        return Ok(found);
    };
    if snapshot.pods.is_empty() {
        return Ok(found);
    }
    let null = Value::Null;
    let template = workload.pointer("/spec/template").unwrap_or(&null);
    let sets: BTreeSet<String> = snapshot
        .replica_sets
        .iter()
        .map(|set| text(set, "/metadata/uid").to_owned())
        .collect();
    for question in services::questions(
        snapshot,
        template,
        workload.pointer("/spec/selector").unwrap_or(&null),
    ) {
        if lock(&state.services).contains(&question.token) {
            continue;
        }
        let strangers = if question.covered {
            services::strangers(&snapshot.pods, &question.selector, &sets)
        } else {
            let pods: Vec<Arc<Value>> = context
                .wire
                .list(
                    &path::pods(&key.namespace),
                    &question.selector,
                    "list a Service's pods",
                )
                .await?
                .into_iter()
                .map(Arc::new)
                .collect();
            services::strangers(&pods, &question.selector, &sets)
        };
        match strangers {
            None => {
                lock(&state.services).insert(question.token);
            }
            Some(pods) => {
                found.insert(question.service_uid, pods);
            }
        }
    }
    Ok(found)
}

/// The Services here that an Ingress sends to, asked once per step of a candidate. Not to know it is no reason to wait,
/// least of all for an abort: a flip then goes the longer way.
pub(crate) async fn behind_ingresses(
    context: &Context,
    key: &Key,
    state: &KeyState,
    rollout: &Value,
    memory: &Memory,
) -> Option<BTreeSet<String>> {
    let forward = matches!(
        memory.phase,
        Phase::Preparing | Phase::Progressing | Phase::Warm
    );
    let release = memory.release.as_ref().filter(|_| forward)?;
    let step = (release.candidate.clone(), release.step);
    let now = Instant::now();
    if let Some(known) = &*lock(&state.behind_ingresses)
        && known.step == step
        && (known.names.is_some() || now < known.at + ASK_AGAIN)
    {
        return known.names.clone();
    }
    if Always::unhandled_abort(rollout) {
        return None;
    }
    let path = path::ingresses(&key.namespace);
    let listed = (context.wire).list(&path, "", "list the Ingresses");
    let names = match tokio::time::timeout(ASKING, listed).await {
        Ok(Ok(ingresses)) => Some(
            (ingresses.iter())
                .flat_map(ingress::backends)
                .map(str::to_owned)
                .collect::<BTreeSet<String>>(),
        ),
        Ok(Err(failure)) => {
            tracing::warn!(workload = %key, %failure, "every Service is flipped by way of both sides");
            None
        }
        Err(_) => {
            tracing::warn!(workload = %key, "no list of Ingresses within {ASKING:?}: every Service is flipped by way of both sides");
            None
        }
    };
    *lock(&state.behind_ingresses) = Some(BehindIngresses {
        step,
        names: names.clone(),
        at: now,
    });
    names
}

/// Holders of Services here that exist no more; the workload itself and its former life are the planner's.
pub(crate) async fn departed(
    context: &Context,
    key: &Key,
    snapshot: &Snapshot,
    memory: &Memory,
) -> Result<BTreeSet<String>, Failure> {
    let uid = snapshot
        .workload
        .as_deref()
        .map_or("", |workload| text(workload, "/metadata/uid"));
    leftovers::departed(
        &context.wire,
        &key.namespace,
        &snapshot.services,
        &[uid, &memory.workload_uid],
    )
    .await
}
