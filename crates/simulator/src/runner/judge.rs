//! What a result means beside its own violations: the faulty run of a scenario must end as the calm one.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::Value;

use super::{Done, Item, pool};
use crate::json::differences;
use crate::scenario;
use crate::trace::lock;

/// Seconds of quiet after a calm run that is only compared with.
const QUIET: u64 = 60;

/// Ends of the calm runs by scenario, each run when it is first asked for; an error is what a calm run
/// violates itself.
#[derive(Debug, Default)]
pub struct Calm(Mutex<BTreeMap<String, Result<Value, String>>>);

impl Calm {
    /// Takes a calm run that was made anyway for the one to compare with.
    pub fn know(&self, done: &Done) {
        lock(&self.0).insert(done.scenario.clone(), end(done));
    }

    fn of(&self, scenario: &str) -> Result<Value, String> {
        let mut known = lock(&self.0);
        let made = || {
            end(&pool::single(Item {
                quiet: Some(QUIET),
                ..Item::calm(scenario)
            }))
        };
        known
            .entry(scenario.to_owned())
            .or_insert_with(made)
            .clone()
    }

    /// Adds a violation to a result whose end differs from the calm one.
    pub fn compare(&self, done: &mut Done) {
        let comparable =
            scenario::named(&done.scenario).is_some_and(|scenario| scenario.comparable);
        if !comparable || !done.violations.is_empty() {
            return;
        }
        let what = match self.of(&done.scenario) {
            Ok(calm) => {
                let different = differences(&calm, &done.ending);
                if different.is_empty() {
                    return;
                }
                format!(
                    "it ends otherwise than the calm run: {}",
                    different.join("; ")
                )
            }
            Err(violations) => format!("the calm run fails: {violations}"),
        };
        done.violations.push(("differential".to_owned(), what));
    }
}

fn end(done: &Done) -> Result<Value, String> {
    if done.violations.is_empty() {
        return Ok(done.ending.clone());
    }
    let words = done.violations.iter().map(|(_, words)| words.as_str());
    Err(words.collect::<Vec<_>>().join("; "))
}
