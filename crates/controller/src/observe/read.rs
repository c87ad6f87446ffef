//! Reading single fields of raw objects. A field that is absent or of another kind reads as empty:
//! the API's own defaults are filled in by the server before we see an object.

use jiff::Timestamp;
use serde_json::Value;

/// A value by pointer. Hundreds are read in each pass: no text is built on the way, as a pointer that
/// may escape would need. Pointers here escape nothing.
fn at<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    pointer
        .strip_prefix('/')?
        .split('/')
        .try_fold(object, |value, name| match value {
            Value::Object(map) => map.get(name),
            Value::Array(list) => list.get(name.parse::<usize>().ok()?),
            _ => None,
        })
}

/// A text by pointer, empty if there is none.
#[must_use]
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A number by pointer, 0 if there is none.
#[must_use]
pub fn number(object: &Value, pointer: &str) -> i64 {
    at(object, pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

/// A count by pointer, 0 if there is none.
#[must_use]
pub fn count(object: &Value, pointer: &str) -> u32 {
    u32::try_from(number(object, pointer)).unwrap_or_default()
}

/// A yes or no by pointer, no if there is none.
#[must_use]
pub fn flag(object: &Value, pointer: &str) -> bool {
    at(object, pointer)
        .and_then(Value::as_bool)
        .unwrap_or_default()
}

/// A point in time by pointer.
#[must_use]
pub fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    at(object, pointer)
        .and_then(Value::as_str)
        .and_then(|text| text.parse().ok())
}

/// A label, empty if there is none.
#[must_use]
pub fn label<'a>(object: &'a Value, name: &str) -> &'a str {
    at(object, "/metadata/labels")
        .and_then(|labels| labels.get(name))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// An annotation.
#[must_use]
pub fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    at(object, "/metadata/annotations")
        .and_then(|annotations| annotations.get(name))
        .and_then(Value::as_str)
}

/// A list by pointer, empty if there is none.
pub fn list<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    at(object, pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// A condition of the status by type.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "/status/conditions").find(|condition| text(condition, "/type") == kind)
}

/// Whether an object is being deleted.
#[must_use]
pub fn deleting(object: &Value) -> bool {
    at(object, "/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
}

/// `reason: message` of a condition that is True.
#[must_use]
pub fn failure(object: &Value, kind: &str) -> Option<String> {
    let condition =
        condition(object, kind).filter(|condition| text(condition, "/status") == "True")?;
    Some(format!(
        "{}: {}",
        text(condition, "/reason"),
        text(condition, "/message")
    ))
}
