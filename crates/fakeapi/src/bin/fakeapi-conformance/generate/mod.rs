//! Draws scripts: which requests, about which objects, with which options. Writes to what is there already
//! are drawn in `writes`; the kinds and their values belong to `kinds` and `schema`.

pub mod kinds;
mod schema;
mod writes;

use http::Method;
use serde_json::{Value, json};

use crate::random::Random;
use crate::script::{FOREIGN_UID, Step, merge_into};
use kinds::{Field, Kind};

const JSON: &str = "application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const APPLY: &str = "application/apply-patch+yaml";

/// What scripts are drawn from.
#[derive(Clone, Debug)]
pub struct Source {
    pub kinds: Vec<Kind>,
    /// Keys of labels and annotations policies ask for.
    pub keys: Vec<String>,
}

/// The script of a seed.
pub fn script(seed: u64, source: &Source) -> Vec<Step> {
    let mut random = Random::new(seed);
    let length = 10 + random.below(21);
    let kinds: Vec<&Kind> = (0..1 + random.below(2))
        .filter_map(|_| random.pick(&source.kinds))
        .collect();
    let metadata = kinds::metadata(&source.keys);
    let mut steps = Vec::new();
    while steps.len() < length {
        let Some(kind) = random.pick(&kinds).copied() else {
            break;
        };
        let mut draw = Draw {
            random: &mut random,
            kind,
            metadata: &metadata,
            number: steps.len(),
        };
        // Something to work with comes first.
        let step = if steps.len() < 2 {
            draw.create()
        } else {
            draw.any()
        };
        steps.push(step);
    }
    steps
}

struct Draw<'a> {
    random: &'a mut Random,
    kind: &'a Kind,
    metadata: &'a [Field],
    /// Of the step.
    number: usize,
}

impl Draw<'_> {
    fn any(&mut self) -> Step {
        match self.random.below(100) {
            0..16 => self.create(),
            16..22 => self.get(),
            22..31 => self.list(),
            31..38 => self.watch(),
            38..49 => self.put(),
            49..61 => self.json_patch(),
            61..71 => self.merge_patch(),
            71..84 => self.apply(),
            84..89 => self.status(),
            89..92 => self.scale(),
            92..98 => self.delete(),
            _ => self.delete_collection(),
        }
    }

    /// Of cluster-wide kinds too, names are the script's own.
    fn name(&mut self) -> String {
        let name = self.random.text(&["a", "a", "a", "b", "b", "c"]).to_owned();
        format!("{}{name}", self.place())
    }

    /// What stands before the names of the script's cluster-wide objects.
    fn place(&self) -> &'static str {
        if self.kind.path.contains("{ns}") {
            ""
        } else {
            "{ns}-"
        }
    }

    fn step(&self, method: Method, name: &str, verb: &'static str) -> Step {
        let path = if name.is_empty() {
            self.kind.path.clone()
        } else {
            format!("{}/{name}", self.kind.path)
        };
        Step {
            method,
            path,
            content_type: JSON,
            accept: JSON,
            body: None,
            verb,
            about: format!("{}/{name}", self.kind.plural),
        }
    }

    /// Options writes share.
    fn options(&mut self, step: &mut Step) {
        let mut options = Vec::new();
        if self.random.chance(8) {
            options.push("dryRun=All");
        }
        if step.content_type == APPLY {
            options.push(self.random.text(&[
                "fieldManager=one",
                "fieldManager=one",
                "fieldManager=two",
                "fieldManager=two",
                "",
            ]));
            options.push(self.random.text(&["", "", "force=true"]));
        } else if self.random.chance(30) {
            options.push(self.random.text(&["fieldManager=one", "fieldManager=two"]));
        }
        // What is said about unknown fields by default is a warning; scripts about that ask for it.
        options.push(match self.random.below(20) {
            0 => "fieldValidation=Strict",
            1 => "fieldValidation=Warn",
            _ => "fieldValidation=Ignore",
        });
        add_query(step, &options);
    }

    fn value_of(&mut self, field: &Field) -> Value {
        self.random.pick(&field.values).cloned().unwrap_or_default()
    }

    /// A pointer and a value for it.
    fn change(&mut self) -> (String, Value) {
        if let Some(schema) = &self.kind.schema
            && self.random.chance(60)
        {
            return self.change_of_schema(schema);
        }
        let field = if self.random.chance(35) || self.kind.fields.is_empty() {
            self.random.pick(self.metadata)
        } else {
            self.random.pick(&self.kind.fields)
        };
        let Some(field) = field.cloned() else {
            return ("/metadata/labels".to_owned(), json!(null));
        };
        (field.pointer.to_owned(), self.value_of(&field))
    }

    /// One property of the spec, or one within it.
    fn change_of_schema(&mut self, schema: &Value) -> (String, Value) {
        let mut pointer = "/spec".to_owned();
        let mut at = schema.pointer("/properties/spec").unwrap_or(schema);
        for _ in 0..2 {
            let names: Vec<&String> = at
                .get("properties")
                .and_then(Value::as_object)
                .map(|properties| properties.keys().collect())
                .unwrap_or_default();
            let Some(name) = self.random.pick(&names).copied() else {
                break;
            };
            pointer = format!("{pointer}/{name}");
            at = &at["properties"][name.as_str()];
            if self.random.chance(50) {
                break;
            }
        }
        if self.random.chance(15) {
            return (pointer, Value::Null);
        }
        (pointer, schema::value(at, self.random))
    }

    /// An object of the kind without a name, changed in some fields.
    fn object(&mut self, percent_changed: usize) -> Value {
        let mut object = self.kind.base.clone();
        if let Some(schema) = &self.kind.schema {
            for part in ["spec", "status"] {
                if let Some(inner) = schema.pointer(&format!("/properties/{part}"))
                    && (part == "spec" || self.random.chance(15))
                {
                    object[part] = schema::value(inner, self.random);
                }
            }
        }
        for _ in 0..2 {
            if self.random.chance(percent_changed) {
                let (pointer, value) = self.change();
                set(&mut object, &pointer, value);
            }
        }
        self.without_token(&mut object);
        object["apiVersion"] = json!(self.kind.api_version);
        object["kind"] = json!(self.kind.kind);
        if self.random.chance(1) {
            object["apiVersion"] = json!("wrong/v1");
        }
        object
    }

    /// A pod with a token has a volume of a random name.
    pub(super) fn without_token(&self, object: &mut Value) {
        if self.kind.plural == "pods" {
            set(object, "/spec/automountServiceAccountToken", json!(false));
        }
    }

    fn create(&mut self) -> Step {
        // The first ones mostly work, so that what follows has something to do.
        let mut object = self.object(if self.number < 2 { 20 } else { 45 });
        let mut step = self.step(Method::POST, "", "create");
        let name = match self.random.below(20) {
            0 => {
                let prefix = format!("gen-{}-", self.number);
                set(&mut object, "/metadata/generateName", json!(prefix));
                prefix
            }
            1 => match self.random.text(&["Bad_Name", "", "x.y"]) {
                "x.y" => format!("{}x.y", self.place()),
                // The real server allocates the address of a Service before it looks at its name. An address
                // without an owner's name is refused, so it tries all of its range: half a minute in which
                // no other Service gets one.
                "" if self.kind.plural == "services" => "Bad_Name".to_owned(),
                other => other.to_owned(),
            },
            _ => self.name(),
        };
        if !name.starts_with("gen-") {
            set(&mut object, "/metadata/name", json!(name));
        }
        match self.random.below(40) {
            0 => set(&mut object, "/metadata/resourceVersion", json!("5")),
            1 => set(&mut object, "/metadata/uid", json!(FOREIGN_UID)),
            2 => step.path = step.path.replace("{ns}", "{ns}-missing"),
            _ => {}
        }
        step.about = format!("{}/{name}", self.kind.plural);
        step.body = Some(object);
        self.options(&mut step);
        step
    }

    fn get(&mut self) -> Step {
        let name = self.name();
        let mut step = self.step(Method::GET, &name, "get");
        if self.random.chance(20) {
            step.accept = METADATA;
        }
        step
    }

    fn selectors(&mut self) -> Vec<String> {
        let mut query = Vec::new();
        if self.random.chance(40) {
            let selector = self.random.text(&[
                "tier=a",
                "tier!=a",
                "tier",
                "!tier",
                "tier in (a,b)",
                "tier notin (a)",
                "tier=a,app=x",
                "tier=",
                "app==x",
                "bad value!",
            ]);
            query.push(format!("labelSelector={}", encode(selector)));
        }
        if self.random.chance(20) {
            let selector = self.random.text(&[
                "metadata.name=a",
                "metadata.name!=a",
                "metadata.namespace={ns}",
                "status.phase=Running",
                "spec.nodeName=",
                "nope=1",
            ]);
            query.push(format!("fieldSelector={}", selector.replace('=', "%3D")));
        }
        query
    }

    fn list(&mut self) -> Step {
        let mut step = self.step(Method::GET, "", "list");
        let mut query = self.selectors();
        match self.random.below(6) {
            0 => query.push("limit=1".to_owned()),
            1 => query.push("limit=2".to_owned()),
            2 => query.extend(["limit=2".to_owned(), "continue={continue}".to_owned()]),
            // Of an object of the kind: the real server's cache of a kind may be behind the revision of
            // everything, and then a list waits in vain.
            3 => query.push(format!(
                "resourceVersion={{first:{}/{}a}}",
                self.kind.plural,
                self.place()
            )),
            _ => {}
        }
        if !self.kind.path.contains("{ns}") {
            // Objects of the whole cluster are everybody's.
            query = vec!["fieldSelector=metadata.name%3D{ns}-a".to_owned()];
        }
        if self.random.chance(15) {
            step.accept = METADATA_LIST;
        }
        add_query(&mut step, &query);
        step
    }

    fn watch(&mut self) -> Step {
        let mut step = self.step(Method::GET, "", "watch");
        let mut query = self.selectors();
        if !self.kind.path.contains("{ns}") {
            query = vec!["fieldSelector=metadata.name%3D{ns}-a".to_owned()];
        }
        query.push("watch=true".to_owned());
        query.push("timeoutSeconds=20".to_owned());
        let (plural, place) = (&self.kind.plural, self.place());
        match self.random.below(8) {
            0 => query.push("resourceVersion={list}".to_owned()),
            1 => query.push(format!("resourceVersion={{latest:{plural}/{place}a}}")),
            2 => {
                query.push("sendInitialEvents=true".to_owned());
                query.push("resourceVersionMatch=NotOlderThan".to_owned());
                query.push("allowWatchBookmarks=true".to_owned());
            }
            _ => query.push(format!("resourceVersion={{since:{plural}/{place}a}}")),
        }
        if self.random.chance(10) {
            step.accept = METADATA;
        }
        add_query(&mut step, &query);
        step
    }
}

fn add_query(step: &mut Step, parts: &[impl AsRef<str>]) {
    for part in parts.iter().map(AsRef::as_ref) {
        if !part.is_empty() {
            step.path
                .push(if step.path.contains('?') { '&' } else { '?' });
            step.path.push_str(part);
        }
    }
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// Whether a pointer reaches into a list.
fn has_index(pointer: &str) -> bool {
    pointer
        .split('/')
        .any(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Sets a value; null takes it away.
fn set(object: &mut Value, pointer: &str, value: Value) {
    if let Some(place) = object.pointer_mut(pointer) {
        *place = value;
        return;
    }
    if has_index(pointer) {
        return;
    }
    let mut patch = json!({});
    set_keeping_null(&mut patch, pointer, value);
    merge_into(object, &patch);
}

/// Sets a value, null as well, as a merge patch wants it.
fn set_keeping_null(object: &mut Value, pointer: &str, value: Value) {
    let mut at = object;
    for part in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[part];
    }
    *at = value;
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source {
            kinds: kinds::built_in(),
            keys: vec!["example.com/key".to_owned()],
        }
    }

    #[test]
    fn a_seed_is_a_script() {
        for seed in 0..200 {
            let steps = script(seed, &source());
            assert!((10..=30).contains(&steps.len()));
            assert_eq!(steps, script(seed, &source()));
        }
    }

    #[test]
    fn every_verb_comes_up() {
        let mut verbs: Vec<&str> = (0..200)
            .flat_map(|seed| script(seed, &source()))
            .map(|step| step.verb)
            .collect();
        verbs.sort_unstable();
        verbs.dedup();
        assert_eq!(
            verbs,
            [
                "apply",
                "create",
                "delete",
                "delete collection",
                "get",
                "json patch",
                "list",
                "merge patch",
                "put",
                "scale",
                "status",
                "watch"
            ]
        );
    }

    #[test]
    fn nulls_stay_in_merge_patches() {
        let mut patch = json!({});
        set_keeping_null(&mut patch, "/spec/selector/hash", json!(null));
        assert_eq!(patch, json!({ "spec": { "selector": { "hash": null } } }));
    }
}
