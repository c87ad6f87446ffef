//! Admission: webhooks and policies between a request and its commit.
//!
//! The core calls `mutate` after defaults, then the endpoint's own rules and `Schemas::validate`, then
//! `validate`. Nothing here holds the server's lock over an await. Not here: built-in admission plugins
//! (namespaces, owners, quotas), MutatingAdmissionPolicies, and conversion between versions.

pub(crate) mod expressions;
mod matching;
mod policy;
mod request;
mod webhook;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use serde_json::Value;

use crate::error::StatusError;
use crate::resource::{GroupVersionKind, ResourceType};
use crate::state::FakeApi;
use crate::{Caller, Key};
use webhook::Answer;

/// `request.operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

/// What is asked. `kind` is that of the object sent: `autoscaling/v1 Scale` for `/scale`.
#[derive(Clone, Debug)]
pub(crate) struct Attributes {
    pub(crate) caller: Caller,
    pub(crate) operation: Operation,
    pub(crate) resource: Arc<ResourceType>,
    pub(crate) kind: GroupVersionKind,
    pub(crate) subresource: String,
    pub(crate) key: Key,
    pub(crate) dry_run: bool,
    /// CreateOptions, PatchOptions, UpdateOptions or DeleteOptions as JSON.
    pub(crate) options: Value,
    /// Warnings for the client; admission adds to them.
    pub(crate) warnings: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Attributes {
    fn warn(&self, text: String) {
        self.warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
    }

    /// The object's name in messages: unknown before a name is generated.
    fn name(&self) -> &str {
        if self.key.name.is_empty() {
            "Unknown"
        } else {
            &self.key.name
        }
    }
}

/// Asks the mutating webhooks, in the order of their configurations' names. The object comes back
/// pruned and defaulted after each patch. For a deletion the object is the old one and comes back as
/// it is.
///
/// When a patch changes the object, webhooks with `reinvocationPolicy: IfNeeded` that were called
/// before it are called once more at the end. One that was skipped the first time is not called then.
///
/// # Errors
///
/// A refusal, a failure of a webhook that may not fail, or a patch that does not apply.
pub(crate) async fn mutate(
    api: &FakeApi,
    attributes: &Attributes,
    object: Value,
    old: Option<&Arc<Value>>,
) -> Result<Value, StatusError> {
    if matching::exempt(attributes) {
        return Ok(object);
    }
    let hooks = webhook::hooks(api, "mutatingwebhookconfigurations");
    if hooks.is_empty() {
        return Ok(object);
    }
    let deletion = attributes.operation == Operation::Delete;
    let mut object = object;
    // Called since the last change, and due to be called again.
    let mut called: BTreeSet<(String, usize)> = BTreeSet::new();
    let mut due: BTreeSet<(String, usize)> = BTreeSet::new();
    let mut changed_at_all = false;
    for again in [false, true] {
        if again && !changed_at_all {
            break;
        }
        for hook in &hooks {
            let (new, before) = sides(deletion, &object, old);
            if !hook.wanted(api, attributes, new, before)? {
                continue;
            }
            if again && !due.contains(&hook.identity()) {
                continue;
            }
            let answer = hook.ask(api, attributes, new, before, true).await?;
            let changed = match answer {
                Answer::Allowed => false,
                Answer::Failed(_) if hook.ignores_failures() => false,
                Answer::Failed(reason) => return Err(StatusError::internal(&reason)),
                Answer::Patch(patch) => {
                    let patched = patched(api, attributes, &object, old, &patch)?;
                    let changed = patched != object;
                    object = patched;
                    changed
                }
            };
            if changed {
                due.append(&mut called);
                changed_at_all = true;
            }
            if hook.reinvocable() {
                called.insert(hook.identity());
            }
        }
    }
    Ok(object)
}

/// Object and old object as a webhook sees them.
fn sides<'a>(
    deletion: bool,
    object: &'a Value,
    old: Option<&'a Arc<Value>>,
) -> (&'a Value, &'a Value) {
    if deletion {
        (&Value::Null, object)
    } else {
        (object, old.map_or(&Value::Null, |old| old.as_ref()))
    }
}

fn patched(
    api: &FakeApi,
    attributes: &Attributes,
    object: &Value,
    old: Option<&Arc<Value>>,
    patch: &Value,
) -> Result<Value, StatusError> {
    if attributes.operation == Operation::Delete {
        return Err(StatusError::internal(
            "admission webhook attempted to modify the object, which is not supported for this operation",
        ));
    }
    let mut patched = object.clone();
    crate::patch::json::apply(patch, &mut patched)
        .map_err(|reason| StatusError::internal(&reason.to_string()))?;
    // The object of `/scale` is of a kind of its own, without a schema.
    if attributes.subresource != "scale" {
        api.schemas().default(
            &attributes.resource,
            &attributes.kind.version,
            &mut patched,
            old.map(Arc::as_ref),
        )?;
    }
    Ok(patched)
}

/// Asks the validating policies, then the validating webhooks, which are asked all at once. No object
/// for a deletion; no old one for a creation.
///
/// # Errors
///
/// The first refusal, or a failure of what may not fail.
pub(crate) async fn validate(
    api: &FakeApi,
    attributes: &Attributes,
    object: Option<&Value>,
    old: Option<&Arc<Value>>,
) -> Result<(), StatusError> {
    if matching::exempt(attributes) {
        return Ok(());
    }
    let object = object.unwrap_or(&Value::Null);
    let old = old.map_or(&Value::Null, |old| old.as_ref());
    policy::validate(api, attributes, object, old)?;
    let hooks = webhook::hooks(api, "validatingwebhookconfigurations");
    if hooks.is_empty() {
        return Ok(());
    }
    let mut wanted = Vec::new();
    for hook in &hooks {
        if hook.wanted(api, attributes, object, old)? {
            wanted.push(hook);
        }
    }
    let answers = futures::future::join_all(
        wanted
            .iter()
            .map(|hook| hook.ask(api, attributes, object, old, false)),
    )
    .await;
    for (hook, answer) in wanted.iter().zip(answers) {
        if let Answer::Failed(reason) = answer?
            && !hook.ignores_failures()
        {
            return Err(StatusError::internal(&reason));
        }
    }
    Ok(())
}
