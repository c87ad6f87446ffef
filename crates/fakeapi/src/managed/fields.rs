//! Sets of field paths in the very form of `fieldsV1`: a map from path element (`f:name`, `k:{…}`,
//! `v:…`) to the set below it; an element that is itself in the set has an empty map or a `.`.
//! Working on that form spares reading and writing the entries a write does not touch.

use serde_json::{Map, Value};

/// A set of field paths, or what is below one element.
pub(crate) type Fields = Map<String, Value>;

/// Whether the element with this below it is itself in the set.
pub(crate) fn is_member(below: &Fields) -> bool {
    below.is_empty() || below.contains_key(".")
}

/// As [`is_member`], but a field with owned fields below counts as owned itself (list items do not).
pub(crate) fn is_member_by_name(element: &str, below: &Fields) -> bool {
    is_member(below) || element.starts_with("f:")
}

/// Elements and what is below them, without the mark of membership.
pub(crate) fn children(fields: &Fields) -> impl Iterator<Item = (&String, &Fields)> {
    fields
        .iter()
        .filter(|(element, _)| *element != ".")
        .filter_map(|(element, below)| Some((element, below.as_object()?)))
}

/// Adds a path.
pub(crate) fn insert(fields: &mut Fields, path: &[String]) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    let fresh = !fields.contains_key(first);
    let below = fields
        .entry(first.clone())
        .or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(below) = below else {
        return;
    };
    if rest.is_empty() {
        if !fresh && !is_member(below) {
            below.insert(".".to_owned(), Value::Object(Map::new()));
        }
        return;
    }
    // An element that stood for itself keeps doing so when something comes below it.
    if !fresh && below.is_empty() {
        below.insert(".".to_owned(), Value::Object(Map::new()));
    }
    insert(below, rest);
}

/// Whether two sets share a path.
pub(crate) fn intersects(one: &Fields, other: &Fields) -> bool {
    children(one).any(|(element, below)| {
        other
            .get(element)
            .and_then(Value::as_object)
            .is_some_and(|other_below| {
                is_member(below) && is_member(other_below) || intersects(below, other_below)
            })
    })
}

/// Calls for each path in both, in order.
pub(crate) fn each_in_both(
    one: &Fields,
    other: &Fields,
    path: &mut Vec<String>,
    run: &mut impl FnMut(&[String]),
) {
    for (element, below) in children(one) {
        let Some(other_below) = other.get(element).and_then(Value::as_object) else {
            continue;
        };
        path.push(element.clone());
        if is_member(below) && is_member(other_below) {
            run(path);
        }
        each_in_both(below, other_below, path, run);
        path.pop();
    }
}

/// Takes the paths of another set out. Elements left with nothing go.
pub(crate) fn subtract(fields: &mut Fields, other: &Fields) {
    for (element, other_below) in children(other) {
        let Some(Value::Object(below)) = fields.get_mut(element) else {
            continue;
        };
        let member = is_member(below) && !is_member(other_below);
        below.remove(".");
        subtract(below, other_below);
        if below.is_empty() {
            if !member {
                fields.remove(element);
            }
        } else if member {
            below.insert(".".to_owned(), Value::Object(Map::new()));
        }
    }
}

/// Puts the paths of another set in.
pub(crate) fn unite(fields: &mut Fields, other: &Fields) {
    for (element, other_below) in children(other) {
        match fields.get_mut(element) {
            None => {
                fields.insert(element.clone(), Value::Object(other_below.clone()));
            }
            Some(Value::Object(below)) => {
                let member = is_member(below) || is_member(other_below);
                unite(below, other_below);
                if member && !below.is_empty() {
                    below.insert(".".to_owned(), Value::Object(Map::new()));
                }
            }
            Some(_) => {}
        }
    }
}

/// A path as conflicts print it: `.spec.template.spec.containers[name="web"].image`.
pub(crate) fn display(path: &[String]) -> String {
    let mut text = String::new();
    for element in path {
        if let Some(field) = element.strip_prefix("f:") {
            text.push('.');
            text.push_str(field);
        } else if let Some(keys) = element.strip_prefix("k:") {
            let keys: Value = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            text.push_str(&format!("[{}]", keys.join(",")));
        } else if let Some(value) = element.strip_prefix("v:") {
            text.push_str(&format!("[={value}]"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Fields {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn sets_unite_and_subtract() {
        let mut one = fields(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}}));
        let other = fields(json!({"f:a": {"f:b": {}}, "f:d": {"f:e": {}}}));
        let mut both = one.clone();
        unite(&mut both, &other);
        assert_eq!(
            Value::Object(both),
            json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}, "f:d": {"f:e": {}}})
        );
        subtract(&mut one, &other);
        assert_eq!(Value::Object(one), json!({"f:a": {}, "f:c": {}}));
    }

    #[test]
    fn an_element_is_not_what_is_below_it() {
        let one = fields(json!({"f:a": {}}));
        let below = fields(json!({"f:a": {"f:b": {}}}));
        assert!(!intersects(&one, &below));
        assert!(intersects(
            &one,
            &fields(json!({"f:a": {".": {}, "f:b": {}}}))
        ));
        let mut rest = below.clone();
        subtract(&mut rest, &one);
        assert_eq!(rest, below);
        let mut both = one.clone();
        unite(&mut both, &below);
        assert_eq!(Value::Object(both), json!({"f:a": {".": {}, "f:b": {}}}));
    }

    #[test]
    fn paths_print_as_in_conflicts() {
        let path = ["f:spec", "f:containers", r#"k:{"name":"web"}"#, "f:image"].map(str::to_owned);
        assert_eq!(display(&path), r#".spec.containers[name="web"].image"#);
        assert_eq!(
            display(&[
                "f:metadata".to_owned(),
                "f:finalizers".to_owned(),
                "v:\"x\"".to_owned()
            ]),
            r#".metadata.finalizers[="x"]"#
        );
    }
}
