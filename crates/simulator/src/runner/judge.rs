//! What a result means beside its own violations: the faulty run of a scenario must end as the calm one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Done, Item, pool};
use crate::json::differences;
use crate::scenario;
use crate::trace::lock;

/// Ends of the calm runs, by scenario.
#[derive(Clone, Debug, Default)]
pub struct Calm(BTreeMap<String, Value>);

impl Calm {
    /// Runs every comparable scenario, or only this one, once without faults. Returns those that
    /// failed, too.
    #[must_use]
    pub fn runs(jobs: usize, only: Option<&str>) -> (Self, Vec<Done>) {
        let items = scenario::all()
            .iter()
            .filter(|scenario| only.is_none_or(|only| only == scenario.name))
            .map(|scenario| Item {
                quiet: Some(60),
                ..Item::calm(scenario.name)
            })
            .collect();
        let found = std::sync::Mutex::new((Self::default(), Vec::new()));
        pool::run(items, jobs, |done| {
            let mut found = lock(&found);
            if done.violations.is_empty() {
                found.0.0.insert(done.scenario.clone(), done.ending);
            } else {
                found.1.push(done);
            }
            true
        });
        found.into_inner().unwrap_or_default()
    }

    /// Adds a violation to a result whose end differs from the calm one.
    pub fn compare(&self, done: &mut Done) {
        let comparable =
            scenario::named(&done.scenario).is_some_and(|scenario| scenario.comparable);
        if !comparable || !done.violations.is_empty() {
            return;
        }
        if let Some(calm) = self.0.get(&done.scenario) {
            let different = differences(calm, &done.ending);
            if !different.is_empty() {
                let what = format!(
                    "it ends otherwise than the calm run: {}",
                    different.join("; ")
                );
                done.violations.push(("differential".to_owned(), what));
            }
        }
    }
}
