//! What changed between two objects, as sets of field paths, and the set of all fields of one.

use serde_json::{Map, Value};

use super::fields::{self, Fields};
use super::shape::Shape;

/// Paths that came, went, or have another value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Difference {
    pub(crate) added: Fields,
    pub(crate) removed: Fields,
    pub(crate) modified: Fields,
}

impl Difference {
    pub(crate) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.modified.is_empty()
    }

    /// What somebody set: came or has another value.
    pub(crate) fn written(&self) -> Fields {
        let mut written = self.added.clone();
        fields::unite(&mut written, &self.modified);
        written
    }
}

/// Fields nobody owns: the server's own.
const NOBODYS: &[&str] = &[
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Compares two whole objects.
pub(crate) fn compare(old: &Value, new: &Value, shape: &Shape) -> Difference {
    let mut walk = Walk::default();
    for_each_field(old, new, |name, old, new| match name {
        "apiVersion" | "kind" => {}
        "metadata" => {
            let shape = shape.field(name);
            walk.path.push("f:metadata".to_owned());
            for_each_field(
                old.unwrap_or(&Value::Null),
                new.unwrap_or(&Value::Null),
                |name, old, new| {
                    if !NOBODYS.contains(&name) {
                        walk.field(name, old, new, shape);
                    }
                },
            );
            walk.path.pop();
        }
        name => walk.field(name, old, new, shape),
    });
    walk.difference
}

/// All fields of an object somebody applies.
pub(crate) fn all_fields(object: &Value, shape: &Shape) -> Fields {
    let mut set = Fields::new();
    let mut path = Vec::new();
    let Some(map) = object.as_object() else {
        return set;
    };
    for (name, value) in map {
        match name.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => {
                path.push("f:metadata".to_owned());
                for (name, value) in value.as_object().into_iter().flatten() {
                    if !NOBODYS.contains(&name.as_str()) {
                        path.push(format!("f:{name}"));
                        collect(
                            value,
                            shape.field("metadata").field(name),
                            &mut path,
                            &mut set,
                        );
                        path.pop();
                    }
                }
                path.pop();
            }
            name => {
                path.push(format!("f:{name}"));
                collect(value, shape.field(name), &mut path, &mut set);
                path.pop();
            }
        }
    }
    set
}

fn collect(value: &Value, shape: &Shape, path: &mut Vec<String>, set: &mut Fields) {
    if !shape.parts(value) {
        fields::insert(set, path);
        return;
    }
    match value {
        Value::Object(map) => {
            if map.is_empty() {
                fields::insert(set, path);
            }
            for (name, below) in map {
                path.push(format!("f:{name}"));
                collect(below, shape.field(name), path, set);
                path.pop();
            }
        }
        Value::Array(list) => {
            for item in list {
                let Some(element) = shape.element(item) else {
                    continue;
                };
                path.push(element);
                fields::insert(set, path);
                if item.is_object() && *shape.item() != Shape::Atomic {
                    collect(item, shape.item(), path, set);
                }
                path.pop();
            }
        }
        _ => {}
    }
}

#[derive(Default)]
struct Walk {
    path: Vec<String>,
    difference: Difference,
}

impl Walk {
    fn field(&mut self, name: &str, old: Option<&Value>, new: Option<&Value>, shape: &Shape) {
        if old == new {
            return;
        }
        self.path.push(format!("f:{name}"));
        self.value(old, new, shape.field(name));
        self.path.pop();
    }

    fn value(&mut self, old: Option<&Value>, new: Option<&Value>, shape: &Shape) {
        // A null in place of a map whose fields are known takes its parts away, but not the map; where there
        // was none, it is something somebody wrote.
        if let (Some(Value::Object(parts)), Some(Value::Null), Shape::Fields { .. }) =
            (old, new, shape)
            && !parts.is_empty()
        {
            return self.inside(old, None, shape);
        }
        match (old, new) {
            (None, None) => return,
            (Some(old), Some(new)) if old == new => return,
            (None, Some(_)) => fields::insert(&mut self.difference.added, &self.path),
            (Some(_), None) => fields::insert(&mut self.difference.removed, &self.path),
            (Some(_), Some(_)) => {}
        }
        let parts = |value: Option<&Value>| value.is_some_and(|value| shape.parts(value));
        match (parts(old), parts(new)) {
            (false, false) => {
                if old.is_some() && new.is_some() {
                    fields::insert(&mut self.difference.modified, &self.path);
                }
            }
            (true, false) => {
                // A null or scalar took the place of something with parts.
                if new.is_some() {
                    fields::insert(&mut self.difference.modified, &self.path);
                }
                self.inside(old, None, shape);
            }
            (false, true) => {
                // Parts that come where a null was do not make their container modified.
                if old.is_some_and(|old| !old.is_null() || new.is_some_and(is_hollow)) {
                    fields::insert(&mut self.difference.modified, &self.path);
                }
                self.inside(None, new, shape);
            }
            (true, true) => self.inside(old, new, shape),
        }
    }

    fn inside(&mut self, old: Option<&Value>, new: Option<&Value>, shape: &Shape) {
        let any = old.or(new);
        if any.is_some_and(Value::is_object) {
            for_each_field(
                old.unwrap_or(&Value::Null),
                new.unwrap_or(&Value::Null),
                |name, old, new| self.field(name, old, new, shape),
            );
        } else {
            self.items(old, new, shape);
        }
    }

    fn items(&mut self, old: Option<&Value>, new: Option<&Value>, shape: &Shape) {
        let keyed = |list: Option<&Value>| -> Vec<(String, Value)> {
            list.and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|item| Some((shape.element(item)?, item.clone())))
                .collect()
        };
        let (old, new) = (keyed(old), keyed(new));
        for (element, item) in &old {
            let other = new.iter().find(|(other, _)| other == element);
            self.item(element, Some(item), other.map(|(_, item)| item), shape);
        }
        for (element, item) in &new {
            if !old.iter().any(|(other, _)| other == element) {
                self.item(element, None, Some(item), shape);
            }
        }
    }

    fn item(&mut self, element: &str, old: Option<&Value>, new: Option<&Value>, shape: &Shape) {
        if old == new {
            return;
        }
        self.path.push(element.to_owned());
        self.value(old, new, shape.item());
        self.path.pop();
    }
}

/// An empty map or list: owned as itself, because it has no parts.
fn is_hollow(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// All fields of either map, in order.
fn for_each_field(
    old: &Value,
    new: &Value,
    mut run: impl FnMut(&str, Option<&Value>, Option<&Value>),
) {
    let empty = Map::new();
    let old = old.as_object().unwrap_or(&empty);
    let new = new.as_object().unwrap_or(&empty);
    for (name, value) in old {
        run(name, Some(value), new.get(name));
    }
    for (name, value) in new {
        if !old.contains_key(name) {
            run(name, None, Some(value));
        }
    }
}
