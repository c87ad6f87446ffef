//! One webhook: whether it is asked, how, and what its answer means.
//!
//! In which order webhooks are asked, and again, is in `mod`. Texts: `plugin/webhook` of
//! k8s.io/apiserver.

use crate::At;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::expressions::{self, Subject};
use super::{Attributes, matching, request};
use crate::WebhookTarget;
use crate::error::StatusError;
use crate::state::FakeApi;

/// A webhook and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    source: Arc<Value>,
    place: usize,
}

/// What became of a call.
#[derive(Debug)]
pub(super) enum Answer {
    Allowed,
    /// A JSON patch.
    Patch(Value),
    /// Nobody answered, or nothing usable: the failurePolicy decides.
    Failed(String),
}

/// All webhooks of the configurations of a kind, in the order they are asked.
pub(super) fn hooks(api: &FakeApi, plural: &str) -> Vec<Hook> {
    api.list(plural, None)
        .into_iter()
        .flat_map(|source| {
            let count = source
                .get("webhooks")
                .and_then(Value::as_array)
                .map_or(0, Vec::len);
            (0..count).map(move |place| Hook {
                source: Arc::clone(&source),
                place,
            })
        })
        .collect()
}

impl Hook {
    fn value(&self) -> &Value {
        self.source
            .get("webhooks")
            .and_then(|hooks| hooks.get(self.place))
            .unwrap_or(&Value::Null)
    }

    fn text(&self, field: &str) -> &str {
        self.value()
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn configuration(&self) -> &str {
        self.source
            .at("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// What tells it from all others.
    pub fn identity(&self) -> (String, usize) {
        (self.configuration().to_owned(), self.place)
    }

    pub fn ignores_failures(&self) -> bool {
        self.text("failurePolicy") == "Ignore"
    }

    pub fn reinvocable(&self) -> bool {
        self.text("reinvocationPolicy") == "IfNeeded"
    }

    fn timeout(&self) -> Duration {
        let seconds = self.value().get("timeoutSeconds").and_then(Value::as_u64);
        Duration::from_secs(seconds.unwrap_or(10))
    }

    fn url(&self) -> String {
        let config = self.value().get("clientConfig").unwrap_or(&Value::Null);
        if let Some(url) = config.get("url").and_then(Value::as_str) {
            return url.to_owned();
        }
        let service = config.get("service").unwrap_or(&Value::Null);
        let text = |field: &str| {
            service
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let port = service.get("port").and_then(Value::as_u64).unwrap_or(443);
        let path = text("path");
        let slash = if path.starts_with('/') { "" } else { "/" };
        format!(
            "https://{}.{}.svc:{port}{slash}{path}",
            text("name"),
            text("namespace")
        )
    }

    /// Whether it is asked about this request.
    pub fn wanted(
        &self,
        api: &FakeApi,
        attributes: &Attributes,
        object: &Value,
        old: &Value,
    ) -> Result<bool, StatusError> {
        let hook = self.value();
        if !matching::rules(hook.get("rules"), attributes)
            || !matching::selectors(api, hook, attributes, object, old)?
        {
            return Ok(false);
        }
        // Most requests get no further, so it is made no earlier.
        let request: Value = request::build(attributes, String::new()).into();
        let subject = Subject {
            object,
            old,
            request: &request,
            namespace: &Value::Null,
        };
        expressions::conditions(hook, &subject, self.ignores_failures()).map_err(|reason| {
            StatusError::forbidden(&attributes.resource, &attributes.key.name, &reason)
        })
    }

    /// Asks.
    ///
    /// # Errors
    ///
    /// The refusal, as the client gets it.
    pub async fn ask(
        &self,
        api: &FakeApi,
        attributes: &Attributes,
        object: &Value,
        old: &Value,
        mutating: bool,
    ) -> Result<Answer, StatusError> {
        let uid = api.next_uid();
        let mut request = request::build(attributes, uid.clone());
        request.insert("object".to_owned(), object.clone());
        request.insert("oldObject".to_owned(), old.clone());
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": request,
        });
        match self.call(api, review).await {
            Ok(review) => self.read(&review, &uid, attributes, mutating),
            Err(reason) => Ok(self.failed(&format!("failed to call webhook: {reason}"))),
        }
    }

    async fn call(&self, api: &FakeApi, review: Value) -> Result<Value, String> {
        let (url, timeout) = (self.url(), self.timeout());
        let post = format!("Post \"{url}?timeout={}s\"", timeout.as_secs());
        let Some(caller) = api.webhook_caller() else {
            return Err(format!("{post}: connect: connection refused"));
        };
        let target = WebhookTarget {
            configuration: self.configuration().to_owned(),
            name: self.text("name").to_owned(),
            url,
        };
        tokio::time::timeout(timeout, caller.call(target, review, timeout))
            .await
            .unwrap_or_else(|_| Err(format!("{post}: context deadline exceeded")))
    }

    fn failed(&self, reason: &str) -> Answer {
        let name = self.text("name");
        Answer::Failed(format!("failed calling webhook \"{name}\": {reason}"))
    }

    fn read(
        &self,
        review: &Value,
        uid: &str,
        attributes: &Attributes,
        mutating: bool,
    ) -> Result<Answer, StatusError> {
        let invalid =
            |reason: &str| Ok(self.failed(&format!("received invalid webhook response: {reason}")));
        let text = |field: &str| {
            review
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let Some(response) = review.get("response").filter(|found| found.is_object()) else {
            return invalid("webhook response was absent");
        };
        let found = response
            .get("uid")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if found != uid {
            return invalid(&format!("expected response.uid=\"{uid}\", got \"{found}\""));
        }
        if (text("apiVersion"), text("kind")) != ("admission.k8s.io/v1", "AdmissionReview") {
            return invalid(&format!(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {}, Kind={}",
                text("apiVersion"),
                text("kind")
            ));
        }
        let patch = response
            .get("patch")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let patch_type = response.get("patchType").and_then(Value::as_str);
        match (mutating, patch.is_empty(), patch_type) {
            (true, false, None) => {
                return invalid("webhook returned response.patch but not response.patchType");
            }
            (true, true, Some(_)) => {
                return invalid("webhook returned response.patchType but not response.patch");
            }
            (false, false, _) => {
                return invalid("validating webhook may not return response.patch");
            }
            (false, true, Some(_)) => {
                return invalid("validating webhook may not return response.patchType");
            }
            _ => {}
        }
        self.warn(response, attributes);
        if response.get("allowed").and_then(Value::as_bool) != Some(true) {
            return Err(self.denied(response.get("status")));
        }
        if patch.is_empty() {
            return Ok(Answer::Allowed);
        }
        if let Some(other) = patch_type.filter(|kind| *kind != "JSONPatch") {
            return Ok(self.failed(&format!("unsupported patch type \"{other}\"")));
        }
        let decoded = STANDARD
            .decode(patch)
            .map_err(|reason| reason.to_string())
            .and_then(|bytes| {
                serde_json::from_slice::<Value>(&bytes).map_err(|reason| reason.to_string())
            });
        Ok(match decoded {
            Ok(patch) if patch.as_array().is_some_and(Vec::is_empty) => Answer::Allowed,
            Ok(patch) => Answer::Patch(patch),
            Err(reason) => self.failed(&format!(
                "received undecodable patch in webhook response: {reason}"
            )),
        })
    }

    fn warn(&self, response: &Value, attributes: &Attributes) {
        let warnings = response.get("warnings").and_then(Value::as_array);
        for warning in warnings.into_iter().flatten().filter_map(Value::as_str) {
            attributes.warn(warning.to_owned());
        }
    }

    /// A refusal: code, reason and details are the webhook's.
    fn denied(&self, status: Option<&Value>) -> StatusError {
        let status = status.unwrap_or(&Value::Null);
        let text = |field: &str| {
            status
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let by = format!(
            "admission webhook \"{}\" denied the request",
            self.text("name")
        );
        let message = match (text("message"), text("reason")) {
            ("", "") => format!("{by} without explanation"),
            ("", reason) => format!("{by}: {reason}"),
            (message, _) => format!("{by}: {message}"),
        };
        let code = status
            .get("code")
            .and_then(Value::as_u64)
            .and_then(|code| u16::try_from(code).ok())
            .filter(|code| *code >= 400)
            .unwrap_or(400);
        let mut error = StatusError::new(code, text("reason"), message);
        error.details = status
            .get("details")
            .filter(|details| details.is_object())
            .cloned();
        error
    }
}
