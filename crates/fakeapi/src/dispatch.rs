//! From a request to the part that handles it, and from failures to `Status` answers.

use http::Method;
use serde_json::json;

use crate::answer::{Answer, Payload};
use crate::error::StatusError;
use crate::request::{Place, Query, Request, Target, target};
use crate::state::FakeApi;
use crate::{Call, Caller, Reply, UNKNOWN_REVISION_WAIT, discovery, read, watch, write};

impl FakeApi {
    /// One whole request, without faults. Watches are only served by [`FakeApi::service`]: here they are 400.
    pub async fn call(&self, caller: &Caller, call: Call) -> Reply {
        let (path, query) = call.path.split_once('?').unwrap_or((&call.path, ""));
        let request = Request {
            caller: caller.clone(),
            method: call.method,
            path: path.to_owned(),
            query: Query::parse(query),
            content_type: call.content_type.unwrap_or_default(),
            accept: "application/json".to_owned(),
            body: call.body,
            warnings: std::sync::Arc::default(),
        };
        if request.query.flag("watch") {
            return Answer::error(&StatusError::bad_request(
                "a watch needs a stream: use FakeApi::service",
            ))
            .into_reply();
        }
        self.handle(request).await.into_reply()
    }

    pub(crate) async fn handle(&self, request: Request) -> Answer {
        match self.route(&request).await {
            Ok(answer) => answer,
            Err(error) => {
                let mut answer = Answer::error(&error);
                answer.warnings = request.warned();
                answer
            }
        }
    }

    async fn route(&self, request: &Request) -> Result<Answer, StatusError> {
        let resources = self.with(|state| std::sync::Arc::clone(&state.resources));
        let place = match target(&resources, &request.path)? {
            Target::Objects(place) => place,
            Target::Other(segments) => return self.other(request, &segments, &resources),
        };
        match (request.method.clone(), place.name.is_empty()) {
            (Method::GET, _) if request.query.flag("watch") => {
                self.reached(request).await;
                watch::start(self, request, &place)
            }
            (Method::GET, true) => {
                self.reached(request).await;
                read::list(self, request, &place)
            }
            (Method::GET, false) => {
                self.reached(request).await;
                read::get(self, request, &place)
            }
            (Method::POST, true) => write::create::post(self, request, place).await,
            (Method::POST, false) => write::pods::post(self, request, place).await,
            (Method::PUT, false) => {
                check_subresource(&place)?;
                write::update::put(self, request, place).await
            }
            (Method::PATCH, false) => {
                check_subresource(&place)?;
                write::patch::patch(self, request, place).await
            }
            (Method::DELETE, false) if place.subresource.is_empty() => {
                write::delete::one(self, request, place).await
            }
            (Method::DELETE, true) => write::delete::collection(self, request, place).await,
            _ => Err(StatusError::method_not_allowed()),
        }
    }

    /// Waits a little for a revision that is still to come, as the real server does.
    async fn reached(&self, request: &Request) {
        let Ok(asked) = request.query.text("resourceVersion").parse::<u64>() else {
            return;
        };
        if asked <= self.revision() {
            return;
        }
        let mut changes = self.changes();
        let reached = changes.wait_for(|revision| *revision >= asked);
        // Not reached in time: the read itself says so.
        drop(tokio::time::timeout(UNKNOWN_REVISION_WAIT, reached).await);
    }

    fn other(
        &self,
        request: &Request,
        segments: &[String],
        resources: &crate::resource::Resources,
    ) -> Result<Answer, StatusError> {
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match (&request.method, segments.as_slice()) {
            (&Method::POST, ["apis", "authentication.k8s.io", "v1", "selfsubjectreviews"]) => {
                Ok(Answer::value(
                    201,
                    json!({
                        "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1",
                        "metadata": { "creationTimestamp": self.now() },
                        "status": { "userInfo": { "username": request.caller.user, "groups": request.caller.groups } },
                    }),
                ))
            }
            (&Method::POST, ["apis", "authorization.k8s.io", "v1", kind]) => {
                self.access_review(request, kind)
            }
            (&Method::GET, ["healthz" | "livez" | "readyz", ..]) => Ok(Answer {
                status: 200,
                payload: Payload::Text("ok"),
                warnings: Vec::new(),
            }),
            (&Method::GET, segments) => discovery::answer(resources, segments, &request.accept)
                .ok_or_else(StatusError::no_such_path),
            _ => Err(StatusError::no_such_path()),
        }
    }

    /// Everybody may do everything here: authorization is not this server's business.
    fn access_review(&self, request: &Request, plural: &str) -> Result<Answer, StatusError> {
        let kind = match plural {
            "selfsubjectaccessreviews" => "SelfSubjectAccessReview",
            "subjectaccessreviews" => "SubjectAccessReview",
            _ => return Err(StatusError::no_such_path()),
        };
        let spec = request.body.as_ref().and_then(|body| body.get("spec"));
        Ok(Answer::value(
            201,
            json!({
                "kind": kind, "apiVersion": "authorization.k8s.io/v1",
                "metadata": { "creationTimestamp": self.now() }, "spec": spec, "status": { "allowed": true },
            }),
        ))
    }
}

/// Whether a place's subresource takes writes at all.
fn check_subresource(place: &Place) -> Result<(), StatusError> {
    let resource = &place.resource;
    let served = match place.subresource.as_str() {
        "" => true,
        "status" => resource.status,
        "scale" => resource.scale.is_some(),
        "finalize" => resource.group.is_empty() && resource.plural == "namespaces",
        _ => false,
    };
    if served {
        Ok(())
    } else {
        Err(StatusError::no_such_path())
    }
}
