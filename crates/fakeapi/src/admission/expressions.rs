//! Expressions of webhooks and policies: the names they may use, and conditions that decide whether a
//! webhook or policy counts.
//!
//! The language itself is in `schema::cel`.

use std::sync::Arc;

use serde_json::Value;

use crate::schema::cel::{self, Bindings, Environment, Program, Root};

/// Names that expressions of one place may use.
pub(crate) type Names = &'static [(&'static str, Root)];

/// Of `matchConditions`, where `namespaceObject` is declared but null, as on the real server.
pub(crate) const CONDITION: Names = &[
    ("object", Root::Object),
    ("oldObject", Root::OldObject),
    ("request", Root::Request),
    ("namespaceObject", Root::NamespaceObject),
];

/// Of a policy's variables, validations and messages.
pub(crate) const POLICY: Names = &[
    ("object", Root::Object),
    ("oldObject", Root::OldObject),
    ("request", Root::Request),
    ("namespaceObject", Root::NamespaceObject),
    ("params", Root::Params),
];

/// Compiles an expression; `variables` are the names a policy has defined before it.
///
/// # Errors
///
/// The reason with line and column.
pub(crate) fn compile(
    source: &str,
    names: Names,
    variables: Option<&[String]>,
) -> Result<Arc<Program>, String> {
    Program::compile(
        source,
        Environment {
            roots: names,
            variables,
        },
    )
}

/// What is known of a request when its expressions are evaluated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub object: &'a Value,
    pub old: &'a Value,
    pub request: &'a Value,
    pub namespace: &'a Value,
}

impl<'a> Subject<'a> {
    /// The names bound to these objects.
    pub fn bindings(&self) -> Bindings<'a> {
        Bindings::new(vec![
            (Root::Object, self.object.into()),
            (Root::OldObject, self.old.into()),
            (Root::Request, self.request.into()),
            (Root::NamespaceObject, self.namespace.into()),
            (Root::Params, cel::Value::Null),
        ])
    }
}

/// Whether all `matchConditions` of a webhook or policy hold.
///
/// One that is false decides, whatever the others say. Otherwise one that fails is an error under
/// `failurePolicy: Fail` and a "does not count" under `Ignore`.
///
/// # Errors
///
/// What failed, as the server words it.
pub(super) fn conditions(
    owner: &Value,
    subject: &Subject<'_>,
    ignore: bool,
) -> Result<bool, String> {
    let list = owner.get("matchConditions").and_then(Value::as_array);
    let Some(list) = list.filter(|list| !list.is_empty()) else {
        return Ok(true);
    };
    let bindings = Subject {
        namespace: &Value::Null,
        ..*subject
    }
    .bindings();
    let mut failures: Vec<String> = Vec::new();
    for condition in list {
        let source = condition
            .get("expression")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let outcome = compile(source, CONDITION, None)
            .map_err(|reason| format!("compilation error: {reason}"))
            .and_then(|program| truth(&program, &bindings));
        match outcome {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(reason) => failures.push(reason),
        }
    }
    match failures.as_slice() {
        [] => Ok(true),
        _ if ignore => Ok(false),
        [one] => Err(one.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

/// An expression that is true or false.
///
/// # Errors
///
/// The expression and why it has no such value.
pub(super) fn truth(program: &Program, bindings: &Bindings<'_>) -> Result<bool, String> {
    match program.evaluate(bindings) {
        Ok(cel::Value::Bool(truth)) => Ok(truth),
        Ok(_) => Ok(false),
        Err(reason) => Err(format!(
            "expression '{}' resulted in error: {reason}",
            program.source()
        )),
    }
}
