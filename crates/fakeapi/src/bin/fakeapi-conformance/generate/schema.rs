//! Values for custom kinds, drawn from their structural schemas: mostly what the schema takes, at times
//! what it must refuse. Knows no kind.

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::random::Random;

/// Texts tried against patterns; the first drawn that fits is taken.
const TEXTS: &[&str] = &[
    "a",
    "web",
    "5m",
    "30s",
    "10",
    "1h30m",
    "0",
    "x-y",
    "A_b",
    "http_requests_total",
    "https://a.b/c",
    "/metrics",
    "5..",
    "",
    "10%",
    "2001-01-01T00:00:00Z",
    "main",
    "b.example.com",
];

/// A value for a schema.
pub fn value(schema: &Value, random: &mut Random) -> Value {
    if random.chance(1) {
        return random
            .pick(&[
                json!("x"),
                json!(5),
                json!(null),
                json!({ "a": 1 }),
                json!([1]),
                json!(true),
                json!(1.5),
            ])
            .cloned()
            .unwrap_or_default();
    }
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        return match random.chance(3) {
            true => json!("nonsense"),
            false => random.pick(choices).cloned().unwrap_or_default(),
        };
    }
    if schema.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
        return random
            .pick(&[json!(5), json!("10%")])
            .cloned()
            .unwrap_or_default();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => object(schema, random),
        Some("array") => array(schema, random),
        Some("string") => Value::String(text(schema, random)),
        Some("integer") => number(schema, random),
        Some("number") => match random.chance(30) {
            true => json!(0.25),
            false => number(schema, random),
        },
        Some("boolean") => json!(random.chance(50)),
        _ => json!({ "x": { "y": 1 } }),
    }
}

/// An object with some of its properties, required ones nearly always.
fn object(schema: &Value, random: &mut Random) -> Value {
    let mut made = Map::new();
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        // Few of many: rules like "exactly one of" are then sometimes kept.
        let percent = 160 / properties.len().max(4);
        for (name, schema) in properties {
            let wanted = if required.contains(&name.as_str()) {
                98
            } else {
                percent
            };
            if random.chance(wanted) {
                made.insert(name.clone(), value(schema, random));
            }
        }
    }
    if let Some(inner) = schema
        .get("additionalProperties")
        .filter(|inner| inner.is_object())
    {
        for name in ["a", "b"] {
            if random.chance(50) {
                made.insert(name.to_owned(), value(inner, random));
            }
        }
    } else if random.chance(3) {
        made.insert("unknown".to_owned(), json!({ "x": 1 }));
    }
    Value::Object(made)
}

fn array(schema: &Value, random: &mut Random) -> Value {
    let bound = |name: &str, otherwise: u64| {
        schema
            .get(name)
            .and_then(Value::as_u64)
            .unwrap_or(otherwise)
    };
    let least = bound("minItems", 0);
    let most = bound("maxItems", 3).min(least + 3);
    let spread = usize::try_from(most.saturating_sub(least)).unwrap_or(0);
    let mut length = usize::try_from(least).unwrap_or(0) + random.below(spread + 1);
    if random.chance(3) {
        length = length.saturating_sub(1);
    }
    let empty = json!({});
    let items = schema.get("items").unwrap_or(&empty);
    (0..length).map(|_| value(items, random)).collect()
}

fn text(schema: &Value, random: &mut Random) -> String {
    let pattern = schema
        .get("pattern")
        .and_then(Value::as_str)
        .and_then(|pattern| Regex::new(pattern).ok());
    let length = |name: &str| schema.get(name).and_then(Value::as_u64);
    let mut drawn = random.text(TEXTS);
    if random.chance(4) {
        return drawn.to_owned();
    }
    for _ in 0..30 {
        let characters = drawn.chars().count() as u64;
        let fits = pattern
            .as_ref()
            .is_none_or(|pattern| pattern.is_match(drawn))
            && length("minLength").is_none_or(|least| characters >= least)
            && length("maxLength").is_none_or(|most| characters <= most);
        if fits {
            break;
        }
        drawn = random.text(TEXTS);
    }
    drawn.to_owned()
}

fn number(schema: &Value, random: &mut Random) -> Value {
    let bound = |name: &str| {
        schema.get(name).and_then(|bound| {
            bound
                .as_i64()
                .or_else(|| bound.as_f64().map(|float| float as i64))
        })
    };
    let least = bound("minimum").unwrap_or(0);
    let most = bound("maximum").unwrap_or(least + 100);
    match random.below(20) {
        0 => json!(least - 1),
        1 => json!(most.saturating_add(1)),
        2 => json!(most),
        3 => json!(least),
        _ => {
            let spread = usize::try_from(most.saturating_sub(least))
                .unwrap_or(0)
                .min(200);
            json!(least + i64::try_from(random.below(spread + 1)).unwrap_or(0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_values_keep_the_schema() {
        let schema = json!({
            "type": "object", "required": ["weight"],
            "properties": { "weight": { "type": "integer", "minimum": 1, "maximum": 9 }, "for": { "type": "string", "pattern": "^[0-9]+m$" } },
        });
        let mut random = Random::new(1);
        let kept = (0..1000)
            .map(|_| value(&schema, &mut random))
            .filter(|made| {
                made["weight"]
                    .as_i64()
                    .is_some_and(|weight| (1..=9).contains(&weight))
            })
            .count();
        assert!((750..990).contains(&kept), "{kept}");
    }
}
