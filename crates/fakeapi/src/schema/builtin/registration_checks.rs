//! Validation of webhook configurations and admission policies.
//!
//! What this server does not evaluate is refused here, when it is written, rather than skipped when
//! it should count: parameters, audit annotations and functions the language part does not have.

use serde_json::Value;

use super::{elements, get, text};
use crate::admission::expressions;
use crate::schema::ROOT;
use crate::schema::field::{Causes, Path};

/// Validates a write.
pub(super) fn validate(plural: &str, new: &Value, causes: &mut Causes) {
    match plural {
        "mutatingwebhookconfigurations" | "validatingwebhookconfigurations" => {
            let list = ROOT.child("webhooks");
            let mut seen: Vec<&str> = Vec::new();
            for (place, webhook) in elements(new, "webhooks").iter().enumerate() {
                let path = list.index(place);
                self::webhook(webhook, &path, causes);
                let name = text(webhook, "name");
                if seen.contains(&name) {
                    causes.duplicate(path.child("name"), get(webhook, "name"));
                }
                seen.push(name);
            }
        }
        "validatingadmissionpolicies" => policy(get(new, "spec"), causes),
        "validatingadmissionpolicybindings" => binding(get(new, "spec"), causes),
        _ => {}
    }
}

fn one_of(value: &Value, name: &str, known: &[&str], path: &Path<'_>, causes: &mut Causes) {
    let found = get(value, name);
    if !found.as_str().is_some_and(|found| known.contains(&found)) {
        causes.not_supported(path.child(name), found, known.iter().copied());
    }
}

fn webhook(webhook: &Value, path: &Path<'_>, causes: &mut Causes) {
    let name = text(webhook, "name");
    if name.split('.').count() < 3 {
        causes.invalid(
            path.child("name"),
            get(webhook, "name"),
            "should be a domain with at least three segments separated by dots",
        );
    }
    if elements(webhook, "admissionReviewVersions").is_empty() {
        causes.required(
            path.child("admissionReviewVersions"),
            "must specify one of v1, v1beta1",
        );
    } else if !elements(webhook, "admissionReviewVersions").contains(&Value::from("v1")) {
        causes.invalid(
            path.child("admissionReviewVersions"),
            get(webhook, "admissionReviewVersions"),
            "must include at least one of v1, v1beta1",
        );
    }
    if get(webhook, "sideEffects").is_null() {
        causes.required(
            path.child("sideEffects"),
            "must specify one of None, NoneOnDryRun",
        );
    } else {
        one_of(
            webhook,
            "sideEffects",
            &["None", "NoneOnDryRun"],
            path,
            causes,
        );
    }
    one_of(webhook, "failurePolicy", &["Fail", "Ignore"], path, causes);
    one_of(
        webhook,
        "matchPolicy",
        &["Equivalent", "Exact"],
        path,
        causes,
    );
    if webhook.get("reinvocationPolicy").is_some() {
        one_of(
            webhook,
            "reinvocationPolicy",
            &["IfNeeded", "Never"],
            path,
            causes,
        );
    }
    let seconds = get(webhook, "timeoutSeconds");
    if !seconds
        .as_i64()
        .is_some_and(|seconds| (1..=30).contains(&seconds))
    {
        causes.invalid(
            path.child("timeoutSeconds"),
            seconds,
            "the timeout value must be between 1 and 30 seconds",
        );
    }
    let config = get(webhook, "clientConfig");
    if config.get("url").is_some() == config.get("service").is_some() {
        causes.required(
            path.child("clientConfig"),
            "exactly one of url or service is required",
        );
    }
    rules(elements(webhook, "rules"), &path.child("rules"), causes);
    conditions(webhook, path, expressions::CONDITION, causes);
}

fn rules(rules: &[Value], list: &Path<'_>, causes: &mut Causes) {
    for (place, rule) in rules.iter().enumerate() {
        let path = list.index(place);
        for field in ["operations", "apiGroups", "apiVersions", "resources"] {
            if elements(rule, field).is_empty() {
                causes.required(path.child(field), "");
            }
        }
        let operations = path.child("operations");
        for (place, operation) in elements(rule, "operations").iter().enumerate() {
            let known = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
            if !operation.as_str().is_some_and(|name| known.contains(&name)) {
                causes.not_supported(operations.index(place), operation, known);
            }
        }
    }
}

fn conditions(owner: &Value, path: &Path<'_>, names: expressions::Names, causes: &mut Causes) {
    let list = path.child("matchConditions");
    let mut seen: Vec<&str> = Vec::new();
    for (place, condition) in elements(owner, "matchConditions").iter().enumerate() {
        let path = list.index(place);
        expression(condition, "expression", &path, names, None, causes);
        let name = text(condition, "name");
        if name.is_empty() {
            causes.required(path.child("name"), "");
        } else if seen.contains(&name) {
            causes.duplicate(path.child("name"), get(condition, "name"));
        }
        seen.push(name);
    }
}

fn expression(
    owner: &Value,
    field: &str,
    path: &Path<'_>,
    names: expressions::Names,
    variables: Option<&[String]>,
    causes: &mut Causes,
) {
    let source = text(owner, field);
    if source.trim().is_empty() {
        causes.required(path.child(field), "");
    } else if let Err(reason) = expressions::compile(source, names, variables) {
        let detail = format!("compilation failed: {reason}");
        causes.invalid(path.child(field), get(owner, field), &detail);
    }
}

fn policy(spec: &Value, causes: &mut Causes) {
    let path = ROOT.child("spec");
    for unsupported in ["paramKind", "auditAnnotations"] {
        if spec.get(unsupported).is_some() {
            causes.forbidden(path.child(unsupported), "this server does not evaluate it");
        }
    }
    one_of(spec, "failurePolicy", &["Fail", "Ignore"], &path, causes);
    let constraints = path.child("matchConstraints");
    if elements(get(spec, "matchConstraints"), "resourceRules").is_empty() {
        causes.required(constraints.child("resourceRules"), "");
    }
    rules(
        elements(get(spec, "matchConstraints"), "resourceRules"),
        &constraints.child("resourceRules"),
        causes,
    );
    conditions(spec, &path, expressions::CONDITION, causes);
    let list = path.child("variables");
    let mut variables: Vec<String> = Vec::new();
    for (place, variable) in elements(spec, "variables").iter().enumerate() {
        let path = list.index(place);
        let known = Some(variables.as_slice());
        expression(
            variable,
            "expression",
            &path,
            expressions::POLICY,
            known,
            causes,
        );
        if text(variable, "name").is_empty() {
            causes.required(path.child("name"), "name is not specified");
        }
        variables.push(text(variable, "name").to_owned());
    }
    let list = path.child("validations");
    if elements(spec, "validations").is_empty() {
        causes.required(
            list,
            "validations or auditAnnotations must contain at least one item",
        );
    }
    for (place, validation) in elements(spec, "validations").iter().enumerate() {
        let path = list.index(place);
        let known = Some(variables.as_slice());
        expression(
            validation,
            "expression",
            &path,
            expressions::POLICY,
            known,
            causes,
        );
        if validation.get("messageExpression").is_some() {
            let names = expressions::POLICY;
            expression(validation, "messageExpression", &path, names, known, causes);
        }
        if validation.get("reason").is_some() {
            let reasons = [
                "Forbidden",
                "Invalid",
                "RequestEntityTooLarge",
                "Unauthorized",
            ];
            one_of(validation, "reason", &reasons, &path, causes);
        }
    }
}

fn binding(spec: &Value, causes: &mut Causes) {
    let path = ROOT.child("spec");
    if text(spec, "policyName").is_empty() {
        causes.required(path.child("policyName"), "");
    }
    if spec.get("paramRef").is_some() {
        causes.forbidden(path.child("paramRef"), "this server does not evaluate it");
    }
    let list = path.child("validationActions");
    let actions = elements(spec, "validationActions");
    if actions.is_empty() {
        causes.required(list, "");
    }
    for (place, action) in actions.iter().enumerate() {
        if !matches!(action.as_str(), Some("Audit" | "Deny" | "Warn")) {
            causes.not_supported(list.index(place), action, ["Audit", "Deny", "Warn"]);
        }
    }
    if actions.contains(&Value::from("Deny")) && actions.contains(&Value::from("Warn")) {
        causes.invalid(
            list,
            get(spec, "validationActions"),
            "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
        );
    }
}
