//! The controller's rights: what it does and nothing else.
//!
//! No rule here grants a write to pods, a read of any Secret but its own certificate, or anything
//! on webhook configurations that are not its own.

use serde_json::{Value, json};

use super::Installation;

/// Rights in every namespace served.
fn workload_rules() -> Value {
    json!([
        { "apiGroups": ["apps"], "resources": ["deployments"],
          "verbs": ["get", "list", "watch", "create", "patch", "delete"] },
        // Stable's is made again if somebody deletes it in mid-release.
        { "apiGroups": ["apps"], "resources": ["replicasets"],
          "verbs": ["get", "list", "watch", "create", "patch", "delete"] },
        // Owner references that block deletion need this right on the owner where the cluster
        // enforces permissions on owner references.
        { "apiGroups": ["apps"], "resources": ["deployments/finalizers", "replicasets/finalizers"],
          "verbs": ["update"] },
        { "apiGroups": ["apps"], "resources": ["controllerrevisions"],
          "verbs": ["get", "list", "create", "delete"] },
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"] },
        { "apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "watch", "patch"] },
        { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"] },
        // Who stands in front of a Service decides how it is flipped.
        { "apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["list"] },
        { "apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
        { "apiGroups": ["crossfade.dev"], "resources": ["rollouts"],
          "verbs": ["get", "list", "watch", "create", "patch"] },
        { "apiGroups": ["crossfade.dev"], "resources": ["rollouts/status"], "verbs": ["get", "patch", "update"] },
        { "apiGroups": ["crossfade.dev"], "resources": ["rollouts/finalizers"], "verbs": ["update"] },
        { "apiGroups": ["crossfade.dev"], "resources": ["rolloutpolicies"], "verbs": ["get", "list", "watch"] },
    ])
}

/// Rights on cluster-wide objects.
fn cluster_rules(installation: &Installation) -> Value {
    json!([
        { "apiGroups": ["crossfade.dev"], "resources": ["clusterrolloutpolicies"], "verbs": ["get", "list", "watch"] },
        { "apiGroups": ["admissionregistration.k8s.io"], "resources": ["mutatingwebhookconfigurations"],
          "resourceNames": installation.mutating_names(), "verbs": ["get", "patch"] },
        { "apiGroups": ["admissionregistration.k8s.io"], "resources": ["validatingwebhookconfigurations"],
          "resourceNames": [installation.validating_name()], "verbs": ["get", "patch"] },
    ])
}

/// Rights in our own namespace: one Lease and one Secret. `create` cannot be bound to a name.
fn own_rules(installation: &Installation) -> Value {
    json!([
        { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"] },
        { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
          "resourceNames": [installation.name], "verbs": ["get", "update"] },
        { "apiGroups": [""], "resources": ["secrets"], "verbs": ["create"] },
        { "apiGroups": [""], "resources": ["secrets"],
          "resourceNames": [installation.secret_name()], "verbs": ["get", "update"] },
    ])
}

fn role(
    installation: &Installation,
    namespace: Option<&str>,
    name: &str,
    rules: &Value,
) -> Vec<Value> {
    let mut metadata = json!({ "name": name, "labels": installation.labels() });
    let mut kinds = ("ClusterRole", "ClusterRoleBinding");
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
        kinds = ("Role", "RoleBinding");
    }
    vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kinds.0,
            "metadata": metadata, "rules": rules,
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kinds.1,
            "metadata": metadata,
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kinds.0, "name": name },
            "subjects": [{
                "kind": "ServiceAccount",
                "name": installation.service_account,
                "namespace": installation.namespace,
            }],
        }),
    ]
}

/// Roles and bindings. With `namespaces`, rights on workloads exist in those only.
#[must_use]
pub fn rbac(installation: &Installation) -> Vec<Value> {
    let name = installation.name.as_str();
    let mut all = role(installation, None, name, &cluster_rules(installation));
    match &installation.namespaces {
        None => all.extend(role(
            installation,
            None,
            &format!("{name}-workloads"),
            &workload_rules(),
        )),
        Some(namespaces) => {
            for namespace in namespaces {
                all.extend(role(
                    installation,
                    Some(namespace),
                    &format!("{name}-workloads"),
                    &workload_rules(),
                ));
            }
        }
    }
    all.extend(role(
        installation,
        Some(&installation.namespace),
        name,
        &own_rules(installation),
    ));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(objects: &[Value], resource: &str) -> Vec<Value> {
        objects
            .iter()
            .flat_map(|object| object["rules"].as_array().cloned().unwrap_or_default())
            .filter(|rule| {
                rule["resources"]
                    .as_array()
                    .unwrap()
                    .contains(&json!(resource))
            })
            .collect()
    }

    #[test]
    fn secrets_are_read_by_name_only() {
        for rule in rules(&rbac(&Installation::default()), "secrets") {
            if rule["verbs"] != json!(["create"]) {
                assert_eq!(rule["resourceNames"], json!(["crossfade-admission"]));
            }
        }
    }

    #[test]
    fn pods_are_never_written() {
        let found = rules(&rbac(&Installation::default()), "pods");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["verbs"], json!(["get", "list", "watch"]));
    }

    #[test]
    fn no_wildcards() {
        assert!(
            !serde_json::to_string(&rbac(&Installation::default()))
                .unwrap()
                .contains('*')
        );
    }

    #[test]
    fn with_namespaces_no_workload_right_is_cluster_wide() {
        let installation = Installation {
            namespaces: Some(vec!["shop".to_owned()]),
            ..Installation::default()
        };
        for object in rbac(&installation) {
            if object["kind"] == "ClusterRole" {
                assert!(rules(std::slice::from_ref(&object), "deployments").is_empty());
            }
        }
    }
}
