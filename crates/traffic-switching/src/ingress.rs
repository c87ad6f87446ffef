//! Ingresses in front of a Service, as far as they change how it is flipped: whoever carries an Ingress out learns
//! endpoints in his own time. Weights of an Ingress are not written here.

use serde_json::Value;

/// The Services an Ingress (`networking.k8s.io/v1`) sends to: those of its rules and its default.
pub fn backends(ingress: &Value) -> impl Iterator<Item = &str> {
    let of_rules = list(ingress, "/spec/rules")
        .flat_map(|rule| list(rule, "/http/paths"))
        .filter_map(|path| path.pointer("/backend/service/name"));
    (ingress
        .pointer("/spec/defaultBackend/service/name")
        .into_iter())
    .chain(of_rules)
    .filter_map(Value::as_str)
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    (value.pointer(pointer).and_then(Value::as_array))
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_and_the_default_name_services() {
        let to = |name: &str| json!({ "service": { "name": name, "port": { "number": 80 } } });
        let ingress = json!({ "spec": {
            "defaultBackend": to("front"),
            "rules": [
                { "host": "a", "http": { "paths": [{ "backend": to("web") }, { "backend": to("api") }] } },
                { "host": "b" },
                { "http": { "paths": [{ "backend": { "resource": { "kind": "Bucket" } } }] } },
            ],
        } });
        let names: Vec<&str> = backends(&ingress).collect();
        assert_eq!(names, ["front", "web", "api"]);
        assert_eq!(backends(&json!({ "spec": {} })).count(), 0);
    }
}
