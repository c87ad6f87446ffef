//! A server of JSON over TLS within this process, for what the API server asks of others: webhooks and API services. What it answers
//! belongs to whoever starts it.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// From path with query and body to status and body.
type Answer = dyn Fn(String, Bytes) -> BoxFuture<'static, (StatusCode, Value)> + Send + Sync;

/// Dropping it ends the server.
#[derive(Debug)]
pub(crate) struct Https {
    pub(crate) address: SocketAddr,
    /// Whom to trust: `caBundle` of a webhook configuration or an API service.
    pub(crate) bundle: String,
    task: JoinHandle<()>,
}

impl Https {
    /// On a free port of an address of this machine, with a certificate for that address and for the names.
    pub(crate) async fn start(
        address: IpAddr,
        names: &[String],
        answer: impl Fn(String, Bytes) -> BoxFuture<'static, (StatusCode, Value)>
        + Send
        + Sync
        + 'static,
    ) -> anyhow::Result<Self> {
        let mut hosts = vec![address.to_string()];
        hosts.extend_from_slice(names);
        let made = rcgen::generate_simple_self_signed(hosts)
            .context("cannot make the server's certificate")?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        let listener = TcpListener::bind((address, 0)).await?;
        let address = listener.local_addr()?;
        let answer: Arc<Answer> = Arc::new(answer);
        let task = tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), answer));
        Ok(Self {
            address,
            bundle: STANDARD.encode(made.cert.pem()),
            task,
        })
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, answer: Arc<Answer>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request| respond(request, Arc::clone(&answer)));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    answer: Arc<Answer>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request
        .uri()
        .path_and_query()
        .map_or_else(String::new, ToString::to_string);
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::new(),
    };
    let (status, said) = answer(path, body).await;
    let mut response = Response::new(Full::new(Bytes::from(said.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}
