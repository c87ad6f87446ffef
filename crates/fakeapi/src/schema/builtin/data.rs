//! ConfigMaps and Secrets. Sizes are not checked. Order and texts: `ValidateConfigMap` and
//! `ValidateSecret` of Kubernetes 1.34, `pkg/apis/core/validation`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{get, immutable, map_in, set, text};
use crate::schema::ROOT;
use crate::schema::field::{Causes, Path};

/// A Secret's type, and its plain texts as data.
pub(super) fn default_secret(map: &mut Map<String, Value>) {
    set(map, "type", "Opaque");
    let Some(Value::Object(texts)) = map.remove("stringData") else {
        return;
    };
    if let Some(data) = map_in(map, "data") {
        for (key, value) in texts {
            let bytes = STANDARD.encode(value.as_str().unwrap_or_default());
            data.insert(key, Value::from(bytes));
        }
    }
}

/// A text that is null is empty.
pub(super) fn default_texts(map: &mut Map<String, Value>) {
    for value in map
        .get_mut("data")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(|data| data.values_mut())
    {
        if value.is_null() {
            *value = Value::from("");
        }
    }
}

/// What an update may not do.
pub(super) fn validate_change(plural: &str, new: &Value, old: &Value, causes: &mut Causes) {
    if plural == "secrets" {
        immutable(
            get(new, "type"),
            Some(get(old, "type")),
            &ROOT.child("type"),
            causes,
        );
    }
    if get(old, "immutable") != &Value::Bool(true) {
        return;
    }
    let detail = "field is immutable when `immutable` is set";
    if get(new, "immutable") != &Value::Bool(true) {
        causes.forbidden(ROOT.child("immutable"), detail);
    }
    let fields: &[&str] = if plural == "secrets" {
        &["data"]
    } else {
        &["data", "binaryData"]
    };
    for field in fields {
        if get(new, field) != get(old, field) {
            causes.forbidden(ROOT.child(field), detail);
        }
    }
}

/// Keys, and what a type asks for.
pub(super) fn validate(plural: &str, new: &Value, causes: &mut Causes) {
    let data = ROOT.child("data");
    let binary = get(new, "binaryData");
    for key in keys(get(new, "data")) {
        check_key(key, &data, causes);
        if binary.get(key).is_some() {
            causes.invalid(
                data.key(key),
                &Value::from(key.as_str()),
                "duplicate of key present in binaryData",
            );
        }
    }
    if plural == "configmaps" {
        for key in keys(binary) {
            check_key(key, &ROOT.child("binaryData"), causes);
        }
        return;
    }
    let needed: &[&str] = match text(new, "type") {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed {
        if get(new, "data").get(*key).is_none() {
            causes.required(data.key(key), "");
        }
    }
}

fn keys(map: &Value) -> impl Iterator<Item = &String> {
    map.as_object().into_iter().flat_map(|map| map.keys())
}

fn check_key(key: &str, path: &Path<'_>, causes: &mut Causes) {
    let right = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    if !right {
        causes.invalid(
            path.key(key),
            &Value::from(key),
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        );
    }
}
