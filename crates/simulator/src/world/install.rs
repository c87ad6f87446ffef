//! A cluster with Crossfade installed, as `crossfade install` does it: kinds, identity, rights, policy
//! and webhooks, made once and forked for each world.

use crossfade_api::install::{Installation, objects};
use crossfade_fakeapi::{Call, Caller, FakeApi, Options, Snapshot};
use http::Method;
use serde_json::{Value, json};

use crate::json::text;
use crate::ports::WorldClock;

/// The namespace of every world's workloads.
pub const NAMESPACE: &str = "shop";

/// Who installs.
#[must_use]
pub fn administrator() -> Caller {
    let mut caller = Caller::new("admin", "kubectl/v1.34.4");
    caller.groups.push("system:masters".to_owned());
    caller
}

/// Where objects of a kind are written; `None` for kinds that are not installed here.
fn collection(object: &Value) -> Option<String> {
    let namespace = text(object, "/metadata/namespace");
    let group = match text(object, "/apiVersion") {
        "v1" => "/api/v1".to_owned(),
        other => format!("/apis/{other}"),
    };
    let plural = match text(object, "/kind") {
        "CustomResourceDefinition" => "customresourcedefinitions",
        "Namespace" => "namespaces",
        "ServiceAccount" => "serviceaccounts",
        "ClusterRole" => "clusterroles",
        "ClusterRoleBinding" => "clusterrolebindings",
        "Role" => "roles",
        "RoleBinding" => "rolebindings",
        "Service" => "services",
        "MutatingWebhookConfiguration" => "mutatingwebhookconfigurations",
        "ValidatingWebhookConfiguration" => "validatingwebhookconfigurations",
        "ValidatingAdmissionPolicy" => "validatingadmissionpolicies",
        "ValidatingAdmissionPolicyBinding" => "validatingadmissionpolicybindings",
        _ => return None,
    };
    Some(if namespace.is_empty() {
        format!("{group}/{plural}")
    } else {
        format!("{group}/namespaces/{namespace}/{plural}")
    })
}

/// A server with everything installed and the worlds' namespace.
///
/// # Errors
/// What the API refused, in words.
pub async fn installed(installation: &Installation) -> Result<Snapshot, String> {
    let clock = WorldClock::new();
    let api = FakeApi::new(Options {
        clock: std::sync::Arc::new(move || clock.timestamp()),
        seed: 1,
        history: 1000,
    });
    let administrator = administrator();
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    let all = std::iter::once(namespace).chain(objects(installation));
    for object in all {
        let path = collection(&object).ok_or_else(|| format!("nothing is known of {object}"))?;
        let reply = api
            .call(
                &administrator,
                Call::json(Method::POST, path.clone(), object),
            )
            .await;
        if !reply.is_success() {
            return Err(format!("POST {path}: {} {}", reply.status, reply.body));
        }
    }
    Ok(api.snapshot())
}
