//! Why a release stands where it stands and what gets it moving, as text and as data. What the ways are
//! stands in `ways`.

use crossfade_api::Phase;
use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::{Value, json};

use super::status::status;
use super::ways::Ways;
use crate::exit::Failure;
use crate::follow::phase;
use crate::output;
use crate::rollout::Rollout;

/// What is wrong with a pod or a Deployment, in the cluster's own words.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// `pod web-1, container app`.
    pub what: String,
    pub reason: String,
    pub message: String,
}

/// The same as data. `ways` stands beside `waitsOn` and `wait`, which the text shows above them.
pub fn explanation(rollout: &Rollout, troubles: &[Trouble], ways: &Ways) -> Result<Value, Failure> {
    let data =
        |value: serde_json::Result<Value>| value.map_err(|error| Failure::new(error.to_string()));
    let mut value = json!({
        "kind": "Explanation",
        "metadata": { "name": rollout.name_any(), "namespace": rollout.namespace() },
        "status": output::rollout(rollout)["status"].take(),
        "troubles": data(serde_json::to_value(troubles))?,
    });
    let said = data(serde_json::to_value(ways))?;
    if let (Some(value), Value::Object(said)) = (value.as_object_mut(), said) {
        value.extend(said);
    }
    Ok(value)
}

/// The status, the troubles and the ways on.
pub fn explain(rollout: &Rollout, troubles: &[Trouble], ways: &Ways, now: Timestamp) -> String {
    let mut text = status(rollout, now);
    text.push_str("\npods\n");
    if troubles.is_empty() {
        text.push_str("  nothing unusual\n");
    }
    for trouble in troubles {
        text.push_str(&format!(
            "  {}: {}: {}\n",
            trouble.what, trouble.reason, trouble.message
        ));
    }
    if let Some(status) = &rollout.status {
        if let Some(plan) = status.plan.as_ref().filter(|plan| !plan.sources.is_empty()) {
            text.push_str("\nplan from\n");
            for (field, source) in &plan.sources {
                text.push_str(&format!("  {field}: {source}\n"));
            }
        }
        if phase(rollout) == Phase::RolledBack && !status.rejected.is_empty() {
            text.push_str("\nrejected\n");
            for entry in &status.rejected {
                text.push_str(&format!(
                    "  {} {}: {}\n",
                    entry.candidate,
                    entry.images.join(", "),
                    entry.reason
                ));
            }
        }
    }
    text.push_str(&format!("\nwaits for\n  {}\n\nways on\n", ways.wait));
    for way in &ways.ways {
        match &way.command {
            Some(command) => text.push_str(&format!("  {command}\n      {}\n", way.does)),
            None => text.push_str(&format!("  {}\n", way.does)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::ways::{Workload, ways};
    use super::*;

    fn rollout() -> Rollout {
        serde_json::from_value(json!({
            "apiVersion": "crossfade.dev/v1alpha1", "kind": "Rollout",
            "metadata": { "name": "web", "namespace": "shop" },
            "spec": {},
            "status": {
                "phase": "Progressing", "message": "observing", "memory": { "phase": "Progressing" },
                "conditions": [{ "type": "Progressing", "status": "True", "reason": "Approval", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z" }],
            },
        }))
        .unwrap()
    }

    fn explained() -> (Rollout, Vec<Trouble>, Ways, Timestamp) {
        let now = "2026-01-01T00:00:30Z".parse().unwrap();
        let workload = Workload::There {
            paused: true,
            opted_in: true,
            replicas: 3,
        };
        let trouble = Trouble {
            what: "pod web-1".to_owned(),
            reason: "Unschedulable".to_owned(),
            message: "0/3 nodes".to_owned(),
        };
        let ways = ways(&rollout(), workload, now);
        (rollout(), vec![trouble], ways, now)
    }

    #[test]
    fn as_text_it_says_troubles_wait_and_commands() {
        let (rollout, troubles, ways, now) = explained();
        let text = explain(&rollout, &troubles, &ways, now);
        for part in [
            "pod web-1: Unschedulable: 0/3 nodes",
            "waits for\n  a person to approve\n",
            "  crossfade -n shop promote web\n      gives the approval\n",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn as_data_it_has_status_troubles_and_ways() {
        let (rollout, troubles, ways, _) = explained();
        let value = explanation(&rollout, &troubles, &ways).unwrap();
        assert_eq!(value["status"]["phase"], "Progressing");
        assert!(value["status"]["memory"].is_null());
        assert_eq!(value["troubles"][0]["reason"], "Unschedulable");
        assert_eq!(value["waitsOn"], "Approval");
        assert_eq!(
            value["ways"][0],
            json!({ "command": "crossfade -n shop promote web", "does": "gives the approval" })
        );
    }
}
