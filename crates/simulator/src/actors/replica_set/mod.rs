//! The ReplicaSet controller: makes and deletes pods until there are as many as asked for, adopts and
//! releases them, reports. From a cache that lags, with expectations that keep it from doing a
//! thing twice, as in Kubernetes 1.34 (`pkg/controller/replicaset`). What a pod does is not known
//! here.

mod rank;

use crossfade_fakeapi::At;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossfade_fakeapi::Clock;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::claim::Claimant;
use super::client::{Client, Refused};
use super::informer::{Event, Informer, Name};
use super::object::{
    condition, controller_of, controller_reference, controller_uid, deleting, fits, labels, list,
    name, namespace, number, pod_active, pod_ready, replicas, stamp, text, time, uid,
};
use super::queue::WorkQueue;
use super::quota::Quotas;

/// Pods made or deleted in one pass at most.
const BURST: usize = 500;
/// How long an expectation holds back: then what was expected is taken as lost.
const EXPECTATION: Duration = Duration::from_secs(300);

/// What a pass has done and the cache has not shown yet.
#[derive(Debug)]
struct Expected {
    creations: usize,
    /// uids of pods that are to go.
    deletions: BTreeSet<String>,
    since: Instant,
}

/// The controller of all ReplicaSets.
pub struct ReplicaSetController {
    client: Client,
    informer: Informer,
    clock: Clock,
    quotas: Quotas,
    queue: WorkQueue<Name>,
    expected: BTreeMap<Name, Expected>,
}

impl std::fmt::Debug for ReplicaSetController {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ReplicaSetController")
            .field("queue", &self.queue)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

/// The kinds it looks at.
pub const SEES: [&str; 2] = ["replicasets", "pods"];

impl ReplicaSetController {
    /// `informer` follows [`SEES`].
    #[must_use]
    pub fn new(client: Client, informer: Informer, clock: Clock, quotas: Quotas) -> Self {
        Self {
            client,
            informer,
            clock,
            quotas,
            queue: WorkQueue::default(),
            expected: BTreeMap::new(),
        }
    }

    /// Works until dropped.
    pub async fn run(mut self) {
        for event in self.informer.initial() {
            self.note(&event);
        }
        loop {
            for event in self.informer.take() {
                self.note(&event);
            }
            let Some(key) = self.queue.pop(Instant::now()) else {
                self.informer.wait(self.queue.next_at()).await;
                continue;
            };
            match self.sync(&key).await {
                Ok(again) => {
                    self.queue.forget(&key);
                    if let Some(again) = again {
                        self.queue.add_at(key, Instant::now() + again);
                    }
                }
                Err(_) => self.queue.retry(key, Instant::now()),
            }
        }
    }

    fn note(&mut self, event: &Event) {
        if event.resource == "replicasets" {
            let same = match (&event.before, &event.after) {
                (Some(before), Some(after)) => uid(before) == uid(after),
                _ => false,
            };
            if !same {
                self.expected.remove(&event.name);
            }
            self.queue.add(event.name.clone());
            return;
        }
        let (before, after) = (event.before.as_ref(), event.after.as_ref());
        let owner_before = before.and_then(|pod| self.owner(pod));
        let owner_after = after.and_then(|pod| self.owner(pod));
        if before.is_none()
            && let Some(key) = &owner_after
            && let Some(expected) = self.expected.get_mut(key)
        {
            expected.creations = expected.creations.saturating_sub(1);
        }
        let going = after.is_none_or(|pod| deleting(pod));
        if going
            && let (Some(key), Some(pod)) = (
                owner_before.as_ref().or(owner_after.as_ref()),
                before.or(after),
            )
            && let Some(expected) = self.expected.get_mut(key)
        {
            expected.deletions.remove(uid(pod));
        }
        let orphan = after.is_some_and(|pod| controller_of(pod).is_none());
        for key in owner_before.into_iter().chain(owner_after.clone()) {
            self.queue.add(key);
        }
        let Some(pod) = after else { return };
        if orphan && !deleting(pod) {
            let fitting: Vec<Name> = self
                .informer
                .list("replicasets", namespace(pod))
                .filter(|set| fits(set.at("/spec/selector"), labels(pod)))
                .map(|set| (namespace(set).to_owned(), name(set).to_owned()))
                .collect();
            fitting.into_iter().for_each(|key| self.queue.add(key));
        }
        // A pod that has just become ready becomes available only later, and nothing will tell.
        if let Some(key) = owner_after
            && pod_ready(pod)
            && before.is_none_or(|before| !pod_ready(before))
            && let Some(wait) = self
                .informer
                .get("replicasets", &key)
                .map(|set| min_ready(set))
            && wait > 0
        {
            let wait = Duration::from_secs(u64::try_from(wait).unwrap_or_default() + 1);
            self.queue.add_at(key, Instant::now() + wait);
        }
    }

    /// The ReplicaSet that controls a pod, if the cache knows it under this uid.
    fn owner(&self, pod: &Value) -> Option<Name> {
        let owner = controller_of(pod).filter(|owner| text(owner, "/kind") == "ReplicaSet")?;
        let key = (namespace(pod).to_owned(), text(owner, "/name").to_owned());
        self.informer
            .get("replicasets", &key)
            .is_some_and(|set| uid(set) == text(owner, "/uid"))
            .then_some(key)
    }

    fn satisfied(&self, key: &Name) -> bool {
        self.expected.get(key).is_none_or(|expected| {
            (expected.creations == 0 && expected.deletions.is_empty())
                || expected.since.elapsed() > EXPECTATION
        })
    }

    async fn sync(&mut self, key: &Name) -> Result<Option<Duration>, Refused> {
        let Some(set) = self.informer.get("replicasets", key).cloned() else {
            self.expected.remove(key);
            return Ok(None);
        };
        let satisfied = self.satisfied(key);
        let candidates: Vec<Arc<Value>> = self
            .informer
            .list("pods", &key.0)
            .filter(|pod| pod_active(pod))
            .cloned()
            .collect();
        let claimant = Claimant {
            object: &set,
            kind: "ReplicaSet",
            resource: "replicasets",
            claims: "pods",
        };
        let pods = claimant.claim(&self.client, candidates).await?;
        let managed = if satisfied && !deleting(&set) {
            self.manage(key, &set, &pods).await
        } else {
            Ok(())
        };
        let now = (self.clock)();
        let status = status(&set, &pods, managed.as_ref().err(), now);
        let available = number(&status, "/availableReplicas");
        let ready = number(&status, "/readyReplicas");
        self.write_status(&set, status).await?;
        managed?;
        let wait = min_ready(&set);
        let wanted = replicas(&set);
        Ok((wait > 0 && ready == wanted && available != wanted)
            .then(|| Duration::from_secs(u64::try_from(wait).unwrap_or_default())))
    }

    async fn manage(
        &mut self,
        key: &Name,
        set: &Arc<Value>,
        pods: &[Arc<Value>],
    ) -> Result<(), Refused> {
        let wanted = usize::try_from(replicas(set)).unwrap_or_default();
        if pods.len() < wanted {
            let missing = (wanted - pods.len()).min(BURST);
            self.expect(key, missing, BTreeSet::new());
            return self.create(key, set, missing).await;
        }
        let surplus = (pods.len() - wanted).min(BURST);
        if surplus == 0 {
            return Ok(());
        }
        let related = self.related(set);
        let doomed = rank::first_to_go(pods, &related, surplus, (self.clock)());
        let uids = doomed.iter().map(|pod| uid(pod).to_owned()).collect();
        self.expect(key, 0, uids);
        let mut failure = None;
        for pod in doomed {
            let gone = self
                .client
                .delete("pods", namespace(&pod), name(&pod), json!({}))
                .await;
            if let Err(refused) = gone {
                if let Some(expected) = self.expected.get_mut(key) {
                    expected.deletions.remove(uid(&pod));
                }
                if !refused.not_found() {
                    failure.get_or_insert(refused);
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn expect(&mut self, key: &Name, creations: usize, deletions: BTreeSet<String>) {
        let expected = Expected {
            creations,
            deletions,
            since: Instant::now(),
        };
        self.expected.insert(key.clone(), expected);
    }

    /// 1, 2, 4, … at a time, and no further batch after one that failed: a quota that is full
    /// refuses a few and not five hundred.
    async fn create(&mut self, key: &Name, set: &Value, missing: usize) -> Result<(), Refused> {
        let (mut left, mut batch, mut made) = (missing, 1, 0);
        let mut failure = None;
        while left > 0 && failure.is_none() {
            for _ in 0..batch.min(left) {
                left -= 1;
                let pod = pod_of(set);
                let created = match self.quotas.refuse(&self.client, &pod) {
                    Some(refused) => Err(refused),
                    None => self.client.create("pods", &key.0, pod).await.map(|_| ()),
                };
                match created {
                    Ok(()) => made += 1,
                    // Tried again would be refused for ever; the ReplicaSet goes too.
                    Err(refused) if refused.namespace_terminating() => made += 1,
                    Err(refused) => {
                        failure.get_or_insert(refused);
                    }
                }
            }
            batch *= 2;
        }
        if let Some(expected) = self.expected.get_mut(key) {
            expected.creations = expected.creations.saturating_sub(missing - made);
        }
        failure.map_or(Ok(()), Err)
    }

    /// Active pods of all ReplicaSets of the same owner.
    fn related(&self, set: &Value) -> Vec<Arc<Value>> {
        let owner = controller_uid(set);
        let sets: BTreeSet<&str> = self
            .informer
            .list("replicasets", namespace(set))
            .filter(|other| {
                uid(other) == uid(set) || (!owner.is_empty() && controller_uid(other) == owner)
            })
            .map(|other| uid(other))
            .collect();
        self.informer
            .list("pods", namespace(set))
            .filter(|pod| pod_active(pod) && sets.contains(controller_uid(pod)))
            .cloned()
            .collect()
    }

    async fn write_status(&self, set: &Arc<Value>, status: Value) -> Result<(), Refused> {
        let mut copy = (**set).clone();
        for again in [true, false] {
            if same_status(&copy, &status) {
                return Ok(());
            }
            let mut status = status.clone();
            // The generation the pass has seen, never one it has not.
            status["observedGeneration"] = number(set, "/metadata/generation").into();
            copy["status"] = status;
            match self
                .client
                .replace("replicasets", "status", copy.clone())
                .await
            {
                Err(_) if again => {
                    copy = self
                        .client
                        .get("replicasets", namespace(set), name(set), "")
                        .await?;
                }
                other => return other.map(|_| ()),
            }
        }
        Ok(())
    }
}

fn min_ready(set: &Value) -> i64 {
    number(set, "/spec/minReadySeconds")
}

/// A pod of the template, owned by the ReplicaSet.
fn pod_of(set: &Value) -> Value {
    let mut metadata = Map::new();
    metadata.insert("generateName".to_owned(), format!("{}-", name(set)).into());
    metadata.insert("namespace".to_owned(), namespace(set).into());
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = set
            .at("/spec/template/metadata")
            .and_then(|template| template.get(field))
            .filter(|value| !value.is_null())
        {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let owner = controller_reference(set, "apps/v1", "ReplicaSet");
    metadata.insert("ownerReferences".to_owned(), json!([owner]));
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": set.at("/spec/template/spec"),
    })
}

/// Whether a pod has been ready for `wait` seconds.
fn pod_available(pod: &Value, wait: i64, now: Timestamp) -> bool {
    pod_ready(pod)
        && (wait == 0
            || condition(pod, "Ready")
                .and_then(|ready| time(ready, "/lastTransitionTime"))
                .is_some_and(|since| since.as_millisecond() + wait * 1000 <= now.as_millisecond()))
}

fn status(set: &Value, pods: &[Arc<Value>], failure: Option<&Refused>, now: Timestamp) -> Value {
    let template = set
        .at("/spec/template/metadata/labels")
        .and_then(Value::as_object);
    let count = |keep: &dyn Fn(&Value) -> bool| pods.iter().filter(|pod| keep(pod)).count();
    let labelled = count(&|pod| {
        template
            .into_iter()
            .flatten()
            .all(|(key, value)| labels(pod).and_then(|labels| labels.get(key)) == Some(value))
    });
    let mut status = json!({"replicas": pods.len()});
    for (field, count) in [
        ("fullyLabeledReplicas", labelled),
        ("readyReplicas", count(&|pod| pod_ready(pod))),
        (
            "availableReplicas",
            count(&|pod| pod_available(pod, min_ready(set), now)),
        ),
    ] {
        if count != 0 {
            status[field] = count.into();
        }
    }
    let mut conditions = list(set, "/status/conditions").to_vec();
    let failed = condition(set, "ReplicaFailure").is_some();
    match failure {
        // The first message stays until a pass succeeds.
        Some(refused) if !failed => {
            let missing = pods.len() < usize::try_from(replicas(set)).unwrap_or_default();
            conditions.push(json!({
                "type": "ReplicaFailure",
                "status": "True",
                "reason": if missing { "FailedCreate" } else { "FailedDelete" },
                "message": refused.message,
                "lastTransitionTime": stamp(now),
            }));
        }
        None if failed => conditions.retain(|known| text(known, "/type") != "ReplicaFailure"),
        _ => {}
    }
    if !conditions.is_empty() {
        status["conditions"] = conditions.into();
    }
    status
}

fn same_status(set: &Value, status: &Value) -> bool {
    [
        "/replicas",
        "/fullyLabeledReplicas",
        "/readyReplicas",
        "/availableReplicas",
    ]
    .iter()
    .all(|field| number(status, field) == number(set, &format!("/status{field}")))
        && number(set, "/metadata/generation") == number(set, "/status/observedGeneration")
        && list(set, "/status/conditions") == list(status, "/conditions")
}
