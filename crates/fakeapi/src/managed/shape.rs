//! What managedFields must know of a kind: which lists have keys, which are sets, which maps and
//! lists are owned as a whole. Validation and defaults are the business of `schema`.

use crate::At;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// How a value is taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// Owned as a whole: a scalar, an atomic map or list.
    Atomic,
    /// Nothing is known: maps field by field, lists as a whole.
    Deduced,
    /// Taken apart the same way, but every map in it is a type of the server's own with named fields.
    Typed,
    /// A map, field by field; fields not named have the shape `rest`.
    Fields {
        named: BTreeMap<String, Shape>,
        rest: Box<Shape>,
    },
    /// A list whose items are found by the values of these keys; a key may have a default.
    Keyed {
        keys: Vec<(String, Option<Value>)>,
        item: Box<Shape>,
    },
    /// A list whose items are found by their value.
    Set,
}

static DEDUCED: Shape = Shape::Deduced;
static TYPED: Shape = Shape::Typed;

impl Shape {
    /// The shape of a field of a map.
    pub(crate) fn field(&self, name: &str) -> &Self {
        match self {
            Self::Fields { named, rest } => named.get(name).unwrap_or(rest),
            Self::Typed => &TYPED,
            _ => &DEDUCED,
        }
    }

    /// Whether the schema names this field, so that it is not just a key somebody chose.
    pub(crate) fn names(&self, name: &str) -> bool {
        match self {
            Self::Fields { named, rest } => named.contains_key(name) || **rest == Self::Typed,
            other => *other == Self::Typed,
        }
    }

    /// Whether this value is taken apart, not owned as a whole.
    pub(crate) fn parts(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Atomic, _) => false,
            (_, Value::Object(_)) => !matches!(self, Self::Keyed { .. } | Self::Set),
            (_, Value::Array(_)) => matches!(self, Self::Keyed { .. } | Self::Set),
            _ => false,
        }
    }

    /// The path element of a list item; nothing for a list without keys or an item without them.
    pub(crate) fn element(&self, item: &Value) -> Option<String> {
        match self {
            Self::Keyed { keys, .. } => {
                let mut found = Map::new();
                for (key, default) in keys {
                    if let Some(value) = item.get(key).or(default.as_ref()) {
                        found.insert(key.clone(), value.clone());
                    }
                }
                (!found.is_empty()).then(|| format!("k:{}", Value::Object(found)))
            }
            Self::Set => Some(format!("v:{item}")),
            _ => None,
        }
    }

    /// The shape of the items of a list.
    pub(crate) fn item(&self) -> &Self {
        match self {
            Self::Keyed { item, .. } => item,
            _ => &DEDUCED,
        }
    }

    /// Gives the shape at a path another one; the path's containers become known maps and lists.
    /// `a.b[].c`: field c of the items of list b in map a.
    pub(crate) fn set(&mut self, path: &str, shape: Shape) {
        let (first, rest) = path.split_once('.').map_or((path, ""), |(f, r)| (f, r));
        if !matches!(self, Self::Fields { .. }) {
            let rest = if *self == Self::Typed {
                Self::Typed
            } else {
                Self::Deduced
            };
            *self = Self::Fields {
                named: BTreeMap::new(),
                rest: Box::new(rest),
            };
        }
        let Self::Fields { named, rest: other } = self else {
            return;
        };
        let (name, inside) = first
            .strip_suffix("[]")
            .map_or((first, false), |n| (n, true));
        let slot = named
            .entry(name.to_owned())
            .or_insert_with(|| Self::clone(other));
        if rest.is_empty() {
            *slot = shape;
        } else if inside {
            if let Self::Keyed { item, .. } = slot {
                item.set(rest, shape);
            }
        } else {
            slot.set(rest, shape);
        }
    }
}

/// The shape of `metadata`, equal for all kinds.
pub(crate) fn metadata() -> Shape {
    let mut shape = Shape::Typed;
    shape.set("finalizers", Shape::Set);
    shape.set(
        "ownerReferences",
        Shape::Keyed {
            keys: vec![("uid".to_owned(), None)],
            item: Box::new(Shape::Atomic),
        },
    );
    shape
}

/// The shape a CustomResourceDefinition gives its objects (by the schema of the storage version).
pub(crate) fn shape_of_crd(crd: &Value) -> Shape {
    let schema = crd
        .at("/spec/versions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|version| version.get("storage").and_then(Value::as_bool) == Some(true))
        .and_then(|version| version.at("/schema/openAPIV3Schema"));
    let mut shape = schema.map_or(Shape::Deduced, of_schema);
    shape.set("metadata", metadata());
    shape
}

fn of_schema(schema: &Value) -> Shape {
    let text = |field: &str| schema.get(field).and_then(Value::as_str);
    match text("type") {
        Some("object") => {
            if text("x-kubernetes-map-type") == Some("atomic") {
                return Shape::Atomic;
            }
            let named: BTreeMap<String, Shape> = schema
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .map(|(name, property)| (name.clone(), of_schema(property)))
                .collect();
            let rest = schema
                .get("additionalProperties")
                .filter(|rest| rest.is_object())
                .map_or(Shape::Deduced, of_schema);
            if named.is_empty() && rest == Shape::Deduced {
                return Shape::Deduced;
            }
            Shape::Fields {
                named,
                rest: Box::new(rest),
            }
        }
        Some("array") => match text("x-kubernetes-list-type") {
            Some("set") => Shape::Set,
            Some("map") => {
                let items = schema.get("items").unwrap_or(&Value::Null);
                let keys = schema
                    .get("x-kubernetes-list-map-keys")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .map(|key| {
                        let default = items
                            .get("properties")
                            .and_then(|properties| properties.get(key)?.get("default"));
                        (key.to_owned(), default.cloned())
                    })
                    .collect();
                Shape::Keyed {
                    keys,
                    item: Box::new(of_schema(items)),
                }
            }
            _ => Shape::Atomic,
        },
        None => Shape::Deduced,
        Some(_) => Shape::Atomic,
    }
}
