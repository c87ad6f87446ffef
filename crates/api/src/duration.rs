//! Lengths of time as users write them: `90s`, `2m`, `1h30m`, `500ms`.
//!
//! Not for points in time.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time in whole milliseconds.
///
/// Text form: one or more of `<number><unit>` with unit `ms`, `s`, `m`, `h` or `d`; a bare number
/// means seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration {
    milliseconds: u64,
}

/// A text that is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a length of time: {why}; write for example 90s, 2m, 1h30m or 500ms")]
pub struct InvalidDuration {
    text: String,
    why: &'static str,
}

impl Duration {
    /// The longest length accepted, ten years: beyond it sums could not be represented as times.
    const LONGEST: u64 = 10 * 365 * 86_400_000;

    /// From whole seconds.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self {
            milliseconds: seconds.saturating_mul(1000),
        }
    }

    /// From whole milliseconds.
    #[must_use]
    pub const fn from_milliseconds(milliseconds: u64) -> Self {
        Self { milliseconds }
    }

    /// Whole milliseconds.
    #[must_use]
    pub const fn milliseconds(self) -> u64 {
        self.milliseconds
    }
}

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |why| InvalidDuration {
            text: text.to_owned(),
            why,
        };
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(fail("it is empty"));
        }
        if rest.bytes().all(|byte| byte.is_ascii_digit()) {
            let seconds: u64 = rest.parse().map_err(|_| fail("the number is too large"))?;
            return Self::bounded(seconds.saturating_mul(1000))
                .ok_or_else(|| fail("it is over ten years"));
        }
        let mut total = 0_u64;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let number: u64 = match number.parse() {
                Ok(number) => number,
                Err(_) if number.is_empty() => return Err(fail("a number is missing")),
                Err(_) => return Err(fail("the number is too large")),
            };
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            let factor = match unit {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(fail("the unit is none of ms, s, m, h, d")),
            };
            total = total.saturating_add(number.saturating_mul(factor));
            rest = tail;
        }
        Self::bounded(total).ok_or_else(|| fail("it is over ten years"))
    }
}

impl Duration {
    fn bounded(milliseconds: u64) -> Option<Self> {
        (milliseconds <= Self::LONGEST).then_some(Self { milliseconds })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.milliseconds == 0 {
            return formatter.write_str("0s");
        }
        let mut rest = self.milliseconds;
        for (unit, factor) in [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1000),
            ("ms", 1),
        ] {
            let count = rest / factor;
            rest %= factor;
            if count > 0 {
                write!(formatter, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 32,
            "pattern": "^([0-9]+|([0-9]+(ms|s|m|h|d))+)$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_the_usual_forms() {
        for (text, milliseconds, shown) in [
            ("90s", 90_000, "1m30s"),
            ("2m", 120_000, "2m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("500ms", 500, "500ms"),
            ("45", 45_000, "45s"),
            ("0s", 0, "0s"),
            ("24h", 86_400_000, "1d"),
        ] {
            let read: Duration = text.parse().unwrap();
            assert_eq!(read.milliseconds(), milliseconds, "{text}");
            assert_eq!(read.to_string(), shown, "{text}");
            assert_eq!(shown.parse::<Duration>().unwrap(), read, "{text}");
        }
    }

    #[test]
    fn names_what_is_wrong() {
        for (text, why) in [
            ("", "empty"),
            ("5 minutes", "unit"),
            ("m", "number is missing"),
            ("5w", "unit"),
            ("99999999999999999999s", "too large"),
            ("9000d", "ten years"),
        ] {
            let error = text.parse::<Duration>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
