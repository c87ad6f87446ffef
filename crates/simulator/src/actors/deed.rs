//! What a person does to a cluster, one deed at a time, with the writes kubectl would make. When it is
//! done, and whether twice, is the person's.

use crossfade_fakeapi::At;
use crossfade_fakeapi::{Call, FakeApi, Key};
use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::client::{Client, Patch, Refused, path};
use super::deployment::{DESIRED, MAXIMUM, REVISION, REVISION_HISTORY};
use super::informer::Name;
use super::object::{annotation, controller_uid, flag, labels, name, namespace, text, uid};
use super::template::HASH_LABEL;

/// How dependents go with their owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl Propagation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Background => "Background",
            Self::Foreground => "Foreground",
            Self::Orphan => "Orphan",
        }
    }
}

/// One deed.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// Writes `spec.control` of a Rollout, whole.
    Command { rollout: Name, control: Value },
    /// `kubectl set image` for the first container.
    Image { deployment: Name, image: String },
    /// Writes a template back as it was in a ReplicaSet of that revision; the oldest known one if
    /// none is named: `git revert`.
    Revert {
        deployment: Name,
        revision: Option<i64>,
    },
    /// `kubectl rollout undo`: template and all annotations of the second newest ReplicaSet.
    KubectlUndo { deployment: Name },
    /// `kubectl rollout pause` and `resume`.
    Pause { deployment: Name, paused: bool },
    /// `kubectl scale`.
    Scale { deployment: Name, replicas: u32 },
    /// `kubectl delete`.
    Delete {
        resource: String,
        object: Name,
        propagation: Propagation,
    },
    /// Deletes one object of this kind whose labels fit, drawn.
    DeleteOneOf {
        resource: String,
        namespace: String,
        labels: Value,
        propagation: Propagation,
    },
    /// Deletes an object and makes it anew under the same name as soon as it is gone.
    Recreate {
        resource: String,
        object: Name,
        propagation: Propagation,
    },
    /// `kubectl create`.
    Create { resource: String, object: Value },
    /// `kubectl patch`.
    Patch {
        how: Patch,
        resource: String,
        object: Name,
        body: Value,
    },
    /// Anything else.
    Call(Call),
}

/// Nothing to do it to.
fn nothing(what: &str) -> Refused {
    Refused {
        status: 404,
        reason: "NotFound".to_owned(),
        message: what.to_owned(),
        causes: Vec::new(),
    }
}

/// Does it once.
///
/// # Errors
/// As the API refuses it, or a `NotFound` of our own where there is nothing to do it to.
pub async fn done(
    api: &FakeApi,
    client: &Client,
    deed: &Deed,
    random: &mut Rng,
) -> Result<(), Refused> {
    match deed {
        Deed::Command { rollout, control } => {
            let path = path("rollouts", &rollout.0, &rollout.1, "");
            // `add` replaces the whole command: fields of an older one must not stay.
            let body = json!([{"op": "add", "path": "/spec/control", "value": control}]);
            client
                .patch(Patch::Json, &path, &[], body)
                .await
                .map(|_| ())
        }
        Deed::Image { deployment, image } => {
            let path = path("deployments", &deployment.0, &deployment.1, "");
            let body = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]);
            client
                .patch(Patch::Json, &path, &[("fieldManager", "kubectl-set")], body)
                .await
                .map(|_| ())
        }
        Deed::Revert {
            deployment,
            revision,
        } => revert(api, client, deployment, *revision).await,
        Deed::KubectlUndo { deployment } => undo(api, client, deployment).await,
        Deed::Pause { deployment, paused } => {
            let path = path("deployments", &deployment.0, &deployment.1, "");
            // kubectl takes the field away to resume.
            let value = if *paused { json!(true) } else { Value::Null };
            let body = json!({"spec": {"paused": value}});
            client
                .patch(
                    Patch::Merge,
                    &path,
                    &[("fieldManager", "kubectl-rollout")],
                    body,
                )
                .await
                .map(|_| ())
        }
        Deed::Scale {
            deployment,
            replicas,
        } => {
            let path = path("deployments", &deployment.0, &deployment.1, "scale");
            let body = json!({"spec": {"replicas": replicas}});
            client
                .patch(Patch::Merge, &path, &[], body)
                .await
                .map(|_| ())
        }
        Deed::Delete {
            resource,
            object,
            propagation,
        } => {
            let options = json!({"propagationPolicy": propagation.as_str()});
            client
                .delete(resource, &object.0, &object.1, options)
                .await
                .map(|_| ())
        }
        Deed::DeleteOneOf {
            resource,
            namespace,
            labels: wanted,
            propagation,
        } => {
            let fitting: Vec<String> = api
                .list(resource, Some(namespace))
                .iter()
                .filter(|object| {
                    wanted
                        .as_object()
                        .into_iter()
                        .flatten()
                        .all(|(key, value)| {
                            labels(object).and_then(|labels| labels.get(key)) == Some(value)
                        })
                })
                .map(|object| name(object).to_owned())
                .collect();
            let chosen = random.choice(&fitting).ok_or_else(|| nothing(resource))?;
            let options = json!({"propagationPolicy": propagation.as_str()});
            client
                .delete(resource, namespace, chosen, options)
                .await
                .map(|_| ())
        }
        Deed::Recreate {
            resource,
            object,
            propagation,
        } => recreate(api, client, resource, object, *propagation).await,
        Deed::Create { resource, object } => client
            .create(resource, namespace(object), object.clone())
            .await
            .map(|_| ()),
        Deed::Patch {
            how,
            resource,
            object,
            body,
        } => {
            let path = path(resource, &object.0, &object.1, "");
            let query: &[(&str, &str)] = if matches!(how, Patch::Apply | Patch::ApplyForced) {
                &[("fieldManager", "kubectl")]
            } else {
                &[]
            };
            client
                .patch(*how, &path, query, body.clone())
                .await
                .map(|_| ())
        }
        Deed::Call(call) => client.call(call.clone()).await.map(|_| ()),
    }
}

/// ReplicaSets of a Deployment, lowest revision first.
fn history(api: &FakeApi, deployment: &Value) -> Vec<(i64, std::sync::Arc<Value>)> {
    let mut sets: Vec<_> = api
        .list("replicasets", Some(namespace(deployment)))
        .into_iter()
        .filter(|set| controller_uid(set) == uid(deployment))
        .filter_map(|set| Some((annotation(&set, REVISION)?.parse().ok()?, set)))
        .collect();
    sets.sort_by_key(|(revision, _)| *revision);
    sets
}

fn template_of(set: &Value) -> Value {
    let mut template = set.at("/spec/template").cloned().unwrap_or_default();
    if let Some(labels) = template
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove(HASH_LABEL);
    }
    template
}

async fn revert(
    api: &FakeApi,
    client: &Client,
    deployment: &Name,
    revision: Option<i64>,
) -> Result<(), Refused> {
    let live = client
        .get("deployments", &deployment.0, &deployment.1, "")
        .await?;
    let sets = history(api, &live);
    let (_, set) = sets
        .iter()
        .find(|(number, _)| revision.is_none_or(|wanted| wanted == *number))
        .ok_or_else(|| nothing("no such revision"))?;
    let body = json!([{"op": "replace", "path": "/spec/template", "value": template_of(set)}]);
    let path = path("deployments", &deployment.0, &deployment.1, "");
    client
        .patch(Patch::Json, &path, &[], body)
        .await
        .map(|_| ())
}

/// Annotations that undo leaves as the Deployment has them.
const KEPT: [&str; 5] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAXIMUM,
];

async fn undo(api: &FakeApi, client: &Client, deployment: &Name) -> Result<(), Refused> {
    let live = client
        .get("deployments", &deployment.0, &deployment.1, "")
        .await?;
    if flag(&live, "/spec/paused") {
        return Err(Refused {
            status: 400,
            reason: "BadRequest".to_owned(),
            message: "you cannot rollback a paused deployment; resume it first".to_owned(),
            causes: Vec::new(),
        });
    }
    let sets = history(api, &live);
    let (_, set) = sets
        .iter()
        .rev()
        .nth(1)
        .ok_or_else(|| nothing("no rollout history found"))?;
    let mut annotations = Map::new();
    let of = |object: &Value| -> Map<String, Value> {
        object
            .at("/metadata/annotations")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    for (key, value) in of(&live) {
        if KEPT.contains(&key.as_str()) {
            annotations.insert(key, value);
        }
    }
    for (key, value) in of(set) {
        if !KEPT.contains(&key.as_str()) {
            annotations.insert(key, value);
        }
    }
    let body = json!([
        {"op": "replace", "path": "/spec/template", "value": template_of(set)},
        {"op": "add", "path": "/metadata/annotations", "value": annotations},
    ]);
    let path = path("deployments", &deployment.0, &deployment.1, "");
    client
        .patch(
            Patch::Json,
            &path,
            &[("fieldManager", "kubectl-rollout")],
            body,
        )
        .await
        .map(|_| ())
}

async fn recreate(
    api: &FakeApi,
    client: &Client,
    resource: &str,
    object: &Name,
    propagation: Propagation,
) -> Result<(), Refused> {
    let key = Key::new(resource, object.0.clone(), object.1.clone());
    let live = api.get(&key).ok_or_else(|| nothing(resource))?;
    let mut changes = api.changes();
    let options = json!({"propagationPolicy": propagation.as_str()});
    client
        .delete(resource, &object.0, &object.1, options)
        .await?;
    while api.get(&key).is_some_and(|found| uid(&found) == uid(&live)) {
        if changes.changed().await.is_err() {
            return Err(nothing("the API is gone"));
        }
    }
    let mut anew = (*live).clone();
    if let Some(map) = anew.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = anew.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| {
            matches!(
                key.as_str(),
                "name" | "namespace" | "labels" | "annotations"
            )
        });
        if let Some(annotations) = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut)
        {
            annotations.remove(REVISION);
        }
    }
    if resource == "services"
        && let Some(spec) = anew.get_mut("spec").and_then(Value::as_object_mut)
        && spec.get("clusterIP").and_then(Value::as_str) != Some("None")
    {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    // `paused` is in nobody's manifest.
    if resource == "deployments"
        && let Some(spec) = anew.get_mut("spec").and_then(Value::as_object_mut)
    {
        spec.remove("paused");
    }
    let taken = client.create(resource, &object.0, anew).await;
    taken.map(|_| ())
}

/// Short words for a log.
#[must_use]
pub fn words(deed: &Deed) -> String {
    match deed {
        Deed::Command { rollout, control } => {
            format!("{} {}/{}", text(control, "/action"), rollout.0, rollout.1)
        }
        Deed::Image { image, .. } => format!("image {image}"),
        Deed::Revert { revision, .. } => format!("revert to {revision:?}"),
        Deed::KubectlUndo { .. } => "kubectl rollout undo".to_owned(),
        Deed::Pause { paused, .. } => format!("paused {paused}"),
        Deed::Scale { replicas, .. } => format!("scale to {replicas}"),
        Deed::Delete {
            resource,
            object,
            propagation,
        } => format!("delete {resource} {} {}", object.1, propagation.as_str()),
        Deed::DeleteOneOf { resource, .. } => format!("delete one of {resource}"),
        Deed::Recreate {
            resource, object, ..
        } => format!("recreate {resource} {}", object.1),
        Deed::Create { resource, object } => format!("create {resource} {}", name(object)),
        Deed::Patch {
            resource, object, ..
        } => format!("patch {resource} {}", object.1),
        Deed::Call(call) => format!("{} {}", call.method, call.path),
    }
}
