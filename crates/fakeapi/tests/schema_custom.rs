//! Custom kinds: pruning, defaults, structural validation and rules, with the messages of
//! kube-apiserver 1.34.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at the first thing that is wrong"
)]

mod common;

use common::*;
use crossfade_fakeapi::Reply;
use serde_json::{Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A definition of widgets whose `spec` has the given schema.
fn definition(spec: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "widgets.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "kind": "Widget", "plural": "widgets" },
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                    "spec": spec,
                    "status": { "type": "object", "properties": {
                        "phase": { "type": "string", "enum": ["Idle", "Busy"] },
                    } },
                } } },
            }],
        },
    })
}

/// `spec` is an object with these properties and further keywords.
fn object(properties: Value, more: Value) -> Value {
    let mut schema = json!({ "type": "object", "properties": properties });
    for (key, value) in more.as_object().unwrap() {
        schema[key] = value.clone();
    }
    schema
}

async fn with(properties: Value, more: Value) -> World {
    let world = World::new();
    world
        .create(DEFINITIONS, definition(object(properties, more)))
        .await;
    world
}

/// `field: message` of each cause.
fn causes(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 422, "{}", reply.body);
    reply.body["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| {
            format!(
                "{}: {}",
                cause["field"].as_str().unwrap_or_default(),
                cause["message"].as_str().unwrap()
            )
        })
        .collect()
}

async fn refused(world: &World, spec: Value) -> Vec<String> {
    causes(&world.post(WIDGETS, widget("w", spec)).await)
}

#[tokio::test]
async fn unknown_fields_go_defaults_come_and_nulls_are_dropped() {
    let properties = json!({
        "a": { "type": "string", "default": "x" },
        "b": { "type": "object", "default": {}, "properties": {
            "c": { "type": "integer", "default": 3 } } },
        "list": { "type": "array", "items": { "type": "object", "properties": {
            "n": { "type": "integer", "default": 1 } } } },
        "any": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
        "map": { "type": "object", "additionalProperties": { "type": "string" } },
        "nullable": { "type": "string", "nullable": true },
        "embedded": { "type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true },
    });
    let world = with(properties, json!({})).await;
    let sent = json!({
        "a": null, "z": 1, "list": [{ "zz": 1 }, { "n": 5 }], "any": { "q": { "r": 1 } },
        "map": { "k": "v" }, "nullable": null,
        "embedded": { "apiVersion": "v1", "kind": "X", "metadata": { "name": "e" }, "extra": 1 },
    });
    let stored = world.create(WIDGETS, widget("w", sent)).await;
    assert_eq!(
        stored["spec"],
        json!({
            "a": "x", "b": { "c": 3 }, "list": [{ "n": 1 }, { "n": 5 }], "any": { "q": { "r": 1 } },
            "map": { "k": "v" }, "nullable": null,
            "embedded": { "apiVersion": "v1", "kind": "X", "metadata": { "name": "e" }, "extra": 1 },
        })
    );
}

#[tokio::test]
async fn values_out_of_bounds_are_named_with_their_path() {
    let properties = json!({
        "steps": { "type": "array", "minItems": 1, "maxItems": 2, "items": {
            "type": "object", "required": ["name"], "properties": {
                "name": { "type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$" },
                "weight": { "type": "integer", "minimum": 0, "maximum": 100 } } } },
        "mode": { "type": "string", "enum": ["canary", "blueGreen"] },
        "share": { "type": "number", "minimum": 0, "exclusiveMinimum": true, "multipleOf": 0.5 },
        "at": { "type": "string", "format": "date-time" },
        "wait": { "type": "string", "format": "duration" },
        "port": { "x-kubernetes-int-or-string": true },
        "tags": { "type": "object", "minProperties": 1, "maxProperties": 1,
            "additionalProperties": { "type": "string" } },
        "flag": { "type": "boolean" },
    });
    let world = with(properties, json!({})).await;
    for (spec, expected) in [
        (
            json!({ "steps": [{ "name": "ab", "weight": 101 }] }),
            "spec.steps[0].weight: Invalid value: 101: spec.steps[0].weight in body should be less than or equal to 100",
        ),
        (
            json!({ "steps": [{ "name": "ab", "weight": -1 }] }),
            "spec.steps[0].weight: Invalid value: -1: spec.steps[0].weight in body should be greater than or equal to 0",
        ),
        (
            json!({ "steps": [{ "name": "ab", "weight": "5" }] }),
            "spec.steps[0].weight: Invalid value: \"string\": spec.steps[0].weight in body must be of type integer: \"string\"",
        ),
        (
            json!({ "steps": [{ "name": "ab", "weight": 1.5 }] }),
            "spec.steps[0].weight: Invalid value: \"number\": spec.steps[0].weight in body must be of type integer: \"number\"",
        ),
        (
            json!({ "steps": [{ "name": "a" }] }),
            "spec.steps[0].name: Invalid value: \"a\": spec.steps[0].name in body should be at least 2 chars long",
        ),
        (
            json!({ "steps": [{ "name": "abcde" }] }),
            "spec.steps[0].name: Too long: may not be more than 4 bytes",
        ),
        (
            json!({ "steps": [{ "name": "A\"" }] }),
            "spec.steps[0].name: Invalid value: \"A\\\"\": spec.steps[0].name in body should match '^[a-z]+$'",
        ),
        (
            json!({ "steps": [{ "weight": 1 }] }),
            "spec.steps[0].name: Required value",
        ),
        (
            json!({ "steps": [] }),
            "spec.steps: Invalid value: 0: spec.steps in body should have at least 1 items",
        ),
        (
            json!({ "steps": [{ "name": "ab" }, { "name": "ab" }, { "name": "ab" }] }),
            "spec.steps: Too many: 3: must have at most 2 items",
        ),
        (
            json!({ "mode": "red" }),
            "spec.mode: Unsupported value: \"red\": supported values: \"canary\", \"blueGreen\"",
        ),
        (
            json!({ "share": 0 }),
            "spec.share: Invalid value: 0: spec.share in body should be greater than 0",
        ),
        (
            json!({ "share": 1.2 }),
            "spec.share: Invalid value: 1.2: spec.share in body should be a multiple of 0.5",
        ),
        (
            json!({ "at": "yesterday" }),
            "spec.at: Invalid value: \"yesterday\": spec.at in body must be of type date-time: \"yesterday\"",
        ),
        (
            json!({ "wait": "soon" }),
            "spec.wait: Invalid value: \"soon\": spec.wait in body must be of type duration: \"soon\"",
        ),
        (
            json!({ "port": true }),
            "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
        ),
        (
            json!({ "tags": {} }),
            "spec.tags: Invalid value: 0: spec.tags in body should have at least 1 properties",
        ),
        (
            json!({ "tags": { "a": "1", "b": "2" } }),
            "spec.tags: Too many: 2: must have at most 1 item",
        ),
        (
            json!({ "tags": { "a": 1 } }),
            "spec.tags.a: Invalid value: \"integer\": spec.tags.a in body must be of type string: \"integer\"",
        ),
        (
            json!({ "flag": {} }),
            "spec.flag: Invalid value: \"object\": spec.flag in body must be of type boolean: \"object\"",
        ),
    ] {
        assert_eq!(refused(&world, spec).await, [expected]);
    }
    for spec in [
        json!({ "at": "2026-01-02T03:04:05Z", "wait": "1h30m", "port": "http" }),
        json!({ "at": "2026-01-02t03:04:05.123+01:00", "wait": "3 days", "port": 80, "share": 1 }),
    ] {
        let path = format!("{WIDGETS}?dryRun=All");
        assert_eq!(world.post(path, widget("w", spec)).await.status, 201);
    }
}

#[tokio::test]
async fn the_whole_answer_of_a_refusal() {
    let world = with(
        json!({ "a": { "type": "integer" }, "b": { "type": "string" } }),
        json!({ "required": ["b"] }),
    )
    .await;
    let reply = world.post(WIDGETS, widget("w", json!({ "a": "x" }))).await;
    assert_eq!(
        reply.body,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "Widget.example.com \"w\" is invalid: [spec.a: Invalid value: \"string\": spec.a in body must be of type integer: \"string\", spec.b: Required value]",
            "reason": "Invalid",
            "details": {
                "name": "w", "group": "example.com", "kind": "Widget",
                "causes": [
                    { "reason": "FieldValueTypeInvalid", "field": "spec.a",
                      "message": "Invalid value: \"string\": spec.a in body must be of type integer: \"string\"" },
                    { "reason": "FieldValueRequired", "field": "spec.b", "message": "Required value" },
                ],
            },
            "code": 422,
        })
    );
}

#[tokio::test]
async fn alternatives_are_reported_at_the_object_with_what_the_first_of_them_misses() {
    let properties = json!({ "a": { "type": "string" }, "b": { "type": "string" } });
    let either = json!([{ "required": ["a"] }, { "required": ["b"] }]);
    let world = with(properties.clone(), json!({ "oneOf": either })).await;
    assert_eq!(
        refused(&world, json!({})).await,
        [
            "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found none valid",
            "spec.a: Required value"
        ]
    );
    assert_eq!(
        refused(&world, json!({ "a": "1", "b": "2" })).await,
        [
            "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found 2 valid alternatives"
        ]
    );
    let world = with(properties.clone(), json!({ "anyOf": either })).await;
    assert_eq!(
        refused(&world, json!({})).await,
        [
            "<nil>: Invalid value: \"\": \"spec\" must validate at least one schema (anyOf)",
            "spec.a: Required value"
        ]
    );
    let world = with(properties, json!({ "not": { "required": ["a", "b"] } })).await;
    assert_eq!(
        refused(&world, json!({ "a": "1", "b": "2" })).await,
        ["<nil>: Invalid value: \"\": \"spec\" must not validate the schema (not)"]
    );
    world
        .create(WIDGETS, widget("w", json!({ "a": "1" })))
        .await;
}

#[tokio::test]
async fn sets_and_maps_have_each_element_once() {
    let world = World::new();
    world.define_widgets().await;
    let spec = json!({ "tags": ["a", "b", "a", "a"], "parts": [{ "name": "x" }, { "name": "x", "weight": 1 }] });
    assert_eq!(
        refused(&world, spec).await,
        [
            "spec.parts[1]: Duplicate value: {\"name\":\"x\"}",
            "spec.tags[2]: Duplicate value: \"a\""
        ]
    );
}

#[tokio::test]
async fn rules_hold_at_their_place_with_message_reason_and_path() {
    let properties = json!({
        "min": { "type": "integer" }, "max": { "type": "integer" },
        "name": { "type": "string" },
        "steps": { "type": "array", "items": { "type": "object",
            "properties": { "weight": { "type": "integer" }, "match": { "type": "string" } },
            "x-kubernetes-validations": [
                { "rule": "has(self.weight) != has(self.match)", "message": "exactly one of weight and match" }] } },
    });
    let rules = json!({ "x-kubernetes-validations": [
        { "rule": "!has(self.max) || self.min <= self.max",
          "messageExpression": "'%d is more than %d'.format([self.min, self.max])", "fieldPath": ".min" },
        { "rule": "!has(self.name) || self.name.startsWith('w-')", "reason": "FieldValueForbidden", "message": "no" },
        { "rule": "self.min < 100" },
    ] });
    let world = with(properties, rules).await;
    assert_eq!(
        refused(&world, json!({ "min": 3, "max": 2 })).await,
        ["spec.min: Invalid value: \"object\": 3 is more than 2"]
    );
    assert_eq!(
        refused(&world, json!({ "min": 1, "name": "x" })).await,
        ["spec: Forbidden: no"]
    );
    assert_eq!(
        refused(&world, json!({ "min": 200 })).await,
        ["spec: Invalid value: \"object\": failed rule: self.min < 100"]
    );
    assert_eq!(
        refused(&world, json!({})).await,
        ["spec: Invalid value: \"object\": no such key: min evaluating rule: self.min < 100"]
    );
    assert_eq!(
        refused(&world, json!({ "min": 1, "steps": [{ "weight": 1 }, {}] })).await,
        ["spec.steps[1]: Invalid value: \"object\": exactly one of weight and match"]
    );
    // A wrong type keeps rules from being asked at all.
    assert_eq!(
        refused(&world, json!({ "min": "x" })).await,
        [
            "spec.min: Invalid value: \"string\": spec.min in body must be of type integer: \"string\"",
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"
        ]
    );
}

#[tokio::test]
async fn transition_rules_count_for_updates_only() {
    let properties = json!({
        "fixed": { "type": "string", "x-kubernetes-validations": [
            { "rule": "self == oldSelf", "message": "is set once" }] },
        "phase": { "type": "string", "x-kubernetes-validations": [
            { "rule": "oldSelf.hasValue() || self == 'new'", "optionalOldSelf": true, "message": "begins new" }] },
    });
    let world = with(properties, json!({})).await;
    assert_eq!(
        refused(&world, json!({ "phase": "old" })).await,
        ["spec.phase: Invalid value: \"string\": begins new"]
    );
    world
        .create(
            WIDGETS,
            widget("w", json!({ "fixed": "a", "phase": "new" })),
        )
        .await;
    let path = format!("{WIDGETS}/w");
    let moved = world
        .merge(&path, json!({ "spec": { "phase": "old" } }))
        .await;
    assert_eq!(moved.status, 200, "{}", moved.body);
    let changed = world
        .merge(&path, json!({ "spec": { "fixed": "b" } }))
        .await;
    assert_eq!(
        causes(&changed),
        ["spec.fixed: Invalid value: \"string\": is set once"]
    );
    // Taken away there is nothing the rule stands at; then it is new again.
    let gone = world
        .merge(&path, json!({ "spec": { "fixed": null } }))
        .await;
    assert_eq!(gone.status, 200);
    let again = world
        .merge(&path, json!({ "spec": { "fixed": "b" } }))
        .await;
    assert_eq!(again.status, 200);
}

#[tokio::test]
async fn what_was_wrong_before_the_rule_came_may_stay_unless_it_changes() {
    let world = with(
        json!({ "a": { "type": "integer" }, "b": { "type": "string" } }),
        json!({}),
    )
    .await;
    world
        .create(WIDGETS, widget("w", json!({ "a": 500, "b": "x" })))
        .await;
    let mut stricter = definition(object(
        json!({ "a": { "type": "integer", "maximum": 100 },
                "b": { "type": "string", "x-kubernetes-validations": [{ "rule": "self != 'x'" }] } }),
        json!({}),
    ));
    let name = format!("{DEFINITIONS}/widgets.example.com");
    stricter["metadata"]["resourceVersion"] =
        world.get(&name).await.body["metadata"]["resourceVersion"].clone();
    assert_eq!(world.put(&name, stricter).await.status, 200);
    let path = format!("{WIDGETS}/w");
    let labelled = world
        .merge(&path, json!({ "metadata": { "labels": { "l": "1" } } }))
        .await;
    assert_eq!(labelled.status, 200, "{}", labelled.body);
    let other = world.merge(&path, json!({ "spec": { "a": 501 } })).await;
    assert_eq!(
        causes(&other),
        ["spec.a: Invalid value: 501: spec.a in body should be less than or equal to 100"]
    );
    assert_eq!(refused(&world, json!({ "b": "x" })).await.len(), 1);
}

#[tokio::test]
async fn a_status_is_checked_alone_and_its_messages_do_not_name_it() {
    let world = with(json!({ "a": { "type": "integer" } }), json!({})).await;
    world.create(WIDGETS, widget("w", json!({}))).await;
    let reply = world
        .merge(
            format!("{WIDGETS}/w/status"),
            json!({ "status": { "phase": "Lost" } }),
        )
        .await;
    assert_eq!(
        causes(&reply),
        ["status.phase: Unsupported value: \"Lost\": supported values: \"Idle\", \"Busy\""]
    );
    let reply = world
        .merge(
            format!("{WIDGETS}/w/status"),
            json!({ "status": { "phase": 7 } }),
        )
        .await;
    assert_eq!(
        causes(&reply)[0],
        "status.phase: Invalid value: \"integer\": phase in body must be of type string: \"integer\""
    );
}

#[tokio::test]
async fn definitions_that_are_not_structural_are_refused() {
    let world = World::new();
    let refuse = async |spec: Value| causes(&world.post(DEFINITIONS, definition(spec)).await);
    let base = "spec.versions[0].schema.openAPIV3Schema.properties[spec]";
    assert_eq!(
        refuse(json!({ "type": "object", "properties": { "a": {} } })).await,
        [format!(
            "{base}.properties[a].type: Required value: must not be empty for specified object fields"
        )]
    );
    assert_eq!(
        refuse(json!({ "type": "array" })).await,
        [format!("{base}.items: Required value: must be specified")]
    );
    let broken =
        refuse(json!({ "type": "object", "x-kubernetes-validations": [{ "rule": "self.a ==" }] }))
            .await;
    assert_eq!(broken.len(), 1);
    assert!(broken[0].starts_with(&format!(
        "{base}.x-kubernetes-validations[0].rule: Invalid value: "
    )));
    assert!(broken[0].contains("compilation failed: ERROR: <input>:1:10: Syntax error"));
    let unknown = refuse(json!({ "type": "object", "x-kubernetes-validations": [{ "rule": "quantity('1') == self" }] })).await;
    assert!(
        unknown[0].contains("undeclared reference to 'quantity'"),
        "{unknown:?}"
    );
    let mut misnamed = definition(json!({ "type": "object" }));
    misnamed["metadata"]["name"] = json!("widget.example.com");
    assert_eq!(
        causes(&world.post(DEFINITIONS, misnamed).await),
        [
            "metadata.name: Invalid value: \"widget.example.com\": must be spec.names.plural+\".\"+spec.group"
        ]
    );
    // Nothing of it is served.
    assert_eq!(world.get(WIDGETS).await.status, 404);
}
