//! Schemas: what a written object looks like and whether it is right, for custom and built-in kinds.
//!
//! In a write the core calls `default` (again after each patch of a mutating webhook), fills in what
//! the registry allocates, applies the rules of the endpoint, and then calls `validate`. Storage,
//! generation, status endpoints and admission do not belong here.

mod builtin;
pub(crate) mod cel;
mod custom;
pub(crate) mod field;
mod formats;
mod metadata;
mod names;
mod rules;
mod shape;
mod structural;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::admission::Operation;
use crate::error::StatusError;
use crate::resource::ResourceType;
use field::{Causes, Path};

pub(crate) use rules::message;

/// The schemas in force. Cheap to clone: one pointer for each definition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schemas {
    /// By group, then by plural.
    definitions: BTreeMap<String, BTreeMap<String, Arc<custom::Definition>>>,
}

impl Schemas {
    /// Takes in the schemas of a CustomResourceDefinition, in place of those it had.
    ///
    /// # Errors
    ///
    /// 422 when a schema is not structural or a rule does not compile.
    pub(crate) fn define(&mut self, crd: &Value) -> Result<(), StatusError> {
        let definition = custom::Definition::compile(crd)?;
        self.definitions
            .entry(definition.group.clone())
            .or_default()
            .insert(definition.plural.clone(), Arc::new(definition));
        Ok(())
    }

    /// Forgets them.
    pub(crate) fn remove(&mut self, group: &str, plural: &str) {
        if let Some(plurals) = self.definitions.get_mut(group) {
            plurals.remove(plural);
        }
    }

    fn definition(&self, group: &str, plural: &str) -> Option<&custom::Definition> {
        self.definitions.get(group)?.get(plural).map(Arc::as_ref)
    }

    /// Brings an object into the form the server stores: unknown fields of custom kinds pruned, what
    /// typed kinds do not keep dropped (nulls, empty `omitempty` fields), defaults filled in.
    ///
    /// Unknown fields of built-in kinds stay: their types are not known here.
    ///
    /// # Errors
    ///
    /// 400 when a built-in object cannot be decoded.
    pub(crate) fn default(
        &self,
        resource: &ResourceType,
        version: &str,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), StatusError> {
        if let Some(definition) = self.definition(&resource.group, &resource.plural) {
            definition.shape(version, object);
            return Ok(());
        }
        builtin::default(resource, object, old)
    }

    /// Fills in what the registry allocates after mutating admission: addresses, families and ports of
    /// Services, phase and qosClass of pods. `seed`: a number that differs from call to call.
    pub(crate) fn allocate(
        &self,
        resource: &ResourceType,
        object: &mut Value,
        old: Option<&Value>,
        seed: u64,
    ) {
        if !resource.custom {
            builtin::allocate(resource, object, old, seed);
        }
    }

    /// Validates. `subresource` is `status` for writes of the status, which the server checks less.
    ///
    /// # Errors
    ///
    /// 422 with one cause for each thing that is wrong.
    pub(crate) fn validate(
        &self,
        resource: &ResourceType,
        version: &str,
        operation: Operation,
        subresource: &str,
        new: &Value,
        old: Option<&Value>,
    ) -> Result<(), StatusError> {
        if operation == Operation::Delete {
            return Ok(());
        }
        if resource.plural == "customresourcedefinitions" {
            custom::Definition::compile(new)?;
        }
        let mut causes = Causes::default();
        let empty = Value::Null;
        let metadata = new.get("metadata").unwrap_or(&empty);
        match old.and_then(|old| old.get("metadata")) {
            None => metadata::check(resource, metadata, &mut causes),
            Some(before) => {
                // As the real server does: for all kinds, for all kinds' updates, and by the kind.
                metadata::check_common(resource, metadata, &mut causes);
                metadata::check_update(metadata, before, &mut causes);
                metadata::check_update(metadata, before, &mut causes);
            }
        }
        if let Some(definition) = self.definition(&resource.group, &resource.plural) {
            definition.validate(version, subresource, new, old, &mut causes);
        } else {
            builtin::validate(resource, subresource, new, old, &mut causes);
        }
        if causes.is_empty() {
            return Ok(());
        }
        let name = metadata
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        Err(StatusError::invalid(resource, name, causes.as_slice()))
    }
}

/// Rejects what is wrong with a CustomResourceDefinition.
fn invalid_definition(name: &str, causes: &Causes) -> StatusError {
    StatusError::invalid_kind(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        name,
        causes.as_slice(),
    )
}

/// The path of the object itself.
const ROOT: Path<'static> = Path::Root;
