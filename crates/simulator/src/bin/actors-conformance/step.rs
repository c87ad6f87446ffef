//! What one operation led to.

use serde_json::{Value, json};

use crate::state::State;

#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The answers' status codes and the state at rest, made comparable.
    pub outcome: Value,
    /// Why it does not look like rest.
    pub unrest: Option<String>,
}

impl Step {
    pub fn new(answers: Vec<u16>, state: &State) -> Self {
        let mut outcome = state.normal();
        outcome["answers"] = json!(answers);
        Self {
            outcome,
            unrest: state.unrest(),
        }
    }
}
