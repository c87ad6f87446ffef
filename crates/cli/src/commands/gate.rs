//! What the Deployment itself says about its gate: whether it is paused on a template that does not serve.
//! Reading only.

use crossfade_api::annotations;
use crossfade_engine::identity::{fingerprint, images, same_template};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::exit::Failure;
use crate::raw;

/// A Deployment and the ReplicaSets it controls.
#[derive(Clone, Debug)]
pub struct Gate {
    pub deployment: Value,
    pub sets: Vec<Value>,
}

impl Gate {
    /// Reads both; `None`: there is no such Deployment.
    pub async fn read(cluster: &Cluster, name: &str) -> Result<Option<Self>, Failure> {
        let uri = raw::deployment(&cluster.namespace, name);
        let Some(deployment) = raw::get(cluster, "read the Deployment", &uri).await? else {
            return Ok(None);
        };
        Ok(Some(Self::of(cluster, deployment).await?))
    }

    /// With the ReplicaSets of a Deployment that was just read.
    pub async fn of(cluster: &Cluster, deployment: Value) -> Result<Self, Failure> {
        let uri = format!("{}/replicasets", apps(&cluster.namespace));
        let listed = raw::get(cluster, "list the ReplicaSets", &uri).await?;
        let items = listed.and_then(|mut list| match list["items"].take() {
            Value::Array(items) => Some(items),
            _ => None,
        });
        let sets = (items.unwrap_or_default().into_iter())
            .filter(|set| controlled(&deployment, set))
            .collect();
        Ok(Self { deployment, sets })
    }

    pub fn paused(&self) -> bool {
        self.deployment["spec"]["paused"] == true
    }

    /// The one ReplicaSet with pods; `None`: there is none, or several.
    pub fn serving(&self) -> Option<&Value> {
        let mut active = self.sets.iter().filter(|set| {
            controlled(&self.deployment, set) && set["spec"]["replicas"].as_u64().unwrap_or(0) > 0
        });
        active.next().filter(|_| active.next().is_none())
    }

    /// Whether its template is the one that serves.
    pub fn serves(&self) -> bool {
        self.serving().is_some_and(|set| self.has_template_of(set))
    }

    /// Paused on the template that does serve, somebody else paused it: nothing would start.
    pub fn gated(&self) -> bool {
        self.paused() && !self.serves()
    }

    pub fn has_template_of(&self, set: &Value) -> bool {
        same_template(self.template(), &set["spec"]["template"])
    }

    pub fn template(&self) -> &Value {
        &self.deployment["spec"]["template"]
    }

    /// As the controller recognises its template.
    pub fn print(&self) -> String {
        fingerprint(self.template())
    }

    pub fn images(&self) -> Vec<String> {
        images(self.template())
    }

    /// Scaled to nothing: then nothing can serve.
    pub fn empty(&self) -> bool {
        self.deployment["spec"]["replicas"] == 0
    }
}

/// Path of what belongs to Deployments.
pub fn apps(namespace: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}")
}

/// A ReplicaSet's template as its Deployment has it.
pub fn template_of(set: &Value) -> Value {
    let mut template = set["spec"]["template"].clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(annotations::POD_TEMPLATE_HASH);
    }
    template
}

fn controlled(deployment: &Value, set: &Value) -> bool {
    let owners = set["metadata"]["ownerReferences"].as_array();
    (owners.into_iter().flatten())
        .any(|owner| owner["controller"] == true && owner["uid"] == deployment["metadata"]["uid"])
}

#[cfg(test)]
pub mod tests {
    use serde_json::json;

    use super::*;

    pub fn set(name: &str, owner: &str, replicas: u32, image: &str) -> Value {
        json!({
            "metadata": { "name": name, "uid": name, "ownerReferences": [{ "uid": owner, "controller": true }] },
            "spec": { "replicas": replicas, "template": {
                "metadata": { "labels": { "app": "web", "pod-template-hash": name } },
                "spec": { "containers": [{ "name": "app", "image": image }] },
            } },
        })
    }

    /// A Deployment on `image` beside a ReplicaSet with pods of `app:1`.
    pub fn gate(image: &str, paused: bool) -> Gate {
        Gate {
            deployment: json!({
                "metadata": { "uid": "u1", "annotations": { "crossfade.dev/strategy": "canary" } },
                "spec": { "paused": paused, "replicas": 3, "template": {
                    "metadata": { "labels": { "app": "web" } },
                    "spec": { "containers": [{ "name": "app", "image": image }] },
                } },
            }),
            sets: vec![
                set("old", "u1", 0, "app:0"),
                set("one", "u1", 3, "app:1"),
                set("other", "u2", 3, "app:9"),
            ],
        }
    }

    #[test]
    fn gated_is_what_does_not_serve() {
        assert!(gate("app:2", true).gated());
        assert!(
            gate("app:0", true).gated(),
            "one of the history does not serve"
        );
        assert!(
            !gate("app:1", true).gated(),
            "paused by hand on what serves"
        );
        assert!(!gate("app:2", false).gated());
    }

    #[test]
    fn what_serves_is_one_replica_set_of_the_deployment() {
        let mut gate = gate("app:1", true);
        assert_eq!(gate.serving().unwrap()["metadata"]["name"], "one");
        gate.sets.push(set("two", "u1", 1, "app:2"));
        assert!(gate.serving().is_none());
        gate.sets.clear();
        assert!(gate.serving().is_none());
    }
}
