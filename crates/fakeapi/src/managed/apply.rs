//! Server-side apply: what the object becomes, who owns what then, and whom that would rob.

use serde_json::{Map, Value, json};

use super::compare::{all_fields, compare};
use super::entries::{self, Writer};
use super::fields::{self, Fields};
use super::merge;
use super::shape::Shape;
use crate::error::StatusError;

/// The manager of everything an object had when it was first applied to without being tracked.
const BEFORE: &str = "before-first-apply";

/// A configuration somebody applies.
pub(crate) struct Stated<'a> {
    /// All of it.
    pub(crate) whole: &'a Value,
    /// What of it this endpoint takes.
    pub(crate) config: &'a Value,
    /// Fields of other endpoints, which nobody can own by this one.
    pub(crate) foreign: &'a [&'a str],
}

/// What an apply made.
pub(crate) struct Applied {
    pub(crate) object: Value,
    /// What was stated is not what is there, whether this endpoint takes it or not.
    pub(crate) differs: bool,
    /// An empty list or map stands in the metadata now where nothing stood.
    pub(crate) hollow: bool,
}

/// The live object with a configuration applied to it, entries included. Without `force`, fields that other managers own and that would get
/// another value are conflicts (409); with it they change hands.
pub(crate) fn apply(
    live: Option<&Value>,
    blank: &Value,
    stated: &Stated<'_>,
    shape: &Shape,
    writer: &Writer,
    force: bool,
) -> Result<Applied, StatusError> {
    let config = stated.config;
    let nothing = json!({ "metadata": {} });
    let mut base = live.unwrap_or(&nothing).clone();
    let mut current = entries::take(&mut base).unwrap_or_default();
    if current.is_empty() && live.is_some() {
        let mut untracked = base.clone();
        for field in stated.foreign {
            untracked.as_object_mut().map(|map| map.remove(*field));
        }
        let before = Writer {
            manager: BEFORE.to_owned(),
            operation: "Update",
            ..writer.clone()
        };
        entries::track_update(None, blank, &mut untracked, shape, &before);
        current = entries::take(&mut untracked).unwrap_or_default();
    }
    let mut declared = all_fields(config, shape);
    drop_empty_metadata(&mut declared);
    let mut last_time = None;
    let mut last = Fields::new();
    current.retain(|entry| {
        if !writer.owns(entry) {
            return true;
        }
        last_time = entry.get("time").cloned();
        last = entry
            .get("fieldsV1")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        false
    });
    let mut merged = merge::merge(&base, config, shape);
    if !last.is_empty() {
        let mut owned = declared.clone();
        // Every configuration has its name there.
        owned.entry("f:metadata").or_insert_with(|| json!({}));
        for entry in &current {
            if let Some(fields) = entry.get("fieldsV1").and_then(Value::as_object) {
                fields::unite(&mut owned, fields);
            }
        }
        merge::prune(&mut merged, &last, &owned, shape);
    }
    let difference = compare(&base, &merged, shape);
    let written = difference.written();
    if !force {
        refuse_conflicts(&current, &written)?;
    }
    entries::disown(&mut current, &written, &difference.removed);
    let differs = !difference.is_empty()
        || merged != base
        || merge::merge(&base, stated.whole, shape) != base;
    let known = base.get("metadata");
    let hollow = config
        .get("metadata")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(name, _)| known.is_none_or(|known| known.get(name.as_str()).is_none()))
        .any(|(_, value)| match value {
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        });
    if !declared.is_empty() {
        let mut own = writer.entry(declared);
        // Nothing changed: the time stays, and one that comes to share fields has none.
        if let (false, Some(own)) = (differs, own.as_object_mut()) {
            match last_time {
                Some(time) => own.insert("time".to_owned(), time),
                None => own.remove("time"),
            };
        }
        current.push(own);
    }
    entries::sort(&mut current);
    entries::put(&mut merged, current);
    Ok(Applied {
        object: merged,
        differs,
        hollow,
    })
}

/// `metadata: {}` left after its own fields were set aside is nothing anybody owns.
fn drop_empty_metadata(fields: &mut Fields) {
    if fields
        .get("f:metadata")
        .and_then(Value::as_object)
        .is_some_and(Map::is_empty)
    {
        fields.remove("f:metadata");
    }
}

fn refuse_conflicts(others: &[Value], written: &Fields) -> Result<(), StatusError> {
    if written.is_empty() {
        return Ok(());
    }
    let mut conflicts: Vec<(String, Vec<String>)> = Vec::new();
    for entry in others {
        let Some(owned) = entry.get("fieldsV1").and_then(Value::as_object) else {
            continue;
        };
        if !fields::intersects(owned, written) {
            continue;
        }
        let mut paths = Vec::new();
        fields::each_in_both(owned, written, &mut Vec::new(), &mut |path| {
            paths.push(fields::display(path));
        });
        conflicts.push((describe(entry), paths));
    }
    conflicts.sort();
    let count: usize = conflicts.iter().map(|(_, paths)| paths.len()).sum();
    if count == 0 {
        return Ok(());
    }
    let text = if let (1, Some((manager, paths))) = (count, conflicts.first()) {
        format!("conflict with {manager}: {}", paths.concat())
    } else {
        let groups: Vec<String> = conflicts
            .iter()
            .map(|(manager, paths)| format!("conflicts with {manager}:\n- {}", paths.join("\n- ")))
            .collect();
        groups.join("\n")
    };
    let plural = if count == 1 { "" } else { "s" };
    let causes: Vec<Value> = conflicts
        .iter()
        .flat_map(|(manager, paths)| {
            paths.iter().map(move |path| {
                json!({
                    "reason": "FieldManagerConflict",
                    "message": format!("conflict with {manager}"),
                    "field": path,
                })
            })
        })
        .collect();
    Err(StatusError::new(
        409,
        "Conflict",
        format!("Apply failed with {count} conflict{plural}: {text}"),
    )
    .with_details(json!({ "causes": causes })))
}

fn describe(entry: &Value) -> String {
    let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
    let mut description = format!("{:?}", text("manager"));
    if !text("subresource").is_empty() {
        description.push_str(&format!(" with subresource {:?}", text("subresource")));
    }
    if text("operation") == "Update" {
        description.push_str(&format!(" using {}", text("apiVersion")));
    }
    description
}
