//! Which ReplicaSet is the new one, its revision and annotations, making it, and forgetting old ones.
//! After `pkg/controller/deployment/sync.go` and `util/deployment_util.go` of Kubernetes 1.34. How
//! large they are is not decided here.

use crossfade_fakeapi::At;
use std::sync::Arc;

use serde_json::{Value, json};

use super::numbers::{
    DESIRED, MAXIMUM, REVISION, REVISION_HISTORY, counted, max_surge, progress_deadline,
    replicas_of_new,
};
use super::scale::by_creation;
use super::status::{CREATED, FOUND, NOT_CREATED, new_condition, set_condition};
use super::{Pass, Sets};
use crate::actors::client::Refused;
use crate::actors::object::{
    annotate, annotation, condition, controller_reference, controller_uid, deleting, name,
    namespace, number, replicas, text, uid,
};
use crate::actors::template::{HASH_LABEL, hash, same};

/// Annotations of a Deployment that are not copied to its ReplicaSets.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.to",
];

/// Writes both size annotations, as `scale` reads them; says whether one changed.
pub fn annotate_size(set: &mut Value, deployment: &Value) -> bool {
    let desired = replicas(deployment);
    let first = annotate(set, DESIRED, &desired.to_string());
    let second = annotate(set, MAXIMUM, &(desired + max_surge(deployment)).to_string());
    first || second
}

/// Copies the Deployment's annotations and moves the revision forward; a revision it had goes into
/// its history. Says whether anything changed.
fn annotate_new(set: &mut Value, deployment: &Value, revision: i64, exists: bool) -> bool {
    let mut changed = false;
    let annotations = deployment
        .at("/metadata/annotations")
        .and_then(Value::as_object);
    for (key, value) in annotations.into_iter().flatten() {
        if !NOT_COPIED.contains(&key.as_str())
            && let Some(value) = value.as_str()
        {
            changed |= annotate(set, key, value);
        }
    }
    let had = annotation(set, REVISION).map(str::to_owned);
    let number = match had.as_deref() {
        None | Some("") => Some(0),
        Some(text) => text.parse::<i64>().ok(),
    };
    // A revision nobody can read is left alone, sizes too.
    let Some(number) = number else { return false };
    if number < revision {
        changed |= annotate(set, REVISION, &revision.to_string());
        if let Some(had) = had {
            let history = match annotation(set, REVISION_HISTORY) {
                None | Some("") => had,
                Some(known) => format!("{known},{had}"),
            };
            annotate(set, REVISION_HISTORY, &history);
        }
    }
    if !exists {
        changed |= annotate_size(set, deployment);
    }
    changed
}

impl Pass<'_> {
    /// Finds the new ReplicaSet and brings its revision up; makes it if `create`.
    ///
    /// # Errors
    /// Any refusal ends the pass.
    pub async fn sets(&mut self, owned: &[Arc<Value>], create: bool) -> Result<Sets, Refused> {
        let mut owned = owned.to_vec();
        owned.sort_by(|left, right| by_creation(left, right));
        let template = self.deployment.at("/spec/template");
        let found = owned
            .iter()
            .find(|set| same(set.at("/spec/template"), template))
            .cloned();
        let old: Vec<Arc<Value>> = owned
            .into_iter()
            .filter(|set| found.as_ref().is_none_or(|found| uid(found) != uid(set)))
            .collect();
        let revision = 1 + old
            .iter()
            .filter_map(|set| counted(set, REVISION))
            .max()
            .unwrap_or(0)
            .max(0);
        let new = match found {
            Some(found) => Some(self.refresh(found, revision).await?),
            None if create => Some(self.create(&old, revision).await?),
            None => None,
        };
        Ok(Sets { new, old })
    }

    async fn refresh(&mut self, found: Arc<Value>, revision: i64) -> Result<Arc<Value>, Refused> {
        let mut copy = (*found).clone();
        let mut changed = annotate_new(&mut copy, &self.deployment, revision, true);
        let wanted = number(&self.deployment, "/spec/minReadySeconds");
        if number(&copy, "/spec/minReadySeconds") != wanted {
            copy["spec"]["minReadySeconds"] = wanted.into();
            changed = true;
        }
        if changed {
            return self
                .client
                .replace("replicasets", "", copy)
                .await
                .map(Arc::new);
        }
        let revision = annotation(&found, REVISION).unwrap_or_default().to_owned();
        let mut update = annotate(&mut self.deployment, REVISION, &revision);
        if progress_deadline(&self.deployment).is_some()
            && condition(&self.deployment, "Progressing").is_none()
        {
            let message = format!("Found new replica set \"{}\"", name(&found));
            let condition = new_condition("Progressing", "True", FOUND, &message, self.now);
            set_condition(&mut self.deployment["status"], condition);
            update = true;
        }
        if update {
            self.write_status().await?;
        }
        Ok(found)
    }

    async fn create(&mut self, old: &[Arc<Value>], revision: i64) -> Result<Arc<Value>, Refused> {
        let mut set = self.fresh(old, revision);
        let name = name(&set).to_owned();
        let size = replicas(&set);
        set["spec"]["replicas"] = size.into();
        let created = match self
            .client
            .create("replicasets", namespace(&self.deployment), set)
            .await
        {
            Ok(created) => (Arc::new(created), true),
            Err(refused) if refused.already_exists() => (self.clash(&name, refused).await?, false),
            Err(refused) => {
                if !refused.namespace_terminating() {
                    self.say_not_created(&name, &refused).await?;
                }
                return Err(refused);
            }
        };
        let (created, made) = created;
        let mut update = annotate(&mut self.deployment, REVISION, &revision.to_string());
        if made && progress_deadline(&self.deployment).is_some() {
            let message = format!("Created new replica set \"{name}\"");
            let condition = new_condition("Progressing", "True", CREATED, &message, self.now);
            set_condition(&mut self.deployment["status"], condition);
            update = true;
        }
        if update {
            self.write_status().await?;
        }
        Ok(created)
    }

    fn fresh(&self, old: &[Arc<Value>], revision: i64) -> Value {
        let deployment = &self.deployment;
        let spec = &deployment["spec"];
        let mut template = spec["template"].clone();
        let hash = hash(&template, number(deployment, "/status/collisionCount"));
        if !template["metadata"].is_object() {
            template["metadata"] = json!({});
        }
        if !template["metadata"]["labels"].is_object() {
            template["metadata"]["labels"] = json!({});
        }
        template["metadata"]["labels"][HASH_LABEL] = hash.clone().into();
        let mut selector = spec["selector"].clone();
        if !selector["matchLabels"].is_object() {
            selector["matchLabels"] = json!({});
        }
        selector["matchLabels"][HASH_LABEL] = hash.clone().into();
        let mut set = json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": format!("{}-{hash}", name(deployment)),
                "namespace": namespace(deployment),
                "labels": template["metadata"]["labels"],
                "annotations": {},
                "ownerReferences": [controller_reference(deployment, "apps/v1", "Deployment")],
            },
            "spec": {
                "replicas": replicas_of_new(deployment, old, 0),
                "selector": selector,
                "template": template,
            },
        });
        let wait = number(deployment, "/spec/minReadySeconds");
        if wait != 0 {
            set["spec"]["minReadySeconds"] = wait.into();
        }
        annotate_new(&mut set, deployment, revision, false);
        set
    }

    /// The name is taken: by what an earlier pass made, or by another ReplicaSet, which forces
    /// another hash.
    async fn clash(&mut self, name: &str, refused: Refused) -> Result<Arc<Value>, Refused> {
        let key = (namespace(&self.deployment).to_owned(), name.to_owned());
        let Some(known) = self.informer.get("replicasets", &key).cloned() else {
            return Err(refused);
        };
        if controller_uid(&known) == uid(&self.deployment)
            && same(
                known.at("/spec/template"),
                self.deployment.at("/spec/template"),
            )
        {
            return Ok(known);
        }
        let collisions = number(&self.deployment, "/status/collisionCount") + 1;
        self.deployment["status"]["collisionCount"] = collisions.into();
        self.write_status().await?;
        Err(refused)
    }

    async fn say_not_created(&mut self, name: &str, refused: &Refused) -> Result<(), Refused> {
        if progress_deadline(&self.deployment).is_none() {
            return Ok(());
        }
        let message = format!(
            "Failed to create new replica set \"{name}\": {}",
            refused.message
        );
        let condition = new_condition("Progressing", "False", NOT_CREATED, &message, self.now);
        set_condition(&mut self.deployment["status"], condition);
        self.write_status().await
    }

    /// Deletes old ReplicaSets beyond `revisionHistoryLimit`, lowest revision first; never one
    /// that has pods or has not been seen by its own controller yet.
    ///
    /// # Errors
    /// A refusal ends the pass.
    pub async fn clean_up(&self, old: &[Arc<Value>]) -> Result<(), Refused> {
        let Some(limit) = self
            .deployment
            .at("/spec/revisionHistoryLimit")
            .and_then(Value::as_u64)
            .filter(|limit| *limit != u64::from(i32::MAX.unsigned_abs()))
        else {
            return Ok(());
        };
        let mut kept: Vec<&Arc<Value>> = old.iter().filter(|set| !deleting(set)).collect();
        let surplus = kept
            .len()
            .saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        kept.sort_by(|left, right| {
            let revision = |set: &Value| counted(set, REVISION).unwrap_or_default();
            revision(left)
                .cmp(&revision(right))
                .then_with(|| by_creation(left, right))
        });
        for set in kept.into_iter().take(surplus) {
            if number(set, "/status/replicas") != 0
                || replicas(set) != 0
                || number(set, "/metadata/generation") > number(set, "/status/observedGeneration")
            {
                continue;
            }
            let gone = self
                .client
                .delete(
                    "replicasets",
                    namespace(set),
                    text(set, "/metadata/name"),
                    json!({}),
                )
                .await;
            match gone {
                Err(refused) if !refused.not_found() => return Err(refused),
                _ => {}
            }
        }
        Ok(())
    }
}
