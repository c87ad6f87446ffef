//! Which values of the code label are errors: `5..`, `500|503`, `5..|429`.
//!
//! A language of three signs instead of regular expressions: what a status code needs, no way to make it slow, and nothing to
//! escape. Always compared with the whole value, as Prometheus does. Does not belong here: where the label is.

use std::fmt;

/// Longest pattern taken, in characters.
const LONGEST: usize = 256;

/// Alternatives separated by `|`; in each, `.` stands for any one character and ASCII letters, digits, `_` and `-` for
/// themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// A pattern outside the language.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{field}: {value:?} is not a pattern of codes: {problem}. Use letters, digits, '.' for any one character and '|' between \
     alternatives, for example \"5..\" or \"500|503\""
)]
pub struct PatternError {
    /// The field it came from.
    pub field: String,
    /// What was written.
    pub value: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Pattern {
    /// Reads a pattern; `field` is named in the error.
    ///
    /// # Errors
    /// An empty alternative, a sign outside the language, or more than 256 characters.
    pub fn new(field: &str, value: &str) -> Result<Self, PatternError> {
        let refuse = |problem: String| {
            Err(PatternError {
                field: field.to_owned(),
                value: value.to_owned(),
                problem,
            })
        };
        if value.chars().count() > LONGEST {
            return refuse(format!("it is longer than {LONGEST} characters"));
        }
        let foreign = |char: char| !(char.is_ascii_alphanumeric() || "._-|".contains(char));
        if let Some(char) = value.chars().find(|&char| foreign(char)) {
            return refuse(format!("{char:?} has no meaning"));
        }
        if value.split('|').any(str::is_empty) {
            return refuse("an alternative is empty".to_owned());
        }
        Ok(Self(value.to_owned()))
    }

    /// Whether the whole value is one of the alternatives.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        self.0.split('|').any(|alternative| {
            let mut chars = value.chars();
            alternative.chars().all(|wanted| {
                chars
                    .next()
                    .is_some_and(|char| wanted == '.' || wanted == char)
            }) && chars.next().is_none()
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_whole_values() {
        let pattern = Pattern::new("errors", "5..|429|Internal").unwrap();
        for code in ["500", "599", "429", "Internal", "5xx"] {
            assert!(pattern.matches(code), "{code}");
        }
        for code in ["200", "50", "5000", "", "1500", "internal", "42"] {
            assert!(!pattern.matches(code), "{code}");
        }
    }

    #[test]
    fn refuses_with_field_value_and_mend() {
        let refused = |value: &str| {
            Pattern::new("spec.analysis.pods.errors", value)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused("5[0-9]+"),
            "spec.analysis.pods.errors: \"5[0-9]+\" is not a pattern of codes: '[' has no meaning. Use letters, digits, '.' \
             for any one character and '|' between alternatives, for example \"5..\" or \"500|503\""
        );
        assert!(refused("").contains("an alternative is empty"));
        assert!(refused("5..|").contains("an alternative is empty"));
        assert!(refused(&"5".repeat(300)).contains("longer than 256"));
    }
}
