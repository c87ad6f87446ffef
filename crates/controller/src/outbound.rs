//! The adapter behind the `outbound` port, and the only place that knows reqwest: direct
//! connections, no proxy, no redirect, answers bounded in size and time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tower::util::BoxCloneSyncService;

use crate::feed::ANSWER_BYTES;
use crate::ports::{Outbound, OutboundError};

/// Longest time for a whole request; callers are stricter.
const LIMIT: Duration = Duration::from_secs(10);
/// Longest time to connect.
const CONNECT: Duration = Duration::from_secs(2);

fn failed(error: &reqwest::Error) -> OutboundError {
    // The outermost text names the address only; the innermost cause says what happened.
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    OutboundError(text)
}

/// The adapter.
///
/// # Errors
/// When the TLS settings cannot be made.
pub fn direct() -> Result<Outbound, OutboundError> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .timeout(LIMIT)
        .pool_max_idle_per_host(1)
        .build()
        .map_err(|error| failed(&error))?;
    Ok(BoxCloneSyncService::new(tower::service_fn(
        move |request: http::Request<Bytes>| {
            let client = client.clone();
            async move { send(&client, request).await }
        },
    )))
}

async fn send(
    client: &reqwest::Client,
    request: http::Request<Bytes>,
) -> Result<http::Response<Bytes>, OutboundError> {
    let request = reqwest::Request::try_from(request).map_err(|error| failed(&error))?;
    let mut answer = client
        .execute(request)
        .await
        .map_err(|error| failed(&error))?;
    let mut response = http::Response::new(Bytes::new());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| failed(&error))? {
        if body.len() + chunk.len() > ANSWER_BYTES {
            return Err(OutboundError(format!(
                "the answer is larger than {} MiB",
                ANSWER_BYTES >> 20
            )));
        }
        body.extend_from_slice(&chunk);
    }
    *response.body_mut() = body.freeze();
    Ok(response)
}
