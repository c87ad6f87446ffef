//! A cluster with Crossfade installed, as `crossfade install` does it: kinds, identity, rights, policy
//! and webhooks, made once and forked for each world.

use crossfade_api::install::{Installation, admission, mutating, objects, validating};
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
        "Lease" => "leases",
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
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    let all = std::iter::once(namespace).chain(objects(installation));
    for object in all {
        create(&api, object).await?;
    }
    Ok(api.snapshot())
}

/// A second installation, in a namespace of its own, that serves the same namespaces as the first.
#[must_use]
pub fn another() -> Installation {
    Installation {
        name: "another".to_owned(),
        namespace: "another-system".to_owned(),
        service_account: "another".to_owned(),
        ..Installation::default()
    }
}

/// Installs beside what is installed; the kinds are there.
///
/// # Errors
/// What the API refused, in words.
pub async fn add(api: &FakeApi, installation: &Installation) -> Result<(), String> {
    for object in objects(installation) {
        if text(&object, "/kind") != "CustomResourceDefinition" {
            create(api, object).await?;
        }
    }
    Ok(())
}

/// Takes the admission of an installation and its lease away, as `crossfade uninstall` does.
///
/// # Errors
/// What the API refused, in words.
pub async fn remove(api: &FakeApi, installation: &Installation) -> Result<(), String> {
    let mut objects = admission(installation);
    objects.push(json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": installation.name, "namespace": installation.namespace },
    }));
    for object in objects {
        delete(api, &object).await?;
    }
    Ok(())
}

/// Takes the hook away that guards Services, as one does in an emergency.
///
/// # Errors
/// What the API refused, in words.
pub async fn unguard_services(api: &FakeApi) -> Result<(), String> {
    for object in mutating(&Installation::default()) {
        if text(&object, "/metadata/name").ends_with("-traffic") {
            delete(api, &object).await?;
        }
    }
    Ok(())
}

/// Takes all hooks away, as the runbook's last resort does.
///
/// # Errors
/// What the API refused, in words.
pub async fn unguard(api: &FakeApi) -> Result<(), String> {
    let installation = Installation::default();
    for object in mutating(&installation) {
        delete(api, &object).await?;
    }
    delete(api, &validating(&installation)).await
}

async fn delete(api: &FakeApi, object: &Value) -> Result<(), String> {
    let path = collection(object).ok_or_else(|| format!("nothing is known of {object}"))?;
    let path = format!("{path}/{}", text(object, "/metadata/name"));
    let reply = api.call(&administrator(), Call::delete(path.clone())).await;
    if reply.is_success() || reply.status == http::StatusCode::NOT_FOUND {
        return Ok(());
    }
    Err(format!("DELETE {path}: {} {}", reply.status, reply.body))
}

async fn create(api: &FakeApi, object: Value) -> Result<(), String> {
    let path = collection(&object).ok_or_else(|| format!("nothing is known of {object}"))?;
    let call = Call::json(Method::POST, path.clone(), object);
    let reply = api.call(&administrator(), call).await;
    if reply.is_success() {
        return Ok(());
    }
    Err(format!("POST {path}: {} {}", reply.status, reply.body))
}
