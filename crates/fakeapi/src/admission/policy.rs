//! ValidatingAdmissionPolicies and their bindings.
//!
//! Parameters and audit annotations are refused when a policy is written. Texts and order:
//! `plugin/policy/validating` of k8s.io/apiserver.

use crate::At;
use std::sync::Arc;

use serde_json::{Value, json};

use super::expressions::{self, Subject};
use super::{Attributes, matching, request};
use crate::error::StatusError;
use crate::schema::cel::{Program, Variables};
use crate::schema::message;
use crate::state::FakeApi;

/// One validation that did not hold.
#[derive(Debug)]
struct Decision {
    message: String,
    /// Empty for one that failed to evaluate.
    reason: String,
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .at(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Asks all policies.
///
/// # Errors
///
/// The first refusal.
pub(super) fn validate(
    api: &FakeApi,
    attributes: &Attributes,
    object: &Value,
    old: &Value,
) -> Result<(), StatusError> {
    let policies = api.list("validatingadmissionpolicies", None);
    if policies.is_empty() {
        return Ok(());
    }
    let bindings = api.list("validatingadmissionpolicybindings", None);
    let mut refusal = None;
    let mut facts = None;
    for policy in &policies {
        let constraints = policy.at("/spec/matchConstraints").unwrap_or(&Value::Null);
        if !meant(api, constraints, "resourceRules", attributes, object, old)? {
            continue;
        }
        for binding in &bindings {
            if text(binding, "/spec/policyName") != text(policy, "/metadata/name") {
                continue;
            }
            if let Some(resources) = binding.at("/spec/matchResources")
                && !meant(api, resources, "resourceRules", attributes, object, old)?
            {
                continue;
            }
            if facts.is_none() {
                facts = Some(Facts::collect(api, attributes)?);
            }
            let Some(facts) = &facts else { continue };
            let subject = facts.subject(object, old);
            for decision in evaluate(policy, &subject) {
                act(policy, binding, decision, attributes, &mut refusal);
            }
        }
    }
    refusal.map_or(Ok(()), Err)
}

/// What expressions see beside the objects; read once for all policies.
struct Facts {
    request: Value,
    namespace: Option<Arc<Value>>,
}

impl Facts {
    fn collect(api: &FakeApi, attributes: &Attributes) -> Result<Self, StatusError> {
        let namespace = if attributes.resource.namespaced {
            matching::namespace(api, attributes)?
        } else {
            None
        };
        Ok(Self {
            request: request::build(attributes, String::new()).into(),
            namespace,
        })
    }

    fn subject<'a>(&'a self, object: &'a Value, old: &'a Value) -> Subject<'a> {
        Subject {
            object,
            old,
            request: &self.request,
            namespace: self.namespace.as_deref().unwrap_or(&Value::Null),
        }
    }
}

/// Whether constraints of a policy or binding take the request. A binding without rules takes all.
fn meant(
    api: &FakeApi,
    constraints: &Value,
    rules: &str,
    attributes: &Attributes,
    object: &Value,
    old: &Value,
) -> Result<bool, StatusError> {
    let some = |name: &str| {
        constraints
            .get(name)
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty())
    };
    if some(rules) && !matching::rules(constraints.get(rules), attributes) {
        return Ok(false);
    }
    if some("excludeResourceRules")
        && matching::rules(constraints.get("excludeResourceRules"), attributes)
    {
        return Ok(false);
    }
    matching::selectors(api, constraints, attributes, object, old)
}

fn evaluate(policy: &Value, subject: &Subject<'_>) -> Vec<Decision> {
    let spec = policy.get("spec").unwrap_or(&Value::Null);
    let ignore = text(spec, "/failurePolicy") == "Ignore";
    let failed = |message: String| Decision {
        message,
        reason: String::new(),
    };
    match expressions::conditions(spec, subject, ignore) {
        Ok(true) => {}
        Ok(false) => return Vec::new(),
        Err(reason) => return vec![failed(reason)],
    }
    let (variables, names) = match variables(spec) {
        Ok(found) => found,
        Err(_) if ignore => return Vec::new(),
        Err(reason) => return vec![failed(reason)],
    };
    let mut bindings = subject.bindings();
    bindings.variables = Variables::new(&variables);
    let mut decisions = Vec::new();
    let validations = spec.get("validations").and_then(Value::as_array);
    for validation in validations.into_iter().flatten() {
        let source = text(validation, "/expression");
        let outcome =
            compile(source, &names).and_then(|program| expressions::truth(&program, &bindings));
        match outcome {
            Ok(true) => {}
            Ok(false) => {
                let made = match text(validation, "/messageExpression") {
                    "" => None,
                    source => compile(source, &names)
                        .ok()
                        .and_then(|program| message(&program, &bindings)),
                };
                let stated = text(validation, "/message").trim();
                decisions.push(Decision {
                    message: match (made, stated) {
                        (Some(made), _) => made,
                        (None, "") => format!("failed expression: {}", source.trim()),
                        (None, stated) => stated.to_owned(),
                    },
                    reason: match text(validation, "/reason") {
                        "" => "Invalid".to_owned(),
                        reason => reason.to_owned(),
                    },
                });
            }
            Err(_) if ignore => {}
            Err(reason) => decisions.push(failed(reason)),
        }
    }
    decisions
}

fn compile(source: &str, names: &[String]) -> Result<Arc<Program>, String> {
    expressions::compile(source, expressions::POLICY, Some(names))
        .map_err(|reason| format!("compilation error: {reason}"))
}

type Named = Vec<(String, Arc<Program>)>;

/// The variables compiled, each knowing those before it; and the names of all.
fn variables(spec: &Value) -> Result<(Named, Vec<String>), String> {
    let mut programs = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let list = spec.get("variables").and_then(Value::as_array);
    for variable in list.into_iter().flatten() {
        let program = compile(text(variable, "/expression"), &names)?;
        let name = text(variable, "/name").to_owned();
        programs.push((name.clone(), program));
        names.push(name);
    }
    Ok((programs, names))
}

fn act(
    policy: &Value,
    binding: &Value,
    decision: Decision,
    attributes: &Attributes,
    refusal: &mut Option<StatusError>,
) {
    let (policy, binding_name) = (
        text(policy, "/metadata/name"),
        text(binding, "/metadata/name"),
    );
    let actions = binding
        .at("/spec/validationActions")
        .and_then(Value::as_array);
    for action in actions.into_iter().flatten().filter_map(Value::as_str) {
        match action {
            "Warn" => attributes.warn(format!(
                "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding_name}': {}",
                decision.message
            )),
            "Deny" if refusal.is_none() => {
                let text = format!(
                    "ValidatingAdmissionPolicy '{policy}' with binding '{binding_name}' denied request: {}",
                    decision.message
                );
                *refusal = Some(refuse(attributes, &text, &decision.reason));
            }
            _ => {}
        }
    }
}

fn refuse(attributes: &Attributes, text: &str, reason: &str) -> StatusError {
    let reason = if reason.is_empty() { "Invalid" } else { reason };
    let mut error = StatusError::forbidden(&attributes.resource, attributes.name(), text);
    error.code = match reason {
        "Forbidden" => 403,
        "Unauthorized" => 401,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    error.reason = reason.to_owned();
    if let Some(details) = error.details.as_mut().and_then(Value::as_object_mut) {
        details.insert("causes".to_owned(), json!([{ "message": text }]));
    }
    error
}
