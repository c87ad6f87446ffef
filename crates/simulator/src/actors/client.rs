//! One actor's calls to the API, each with the time it takes to get there. What to call is not
//! decided here.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crossfade_fakeapi::{Call, Caller, FakeApi, Reply};
use http::Method;
use serde_json::{Value, json};

use super::object::{name, namespace, text};
use fastrand::Rng;

use super::delay::Delay;

/// A call the API refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// `reason` of the Status object.
    pub reason: String,
    /// `message` of the Status object.
    pub message: String,
    /// Reasons of the causes.
    pub causes: Vec<String>,
}

impl Refused {
    /// Reads a Status object.
    #[must_use]
    pub fn read(status: u16, body: &Value) -> Self {
        Self {
            status,
            reason: text(body, "/reason").to_owned(),
            message: text(body, "/message").to_owned(),
            causes: super::object::list(body, "/details/causes")
                .iter()
                .map(|cause| text(cause, "/reason").to_owned())
                .collect(),
        }
    }

    /// Nothing of that name.
    #[must_use]
    pub fn not_found(&self) -> bool {
        self.status == 404
    }

    /// The name is taken.
    #[must_use]
    pub fn already_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }

    /// Refused because its namespace goes.
    #[must_use]
    pub fn namespace_terminating(&self) -> bool {
        self.causes
            .iter()
            .any(|cause| cause == "NamespaceTerminating")
    }
}

/// What a call gives: the body, or the refusal.
pub type Outcome = Result<Value, Refused>;

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Server-side apply; a conflict is refused.
    Apply,
    /// Server-side apply that takes the fields of others.
    ApplyForced,
}

/// Calls of one actor.
#[derive(Debug)]
pub struct Client {
    api: FakeApi,
    caller: Caller,
    latency: Delay,
    random: Mutex<Rng>,
}

/// Takes the lock, also of a world whose other thread has failed: the failure itself is told
/// elsewhere.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of the controllers of kube-controller-manager, with the ServiceAccount it runs as.
#[must_use]
pub fn controller_manager(account: &str) -> Caller {
    Caller::new(
        format!("system:serviceaccount:kube-system:{account}"),
        "kube-controller-manager/v1.34.4",
    )
}

/// Where a kind is served: group and version of the plural.
fn prefix(resource: &str) -> &'static str {
    match resource {
        "deployments" | "replicasets" | "controllerrevisions" => "/apis/apps/v1",
        "endpointslices" => "/apis/discovery.k8s.io/v1",
        "ingresses" => "/apis/networking.k8s.io/v1",
        "horizontalpodautoscalers" => "/apis/autoscaling/v2",
        "poddisruptionbudgets" => "/apis/policy/v1",
        "leases" => "/apis/coordination.k8s.io/v1",
        "httproutes" | "grpcroutes" => "/apis/gateway.networking.k8s.io/v1",
        "rollouts"
        | "rolloutpolicies"
        | "clusterrolloutpolicies"
        | "analysistemplates"
        | "clusteranalysistemplates" => "/apis/crossfade.dev/v1alpha1",
        "mutatingwebhookconfigurations"
        | "validatingwebhookconfigurations"
        | "validatingadmissionpolicies"
        | "validatingadmissionpolicybindings" => "/apis/admissionregistration.k8s.io/v1",
        _ => "/api/v1",
    }
}

/// The path of an object (or of the list, with an empty name).
#[must_use]
pub fn path(resource: &str, namespace: &str, name: &str, subresource: &str) -> String {
    let mut path = prefix(resource).to_owned();
    if !namespace.is_empty() {
        path = format!("{path}/namespaces/{namespace}");
    }
    path = format!("{path}/{resource}");
    for part in [name, subresource] {
        if !part.is_empty() {
            path = format!("{path}/{part}");
        }
    }
    path
}

impl Client {
    /// Calls as `caller`, each `latency` on its way.
    #[must_use]
    pub fn new(api: &FakeApi, caller: Caller, latency: Delay, random: Rng) -> Self {
        Self {
            api: api.clone(),
            caller,
            latency,
            random: Mutex::new(random),
        }
    }

    /// The API itself: what a server does by itself, without a call.
    #[must_use]
    pub fn raw(&self) -> &FakeApi {
        &self.api
    }

    /// One call.
    ///
    /// # Errors
    /// What the API answers with a status of 400 and more.
    pub async fn call(&self, call: Call) -> Outcome {
        let delay = self.latency.draw(&mut lock(&self.random));
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let Reply { status, body, .. } = self.api.call(&self.caller, call).await;
        if status < 400 {
            Ok(body)
        } else {
            Err(Refused::read(status, &body))
        }
    }

    /// Reads one object from the server, not from a cache.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn get(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        subresource: &str,
    ) -> Outcome {
        self.call(Call {
            method: Method::GET,
            path: path(resource, namespace, name, subresource),
            content_type: None,
            body: None,
        })
        .await
    }

    /// Creates.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn create(&self, resource: &str, namespace: &str, object: Value) -> Outcome {
        self.call(Call {
            method: Method::POST,
            path: path(resource, namespace, "", ""),
            content_type: Some("application/json".to_owned()),
            body: Some(object),
        })
        .await
    }

    /// Replaces the object, guarded by the resourceVersion it carries.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn replace(&self, resource: &str, subresource: &str, object: Value) -> Outcome {
        self.call(Call {
            method: Method::PUT,
            path: path(resource, namespace(&object), name(&object), subresource),
            content_type: Some("application/json".to_owned()),
            body: Some(object),
        })
        .await
    }

    /// Patches. `query` is appended to the path: `?fieldManager=…`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn patch(
        &self,
        how: Patch,
        path: &str,
        query: &[(&str, &str)],
        body: Value,
    ) -> Outcome {
        let content_type = match how {
            Patch::Json => "application/json-patch+json",
            Patch::Merge => "application/merge-patch+json",
            Patch::Apply | Patch::ApplyForced => "application/apply-patch+yaml",
        };
        let mut query: Vec<String> = query
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        if how == Patch::ApplyForced {
            query.push("force=true".to_owned());
        }
        let path = if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{}", query.join("&"))
        };
        self.call(Call {
            method: Method::PATCH,
            path,
            content_type: Some(content_type.to_owned()),
            body: Some(body),
        })
        .await
    }

    /// Binds a pod to a node. The API in memory has no `/binding`; it lets the node be set once.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn bind(
        &self,
        pod: &super::informer::Name,
        uid: &str,
        node: &str,
    ) -> Result<(), Refused> {
        let body = json!({"metadata": {"uid": uid}, "spec": {"nodeName": node}});
        let path = path("pods", &pod.0, &pod.1, "");
        self.patch(Patch::Merge, &path, &[], body).await.map(|_| ())
    }

    /// Deletes. Options as in the API: `propagationPolicy`, `gracePeriodSeconds`,
    /// `preconditions`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn delete(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        options: Value,
    ) -> Outcome {
        let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        if let (Some(body), Value::Object(options)) = (body.as_object_mut(), options) {
            body.extend(options);
        }
        self.call(Call {
            method: Method::DELETE,
            path: path(resource, namespace, name, ""),
            content_type: Some("application/json".to_owned()),
            body: Some(body),
        })
        .await
    }

    /// Adds or takes an owner reference as the strategic merge patch of the real controllers
    /// does: on the newest object, guarded by its uid alone. `change` turns the current list
    /// into the new one, or gives nothing if there is nothing to do.
    ///
    /// # Errors
    /// As [`Client::call`]; `Conflict` when the object of that uid is gone.
    pub async fn patch_owners(
        &self,
        resource: &str,
        object: &Value,
        change: impl Fn(&[Value]) -> Option<Vec<Value>> + Send,
    ) -> Outcome {
        let (namespace, name) = (namespace(object), name(object));
        loop {
            let current = self.get(resource, namespace, name, "").await?;
            let Some(owners) = change(super::object::list(&current, "/metadata/ownerReferences"))
            else {
                return Ok(current);
            };
            let body = json!({"metadata": {
                "uid": super::object::uid(object),
                "resourceVersion": text(&current, "/metadata/resourceVersion"),
                "ownerReferences": owners,
            }});
            match self
                .patch(
                    Patch::Merge,
                    &path(resource, namespace, name, ""),
                    &[],
                    body,
                )
                .await
            {
                // Somebody was faster between read and patch: the real server applies the patch
                // to the newest object by itself. A wrong uid stays a conflict.
                Err(refused)
                    if refused.status == 409
                        && super::object::uid(&current) == super::object::uid(object) => {}
                other => return other,
            }
        }
    }
}
