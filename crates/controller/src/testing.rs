//! A controller against an API of a few lines, for tests of what needs a whole [`Context`]. What takes
//! more of an API than single answers is tested in the simulator.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tower::util::BoxCloneSyncService;

use crate::context::Context;
use crate::lock;
use crate::metrics::Metrics;
use crate::ports::{Clock, Engine, Ids, Outbound, OutboundError, Ports};
use crate::run::Settings;

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }
}

impl Ids for Fixed {
    fn candidate(&self) -> String {
        "c0".to_owned()
    }
}

/// What was asked of the API: method, path and body.
pub(crate) type Asked = Arc<Mutex<Vec<(http::Method, String, Value)>>>;

/// An answer: a code, and an object. With an error code the object is a Status of its own making.
pub(crate) fn status(code: u16) -> (u16, Value) {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        _ => "Conflict",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "", "code": code,
        "reason": reason,
    });
    (code, status)
}

/// A controller whose API server answers like this, and what it is asked.
pub(crate) fn context(
    answer: impl Fn(&http::Method, &str, &Value) -> (u16, Value) + Clone + Send + 'static,
) -> (Arc<Context>, Asked) {
    let nothing = tower::service_fn(|_: http::Request<Bytes>| async {
        Err::<http::Response<Bytes>, _>(OutboundError("nothing is out there".to_owned()))
    });
    context_with(answer, BoxCloneSyncService::new(nothing))
}

/// The same with somebody out there.
pub(crate) fn context_with(
    answer: impl Fn(&http::Method, &str, &Value) -> (u16, Value) + Clone + Send + 'static,
    outbound: Outbound,
) -> (Arc<Context>, Asked) {
    let asked = Asked::default();
    let heard = Arc::clone(&asked);
    let api = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (answer, heard) = (answer.clone(), Arc::clone(&heard));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap_or_default();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let (code, object) = answer(&parts.method, parts.uri.path(), &body);
            lock(&heard).push((parts.method, parts.uri.path().to_owned(), body));
            let body = kube::client::Body::from(object.to_string().into_bytes());
            let mut response = http::Response::new(body);
            *response.status_mut() = http::StatusCode::from_u16(code).unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    let ports = Ports {
        client: kube::Client::new(api, "default"),
        clock: Arc::new(Fixed),
        outbound,
        ids: Arc::new(Fixed),
        planner: Arc::new(Engine),
    };
    let settings = Settings {
        namespaces: None,
        write_timeout: Duration::from_secs(5),
        installation: "crossfade".to_owned(),
        user: "system:serviceaccount:crossfade-system:crossfade".to_owned(),
        instance: "us".to_owned(),
        concurrency: 2,
    };
    (Context::new(ports, settings, Metrics::default()).0, asked)
}
