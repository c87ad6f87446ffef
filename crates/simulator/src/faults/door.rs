//! The way from one process of the controller to the API server: where calls are counted, written into
//! the trace, shown to the oracles, and where they fail. Watches pass through it too and stand still
//! with their process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use crossfade_fakeapi::{Caller, FakeApi};
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use serde_json::Value;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tower::{BoxError, ServiceExt};

use super::answers::{Answer, broken, refused};
use super::{Class, Schedule, What};
use crate::trace::{Trace, lock};

tokio::task_local! {
    /// The call whose effect is being carried out: what a commit came from.
    pub static ISSUED: Arc<Issued>;
}

/// One call of the controller as it was sent.
#[derive(Debug)]
pub struct Issued {
    /// Whose: the name of the installation.
    pub installation: Arc<str>,
    pub replica: usize,
    pub incarnation: u32,
    /// Its number in its class.
    pub number: u64,
    pub class: Class,
    pub method: Method,
    /// Path without the query.
    pub path: String,
    pub query: String,
    pub content_type: String,
    /// The body, as JSON if it is any.
    pub body: Value,
    /// When it was sent.
    pub at: Instant,
    /// The caller has been told that it failed, and it is carried out all the same.
    pub late: AtomicBool,
}

impl Issued {
    /// For traces and messages.
    #[must_use]
    pub fn words(&self) -> String {
        format!(
            "controller {}.{} #{} {} {}",
            self.replica, self.incarnation, self.number, self.method, self.path
        )
    }
}

/// One process on its way through life: alive, frozen or ended.
#[derive(Debug, Default)]
pub struct Link {
    ended: AtomicBool,
    frozen_until: Mutex<Option<(Instant, Instant)>>,
    gone: Notify,
}

/// What a process sent at the very start of a freeze was on its way already and arrives at its end.
const ON_ITS_WAY: Duration = Duration::from_millis(50);

impl Link {
    /// The process ends: nothing it sends arrives any more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.gone.notify_waiters();
    }

    /// Whether it has ended.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// The process stands still for so long.
    pub fn freeze(&self, length: Duration) {
        let now = Instant::now();
        *lock(&self.frozen_until) = Some((now, now + length));
    }

    /// When the freeze that is on began and when it ends.
    fn frozen(&self) -> Option<(Instant, Instant)> {
        let mut frozen = lock(&self.frozen_until);
        if frozen.is_some_and(|(_, until)| until <= Instant::now()) {
            *frozen = None;
        }
        *frozen
    }

    /// Waits until the process moves.
    pub async fn thawed(&self) {
        while let Some((_, until)) = self.frozen() {
            tokio::time::sleep_until(until).await;
        }
    }
}

/// What the doors of one world share.
pub struct Doors {
    pub api: FakeApi,
    pub schedule: Schedule,
    pub trace: Arc<Trace>,
    /// Shown every call when it is sent.
    pub sent: Box<dyn Fn(&Issued) + Send + Sync>,
    /// Shown every call whose caller is told what came of it: not what broke, and no error of the server.
    pub answered: Box<dyn Fn(&Issued) + Send + Sync>,
    /// Told which process a fault has ended.
    pub crashed: Box<dyn Fn(usize, u32) + Send + Sync>,
    /// Times on the wire.
    pub latency: Mutex<fastrand::Rng>,
    /// Until then every call is refused with 503.
    pub outage_until: Mutex<Option<Instant>>,
    /// A planted bug may change or drop requests: `None` drops it and answers success.
    pub tamper: Option<Tamper>,
}

/// Changes a request of the controller before it is sent, for planted bugs.
pub type Tamper = Arc<dyn Fn(&mut Tampered) + Send + Sync>;

/// A request as a planted bug may change it.
#[derive(Debug)]
pub struct Tampered {
    pub method: Method,
    pub path: String,
    pub body: Value,
    /// Not sent at all; answered with this object as if it had been carried out.
    pub swallowed: Option<Value>,
}

impl std::fmt::Debug for Doors {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Doors")
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}

/// The door of one process: what its client is made of.
#[derive(Clone, Debug)]
pub struct Door {
    pub shared: Arc<Doors>,
    pub link: Arc<Link>,
    /// Whom the API server sees.
    pub caller: Caller,
    /// Name of the installation it belongs to.
    pub installation: Arc<str>,
    pub replica: usize,
    pub incarnation: u32,
}

/// The body of an answer.
pub type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

impl tower::Service<Request<Body>> for Door {
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let door = self.clone();
        Box::pin(door.carry(request))
    }
}

impl Door {
    async fn carry(self, request: Request<Body>) -> Result<Response<AnswerBody>, BoxError> {
        if self.link.ended() {
            return never().await;
        }
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.map_err(BoxError::from)?.to_bytes();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        if query.contains("watch=") {
            return self.watch(parts, query).await;
        }
        let (issued, request) = self.issue(&parts, bytes, query);
        if let Some(answer) = request.swallowed {
            self.shared
                .trace
                .line(&format_args!("{} swallowed", issued.words()));
            return Ok(whole(Answer {
                status: http::StatusCode::OK,
                headers: HeaderMap::new(),
                body: Bytes::from(answer.to_string()),
            }));
        }
        let (_, fault) = (issued.number, request.fault);
        (self.shared.sent)(&issued);
        let mut fault = fault;
        if lock(&self.shared.outage_until).is_some_and(|until| Instant::now() < until) {
            fault = Some(What::Refused(503));
        }
        if let Some(what) = &fault {
            self.shared
                .trace
                .line(&format_args!("{} meets {what:?}", issued.words()));
        }
        let shared = Arc::clone(&self.shared);
        let result = self.meet(Arc::clone(&issued), request.parts, fault).await;
        if result
            .as_ref()
            .is_ok_and(|answer| !answer.status().is_server_error())
        {
            (shared.answered)(&issued);
        }
        result
    }

    /// Counts and records a request.
    fn issue(
        &self,
        parts: &http::request::Parts,
        bytes: Bytes,
        query: String,
    ) -> (Arc<Issued>, Outgoing) {
        let mut path = parts.uri.path().to_owned();
        let mut method = parts.method.clone();
        let mut body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap_or(Value::Null)
        };
        let (mut sent, mut swallowed) = (bytes, None);
        if let Some(tamper) = &self.shared.tamper
            && method != Method::GET
            && !path.contains("/leases")
        {
            let mut tampered = Tampered {
                method,
                path,
                body,
                swallowed: None,
            };
            tamper(&mut tampered);
            Tampered {
                method,
                path,
                body,
                swallowed,
            } = tampered;
            if !body.is_null() {
                sent = Bytes::from(body.to_string());
            }
        }
        let class = if path.contains("/leases") {
            Class::Lease
        } else if method == Method::GET {
            Class::Read
        } else {
            Class::Write
        };
        let (number, fault) = self.shared.schedule.next(class);
        let issued = Arc::new(Issued {
            installation: Arc::clone(&self.installation),
            replica: self.replica,
            incarnation: self.incarnation,
            number,
            class,
            method: method.clone(),
            path: path.clone(),
            query: query.clone(),
            content_type: header(&parts.headers, "content-type"),
            body,
            at: Instant::now(),
            late: AtomicBool::new(false),
        });
        let parts = Parts {
            method,
            uri: if query.is_empty() {
                path
            } else {
                format!("{path}?{query}")
            },
            headers: parts.headers.clone(),
            body: sent,
        };
        (
            issued,
            Outgoing {
                parts,
                fault,
                swallowed,
            },
        )
    }

    /// What comes of a call.
    async fn meet(
        self,
        issued: Arc<Issued>,
        parts: Parts,
        fault: Option<What>,
    ) -> Result<Response<AnswerBody>, BoxError> {
        let (there, back) = self.latency();
        if let Some((began, until)) = self.link.frozen() {
            if began.elapsed() > ON_ITS_WAY {
                // Nothing runs in a process that stands still; what it would send does not exist.
                return never().await;
            }
            let wait = until.saturating_duration_since(Instant::now());
            issued.late.store(true, Ordering::Relaxed);
            let answer = self.execute(&issued, &parts, wait + there);
            return self.reply(answer, back).await;
        }
        match fault {
            None => {
                let answer = self.execute(&issued, &parts, there);
                self.reply(answer, back).await
            }
            Some(What::Refused(code)) => {
                tokio::time::sleep(there + back).await;
                // A read does not conflict.
                let code = if issued.method == Method::GET && code == 409 {
                    500
                } else {
                    code
                };
                self.shared
                    .trace
                    .line(&format_args!("{} -> {code} refused", issued.words()));
                Ok(whole(refused(code, &issued.path)))
            }
            Some(What::ErrorAfter) => {
                let answer = self.execute(&issued, &parts, there);
                let _ = self.reply(answer, back).await?;
                Ok(whole(refused(500, &issued.path)))
            }
            Some(What::LostReply) => {
                let answer = self.execute(&issued, &parts, there);
                let _ = self.reply(answer, back).await?;
                Err(broken().into())
            }
            Some(What::Late(after)) => {
                issued.late.store(true, Ordering::Relaxed);
                let _answer = self.execute(&issued, &parts, after);
                tokio::time::sleep(there).await;
                Err(broken().into())
            }
            Some(What::Slow(after)) => {
                let answer = self.execute(&issued, &parts, after);
                self.reply(answer, back).await
            }
            Some(What::Again) => {
                let first = self.execute(&issued, &parts, there);
                let answer = self.clone().reply(first, Duration::ZERO).await?;
                let second = self.execute(&issued, &parts, there);
                let _ = self.reply(second, back).await?;
                Ok(answer)
            }
            Some(What::Twice) => {
                let first = self.execute(&issued, &parts, there);
                let _ = self.clone().reply(first, Duration::ZERO).await?;
                let second = self.execute(&issued, &parts, there);
                self.reply(second, back).await
            }
            Some(What::CrashAtCall { carried_out }) => {
                if carried_out {
                    let answer = self.execute(&issued, &parts, there);
                    let _ = answer.await;
                }
                self.link.end();
                (self.shared.crashed)(self.replica, self.incarnation);
                never().await
            }
            // Hung; the others do not happen to calls.
            Some(_) => never().await,
        }
    }

    /// Carries a call out in a task of its own: it goes on when the caller has given up.
    fn execute(
        &self,
        issued: &Arc<Issued>,
        parts: &Parts,
        after: Duration,
    ) -> oneshot::Receiver<Answer> {
        let (send, receive) = oneshot::channel();
        let (shared, issued, parts) = (Arc::clone(&self.shared), Arc::clone(issued), parts.clone());
        let caller = self.caller.clone();
        let work = {
            let issued = Arc::clone(&issued);
            async move {
                tokio::time::sleep(after).await;
                let answer = server(&shared, caller, &parts).await;
                shared.trace.line(&format_args!(
                    "{} -> {}{}",
                    issued.words(),
                    answer.status.as_u16(),
                    if issued.late.load(Ordering::Relaxed) {
                        " late"
                    } else {
                        ""
                    }
                ));
                let _ = send.send(answer);
            }
        };
        tokio::spawn(ISSUED.scope(issued, work));
        receive
    }

    /// The answer on its way back.
    async fn reply(
        self,
        answer: oneshot::Receiver<Answer>,
        back: Duration,
    ) -> Result<Response<AnswerBody>, BoxError> {
        let answer = answer.await.map_err(|_| broken())?;
        tokio::time::sleep(back).await;
        self.link.thawed().await;
        if self.link.ended() {
            return never().await;
        }
        Ok(whole(answer))
    }

    async fn watch(
        self,
        parts: http::request::Parts,
        query: String,
    ) -> Result<Response<AnswerBody>, BoxError> {
        let (number, _) = self.shared.schedule.next(Class::Watch);
        self.shared.trace.line(&format_args!(
            "controller {}.{} watch {number} {}?{query}",
            self.replica,
            self.incarnation,
            parts.uri.path()
        ));
        self.link.thawed().await;
        tokio::time::sleep(self.latency().0).await;
        if lock(&self.shared.outage_until).is_some_and(|until| Instant::now() < until) {
            return Ok(whole(refused(503, parts.uri.path())));
        }
        let request = Request::from_parts(parts, Full::new(Bytes::new()));
        let answer = self
            .shared
            .api
            .service(self.caller.clone())
            .oneshot(request)
            .await
            .map_err(|error| BoxError::from(error.to_string()))?;
        let (head, body) = answer.into_parts();
        let link = Arc::clone(&self.link);
        let frames =
            futures::stream::unfold((Box::pin(body), link), |(mut body, link)| async move {
                let frame = body.frame().await?;
                link.thawed().await;
                if link.ended() {
                    std::future::pending::<()>().await;
                }
                let frame = frame.map_err(|error| BoxError::from(error.to_string()));
                Some((frame, (body, link)))
            });
        Ok(Response::from_parts(
            head,
            UnsyncBoxBody::new(StreamBody::new(frames)),
        ))
    }

    fn latency(&self) -> (Duration, Duration) {
        let mut draw = lock(&self.shared.latency);
        (
            Duration::from_millis(draw.u64(1..=3)),
            Duration::from_millis(draw.u64(1..=2)),
        )
    }
}

/// A request as it goes out.
#[derive(Clone, Debug)]
struct Parts {
    method: Method,
    uri: String,
    headers: HeaderMap,
    body: Bytes,
}

struct Outgoing {
    parts: Parts,
    fault: Option<What>,
    swallowed: Option<Value>,
}

async fn never<T>() -> T {
    std::future::pending().await
}

fn header(headers: &HeaderMap, name: &str) -> String {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

fn whole(answer: Answer) -> Response<AnswerBody> {
    let body = Full::new(answer.body).map_err(|never| match never {});
    let mut response = Response::new(UnsyncBoxBody::new(body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

/// The API server's own answer.
async fn server(shared: &Doors, caller: Caller, parts: &Parts) -> Answer {
    let mut builder = Request::builder()
        .method(parts.method.clone())
        .uri(parts.uri.as_str());
    if let Some(headers) = builder.headers_mut() {
        headers.clone_from(&parts.headers);
    }
    let Ok(request) = builder.body(Full::new(parts.body.clone())) else {
        return refused(500, &parts.uri);
    };
    let Ok(answer) = shared.api.service(caller).oneshot(request).await;
    let (head, body) = answer.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    Answer {
        status: head.status,
        headers: head.headers,
        body,
    }
}
