//! The fake API as a `tower::Service`, for `kube::Client::new` and for anything that speaks HTTP.
//! Takes requests apart and writes answers out; handles none itself.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, header};
use http_body_util::BodyExt;

use crate::Caller;
use crate::answer::{Answer, Payload, object_bytes};
use crate::body::Body;
use crate::error::StatusError;
use crate::request::{Query, Request};
use crate::state::FakeApi;

/// One client's server.
#[derive(Clone, Debug)]
pub struct Server {
    api: FakeApi,
    caller: Caller,
}

impl Server {
    pub(crate) fn new(api: FakeApi, caller: Caller) -> Self {
        Self { api, caller }
    }
}

impl<B> tower::Service<http::Request<B>> for Server
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: std::fmt::Display,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let api = self.api.clone();
        let caller = self.caller.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let request = match body.collect().await {
                Ok(body) => read(&head, &body.to_bytes(), caller),
                Err(error) => Err(StatusError::bad_request(error.to_string())),
            };
            let answer = match request {
                Ok(request) => api.handle(request).await,
                Err(error) => Answer::error(&error),
            };
            Ok(write(answer))
        })
    }
}

fn read(head: &http::request::Parts, body: &Bytes, caller: Caller) -> Result<Request, StatusError> {
    let text = |name: header::HeaderName| {
        head.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let body = if body.is_empty() {
        None
    } else {
        Some(serde_json::from_slice(body).map_err(|error| {
            StatusError::bad_request(format!(
                "couldn't get version/kind; json parse error: {error}"
            ))
        })?)
    };
    let agent = text(header::USER_AGENT);
    Ok(Request {
        caller: Caller {
            agent: if agent.is_empty() {
                caller.agent
            } else {
                agent
            },
            ..caller
        },
        method: head.method.clone(),
        path: head.uri.path().to_owned(),
        query: Query::parse(head.uri.query().unwrap_or_default()),
        content_type: text(header::CONTENT_TYPE),
        accept: text(header::ACCEPT),
        body,
        warnings: Arc::default(),
    })
}

fn write(answer: Answer) -> http::Response<Body> {
    let json = HeaderValue::from_static("application/json");
    let (body, kind) = match answer.payload {
        Payload::Stored(stored, form, rewrite) => (
            Body::whole(object_bytes(&stored, form, rewrite.as_deref())),
            json,
        ),
        Payload::Value(value) => (Body::whole(Bytes::from(value.to_string())), json),
        Payload::Text(text) => (
            Body::whole(Bytes::from_static(text.as_bytes())),
            HeaderValue::from_static("text/plain; charset=utf-8"),
        ),
        Payload::List(list) => (Body::whole(list.bytes()), json),
        Payload::Watch(watcher) => (Body::lines(watcher.into_lines()), json),
    };
    let mut response = http::Response::new(body);
    *response.status_mut() = http::StatusCode::from_u16(answer.status)
        .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    for warning in answer.warnings {
        let text = format!(
            "299 - \"{}\"",
            warning.replace('\\', "\\\\").replace('"', "\\\"")
        );
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.append(header::WARNING, value);
        }
    }
    response
}
