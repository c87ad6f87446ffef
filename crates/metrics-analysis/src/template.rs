//! What a pod template and a plan say together about metrics, before there is a pod to ask.

use std::collections::BTreeMap;

use crossfade_api::PodMetrics;
use serde_json::Value;

use crate::target::{PodsSource, TargetError, check_template};

/// All `containerPort`s with protocol TCP, in order.
#[must_use]
pub fn container_ports(template: &Value) -> Vec<u16> {
    list(template, "/spec/containers")
        .flat_map(|container| list(container, "/ports"))
        .filter(|port| {
            let protocol = port.get("protocol").and_then(Value::as_str);
            matches!(protocol, None | Some("" | "TCP"))
        })
        .filter_map(|port| port.get("containerPort").and_then(Value::as_u64))
        .filter_map(|port| u16::try_from(port).ok())
        .collect()
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    (value.pointer(pointer).and_then(Value::as_array))
        .into_iter()
        .flatten()
}

/// Why pods of this template can never be asked for what the plan wants counted, with field, value and
/// mend. That nothing names a port is not told here: the planner refuses it in words of its own.
#[must_use]
pub fn problem(template: &Value, metrics: &PodMetrics) -> Option<String> {
    let source = PodsSource::from(metrics);
    if let Err(error) = source.selection() {
        return Some(error.to_string());
    }
    let annotations: BTreeMap<String, String> = (template.pointer("/metadata/annotations"))
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    match check_template(&annotations, &container_ports(template), &source) {
        Ok(()) | Err(TargetError::NoPort | TargetError::NoAddress) => None,
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_can_never_be_asked_is_told_with_field_and_mend() {
        let template = |annotations: Value| {
            json!({
                "metadata": { "annotations": annotations },
                "spec": { "containers": [
                    { "ports": [{ "containerPort": 80 }, { "containerPort": 53, "protocol": "UDP" }] },
                    { "ports": [{ "containerPort": 90, "protocol": "TCP" }] },
                ] },
            })
        };
        let plain = PodMetrics::default();
        let errors = |pattern: &str| PodMetrics {
            errors: Some(pattern.to_owned()),
            ..PodMetrics::default()
        };
        let port = json!({ "prometheus.io/port": "8080" });
        for (annotations, metrics, part) in [
            (port.clone(), plain.clone(), None),
            (json!({}), plain.clone(), None),
            (port.clone(), errors("5.."), None),
            (
                port,
                errors("5.*"),
                Some("spec.analysis.pods.errors: \"5.*\""),
            ),
            (
                json!({ "prometheus.io/port": "metrics" }),
                plain.clone(),
                Some("prometheus.io/port is \"metrics\": it must be a number"),
            ),
            (
                json!({ "prometheus.io/scrape": "true" }),
                plain.clone(),
                Some("the pod has the ports 80, 90"),
            ),
            (
                json!({ "prometheus.io/scrape": "false" }),
                plain,
                Some("set spec.analysis.pods.port"),
            ),
        ] {
            let told = problem(&template(annotations.clone()), &metrics);
            match part {
                None => assert_eq!(told, None, "{annotations}"),
                Some(part) => {
                    let told = told.unwrap_or_default();
                    assert!(told.contains(part), "{part} in {told:?}");
                }
            }
        }
    }
}
