//! Values of expressions: JSON is borrowed where it stands, only what an expression makes is owned.
//!
//! Operators and functions do not belong here.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::rc::Rc;

use jiff::Timestamp;
use serde_json::{Map as JsonMap, Number, Value as Json};

/// A value while an expression is evaluated.
#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// A list of the object under test.
    Array(&'a Vec<Json>),
    /// A map of the object under test.
    Object(&'a JsonMap<String, Json>),
    /// A list the expression made.
    List(Rc<Vec<Value<'a>>>),
    /// A map the expression made, in the order it was written.
    Map(Rc<Vec<(Value<'a>, Value<'a>)>>),
    /// Nanoseconds.
    Duration(i64),
    Timestamp(Timestamp),
    Optional(Option<Rc<Value<'a>>>),
    Type(&'static str),
}

impl<'a> From<&'a Json> for Value<'a> {
    fn from(json: &'a Json) -> Self {
        match json {
            Json::Null => Value::Null,
            Json::Bool(truth) => Value::Bool(*truth),
            Json::Number(number) => number_value(number),
            Json::String(text) => Value::Text(Cow::Borrowed(text)),
            Json::Array(array) => Value::Array(array),
            Json::Object(object) => Value::Object(object),
        }
    }
}

/// A number of JSON is an int where it can be one: the server decodes it so.
fn number_value<'a>(number: &Number) -> Value<'a> {
    number.as_i64().map_or_else(
        || number.as_f64().map_or(Value::Null, Value::Double),
        Value::Int,
    )
}

impl<'a> Value<'a> {
    pub fn text(text: impl Into<String>) -> Self {
        Value::Text(Cow::Owned(text.into()))
    }

    pub fn list(elements: Vec<Value<'a>>) -> Self {
        Value::List(Rc::new(elements))
    }

    pub fn some(value: Value<'a>) -> Self {
        Value::Optional(Some(Rc::new(value)))
    }

    /// The name `type()` gives.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::Text(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Array(_) | Value::List(_) => "list",
            Value::Object(_) | Value::Map(_) => "map",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Optional(_) => "optional_type",
            Value::Type(_) => "type",
        }
    }

    /// The elements of a list; None for anything else.
    pub fn elements(&self) -> Option<Vec<Value<'a>>> {
        match self {
            Value::Array(array) => Some(array.iter().map(Value::from).collect()),
            Value::List(list) => Some(list.as_ref().clone()),
            _ => None,
        }
    }

    /// The entries of a map; None for anything else.
    pub fn entries(&self) -> Option<Vec<(Value<'a>, Value<'a>)>> {
        match self {
            Value::Object(object) => Some(
                object
                    .iter()
                    .map(|(key, value)| (Value::Text(Cow::Borrowed(key)), value.into()))
                    .collect(),
            ),
            Value::Map(map) => Some(map.as_ref().clone()),
            _ => None,
        }
    }

    /// How many elements a list, entries a map, characters a text or bytes a byte string has.
    pub fn size(&self) -> Option<usize> {
        match self {
            Value::Array(array) => Some(array.len()),
            Value::Object(object) => Some(object.len()),
            Value::List(list) => Some(list.len()),
            Value::Map(map) => Some(map.len()),
            Value::Text(text) => Some(text.chars().count()),
            Value::Bytes(bytes) => Some(bytes.len()),
            _ => None,
        }
    }

    /// The entry of a map under a key; None if it has none or is no map.
    pub fn entry(&self, key: &Value<'a>) -> Option<Value<'a>> {
        match (self, key) {
            (Value::Object(object), Value::Text(key)) => object.get(key.as_ref()).map(Value::from),
            (Value::Map(map), key) => map
                .iter()
                .find(|(known, _)| known.equals(key))
                .map(|(_, value)| value.clone()),
            _ => None,
        }
    }

    /// The entry of a map under a name; None if it has none or is no map.
    pub fn field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Value::Object(object) => object.get(name).map(Value::from),
            Value::Map(map) => map
                .iter()
                .find(|(known, _)| matches!(known, Value::Text(text) if text == name))
                .map(|(_, value)| value.clone()),
            _ => None,
        }
    }

    fn number(&self) -> Option<Quantity> {
        match self {
            Value::Int(number) => Some(Quantity::Whole(i128::from(*number))),
            Value::Uint(number) => Some(Quantity::Whole(i128::from(*number))),
            Value::Double(number) => Some(Quantity::Broken(*number)),
            _ => None,
        }
    }

    /// Equality of the language: numbers by their amount whatever their type, maps without regard to
    /// order, values of different kinds unequal.
    pub fn equals(&self, other: &Value<'a>) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(left), Value::Bool(right)) => left == right,
            (Value::Text(left), Value::Text(right)) => left == right,
            (Value::Bytes(left), Value::Bytes(right)) => left == right,
            (Value::Duration(left), Value::Duration(right)) => left == right,
            (Value::Timestamp(left), Value::Timestamp(right)) => left == right,
            (Value::Type(left), Value::Type(right)) => left == right,
            (Value::Object(left), Value::Object(right)) => maps_equal(left, right),
            (Value::Array(left), Value::Array(right)) => arrays_equal(left, right),
            (Value::Optional(left), Value::Optional(right)) => match (left, right) {
                (Some(left), Some(right)) => left.equals(right),
                (None, None) => true,
                _ => false,
            },
            (Value::Array(_) | Value::List(_), Value::Array(_) | Value::List(_)) => {
                let (left, right) = (self.elements(), other.elements());
                let (left, right) = (left.unwrap_or_default(), right.unwrap_or_default());
                left.len() == right.len() && left.iter().zip(&right).all(|(l, r)| l.equals(r))
            }
            (Value::Object(_) | Value::Map(_), Value::Object(_) | Value::Map(_)) => {
                let left = self.entries().unwrap_or_default();
                self.size() == other.size()
                    && left.iter().all(|(key, value)| {
                        other.entry(key).is_some_and(|found| found.equals(value))
                    })
            }
            _ => match (self.number(), other.number()) {
                (Some(left), Some(right)) => left.compare(right) == Some(Ordering::Equal),
                _ => false,
            },
        }
    }

    /// Order of the language; None where the kinds have none.
    pub fn compare(&self, other: &Value<'a>) -> Option<Ordering> {
        match (self, other) {
            (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
            (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
            (Value::Bytes(left), Value::Bytes(right)) => Some(left.cmp(right)),
            (Value::Duration(left), Value::Duration(right)) => Some(left.cmp(right)),
            (Value::Timestamp(left), Value::Timestamp(right)) => Some(left.cmp(right)),
            _ => self.number()?.compare(other.number()?),
        }
    }
}

#[derive(Clone, Copy)]
enum Quantity {
    Whole(i128),
    Broken(f64),
}

impl Quantity {
    fn compare(self, other: Quantity) -> Option<Ordering> {
        match (self, other) {
            (Quantity::Whole(left), Quantity::Whole(right)) => Some(left.cmp(&right)),
            (left, right) => left.broken().partial_cmp(&right.broken()),
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "the language compares so")]
    fn broken(self) -> f64 {
        match self {
            Quantity::Whole(number) => number as f64,
            Quantity::Broken(number) => number,
        }
    }
}

fn maps_equal(left: &JsonMap<String, Json>, right: &JsonMap<String, Json>) -> bool {
    std::ptr::eq(left, right)
        || left.len() == right.len()
            && left
                .iter()
                .all(|(key, value)| right.get(key).is_some_and(|other| json_equal(value, other)))
}

fn arrays_equal(left: &[Json], right: &[Json]) -> bool {
    std::ptr::eq(left, right)
        || left.len() == right.len()
            && left
                .iter()
                .zip(right)
                .all(|(left, right)| json_equal(left, right))
}

/// Whether two JSON values say the same: `1` and `1.0` do.
pub(crate) fn json_equal(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Object(left), Json::Object(right)) => maps_equal(left, right),
        (Json::Array(left), Json::Array(right)) => arrays_equal(left, right),
        (Json::Number(left), Json::Number(right)) => {
            left == right || number_value(left).equals(&number_value(right))
        }
        _ => left == right,
    }
}
