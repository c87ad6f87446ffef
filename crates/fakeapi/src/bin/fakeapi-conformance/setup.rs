//! What both servers get before any script: custom kinds, policies, and for each script its namespace.
//! Reads manifests; knows no kind of any project.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use http::Method;
use kube::Client;
use regex::Regex;
use serde_json::{Value, json};

use crate::generate::kinds::Kind;
use crate::script::Step;
use crate::side::{Answer, Patience, exchange};

const READ: Patience = Patience {
    events: 0,
    limit: Duration::from_secs(3),
    quiet: Duration::from_millis(30),
};

/// What is installed, and what scripts draw from it.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    objects: Vec<(String, Value)>,
    pub kinds: Vec<Kind>,
    /// Keys of labels and annotations that policies ask for.
    pub keys: Vec<String>,
}

impl Setup {
    /// From the conformance's own objects and those of manifests.
    ///
    /// # Errors
    /// When a file cannot be read or is not YAML.
    pub fn read(manifests: &[PathBuf]) -> anyhow::Result<Self> {
        let mut setup = Self::default();
        for object in [widgets(), policy(), binding("conformance")] {
            setup.add(object);
        }
        for file in manifests {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
                .with_context(|| format!("{} is not YAML", file.display()))?;
            for object in documents {
                setup.add(object);
            }
        }
        Ok(setup)
    }

    /// Webhooks are left out: nobody would answer them.
    fn add(&mut self, object: Value) {
        let path = match object.get("kind").and_then(Value::as_str) {
            Some("CustomResourceDefinition") => {
                self.kinds.extend(custom_kind(&object));
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            }
            Some("ValidatingAdmissionPolicy") => {
                self.keys.extend(keys(&object.to_string()));
                self.keys.sort();
                self.keys.dedup();
                "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
            }
            Some("ValidatingAdmissionPolicyBinding") => {
                "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
            }
            _ => return,
        };
        self.objects.push((path.to_owned(), object));
    }

    /// Installs all and waits until it works. What is already there is taken for the same.
    ///
    /// # Errors
    /// When something is refused or does not work within a minute.
    pub async fn install(&self, client: &Client) -> anyhow::Result<()> {
        for (path, object) in &self.objects {
            let answer = send(client, Method::POST, path, Some(object)).await?;
            if !matches!(answer.status, 201 | 409) {
                bail!("{path}: {}", answer.body);
            }
        }
        self.namespace(client, "conformance-setup").await?;
        for kind in &self.kinds {
            let path = kind.path.replace("{ns}", "conformance-setup");
            until(|| async { Ok(send(client, Method::GET, &path, None).await?.status == 200) })
                .await
                .with_context(|| format!("{} is not served", kind.plural))?;
        }
        // Policies begin to work some time after they are written; the own one is written first, so the others get a moment more.
        let refused = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "labels": { "checked": "no" } } });
        until(|| async {
            let path = "/api/v1/namespaces/conformance-setup/configmaps?dryRun=All";
            Ok(send(client, Method::POST, path, Some(&refused))
                .await?
                .status
                == 422)
        })
        .await
        .context("the policy does not work")?;
        Ok(())
    }

    /// A namespace with the ServiceAccount a controller would put there: without it no pod is taken. Gives its
    /// resourceVersion.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn namespace(&self, client: &Client, name: &str) -> anyhow::Result<String> {
        let namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" } });
        let accounts = format!("/api/v1/namespaces/{name}/serviceaccounts");
        let mut version = String::new();
        for (path, object) in [("/api/v1/namespaces", &namespace), (&accounts, &account)] {
            let answer = send(client, Method::POST, path, Some(object)).await?;
            if !matches!(answer.status, 201 | 409) {
                bail!("{path}: {}", answer.body);
            }
            version = answer
                .body
                .pointer("/metadata/resourceVersion")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
        }
        Ok(version)
    }
}

async fn send(
    client: &Client,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Answer> {
    let step = Step {
        method,
        path: path.to_owned(),
        content_type: "application/json",
        accept: "application/json",
        body: None,
        verb: "setup",
        about: String::new(),
    };
    exchange(client, &step, path, body, READ).await
}

async fn until<F: Future<Output = anyhow::Result<bool>>>(
    mut works: impl FnMut() -> F,
) -> anyhow::Result<()> {
    for _ in 0..300 {
        if works().await? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("waited a minute")
}

/// What a script can do with a custom kind.
fn custom_kind(definition: &Value) -> Option<Kind> {
    let spec = definition.get("spec")?;
    let text = |pointer: &str| spec.pointer(pointer).and_then(Value::as_str);
    let version = spec
        .get("versions")?
        .as_array()?
        .iter()
        .find(|version| version.get("storage") == Some(&json!(true)))?;
    let group_version = format!("{}/{}", text("/group")?, version.get("name")?.as_str()?);
    let plural = text("/names/plural")?;
    let place = match text("/scope")? {
        "Namespaced" => "namespaces/{ns}/",
        _ => "",
    };
    Some(Kind {
        plural: plural.to_owned(),
        path: format!("/apis/{group_version}/{place}{plural}"),
        api_version: group_version,
        kind: text("/names/kind")?.to_owned(),
        base: json!({}),
        fields: Vec::new(),
        status: Vec::new(),
        scale: version.pointer("/subresources/scale").is_some(),
        schema: Some(version.pointer("/schema/openAPIV3Schema")?.clone()),
    })
}

/// Qualified names in quotes, as CEL asks for labels and annotations.
fn keys(text: &str) -> Vec<String> {
    Regex::new(r"'([a-z0-9.-]+\.[a-z]+/[a-z0-9-]+)' in")
        .map(|pattern| {
            pattern
                .captures_iter(text)
                .map(|captures| captures[1].to_owned())
                .collect()
        })
        .unwrap_or_default()
}

fn widgets() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.conformance.example.com" },
        "spec": {
            "group": "conformance.example.com", "scope": "Namespaced",
            "names": { "plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": { "status": {}, "scale": { "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector" } },
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "properties": {
                        "spec": widget_spec(),
                        "status": { "type": "object", "properties": {
                            "replicas": { "type": "integer", "minimum": 0 }, "selector": { "type": "string" }, "phase": { "type": "string", "enum": ["Idle", "Busy"] },
                        } },
                    },
                } },
            }],
        },
    })
}

fn widget_spec() -> Value {
    json!({
        "type": "object",
        "required": ["size"],
        "x-kubernetes-validations": [
            { "rule": "!has(self.least) || self.least <= self.size", "message": "least must not exceed size", "fieldPath": ".least", "reason": "FieldValueForbidden" },
            { "rule": "!has(oldSelf.color) || has(self.color)", "message": "color cannot go" },
        ],
        "properties": {
            "size": { "type": "integer", "minimum": 0, "maximum": 10 },
            "least": { "type": "integer", "minimum": 0, "maximum": 20 },
            "replicas": { "type": "integer", "format": "int32", "minimum": 0, "maximum": 5 },
            "color": { "type": "string", "enum": ["red", "green"], "x-kubernetes-validations": [{ "rule": "self == oldSelf", "messageExpression": "'color was ' + oldSelf" }] },
            "mode": { "type": "string", "default": "slow", "maxLength": 8 },
            "time": { "type": "string", "pattern": "^[0-9]+m$" },
            "share": { "type": "number", "minimum": 0, "maximum": 1 },
            "port": { "x-kubernetes-int-or-string": true },
            "free": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
            "texts": { "type": "object", "maxProperties": 2, "additionalProperties": { "type": "string" } },
            "tags": { "type": "array", "x-kubernetes-list-type": "set", "maxItems": 4, "items": { "type": "string" } },
            "words": { "type": "array", "x-kubernetes-list-type": "atomic", "items": { "type": "string" } },
            "parts": {
                "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "maxItems": 3,
                "items": { "type": "object", "required": ["name"], "properties": {
                    "name": { "type": "string", "enum": ["a", "b", "c"] }, "weight": { "type": "integer", "default": 1 }, "note": { "type": "string", "nullable": true },
                } },
            },
        },
    })
}

fn policy() -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": { "name": "conformance" },
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": { "resourceRules": [
                { "apiGroups": ["", "apps", "conformance.example.com"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps", "deployments", "widgets", "services"], "scope": "Namespaced" },
                { "apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["configmaps"] },
            ] },
            "matchConditions": [{ "name": "checked", "expression": "has((object == null ? oldObject : object).metadata.labels) && 'checked' in (object == null ? oldObject : object).metadata.labels" }],
            "variables": [{ "name": "labels", "expression": "(object == null ? oldObject : object).metadata.labels" }],
            "validations": [
                { "expression": "request.operation == 'DELETE' || variables.labels['checked'] == 'yes'", "messageExpression": "'checked is ' + variables.labels['checked']" },
                { "expression": "request.operation != 'DELETE' || !('tier' in variables.labels)", "message": "has a tier", "reason": "Forbidden" },
                { "expression": "request.operation != 'UPDATE' || !has(oldObject.metadata.annotations) || has(object.metadata.annotations)" },
            ],
        },
    })
}

fn binding(name: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": { "name": name }, "spec": { "policyName": name, "validationActions": ["Deny"] },
    })
}

#[cfg(test)]
mod tests {
    use super::keys;

    #[test]
    fn keys_that_policies_ask_for_are_found() {
        assert_eq!(
            keys("has(a.labels) && 'example.com/uid' in a.labels || 'x' in b"),
            ["example.com/uid"]
        );
    }
}
