//! Operators on numbers, texts, lists and times.
//!
//! Comparison and equality belong to `value`.

use jiff::SignedDuration;

use super::evaluate::no_overload;
use super::node::Binary;
use super::value::Value;

type Outcome<'a> = Result<Value<'a>, String>;

fn int<'a>(number: Option<i64>) -> Outcome<'a> {
    number
        .map(Value::Int)
        .ok_or_else(|| "integer overflow".to_owned())
}

fn uint<'a>(number: Option<u64>) -> Outcome<'a> {
    number
        .map(Value::Uint)
        .ok_or_else(|| "unsigned integer overflow".to_owned())
}

fn duration<'a>(nanoseconds: Option<i64>) -> Outcome<'a> {
    nanoseconds
        .map(Value::Duration)
        .ok_or_else(|| "duration overflow".to_owned())
}

fn timestamp<'a>(moment: Result<jiff::Timestamp, jiff::Error>) -> Outcome<'a> {
    moment
        .map(Value::Timestamp)
        .map_err(|_| "timestamp overflow".to_owned())
}

pub(super) fn negate(operand: Value<'_>) -> Outcome<'_> {
    match operand {
        Value::Int(number) => int(number.checked_neg()),
        Value::Double(number) => Ok(Value::Double(-number)),
        Value::Duration(length) => duration(length.checked_neg()),
        _ => no_overload(),
    }
}

/// Sum, difference, product, quotient and rest.
pub(super) fn binary<'a>(operator: Binary, left: &Value<'a>, right: &Value<'a>) -> Outcome<'a> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => whole(operator, *left, *right),
        (Value::Uint(left), Value::Uint(right)) => unsigned(operator, *left, *right),
        (Value::Double(left), Value::Double(right)) => match operator {
            Binary::Add => Ok(Value::Double(left + right)),
            Binary::Subtract => Ok(Value::Double(left - right)),
            Binary::Multiply => Ok(Value::Double(left * right)),
            Binary::Divide => Ok(Value::Double(left / right)),
            _ => no_overload(),
        },
        _ if operator == Binary::Add => sum(left, right),
        (Value::Duration(left), Value::Duration(right)) if operator == Binary::Subtract => {
            duration(left.checked_sub(*right))
        }
        (Value::Timestamp(moment), Value::Duration(length)) if operator == Binary::Subtract => {
            timestamp(moment.checked_sub(SignedDuration::from_nanos(*length)))
        }
        (Value::Timestamp(left), Value::Timestamp(right)) if operator == Binary::Subtract => {
            let length = left.duration_since(*right).as_nanos();
            duration(i64::try_from(length).ok())
        }
        _ => no_overload(),
    }
}

fn whole<'a>(operator: Binary, left: i64, right: i64) -> Outcome<'a> {
    match operator {
        Binary::Add => int(left.checked_add(right)),
        Binary::Subtract => int(left.checked_sub(right)),
        Binary::Multiply => int(left.checked_mul(right)),
        Binary::Divide if right == 0 => Err("division by zero".to_owned()),
        Binary::Divide => int(left.checked_div(right)),
        Binary::Modulo if right == 0 => Err("modulus by zero".to_owned()),
        Binary::Modulo => int(left.checked_rem(right)),
        _ => no_overload(),
    }
}

fn unsigned<'a>(operator: Binary, left: u64, right: u64) -> Outcome<'a> {
    match operator {
        Binary::Add => uint(left.checked_add(right)),
        Binary::Subtract => uint(left.checked_sub(right)),
        Binary::Multiply => uint(left.checked_mul(right)),
        Binary::Divide if right == 0 => Err("division by zero".to_owned()),
        Binary::Divide => uint(left.checked_div(right)),
        Binary::Modulo if right == 0 => Err("modulus by zero".to_owned()),
        Binary::Modulo => uint(left.checked_rem(right)),
        _ => no_overload(),
    }
}

fn sum<'a>(left: &Value<'a>, right: &Value<'a>) -> Outcome<'a> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => Ok(Value::text(format!("{left}{right}"))),
        (Value::Bytes(left), Value::Bytes(right)) => Ok(Value::Bytes(
            [left.as_ref(), right.as_ref()].concat().into(),
        )),
        (Value::Duration(left), Value::Duration(right)) => duration(left.checked_add(*right)),
        (Value::Timestamp(moment), Value::Duration(length))
        | (Value::Duration(length), Value::Timestamp(moment)) => {
            timestamp(moment.checked_add(SignedDuration::from_nanos(*length)))
        }
        _ => match (left.elements(), right.elements()) {
            (Some(mut all), Some(more)) => {
                all.extend(more);
                Ok(Value::list(all))
            }
            _ => no_overload(),
        },
    }
}
