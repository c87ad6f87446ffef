//! The wire form of admission: `AdmissionReview` v1 in and out.
//!
//! Objects stay raw JSON: a typed round trip would lose fields newer than our types.

use base64::Engine as _;
use crossfade_engine::admit::Answer;
use serde::Deserialize;
use serde_json::{Value, json};

/// A body that is not an `AdmissionReview` request.
#[derive(Debug, thiserror::Error)]
#[error("not an AdmissionReview of admission.k8s.io/v1: {0}")]
pub struct Unreadable(String);

#[derive(Deserialize)]
struct Review {
    #[serde(default, rename = "apiVersion")]
    api_version: String,
    request: Option<Asked>,
}

/// The request of a review.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// To be repeated in the answer.
    pub uid: String,
    #[serde(default)]
    name: String,
    /// Namespace of the object.
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    user_info: UserInfo,
    /// As it would be stored; null on deletion.
    #[serde(default)]
    pub object: Value,
    /// As it is stored; null on creation.
    #[serde(default)]
    pub old_object: Value,
    /// Nothing will be stored.
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Debug, Default, Deserialize)]
struct UserInfo {
    #[serde(default)]
    username: String,
}

impl Asked {
    /// Name of the object; on creation the request may not carry it.
    pub fn name(&self) -> &str {
        if self.name.is_empty() {
            self.object["metadata"]["name"].as_str().unwrap_or_default()
        } else {
            &self.name
        }
    }

    /// Who asks.
    pub fn user(&self) -> &str {
        &self.user_info.username
    }
}

/// Reads the body of a request.
pub fn read(body: &[u8]) -> Result<Asked, Unreadable> {
    let review: Review =
        serde_json::from_slice(body).map_err(|error| Unreadable(error.to_string()))?;
    if review.api_version != "admission.k8s.io/v1" {
        return Err(Unreadable(format!(
            "apiVersion is \"{}\"",
            review.api_version
        )));
    }
    let asked = (review.request).ok_or_else(|| Unreadable("it has no request".to_owned()))?;
    // Who asks is not known: what becomes part of a path and of a metric has to be a name. A label of RFC 1123.
    let label =
        |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
    if asked.namespace.len() > 63 || !asked.namespace.bytes().all(label) {
        return Err(Unreadable("its namespace is none".to_owned()));
    }
    Ok(asked)
}

/// The body of the answer.
pub fn write(uid: &str, answer: &Answer) -> Vec<u8> {
    let mut response = json!({ "uid": uid, "allowed": true });
    match answer {
        Answer::Allow { warnings } => {
            response["warnings"] = json!(warnings);
        }
        Answer::Patch {
            operations,
            warnings,
        } => {
            response["warnings"] = json!(warnings);
            response["patchType"] = json!("JSONPatch");
            let patch = Value::Array(operations.clone()).to_string();
            response["patch"] = json!(base64::engine::general_purpose::STANDARD.encode(patch));
        }
        Answer::Deny { message } => {
            response["allowed"] = json!(false);
            response["status"] = json!({
                "status": "Failure", "reason": "Forbidden", "code": 403, "message": message,
            });
        }
    }
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response })
        .to_string()
        .into_bytes()
}
