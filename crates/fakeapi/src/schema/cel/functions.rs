//! Functions of expressions: which there are, and those on lists, sets, optionals, types and times.
//!
//! Functions on texts are in `text`. Names and meaning: the CEL standard library, its extensions
//! (strings, sets, optionals, math) and Kubernetes' list library
//! (<https://kubernetes.io/docs/reference/using-api/cel/#cel-options-language-features-and-libraries>).

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::evaluate::no_overload;
use super::value::Value;
use super::{text, time};

/// A function, told apart by what it does; receiver and arguments come as one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    ToInt,
    ToUint,
    ToDouble,
    ToText,
    ToBool,
    ToBytes,
    ToDuration,
    ToTimestamp,
    TypeOf,
    Dyn,
    Some,
    None,
    SomeUnlessZero,
    HasValue,
    InnerValue,
    Or,
    OrValue,
    SetContains,
    SetIntersects,
    SetEquivalent,
    Greatest,
    Least,
    IsSorted,
    Sum,
    Min,
    Max,
    IndexOf,
    LastIndexOf,
    Time(&'static str),
    Text(&'static str),
}

/// Whether `name.` introduces functions, not a variable.
pub(super) fn is_space(name: &str) -> bool {
    matches!(name, "optional" | "sets" | "math")
}

/// A function called by its name alone.
pub(super) fn global(name: &str, arguments: usize) -> Option<Function> {
    let (function, takes) = match name {
        "size" => (Function::Size, 1),
        "int" => (Function::ToInt, 1),
        "uint" => (Function::ToUint, 1),
        "double" => (Function::ToDouble, 1),
        "string" => (Function::ToText, 1),
        "bool" => (Function::ToBool, 1),
        "bytes" => (Function::ToBytes, 1),
        "duration" => (Function::ToDuration, 1),
        "timestamp" => (Function::ToTimestamp, 1),
        "type" => (Function::TypeOf, 1),
        "dyn" => (Function::Dyn, 1),
        "matches" => (Function::Text("matches"), 2),
        "optional.of" => (Function::Some, 1),
        "optional.none" => (Function::None, 0),
        "optional.ofNonZeroValue" => (Function::SomeUnlessZero, 1),
        "sets.contains" => (Function::SetContains, 2),
        "sets.intersects" => (Function::SetIntersects, 2),
        "sets.equivalent" => (Function::SetEquivalent, 2),
        "math.greatest" if arguments > 0 => (Function::Greatest, arguments),
        "math.least" if arguments > 0 => (Function::Least, arguments),
        _ => return None,
    };
    (takes == arguments).then_some(function)
}

/// Parts of a point in time; for a duration the first four give its length in that unit.
const PARTS: [&str; 10] = [
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
];

/// A function called on a value; `arguments` does not count the value.
pub(super) fn receiver(name: &str, arguments: usize) -> Option<Function> {
    if let Some(part) = PARTS.iter().find(|part| **part == name) {
        return (arguments == 0).then_some(Function::Time(part));
    }
    let (function, takes) = match name {
        "size" => (Function::Size, 0),
        "hasValue" => (Function::HasValue, 0),
        "value" => (Function::InnerValue, 0),
        "or" => (Function::Or, 1),
        "orValue" => (Function::OrValue, 1),
        "isSorted" => (Function::IsSorted, 0),
        "sum" => (Function::Sum, 0),
        "min" => (Function::Min, 0),
        "max" => (Function::Max, 0),
        "indexOf" => (Function::IndexOf, arguments.clamp(1, 2)),
        "lastIndexOf" => (Function::LastIndexOf, arguments.clamp(1, 2)),
        _ => return text::receiver(name, arguments).map(Function::Text),
    };
    (takes == arguments).then_some(function)
}

type Outcome<'a> = Result<Value<'a>, String>;

/// A value as error messages and texts show it.
pub(super) fn plain(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Duration(length) => time::seconds_text(*length),
        Value::Timestamp(moment) => moment.to_string(),
        Value::Type(name) => (*name).to_owned(),
        Value::Optional(inner) => inner.as_deref().map_or_else(
            || "optional.none()".to_owned(),
            |inner| format!("optional({})", plain(inner)),
        ),
        _ => {
            if let Some(elements) = value.elements() {
                let texts: Vec<String> = elements.iter().map(plain).collect();
                return format!("[{}]", texts.join(", "));
            }
            let texts: Vec<String> = value
                .entries()
                .unwrap_or_default()
                .iter()
                .map(|(key, value)| format!("{}: {}", plain(key), plain(value)))
                .collect();
            format!("{{{}}}", texts.join(", "))
        }
    }
}

/// Calls a function on evaluated arguments.
pub(super) fn call<'a>(function: Function, arguments: &[Value<'a>]) -> Outcome<'a> {
    if let Function::Text(name) = function {
        return text::call(name, arguments);
    }
    if function == Function::None {
        return Ok(Value::Optional(None));
    }
    let (Some(first), second) = (arguments.first(), arguments.get(1)) else {
        return no_overload();
    };
    match function {
        Function::Size => first.size().map_or_else(no_overload, count),
        Function::ToInt
        | Function::ToUint
        | Function::ToDouble
        | Function::ToText
        | Function::ToBool
        | Function::ToBytes
        | Function::ToDuration
        | Function::ToTimestamp => convert(function, first),
        Function::TypeOf => Ok(Value::Type(first.type_name())),
        Function::Dyn => Ok(first.clone()),
        Function::Some => Ok(Value::some(first.clone())),
        Function::SomeUnlessZero if is_zero(first) => Ok(Value::Optional(None)),
        Function::SomeUnlessZero => Ok(Value::some(first.clone())),
        Function::HasValue | Function::InnerValue | Function::Or | Function::OrValue => {
            optional(function, first, second)
        }
        Function::SetContains | Function::SetIntersects | Function::SetEquivalent => {
            sets(function, first, second)
        }
        Function::Greatest | Function::Least => {
            let all = match (arguments.len(), first.elements()) {
                (1, Some(elements)) => elements,
                _ => arguments.to_vec(),
            };
            extreme(all, function == Function::Greatest)
        }
        Function::IndexOf | Function::LastIndexOf => {
            if let Value::Text(_) = first {
                let name = if function == Function::IndexOf {
                    "indexOf"
                } else {
                    "lastIndexOf"
                };
                return text::call(name, arguments);
            }
            let (Some(elements), Some(wanted), 2) = (first.elements(), second, arguments.len())
            else {
                return no_overload();
            };
            let found = if function == Function::IndexOf {
                elements.iter().position(|element| element.equals(wanted))
            } else {
                elements.iter().rposition(|element| element.equals(wanted))
            };
            found.map_or(Ok(Value::Int(-1)), count)
        }
        Function::IsSorted | Function::Sum | Function::Min | Function::Max => {
            lists(function, first)
        }
        Function::Time(part) => time_part(part, first),
        Function::None | Function::Text(_) => no_overload(),
    }
}

pub(super) fn count<'a>(size: usize) -> Outcome<'a> {
    i64::try_from(size)
        .map(Value::Int)
        .map_err(|_| "integer overflow".to_owned())
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Int(number) => *number == 0,
        Value::Uint(number) => *number == 0,
        Value::Double(number) => *number == 0.0,
        Value::Duration(length) => *length == 0,
        Value::Optional(inner) => inner.is_none(),
        _ => value.size() == Some(0),
    }
}

fn optional<'a>(function: Function, first: &Value<'a>, second: Option<&Value<'a>>) -> Outcome<'a> {
    let Value::Optional(inner) = first else {
        return no_overload();
    };
    match (function, inner, second) {
        (Function::HasValue, inner, _) => Ok(Value::Bool(inner.is_some())),
        (Function::InnerValue | Function::OrValue, Some(inner), _) => Ok(inner.as_ref().clone()),
        (Function::InnerValue, None, _) => Err("optional.none() dereference".to_owned()),
        (Function::OrValue, None, Some(other)) => Ok(other.clone()),
        (Function::Or, Some(_), _) => Ok(first.clone()),
        (Function::Or, None, Some(other @ Value::Optional(_))) => Ok(other.clone()),
        _ => no_overload(),
    }
}

fn sets<'a>(function: Function, first: &Value<'a>, second: Option<&Value<'a>>) -> Outcome<'a> {
    let (Some(left), Some(right)) = (first.elements(), second.and_then(Value::elements)) else {
        return no_overload();
    };
    let within = |value: &Value<'a>, all: &[Value<'a>]| all.iter().any(|other| other.equals(value));
    Ok(Value::Bool(match function {
        Function::SetContains => right.iter().all(|value| within(value, &left)),
        Function::SetIntersects => right.iter().any(|value| within(value, &left)),
        _ => {
            right.iter().all(|value| within(value, &left))
                && left.iter().all(|value| within(value, &right))
        }
    }))
}

fn extreme<'a>(all: Vec<Value<'a>>, greatest: bool) -> Outcome<'a> {
    let mut best: Option<Value<'a>> = None;
    for value in all {
        let better = match &best {
            None => true,
            Some(known) => match value.compare(known) {
                Some(order) if greatest => order.is_gt(),
                Some(order) => order.is_lt(),
                None => return no_overload(),
            },
        };
        if better {
            best = Some(value);
        }
    }
    best.map_or_else(no_overload, Ok)
}

fn lists<'a>(function: Function, list: &Value<'a>) -> Outcome<'a> {
    let elements = list.elements().map_or_else(no_overload, Ok)?;
    match function {
        Function::IsSorted => {
            for pair in elements.windows(2) {
                if let [left, right] = pair {
                    match left.compare(right) {
                        Some(order) if order.is_gt() => return Ok(Value::Bool(false)),
                        Some(_) => {}
                        None => return no_overload(),
                    }
                }
            }
            Ok(Value::Bool(true))
        }
        Function::Sum => {
            let mut elements = elements.into_iter();
            let first = elements.next().unwrap_or(Value::Int(0));
            elements.try_fold(first, |sum, next| {
                super::arithmetic::binary(super::node::Binary::Add, &sum, &next)
            })
        }
        Function::Min | Function::Max if elements.is_empty() => {
            let name = if function == Function::Min {
                "min"
            } else {
                "max"
            };
            Err(format!("{name} called on empty list"))
        }
        _ => extreme(elements, function == Function::Max),
    }
}

/// 2⁶³: doubles from here on are no int.
const INT_END: f64 = 9_223_372_036_854_775_808.0;

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the language converts so; ranges are checked first"
)]
fn convert<'a>(function: Function, value: &Value<'a>) -> Outcome<'a> {
    let overflow = || Err("integer overflow".to_owned());
    match (function, value) {
        (Function::ToInt, Value::Int(_))
        | (Function::ToUint, Value::Uint(_))
        | (Function::ToDouble, Value::Double(_))
        | (Function::ToText, Value::Text(_))
        | (Function::ToBool, Value::Bool(_))
        | (Function::ToBytes, Value::Bytes(_))
        | (Function::ToDuration, Value::Duration(_))
        | (Function::ToTimestamp, Value::Timestamp(_)) => Ok(value.clone()),
        (Function::ToInt, Value::Uint(number)) => {
            i64::try_from(*number).map_or_else(|_| overflow(), |number| Ok(Value::Int(number)))
        }
        (Function::ToInt, Value::Double(number)) => {
            if number.is_finite() && *number > -INT_END && *number < INT_END {
                Ok(Value::Int(*number as i64))
            } else {
                overflow()
            }
        }
        (Function::ToInt, Value::Timestamp(moment)) => Ok(Value::Int(moment.as_second())),
        (Function::ToInt, Value::Text(text)) => text
            .parse()
            .map(Value::Int)
            .map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax")),
        (Function::ToUint, Value::Int(number)) => {
            u64::try_from(*number).map_or_else(|_| overflow(), |number| Ok(Value::Uint(number)))
        }
        (Function::ToUint, Value::Double(number)) => {
            if *number >= 0.0 && *number < 2.0 * INT_END {
                Ok(Value::Uint(*number as u64))
            } else {
                overflow()
            }
        }
        (Function::ToUint, Value::Text(text)) => text
            .parse()
            .map(Value::Uint)
            .map_err(|_| format!("strconv.ParseUint: parsing {text:?}: invalid syntax")),
        (Function::ToDouble, Value::Int(number)) => Ok(Value::Double(*number as f64)),
        (Function::ToDouble, Value::Uint(number)) => Ok(Value::Double(*number as f64)),
        (Function::ToDouble, Value::Text(text)) => text
            .parse()
            .map(Value::Double)
            .map_err(|_| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax")),
        (
            Function::ToText,
            Value::Bool(_)
            | Value::Int(_)
            | Value::Uint(_)
            | Value::Double(_)
            | Value::Duration(_)
            | Value::Timestamp(_),
        ) => Ok(Value::text(plain(value))),
        (Function::ToText, Value::Bytes(bytes)) => std::str::from_utf8(bytes)
            .map(Value::text)
            .map_err(|_| "invalid UTF-8 in bytes, cannot convert to string".to_owned()),
        (Function::ToBool, Value::Text(text)) => match text.as_ref() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
            _ => no_overload(),
        },
        (Function::ToBytes, Value::Text(text)) => Ok(Value::Bytes(text.as_bytes().to_vec().into())),
        (Function::ToDuration, Value::Text(text)) => time::duration(text)
            .map(Value::Duration)
            .ok_or_else(|| format!("time: invalid duration {text:?}")),
        (Function::ToTimestamp, Value::Text(text)) => text
            .parse()
            .map(Value::Timestamp)
            .map_err(|_| format!("invalid timestamp {text:?}")),
        (Function::ToTimestamp, Value::Int(seconds)) => Timestamp::from_second(*seconds)
            .map(Value::Timestamp)
            .map_err(|_| "timestamp overflow".to_owned()),
        _ => no_overload(),
    }
}

fn time_part<'a>(part: &str, value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Duration(length) => match part {
            "getHours" => Ok(Value::Int(length / 3_600_000_000_000)),
            "getMinutes" => Ok(Value::Int(length / 60_000_000_000)),
            "getSeconds" => Ok(Value::Int(length / 1_000_000_000)),
            "getMilliseconds" => Ok(Value::Int(length / 1_000_000)),
            _ => no_overload(),
        },
        Value::Timestamp(moment) => {
            let civil = moment.to_zoned(TimeZone::UTC).datetime();
            let number = match part {
                "getHours" => i64::from(civil.hour()),
                "getMinutes" => i64::from(civil.minute()),
                "getSeconds" => i64::from(civil.second()),
                "getMilliseconds" => i64::from(civil.subsec_nanosecond()) / 1_000_000,
                "getFullYear" => i64::from(civil.year()),
                // Months and days count from 0, except the date.
                "getMonth" => i64::from(civil.month()) - 1,
                "getDate" => i64::from(civil.day()),
                "getDayOfMonth" => i64::from(civil.day()) - 1,
                "getDayOfWeek" => i64::from(civil.weekday().to_sunday_zero_offset()),
                _ => i64::from(civil.day_of_year()) - 1,
            };
            Ok(Value::Int(number))
        }
        _ => no_overload(),
    }
}
