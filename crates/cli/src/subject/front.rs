//! Services in front of a workload as the controller reads them: which they are, what their selector holds
//! beside the labels, and why one of them cannot be used.

use crossfade_api::FIELD_MANAGER;
use crossfade_engine::observed::Service;
use crossfade_traffic_switching::service::{self, Seen};
use serde_json::{Map, Value};

use super::{map, text};

/// A Service, and what only a cluster knows of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Front {
    pub object: Value,
    /// Pods of others that it selects.
    pub strangers: Vec<String>,
    /// The workload whose mark it carries exists no more: it is given back before anything starts.
    pub holder_gone: bool,
}

/// Whose Services are asked for.
pub(super) struct Look<'a> {
    pub workload_uid: &'a str,
    /// Of the template that is pushed.
    pub candidate: &'a Map<String, Value>,
    /// Of the templates that serve.
    pub stable: Vec<Map<String, Value>>,
    /// The Service that the plan names.
    pub named: Option<&'a str>,
}

/// The Services that select pods of the workload, are held for it or are named.
pub(super) fn services(look: &Look<'_>, fronts: &[Front]) -> Vec<Service> {
    fronts
        .iter()
        .filter_map(|front| service_of(look, front))
        .collect()
}

fn service_of(look: &Look<'_>, front: &Front) -> Option<Service> {
    let name = text(&front.object, "/metadata/name");
    let seen = service::read(&front.object, look.workload_uid, FIELD_MANAGER);
    let candidate = service::selects(&seen.selector, look.candidate);
    let stable = (look.stable.iter()).any(|labels| service::selects(&seen.selector, labels));
    let named = look.named == Some(name);
    // Without a uid, as in Git, no mark is of this workload.
    let held = seen.held && !look.workload_uid.is_empty();
    if !(candidate || stable || held || named) || seen.external_name && !named {
        return None;
    }
    // What a release has put there, its own or that of a workload that is gone, is off before the next starts.
    let given_back = held || front.holder_gone;
    Some(Service {
        name: name.to_owned(),
        uid: name.to_owned(),
        selects_workload: candidate || stable,
        pinned_to: seen.pinned_to.clone().filter(|_| !given_back),
        held_by_other: (seen.held_by_other.clone()).filter(|_| !given_back),
        refusal: refusal(&seen, stable, candidate, &front.strangers),
        ..Service::default()
    })
}

/// In the controller's words, its name being said before them.
fn refusal(seen: &Seen, stable: bool, candidate: bool, strangers: &[String]) -> Option<String> {
    if seen.external_name {
        return Some("it is an ExternalName and selects no pods; name another Service in spec.traffic.service".to_owned());
    }
    if seen.selector.is_empty() {
        return Some("it has no selector; its endpoints are made by hand and cannot be split: give it the pods' labels, or name another Service in spec.traffic.service".to_owned());
    }
    if stable && !candidate {
        let labels: Vec<String> = (seen.selector.iter())
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        return Some(format!(
            "it selects the pods that serve now but not those of the new template: keep the labels {} in the template, or take them out of its selector",
            labels.join(",")
        ));
    }
    if candidate && !stable {
        return Some("it selects pods of the new template but not those that serve now: it would get no pods when it is pinned; release the new labels and its selector one after the other".to_owned());
    }
    (!strangers.is_empty()).then(|| {
        format!(
            "it also selects pods of others ({}): pinning it would cut them off; give it a selector that only this Deployment's pods have",
            strangers.join(", ")
        )
    })
}

/// The labels of a template.
pub(super) fn labels(template: &Value) -> Map<String, Value> {
    map(template, "/metadata/labels")
}
