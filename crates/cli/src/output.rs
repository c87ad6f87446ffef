//! Data on stdout as JSON, YAML or names.
//!
//! The form of `-o json` is the object as the API server has it, without managedFields and without
//! `status.memory`, which is the controller's own and changes between versions.

use std::io::Write;

use serde::Serialize;
use serde_json::{Value, json};

use crate::args::Format;
use crate::exit::{Exit, Failure};
use crate::rollout::Rollout;

/// A Rollout as printed.
pub fn rollout(rollout: &Rollout) -> Value {
    let mut value = rollout.raw().clone();
    if let Some(status) = value["status"].as_object_mut() {
        status.remove("memory");
    }
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    value
}

/// Several, as kubectl prints them.
pub fn list(items: Vec<Value>) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// Prints what was done to a Rollout: its name as `rollout.crossfade.dev/web`, or the record of it.
pub fn done(rollout: &str, record: &impl Serialize, format: Option<Format>) -> Result<(), Failure> {
    match format {
        None => Ok(()),
        Some(Format::Name) => say(&format!("rollout.crossfade.dev/{rollout}")),
        Some(format) => {
            let record = serde_json::to_value(record);
            print(
                &record.map_err(|error| Failure::new(error.to_string()))?,
                format,
            )
        }
    }
}

/// Prints an object as the API server has it, without managedFields.
pub fn object(mut object: Value, format: Option<Format>) -> Result<(), Failure> {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    format.map_or(Ok(()), |format| print(&object, format))
}

/// Prints one value.
pub fn print(value: &Value, format: Format) -> Result<(), Failure> {
    say(&text(value, format)?)
}

/// Prints one of several that come one after the other.
pub fn print_one_of(value: &Value, format: Format, first: bool) -> Result<(), Failure> {
    say(&one_of(value, format, first)?)
}

fn one_of(value: &Value, format: Format, first: bool) -> Result<String, Failure> {
    let text = text(value, format)?;
    // Documents of YAML without a line between them are one document with each field twice.
    Ok(match format {
        Format::Yaml if !first => format!("---\n{text}"),
        _ => text,
    })
}

fn text(value: &Value, format: Format) -> Result<String, Failure> {
    match format {
        Format::Json => {
            serde_json::to_string_pretty(value).map_err(|error| Failure::new(error.to_string()))
        }
        Format::Yaml => yaml(value),
        Format::Name => match value["items"].as_array() {
            Some(items) => Ok(items
                .iter()
                .map(name)
                .collect::<Result<Vec<_>, _>>()?
                .join("\n")),
            None => name(value),
        },
    }
}

/// `kind.group/name`. Most of what is no object has no name: nothing is better than a lone slash.
fn name(value: &Value) -> Result<String, Failure> {
    let (Some(kind), Some(name)) = (value["kind"].as_str(), value["metadata"]["name"].as_str())
    else {
        return Err(Failure::new("what is asked for has no name")
            .next("write -o json or -o yaml")
            .exit(Exit::Usage));
    };
    let group = value["apiVersion"]
        .as_str()
        .and_then(|version| version.split_once('/'))
        .map(|(group, _)| format!(".{group}"));
    Ok(format!(
        "{}{}/{name}",
        kind.to_lowercase(),
        group.unwrap_or_default()
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubectl_and_never_a_lone_slash() {
        let named = |version: &str, kind: &str| json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "web" } });
        let rollout = named("crossfade.dev/v1alpha1", "Rollout");
        let name = |value: &Value| text(value, Format::Name);
        assert_eq!(name(&rollout).unwrap(), "rollout.crossfade.dev/web");
        assert_eq!(
            name(&named("apps/v1", "Deployment")).unwrap(),
            "deployment.apps/web"
        );
        assert_eq!(name(&named("v1", "Service")).unwrap(), "service/web");
        assert_eq!(
            name(&list(vec![rollout.clone(), rollout])).unwrap(),
            "rollout.crossfade.dev/web\nrollout.crossfade.dev/web"
        );
        for nameless in [
            json!([]),
            json!({ "outcome": "promoted" }),
            json!([{ "candidate": "c" }]),
        ] {
            let failure = name(&nameless).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.to_string().contains("-o json"), "{failure}");
        }
    }

    #[test]
    fn what_follows_in_yaml_is_a_document_of_its_own() {
        let states = [json!({ "phase": "Warm" }), json!({ "phase": "Idle" })];
        let printed = |format: Format| {
            let one = |(index, state)| one_of(state, format, index == 0).unwrap();
            let all: Vec<String> = states.iter().enumerate().map(one).collect();
            all.join("\n")
        };
        let read: Vec<Value> = serde_saphyr::from_multiple(&printed(Format::Yaml)).unwrap();
        assert_eq!(read, states);
        assert!(!printed(Format::Json).contains("---"));
    }

    #[test]
    fn records_are_printed_with_the_fields_of_the_status() {
        let handled = crossfade_api::ControlStatus {
            id: "1".to_owned(),
            action: "pause".to_owned(),
            outcome: "done".to_owned(),
            ..crossfade_api::ControlStatus::default()
        };
        let value = serde_json::to_value(handled).unwrap();
        let yaml = text(&value, Format::Yaml).unwrap();
        assert!(
            yaml.contains("action: pause") && yaml.contains("outcome: done"),
            "{yaml}"
        );
        assert!(
            text(&value, Format::Json)
                .unwrap()
                .contains("\"action\": \"pause\"")
        );
    }
}
