//! A mutating webhook of somebody else, within this process: it sees every update of Deployments of one namespace (or every creation) after
//! all others, and changes or holds up what a scenario tells it to. What must become of that belongs to the scenarios.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::context::Context;

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

/// From an admission request to the operations of a JSON patch, or `None` to leave it alone.
type Change = Box<dyn Fn(&Value) -> Option<Vec<Value>> + Send>;

#[derive(Default)]
struct State {
    change: Option<Change>,
    /// Requests it changed: user and name of the object.
    changed: Vec<String>,
    /// Requests about objects whose names begin so get no answer as long as this stands here.
    held: watch::Sender<Option<String>>,
    /// How many requests had to wait.
    waited: watch::Sender<usize>,
}

/// Dropping it ends the server; the configuration goes with `remove`, or when the scenario ends.
pub(crate) struct Webhook {
    state: Arc<Mutex<State>>,
    path: String,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Webhook")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Webhook {
    /// `name` decides its place: mutating webhooks are called in the order of the names of their configurations.
    pub(crate) async fn start(context: &Context, name: &str) -> anyhow::Result<Self> {
        Self::start_on(context, name, "UPDATE").await
    }

    /// One that is asked when Deployments are created.
    pub(crate) async fn start_on_creation(context: &Context, name: &str) -> anyhow::Result<Self> {
        Self::start_on(context, name, "CREATE").await
    }

    async fn start_on(context: &Context, name: &str, operation: &str) -> anyhow::Result<Self> {
        let host = Ipv4Addr::LOCALHOST.to_string();
        let made = rcgen::generate_simple_self_signed(vec![host.clone()])
            .context("cannot make the webhook's certificate")?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let task = tokio::spawn(serve(
            listener,
            TlsAcceptor::from(Arc::new(tls)),
            Arc::clone(&state),
        ));
        let path = format!("{CONFIGURATIONS}/{name}");
        context.remove_at_the_end(&path);
        context.api.delete(&path).await?;
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name, "labels": {"crossfade.dev/e2e": "true"}},
            "webhooks": [{
                "name": format!("{name}.example.com"),
                "admissionReviewVersions": ["v1"],
                "clientConfig": {"url": format!("https://{address}/"), "caBundle": STANDARD.encode(made.cert.pem())},
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "timeoutSeconds": 5,
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": context.namespace}},
                "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": [operation], "scope": "Namespaced"}],
            }],
        });
        context.api.create(CONFIGURATIONS, &configuration).await?;
        Ok(Self { state, path, task })
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it changes from now on.
    pub(crate) fn set(&self, change: impl Fn(&Value) -> Option<Vec<Value>> + Send + 'static) {
        self.locked().change = Some(Box::new(change));
    }

    /// It leaves everything alone from now on.
    pub(crate) fn rest(&self) {
        self.locked().change = None;
    }

    /// Leaves requests about objects whose names begin so without an answer, for less than the five seconds it has.
    pub(crate) fn hold(&self, prefix: &str) {
        let state = self.locked();
        state.waited.send_replace(0);
        state.held.send_replace(Some(prefix.to_owned()));
    }

    /// Waits until a request waits.
    pub(crate) async fn until_held(&self, limit: Duration) -> anyhow::Result<()> {
        let mut waited = self.locked().waited.subscribe();
        timeout(limit, waited.wait_for(|count| *count > 0))
            .await
            .context("the webhook is not asked for what it is to hold up")??;
        Ok(())
    }

    pub(crate) fn let_go(&self) {
        self.locked().held.send_replace(None);
    }

    /// Who wrote what it changed, in order: `user name`.
    pub(crate) fn changed(&self) -> Vec<String> {
        self.locked().changed.clone()
    }

    pub(crate) async fn remove(&self, context: &Context) -> anyhow::Result<()> {
        context.api.delete(&self.path).await
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<Mutex<State>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request| answer(request, Arc::clone(&state)));
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn until_free(asked: &Value, state: &Mutex<State>) {
    let name = asked
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let free =
        |held: &Option<String>| !held.as_ref().is_some_and(|prefix| name.starts_with(prefix));
    let mut held = {
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let held = state.held.subscribe();
        if !free(&held.borrow()) {
            state.waited.send_modify(|count| *count += 1);
        }
        held
    };
    // Its end is that of the scenario: then nobody waits for the answer.
    let _ = held.wait_for(free).await;
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::new(),
    };
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let asked = review.get("request").cloned().unwrap_or_default();
    until_free(&asked, &state).await;
    let mut response = json!({"uid": asked.get("uid"), "allowed": true});
    let patch = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let patch = state.change.as_ref().and_then(|change| change(&asked));
        if patch.is_some() {
            let (user, name) = (asked.pointer("/userInfo/username"), asked.get("name"));
            let text = |value: Option<&Value>| {
                value.and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            state.changed.push(format!("{} {}", text(user), text(name)));
        }
        patch
    };
    if let (Some(patch), Some(response)) = (patch, response.as_object_mut()) {
        response.insert("patchType".to_owned(), json!("JSONPatch"));
        response.insert(
            "patch".to_owned(),
            json!(STANDARD.encode(json!(patch).to_string())),
        );
    }
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    let mut answer = Response::new(Full::new(Bytes::from(review.to_string())));
    answer.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    Ok(answer)
}
