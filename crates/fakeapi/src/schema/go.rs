//! Whether an object can be decoded into the server's own types, in the words of Go.
//!
//! Only the fields people get wrong are known here. Validation of what was decoded belongs to
//! `builtin` and `validate`, the types of server-side apply to `typed`.

use crate::At;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::resource::ResourceType;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Text,
    Flag,
    Whole,
    WholeLong,
    Texts,
    Bytes,
    MicroTime,
}

/// A JSON pointer, the Go type that has the field, and what it holds.
pub(super) type Field = (&'static str, &'static str, Wanted);

const METADATA: &[Field] = &[
    ("/metadata/labels", "ObjectMeta", Wanted::Texts),
    ("/metadata/annotations", "ObjectMeta", Wanted::Texts),
];

const WORKLOAD: &[Field] = &[
    ("/spec/replicas", "Spec", Wanted::Whole),
    ("/spec/paused", "Spec", Wanted::Flag),
    ("/spec/minReadySeconds", "Spec", Wanted::Whole),
    ("/spec/revisionHistoryLimit", "Spec", Wanted::Whole),
    ("/spec/progressDeadlineSeconds", "Spec", Wanted::Whole),
    ("/spec/selector/matchLabels", "LabelSelector", Wanted::Texts),
    (
        "/spec/template/metadata/labels",
        "ObjectMeta",
        Wanted::Texts,
    ),
    (
        "/spec/template/metadata/annotations",
        "ObjectMeta",
        Wanted::Texts,
    ),
    ("/status/replicas", "Status", Wanted::Whole),
    ("/status/readyReplicas", "Status", Wanted::Whole),
    ("/status/availableReplicas", "Status", Wanted::Whole),
    ("/status/fullyLabeledReplicas", "Status", Wanted::Whole),
    ("/status/updatedReplicas", "Status", Wanted::Whole),
    ("/status/observedGeneration", "Status", Wanted::WholeLong),
];

/// The fields of a kind.
pub(super) fn fields(resource: &ResourceType) -> impl Iterator<Item = Field> + use<> {
    let own: &[Field] = match (resource.group.as_str(), resource.plural.as_str()) {
        ("apps", "deployments" | "replicasets") => WORKLOAD,
        ("", "configmaps") => &[
            ("/data", "ConfigMap", Wanted::Texts),
            ("/binaryData", "ConfigMap", Wanted::Bytes),
            ("/immutable", "ConfigMap", Wanted::Flag),
        ],
        ("", "secrets") => &[
            ("/data", "Secret", Wanted::Bytes),
            ("/stringData", "Secret", Wanted::Texts),
            ("/immutable", "Secret", Wanted::Flag),
        ],
        ("coordination.k8s.io", "leases") => &[
            ("/spec/holderIdentity", "Spec", Wanted::Text),
            ("/spec/leaseDurationSeconds", "Spec", Wanted::Whole),
            ("/spec/leaseTransitions", "Spec", Wanted::Whole),
            ("/spec/acquireTime", "Spec", Wanted::MicroTime),
            ("/spec/renewTime", "Spec", Wanted::MicroTime),
        ],
        _ => &[],
    };
    own.iter().chain(METADATA).copied()
}

/// What Go says of a document that is not of its type: of a value that its own code reads before all
/// others, else of what stands first.
pub(super) fn undecodable(resource: &ResourceType, object: &Value) -> Option<String> {
    mistakes(resource, object)
        .min_by_key(|(pointer, wanted, _)| (*wanted != Wanted::MicroTime, *pointer))
        .map(|(_, _, problem)| problem)
}

/// What Go says of an object that is not of its type, by the order of the type's fields.
pub(super) fn wrong(resource: &ResourceType, object: &Value) -> Option<String> {
    mistakes(resource, object)
        .next()
        .map(|(_, _, problem)| problem)
}

fn mistakes<'v>(
    resource: &'v ResourceType,
    object: &'v Value,
) -> impl Iterator<Item = (&'static str, Wanted, String)> + 'v {
    fields(resource).filter_map(|(pointer, owner, wanted)| {
        let value = object.at(pointer).filter(|value| !value.is_null())?;
        let owner = match owner {
            "Spec" | "Status" => format!("{}{owner}", resource.kind),
            other => other.to_owned(),
        };
        let shown = if resource.custom {
            pointer.trim_start_matches("/metadata")
        } else {
            pointer
        };
        let place = format!("{owner}{}", shown.replace('/', "."));
        Some((pointer, wanted, mistake(value, &place, wanted)?))
    })
}

fn mistake(value: &Value, place: &str, wanted: Wanted) -> Option<String> {
    let refuse = |found: &Value, kind: &str| {
        let found = match found {
            Value::Number(number) if kind.starts_with("int") => format!("number {number}"),
            other => go_kind(other).to_owned(),
        };
        Some(format!(
            "json: cannot unmarshal {found} into Go struct field {place} of type {kind}"
        ))
    };
    match (wanted, value) {
        (Wanted::Text, value) if !value.is_string() => refuse(value, "string"),
        (Wanted::Flag, value) if !value.is_boolean() => refuse(value, "bool"),
        (Wanted::Whole, value) => {
            let fits = value
                .as_i64()
                .is_some_and(|number| i32::try_from(number).is_ok());
            if fits { None } else { refuse(value, "int32") }
        }
        (Wanted::WholeLong, value) if value.as_i64().is_none() => refuse(value, "int64"),
        (Wanted::Texts, Value::Object(map)) => {
            let wrong = map
                .values()
                .find(|value| !value.is_string() && !value.is_null())?;
            refuse(wrong, "string")
        }
        (Wanted::Texts, value) => refuse(value, "map[string]string"),
        (Wanted::Bytes, Value::Object(map)) => map.values().find_map(|value| match value {
            Value::Null => None,
            Value::String(text) => base64_problem(text),
            other => refuse(other, "[]uint8"),
        }),
        (Wanted::Bytes, value) => refuse(value, "map[string][]uint8"),
        (Wanted::MicroTime, Value::String(text)) => micro_time(text),
        _ => None,
    }
}

fn base64_problem(text: &str) -> Option<String> {
    if STANDARD.decode(text).is_ok() {
        return None;
    }
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let place = text.bytes().take_while(|byte| good(byte)).count();
    Some(format!("illegal base64 data at input byte {place}"))
}

/// Times with exactly six digits behind the second.
fn micro_time(text: &str) -> Option<String> {
    const LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";
    let refuse = |rest: &str, part: &str| {
        Some(format!(
            "parsing time {text:?} as {LAYOUT:?}: cannot parse {rest:?} as {part:?}"
        ))
    };
    let Some((_, rest)) = text.split_at_checked(19) else {
        return refuse(text, "2006");
    };
    if !text.starts_with(|letter: char| letter.is_ascii_digit()) {
        return refuse(text, "2006");
    }
    let digits = rest
        .strip_prefix('.')
        .map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    if digits.is_none_or(|digits| digits < 6) {
        return refuse(rest, ".000000");
    }
    None
}

/// How Go names what it found.
pub(super) fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whether the server's scheme has such a kind in such a version, in any of its groups.
pub(crate) fn scheme_knows(api_version: &str, _kind: &str) -> bool {
    matches!(
        api_version,
        "v1" | "apps/v1"
            | "coordination.k8s.io/v1"
            | "discovery.k8s.io/v1"
            | "events.k8s.io/v1"
            | "policy/v1"
            | "networking.k8s.io/v1"
    )
}
