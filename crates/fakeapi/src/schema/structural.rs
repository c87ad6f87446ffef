//! Structural schemas of CustomResourceDefinitions, compiled: a tree to prune, default and validate by.
//!
//! What is done with the tree is in `shape`, `validate` and `rules`.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use super::cel::regular;
use super::field::{Causes, Path};
use super::rules::Rule;

/// `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    Text,
    Integer,
    Number,
    Boolean,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Object => "object",
            Kind::Array => "array",
            Kind::Text => "string",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Kind::Object,
            "array" => Kind::Array,
            "string" => Kind::Text,
            "integer" => Kind::Integer,
            "number" => Kind::Number,
            "boolean" => Kind::Boolean,
            _ => return None,
        })
    }
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListType {
    Atomic,
    Set,
    /// With the keys that tell elements apart.
    Map(Vec<String>),
}

/// One schema and what is below it.
#[derive(Debug)]
pub(crate) struct Node {
    pub kind: Option<Kind>,
    pub nullable: bool,
    pub int_or_string: bool,
    pub preserve_unknown: bool,
    /// A whole object inside: apiVersion, kind and metadata need no declaration.
    pub embedded: bool,
    pub default: Option<Value>,
    pub properties: BTreeMap<String, Node>,
    pub additional: Option<Box<Node>>,
    /// `additionalProperties: true`.
    pub any_additional: bool,
    pub items: Option<Box<Node>>,
    pub list: ListType,
    pub map_is_atomic: bool,
    pub checks: Checks,
    pub rules: Vec<Rule>,
    /// Whether this or anything below has rules.
    pub has_rules: bool,
    /// Whether this or anything below is a list of type set or map.
    pub has_list_types: bool,
}

/// What a value has to satisfy beyond its type.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub enumeration: Vec<Value>,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub multiple_of: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub pattern: Option<Regex>,
    pub format: Option<String>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    pub required: Vec<String>,
    pub one_of: Vec<Node>,
    pub any_of: Vec<Node>,
    pub all_of: Vec<Node>,
    pub not: Option<Box<Node>>,
}

/// Compiles a schema. `nested`: below a junctor (`oneOf`, …), where a type is not required.
///
/// What is not structural is added to `causes`; the node is then not to be used.
pub(crate) fn compile(schema: &Value, path: &Path<'_>, nested: bool, causes: &mut Causes) -> Node {
    let empty = Map::new();
    let map = schema.as_object().unwrap_or(&empty);
    let flag = |name: &str| map.get(name).and_then(Value::as_bool).unwrap_or(false);
    let name = map.get("type").and_then(Value::as_str).unwrap_or_default();
    let int_or_string = flag("x-kubernetes-int-or-string");
    let preserve_unknown = flag("x-kubernetes-preserve-unknown-fields");
    let embedded = flag("x-kubernetes-embedded-resource");
    let kind = Kind::parse(name);
    if !nested && !int_or_string && !preserve_unknown && name.is_empty() {
        causes.required(
            path.child("type"),
            "must not be empty for specified object fields",
        );
    } else if !name.is_empty() && kind.is_none() {
        causes.not_supported(
            path.child("type"),
            &Value::from(name),
            ["array", "boolean", "integer", "number", "object", "string"],
        );
    }
    if int_or_string && !name.is_empty() {
        causes.invalid(
            path.child("type"),
            &Value::from(name),
            "must be empty if x-kubernetes-int-or-string is true",
        );
    }
    let properties_path = path.child("properties");
    let properties = map
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, inner)| {
            let inner = compile(inner, &properties_path.key(name), nested, causes);
            (name.clone(), inner)
        })
        .collect::<BTreeMap<_, _>>();
    let additional_schema = map.get("additionalProperties");
    let additional = additional_schema
        .filter(|schema| schema.is_object())
        .map(|inner| {
            let path = path.child("additionalProperties");
            Box::new(compile(inner, &path, nested, causes))
        });
    let items = map.get("items").map(|inner| {
        let path = path.child("items");
        Box::new(compile(inner, &path, nested, causes))
    });
    if !nested && kind == Some(Kind::Array) && items.is_none() {
        causes.required(path.child("items"), "must be specified");
    }
    let list = list_type(map, path, causes);
    let rules = super::rules::compile(map.get("x-kubernetes-validations"), path, causes);
    let checks = checks(map, path, causes);
    let below = || {
        properties
            .values()
            .chain(additional.as_deref())
            .chain(items.as_deref())
    };
    let has_rules = !rules.is_empty()
        || below().any(|node| node.has_rules)
        || checks.all_of.iter().any(|node| node.has_rules);
    let has_list_types = list != ListType::Atomic || below().any(|node| node.has_list_types);
    Node {
        kind,
        nullable: flag("nullable"),
        int_or_string,
        preserve_unknown,
        embedded,
        default: map.get("default").cloned(),
        any_additional: additional_schema == Some(&Value::Bool(true)),
        map_is_atomic: map.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic"),
        properties,
        additional,
        items,
        list,
        checks,
        rules,
        has_rules,
        has_list_types,
    }
}

fn list_type(map: &Map<String, Value>, path: &Path<'_>, causes: &mut Causes) -> ListType {
    let keys: Vec<String> = texts(map.get("x-kubernetes-list-map-keys"));
    let name = map.get("x-kubernetes-list-type").and_then(Value::as_str);
    match name {
        None | Some("atomic") => ListType::Atomic,
        Some("set") => ListType::Set,
        Some("map") if keys.is_empty() => {
            causes.required(
                path.child("x-kubernetes-list-map-keys"),
                "must not be empty if x-kubernetes-list-type is map",
            );
            ListType::Atomic
        }
        Some("map") => ListType::Map(keys),
        Some(other) => {
            causes.not_supported(
                path.child("x-kubernetes-list-type"),
                &Value::from(other),
                ["atomic", "set", "map"],
            );
            ListType::Atomic
        }
    }
}

fn texts(list: Option<&Value>) -> Vec<String> {
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}

fn checks(map: &Map<String, Value>, path: &Path<'_>, causes: &mut Causes) -> Checks {
    let flag = |name: &str| map.get(name).and_then(Value::as_bool).unwrap_or(false);
    let number = |name: &str| map.get(name).and_then(Value::as_f64);
    let count = |name: &str| map.get(name).and_then(Value::as_u64);
    let mut nested = |name: &str| -> Vec<Node> {
        let junctor = path.child(name);
        map.get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .enumerate()
            .map(|(place, inner)| compile(inner, &junctor.index(place), true, causes))
            .collect()
    };
    let (one_of, any_of, all_of) = (nested("oneOf"), nested("anyOf"), nested("allOf"));
    let not = map
        .get("not")
        .map(|inner| Box::new(compile(inner, &path.child("not"), true, causes)));
    let pattern = map.get("pattern").and_then(Value::as_str);
    let compiled = pattern.and_then(|pattern| match regular::compile(pattern) {
        Ok(compiled) => Some(compiled),
        Err(reason) => {
            let detail = format!("must be a valid regular expression, but isn't: {reason}");
            causes.invalid(path.child("pattern"), &Value::from(pattern), &detail);
            None
        }
    });
    if flag("uniqueItems") {
        causes.forbidden(
            path.child("uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        );
    }
    Checks {
        enumeration: map
            .get("enum")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default(),
        minimum: number("minimum"),
        exclusive_minimum: flag("exclusiveMinimum"),
        maximum: number("maximum"),
        exclusive_maximum: flag("exclusiveMaximum"),
        multiple_of: number("multipleOf"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        pattern: compiled,
        format: map.get("format").and_then(Value::as_str).map(str::to_owned),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        required: texts(map.get("required")),
        one_of,
        any_of,
        all_of,
        not,
    }
}
