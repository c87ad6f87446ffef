//! Durations and points in time as Go and the CEL libraries read and write them.
//!
//! Which field holds a duration does not belong here.

const SECOND: i64 = 1_000_000_000;

/// Units of Go's `time.ParseDuration` (<https://pkg.go.dev/time#ParseDuration>), in nanoseconds.
const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
];

/// Nanoseconds of a Go duration such as `1h30m` or `-1.5s`; None if it is none or too long.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at(digits);
        let unit_length = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, after) = tail.split_at(unit_length);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, *scale)?)?;
        rest = after;
    }
    Some(if negative { -total } else { total })
}

/// A decimal number of units, in nanoseconds, the rest below one cut off.
fn scaled(number: &str, scale: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut total = whole.checked_mul(scale)?;
    let mut unit = scale;
    for digit in fraction.bytes().map(|byte| i64::from(byte - b'0')) {
        unit /= 10;
        total = total.checked_add(unit * digit)?;
    }
    Some(total)
}

/// A duration as CEL's `string()` writes it: seconds.
pub(super) fn seconds_text(nanoseconds: i64) -> String {
    let fraction = (nanoseconds % SECOND).unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let whole = (nanoseconds / SECOND).unsigned_abs();
    if fraction == 0 {
        return format!("{sign}{whole}s");
    }
    let digits = format!("{fraction:09}");
    format!("{sign}{whole}.{}s", digits.trim_end_matches('0'))
}
