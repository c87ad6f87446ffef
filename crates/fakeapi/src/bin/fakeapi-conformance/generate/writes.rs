//! Draws writes to objects that are there (or are not): PUT, the patches, apply, `/status`, `/scale`, deletions,
//! with the guards and options they take. What a script consists of belongs to `generate`.

use http::Method;
use serde_json::{Value, json};

use super::{APPLY, Draw, add_query, has_index, schema, set, set_keeping_null, without_nulls};
use crate::script::{FOREIGN_UID, Step};

const MERGE: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

impl Draw<'_> {
    pub(super) fn put(&mut self) -> Step {
        let name = self.name();
        let mut step = self.step(Method::PUT, &name, "put");
        let key = step.about.clone();
        let mut merge = json!({});
        for _ in 0..1 + self.random.below(2) {
            let (pointer, value) = self.change();
            // A merge patch cannot reach into lists; the whole body below can.
            if !has_index(&pointer) {
                set_keeping_null(&mut merge, &pointer, value);
            }
        }
        let version = match self.random.below(8) {
            0 => Some(json!(null)),
            1 => Some(json!(format!("{{first:{key}}}"))),
            2 => Some(json!("1")),
            _ => None,
        };
        if let Some(version) = version {
            set_keeping_null(&mut merge, "/metadata/resourceVersion", version);
        }
        if self.random.chance(6) {
            set_keeping_null(&mut merge, "/metadata/uid", json!(FOREIGN_UID));
        }
        if self.random.chance(8) {
            let fields = self
                .random
                .pick(&[json!(null), json!([]), json!([{}])])
                .cloned();
            set_keeping_null(
                &mut merge,
                "/metadata/managedFields",
                fields.unwrap_or_default(),
            );
        }
        if self.random.chance(3) {
            set_keeping_null(&mut merge, "/metadata/name", json!("other"));
        }
        step.body = Some(if self.random.chance(25) {
            let mut object = self.object(60);
            set(&mut object, "/metadata/name", json!(name));
            if self.random.chance(60) {
                set(
                    &mut object,
                    "/metadata/resourceVersion",
                    json!(format!("{{version:{key}}}")),
                );
            }
            object
        } else {
            json!({ "$from": key, "$merge": merge })
        });
        self.options(&mut step);
        step
    }

    pub(super) fn json_patch(&mut self) -> Step {
        let name = self.name();
        let mut step = self.step(Method::PATCH, &name, "json patch");
        step.content_type = JSON_PATCH;
        let mut operations = Vec::new();
        for _ in 0..1 + self.random.below(2) {
            let (pointer, value) = self.change();
            let operation = match self.random.below(14) {
                0 => json!({ "op": "test", "path": pointer, "value": value }),
                1 => json!({ "op": "test", "path": "/metadata/nothing", "value": null }),
                2 => {
                    json!({ "op": "test", "path": "/metadata/resourceVersion", "value": format!("{{version:{}}}", step.about) })
                }
                3 => {
                    json!({ "op": "test", "path": "/metadata/uid", "value": format!("{{uid:{}}}", step.about) })
                }
                4 => json!({ "op": "remove", "path": pointer }),
                5 => {
                    json!({ "op": "replace", "path": "/metadata/managedFields", "value": self.random.pick(&[json!([]), json!([{}])]) })
                }
                6 => {
                    json!({ "op": "copy", "from": "/metadata/name", "path": "/metadata/annotations/note" })
                }
                7 => {
                    json!({ "op": "move", "from": "/metadata/labels", "path": "/metadata/annotations" })
                }
                8 | 9 => json!({ "op": "replace", "path": pointer, "value": value }),
                _ if value.is_null() => json!({ "op": "remove", "path": pointer }),
                _ => json!({ "op": "add", "path": pointer, "value": value }),
            };
            operations.push(operation);
        }
        step.body = Some(Value::Array(operations));
        self.options(&mut step);
        step
    }

    pub(super) fn merge_patch(&mut self) -> Step {
        let name = self.name();
        let mut step = self.step(Method::PATCH, &name, "merge patch");
        step.content_type = MERGE;
        let mut patch = json!({});
        for _ in 0..1 + self.random.below(2) {
            let (pointer, value) = self.change();
            if !has_index(&pointer) {
                set_keeping_null(&mut patch, &pointer, value);
            }
        }
        match self.random.below(12) {
            0 => set(
                &mut patch,
                "/metadata/resourceVersion",
                json!(format!("{{version:{}}}", step.about)),
            ),
            1 => set(&mut patch, "/metadata/resourceVersion", json!("1")),
            2 => set(&mut patch, "/metadata/uid", json!(FOREIGN_UID)),
            3 => set_keeping_null(&mut patch, "/metadata/managedFields", json!(null)),
            _ => {}
        }
        step.body = Some(patch);
        self.options(&mut step);
        step
    }

    pub(super) fn apply(&mut self) -> Step {
        let name = self.name();
        let mut step = self.step(Method::PATCH, &name, "apply");
        step.content_type = APPLY;
        // Whole objects create; parts are what several managers share.
        let mut object = if self.random.chance(40) {
            self.object(50)
        } else {
            json!({ "apiVersion": self.kind.api_version, "kind": self.kind.kind })
        };
        for _ in 0..1 + self.random.below(2) {
            let (pointer, value) = self.change();
            if !has_index(&pointer) && !value.is_null() {
                set(&mut object, &pointer, value);
            }
        }
        if !self.random.chance(3) {
            set(&mut object, "/metadata/name", json!(name));
        }
        self.without_token(&mut object);
        step.body = Some(object);
        self.options(&mut step);
        step
    }

    pub(super) fn status(&mut self) -> Step {
        let schema = self
            .kind
            .schema
            .as_ref()
            .and_then(|schema| schema.pointer("/properties/status"));
        let field = self.random.pick(&self.kind.status).cloned();
        let (pointer, value) = match (schema, field) {
            (Some(schema), _) => ("/status".to_owned(), schema::value(schema, self.random)),
            (None, Some(field)) => (field.pointer.to_owned(), self.value_of(&field)),
            (None, None) => return self.get(),
        };
        let name = self.name();
        let mut step = self.step(Method::PATCH, &name, "status");
        step.path.push_str("/status");
        let mut patch = json!({});
        set_keeping_null(&mut patch, &pointer, value);
        if self.random.chance(25) {
            let (pointer, value) = self.change();
            if !has_index(&pointer) {
                set_keeping_null(&mut patch, &pointer, value);
            }
        }
        match self.random.below(3) {
            0 => {
                step.method = Method::PUT;
                patch = json!({ "$from": step.about, "$merge": patch });
            }
            1 => {
                step.content_type = APPLY;
                patch["apiVersion"] = json!(self.kind.api_version);
                patch["kind"] = json!(self.kind.kind);
                patch = without_nulls(patch);
                set(&mut patch, "/metadata/name", json!(name));
            }
            _ => step.content_type = MERGE,
        }
        step.body = Some(patch);
        self.options(&mut step);
        step
    }

    pub(super) fn scale(&mut self) -> Step {
        if !self.kind.scale {
            return self.merge_patch();
        }
        let name = self.name();
        let mut step = self.step(Method::GET, &name, "scale");
        step.path.push_str("/scale");
        let replicas = self
            .random
            .pick(&[json!(0), json!(3), json!(-1), json!(4)])
            .cloned();
        match self.random.below(4) {
            0 => return step,
            1 => {
                step.method = Method::PUT;
                step.body = Some(json!({
                    "apiVersion": "autoscaling/v1", "kind": "Scale",
                    "metadata": { "name": name, "namespace": "{ns}" }, "spec": { "replicas": replicas },
                }));
            }
            _ => {
                step.method = Method::PATCH;
                step.content_type = MERGE;
                step.body = Some(json!({ "spec": { "replicas": replicas } }));
            }
        }
        self.options(&mut step);
        step
    }

    pub(super) fn delete(&mut self) -> Step {
        let name = self.name();
        let mut step = self.step(Method::DELETE, &name, "delete");
        let mut options = json!({});
        match self.random.below(8) {
            0 => options["preconditions"] = json!({ "uid": FOREIGN_UID }),
            1 => options["preconditions"] = json!({ "uid": format!("{{uid:{}}}", step.about) }),
            2 => {
                options["preconditions"] =
                    json!({ "resourceVersion": format!("{{first:{}}}", step.about) });
            }
            3 => {
                options["preconditions"] =
                    json!({ "resourceVersion": format!("{{version:{}}}", step.about) });
            }
            _ => {}
        }
        if self.random.chance(50) {
            let policy = self
                .random
                .text(&["Background", "Foreground", "Orphan", "Nope"]);
            options["propagationPolicy"] = json!(policy);
        }
        match self.random.below(8) {
            0 => options["gracePeriodSeconds"] = json!(0),
            1 => options["gracePeriodSeconds"] = json!(5),
            _ => {}
        }
        if self.random.chance(80) {
            options["apiVersion"] = json!("v1");
            options["kind"] = json!("DeleteOptions");
            step.body = Some(options);
        }
        if self.random.chance(8) {
            add_query(&mut step, &["dryRun=All"]);
        }
        step
    }

    pub(super) fn delete_collection(&mut self) -> Step {
        if !self.kind.path.contains("{ns}") {
            return self.delete();
        }
        let mut step = self.step(Method::DELETE, "", "delete collection");
        let mut query = self.selectors();
        if self.random.chance(10) {
            query.push("dryRun=All".to_owned());
        }
        add_query(&mut step, &query);
        step
    }
}
