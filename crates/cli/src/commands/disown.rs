//! Our name off managedFields of an object that people let us write, once it is as they want it. Not here:
//! what is written.

use std::time::Duration;

use crossfade_traffic_switching::managed_fields;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::exit::Failure;
use crate::raw;

/// How often it is tried to take our name off a Deployment that others write meanwhile.
const TRIES: u32 = 5;

/// The template is the users' again, and so are its fields: the next server-side apply must not meet us.
/// What serves is right without it, so that it only tells when it cannot.
pub async fn leave_no_name(cluster: &Cluster, name: &str, uri: &str) {
    let mut tried = 0;
    loop {
        tried += 1;
        let told = match leave_no_name_once(cluster, uri).await {
            Ok(()) => return,
            Err(failure) => failure,
        };
        if tried == TRIES {
            eprintln!(
                "{name}: managedFields still name {}: {told}",
                raw::FIELD_MANAGER
            );
            return;
        }
        // Somebody else wrote it: the Deployment controller does at each change.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn leave_no_name_once(cluster: &Cluster, uri: &str) -> Result<(), Failure> {
    let deployment = raw::get(cluster, "read the Deployment", uri).await?;
    if let Some(operations) = deployment.as_ref().and_then(without_our_name) {
        raw::patch(cluster, "leave managedFields to others", uri, &operations).await?;
    }
    Ok(())
}

/// The patch that takes our entries out of managedFields; `None`: there are none.
fn without_our_name(deployment: &Value) -> Option<Value> {
    let (others, ours) = managed_fields::of_others(deployment, raw::FIELD_MANAGER);
    let version = deployment["metadata"]["resourceVersion"].as_str()?;
    ours.then(|| managed_fields::restore_patch(version, &others))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn our_name_goes_and_that_of_others_stays() {
        let of = |managers: &[&str]| {
            let entries: Vec<Value> = (managers.iter())
                .map(|manager| json!({ "manager": manager }))
                .collect();
            json!({ "metadata": { "resourceVersion": "7", "managedFields": entries } })
        };
        assert_eq!(without_our_name(&of(&["kubectl"])), None);
        assert_eq!(
            without_our_name(&of(&["kubectl", raw::FIELD_MANAGER])).unwrap(),
            json!([
                { "op": "test", "path": "/metadata/resourceVersion", "value": "7" },
                { "op": "replace", "path": "/metadata/managedFields", "value": [{ "manager": "kubectl" }] },
            ])
        );
    }
}
