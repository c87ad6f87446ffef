//! Every object an installation consists of, as plain JSON: kinds, identity, rights, admission.
//!
//! Pure builders, shared by `crossfade install`, the generated files in `deploy/` and the tests.
//! Not here: applying or removing anything, certificates, the controller's own Deployment.

mod rbac;
mod webhooks;

use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::{ClusterRolloutPolicy, Rollout, RolloutPolicy};

pub use rbac::rbac;
pub use webhooks::{admission, deletes, mutating, validating};

/// Label that names the installation on each of its objects.
pub const INSTANCE: &str = "app.kubernetes.io/instance";

/// Where the API server finds our admission server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// An address; the path of each hook is appended. For controllers outside the cluster.
    Url(String),
    /// The Service `<installation>-admission` of our namespace.
    Service {
        /// Its port.
        port: u16,
    },
}

/// One installation. Several may share a cluster when their `namespaces` do not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Prefix of every cluster-wide name.
    pub name: String,
    /// Where Lease, Secret and ServiceAccount are.
    pub namespace: String,
    /// The controller's identity.
    pub service_account: String,
    /// Only these namespaces are served; `None`: all.
    pub namespaces: Option<Vec<String>>,
    /// Where admission is served.
    pub admission: Admission,
    /// PEM in base64, as `clientConfig.caBundle` takes it; `None`: the controller fills it in.
    pub ca_bundle: Option<String>,
}

impl Default for Installation {
    fn default() -> Self {
        Self {
            name: "crossfade".to_owned(),
            namespace: "crossfade-system".to_owned(),
            service_account: "crossfade".to_owned(),
            namespaces: None,
            admission: Admission::Service { port: 443 },
            ca_bundle: None,
        }
    }
}

impl Installation {
    /// The user name the API server knows the controller by.
    #[must_use]
    pub fn username(&self) -> String {
        format!(
            "system:serviceaccount:{}:{}",
            self.namespace, self.service_account
        )
    }

    /// Name of the Secret with the admission server's certificate.
    #[must_use]
    pub fn secret_name(&self) -> String {
        format!("{}-admission", self.name)
    }

    /// Name of the Service in front of the admission server.
    #[must_use]
    pub fn service_name(&self) -> String {
        format!("{}-admission", self.name)
    }

    /// Names of the mutating configurations.
    #[must_use]
    pub fn mutating_names(&self) -> Vec<String> {
        ["gate", "traffic", "stamp"]
            .iter()
            .map(|part| format!("{}-{part}", self.name))
            .collect()
    }

    /// Name of the validating configuration.
    #[must_use]
    pub fn validating_name(&self) -> String {
        format!("{}-backstop", self.name)
    }

    /// Name of the policy against deletions, and of its binding.
    #[must_use]
    pub fn policy_name(&self) -> String {
        format!("{}-deletes", self.name)
    }

    fn labels(&self) -> Value {
        json!({ "app.kubernetes.io/name": "crossfade", INSTANCE: self.name })
    }

    /// Selects the namespaces this installation serves.
    fn namespace_selector(&self) -> Value {
        match &self.namespaces {
            None => json!({}),
            Some(names) => json!({
                "matchExpressions": [{ "key": "kubernetes.io/metadata.name", "operator": "In", "values": names }]
            }),
        }
    }
}

/// The kinds.
#[must_use]
pub fn crds() -> Vec<Value> {
    [
        Rollout::crd(),
        RolloutPolicy::crd(),
        ClusterRolloutPolicy::crd(),
    ]
    .iter()
    // A CustomResourceDefinition holds strings, numbers and maps with string keys: it always
    // has a JSON form.
    .map(|crd| serde_json::to_value(crd).unwrap_or_default())
    .collect()
}

/// Namespace and ServiceAccount.
#[must_use]
pub fn identity(installation: &Installation) -> Vec<Value> {
    vec![
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {
                "name": installation.namespace,
                "labels": {
                    "app.kubernetes.io/name": "crossfade",
                    "pod-security.kubernetes.io/enforce": "restricted",
                },
            },
        }),
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {
                "name": installation.service_account,
                "namespace": installation.namespace,
                "labels": installation.labels(),
            },
        }),
    ]
}

/// The Service in front of the admission server; `None` when admission is reached by address.
#[must_use]
pub fn admission_service(installation: &Installation) -> Option<Value> {
    let Admission::Service { port } = installation.admission else {
        return None;
    };
    Some(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": installation.service_name(),
            "namespace": installation.namespace,
            "labels": installation.labels(),
        },
        "spec": {
            "selector": installation.labels(),
            "ports": [{ "name": "admission", "port": port, "protocol": "TCP", "targetPort": "admission" }],
        },
    }))
}

/// Everything, in the order in which it must be applied. Admission comes last: from then on
/// template changes of opted-in Deployments need the controller.
#[must_use]
pub fn objects(installation: &Installation) -> Vec<Value> {
    let mut all = crds();
    all.extend(identity(installation));
    all.extend(rbac(installation));
    all.extend(admission_service(installation));
    all.extend(admission(installation));
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_object_has_kind_and_a_name_of_its_own() {
        for namespaces in [None, Some(vec!["a".to_owned(), "b".to_owned()])] {
            let mut seen = BTreeSet::new();
            for object in objects(&Installation {
                namespaces,
                ..Installation::default()
            }) {
                let key = (
                    object["apiVersion"].as_str().unwrap().to_owned(),
                    object["kind"].as_str().unwrap().to_owned(),
                    object["metadata"]["namespace"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                    object["metadata"]["name"].as_str().unwrap().to_owned(),
                );
                assert!(seen.insert(key.clone()), "{key:?} twice");
            }
        }
    }

    #[test]
    fn an_address_needs_no_service() {
        let installation = Installation {
            admission: Admission::Url("https://10.0.0.1:9443".to_owned()),
            ..Installation::default()
        };
        assert!(admission_service(&installation).is_none());
        assert!(admission_service(&Installation::default()).is_some());
    }

    #[test]
    fn kinds_are_complete() {
        let names: Vec<_> = crds()
            .iter()
            .map(|crd| crd["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            names,
            [
                "rollouts.crossfade.dev",
                "rolloutpolicies.crossfade.dev",
                "clusterrolloutpolicies.crossfade.dev"
            ]
        );
    }
}
