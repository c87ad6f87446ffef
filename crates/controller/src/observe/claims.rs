//! Which other tool that releases Deployments has its hand on one, as far as the Deployment itself tells. Another
//! installation of this one is told by the Rollout; other tools' own objects are not asked for.

use serde_json::Value;

use super::read::{annotation, count, flag, list, text};

/// Set on a Deployment for as long as a release of Kruise Rollouts is in progress (its `pkg/util`, v0.6).
const KRUISE: &str = "rollouts.kruise.io/in-progressing";
/// API groups whose objects own the Deployments they make for a release.
const OWNERS: [&str; 3] = ["flagger.app", "argoproj.io", "rollouts.kruise.io"];
/// Field managers that scale the Deployment they release to 0, and the objects that make them.
const SCALERS: [(&str, &str); 2] = [
    ("flagger", "a Canary of Flagger"),
    ("rollouts-controller", "a Rollout of Argo Rollouts"),
];

/// The other tool that releases this Deployment, in words, and what makes it.
#[must_use]
pub fn other_tool(deployment: &Value) -> Option<String> {
    if annotation(deployment, KRUISE).is_some() {
        return Some(format!(
            "Kruise Rollouts (annotation {KRUISE}): let its release end and delete its Rollout"
        ));
    }
    let owner = list(deployment, "/metadata/ownerReferences").find(|owner| {
        let group = text(owner, "/apiVersion").split('/').next();
        flag(owner, "/controller") && group.is_some_and(|group| OWNERS.contains(&group))
    });
    if let Some(owner) = owner {
        return Some(format!(
            "{} {} ({}), which owns it",
            text(owner, "/kind"),
            text(owner, "/name"),
            text(owner, "/apiVersion")
        ));
    }
    // Whoever scales it up again takes the field from them.
    let replicas = deployment.pointer("/spec/replicas").is_some();
    if !replicas || count(deployment, "/spec/replicas") > 0 {
        return None;
    }
    let scaled = |manager: &str| {
        list(deployment, "/metadata/managedFields").any(|entry| {
            text(entry, "/manager") == manager
                && entry.pointer("/fieldsV1/f:spec/f:replicas").is_some()
        })
    };
    let (manager, made_by) = SCALERS.iter().find(|(manager, _)| scaled(manager))?;
    Some(format!(
        "{manager}, which has scaled it to 0: delete what tells it to, {made_by}"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The objects as these tools leave them.
    #[test]
    fn other_tools_are_told_by_what_they_leave_on_a_deployment() {
        let owner = |api_version: &str, kind: &str, controller: bool| json!({ "metadata": { "ownerReferences": [{ "apiVersion": api_version, "kind": kind, "name": "web", "controller": controller }] } });
        let scaled = |manager: &str, to: u32| {
            let entry = json!({ "manager": manager, "operation": "Update", "fieldsV1": { "f:spec": { "f:replicas": {} } } });
            json!({ "metadata": { "managedFields": [entry] }, "spec": { "replicas": to } })
        };
        for (deployment, said) in [
            (
                json!({ "metadata": { "annotations": { KRUISE: "{\"rolloutName\":\"web\"}" } } }),
                Some("Kruise Rollouts"),
            ),
            (
                owner("flagger.app/v1beta1", "Canary", true),
                Some("Canary web (flagger.app/v1beta1), which owns it"),
            ),
            (owner("flagger.app/v1beta1", "Canary", false), None),
            // Whoever runs a database by an operator may still have its Deployment released.
            (owner("example.com/v1", "Database", true), None),
            (scaled("flagger", 0), Some("a Canary of Flagger")),
            (scaled("flagger", 3), None),
            (
                scaled("rollouts-controller", 0),
                Some("a Rollout of Argo Rollouts"),
            ),
            (scaled("kubectl", 0), None),
            (json!({ "spec": {} }), None),
        ] {
            let tool = other_tool(&deployment);
            match said {
                None => assert_eq!(tool, None, "{deployment}"),
                Some(said) => assert!(
                    tool.as_deref().is_some_and(|tool| tool.contains(said)),
                    "{tool:?} of {deployment}"
                ),
            }
        }
    }
}
