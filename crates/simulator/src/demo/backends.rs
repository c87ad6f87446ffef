//! Pods as real HTTP servers on loopback, one port each: they answer with their version and name, fail
//! as often as their version is said to, count what they answer and show it at `/metrics`. When a pod
//! lives and dies is decided by the cluster's actors; here it is only followed.

use crossfade_fakeapi::At;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use crossfade_fakeapi::{Change, FakeApi};
use fastrand::Rng;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::json::{deleting, text};
use crate::random;
use crate::trace::lock;

/// Name of the header that carries the version.
pub const VERSION: &str = "x-version";
/// Name of the header that carries the pod.
pub const POD: &str = "x-pod";
/// Most pods that get a port.
const PODS: usize = 64;
/// Most open connections of one pod.
const CONNECTIONS: usize = 256;
/// How long a pod that has ended may still write its last answers.
const LAST: Duration = Duration::from_secs(1);
/// A connection that sends no head for so long is closed.
const HEAD: Duration = Duration::from_secs(10);

/// Where in its life a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Life {
    Serving,
    /// It was told to end: it still answers, and closes each connection with the answer.
    Draining,
    Ended,
}

#[derive(Debug)]
struct Backend {
    address: SocketAddr,
    life: watch::Sender<Life>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By the pod's address in the cluster.
    by_address: BTreeMap<String, Backend>,
    /// Errors in a million answers, by version.
    errors: BTreeMap<String, u32>,
}

/// All pods' servers; a handle.
#[derive(Clone, Debug, Default)]
pub struct Backends(Arc<Mutex<Inner>>);

impl Backends {
    /// So many of a million answers of this version are errors; counts for pods that start later.
    pub fn set_errors(&self, version: &str, millionths: u32) {
        lock(&self.0).errors.insert(version.to_owned(), millionths);
    }

    /// The loopback address of the pod with this address in the cluster.
    #[must_use]
    pub fn address(&self, ip: &str) -> Option<SocketAddr> {
        lock(&self.0)
            .by_address
            .get(ip)
            .map(|backend| backend.address)
    }

    /// Follows the pods of the cluster until dropped.
    pub async fn run(self, pods: Pods, seed: u64) {
        let mut changes = pods.0;
        let mut servers = JoinSet::new();
        while let Some(change) = changes.recv().await {
            let Some((ip, pod)) = change.pod() else {
                continue;
            };
            match pod {
                Some(pod) if ended(pod) => self.end(ip),
                Some(pod) if deleting(pod) => self.tell(ip, Life::Draining),
                Some(pod) => self.begin(ip, pod, seed, &mut servers).await,
                None => self.end(ip),
            }
            while servers.try_join_next().is_some() {}
        }
    }

    /// A pod that runs gets a port, before it is ready.
    async fn begin(&self, ip: &str, pod: &Value, seed: u64, servers: &mut JoinSet<()>) {
        {
            let inner = lock(&self.0);
            if inner.by_address.contains_key(ip) || inner.by_address.len() >= PODS {
                return;
            }
        }
        let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await else {
            // Without a port the pod is unreachable, and that shows as lost requests.
            return;
        };
        let Ok(address) = listener.local_addr() else {
            return;
        };
        let version = version(text(pod, "/spec/containers/0/image"));
        let name = text(pod, "/metadata/name");
        let (life, seen) = watch::channel(Life::Serving);
        let mut inner = lock(&self.0);
        let app = Arc::new(App {
            version: version.to_owned(),
            pod: name.to_owned(),
            errors: inner.errors.get(version).copied().unwrap_or_default(),
            answers: Mutex::default(),
            draw: Mutex::new(random::of(seed, &format!("backend {name}"))),
        });
        servers.spawn(serve(listener, app, seen));
        inner
            .by_address
            .insert(ip.to_owned(), Backend { address, life });
    }

    fn tell(&self, ip: &str, life: Life) {
        if let Some(backend) = lock(&self.0).by_address.get(ip) {
            backend.life.send_replace(life);
        }
    }

    fn end(&self, ip: &str) {
        self.tell(ip, Life::Ended);
        lock(&self.0).by_address.remove(ip);
    }
}

/// `v2` of `registry.local/shop:v2`.
#[must_use]
pub fn version(image: &str) -> &str {
    image.rsplit_once(':').map_or(image, |(_, tag)| tag)
}

fn ended(pod: &Value) -> bool {
    pod.at("/status/containerStatuses/0/state/terminated")
        .is_some()
        || matches!(text(pod, "/status/phase"), "Failed" | "Succeeded")
}

/// The pods' changes as they are committed.
#[derive(Debug)]
pub struct Pods(mpsc::UnboundedReceiver<PodChange>);

#[derive(Debug)]
struct PodChange {
    before: Option<Arc<Value>>,
    after: Option<Arc<Value>>,
}

impl PodChange {
    /// The address, and the pod unless it is gone.
    fn pod(&self) -> Option<(&str, Option<&Value>)> {
        let known = self.after.as_ref().or(self.before.as_ref())?;
        let ip = text(known, "/status/podIP");
        (!ip.is_empty()).then_some((ip, self.after.as_deref()))
    }
}

impl Pods {
    /// Listens from now on.
    #[must_use]
    pub fn of(api: &FakeApi) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        api.observe(Arc::new(move |change: &Change| {
            if change.key.resource == "pods" {
                // Nobody listens any more at the end of the demo.
                let _ = sender.send(PodChange {
                    before: change.before.clone(),
                    after: change.after.clone(),
                });
            }
        }));
        Self(receiver)
    }
}

/// What a pod runs.
#[derive(Debug)]
struct App {
    version: String,
    pod: String,
    /// Errors in a million answers.
    errors: u32,
    /// Answers by status code.
    answers: Mutex<BTreeMap<u16, u64>>,
    draw: Mutex<Rng>,
}

impl App {
    async fn answer(
        &self,
        request: http::Request<hyper::body::Incoming>,
        life: Life,
    ) -> Result<http::Response<Full<Bytes>>, Infallible> {
        let (status, kind, body) = if request.uri().path() == "/metrics" {
            (200, "text/plain; version=0.0.4", self.metrics())
        } else {
            let (status, work) = {
                let mut draw = lock(&self.draw);
                let bad = draw.u32(0..1_000_000) < self.errors;
                (if bad { 500 } else { 200 }, draw.u64(1..=5))
            };
            tokio::time::sleep(Duration::from_millis(work)).await;
            *lock(&self.answers).entry(status).or_default() += 1;
            let body = json!({ "version": self.version, "pod": self.pod }).to_string();
            (status, "application/json", body)
        };
        let mut answer = http::Response::new(Full::new(Bytes::from(body)));
        *answer.status_mut() =
            http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = answer.headers_mut();
        let mut set = |name: http::HeaderName, value: &str| {
            if let Ok(value) = http::HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        set(http::header::CONTENT_TYPE, kind);
        set(http::HeaderName::from_static(VERSION), &self.version);
        set(http::HeaderName::from_static(POD), &self.pod);
        if life != Life::Serving {
            set(http::header::CONNECTION, "close");
        }
        Ok(answer)
    }

    /// Prometheus text format, version 0.0.4.
    fn metrics(&self) -> String {
        let mut text = String::from(
            "# HELP http_requests_total Requests answered.\n# TYPE http_requests_total counter\n",
        );
        for (code, count) in lock(&self.answers).iter() {
            text.push_str(&format!("http_requests_total{{code=\"{code}\"}} {count}\n"));
        }
        text
    }
}

/// Accepts until the pod has ended, then lets open answers be written.
async fn serve(listener: TcpListener, app: Arc<App>, mut life: watch::Receiver<Life>) {
    let mut connections = JoinSet::new();
    let shared = life.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                while connections.try_join_next().is_some() {}
                if let Ok((stream, _)) = accepted
                    && connections.len() < CONNECTIONS
                {
                    connections.spawn(connection(stream, Arc::clone(&app), shared.clone()));
                }
            }
            _ = life.wait_for(|life| *life == Life::Ended) => break,
        }
    }
    drop(listener);
    let last = async { while connections.join_next().await.is_some() {} };
    // What is not written by then is lost, as with SIGKILL.
    let _ = tokio::time::timeout(LAST, last).await;
}

async fn connection(stream: TcpStream, app: Arc<App>, mut life: watch::Receiver<Life>) {
    let _ = stream.set_nodelay(true);
    let now = life.clone();
    let service = service_fn(move |request| {
        let (app, life) = (Arc::clone(&app), *now.borrow());
        async move { app.answer(request, life).await }
    });
    let mut served = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        // A client that goes away is no concern of the server's.
        _ = served.as_mut() => return,
        _ = life.wait_for(|life| *life == Life::Ended) => {}
    }
    served.as_mut().graceful_shutdown();
    let _ = served.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_tag() {
        assert_eq!(version("registry.local:5000/shop:v2"), "v2");
        assert_eq!(version("shop"), "shop");
    }

    #[test]
    fn metrics_are_counters_by_code() {
        let app = App {
            version: "v1".to_owned(),
            pod: "web-1".to_owned(),
            errors: 0,
            answers: Mutex::new(BTreeMap::from([(200, 12), (500, 3)])),
            draw: Mutex::new(Rng::with_seed(1)),
        };
        let text = app.metrics();
        assert!(
            text.contains("http_requests_total{code=\"200\"} 12\n"),
            "{text}"
        );
        assert!(
            text.contains("http_requests_total{code=\"500\"} 3\n"),
            "{text}"
        );
    }
}
