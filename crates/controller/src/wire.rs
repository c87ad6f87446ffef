//! Calls to the API server: raw JSON in, raw JSON out, each with a time limit. Does not retry and
//! does not decide; what a failure means is said by its class.

use std::time::Duration;

use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE};
use kube::Client;
use serde_json::Value;

use crate::error::{Class, Failure};

/// Content type of a JSON patch.
pub const JSON_PATCH: &str = "application/json-patch+json";
/// Content type of a merge patch.
pub const MERGE_PATCH: &str = "application/merge-patch+json";
/// Content type of whole objects.
pub const JSON: &str = "application/json";

/// Most objects per page of a list.
const PAGE: usize = 500;

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub struct WireRequest {
    pub method: Method,
    /// Path and query, without the server.
    pub path: String,
    pub content_type: &'static str,
    pub body: Option<Value>,
    /// What it is for, in logs, metrics and failures.
    pub purpose: &'static str,
    /// How it hangs together with the call before it.
    pub link: Link,
}

/// How a call hangs together with the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// It stands for itself.
    #[default]
    None,
    /// The resourceVersion of the previous answer is the value of its first `test`. Left out if the
    /// previous call failed; its own failure stops nothing.
    AfterPrevious,
    /// As AfterPrevious, and what it writes are the managedFields of that answer without ours.
    Disown,
    /// It stands for itself, and an object already there with our labels is as good.
    Create,
}

/// The client with its time limits.
#[derive(Clone)]
pub struct Wire {
    client: Client,
    write_timeout: Duration,
    read_timeout: Duration,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Wire")
            .field("write_timeout", &self.write_timeout)
            .finish_non_exhaustive()
    }
}

impl Wire {
    /// A write is given up after `write_timeout`, by the server too; a read after twice that.
    #[must_use]
    pub fn new(client: Client, write_timeout: Duration) -> Self {
        Self {
            client,
            write_timeout,
            read_timeout: write_timeout * 2,
        }
    }

    /// The client itself, for watches.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The fence: after that much time an unanswered write does not land any more.
    #[must_use]
    pub fn write_timeout(&self) -> Duration {
        self.write_timeout
    }

    /// Sends a write. The server gets the same time limit and ends the request when it is over.
    ///
    /// # Errors
    /// By class; `unanswered` says whether it may have been carried out.
    pub async fn write(&self, request: &WireRequest) -> Result<Value, Failure> {
        let separator = if request.path.contains('?') { '&' } else { '?' };
        let seconds = self.write_timeout.as_millis();
        let path = format!("{}{separator}timeout={seconds}ms", request.path);
        // A little longer than the server: its own "timeout" is the better answer.
        self.send(
            request,
            &path,
            self.write_timeout + Duration::from_millis(250),
        )
        .await
    }

    async fn send(
        &self,
        request: &WireRequest,
        path: &str,
        limit: Duration,
    ) -> Result<Value, Failure> {
        let body = match &request.body {
            Some(value) => serde_json::to_vec(value)
                .map_err(|error| Failure::bug(request.purpose, error.to_string()))?,
            None => Vec::new(),
        };
        let built = http::Request::builder()
            .method(request.method.clone())
            .uri(path)
            .header(CONTENT_TYPE, request.content_type)
            .header(ACCEPT, JSON)
            .body(body)
            .map_err(|error| Failure::bug(request.purpose, error.to_string()))?;
        match tokio::time::timeout(limit, self.client.request::<Value>(built)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Failure::from_kube(
                request.purpose,
                &error,
                request.content_type == JSON_PATCH,
            )),
            Err(_) => Err(Failure::timeout(request.purpose)),
        }
    }

    /// Reads one object; `None` if it is not there.
    ///
    /// # Errors
    /// By class.
    pub async fn get(&self, path: &str, purpose: &'static str) -> Result<Option<Value>, Failure> {
        let request = WireRequest {
            method: Method::GET,
            path: path.to_owned(),
            content_type: JSON,
            body: None,
            purpose,
            link: Link::None,
        };
        match self.send(&request, path, self.read_timeout).await {
            Ok(value) => Ok(Some(value)),
            Err(failure) if failure.class == Class::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Reads a whole list, page by page. Items of a list carry no kind of their own.
    ///
    /// # Errors
    /// By class.
    pub async fn list(
        &self,
        path: &str,
        label_selector: &str,
        purpose: &'static str,
    ) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut next = String::new();
        loop {
            let mut url = format!("{path}?limit={PAGE}");
            if !label_selector.is_empty() {
                url = format!("{url}&labelSelector={}", escape(label_selector));
            }
            if !next.is_empty() {
                url = format!("{url}&continue={}", escape(&next));
            }
            let request = WireRequest {
                method: Method::GET,
                path: url.clone(),
                content_type: JSON,
                body: None,
                purpose,
                link: Link::None,
            };
            let mut page = self.send(&request, &url, self.read_timeout).await?;
            if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
                items.extend(found);
            }
            next = page
                .pointer("/metadata/continue")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            if next.is_empty() {
                return Ok(items);
            }
        }
    }
}

/// Percent-encodes a query value.
#[must_use]
pub fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte))
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// Paths of the kinds the controller touches.
pub mod path {
    /// Deployments of a namespace, or one of them.
    #[must_use]
    pub fn deployments(namespace: &str, name: &str) -> String {
        join("/apis/apps/v1", namespace, "deployments", name)
    }
    /// ReplicaSets.
    #[must_use]
    pub fn replica_sets(namespace: &str, name: &str) -> String {
        join("/apis/apps/v1", namespace, "replicasets", name)
    }
    /// ControllerRevisions.
    #[must_use]
    pub fn revisions(namespace: &str, name: &str) -> String {
        join("/apis/apps/v1", namespace, "controllerrevisions", name)
    }
    /// Pods.
    #[must_use]
    pub fn pods(namespace: &str) -> String {
        join("/api/v1", namespace, "pods", "")
    }
    /// Services.
    #[must_use]
    pub fn services(namespace: &str, name: &str) -> String {
        join("/api/v1", namespace, "services", name)
    }
    /// EndpointSlices.
    #[must_use]
    pub fn slices(namespace: &str) -> String {
        join("/apis/discovery.k8s.io/v1", namespace, "endpointslices", "")
    }
    /// Ingresses.
    #[must_use]
    pub fn ingresses(namespace: &str) -> String {
        join("/apis/networking.k8s.io/v1", namespace, "ingresses", "")
    }
    /// Rollouts.
    #[must_use]
    pub fn rollouts(namespace: &str, name: &str) -> String {
        join("/apis/crossfade.dev/v1alpha1", namespace, "rollouts", name)
    }
    /// Events.
    #[must_use]
    pub fn events(namespace: &str) -> String {
        join("/apis/events.k8s.io/v1", namespace, "events", "")
    }

    fn join(group: &str, namespace: &str, plural: &str, name: &str) -> String {
        if namespace.is_empty() {
            format!("{group}/{plural}")
        } else if name.is_empty() {
            format!("{group}/namespaces/{namespace}/{plural}")
        } else {
            format!("{group}/namespaces/{namespace}/{plural}/{name}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// An API server may answer nothing at all, or begin an answer and never end it.
    #[tokio::test(start_paused = true)]
    async fn every_read_ends() {
        let silent = tower::service_fn(|_: http::Request<kube::client::Body>| {
            std::future::pending::<Result<http::Response<kube::client::Body>, Infallible>>()
        });
        let endless = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            let never =
                futures::stream::pending::<Result<hyper::body::Frame<bytes::Bytes>, Infallible>>();
            Ok::<_, Infallible>(http::Response::new(http_body_util::StreamBody::new(never)))
        });
        let limit = Duration::from_secs(5);
        for client in [
            Client::new(silent, "default"),
            Client::new(endless, "default"),
        ] {
            let wire = Wire::new(client, limit);
            let began = tokio::time::Instant::now();
            let got = wire
                .get(&path::deployments("shop", "web"), "read the workload")
                .await;
            assert_eq!(got.unwrap_err().class, Class::Timeout);
            assert_eq!(began.elapsed(), limit * 2);
            let listed = wire.list(&path::pods("shop"), "", "read the pods").await;
            assert_eq!(listed.unwrap_err().class, Class::Timeout);
            assert_eq!(began.elapsed(), limit * 4);
        }
    }

    #[test]
    fn query_values_are_escaped() {
        assert_eq!(escape("a=b,c in (d)"), "a%3Db%2Cc%20in%20%28d%29");
        assert_eq!(
            path::deployments("shop", "web"),
            "/apis/apps/v1/namespaces/shop/deployments/web"
        );
        assert_eq!(path::pods("shop"), "/api/v1/namespaces/shop/pods");
    }
}
