//! Admission: from an `AdmissionReview` to its answer, and the server around that.
//!
//! The decision itself is the planner's; here are the reading of the review, the live reads the
//! decision needs, and, kept apart so that a simulation can do without them, sockets, TLS and
//! certificates ([`server`], [`keeper`]). Nothing is decided from a cache and nothing is written:
//! a dry run takes the same way.

pub mod certificate;
pub mod count;
pub mod keeper;
mod live;
mod review;
pub mod server;

use std::sync::Arc;
use std::time::Duration;

use crossfade_engine::admit::{Answer, BREAK_GLASS, Hook, Live, Request};
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;

pub use count::Counts;
pub use review::Unreadable;

/// Tells the time of day.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Longest wait for all live reads of one request. The API server waits five seconds for us.
const LIVE_LIMIT: Duration = Duration::from_secs(2);

/// The part of the planner that admission asks.
#[derive(Clone, Copy, Debug)]
pub struct Planner {
    /// Decides.
    pub admit: for<'a> fn(&Request<'a>) -> Answer,
    /// Says whether the decision needs live reads: hook, user, ourselves, object, old object.
    pub needs_live: fn(Hook, &str, &str, &Value, &Value) -> bool,
}

/// What answering needs.
#[derive(Clone)]
pub struct Admission {
    /// For live reads.
    pub client: Client,
    /// Decides.
    pub planner: Planner,
    /// The installation's name, for messages.
    pub installation: String,
    /// Our user name.
    pub ourselves: String,
    /// The time.
    pub now: Now,
    /// Counts requests.
    pub counts: Counts,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Admission")
            .field("installation", &self.installation)
            .finish_non_exhaustive()
    }
}

impl Admission {
    /// Answers one review; both are the bytes of an `AdmissionReview`.
    ///
    /// # Errors
    /// When the bytes are not a review: there is no uid to answer to.
    pub async fn answer(&self, hook: Hook, body: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let asked = review::read(body).inspect_err(|_| self.counts.add(hook, "", "unreadable"))?;
        let answer = self.decide(hook, &asked).await;
        let word = match &answer {
            Answer::Allow { .. } => "allow",
            Answer::Patch { .. } => "patch",
            Answer::Deny { .. } => "deny",
        };
        self.counts.add(hook, &asked.namespace, word);
        tracing::info!(
            hook = hook_name(hook),
            namespace = asked.namespace,
            name = asked.name(),
            user = asked.user(),
            dry_run = asked.dry_run,
            answer = word,
            "admission"
        );
        let answer = match answer {
            Answer::Deny { message } => Answer::Deny {
                message: self.with_way_out(&message),
            },
            other => other,
        };
        Ok(review::write(&asked.uid, &answer))
    }

    async fn decide(&self, hook: Hook, asked: &review::Asked) -> Answer {
        let user = asked.user();
        let live = if (self.planner.needs_live)(
            hook,
            user,
            &self.ourselves,
            &asked.object,
            &asked.old_object,
        ) {
            let read = live::read(&self.client, hook, asked, &self.installation);
            let read = match tokio::time::timeout(LIVE_LIMIT, read).await {
                Ok(read) => read.map_err(|error| error.to_string()),
                Err(_) => Err("the API server did not answer within two seconds".to_owned()),
            };
            match read {
                Ok(live) => live,
                // Unread it is held: a pin that stays for one write too many lets nobody serve unjudged.
                Err(_) if hook == Hook::Traffic => Live::default(),
                Err(why) => return self.blind(hook, &why),
            }
        } else {
            Live::default()
        };
        (self.planner.admit)(&Request {
            hook,
            user,
            ourselves: &self.ourselves,
            object: &asked.object,
            old_object: &asked.old_object,
            live: &live,
            now: (self.now)(),
        })
    }

    /// Refuses what cannot be judged: letting it through could let unjudged pods serve.
    fn blind(&self, hook: Hook, why: &str) -> Answer {
        tracing::warn!(hook = hook_name(hook), why, "live read failed, refusing");
        Answer::Deny {
            message: format!(
                "Crossfade could not read the state of this release ({why}); nothing was changed. Try again"
            ),
        }
    }

    /// Each refusal says how to do without Crossfade; the planner's words know no names but those of the usual
    /// installation.
    fn with_way_out(&self, message: &str) -> String {
        let name = &self.installation;
        let end = if message.ends_with(['.', '!']) {
            ""
        } else {
            "."
        };
        let whole = if message.contains(BREAK_GLASS) {
            message.to_owned()
        } else {
            format!("{message}{end} In an emergency: {BREAK_GLASS}")
        };
        ["traffic", "gate", "backstop", "deletes"]
            .iter()
            .fold(whole, |text, part| {
                text.replace(&format!("crossfade-{part}"), &format!("{name}-{part}"))
            })
    }
}

/// The path of a hook, without the slash.
#[must_use]
pub const fn hook_name(hook: Hook) -> &'static str {
    match hook {
        Hook::Gate => "gate",
        Hook::Backstop => "backstop",
        Hook::Traffic => "traffic",
        Hook::Stamp => "stamp",
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use http::{Request as HttpRequest, Response, StatusCode};
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    fn client(
        answer: impl Fn(&str) -> (StatusCode, Value) + Clone + Send + Sync + 'static,
    ) -> Client {
        let service = tower::service_fn(move |request: HttpRequest<Body>| {
            let (code, value) = answer(&request.uri().to_string());
            async move {
                let mut response = Response::new(Body::from(value.to_string().into_bytes()));
                *response.status_mut() = code;
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        Client::new(service, "default")
    }

    fn admission(client: Client, admit: for<'a> fn(&Request<'a>) -> Answer) -> Admission {
        Admission {
            client,
            planner: Planner {
                admit,
                needs_live: |hook, _, _, _, _| hook == Hook::Gate,
            },
            installation: "crossfade".to_owned(),
            ourselves: "system:serviceaccount:crossfade-system:crossfade".to_owned(),
            now: Arc::new(|| Timestamp::UNIX_EPOCH),
            counts: Counts::default(),
        }
    }

    fn review() -> Vec<u8> {
        let deployment = json!({
            "metadata": { "name": "web", "namespace": "shop", "uid": "u1" },
            "spec": { "selector": { "matchLabels": { "app": "web" } } },
        });
        serde_json::to_vec(&json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "r1", "name": "web", "namespace": "shop", "operation": "UPDATE",
                "userInfo": { "username": "jane" },
                "object": deployment, "oldObject": deployment,
            },
        }))
        .unwrap()
    }

    fn response(bytes: &[u8]) -> Value {
        serde_json::from_slice::<Value>(bytes).unwrap()["response"].clone()
    }

    #[tokio::test]
    async fn live_state_reaches_the_planner_and_its_patch_the_answer() {
        let client = client(|uri| {
            if uri.contains("/rollouts/web") {
                (
                    StatusCode::OK,
                    json!({ "metadata": { "name": "web" }, "spec": {}, "status": { "phase": "RolledBack" } }),
                )
            } else {
                (
                    StatusCode::OK,
                    json!({ "items": [
                    { "metadata": { "name": "ours", "ownerReferences": [{ "controller": true, "uid": "u1" }] } },
                    { "metadata": { "name": "other", "ownerReferences": [{ "controller": true, "uid": "u2" }] } },
                ] }),
                )
            }
        });
        let admission = admission(client, |request| {
            assert_eq!(request.live.phase, Some(crossfade_api::Phase::RolledBack));
            assert_eq!(request.live.replica_sets.len(), 1);
            assert_eq!(request.user, "jane");
            Answer::Patch {
                operations: vec![json!({ "op": "add" })],
                warnings: vec!["gated".to_owned()],
            }
        });
        let response = response(&admission.answer(Hook::Gate, &review()).await.unwrap());
        assert_eq!(response["allowed"], true);
        assert_eq!(response["uid"], "r1");
        assert_eq!(response["warnings"], json!(["gated"]));
        let patch = base64::engine::general_purpose::STANDARD
            .decode(response["patch"].as_str().unwrap())
            .unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&patch).unwrap(),
            json!([{ "op": "add" }])
        );
        assert_eq!(admission.counts.get(Hook::Gate, "shop", "patch"), 1);
    }

    /// What the planner is told of a Service with this mark: who holds it, and whether that is gone.
    async fn told(hook: Hook, installation: &str, mark: &str) -> String {
        let rollout = json!({
            "metadata": { "name": "web" },
            "status": { "controller": installation, "phase": "Warm", "memory": { "workloadUid": "u1", "user": "its user" } },
        });
        let client = client(move |uri| {
            let items = match uri.rsplit('/').next() {
                Some("web") => return (StatusCode::OK, rollout.clone()),
                Some("rollouts") => json!([rollout]),
                Some("deployments") => json!([{ "metadata": { "uid": "u2" } }]),
                _ => json!([]),
            };
            (StatusCode::OK, json!({ "items": items }))
        });
        let mut admission = admission(client, |request| Answer::Allow {
            warnings: vec![format!(
                "{:?} {}",
                request.live.holder, request.live.departed
            )],
        });
        admission.planner.needs_live = |_, _, _, _, _| true;
        let mut review: Value = serde_json::from_slice(&review()).unwrap();
        review["request"]["oldObject"]["metadata"]["labels"] =
            json!({ "crossfade.dev/held-by": mark });
        let review = review.to_string();
        let answer = admission.answer(hook, review.as_bytes()).await;
        let warnings = &response(&answer.unwrap())["warnings"];
        warnings[0].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn who_holds_a_release_is_read_from_its_rollout() {
        let another = "Some(\"its user\") false";
        assert_eq!(told(Hook::Traffic, "another", "u1").await, another);
        assert_eq!(told(Hook::Gate, "another", "u1").await, another);
        assert_eq!(told(Hook::Traffic, "crossfade", "u1").await, "None false");
        assert_eq!(told(Hook::Gate, "crossfade", "u1").await, "None false");
        // No Rollout is about these workloads; one of them is still there.
        assert_eq!(told(Hook::Traffic, "another", "u2").await, "None false");
        assert_eq!(told(Hook::Traffic, "another", "u3").await, "None true");
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused_with_a_way_out() {
        let client = client(|_| {
            (
                StatusCode::FORBIDDEN,
                json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": "Forbidden", "code": 403
                }),
            )
        });
        let admission = admission(client, |_| Answer::Allow {
            warnings: Vec::new(),
        });
        let response = response(&admission.answer(Hook::Gate, &review()).await.unwrap());
        assert_eq!(response["allowed"], false);
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.contains("Try again"), "{message}");
        assert!(message.contains("crossfade-backstop"), "{message}");
    }

    #[tokio::test]
    async fn without_need_nothing_is_read() {
        let client = client(|uri| panic!("read {uri}"));
        let admission = admission(client, |_| Answer::Allow {
            warnings: Vec::new(),
        });
        let response = response(&admission.answer(Hook::Traffic, &review()).await.unwrap());
        assert_eq!(response["allowed"], true);
    }

    #[tokio::test]
    async fn nonsense_is_an_error() {
        let admission = admission(client(|uri| panic!("read {uri}")), |_| Answer::Allow {
            warnings: Vec::new(),
        });
        assert!(admission.answer(Hook::Gate, b"{}").await.is_err());
        assert!(admission.answer(Hook::Gate, b"not json").await.is_err());
    }
}
