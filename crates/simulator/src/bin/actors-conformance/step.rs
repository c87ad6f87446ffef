//! What one operation led to.

use serde_json::{Value, json};

use crate::course::Sizes;
use crate::operation::Operation;
use crate::state::State;

#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The answers' status codes and the state at rest, made comparable.
    pub outcome: Value,
    /// Why it does not look like rest.
    pub unrest: Option<String>,
}

impl Step {
    pub fn new(operation: &Operation, answers: &[u16], state: &State, sizes: &Sizes) -> Self {
        // While many pods change one after another, controllers go many ways to the same place.
        let none = Sizes::new();
        let sizes = match operation {
            Operation::AllReady | Operation::Pods { .. } => &none,
            _ => sizes,
        };
        let mut outcome = state.normal(sizes);
        outcome["answers"] = json!(answers);
        Self {
            outcome,
            unrest: state.unrest(),
        }
    }
}
