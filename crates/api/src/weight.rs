//! Shares of traffic in percent with two decimals.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A share of traffic, kept in basis points (hundredths of a percent), 0 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Weight {
    basis_points: u32,
}

/// A value that is not a share of traffic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a weight: write a percentage from 0 to 100 with at most two decimals, for example 5 or 12.5"
)]
pub struct InvalidWeight(String);

impl Weight {
    /// Nothing.
    pub const ZERO: Self = Self { basis_points: 0 };
    /// Everything.
    pub const FULL: Self = Self {
        basis_points: 10_000,
    };

    /// From basis points; none above 10,000.
    #[must_use]
    pub const fn from_basis_points(basis_points: u32) -> Option<Self> {
        if basis_points <= 10_000 {
            Some(Self { basis_points })
        } else {
            None
        }
    }

    /// The share `part / whole`, rounded to the nearest basis point; nothing when `whole` is 0.
    #[must_use]
    pub fn share(part: u32, whole: u32) -> Self {
        if whole == 0 {
            return Self::ZERO;
        }
        let points =
            (u64::from(part.min(whole)) * 10_000 + u64::from(whole) / 2) / u64::from(whole);
        Self {
            basis_points: u32::try_from(points).unwrap_or(10_000),
        }
    }

    /// Hundredths of a percent.
    #[must_use]
    pub const fn basis_points(self) -> u32 {
        self.basis_points
    }
}

impl FromStr for Weight {
    type Err = InvalidWeight;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || InvalidWeight(text.to_owned());
        let bare = text.trim();
        let bare = bare.strip_suffix('%').unwrap_or(bare).trim_end();
        let (whole, fraction) = bare.split_once('.').unwrap_or((bare, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty()
            || whole.len() > 3
            || fraction.len() > 2
            || !digits(whole)
            || !digits(fraction)
        {
            return Err(fail());
        }
        let hundredths: u32 = format!("{fraction:0<2}").parse().map_err(|_| fail())?;
        let whole: u32 = whole.parse().map_err(|_| fail())?;
        Self::from_basis_points(whole * 100 + hundredths).ok_or_else(fail)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, hundredths) = (self.basis_points / 100, self.basis_points % 100);
        if hundredths == 0 {
            write!(formatter, "{whole}%")
        } else if hundredths % 10 == 0 {
            write!(formatter, "{whole}.{}%", hundredths / 10)
        } else {
            write!(formatter, "{whole}.{hundredths:02}%")
        }
    }
}

impl Serialize for Weight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.basis_points.is_multiple_of(100) {
            serializer.serialize_u32(self.basis_points / 100)
        } else {
            serializer.serialize_f64(f64::from(self.basis_points) / 100.0)
        }
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        let points = number * 100.0;
        let nearest = points.round();
        // Two decimals in binary are never exact: anything within a millionth of a basis point is meant.
        if !(0.0..=10_000.0).contains(&nearest) || (points - nearest).abs() > 1e-6 {
            return Err(serde::de::Error::custom(InvalidWeight(number.to_string())));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to lie in 0..=10000 just above"
        )]
        let basis_points = nearest as u32;
        Ok(Self { basis_points })
    }
}

impl JsonSchema for Weight {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Weight".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0.0, "maximum": 100.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_percentages_with_two_decimals() {
        for (text, points) in [
            ("5%", 500),
            ("12.5", 1250),
            ("0.01%", 1),
            ("100", 10_000),
            ("0", 0),
        ] {
            assert_eq!(
                text.parse::<Weight>().unwrap().basis_points(),
                points,
                "{text}"
            );
        }
        for text in ["", "%", "101", "5.001", "-1", "5,5", "five"] {
            assert!(text.parse::<Weight>().is_err(), "{text}");
        }
    }

    #[test]
    fn survives_json() {
        for points in 0..=10_000 {
            let weight = Weight::from_basis_points(points).unwrap();
            let json = serde_json::to_string(&weight).unwrap();
            assert_eq!(
                serde_json::from_str::<Weight>(&json).unwrap(),
                weight,
                "{json}"
            );
        }
        assert!(serde_json::from_str::<Weight>("5.001").is_err());
        assert!(serde_json::from_str::<Weight>("100.01").is_err());
    }

    #[test]
    fn share_rounds_to_the_nearest_basis_point() {
        assert_eq!(Weight::share(1, 3).basis_points(), 3333);
        assert_eq!(Weight::share(2, 3).basis_points(), 6667);
        assert_eq!(Weight::share(0, 0).basis_points(), 0);
    }
}
