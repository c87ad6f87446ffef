//! Data on stdout as JSON, YAML or names.
//!
//! The form of `-o json` is the object as the API server has it, without managedFields and without
//! `status.memory`, which is the controller's own and changes between versions.

use std::io::Write;

use serde::Serialize;
use serde_json::{Value, json};

use crate::args::Format;
use crate::exit::Failure;

/// A Rollout as printed.
pub fn rollout(rollout: &crossfade_api::Rollout) -> Result<Value, Failure> {
    let mut value =
        serde_json::to_value(rollout).map_err(|error| Failure::new(error.to_string()))?;
    if let Some(status) = value["status"].as_object_mut() {
        status.remove("memory");
    }
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    Ok(value)
}

/// Several, as kubectl prints them.
pub fn list(items: Vec<Value>) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// Prints one value.
pub fn print(value: &Value, format: Format) -> Result<(), Failure> {
    let text = match format {
        Format::Json => {
            serde_json::to_string_pretty(value).map_err(|error| Failure::new(error.to_string()))?
        }
        Format::Yaml => yaml(value)?,
        Format::Name => match value["items"].as_array() {
            Some(items) => items.iter().map(name).collect::<Vec<_>>().join("\n"),
            None => name(value),
        },
    };
    say(&text)
}

/// `kind.group/name`.
fn name(value: &Value) -> String {
    let kind = value["kind"].as_str().unwrap_or_default().to_lowercase();
    let group = value["apiVersion"]
        .as_str()
        .and_then(|version| version.split_once('/'))
        .map(|(group, _)| format!(".{group}"));
    format!(
        "{kind}{}/{}",
        group.unwrap_or_default(),
        value["metadata"]["name"].as_str().unwrap_or_default()
    )
}

/// YAML without the last line break.
pub fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_saphyr::to_string(value).map_err(|error| Failure::new(error.to_string()))?;
    Ok(text.trim_end().to_owned())
}

/// One text and a line break to stdout. A reader that went away, such as `head`, is no error.
pub fn say(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}
