//! A small HTTP client over one loopback connection: one request at a time, answers bounded, every
//! wait bounded. For the load and for the controller's reads of pods; no pool, no redirect, no TLS.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use crossfade_controller::ports::{Outbound, OutboundError};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::backends::Backends;

/// Longest wait for a connection or an answer. A request without an answer by then is lost.
pub const LIMIT: Duration = Duration::from_secs(5);
/// Largest answer.
const ANSWER_BYTES: usize = 1 << 20;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// Drives the connection.
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// In words: refused, or not within [`LIMIT`].
    pub async fn open(address: SocketAddr) -> Result<Self, String> {
        let stream = tokio::time::timeout(LIMIT, TcpStream::connect(address))
            .await
            .map_err(|_| format!("no connection within {} s", LIMIT.as_secs()))?
            .map_err(|error| format!("connect: {error}"))?;
        // Small requests: waiting for more to send would only add its own delay.
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| format!("handshake: {error}"))?;
        let driver = tokio::spawn(async move {
            // How it ended shows in the answer that is missing.
            drop(connection.await);
        });
        Ok(Self { sender, driver })
    }

    /// Asks for a path.
    ///
    /// # Errors
    /// In words, when there is no whole answer within [`LIMIT`].
    pub async fn get(&mut self, path: &str) -> Result<http::Response<Bytes>, String> {
        let request = http::Request::get(path)
            .header(http::header::HOST, "web.shop")
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let exchange = async {
            self.sender.ready().await.map_err(|error| words(&error))?;
            let answer = self
                .sender
                .send_request(request)
                .await
                .map_err(|error| words(&error))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES)
                .collect()
                .await
                .map_err(|error| error.to_string())?;
            Ok(http::Response::from_parts(head, body.to_bytes()))
        };
        tokio::time::timeout(LIMIT, exchange)
            .await
            .map_err(|_| format!("no answer within {} s", LIMIT.as_secs()))?
    }
}

/// The error with its innermost cause, which says what happened.
fn words(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Whether the server closes the connection after this answer.
#[must_use]
pub fn closes<B>(answer: &http::Response<B>) -> bool {
    answer
        .headers()
        .get(http::header::CONNECTION)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

/// The controller's HTTP to pods: the address of a pod in the cluster becomes its loopback port.
#[must_use]
pub fn outbound(backends: &Backends) -> Outbound {
    let backends = backends.clone();
    Outbound::new(tower::service_fn(move |request: http::Request<Bytes>| {
        let backends = backends.clone();
        async move {
            let host = request.uri().host().unwrap_or_default();
            let address = backends
                .address(host)
                .ok_or_else(|| OutboundError(format!("connect to {host}: no route to host")))?;
            let path = request
                .uri()
                .path_and_query()
                .map_or("/", http::uri::PathAndQuery::as_str);
            let mut connection = Connection::open(address).await.map_err(OutboundError)?;
            connection.get(path).await.map_err(OutboundError)
        }
    }))
}
