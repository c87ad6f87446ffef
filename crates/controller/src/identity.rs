//! Who the API server says we are. The webhooks let exactly one user through: running as anybody
//! else would be gated by our own admission, half-way through a release.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::error::{Class, Failure, delay};
use crate::wire::{JSON, Link, Wire, WireRequest};

/// Asks until there is an answer. `Ok(None)`: we are who we should be; else who we are.
///
/// # Errors
/// When the server refuses the question.
pub async fn check(wire: &Wire, expected: &str) -> Result<Option<String>, Failure> {
    let request = WireRequest {
        method: Method::POST,
        path: "/apis/authentication.k8s.io/v1/selfsubjectreviews".to_owned(),
        content_type: JSON,
        body: Some(
            json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" }),
        ),
        purpose: "ask who we are",
        link: Link::None,
    };
    let mut attempt = 0;
    loop {
        match wire.write(&request).await {
            Ok(answer) => {
                let user = answer
                    .pointer("/status/userInfo/username")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                return Ok((user != expected).then(|| user.to_owned()));
            }
            Err(failure)
                if matches!(
                    failure.class,
                    Class::Unavailable | Class::Timeout | Class::Throttled
                ) =>
            {
                let wait = delay(failure.class, attempt, expected).min(Duration::from_secs(5));
                tracing::warn!(%failure, ?wait, "the API server does not say who we are yet");
                tokio::time::sleep(wait).await;
                attempt += 1;
            }
            Err(failure) => return Err(failure),
        }
    }
}
