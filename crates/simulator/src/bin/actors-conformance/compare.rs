//! What differs between two outcomes, and which differences are accepted with which reason. Plays nothing.

use serde_json::Value;

use crate::operation::Operation;
use crate::step::Step;

/// One place where they differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    pub path: String,
    /// `None`: not there.
    pub fake: Option<Value>,
    pub real: Option<Value>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |value: &Option<Value>| {
            value
                .as_ref()
                .map_or_else(|| "(absent)".to_owned(), Value::to_string)
        };
        write!(
            formatter,
            "{}\n      actors: {}\n      real:   {}",
            self.path,
            show(&self.fake),
            show(&self.real)
        )
    }
}

/// A difference that is known and stays.
#[derive(Debug)]
pub struct Accepted {
    pub reason: &'static str,
    pub matches: fn(&Operation, &Difference) -> bool,
}

/// As few as possible, because each hides others.
pub const ACCEPTED: &[Accepted] = &[];

/// What differs between the actors' outcome and the real one.
pub fn differences(fake: &Step, real: &Step) -> Vec<Difference> {
    let mut found = Vec::new();
    walk("", Some(&fake.outcome), Some(&real.outcome), &mut found);
    found
}

/// Index of the entry that accepts it.
pub fn accepted(operation: &Operation, difference: &Difference) -> Option<usize> {
    ACCEPTED
        .iter()
        .position(|entry| (entry.matches)(operation, difference))
}

fn walk(path: &str, fake: Option<&Value>, real: Option<&Value>, found: &mut Vec<Difference>) {
    if fake == real {
        return;
    }
    match (fake, real) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                walk(
                    &format!("{path}/{name}"),
                    one.get(name),
                    other.get(name),
                    found,
                );
            }
        }
        _ => found.push(Difference {
            path: path.to_owned(),
            fake: fake.cloned(),
            real: real.cloned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_difference_is_named_where_it_is() {
        let step = |outcome| Step {
            outcome,
            unrest: None,
        };
        let found = differences(
            &step(json!({"a": {"b": 1}, "c": [1], "d": null})),
            &step(json!({"a": {"b": 2}, "c": [1], "e": 1})),
        );
        let paths: Vec<&str> = found
            .iter()
            .map(|difference| difference.path.as_str())
            .collect();
        assert_eq!(paths, ["/a/b", "/d", "/e"]);
    }
}
