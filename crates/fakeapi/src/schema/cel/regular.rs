//! Regular expressions, compiled once each.
//!
//! Kubernetes uses RE2; the `regex` crate has the same syntax where schemas and rules use it and the
//! same promise of linear time. Differences not covered: `\C`, and classes by script names RE2 does
//! not know. What is done with a match does not belong here.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::Regex;

/// Patterns kept. Beyond this the memory is emptied: it saves time, it holds no truth.
const KEPT: usize = 1024;

static COMPILED: LazyLock<Mutex<BTreeMap<String, Regex>>> = LazyLock::new(Mutex::default);

/// The compiled pattern; a clone shares the program.
///
/// # Errors
///
/// Why the pattern is none.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    let mut known = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known.get(pattern) {
        return Ok(found.clone());
    }
    let compiled = Regex::new(pattern)
        .map_err(|reason| format!("error parsing regexp: {reason}: `{pattern}`"))?;
    if known.len() >= KEPT {
        known.clear();
    }
    known.insert(pattern.to_owned(), compiled.clone());
    Ok(compiled)
}
