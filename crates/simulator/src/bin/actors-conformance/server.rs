//! Calls to one of the two servers. What to call is not decided here.

use std::time::Duration;

use anyhow::Context;
use crossfade_fakeapi::{Call, Caller, FakeApi};
use http::{Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

/// One of the two.
#[derive(Clone)]
pub enum Server {
    Fake {
        api: FakeApi,
        /// Before each call.
        pause: Duration,
    },
    Real(kube::Client),
}

/// Whoever plays a script may do everything.
fn administrator() -> Caller {
    Caller {
        user: "admin".to_owned(),
        groups: vec![
            "system:masters".to_owned(),
            "system:authenticated".to_owned(),
        ],
        agent: "conformance/v1".to_owned(),
    }
}

impl Server {
    /// HTTP status and body of the answer.
    ///
    /// # Errors
    /// When no answer came, or one that is not JSON.
    pub async fn call(&self, call: Call) -> anyhow::Result<(u16, Value)> {
        let client = match self {
            Self::Fake { api, pause } => {
                if !pause.is_zero() {
                    tokio::time::sleep(*pause).await;
                }
                let reply = api.call(&administrator(), call).await;
                return Ok((reply.status, reply.body));
            }
            Self::Real(client) => client,
        };
        let path = call.path.clone();
        let response = client
            .send(request(call)?)
            .await
            .with_context(|| format!("no answer to {path}"))?;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await?.to_bytes();
        let body = serde_json::from_slice(&bytes)
            .with_context(|| format!("the answer to {path} is not JSON"))?;
        Ok((status, body))
    }

    /// Merge patch.
    ///
    /// # Errors
    /// As [`Server::call`].
    pub async fn patch(&self, path: &str, body: Value) -> anyhow::Result<(u16, Value)> {
        self.call(Call::patch(path, "application/merge-patch+json", body))
            .await
    }

    /// # Errors
    /// As [`Server::call`].
    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<(u16, Value)> {
        self.call(Call::json(Method::POST, path, body)).await
    }

    /// Deletes with these options.
    ///
    /// # Errors
    /// As [`Server::call`].
    pub async fn delete(&self, path: &str, options: Value) -> anyhow::Result<(u16, Value)> {
        self.call(Call::json(Method::DELETE, path, options)).await
    }

    /// The items of a list.
    ///
    /// # Errors
    /// As [`Server::call`], or when it is refused.
    pub async fn list(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let (status, mut body) = self.call(Call::get(path)).await?;
        anyhow::ensure!(status == 200, "{path}: {body}");
        match body.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }
}

/// A call as an HTTP request.
///
/// # Errors
/// When the path is none.
pub fn request(call: Call) -> anyhow::Result<Request<Body>> {
    let mut request = Request::builder().method(call.method).uri(&call.path);
    if let Some(kind) = &call.content_type {
        request = request.header(http::header::CONTENT_TYPE, kind);
    }
    let bytes = call
        .body
        .map_or_else(Vec::new, |body| body.to_string().into_bytes());
    request
        .body(Body::from(bytes))
        .with_context(|| format!("{} is not a path", call.path))
}
