//! Reads the state of a release for one admission request, straight from the API server.
//!
//! No cache and no retry: whoever asked is waiting, and can ask again. The time limit is the
//! caller's.

use crossfade_engine::Memory;
use crossfade_engine::admit::{Hook, Live, held_by};
use http::Request;
use kube::Client;
use serde_json::Value;

use super::review::Asked;
use crate::snapshot::label_selector;
use crate::status::HOLDER;
use crate::wire::{escape, path};

/// What the Rollout that a Service is held for says, if the request is about one; else what the workload's
/// Rollout says and the ReplicaSets the workload controls.
pub async fn read(
    client: &Client,
    hook: Hook,
    asked: &Asked,
    installation: &str,
) -> Result<Live, kube::Error> {
    if hook == Hook::Traffic {
        let mark = held_by(&asked.old_object).unwrap_or(&Value::Null);
        let rollouts = rollouts(client, asked).await?;
        let of_it = |rollout: &&Value| &rollout["status"]["memory"]["workloadUid"] == mark;
        return Ok(match rollouts.iter().find(of_it) {
            Some(rollout) => Live {
                holder: holder(rollout, installation),
                ..Live::default()
            },
            None => Live {
                departed: departed(client, asked, mark).await?,
                ..Live::default()
            },
        });
    }
    let (rollout, replica_sets) =
        futures::try_join!(rollout(client, asked), replica_sets(client, asked))?;
    let mut rollout = rollout.unwrap_or_default();
    Ok(Live {
        departed: false,
        holder: holder(&rollout, installation),
        // A phase that this version does not know counts as none: the planner then refuses to unpause.
        phase: serde_json::from_value(rollout["status"]["phase"].take()).ok(),
        replica_sets,
        rejected: rejected(&rollout),
    })
}

/// The user of another installation that the Rollout names, at rest as well: either may put right what it
/// finds then.
fn holder(rollout: &Value, installation: &str) -> Option<String> {
    let other = rollout["status"]["controller"].as_str() != Some(installation);
    let user = rollout.pointer(HOLDER).and_then(Value::as_str);
    user.filter(|_| other).map(str::to_owned)
}

/// Whether no Deployment of the namespace has this uid, but for one that is going.
async fn departed(client: &Client, asked: &Asked, uid: &Value) -> Result<bool, kube::Error> {
    let list = get(client, &path::deployments(&asked.namespace, "")).await?;
    Ok(!items(list.unwrap_or_default()).iter().any(|workload| {
        &workload["metadata"]["uid"] == uid && workload["metadata"]["deletionTimestamp"].is_null()
    }))
}

async fn get(client: &Client, path: &str) -> Result<Option<Value>, kube::Error> {
    let request = Request::get(path)
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    match client.request::<Value>(request).await {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

/// Releases `workload`, by name or by `spec.deployment`.
fn is_for(rollout: &Value, workload: &str) -> bool {
    match rollout["spec"]["deployment"].as_str() {
        Some(deployment) => deployment == workload,
        None => rollout["metadata"]["name"] == workload,
    }
}

async fn rollout(client: &Client, asked: &Asked) -> Result<Option<Value>, kube::Error> {
    let base = path::rollouts(&asked.namespace, "");
    let found = get(client, &format!("{base}/{}", asked.name()))
        .await?
        .filter(|rollout| is_for(rollout, asked.name()));
    // One that nobody carries out has no phase: another may have been there first.
    if let Some(found) = found
        && found["status"]["phase"].is_string()
        && found["metadata"]["deletionTimestamp"].is_null()
    {
        return Ok(Some(found));
    }
    // A Rollout of another name may name the Deployment.
    Ok(first_for(rollouts(client, asked).await?, asked.name()))
}

/// Of several Rollouts for one Deployment the one that is carried out: the oldest, of two as old the first by name, one
/// that is going only if there is no other.
fn first_for(rollouts: Vec<Value>, workload: &str) -> Option<Value> {
    let text = |rollout: &Value, field: &str| {
        rollout["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    (rollouts.into_iter())
        .filter(|rollout| is_for(rollout, workload))
        .min_by_key(|rollout| {
            let going = !rollout["metadata"]["deletionTimestamp"].is_null();
            (
                going,
                text(rollout, "creationTimestamp"),
                text(rollout, "name"),
            )
        })
}

async fn rollouts(client: &Client, asked: &Asked) -> Result<Vec<Value>, kube::Error> {
    let list = get(client, &path::rollouts(&asked.namespace, "")).await?;
    Ok(items(list.unwrap_or_default()))
}

/// Fingerprints of the templates that its memory keeps as rejected.
fn rejected(rollout: &Value) -> Vec<String> {
    let memory: Memory =
        serde_json::from_value(rollout["status"]["memory"].clone()).unwrap_or_default();
    memory
        .rejected
        .into_iter()
        .map(|rejected| rejected.fingerprint)
        .collect()
}

async fn replica_sets(client: &Client, asked: &Asked) -> Result<Vec<Value>, kube::Error> {
    let selector = label_selector(&asked.old_object["spec"]["selector"]);
    let path = format!(
        "/apis/apps/v1/namespaces/{}/replicasets?labelSelector={}",
        asked.namespace,
        escape(&selector)
    );
    let uid = &asked.old_object["metadata"]["uid"];
    let list = get(client, &path).await?.unwrap_or_default();
    Ok(items(list)
        .into_iter()
        .filter(|set| controlled_by(set, uid))
        .collect())
}

fn items(mut list: Value) -> Vec<Value> {
    match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

fn controlled_by(object: &Value, uid: &Value) -> bool {
    object["metadata"]["ownerReferences"]
        .as_array()
        .is_some_and(|owners| {
            owners
                .iter()
                .any(|owner| owner["controller"] == true && &owner["uid"] == uid)
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_several_the_one_that_is_carried_out_counts() {
        let rollout = |name: &str, created: &str, deployment: &str| json!({ "metadata": { "name": name, "creationTimestamp": created }, "spec": { "deployment": deployment } });
        let mut going = rollout("going", "2026-01-01T00:00:00Z", "web");
        going["metadata"]["deletionTimestamp"] = json!("2026-01-05T00:00:00Z");
        let others = vec![
            rollout("web", "2026-01-03T00:00:00Z", "web"),
            going.clone(),
            rollout("older", "2026-01-02T00:00:00Z", "web"),
            rollout("oldest", "2026-01-01T00:00:00Z", "api"),
        ];
        let first = |rollouts: Vec<Value>| {
            first_for(rollouts, "web").map(|rollout| rollout["metadata"]["name"].clone())
        };
        assert_eq!(first(others), Some(json!("older")));
        assert_eq!(first(vec![going]), Some(json!("going")));
        assert_eq!(first(Vec::new()), None);
    }

    #[test]
    fn rollouts_by_name_or_by_field() {
        assert!(is_for(
            &json!({ "metadata": { "name": "web" }, "spec": {} }),
            "web"
        ));
        assert!(is_for(
            &json!({ "metadata": { "name": "x" }, "spec": { "deployment": "web" } }),
            "web"
        ));
        assert!(!is_for(
            &json!({ "metadata": { "name": "web" }, "spec": { "deployment": "x" } }),
            "web"
        ));
    }
}
