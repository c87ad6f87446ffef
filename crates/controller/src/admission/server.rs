//! The socket of admission: HTTP over TLS 1.3, every request bounded in size and time.
//!
//! Not here: what is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use crossfade_engine::admit::Hook;
use http::{Request, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Admission;
use super::keeper::Tls;

/// Largest review: two objects of the API server's own limit of 1.5 MiB, and the rest.
const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// Longest time for one request, shorter than the API server's patience of five seconds.
const REQUEST_LIMIT: Duration = Duration::from_secs(4);
/// Longest time for the handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// Longest wait for the head of a request. API servers keep idle connections for 90 s; a shorter
/// limit than theirs would now and then close one under a request.
const HEAD_LIMIT: Duration = Duration::from_secs(120);
/// Open connections; an API server needs a few.
const CONNECTIONS: usize = 256;
/// How long open requests may take after `stop`.
const GRACE: Duration = Duration::from_secs(5);

/// The routes, without sockets.
pub fn router(admission: Admission) -> Router {
    let admission = Arc::new(admission);
    let mut router = Router::new();
    for hook in [Hook::Gate, Hook::Backstop, Hook::Traffic, Hook::Stamp] {
        router = router.route(
            &format!("/{}", super::hook_name(hook)),
            post(
                move |State(admission): State<Arc<Admission>>, request: Request<Body>| async move {
                    match tokio::time::timeout(REQUEST_LIMIT, handle(&admission, hook, request))
                        .await
                    {
                        Ok(response) => response,
                        Err(_) => (StatusCode::GATEWAY_TIMEOUT, "took too long, try again")
                            .into_response(),
                    }
                },
            ),
        );
    }
    router.with_state(admission)
}

async fn handle(admission: &Admission, hook: Hook, request: Request<Body>) -> Response {
    let Ok(body) = axum::body::to_bytes(request.into_body(), BODY_LIMIT).await else {
        return (
            StatusCode::PAYLOAD_TOO_LARGE,
            "the review is larger than 4 MiB or broke off",
        )
            .into_response();
    };
    match admission.answer(hook, &body).await {
        Ok(answer) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// Listens, and serves from the first certificate on, until `stop` turns true. `serving` is told
/// when requests are answered.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    admission: Admission,
    mut tls: Tls,
    serving: impl Fn(bool) + Send + Sync,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    // Without a certificate there is nobody to talk to; the port stays closed and callers fail fast.
    let first = async { tls.wait_for(Option::is_some).await.is_ok() };
    tokio::select! {
        ready = first => {
            if !ready {
                return Ok(());
            }
        }
        () = stopped(&mut stop) => return Ok(()),
    }
    let listener = TcpListener::bind(address).await?;
    tracing::info!(%address, "admission is served");
    serving(true);
    let router = router(admission);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, for instance: wait for some to be given back.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            () = stopped(&mut stop) => break,
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            continue;
        };
        let Some(config) = tls.borrow().clone() else {
            continue;
        };
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            let _slot = slot;
            if let Err(error) = connection(stream, config, router, stop).await {
                tracing::debug!(error, "admission connection");
            }
        });
    }
    serving(false);
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, drained).await.is_err() {
        tracing::warn!("admission connections were still open at the end");
    }
    Ok(())
}

/// Ends when `stop` turns true, or when nobody is left who could turn it.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

async fn connection(
    stream: TcpStream,
    config: Arc<rustls::ServerConfig>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    let accepted =
        tokio::time::timeout(HANDSHAKE_LIMIT, TlsAcceptor::from(config).accept(stream)).await;
    let stream = accepted
        .map_err(|_| "the handshake took too long".to_owned())?
        .map_err(|error| error.to_string())?;
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Some(HEAD_LIMIT))
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
        () = stopped(&mut stop) => {}
    }
    // Idle connections close at once, a running request is answered first.
    connection.as_mut().graceful_shutdown();
    connection.await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use crossfade_engine::admit::Answer;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::certificate::Certificate;
    use super::super::{Counts, Planner};
    use super::*;

    #[tokio::test]
    async fn answers_over_tls_with_its_own_authority() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        // The certificate must hold today, whatever day that is: take the time from a file just made.
        let file = std::env::temp_dir().join(format!("crossfade-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        let today =
            jiff::Timestamp::try_from(std::fs::metadata(&file).unwrap().modified().unwrap())
                .unwrap_or(now);
        std::fs::remove_file(&file).unwrap();
        let hosts = std::iter::once("127.0.0.1".to_owned()).collect();
        let certificate = Certificate::make(&hosts, today, None).unwrap();
        let (_sender, tls) = watch::channel(Some(certificate.server_config().unwrap()));
        let (stop, stopped) = watch::channel(false);
        let (ready, mut is_ready) = watch::channel(false);
        let address = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let service = tower::service_fn(|_: Request<kube::client::Body>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::empty()))
        });
        let admission = Admission {
            client: kube::Client::new(service, "default"),
            planner: Planner {
                admit: |_| Answer::Deny {
                    message: "no".to_owned(),
                },
                needs_live: |_, _, _, _, _| false,
            },
            installation: "crossfade".to_owned(),
            ourselves: "us".to_owned(),
            now: Arc::new(move || now),
            counts: Counts::default(),
        };
        let server = tokio::spawn(async move {
            serve(
                address,
                admission,
                tls,
                move |up| {
                    ready.send_replace(up);
                },
                stopped,
            )
            .await
        });
        is_ready.wait_for(|up| *up).await.unwrap();

        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(certificate.bundle.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("127.0.0.1").unwrap(), stream)
            .await
            .unwrap();
        let body = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"x"}}"#;
        let request = format!(
            "POST /gate?timeout=5s HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        // The idle connection must not hold up the end.
        stop.send_replace(true);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("\"allowed\":false"), "{answer}");
        server.await.unwrap().unwrap();
    }
}
