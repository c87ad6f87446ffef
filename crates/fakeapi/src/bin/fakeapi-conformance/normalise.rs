//! Makes answers of two servers comparable: what a server invents (uids, resourceVersions, times,
//! addresses, random parts of names) becomes a symbol by order of appearance, so that equal things stay
//! equal and different ones different. Nothing else is touched.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Map, Value, json};

use crate::script::FOREIGN_UID;

/// A pattern known to be right; one that is not stops the program at its first use, in every run.
#[allow(
    clippy::expect_used,
    reason = "the patterns are constants of this file, tested below"
)]
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

static UID: LazyLock<Regex> =
    LazyLock::new(|| pattern("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"));
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b10\.96\.[0-9]+\.[0-9]+\b"));
static TIME: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"\b202[3-9]-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})")
});
/// The real server writes times of Go into some messages.
static GO_TIME: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\b202[3-9]-[0-9]{2}-[0-9]{2} [0-9:]{8}(\.[0-9]+)? [+-][0-9]{4} [A-Z]+( m=[+-][0-9.]+)?",
    )
});
/// Each generated name of a script has its own prefix, so the random part needs no number.
static GENERATED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\b(gen-[0-9]+-)[bcdfghjklmnpqrstvwxz2456789]{5}\b"));
static VERSION_IN_TEXT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(resource ?version[^:=(]*[:=] ?|current: |requested: |object meta: |precondition \(|record \()([0-9]+)\b",
    )
});

/// The symbols of one side in one script.
#[derive(Clone, Debug, Default)]
pub struct Normaliser {
    namespace: String,
    symbols: BTreeMap<&'static str, BTreeMap<String, usize>>,
}

impl Normaliser {
    pub fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            symbols: BTreeMap::new(),
        }
    }

    fn symbol(&mut self, what: &'static str, value: &str) -> String {
        let known = self.symbols.entry(what).or_default();
        let next = known.len() + 1;
        let number = *known.entry(value.to_owned()).or_insert(next);
        format!("<{what} {number}>")
    }

    /// A whole answer: an object, a list, a Status or the event of a watch.
    pub fn answer(&mut self, body: &Value) -> Value {
        let mut body = body.clone();
        // These move with whatever else is written in the cluster.
        if body.get("items").is_some() {
            mask(&mut body, "/metadata/resourceVersion", "<list>");
            mask(&mut body, "/metadata/continue", "<continue>");
        }
        order(&mut body);
        if body.get("type").and_then(Value::as_str) == Some("BOOKMARK") {
            mask(&mut body, "/object/metadata/resourceVersion", "<list>");
        }
        self.value("", &body)
    }

    fn value(&mut self, key: &str, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(match key {
                "resourceVersion" if !matches!(text.as_str(), "" | "0" | "<list>") => {
                    self.symbol("version", text)
                }
                _ => self.text(text),
            }),
            Value::Number(number) if key == "nodePort" || key == "healthCheckNodePort" => {
                Value::String(self.symbol("port", &number.to_string()))
            }
            Value::Array(items) => {
                let mut items: Vec<Value> =
                    items.iter().map(|item| self.value(key, item)).collect();
                if key == "managedFields" {
                    // The real order follows the clock, by the second.
                    items.sort_by_key(|entry| {
                        ["operation", "manager", "apiVersion", "subresource"].map(|field| {
                            entry
                                .get(field)
                                .and_then(Value::as_str)
                                .unwrap_or_default()
                                .to_owned()
                        })
                    });
                }
                Value::Array(items)
            }
            Value::Object(fields) => {
                // By name, metadata first: both sides then meet new values in the same order.
                let mut normal = Map::new();
                for (name, value) in fields {
                    let value = self.value(name, value);
                    normal.insert(self.text(name), value);
                }
                Value::Object(normal)
            }
            other => other.clone(),
        }
    }

    /// A text of an answer.
    pub fn text(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        if !self.namespace.is_empty() {
            text = text.replace(&self.namespace, "{ns}");
        }
        text = self.replace(&UID, text, |own, found| {
            if found == FOREIGN_UID {
                found.to_owned()
            } else {
                own.symbol("uid", found)
            }
        });
        text = self.replace(&ADDRESS, text, |own, found| own.symbol("address", found));
        text = self.replace(&TIME, text, |_, _| "<time>".to_owned());
        text = self.replace(&GO_TIME, text, |_, _| "<time>".to_owned());
        text = GENERATED.replace_all(&text, "${1}<random>").into_owned();
        VERSION_IN_TEXT
            .replace_all(&text.clone(), |captures: &Captures<'_>| {
                let (before, version) = (&captures[1], &captures[2]);
                if matches!(version, "0" | "1") {
                    format!("{before}{version}")
                } else {
                    format!("{before}{}", self.symbol("version", version))
                }
            })
            .into_owned()
    }

    fn replace(
        &mut self,
        pattern: &Regex,
        text: String,
        with: impl Fn(&mut Self, &str) -> String,
    ) -> String {
        if !pattern.is_match(&text) {
            return text;
        }
        pattern
            .replace_all(&text, |captures: &Captures<'_>| with(self, &captures[0]))
            .into_owned()
    }
}

/// The real server walks maps in no fixed order, so what is wrong comes in another one each time: causes and
/// what a message says of them are sorted.
fn order(body: &mut Value) {
    let texts: Vec<String> = body
        .pointer("/details/causes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|cause| {
            let text = |field: &str| cause.get(field).and_then(Value::as_str).unwrap_or_default();
            match text("field") {
                "" => text("message").to_owned(),
                field => format!("{field}: {}", text("message")),
            }
        })
        .collect();
    if let Some(Value::Array(causes)) = body.pointer_mut("/details/causes") {
        causes.sort_by_key(Value::to_string);
    }
    let Some(Value::String(message)) = body.get_mut("message") else {
        return;
    };
    if let Some((head, listed)) = message.split_once(" is invalid: [") {
        let mut once: Vec<String> = Vec::new();
        for text in texts {
            if !once.contains(&text) {
                once.push(text);
            }
        }
        // Only a message that says just that.
        if listed == format!("{}]", once.join(", ")) {
            once.sort();
            *message = format!("{head} is invalid: [{}]", once.join(", "));
        }
    } else if let Some((head, listed)) = message.split_once(": errors:\n") {
        let mut lines: Vec<&str> = listed.split('\n').collect();
        lines.sort_unstable();
        *message = format!("{head}: errors:\n{}", lines.join("\n"));
    } else if message.starts_with("Apply failed with ") {
        let mut lines: Vec<&str> = message.split('\n').collect();
        // Below each manager its fields.
        let mut begin = 1;
        while begin < lines.len() {
            let end = lines[begin..]
                .iter()
                .position(|line| !line.starts_with("- "))
                .map_or(lines.len(), |length| begin + length);
            lines[begin..end].sort_unstable();
            begin = end + 1;
        }
        *message = lines.join("\n");
    }
}

fn mask(body: &mut Value, pointer: &str, symbol: &str) {
    if let Some(value) = body.pointer_mut(pointer)
        && value.as_str().is_some_and(|text| !text.is_empty())
    {
        *value = json!(symbol);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_things_stay_equal_and_different_ones_different() {
        let mut one = Normaliser::new("conf-1");
        let mut other = Normaliser::new("conf-1");
        let body = |uid: char, version: &str| {
            let uid = format!("{}-0000-4000-8000-000000000000", uid.to_string().repeat(8));
            json!({ "metadata": { "uid": uid, "resourceVersion": version, "namespace": "conf-1" } })
        };
        assert_eq!(one.answer(&body('a', "5")), other.answer(&body('b', "77")));
        assert_eq!(one.answer(&body('a', "6")), other.answer(&body('b', "79")));
        assert_ne!(one.answer(&body('a', "6")), other.answer(&body('c', "79")));
        assert_ne!(one.answer(&body('a', "5")), other.answer(&body('b', "79")));
    }

    #[test]
    fn times_of_servers_go_and_times_of_scripts_stay() {
        let mut normaliser = Normaliser::new("");
        assert_eq!(normaliser.text("2026-11-23T10:00:00Z"), "<time>");
        assert_eq!(normaliser.text("2026-11-23T10:00:00.123456Z"), "<time>");
        assert_eq!(
            normaliser.text("2020-01-01T00:00:00Z"),
            "2020-01-01T00:00:00Z"
        );
    }

    #[test]
    fn messages_lose_versions_addresses_and_random_names() {
        let mut normaliser = Normaliser::new("conf-7");
        assert_eq!(
            normaliser.text("the ResourceVersion in the precondition (1) does not match the ResourceVersion in record (2). ResourceVersion in precondition: 31, ResourceVersion in object meta: 35"),
            "the ResourceVersion in the precondition (1) does not match the ResourceVersion in record (<version 1>). ResourceVersion in precondition: <version 2>, ResourceVersion in object meta: <version 3>"
        );
        assert_eq!(
            normaliser.text("gen-4-x2b7k at 10.96.3.17 in conf-7"),
            "gen-4-<random> at <address 1> in {ns}"
        );
    }

    #[test]
    fn managed_fields_are_ordered_without_the_clock() {
        let entry = |manager: &str| json!({ "manager": manager, "operation": "Update", "time": "2026-01-01T00:00:00Z" });
        let mut normaliser = Normaliser::new("");
        assert_eq!(
            normaliser
                .answer(&json!({ "metadata": { "managedFields": [entry("b"), entry("a")] } })),
            normaliser
                .answer(&json!({ "metadata": { "managedFields": [entry("a"), entry("b")] } }))
        );
    }

    #[test]
    fn the_version_of_a_list_is_not_compared() {
        let mut normaliser = Normaliser::new("");
        let list =
            |version: &str| json!({ "items": [], "metadata": { "resourceVersion": version } });
        assert_eq!(normaliser.answer(&list("5")), normaliser.answer(&list("6")));
    }
}
