//! `x-kubernetes-validations`: rules in CEL at any place of a custom object.
//!
//! The language is in `cel`, the rest of validation in `validate`. Source of the rules: "Validation
//! rules", "Transition rules" and "Validation ratcheting" in the documentation of
//! CustomResourceDefinitions; messages as `schema/cel` of k8s.io/apiextensions-apiserver prints them.

use std::sync::Arc;

use serde_json::Value;

use super::cel::{self, Bindings, Environment, Program, Root, json_equal};
use super::field::{Causes, Path};
use super::structural::Node;
use super::validate::counterpart;

/// One compiled rule.
#[derive(Debug)]
pub(crate) struct Rule {
    program: Arc<Program>,
    message: String,
    message_expression: Option<Arc<Program>>,
    reason: String,
    /// Without its leading dot.
    field_path: String,
    /// `oldSelf` is an optional, and the rule counts for creations too.
    optional_old: bool,
    uses_old: bool,
}

const NAMES: [(&str, Root); 2] = [("self", Root::This), ("oldSelf", Root::OldThis)];

/// Longer texts of a messageExpression are not used, in bytes.
const MESSAGE_LIMIT: usize = 5 * 1024;

/// Compiles the rules of one schema; what does not compile is added to `causes`.
pub(super) fn compile(rules: Option<&Value>, path: &Path<'_>, causes: &mut Causes) -> Vec<Rule> {
    let list = path.child("x-kubernetes-validations");
    let mut compiled = Vec::new();
    for (place, rule) in rules
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        let here = list.index(place);
        let text = |name: &str| rule.get(name).and_then(Value::as_str).unwrap_or_default();
        let environment = Environment {
            roots: &NAMES,
            variables: None,
        };
        if text("rule").trim().is_empty() {
            causes.required(here.child("rule"), "rule is not specified");
            continue;
        }
        let program = match Program::compile(text("rule"), environment) {
            Ok(program) => program,
            Err(reason) => {
                let detail = format!("compilation failed: {reason}");
                causes.invalid(here.child("rule"), rule, &detail);
                continue;
            }
        };
        let message_expression = match text("messageExpression") {
            "" => None,
            source => match Program::compile(source, environment) {
                Ok(program) => Some(program),
                Err(reason) => {
                    let detail = format!("messageExpression compilation failed: {reason}");
                    causes.invalid(here.child("messageExpression"), rule, &detail);
                    continue;
                }
            },
        };
        let optional_old = rule.get("optionalOldSelf").and_then(Value::as_bool) == Some(true);
        compiled.push(Rule {
            uses_old: program.uses(Root::OldThis),
            program,
            message: text("message").trim().to_owned(),
            message_expression,
            reason: text("reason").to_owned(),
            field_path: text("fieldPath").trim_start_matches('.').to_owned(),
            optional_old,
        });
    }
    compiled
}

impl Rule {
    /// What names the rule in messages.
    fn title(&self) -> &str {
        if self.message.is_empty() {
            self.program.source().trim()
        } else {
            &self.message
        }
    }

    fn detail(&self, bindings: &Bindings<'_>) -> String {
        let made = self
            .message_expression
            .as_ref()
            .and_then(|program| message(program, bindings));
        made.unwrap_or_else(|| {
            if self.message.is_empty() {
                format!("failed rule: {}", self.title())
            } else {
                self.message.clone()
            }
        })
    }
}

/// What a messageExpression says; None if it fails or says nothing that can be shown in a line.
pub(crate) fn message(program: &Program, bindings: &Bindings<'_>) -> Option<String> {
    let Ok(cel::Value::Text(text)) = program.evaluate(bindings) else {
        return None;
    };
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= MESSAGE_LIMIT && !text.contains('\n');
    fits.then(|| text.to_owned())
}

/// Evaluates the rules of a value and of all below it.
///
/// `equal`: the nearest place above that can be followed to the old object has not changed; then a
/// failing rule that does not look at the old value is not an error.
pub(super) fn check(
    value: &Value,
    old: Option<&Value>,
    node: &Node,
    path: &Path<'_>,
    equal: &dyn Fn() -> bool,
    causes: &mut Causes,
) {
    if value.is_null() || !node.has_rules {
        return;
    }
    let old = old.filter(|old| !old.is_null());
    let unchanged = || match old {
        Some(old) => json_equal(value, old),
        None => equal(),
    };
    own(value, old, node, path, &unchanged, causes);
    for below in &node.checks.all_of {
        check(value, old, below, path, &|| false, causes);
    }
    match value {
        Value::Array(list) => {
            let Some(below) = &node.items else { return };
            let before = old.and_then(Value::as_array);
            for (place, element) in list.iter().enumerate() {
                let before = before.and_then(|old| counterpart(element, old, &node.list));
                check(
                    element,
                    before,
                    below,
                    &path.index(place),
                    &unchanged,
                    causes,
                );
            }
        }
        Value::Object(map) => {
            let old = old.filter(|_| !node.map_is_atomic);
            for (name, inner) in map {
                let before = old.and_then(|old| old.get(name));
                if let Some(below) = node.properties.get(name) {
                    check(inner, before, below, &path.child(name), &unchanged, causes);
                } else if let Some(below) = &node.additional {
                    check(inner, before, below, &path.key(name), &unchanged, causes);
                }
            }
        }
        _ => {}
    }
}

fn own(
    value: &Value,
    old: Option<&Value>,
    node: &Node,
    path: &Path<'_>,
    unchanged: &dyn Fn() -> bool,
    causes: &mut Causes,
) {
    if node.rules.is_empty() {
        return;
    }
    let mut plain = vec![(Root::This, value.into())];
    plain.extend(old.map(|old| (Root::OldThis, cel::Value::from(old))));
    let plain = Bindings::new(plain);
    let kind = Value::from(node.kind.map_or("", super::structural::Kind::name));
    for rule in &node.rules {
        if rule.uses_old && old.is_none() && !rule.optional_old {
            continue;
        }
        let optional;
        let bindings = if rule.optional_old {
            let before = old.map_or(cel::Value::Optional(None), |old| {
                cel::Value::some(old.into())
            });
            optional = Bindings::new(vec![(Root::This, value.into()), (Root::OldThis, before)]);
            &optional
        } else {
            &plain
        };
        match rule.program.evaluate(bindings) {
            Ok(cel::Value::Bool(true)) => {}
            Ok(_) => {
                if !rule.uses_old && unchanged() {
                    continue;
                }
                refuse(rule, &rule.detail(bindings), &kind, path, causes);
            }
            Err(reason) => {
                let detail = if reason.starts_with("no such overload") {
                    format!(
                        "'{reason}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                        rule.title()
                    )
                } else {
                    format!("{reason} evaluating rule: {}", rule.title())
                };
                causes.invalid(path, &kind, &detail);
            }
        }
    }
}

fn refuse(rule: &Rule, detail: &str, kind: &Value, path: &Path<'_>, causes: &mut Causes) {
    let child;
    let place = if rule.field_path.is_empty() {
        path
    } else {
        child = path.child(&rule.field_path);
        &child
    };
    match rule.reason.as_str() {
        "FieldValueForbidden" => causes.forbidden(place, detail),
        "FieldValueRequired" => causes.required(place, detail),
        "FieldValueDuplicate" => causes.duplicate(place, kind),
        _ => causes.invalid(place, kind, detail),
    }
}
