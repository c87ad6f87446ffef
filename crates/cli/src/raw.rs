//! Objects as raw JSON to and from the API server, by path.

use http::{Method, Request, header};
use serde_json::Value;

use crate::cluster::{Cluster, call};
use crate::exit::Failure;

/// Our name in managedFields, for what people let us write.
pub const FIELD_MANAGER: &str = "crossfade-cli";

/// Kinds we install and their paths.
const PLURALS: &[(&str, &str)] = &[
    ("ClusterRole", "clusterroles"),
    ("ClusterRoleBinding", "clusterrolebindings"),
    ("CustomResourceDefinition", "customresourcedefinitions"),
    ("Deployment", "deployments"),
    ("Lease", "leases"),
    (
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
    ),
    ("Namespace", "namespaces"),
    ("ReplicaSet", "replicasets"),
    ("Role", "roles"),
    ("RoleBinding", "rolebindings"),
    ("Secret", "secrets"),
    ("Service", "services"),
    ("ServiceAccount", "serviceaccounts"),
    ("ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
    (
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
    ),
    (
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    ),
];

/// `Kind name`, for messages.
pub fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!(
        "{} {}",
        text(&object["kind"]),
        text(&object["metadata"]["name"])
    )
}

/// Path of one object.
pub fn path(object: &Value) -> Result<String, Failure> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind, name) = (
        text(&object["apiVersion"]),
        text(&object["kind"]),
        text(&object["metadata"]["name"]),
    );
    let Some((_, plural)) = PLURALS.iter().find(|(known, _)| *known == kind) else {
        return Err(Failure::new(format!("the kind {kind} is not known here")));
    };
    let root = if version.contains('/') {
        format!("/apis/{version}")
    } else {
        format!("/api/{version}")
    };
    Ok(match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}/{name}"),
        None => format!("{root}/{plural}/{name}"),
    })
}

/// Path of a Deployment.
pub fn deployment(namespace: &str, name: &str) -> String {
    format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
}

async fn send(
    cluster: &Cluster,
    what: &str,
    method: Method,
    uri: &str,
    kind: &str,
    body: Vec<u8>,
) -> Result<Value, Failure> {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header(header::CONTENT_TYPE, kind)
        .body(body)
        .map_err(|error| Failure::new(format!("cannot {what}: {error}")))?;
    call(what, cluster.client.request::<Value>(request)).await
}

/// Reads; `None`: not there.
pub async fn get(cluster: &Cluster, what: &str, uri: &str) -> Result<Option<Value>, Failure> {
    let request = Request::get(uri)
        .body(Vec::new())
        .map_err(|error| Failure::new(format!("cannot {what}: {error}")))?;
    call(what, async {
        match cluster.client.request::<Value>(request).await {
            Ok(value) => Ok(Some(value)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    })
    .await
}

/// Server-side apply.
pub async fn apply(cluster: &Cluster, object: &Value) -> Result<Value, Failure> {
    let uri = format!(
        "{}?fieldManager=crossfade-install&force=true&fieldValidation=Strict",
        path(object)?
    );
    let what = format!("apply {}", title(object));
    send(
        cluster,
        &what,
        Method::PATCH,
        &uri,
        "application/apply-patch+yaml",
        object.to_string().into_bytes(),
    )
    .await
}

/// JSON patch.
pub async fn patch(
    cluster: &Cluster,
    what: &str,
    uri: &str,
    operations: &Value,
) -> Result<Value, Failure> {
    let uri = format!("{uri}?fieldManager={FIELD_MANAGER}");
    send(
        cluster,
        what,
        Method::PATCH,
        &uri,
        "application/json-patch+json",
        operations.to_string().into_bytes(),
    )
    .await
}

/// Deletes; false: it was not there.
pub async fn delete(cluster: &Cluster, object: &Value) -> Result<bool, Failure> {
    let uri = path(object)?;
    let what = format!("delete {}", title(object));
    let request = Request::delete(&uri)
        .body(Vec::new())
        .map_err(|error| Failure::new(format!("cannot {what}: {error}")))?;
    call(&what, async {
        match cluster.client.request::<Value>(request).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use crossfade_api::install::{Installation, objects};

    use super::*;

    #[test]
    fn every_installed_object_has_a_path() {
        for object in objects(&Installation::default()) {
            assert!(path(&object).is_ok(), "{}", title(&object));
        }
        let lease = serde_json::json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "a", "namespace": "b" } });
        assert_eq!(
            path(&lease).unwrap(),
            "/apis/coordination.k8s.io/v1/namespaces/b/leases/a"
        );
    }
}
