//! Putting an applied configuration into the live object, and taking out what its manager no longer
//! declares and nobody else owns.

use serde_json::{Map, Value};

use super::fields::{self, Fields};
use super::shape::Shape;

/// The live value with the configuration's put over it.
pub(crate) fn merge(live: &Value, config: &Value, shape: &Shape) -> Value {
    if config.is_null() && shape.parts(live) && live.is_object() {
        // Null for a map is owned and changes nothing.
        return live.clone();
    }
    if !shape.parts(config) {
        return config.clone();
    }
    match (live, config) {
        (Value::Object(live), Value::Object(config)) => {
            let mut merged = live.clone();
            for (name, value) in config {
                let below = match live.get(name) {
                    Some(old) => merge(old, value, shape.field(name)),
                    None => value.clone(),
                };
                merged.insert(name.clone(), below);
            }
            Value::Object(merged)
        }
        (Value::Array(live), Value::Array(config)) => Value::Array(lists(live, config, shape)),
        _ => config.clone(),
    }
}

/// The configuration's order, with the live list's other items where they stood.
fn lists(live: &[Value], config: &[Value], shape: &Shape) -> Vec<Value> {
    let named = |list: &[Value]| -> Vec<Option<String>> {
        list.iter().map(|item| shape.element(item)).collect()
    };
    let (live_names, config_names) = (named(live), named(config));
    let mut merged = Vec::with_capacity(live.len().max(config.len()));
    let mut live_items = live.iter().zip(&live_names).peekable();
    for (item, name) in config.iter().zip(&config_names) {
        // Live items the configuration does not know, up to the next one it does.
        while let Some((other, _)) =
            live_items.next_if(|(_, live_name)| !config_names.contains(live_name))
        {
            merged.push(other.clone());
        }
        // Known ones come with the configuration.
        live_items.next_if(|(_, live_name)| *live_name == name);
        let old = live_names
            .iter()
            .position(|other| other == name)
            .and_then(|index| live.get(index));
        merged.push(match old {
            Some(old) => merge(old, item, shape.item()),
            None => item.clone(),
        });
    }
    merged.extend(
        live_items
            .filter(|(_, name)| !config_names.contains(name))
            .map(|(item, _)| item.clone()),
    );
    merged
}

/// Takes out what `last` owned and no set of `owned` does any more.
pub(crate) fn prune(value: &mut Value, last: &Fields, owned: &Fields, shape: &Shape) {
    match value {
        Value::Object(map) => {
            let names: Vec<String> = map.keys().cloned().collect();
            for name in names {
                let element = format!("f:{name}");
                let Some(last_below) = last.get(&element).and_then(Value::as_object) else {
                    continue;
                };
                let owned_below = owned.get(&element).and_then(Value::as_object);
                if owned_below.is_none() {
                    // What is in there without an owner stays, and with it what holds it; but a field that
                    // the schema names goes with all that is in it.
                    let holds = !shape.names(&name)
                        && map.get_mut(&name).is_some_and(|child| {
                            let parts = child.is_object() && !last_below.is_empty();
                            parts && {
                                below(child, last_below, None, shape.field(&name));
                                child.as_object().is_some_and(|map| !map.is_empty())
                            }
                        });
                    if !holds {
                        map.remove(&name);
                    }
                } else if let Some(child) = map.get_mut(&name) {
                    let before = is_hollow(child);
                    below(child, last_below, owned_below, shape.field(&name));
                    // As the real one does: what loses its last part to this is null, and not empty.
                    if !before && is_hollow(child) {
                        *child = Value::Null;
                    }
                }
            }
        }
        Value::Array(list) if matches!(shape, Shape::Keyed { .. } | Shape::Set) => {
            list.retain_mut(|item| {
                let Some(element) = shape.element(item) else {
                    return true;
                };
                let Some(last_below) = last.get(&element).and_then(Value::as_object) else {
                    return true;
                };
                let owned_below = owned.get(&element).and_then(Value::as_object);
                let keep =
                    owned_below.is_some() || !fields::is_member_by_name(&element, last_below);
                if keep {
                    below(item, last_below, owned_below, shape.item());
                }
                keep
            });
        }
        _ => {}
    }
}

/// A map or list with nothing in it.
fn is_hollow(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn below(value: &mut Value, last: &Fields, owned: Option<&Fields>, shape: &Shape) {
    let none = Map::new();
    if shape.parts(value) {
        prune(value, last, owned.unwrap_or(&none), shape);
    }
}
