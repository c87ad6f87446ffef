//! JSON patch (RFC 6902) with the ways of the library the real server uses (evanphx/json-patch): a
//! `test` for null passes on an absent field of a map that is there, array indexes may be negative.

use serde_json::Value;

/// Most operations in one patch (`maxJSONPatchOperations` of the real server).
const MOST_OPERATIONS: usize = 10_000;

/// Why a patch does not apply. The real server tells clients nothing of it but 422.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JsonPatchError {
    /// Not a JSON patch.
    Malformed(String),
    /// More operations than allowed.
    TooLong(String),
    /// A path that is not there, or a `test` that failed.
    DoesNotApply(String),
}

impl std::fmt::Display for JsonPatchError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Malformed(text) | Self::TooLong(text) | Self::DoesNotApply(text)) = self;
        formatter.write_str(text)
    }
}

/// Applies all operations or leaves an error; the target is then half done and to be thrown away.
pub(crate) fn apply(patch: &Value, target: &mut Value) -> Result<(), JsonPatchError> {
    let Some(operations) = patch.as_array() else {
        return Err(JsonPatchError::Malformed(
            "json: cannot unmarshal into Go value of type jsonpatch.Patch".to_owned(),
        ));
    };
    if operations.len() > MOST_OPERATIONS {
        return Err(JsonPatchError::TooLong(format!(
            "The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    operations
        .iter()
        .try_for_each(|operation| step(operation, target))
}

fn step(operation: &Value, target: &mut Value) -> Result<(), JsonPatchError> {
    let text = |field: &str| {
        operation
            .get(field)
            .and_then(Value::as_str)
            .ok_or_else(|| JsonPatchError::Malformed(format!("operation without {field}")))
    };
    let value = || operation.get("value").cloned().unwrap_or_default();
    let (name, path) = (text("op")?, text("path")?);
    let pointer = pointer(path)?;
    match name {
        "add" => add(target, &pointer, value()),
        "remove" => remove(target, &pointer).map(drop),
        "replace" => match find_mut(target, &pointer) {
            Some(slot) => {
                *slot = value();
                Ok(())
            }
            // The real server's library looks for the container only.
            None => match pointer.split_last() {
                Some((last, parents)) => match find_mut(target, parents) {
                    Some(Value::Object(map)) => {
                        map.insert(last.clone(), value());
                        Ok(())
                    }
                    _ => Err(missing(name, path)),
                },
                None => Err(missing(name, path)),
            },
        },
        "move" => {
            let from = self::pointer(text("from")?)?;
            let moved = remove(target, &from)?;
            add(target, &pointer, moved)
        }
        "copy" => {
            let from = self::pointer(text("from")?)?;
            let copied = find(target, &from)
                .cloned()
                .ok_or_else(|| missing(name, path))?;
            add(target, &pointer, copied)
        }
        "test" => {
            let found = find(target, &pointer);
            // The container must be there.
            let absent = pointer.split_last().is_some_and(|(_, parents)| {
                find(target, parents).is_some_and(|container| !container.is_null())
            });
            if found.is_some_and(|found| equal(found, &value()))
                || found.is_none() && absent && value().is_null()
            {
                Ok(())
            } else {
                Err(JsonPatchError::DoesNotApply(format!(
                    "testing value {path} failed"
                )))
            }
        }
        other => Err(JsonPatchError::Malformed(format!(
            "Unexpected kind: {other}"
        ))),
    }
}

fn missing(operation: &str, path: &str) -> JsonPatchError {
    JsonPatchError::DoesNotApply(format!(
        "{operation} operation does not apply: doc is missing path: {path}"
    ))
}

fn pointer(path: &str) -> Result<Vec<String>, JsonPatchError> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Err(JsonPatchError::DoesNotApply(format!("bad path {path}")));
    };
    Ok(rest
        .split('/')
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect())
}

/// Numbers are equal by value: 1 and 1.0.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| equal(a, b))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, a)| other.get(name).is_some_and(|b| equal(a, b)))
        }
        (one, other) => one == other,
    }
}

fn index(part: &str, length: usize) -> Option<usize> {
    if let Ok(index) = part.parse::<usize>() {
        return Some(index);
    }
    let back = part.strip_prefix('-')?.parse::<usize>().ok()?;
    length.checked_sub(back)
}

fn find<'a>(target: &'a Value, pointer: &[String]) -> Option<&'a Value> {
    pointer.iter().try_fold(target, |value, part| match value {
        Value::Object(map) => map.get(part),
        Value::Array(list) => list.get(index(part, list.len())?),
        _ => None,
    })
}

fn find_mut<'a>(target: &'a mut Value, pointer: &[String]) -> Option<&'a mut Value> {
    pointer.iter().try_fold(target, |value, part| match value {
        Value::Object(map) => map.get_mut(part),
        Value::Array(list) => {
            let index = index(part, list.len())?;
            list.get_mut(index)
        }
        _ => None,
    })
}

fn add(target: &mut Value, pointer: &[String], value: Value) -> Result<(), JsonPatchError> {
    let Some((last, parents)) = pointer.split_last() else {
        *target = value;
        return Ok(());
    };
    let path = || format!("/{}", pointer.join("/"));
    match find_mut(target, parents) {
        Some(Value::Object(map)) => {
            map.insert(last.clone(), value);
            Ok(())
        }
        Some(Value::Array(list)) => {
            let place = if last == "-" {
                Some(list.len())
            } else {
                index(last, list.len() + 1)
            };
            match place.filter(|place| *place <= list.len()) {
                Some(place) => {
                    list.insert(place, value);
                    Ok(())
                }
                None => Err(missing("add", &path())),
            }
        }
        _ => Err(missing("add", &path())),
    }
}

fn remove(target: &mut Value, pointer: &[String]) -> Result<Value, JsonPatchError> {
    let path = || format!("/{}", pointer.join("/"));
    let Some((last, parents)) = pointer.split_last() else {
        return Err(missing("remove", &path()));
    };
    match find_mut(target, parents) {
        Some(Value::Object(map)) => map.remove(last).ok_or_else(|| missing("remove", &path())),
        Some(Value::Array(list)) => match index(last, list.len()).filter(|i| *i < list.len()) {
            Some(place) => Ok(list.remove(place)),
            None => Err(missing("remove", &path())),
        },
        _ => Err(missing("remove", &path())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(target: Value, patch: Value) -> Option<Value> {
        let mut target = target;
        apply(&patch, &mut target).ok().map(|()| target)
    }

    #[test]
    fn known_answers() {
        let cases = [
            (
                json!({"a": 1}),
                json!([{"op": "add", "path": "/b", "value": 2}]),
                Some(json!({"a": 1, "b": 2})),
            ),
            (
                json!({"a": [1, 3]}),
                json!([{"op": "add", "path": "/a/1", "value": 2}]),
                Some(json!({"a": [1, 2, 3]})),
            ),
            (
                json!({"a": [1]}),
                json!([{"op": "add", "path": "/a/-", "value": 2}]),
                Some(json!({"a": [1, 2]})),
            ),
            (
                json!({"a": [1]}),
                json!([{"op": "add", "path": "/a/5", "value": 2}]),
                None,
            ),
            (
                json!({}),
                json!([{"op": "add", "path": "/a/b", "value": 2}]),
                None,
            ),
            (
                json!({"a": 1}),
                json!([{"op": "remove", "path": "/a"}]),
                Some(json!({})),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "remove", "path": "/b"}]),
                None,
            ),
            (
                json!({"a": 1}),
                json!([{"op": "replace", "path": "/b", "value": 2}]),
                // The real server's library looks for the container only.
                Some(json!({"a": 1, "b": 2})),
            ),
            (
                json!({"a/b": {"~c": 1}}),
                json!([{"op": "test", "path": "/a~1b/~0c", "value": 1}]),
                Some(json!({"a/b": {"~c": 1}})),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "move", "from": "/a", "path": "/b"}]),
                Some(json!({"b": 1})),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "copy", "from": "/a", "path": "/b"}]),
                Some(json!({"a": 1, "b": 1})),
            ),
        ];
        for (target, patch, result) in cases {
            assert_eq!(patched(target, patch.clone()), result, "{patch}");
        }
    }

    #[test]
    fn a_test_for_null_passes_where_nothing_is() {
        let test =
            |value: Value| json!([{"op": "test", "path": "/metadata/finalizers", "value": value}]);
        assert!(patched(json!({"metadata": {}}), test(Value::Null)).is_some());
        assert!(
            patched(
                json!({"metadata": {"finalizers": ["x"]}}),
                test(Value::Null)
            )
            .is_none()
        );
        assert!(patched(json!({"metadata": {}}), test(json!(["x"]))).is_none());
        // The map itself must be there.
        assert!(patched(json!({}), test(Value::Null)).is_none());
    }
}
