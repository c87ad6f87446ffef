//! Custom objects against their structural schema, with the messages of the real server.
//!
//! Rules in CEL are in `rules`. Where several fields are wrong the real server reports them in no
//! fixed order; here it is that of the names. Source of messages: k8s.io/kube-openapi
//! `pkg/validation`, and `apiserver/validation` of k8s.io/apiextensions-apiserver.

use serde_json::{Map, Value};

use super::cel::json_equal;
use super::field::{Causes, Path, float};
use super::formats;
use super::structural::{Kind, ListType, Node};

/// Checks a value and all below it.
///
/// With an old value, what has not changed is not wrong (ratcheting): `old` is the value that was at
/// the same place, where a place can be followed from the old object to the new.
pub(super) fn value(
    value: &Value,
    old: Option<&Value>,
    node: &Node,
    path: &Path<'_>,
    whole: bool,
    causes: &mut Causes,
) {
    let mut found = Causes::default();
    check(value, old, node, path, whole, &mut found);
    if found.is_empty() {
        return;
    }
    // Compared only when something is wrong: most writes are right.
    if !old.is_some_and(|old| json_equal(value, old)) {
        causes.extend(found);
    }
}

fn check(
    value: &Value,
    old: Option<&Value>,
    node: &Node,
    path: &Path<'_>,
    whole: bool,
    causes: &mut Causes,
) {
    kind(value, node, path, causes);
    if !value.is_null() {
        junctors(value, node, path, causes);
    }
    match value {
        Value::String(text) => self::text(text, node, path, causes),
        Value::Number(_) => number(value, node, path, causes),
        Value::Array(list) => array(list, old, node, path, causes),
        _ => {}
    }
    enumeration(value, node, path, causes);
    if let Value::Object(map) = value {
        object(map, old, node, path, whole, causes);
    }
}

/// Null is in no enumeration, not even in one that lists it.
fn enumeration(value: &Value, node: &Node, path: &Path<'_>, causes: &mut Causes) {
    let known = &node.checks.enumeration;
    let listed = !value.is_null() && known.iter().any(|known| json_equal(known, value));
    if known.is_empty() || listed {
        return;
    }
    let texts: Vec<String> = known
        .iter()
        .map(|known| {
            known
                .as_str()
                .map_or_else(|| known.to_string(), str::to_owned)
        })
        .collect();
    causes.not_supported(path, value, texts.iter().map(String::as_str));
}

/// The name of a value's type in messages.
fn kind_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn kind(value: &Value, node: &Node, path: &Path<'_>, causes: &mut Causes) {
    let wanted = match (node.kind, node.int_or_string) {
        (_, true) => "integer,string",
        (Some(kind), false) => kind.name(),
        (None, false) => return,
    };
    let right = match value {
        Value::Null => node.nullable,
        Value::Bool(_) => node.kind == Some(Kind::Boolean),
        Value::Number(number) => {
            let whole = number.as_f64().is_some_and(|number| number.fract() == 0.0);
            match node.kind {
                Some(Kind::Number) => true,
                Some(Kind::Integer) => whole,
                _ => node.int_or_string && whole,
            }
        }
        Value::String(_) => node.int_or_string || node.kind == Some(Kind::Text),
        Value::Array(_) => node.kind == Some(Kind::Array),
        Value::Object(_) => node.kind == Some(Kind::Object),
    };
    if right {
        return;
    }
    let format = node.checks.format.as_deref();
    let (wanted, found) = match (format.filter(|format| formats::is_checked(format)), value) {
        // With a format, formats are compared in place of types.
        (Some(format), Value::Number(number)) if number.is_f64() => (format, "double"),
        (Some(format), Value::Number(_)) => (format, "int64"),
        (Some(format), Value::Bool(_) | Value::Object(_)) => (format, ""),
        _ => (wanted, kind_name(value)),
    };
    let detail = format!(
        "{} in body must be of type {wanted}: \"{found}\"",
        path.dotted()
    );
    causes.type_invalid(path, &Value::from(found), &detail);
}

/// What is wrong with a value by each of some schemas.
fn verdicts(value: &Value, nodes: &[Node], path: &Path<'_>) -> Vec<Causes> {
    nodes
        .iter()
        .map(|node| {
            let mut causes = Causes::default();
            check(value, None, node, path, false, &mut causes);
            causes
        })
        .collect()
}

/// `anyOf`, `oneOf`, `allOf`, `not`. The real server reports them where validation began, without the
/// value, followed by what is wrong by one of the alternatives: the one most of whose checks passed,
/// here the first.
fn junctors(value: &Value, node: &Node, path: &Path<'_>, causes: &mut Causes) {
    let checks = &node.checks;
    let report = |detail: String, causes: &mut Causes| {
        let detail = format!("\"{}\" {detail}", path.dotted());
        causes.invalid(path.base(), &Value::from(""), &detail);
    };
    let any = verdicts(value, &checks.any_of, path);
    if !any.is_empty() && !any.iter().any(Causes::is_empty) {
        let detail = "must validate at least one schema (anyOf)".to_owned();
        report(detail, causes);
        any.into_iter().take(1).for_each(|best| causes.extend(best));
    }
    let one = verdicts(value, &checks.one_of, path);
    let count = one.iter().filter(|verdict| verdict.is_empty()).count();
    if !one.is_empty() && count != 1 {
        let found = match count {
            0 => "Found none valid".to_owned(),
            several => format!("Found {several} valid alternatives"),
        };
        let detail = format!("must validate one and only one schema (oneOf). {found}");
        report(detail, causes);
        if count == 0 {
            one.into_iter().take(1).for_each(|best| causes.extend(best));
        }
    }
    let all = verdicts(value, &checks.all_of, path);
    let passed = all.iter().filter(|verdict| verdict.is_empty()).count();
    let failed = passed < all.len();
    all.into_iter().for_each(|verdict| causes.extend(verdict));
    if failed {
        let none = if passed == 0 { ". None validated" } else { "" };
        report(
            format!("must validate all the schemas (allOf){none}"),
            causes,
        );
    }
    if let Some(not) = &checks.not {
        let mut verdict = Causes::default();
        check(value, None, not, path, false, &mut verdict);
        if verdict.is_empty() {
            report("must not validate the schema (not)".to_owned(), causes);
        }
    }
}

fn text(text: &str, node: &Node, path: &Path<'_>, causes: &mut Causes) {
    let checks = &node.checks;
    let value = || Value::from(text);
    if checks.min_length.is_some() || checks.max_length.is_some() {
        let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        if let Some(most) = checks.max_length.filter(|most| length > *most) {
            causes.too_long(path, most);
            return;
        }
        if let Some(least) = checks.min_length.filter(|least| length < *least) {
            let detail = format!(
                "{} in body should be at least {least} chars long",
                path.dotted()
            );
            causes.invalid(path, &value(), &detail);
            return;
        }
    }
    if let Some(pattern) = &checks.pattern
        && !pattern.is_match(text)
    {
        let detail = format!("{} in body should match '{pattern}'", path.dotted());
        causes.invalid(path, &value(), &detail);
        return;
    }
    if let Some(format) = &checks.format
        && !formats::holds(format, text)
    {
        let detail = format!(
            "{} in body must be of type {format}: {}",
            path.dotted(),
            super::field::quote(text)
        );
        causes.type_invalid(path, &value(), &detail);
    }
}

fn number(value: &Value, node: &Node, path: &Path<'_>, causes: &mut Causes) {
    let checks = &node.checks;
    let Some(number) = value.as_f64() else { return };
    let mut report = |detail: String| {
        let detail = format!("{} in body should be {detail}", path.dotted());
        causes.invalid(path, value, &detail);
    };
    // Against an integer a limit is one as well: its fraction counts for nothing.
    let whole = value.is_i64() || value.is_u64();
    let limit = |limit: f64| if whole { limit.trunc() } else { limit };
    let printed = |limit: f64| {
        if whole {
            format!("{limit:.0}")
        } else {
            float(limit)
        }
    };
    if let Some(factor) = checks.multiple_of {
        let quotient = number / factor;
        if quotient.fract() != 0.0 {
            report(format!("a multiple of {}", printed(factor)));
        }
    }
    if let Some(most) = checks.maximum.map(limit) {
        if checks.exclusive_maximum && number >= most {
            report(format!("less than {}", printed(most)));
        } else if number > most {
            report(format!("less than or equal to {}", printed(most)));
        }
    }
    if let Some(least) = checks.minimum.map(limit) {
        if checks.exclusive_minimum && number <= least {
            report(format!("greater than {}", printed(least)));
        } else if number < least {
            report(format!("greater than or equal to {}", printed(least)));
        }
    }
}

fn array(list: &[Value], old: Option<&Value>, node: &Node, path: &Path<'_>, causes: &mut Causes) {
    let checks = &node.checks;
    let count = u64::try_from(list.len()).unwrap_or(u64::MAX);
    if let Some(below) = &node.items {
        let old = old.and_then(Value::as_array);
        for (place, element) in list.iter().enumerate() {
            let before = old.and_then(|old| counterpart(element, old, &node.list));
            value(
                element,
                before,
                below,
                &path.index(place),
                below.embedded,
                causes,
            );
        }
    }
    if let Some(least) = checks.min_items.filter(|least| count < *least) {
        let detail = format!(
            "{} in body should have at least {least} items",
            path.dotted()
        );
        causes.invalid(path, &Value::from(count), &detail);
    }
    if let Some(most) = checks.max_items.filter(|most| count > *most) {
        causes.too_many(path, list.len(), most);
    }
}

/// The element of the old list that an element of a list of type map has come from.
pub(super) fn counterpart<'o>(
    element: &Value,
    old: &'o [Value],
    list: &ListType,
) -> Option<&'o Value> {
    let ListType::Map(keys) = list else {
        return None;
    };
    old.iter()
        .find(|before| keys.iter().all(|key| before.get(key) == element.get(key)))
}

fn object(
    map: &Map<String, Value>,
    old: Option<&Value>,
    node: &Node,
    path: &Path<'_>,
    whole: bool,
    causes: &mut Causes,
) {
    let checks = &node.checks;
    let count = u64::try_from(map.len()).unwrap_or(u64::MAX);
    if let Some(least) = checks.min_properties.filter(|least| count < *least) {
        let detail = format!(
            "{} in body should have at least {least} properties",
            path.dotted()
        );
        causes.invalid(path, &Value::from(count), &detail);
        return;
    }
    if let Some(most) = checks.max_properties.filter(|most| count > *most) {
        causes.too_many(path, map.len(), most);
        return;
    }
    let before = |name: &str| old.and_then(|old| old.get(name));
    if let Some(below) = &node.additional {
        for (name, inner) in map {
            if !node.properties.contains_key(name) {
                let place = path.child(name);
                value(inner, before(name), below, &place, below.embedded, causes);
            }
        }
    }
    for (name, below) in &node.properties {
        if whole && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        if let Some(inner) = map.get(name) {
            let place = path.child(name);
            value(inner, before(name), below, &place, below.embedded, causes);
        }
    }
    for name in &checks.required {
        if !map.contains_key(name) {
            causes.required(path.child(name), "");
        }
    }
}

/// Lists of type set and map: no element twice.
pub(super) fn list_types(value: &Value, node: &Node, path: &Path<'_>, causes: &mut Causes) {
    if !node.has_list_types {
        return;
    }
    match value {
        Value::Array(list) => {
            unique(list, &node.list, path, causes);
            if let Some(below) = &node.items {
                for (place, element) in list.iter().enumerate() {
                    list_types(element, below, &path.index(place), causes);
                }
            }
        }
        Value::Object(map) => {
            for (name, inner) in map {
                if let Some(below) = node.properties.get(name) {
                    list_types(inner, below, &path.child(name), causes);
                } else if let Some(below) = &node.additional {
                    list_types(inner, below, &path.key(name), causes);
                }
            }
        }
        _ => {}
    }
}

fn unique(list: &[Value], kind: &ListType, path: &Path<'_>, causes: &mut Causes) {
    let identity = |element: &Value| -> Value {
        match kind {
            ListType::Map(keys) => keys
                .iter()
                .filter_map(|key| Some((key.clone(), element.get(key)?.clone())))
                .collect::<Map<_, _>>()
                .into(),
            _ => element.clone(),
        }
    };
    if *kind == ListType::Atomic {
        return;
    }
    if let ListType::Map(_) = kind
        && let Some(place) = list
            .iter()
            .position(|element| !element.is_object() && !element.is_null())
    {
        causes.invalid(
            path.index(place),
            &list[place],
            "must be an object for an array of list-type map",
        );
        return;
    }
    // A third one is not reported again.
    let mut seen: Vec<(Value, bool)> = Vec::with_capacity(list.len());
    for (place, element) in list.iter().enumerate() {
        let identity = identity(element);
        match seen
            .iter_mut()
            .find(|(known, _)| json_equal(known, &identity))
        {
            Some((_, reported)) => {
                if !std::mem::replace(reported, true) {
                    causes.duplicate(path.index(place), &identity);
                }
            }
            None => seen.push((identity, false)),
        }
    }
}
