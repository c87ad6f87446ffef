//! CustomResourceDefinitions: their compiled versions, and what is done with objects of theirs.
//!
//! Discovery and endpoints of custom kinds belong to the core.

use crate::At;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use serde_json::Value;

use super::field::{Causes, Path};
use super::structural::{self, Node};
use super::{ROOT, invalid_definition, rules, shape, validate};
use crate::error::StatusError;

/// One version's schema.
#[derive(Debug)]
struct Version {
    raw: Value,
    root: Node,
}

/// A definition with the schema of each of its versions.
#[derive(Debug)]
pub(super) struct Definition {
    pub group: String,
    pub plural: String,
    /// Where `/scale` finds the size, with its leading dot.
    size: Option<String>,
    /// A version without a schema keeps everything.
    versions: BTreeMap<String, Arc<Version>>,
}

/// Compiled schemas by definition and version: every world of a process defines the same kinds, and
/// compiling them would be a tenth of a short world. It saves time, it holds no truth.
static COMPILED: LazyLock<Mutex<Compiled>> = LazyLock::new(Mutex::default);

type Compiled = BTreeMap<(String, String), Arc<Version>>;

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .at(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// What Go calls a value that is there and no map.
fn not_a_map(value: &Value) -> Option<&'static str> {
    match value {
        Value::Object(_) | Value::Null => None,
        Value::Bool(_) => Some("bool"),
        Value::String(_) => Some("string"),
        Value::Array(_) => Some("[]interface {}"),
        Value::Number(number) if number.is_f64() => Some("float64"),
        Value::Number(_) => Some("int64"),
    }
}

/// A scalar as Go prints it.
fn go_text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

impl Definition {
    /// Reads a CustomResourceDefinition.
    pub fn compile(crd: &Value) -> Result<Self, StatusError> {
        let name = text(crd, "/metadata/name");
        let group = text(crd, "/spec/group").to_owned();
        let plural = text(crd, "/spec/names/plural").to_owned();
        let mut causes = Causes::default();
        identity(crd, name, &group, &plural, &mut causes);
        let spec = ROOT.child("spec");
        let list = spec.child("versions");
        let mut versions = BTreeMap::new();
        let stated = crd.at("/spec/versions").and_then(Value::as_array);
        let mut stored = 0;
        for (place, version) in stated.into_iter().flatten().enumerate() {
            stored += usize::from(version.get("storage") == Some(&Value::Bool(true)));
            let Some(raw) = version.at("/schema/openAPIV3Schema") else {
                let here = list.index(place);
                causes.required(
                    here.child("schema").child("openAPIV3Schema"),
                    "schemas are required",
                );
                continue;
            };
            let key = (name.to_owned(), text(version, "/name").to_owned());
            let compiled = compiled(&key, raw, &list.index(place), &mut causes);
            versions.insert(key.1, compiled);
        }
        if stored != 1 {
            let shown = crd.at("/spec/versions").unwrap_or(&Value::Null);
            causes.invalid(
                list,
                shown,
                "must have exactly one version marked as storage version",
            );
        }
        if !causes.is_empty() {
            return Err(invalid_definition(name, &causes));
        }
        Ok(Self {
            group,
            plural,
            size: stated_size(crd),
            versions,
        })
    }

    /// A kind with `/scale` has no negative size, whatever its schema says.
    fn size(&self, new: &Value, causes: &mut Causes) {
        let Some(path) = self.size.as_deref() else {
            return;
        };
        let pointer = path.replace('.', "/");
        let holder = new.at("/spec").filter(|_| path.starts_with(".spec."));
        if let Some(kind) = holder.and_then(not_a_map) {
            let shown = holder.map(go_text).unwrap_or_default();
            let what = format!(
                "{path} accessor error: {shown} is of the type {kind}, expected map[string]interface{{}}"
            );
            return causes.invalid(path, &Value::from(0), &what);
        }
        if let Some(size) = new.at(&pointer)
            && size.as_i64().is_some_and(|size| size < 0)
        {
            causes.invalid(path, size, "should be a non-negative integer");
        }
    }

    /// The schema of a version as it was written.
    pub fn raw(&self, version: &str) -> Option<&Value> {
        self.versions.get(version).map(|version| &version.raw)
    }

    /// Prunes and fills in defaults.
    pub fn shape(&self, version: &str, object: &mut Value) {
        shape::metadata(object);
        // Of untyped objects an empty list of managers is no list.
        if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
            metadata.retain(|name, value| {
                name != "managedFields" || value.as_array().is_none_or(|list| !list.is_empty())
            });
        }
        if let Some(version) = self.versions.get(version) {
            shape::prune(object, &version.root, true);
            shape::defaults(object, &version.root, true);
        }
    }

    /// Validates all but metadata. A write of the status has only that checked, and messages then do
    /// not say where it is.
    pub fn validate(
        &self,
        version: &str,
        subresource: &str,
        new: &Value,
        old: Option<&Value>,
        causes: &mut Causes,
    ) {
        let Some(version) = self.versions.get(version) else {
            return;
        };
        let root = &version.root;
        if subresource == "status" {
            if let (Some(status), Some(node)) = (new.get("status"), root.properties.get("status")) {
                let before = old.and_then(|old| old.get("status"));
                let path = Path::Base("status");
                validate::value(status, before, node, &path, false, causes);
            }
        } else {
            validate::value(new, old, root, &ROOT, true, causes);
        }
        if subresource != "status" {
            self.size(new, causes);
        }
        let mut doubles = Causes::default();
        validate::list_types(new, root, &ROOT, &mut doubles);
        if !doubles.is_empty() {
            // Doubles that were there before may stay.
            let mut before = Causes::default();
            if let Some(old) = old {
                validate::list_types(old, root, &ROOT, &mut before);
            }
            if before.is_empty() {
                causes.extend(doubles);
            }
        }
        if !root.has_rules {
            return;
        }
        if causes.blocks_rules() {
            causes.invalid(
                ROOT,
                &Value::Null,
                "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation",
            );
            return;
        }
        rules::check(new, old, root, &ROOT, &|| false, causes);
    }
}

fn stated_size(crd: &Value) -> Option<String> {
    crd.at("/spec/versions")?
        .as_array()?
        .iter()
        .find_map(|version| version.at("/subresources/scale/specReplicasPath")?.as_str())
        .map(str::to_owned)
}

fn compiled(
    key: &(String, String),
    raw: &Value,
    path: &Path<'_>,
    causes: &mut Causes,
) -> Arc<Version> {
    let lock = || COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = lock().get(key)
        && known.raw == *raw
    {
        return Arc::clone(known);
    }
    let schema = path.child("schema");
    let mut found = Causes::default();
    let root = structural::compile(raw, &schema.child("openAPIV3Schema"), false, &mut found);
    let version = Arc::new(Version {
        raw: raw.clone(),
        root,
    });
    if found.is_empty() {
        lock().insert(key.clone(), Arc::clone(&version));
    }
    causes.extend(found);
    version
}

fn identity(crd: &Value, name: &str, group: &str, plural: &str, causes: &mut Causes) {
    let metadata = ROOT.child("metadata");
    if name != format!("{plural}.{group}") {
        causes.invalid(
            metadata.child("name"),
            &Value::from(name),
            "must be spec.names.plural+\".\"+spec.group",
        );
    }
    let spec = ROOT.child("spec");
    for (pointer, value) in [("group", group), ("scope", text(crd, "/spec/scope"))] {
        if value.is_empty() {
            causes.required(spec.child(pointer), "");
        }
    }
    let names = spec.child("names");
    for field in ["plural", "kind"] {
        if text(crd, &format!("/spec/names/{field}")).is_empty() {
            causes.required(names.child(field), "");
        }
    }
}
