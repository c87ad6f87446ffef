//! A Kubernetes API server in memory: reads, writes, watches, admission, garbage collection, as a
//! function ([`FakeApi::call`]) and as a `tower::Service` ([`FakeApi::service`]) under any client.
//! Behaves like kube-apiserver 1.34 where a controller can tell. What does NOT belong here: kinds of
//! Crossfade, controllers of workloads, faults of the network. It knows no wall clock and no chance.

mod admission;
mod answer;
mod at;
mod body;
mod clock;
mod commit;
mod discovery;
mod dispatch;
mod error;
mod garbage;
mod history;
mod managed;
mod patch;
mod read;
mod request;
mod resource;
mod rules;
mod schema;
mod selector;
mod server;
mod state;
mod watch;
mod write;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;

pub use at::At;
pub use body::Body;
pub use error::{Cause, StatusError};
pub use garbage::GarbageDelays;
pub use resource::{GroupVersionKind, ResourceType};
pub use server::Server;
pub use state::{FakeApi, Options, Snapshot};

/// Who calls. Authentication is the caller's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub user: String,
    pub groups: Vec<String>,
    /// The User-Agent header; its part before the first `/` is the field manager of writes that name none.
    pub agent: String,
}

impl Caller {
    /// A caller of the group `system:authenticated` (and, for a ServiceAccount, its groups).
    #[must_use]
    pub fn new(user: impl Into<String>, agent: impl Into<String>) -> Self {
        let user = user.into();
        let mut groups = Vec::new();
        if let Some(rest) = user.strip_prefix("system:serviceaccount:") {
            groups.push("system:serviceaccounts".to_owned());
            if let Some((namespace, _)) = rest.split_once(':') {
                groups.push(format!("system:serviceaccounts:{namespace}"));
            }
        }
        groups.push("system:authenticated".to_owned());
        Self {
            user,
            groups,
            agent: agent.into(),
        }
    }
}

/// One request without a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub method: http::Method,
    /// Path and query, without the server.
    pub path: String,
    pub content_type: Option<String>,
    pub body: Option<Value>,
}

impl Call {
    /// A read.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: http::Method::GET,
            path: path.into(),
            content_type: None,
            body: None,
        }
    }

    /// A request with a JSON body.
    #[must_use]
    pub fn json(method: http::Method, path: impl Into<String>, body: Value) -> Self {
        Self {
            method,
            path: path.into(),
            content_type: Some("application/json".to_owned()),
            body: Some(body),
        }
    }

    /// A PATCH of the given content type, `application/merge-patch+json` for instance.
    #[must_use]
    pub fn patch(path: impl Into<String>, content_type: &str, body: Value) -> Self {
        Self {
            method: http::Method::PATCH,
            path: path.into(),
            content_type: Some(content_type.to_owned()),
            body: Some(body),
        }
    }

    /// A deletion without options.
    #[must_use]
    pub fn delete(path: impl Into<String>) -> Self {
        Self {
            method: http::Method::DELETE,
            path: path.into(),
            content_type: None,
            body: None,
        }
    }
}

/// The answer to a [`Call`].
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// An object, a list or a `Status`; a string for answers that are plain text.
    pub body: Value,
    /// Texts of the Warning headers, in order.
    pub warnings: Vec<String>,
}

impl Reply {
    /// Whether the status is one of 200 to 299.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The `reason` of a failure's `Status`, empty for a success.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.body
            .get("reason")
            .and_then(Value::as_str)
            .filter(|_| !self.is_success())
            .unwrap_or_default()
    }
}

/// What names one stored object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The plural, `deployments`; `plural.group` for a custom kind whose plural another kind has.
    pub resource: String,
    /// Empty for objects of the cluster.
    pub namespace: String,
    pub name: String,
}

impl Key {
    /// Of an object in a namespace; `""` for one of the cluster.
    #[must_use]
    pub fn new(
        resource: impl Into<String>,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            write!(formatter, "{} {}", self.resource, self.name)
        } else {
            write!(
                formatter,
                "{} {}/{}",
                self.resource, self.namespace, self.name
            )
        }
    }
}

/// What a write does, in the words of admission and audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    Create,
    /// PUT.
    Update,
    /// JSON patch and merge patch.
    Patch,
    /// Server-side apply.
    Apply,
    Delete,
}

/// One commit.
#[derive(Clone, Debug)]
pub struct Change {
    /// The resourceVersion it made.
    pub revision: u64,
    pub caller: Caller,
    pub verb: Verb,
    /// `status`, `scale`, … or empty.
    pub subresource: String,
    pub key: Key,
    /// Absent when the object is new.
    pub before: Option<Arc<Value>>,
    /// Absent when the object is gone.
    pub after: Option<Arc<Value>>,
}

/// Called after each commit.
pub type Observer = Arc<dyn Fn(&Change) + Send + Sync>;

/// Time as the API server stamps it.
pub type Clock = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// Which webhook to call, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookTarget {
    /// Name of the Mutating- or ValidatingWebhookConfiguration.
    pub configuration: String,
    /// Name of the webhook in it.
    pub name: String,
    /// `clientConfig.url`, or `https://<service>.<namespace>.svc:<port><path>` made from `clientConfig.service`.
    pub url: String,
}

/// Carries reviews to admission servers. Knows nothing of what they mean.
pub trait WebhookCaller: Send + Sync {
    /// The AdmissionReview answered within `timeout`, or what went wrong in words (for the message
    /// `failed calling webhook …`). The caller of this keeps the time too.
    fn call(
        &self,
        webhook: WebhookTarget,
        review: Value,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Value, String>>;
}

/// How long a LIST or watch waits for a revision that does not exist yet, as the real server does.
const UNKNOWN_REVISION_WAIT: Duration = Duration::from_secs(3);
