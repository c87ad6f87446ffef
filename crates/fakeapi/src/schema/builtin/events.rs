//! Events of `events.k8s.io`. Those of the core group are not validated here. Order and texts:
//! `pkg/apis/core/validation/events.go` of Kubernetes 1.34.

use serde_json::Value;

use super::{get, immutable, text};
use crate::schema::ROOT;
use crate::schema::field::Causes;

/// What holds for all versions, and comes before metadata.
pub(crate) fn legacy(event: &Value, causes: &mut Causes) {
    let namespace = get(event, "metadata");
    let namespace = text(namespace, "namespace");
    let about = get(event, "regarding");
    let about_namespace = text(about, "namespace");
    let object = ROOT.child("involvedObject");
    let mismatch = |causes: &mut Causes| {
        causes.invalid(
            object.child("namespace"),
            &Value::from(about_namespace),
            "does not match event.namespace",
        );
    };
    if !has_time(event) {
        let fits = if about_namespace.is_empty() {
            matches!(namespace, "" | "default")
        } else {
            namespace == about_namespace
        };
        if !fits {
            mismatch(causes);
        }
        return;
    }
    if about_namespace.is_empty() && !matches!(namespace, "default" | "kube-system") {
        mismatch(causes);
    }
    for (field, name) in [
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
        ("action", "action"),
        ("reason", "reason"),
    ] {
        if text(event, field).is_empty() {
            causes.required(ROOT.child(name), "");
        }
        if field == "reportingController" {
            for detail in crate::schema::names::qualified(text(event, field)) {
                causes.invalid(ROOT.child(name), get(event, field), &detail);
            }
        }
    }
}

fn has_time(event: &Value) -> bool {
    !text(event, "eventTime").is_empty()
}

/// What this version asks besides.
pub(super) fn validate(new: &Value, old: Option<&Value>, causes: &mut Causes) {
    let Some(old) = old else {
        series(new, causes);
        if !has_time(new) {
            causes.required(ROOT.child("eventTime"), "");
        }
        let kind = text(new, "type");
        if !matches!(kind, "Normal" | "Warning") {
            causes.invalid(
                ROOT.child("type"),
                &Value::from(""),
                &format!("has invalid value: {kind}"),
            );
        }
        return;
    };
    if get(new, "series") != get(old, "series") {
        series(new, causes);
    }
    for (field, name) in [
        ("regarding", "involvedObject"),
        ("reason", "reason"),
        ("note", "message"),
        ("reason", "reason"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ] {
        let empty = Value::from("");
        let shown = |event: &'_ Value| match get(event, field) {
            Value::Null if !matches!(field, "regarding" | "related" | "eventTime") => empty.clone(),
            other => other.clone(),
        };
        immutable(&shown(new), Some(&shown(old)), &ROOT.child(name), causes);
    }
}

fn series(event: &Value, causes: &mut Causes) {
    let series = get(event, "series");
    if series.is_null() {
        return;
    }
    if get(series, "count").as_i64().unwrap_or_default() < 2 {
        causes.invalid(
            ROOT.child("series.count"),
            &Value::from(""),
            "should be at least 2",
        );
    }
    if text(series, "lastObservedTime").is_empty() {
        causes.required(ROOT.child("series.lastObservedTime"), "");
    }
}
