//! The raw objects one pass looks at, from the release's watches or read live. No meaning here: that
//! is `observe`.

use std::sync::Arc;

use crossfade_api::annotations::{HELD_BY, WORKLOAD_UID};
use serde_json::Value;

use crate::error::Failure;
use crate::wire::{Wire, path};

/// Raw objects, read together.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub workload: Option<Arc<Value>>,
    pub parallels: Vec<Arc<Value>>,
    pub replica_sets: Vec<Arc<Value>>,
    pub pods: Vec<Arc<Value>>,
    pub slices: Vec<Arc<Value>>,
    pub services: Vec<Arc<Value>>,
    pub revisions: Vec<Arc<Value>>,
    /// Read from the server just now, not from watches.
    pub live: bool,
}

/// A LabelSelector object in the form of a query.
#[must_use]
pub fn label_selector(selector: &Value) -> String {
    let mut parts = Vec::new();
    if let Some(labels) = selector.get("matchLabels").and_then(Value::as_object) {
        parts.extend(
            labels
                .iter()
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())),
        );
    }
    for expression in selector
        .get("matchExpressions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let text = |name: &str| {
            expression
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let values: Vec<&str> = expression
            .get("values")
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let key = text("key");
        match text("operator") {
            "In" => parts.push(format!("{key} in ({})", values.join(","))),
            "NotIn" => parts.push(format!("{key} notin ({})", values.join(","))),
            "Exists" => parts.push(key.to_owned()),
            "DoesNotExist" => parts.push(format!("!{key}")),
            _ => {}
        }
    }
    parts.join(",")
}

/// Whose objects are asked for.
#[derive(Clone, Debug)]
pub struct Whose<'a> {
    pub namespace: &'a str,
    /// Name of the Deployment.
    pub deployment: &'a str,
    /// uid of the workload that the memory is about; it may be another than the one there now.
    pub remembered_uid: &'a str,
    /// How much is read of a workload that is not paused.
    pub depth: Depth,
}

/// How much is read of a workload that is not paused; of a paused one, everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The memory says that nothing is under way and nothing is left to put right: the workload, the
    /// Services that carry our mark all the same, and kept templates. A start reads a thousand of these.
    Marks,
    /// All but pods and endpoints.
    Objects,
    /// Everything.
    Everything,
}

fn shared(list: Vec<Value>) -> Vec<Arc<Value>> {
    list.into_iter().map(Arc::new).collect()
}

/// Reads everything live.
///
/// # Errors
/// The first call that failed.
pub async fn live(wire: &Wire, whose: &Whose<'_>) -> Result<Snapshot, Failure> {
    let namespace = whose.namespace;
    let workload = wire
        .get(
            &path::deployments(namespace, whose.deployment),
            "read the workload",
        )
        .await?;
    let uid = workload
        .as_ref()
        .and_then(|object| object.pointer("/metadata/uid"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut uids: Vec<&str> = vec![uid, whose.remembered_uid];
    uids.retain(|uid| !uid.is_empty());
    uids.dedup();
    let ours = format!("{WORKLOAD_UID} in ({})", uids.join(","));
    let selector = workload
        .as_ref()
        .and_then(|object| object.pointer("/spec/selector"))
        .map(label_selector)
        .unwrap_or_default();
    let paused = workload
        .as_ref()
        .and_then(|object| object.pointer("/spec/paused"))
        .and_then(Value::as_bool)
        .unwrap_or(false);
    let depth = if paused || workload.is_none() {
        Depth::Everything
    } else {
        whose.depth
    };
    let (objects, everything) = (depth != Depth::Marks, depth == Depth::Everything);

    let (replica_sets, parallels, revisions, services, pods, slices) = (
        path::replica_sets(namespace, ""),
        path::deployments(namespace, ""),
        path::revisions(namespace, ""),
        path::services(namespace, ""),
        path::pods(namespace),
        path::slices(namespace),
    );
    let list_ours = async |path: &str, purpose| {
        if uids.is_empty() {
            Ok(Vec::new())
        } else {
            wire.list(path, &ours, purpose).await
        }
    };
    let marked = format!("{HELD_BY} in ({})", uids.join(","));
    let list_services = async || {
        if objects || uids.is_empty() {
            wire.list(&services, "", "list Services").await
        } else {
            wire.list(&services, &marked, "list marked Services").await
        }
    };
    let list_sets = async || {
        if objects {
            wire.list(&replica_sets, &selector, "list ReplicaSets")
                .await
        } else {
            Ok(Vec::new())
        }
    };
    let list_parallels = async || {
        if objects {
            list_ours(&parallels, "list parallel Deployments").await
        } else {
            Ok(Vec::new())
        }
    };
    // Without a workload there is no selector: its ReplicaSets are found by their owners.
    let list_pods = async || {
        if everything && !selector.is_empty() {
            wire.list(&pods, &selector, "list pods").await
        } else {
            Ok(Vec::new())
        }
    };
    let list_slices = async || {
        if everything {
            wire.list(&slices, "", "list EndpointSlices").await
        } else {
            Ok(Vec::new())
        }
    };
    let (replica_sets, parallels, revisions, services, pods, slices) = futures::try_join!(
        list_sets(),
        list_parallels(),
        list_ours(&revisions, "list kept templates"),
        list_services(),
        list_pods(),
        list_slices(),
    )?;
    Ok(Snapshot {
        workload: workload.map(Arc::new),
        parallels: shared(parallels),
        replica_sets: shared(replica_sets),
        pods: shared(pods),
        slices: shared(slices),
        services: shared(services),
        revisions: shared(revisions),
        live: true,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_in_the_form_of_a_query() {
        let selector = json!({
            "matchLabels": {"app": "web", "tier": "front"},
            "matchExpressions": [
                {"key": "zone", "operator": "In", "values": ["a", "b"]},
                {"key": "old", "operator": "DoesNotExist"},
                {"key": "new", "operator": "Exists"},
            ],
        });
        assert_eq!(
            label_selector(&selector),
            "app=web,tier=front,zone in (a,b),!old,new"
        );
    }
}
