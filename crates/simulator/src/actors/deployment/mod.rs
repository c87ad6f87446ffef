//! The Deployment controller: one pass per Deployment, from a cache that lags, as in Kubernetes 1.34
//! (`pkg/controller/deployment`). A paused Deployment still adopts, scales and forgets history. No
//! pod is made or deleted here: that is the ReplicaSet controller's.

mod numbers;
mod rolling;
mod scale;
mod sets;
mod status;

use crossfade_fakeapi::At;
use std::sync::Arc;
use std::time::Duration;

use crossfade_fakeapi::Clock;
use fastrand::Rng;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

pub use numbers::{DESIRED, MAXIMUM, REVISION, REVISION_HISTORY};

use self::numbers::{counted, progress_deadline, rolling};
use self::scale::active;
use super::claim::Claimant;
use super::client::{Client, Refused};
use super::informer::{Event, Informer, Name};
use super::object::{
    condition, controller_of, deleting, fits, labels, name, namespace, replicas, text, uid,
};
use super::queue::WorkQueue;

/// The controller of all Deployments.
pub struct DeploymentController {
    client: Client,
    informer: Informer,
    clock: Clock,
    /// Draws who is first where several may adopt.
    random: Rng,
    queue: WorkQueue<Name>,
}

impl std::fmt::Debug for DeploymentController {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("DeploymentController")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

/// The kinds it looks at.
pub const SEES: [&str; 3] = ["deployments", "replicasets", "pods"];

/// The ReplicaSets of one Deployment.
#[derive(Debug)]
struct Sets {
    /// With the template of now.
    new: Option<Arc<Value>>,
    /// All others, oldest first.
    old: Vec<Arc<Value>>,
}

impl Sets {
    fn all(&self) -> Vec<Arc<Value>> {
        self.old.iter().chain(&self.new).cloned().collect()
    }
}

/// One pass over one Deployment.
#[derive(Debug)]
struct Pass<'a> {
    client: &'a Client,
    informer: &'a Informer,
    now: Timestamp,
    /// As the cache held it, with what this pass changed. Its resourceVersion stays the cache's:
    /// a second status write of one pass meets a conflict and is made by the next pass, as in the
    /// real controller.
    deployment: Value,
    /// Look again after this time.
    again: Option<Duration>,
}

impl DeploymentController {
    /// `informer` follows [`SEES`].
    #[must_use]
    pub fn new(client: Client, informer: Informer, clock: Clock, random: Rng) -> Self {
        Self {
            client,
            informer,
            clock,
            random,
            queue: WorkQueue::default(),
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
            match self.pass(&key).await {
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
        match event.resource {
            "deployments" => self.queue.add(event.name.clone()),
            "replicasets" => self.note_set(event),
            "pods" if event.after.is_none() => {
                if let Some(pod) = &event.before {
                    self.note_last_pod(pod);
                }
            }
            _ => {}
        }
    }

    fn note_set(&mut self, event: &Event) {
        let owner = |set: Option<&Arc<Value>>| {
            set.and_then(|set| controller_of(set)).map(|owner| {
                (
                    text(owner, "/kind").to_owned(),
                    text(owner, "/uid").to_owned(),
                    text(owner, "/name").to_owned(),
                )
            })
        };
        let (before, after) = (owner(event.before.as_ref()), owner(event.after.as_ref()));
        let namespace = &event.name.0;
        // Whoever lost it, then whoever has it; without an owner, all that could adopt it.
        let lost = before
            .clone()
            .filter(|before| after.as_ref() != Some(before));
        for (kind, uid_wanted, owner_name) in lost.iter().chain(&after) {
            let key = (namespace.clone(), owner_name.clone());
            if kind == "Deployment"
                && self
                    .informer
                    .get("deployments", &key)
                    .is_some_and(|found| uid(found) == uid_wanted)
            {
                self.queue.add(key);
            }
        }
        let Some(set) = event.after.as_ref().filter(|_| after.is_none()) else {
            return;
        };
        let moved = event
            .before
            .as_ref()
            .is_none_or(|before| lost.is_some() || labels(before) != labels(set));
        if moved && !deleting(set) {
            let mut fitting: Vec<Name> = self
                .informer
                .list("deployments", namespace)
                .filter(|found| fits(found.at("/spec/selector"), labels(set)))
                .map(|found| (namespace.clone(), name(found).to_owned()))
                .collect();
            // The real cache lists them in no order, and several workers take them: any may be first.
            self.random.shuffle(&mut fitting);
            fitting.into_iter().for_each(|key| self.queue.add(key));
        }
    }

    /// Recreate waits for the last pod to be gone.
    fn note_last_pod(&mut self, pod: &Value) {
        let Some(set) = controller_of(pod).map(|owner| text(owner, "/name").to_owned()) else {
            return;
        };
        let key = (namespace(pod).to_owned(), set);
        let owner = self
            .informer
            .get("replicasets", &key)
            .and_then(|set| controller_of(set))
            .map(|owner| (namespace(pod).to_owned(), text(owner, "/name").to_owned()));
        if let Some(key) = owner
            && self
                .informer
                .get("deployments", &key)
                .is_some_and(|deployment| !rolling(deployment))
        {
            self.queue.add(key);
        }
    }

    async fn pass(&self, key: &Name) -> Result<Option<Duration>, Refused> {
        let Some(deployment) = self.informer.get("deployments", key) else {
            return Ok(None);
        };
        let mut pass = Pass {
            client: &self.client,
            informer: &self.informer,
            now: (self.clock)(),
            deployment: (**deployment).clone(),
            again: None,
        };
        pass.sync().await?;
        Ok(pass.again)
    }
}

impl Pass<'_> {
    async fn sync(&mut self) -> Result<(), Refused> {
        let candidates: Vec<Arc<Value>> = self
            .informer
            .list("replicasets", namespace(&self.deployment))
            .cloned()
            .collect();
        let claimant = Claimant {
            object: &self.deployment,
            kind: "Deployment",
            resource: "deployments",
            claims: "replicasets",
        };
        let owned = claimant.claim(self.client, candidates).await?;
        if deleting(&self.deployment) {
            let sets = self.sets(&owned, false).await?;
            return self.plain_status(&sets).await;
        }
        self.say_paused().await?;
        let paused = self.deployment.at("/spec/paused") == Some(&Value::Bool(true));
        if paused {
            return self.scale_only(&owned, true).await;
        }
        if self.scaled(&owned).await? {
            return self.scale_only(&owned, false).await;
        }
        if rolling(&self.deployment) {
            self.rolling_update(&owned).await
        } else {
            self.recreate(&owned).await
        }
    }

    /// Keeps Progressing from counting while paused.
    async fn say_paused(&mut self) -> Result<(), Refused> {
        if progress_deadline(&self.deployment).is_none() {
            return Ok(());
        }
        let reason = condition(&self.deployment, "Progressing")
            .map(|condition| text(condition, "/reason").to_owned());
        let paused = self.deployment.at("/spec/paused") == Some(&Value::Bool(true));
        let said = reason.as_deref() == Some(status::PAUSED);
        if reason.as_deref() == Some(status::TIMED_OUT) || paused == said {
            return Ok(());
        }
        let (reason, message) = if paused {
            (status::PAUSED, "Deployment is paused")
        } else {
            (status::RESUMED, "Deployment is resumed")
        };
        let condition = status::new_condition("Progressing", "Unknown", reason, message, self.now);
        status::set_condition(&mut self.deployment["status"], condition);
        self.write_status().await
    }

    /// Whether an active ReplicaSet was sized for another number of replicas.
    async fn scaled(&mut self, owned: &[Arc<Value>]) -> Result<bool, Refused> {
        let sets = self.sets(owned, false).await?;
        let wanted = replicas(&self.deployment);
        Ok(sets
            .all()
            .iter()
            .filter(|set| active(set))
            .any(|set| counted(set, DESIRED).is_some_and(|desired| desired != wanted)))
    }

    async fn scale_only(&mut self, owned: &[Arc<Value>], paused: bool) -> Result<(), Refused> {
        let sets = self.sets(owned, false).await?;
        for wish in scale::wishes(&self.deployment, sets.new.as_ref(), &sets.old) {
            if wish.refresh || replicas(&wish.set) != wish.size {
                self.write_size(&wish.set, wish.size).await?;
            }
        }
        if paused {
            self.clean_up(&sets.old).await?;
        }
        self.plain_status(&sets).await
    }

    /// Writes a size; nothing if it has that already.
    async fn resize(&self, set: &Arc<Value>, size: i64) -> Result<Option<Arc<Value>>, Refused> {
        if replicas(set) == size {
            return Ok(None);
        }
        self.write_size(set, size).await.map(Some)
    }

    /// Writes size and the annotations about it, if either differs.
    async fn write_size(&self, set: &Arc<Value>, size: i64) -> Result<Arc<Value>, Refused> {
        let mut copy = (**set).clone();
        let stale = sets::annotate_size(&mut copy, &self.deployment);
        if !stale && replicas(set) == size {
            return Ok(Arc::clone(set));
        }
        copy["spec"]["replicas"] = size.into();
        self.client
            .replace("replicasets", "", copy)
            .await
            .map(Arc::new)
    }

    /// The status of a Deployment that is paused, being scaled or deleted.
    async fn plain_status(&mut self, sets: &Sets) -> Result<(), Refused> {
        let status = status::counted(&self.deployment, &sets.all(), sets.new.as_ref(), self.now);
        if self.deployment.get("status") == Some(&status) {
            return Ok(());
        }
        self.deployment["status"] = status;
        self.write_status().await
    }

    /// The status of a Deployment that rolls out.
    async fn rollout_status(&mut self, sets: &Sets) -> Result<(), Refused> {
        let status = status::of_rollout(&self.deployment, &sets.all(), sets.new.as_ref(), self.now);
        if self.deployment.get("status") == Some(&status) {
            self.again =
                status::look_again(&self.deployment, &status, self.now).map(Duration::from_secs);
            return Ok(());
        }
        self.deployment["status"] = status;
        self.write_status().await
    }

    async fn write_status(&self) -> Result<(), Refused> {
        let mut copy = self.deployment.clone();
        if copy["status"].is_null() {
            copy["status"] = json!({});
        }
        self.client
            .replace("deployments", "status", copy)
            .await
            .map(|_| ())
    }
}
