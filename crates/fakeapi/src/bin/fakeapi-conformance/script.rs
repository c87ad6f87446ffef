//! Scripts of requests, and what a side remembers of its answers to fill in the next request. Knows
//! no kinds and sends nothing.
//!
//! Texts of paths and bodies hold placeholders, because the two servers give out different names:
//! `{ns}` the script's namespace, `{uid:K}`, `{version:K}`, `{first:K}` (the first resourceVersion seen)
//! and `{name:K}` of the object K (`plural/name`), `{latest:K}` and `{since:K}` the versions for watches,
//! `{continue}` of the last page, `{list}` the resourceVersion of the last list. `{"$from": K, "$merge": {…}}` is the object as last seen,
//! with a merge patch done to it.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value, json};

/// One request of a script.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub method: Method,
    /// Path and query.
    pub path: String,
    pub content_type: &'static str,
    pub accept: &'static str,
    pub body: Option<Value>,
    /// For the counts: what is done, `json patch` for instance.
    pub verb: &'static str,
    /// `plural/name` of the object it is about, `plural/` for a collection. What it answers is
    /// remembered under this.
    pub about: String,
}

impl Step {
    /// The plural.
    pub fn kind(&self) -> &str {
        self.about.split('/').next().unwrap_or_default()
    }

    /// Whether the server may answer from a cache that lags behind its writes.
    pub fn may_be_old(&self) -> bool {
        self.method == Method::GET && self.path.contains("resourceVersion=") && !self.is_watch()
    }

    pub fn is_watch(&self) -> bool {
        self.path.contains("watch=true")
    }

    fn is_about_the_object(&self) -> bool {
        let path = self.path.split('?').next().unwrap_or_default();
        !self.path.contains("dryRun")
            && !path.ends_with("/scale")
            && !self.accept.contains("PartialObjectMetadata")
    }
}

/// A uid no object has.
pub const FOREIGN_UID: &str = "0e0e0e0e-0000-4000-8000-000000000000";

/// What one side said so far.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub namespace: String,
    objects: BTreeMap<String, Known>,
    next_page: String,
    list: String,
    /// The resourceVersion the namespace began with.
    begin: String,
}

#[derive(Clone, Debug, Default)]
struct Known {
    first: String,
    version: String,
    uid: String,
    name: String,
    object: Value,
}

impl Memory {
    pub fn new(namespace: &str, begin: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            begin: begin.to_owned(),
            ..Self::default()
        }
    }

    /// Takes in an answer.
    pub fn learn(&mut self, step: &Step, status: u16, body: &Value) {
        if !(200..300).contains(&status) {
            return;
        }
        let metadata = body.get("metadata").cloned().unwrap_or_default();
        let text = |key: &str| {
            metadata
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        if body.get("items").is_some() {
            self.next_page = text("continue");
            self.list = text("resourceVersion");
            return;
        }
        if text("uid").is_empty() || !step.is_about_the_object() {
            return;
        }
        let about = self.text(&step.about);
        let known = self.objects.entry(about).or_default();
        if known.uid != text("uid") {
            known.first = text("resourceVersion");
        }
        known.version = text("resourceVersion");
        known.uid = text("uid");
        known.name = text("name");
        known.object = body.clone();
    }

    /// A text with its placeholders filled in.
    pub fn text(&self, template: &str) -> String {
        // First, because names of cluster-wide objects hold it, those in other placeholders as well.
        let template = template.replace("{ns}", &self.namespace);
        let mut filled = String::with_capacity(template.len());
        let mut rest = template.as_str();
        while let Some((before, behind)) = rest.split_once('{') {
            filled.push_str(before);
            let Some((inside, after)) = behind.split_once('}') else {
                filled.push('{');
                rest = behind;
                continue;
            };
            match self.placeholder(inside) {
                Some(value) => filled.push_str(&value),
                None => {
                    filled.push('{');
                    rest = behind;
                    continue;
                }
            }
            rest = after;
        }
        filled.push_str(rest);
        filled
    }

    fn placeholder(&self, inside: &str) -> Option<String> {
        match inside {
            "continue" => return Some(self.next_page.clone()),
            "list" => return Some(or(&self.list, or(&self.begin, "1"))),
            _ => {}
        }
        let (what, key) = inside.split_once(':')?;
        let unknown = Known::default();
        let known = self.objects.get(key).unwrap_or(&unknown);
        Some(match what {
            "uid" => or(&known.uid, FOREIGN_UID),
            "version" => or(&known.version, "1"),
            "first" => or(&known.first, "1"),
            // For watches: the real server forgets what was long before.
            "since" => or(&known.first, or(&self.begin, "1")),
            "latest" => or(&known.version, or(&self.begin, "1")),
            "name" => or(&known.name, "nobody"),
            _ => return None,
        })
    }

    /// A body with its placeholders filled in.
    pub fn value(&self, template: &Value) -> Value {
        match template {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => match fields.get("$from").and_then(Value::as_str) {
                Some(key) => {
                    let key = &self.text(key);
                    let mut object = self
                        .objects
                        .get(key)
                        .map_or_else(|| unseen(key), |known| known.object.clone());
                    if let Some(merge) = fields.get("$merge") {
                        merge_into(&mut object, &self.value(merge));
                    }
                    object
                }
                None => Value::Object(
                    fields
                        .iter()
                        .map(|(key, value)| (key.clone(), self.value(value)))
                        .collect(),
                ),
            },
            other => other.clone(),
        }
    }
}

fn or(text: &str, otherwise: impl Into<String>) -> String {
    if text.is_empty() {
        otherwise.into()
    } else {
        text.to_owned()
    }
}

fn unseen(key: &str) -> Value {
    let name = key.split_once('/').map_or(key, |(_, name)| name);
    json!({ "metadata": { "name": name } })
}

/// RFC 7396; a list is replaced as a whole.
pub fn merge_into(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge_into(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "tests stop at the first thing that is wrong"
    )]
    use super::*;

    fn step(about: &str, path: &str) -> Step {
        Step {
            method: Method::GET,
            path: path.to_owned(),
            content_type: "",
            accept: "application/json",
            body: None,
            verb: "get",
            about: about.to_owned(),
        }
    }

    fn object(version: &str, uid: &str) -> Value {
        json!({ "metadata": { "name": "a", "uid": uid, "resourceVersion": version }, "data": { "x": "1" } })
    }

    #[test]
    fn placeholders_follow_what_was_answered() {
        let mut memory = Memory::new("here", "3");
        let get = step("configmaps/a", "/x");
        memory.learn(&get, 200, &object("5", "u"));
        memory.learn(&get, 200, &object("7", "u"));
        memory.learn(&get, 409, &object("9", "u"));
        assert_eq!(
            memory.text(
                "/{ns}?a={version:configmaps/a}&b={first:configmaps/a}&c={uid:configmaps/b}{}"
            ),
            format!("/here?a=7&b=5&c={FOREIGN_UID}{{}}")
        );
    }

    #[test]
    fn dry_runs_and_scales_are_not_the_object() {
        let mut memory = Memory::new("here", "3");
        for path in ["/x?dryRun=All", "/x/scale"] {
            memory.learn(&step("configmaps/a", path), 200, &object("5", "u"));
        }
        assert_eq!(memory.text("{version:configmaps/a}"), "1");
    }

    #[test]
    fn a_body_is_the_object_as_last_seen_with_a_patch() {
        let mut memory = Memory::new("here", "3");
        memory.learn(&step("configmaps/a", "/x"), 200, &object("5", "u"));
        let template = json!({ "$from": "configmaps/a", "$merge": { "metadata": { "uid": null }, "data": { "y": "{ns}" } } });
        assert_eq!(
            memory.value(&template),
            json!({ "metadata": { "name": "a", "resourceVersion": "5" }, "data": { "x": "1", "y": "here" } })
        );
    }
}
