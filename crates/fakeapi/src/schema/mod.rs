//! Schemas: what a written object looks like and whether it is right, for custom and built-in kinds.
//!
//! In a write the core calls `default` (again after each patch of a mutating webhook), fills in what
//! the registry allocates, applies the rules of the endpoint, and then calls `validate`. Storage,
//! generation, status endpoints and admission do not belong here.

pub(crate) mod builtin;
pub(crate) mod cel;
mod custom;
pub(crate) mod field;
mod formats;
pub(crate) mod go;
mod metadata;
mod names;
mod rules;
mod shape;
mod structural;
mod typed;
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
        typed::prune(resource, object);
        builtin::default(resource, object, old)
    }

    /// Fields the schema of the kind does not know, as paths.
    pub(crate) fn unknown(
        &self,
        resource: &ResourceType,
        version: &str,
        object: &Value,
    ) -> Vec<String> {
        let schema = self
            .definition(&resource.group, &resource.plural)
            .and_then(|definition| definition.raw(version));
        typed::unknown(resource, schema, object)
    }

    /// Whether an object can be read as its kind; if not, what Go says.
    pub(crate) fn decode(&self, resource: &ResourceType, object: &Value) -> Result<(), String> {
        go::undecodable(resource, object).map_or(Ok(()), Err)
    }

    /// Whether a configuration somebody applies fits the types of the kind.
    ///
    /// # Errors
    ///
    /// 500 with everything that does not.
    pub(crate) fn typed(
        &self,
        resource: &ResourceType,
        version: &str,
        config: &Value,
    ) -> Result<(), StatusError> {
        let schema = self
            .definition(&resource.group, &resource.plural)
            .and_then(|definition| definition.raw(version));
        typed::check(resource, version, schema, config)
    }

    /// Whether the server's own types take a configuration somebody applies.
    ///
    /// # Errors
    ///
    /// 500 with the first thing they do not take.
    pub(crate) fn convertible(
        resource: &ResourceType,
        version: &str,
        config: &Value,
    ) -> Result<(), StatusError> {
        typed::convertible(resource, version, config)
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
        if subresource.is_empty() && resource.plural == "services" && resource.group.is_empty() {
            // Addresses are given out before anything else is looked at.
            builtin::addresses(new, old, &mut causes);
            if !causes.is_empty() {
                return Err(StatusError::invalid(
                    resource,
                    text_of(new, "name"),
                    causes.as_slice(),
                ));
            }
        }
        let metadata = new.get("metadata").unwrap_or(&empty);
        let legacy = resource.group == "events.k8s.io";
        // Leases and custom kinds are checked by other code than the rest.
        let finalizers = |causes: &mut Causes| {
            if !resource.custom && resource.group != "coordination.k8s.io" {
                metadata::finalizers(metadata, causes);
            }
        };
        let new_object = |causes: &mut Causes| {
            metadata::check(resource, metadata, causes);
            finalizers(causes);
        };
        match old.and_then(|old| old.get("metadata")) {
            None if legacy => {
                builtin::events::legacy(new, &mut causes);
                new_object(&mut causes);
            }
            None => new_object(&mut causes),
            Some(before) => {
                // As the real server does: for all kinds, for all kinds' updates, and by the kind.
                metadata::check_common(resource, metadata, &mut causes);
                metadata::check_update(metadata, before, &mut causes);
                if legacy {
                    builtin::events::legacy(new, &mut causes);
                }
                if resource.group != "discovery.k8s.io" {
                    metadata::check_update(metadata, before, &mut causes);
                    finalizers(&mut causes);
                }
            }
        }
        // Some kinds validate an update as a creation as well, after what an update alone may not do.
        if old.is_some() && subresource.is_empty() && builtin::is_created_anew(resource) {
            builtin::validate_change(resource, new, old, &mut causes);
            new_object(&mut causes);
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

/// A text of the metadata, empty if absent.
fn text_of<'v>(object: &'v Value, field: &str) -> &'v str {
    object
        .get("metadata")
        .and_then(|metadata| metadata.get(field)?.as_str())
        .unwrap_or_default()
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
