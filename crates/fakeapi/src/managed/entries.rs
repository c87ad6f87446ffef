//! The entries of `metadata.managedFields`: whose they are, and how an ordinary write changes them.

use serde_json::{Map, Value};

use super::compare::{Difference, compare};
use super::fields::{self, Fields};
use super::shape::Shape;

/// Who writes, as an entry names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) manager: String,
    /// `Apply` or `Update`.
    pub(crate) operation: &'static str,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
    /// `metav1.Time`.
    pub(crate) now: String,
    /// Of a write to `/scale`.
    pub(crate) size: Option<Size>,
}

/// The size a Scale writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// The field it is in the object itself.
    pub(crate) field: Fields,
    /// It is 0, which a Scale leaves out: nobody can own it by one.
    pub(crate) left_out: bool,
}

impl Writer {
    /// Whether an entry is this writer's. The version counts for updates only.
    pub(crate) fn owns(&self, entry: &Value) -> bool {
        let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
        text("manager") == self.manager
            && text("operation") == self.operation
            && text("subresource") == self.subresource
            && (self.operation == "Apply" || text("apiVersion") == self.api_version)
    }

    /// An entry with these fields, written now.
    pub(crate) fn entry(&self, fields: Fields) -> Value {
        let mut entry = Map::new();
        entry.insert(
            "apiVersion".to_owned(),
            Value::from(self.api_version.clone()),
        );
        entry.insert("fieldsType".to_owned(), Value::from("FieldsV1"));
        entry.insert("fieldsV1".to_owned(), Value::Object(fields));
        entry.insert("manager".to_owned(), Value::from(self.manager.clone()));
        entry.insert("operation".to_owned(), Value::from(self.operation));
        if !self.subresource.is_empty() {
            entry.insert(
                "subresource".to_owned(),
                Value::from(self.subresource.clone()),
            );
        }
        entry.insert("time".to_owned(), Value::from(self.now.clone()));
        Value::Object(entry)
    }
}

/// Entries of updates beyond this many are put together.
const MOST_UPDATERS: usize = 10;
/// Under this name.
const OLD_UPDATERS: &str = "ancient-changes";

/// Brings the entries of `new` up to date with what it changes against `live` (or, for a new object,
/// against `blank`). What the writer says about the entries themselves counts as in the real server:
/// `[{}]` and `[]` end tracking, nothing at all means the live ones, anything else replaces them.
pub(crate) fn track_update(
    live: Option<&Value>,
    blank: &Value,
    new: &mut Value,
    shape: &Shape,
    writer: &Writer,
) {
    let stated = take(new);
    let current = || live.and_then(entries_of).unwrap_or_default();
    let mut entries = if !writer.subresource.is_empty() {
        current()
    } else if stated.as_ref().is_some_and(|stated| is_reset(stated)) {
        Vec::new()
    } else {
        stated
            .filter(|stated| !stated.is_empty() && stated.iter().all(is_valid))
            .unwrap_or_else(current)
    };
    if entries.is_empty() && live.is_some() {
        // Nobody tracks this object; only an apply begins again.
        return;
    }
    let difference = compare(live.unwrap_or(blank), new, shape);
    match &writer.size {
        // The Scale shows only who owns the size; if nobody does, it is an object that nobody tracks.
        Some(size) if !is_tracked(&entries, &size.field) => {}
        Some(size) if difference.is_empty() => set_apart(&mut entries, size),
        Some(size) if size.left_out => disown(&mut entries, &size.field, &Fields::new()),
        _ if difference.is_empty() => {}
        _ => update(&mut entries, &difference, writer),
    }
    put(new, entries);
}

/// What a Scale that changes nothing does to the entries of ordinary updates that own the size, as seen
/// of a kube-apiserver 1.34: the size gets an entry of its own, without a time; one that is nothing else
/// goes. Of two such writes in a row each changes the object.
fn set_apart(entries: &mut Vec<Value>, size: &Size) {
    let mut apart = Vec::new();
    entries.retain_mut(|entry| {
        let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
        if text("operation") != "Update" || !text("subresource").is_empty() {
            return true;
        }
        let Some(Value::Object(fields)) = entry.get_mut("fieldsV1") else {
            return true;
        };
        if !fields::intersects(fields, &size.field) {
            return true;
        }
        fields::subtract(fields, &size.field);
        if fields.is_empty() {
            return false;
        }
        let mut own = entry.clone();
        if let Some(own) = own.as_object_mut() {
            own.insert("fieldsV1".to_owned(), Value::Object(size.field.clone()));
            own.remove("time");
        }
        apart.push(own);
        true
    });
    entries.append(&mut apart);
    sort(entries);
}

/// Whether any entry owns something of these fields.
fn is_tracked(entries: &[Value], fields: &Fields) -> bool {
    entries
        .iter()
        .filter_map(|entry| entry.get("fieldsV1")?.as_object())
        .any(|owned| fields::intersects(owned, fields))
}

fn update(entries: &mut Vec<Value>, difference: &Difference, writer: &Writer) {
    let written = difference.written();
    disown(entries, &written, &difference.removed);
    if !written.is_empty() {
        let time = entries
            .iter()
            .find(|entry| writer.owns(entry))
            .and_then(|entry| entry.get("time").cloned());
        let mut own = entries
            .iter()
            .position(|entry| writer.owns(entry))
            .map(|index| entries.remove(index))
            .and_then(|mut entry| match entry.get_mut("fieldsV1")?.take() {
                Value::Object(fields) => Some(fields),
                _ => None,
            })
            .unwrap_or_default();
        fields::unite(&mut own, &written);
        let mut entry = writer.entry(own);
        if let (true, Some(entry)) = (writer.subresource == "scale", entry.as_object_mut()) {
            // On the way from the Scale to its object times get lost, but for one that was there.
            match time {
                Some(time) => entry.insert("time".to_owned(), time),
                None => entry.remove("time"),
            };
        }
        entries.push(entry);
        cap(entries);
    }
    sort(entries);
}

/// Takes fields that were written or removed from all entries; entries left without fields go.
pub(crate) fn disown(entries: &mut Vec<Value>, written: &Fields, removed: &Fields) {
    entries.retain_mut(|entry| {
        let Some(Value::Object(fields)) = entry.get_mut("fieldsV1") else {
            return false;
        };
        fields::subtract(fields, written);
        fields::subtract(fields, removed);
        !fields.is_empty()
    });
}

fn cap(entries: &mut Vec<Value>) {
    let text = |entry: &Value, field: &str| {
        entry
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let is_update = |entry: &Value| text(entry, "operation") == "Update";
    let mut updaters = entries.iter().filter(|entry| is_update(entry)).count();
    if updaters <= MOST_UPDATERS {
        return;
    }
    sort(entries);
    while updaters > MOST_UPDATERS {
        let mut oldest = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| is_update(entry));
        let (Some((first, _)), Some((second, _))) = (oldest.next(), oldest.next()) else {
            return;
        };
        let mut later = entries.remove(second);
        let earlier = entries.remove(first);
        if let (Some(Value::Object(into)), Some(from)) = (
            later.get_mut("fieldsV1"),
            earlier.get("fieldsV1").and_then(Value::as_object),
        ) {
            fields::unite(into, from);
        }
        if let Some(entry) = later.as_object_mut() {
            entry.insert("manager".to_owned(), Value::from(OLD_UPDATERS));
            entry.remove("subresource");
        }
        entries.insert(first, later);
        updaters -= 1;
    }
}

/// Applies first, then by time, manager, version and subresource.
pub(crate) fn sort(entries: &mut [Value]) {
    const ORDER: [&str; 5] = ["operation", "time", "manager", "apiVersion", "subresource"];
    entries.sort_by(|one, other| {
        let key = |entry: &Value| {
            ORDER.map(|field| {
                entry
                    .get(field)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            })
        };
        key(one).cmp(&key(other))
    });
}

/// The entries of an object.
pub(crate) fn entries_of(object: &Value) -> Option<Vec<Value>> {
    object
        .get("metadata")?
        .get("managedFields")?
        .as_array()
        .cloned()
}

/// Takes the entries out of an object.
pub(crate) fn take(object: &mut Value) -> Option<Vec<Value>> {
    match object
        .get_mut("metadata")?
        .as_object_mut()?
        .remove("managedFields")?
    {
        Value::Array(entries) => Some(entries),
        _ => None,
    }
}

/// Puts entries into an object; none leaves no field.
pub(crate) fn put(object: &mut Value, entries: Vec<Value>) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        if entries.is_empty() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".to_owned(), Value::Array(entries));
        }
    }
}

/// An empty list, or a single empty entry: whoever writes it wants the object untracked.
fn is_reset(entries: &[Value]) -> bool {
    match entries {
        [] => true,
        [Value::Object(entry)] => entry.values().all(Value::is_null),
        _ => false,
    }
}

fn is_valid(entry: &Value) -> bool {
    matches!(
        entry.get("operation").and_then(Value::as_str),
        Some("Apply" | "Update")
    ) && entry.get("fieldsType").and_then(Value::as_str) == Some("FieldsV1")
        && entry.get("fieldsV1").is_some_and(Value::is_object)
}

/// Whether two objects differ at most in the times of their entries and their resourceVersion: then
/// nothing was written.
pub(crate) fn same_but_for_times(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        return old == new;
    };
    same_but(old, new, &["metadata"])
        && match (old.get("metadata"), new.get("metadata")) {
            (Some(Value::Object(old)), Some(Value::Object(new))) => {
                same_but(old, new, &["managedFields", "resourceVersion"])
                    && same_entries(old.get("managedFields"), new.get("managedFields"))
            }
            (old, new) => old == new,
        }
}

fn same_but(old: &Map<String, Value>, new: &Map<String, Value>, but: &[&str]) -> bool {
    let compared = |name: &String| !but.contains(&name.as_str());
    old.iter()
        .all(|(name, value)| !compared(name) || new.get(name) == Some(value))
        && new
            .keys()
            .all(|name| !compared(name) || old.contains_key(name))
}

fn same_entries(old: Option<&Value>, new: Option<&Value>) -> bool {
    let (old, new) = (items(old), items(new));
    old.len() == new.len()
        && old
            .iter()
            .zip(new)
            .all(|(old, new)| match (old.as_object(), new.as_object()) {
                (Some(old), Some(new)) => same_but(old, new, &["time"]),
                _ => old == new,
            })
}

fn items(entries: Option<&Value>) -> &[Value] {
    entries.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
