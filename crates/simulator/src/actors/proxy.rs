//! What kube-proxy and gateways learn, and when: each proxy follows EndpointSlices and routes with a lag of
//! its own and tells the data plane what it knows. Where requests go from there is the data plane's.

use crossfade_fakeapi::At;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::endpoint_slice::SERVICE_NAME;
use super::informer::{Event, Informer, Name};
use super::object::{labels, list, namespace, number, text};
use super::traffic::Traffic;

/// The kinds it looks at.
pub const SEES: [&str; 2] = ["endpointslices", "httproutes"];

/// One proxy.
#[derive(Debug)]
pub struct Proxy {
    number: usize,
    informer: Informer,
    traffic: Traffic,
}

impl Proxy {
    /// `informer` follows [`SEES`] as late as this proxy is.
    #[must_use]
    pub const fn new(number: usize, informer: Informer, traffic: Traffic) -> Self {
        Self {
            number,
            informer,
            traffic,
        }
    }

    /// Works until dropped.
    pub async fn run(mut self) {
        let initial = self.informer.initial();
        self.tell(&initial);
        loop {
            let events = self.informer.take();
            self.tell(&events);
            self.informer.wait(None).await;
        }
    }

    fn tell(&self, events: &[Event]) {
        let services: BTreeSet<Name> = events
            .iter()
            .filter(|event| event.resource == "endpointslices")
            .flat_map(|event| [&event.before, &event.after])
            .flatten()
            .filter_map(|slice| service_of(slice))
            .collect();
        for service in services {
            let slices: Vec<&Arc<Value>> = self
                .informer
                .list("endpointslices", &service.0)
                .filter(|slice| service_of(slice).as_ref() == Some(&service))
                .collect();
            self.traffic.learn(self.number, &service, usable(&slices));
        }
        for event in events.iter().filter(|event| event.resource == "httproutes") {
            let weights = event
                .after
                .as_ref()
                .map(|route| weights(route))
                .unwrap_or_default();
            self.traffic.learn_route(self.number, &event.name, weights);
        }
    }
}

fn service_of(slice: &Value) -> Option<Name> {
    let service = labels(slice)?.get(SERVICE_NAME)?.as_str()?;
    Some((namespace(slice).to_owned(), service.to_owned()))
}

/// Addresses of ready endpoints; where there is none, of those that still serve while they end.
fn usable(slices: &[&Arc<Value>]) -> Vec<String> {
    let pick = |condition: &str, missing: bool| -> Vec<String> {
        slices
            .iter()
            .flat_map(|slice| list(slice, "/endpoints"))
            .filter(|endpoint| {
                endpoint
                    .at(condition)
                    .and_then(Value::as_bool)
                    .unwrap_or(missing)
            })
            .filter_map(|endpoint| Some(list(endpoint, "/addresses").first()?.as_str()?.to_owned()))
            .collect()
    };
    let ready = pick("/conditions/ready", true);
    if ready.is_empty() {
        pick("/conditions/serving", false)
    } else {
        ready
    }
}

/// Services and weights of the first rule; a backend without one has 1.
fn weights(route: &Value) -> Vec<(Name, u64)> {
    list(route, "/spec/rules/0/backendRefs")
        .iter()
        .map(|backend| {
            let space = match text(backend, "/namespace") {
                "" => namespace(route),
                named => named,
            };
            let weight = backend
                .get("weight")
                .map_or(1, |_| number(backend, "/weight"));
            let service = (space.to_owned(), text(backend, "/name").to_owned());
            (service, u64::try_from(weight).unwrap_or_default())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn terminating_ones_serve_only_when_nobody_is_ready() {
        let slice = |ready: bool| {
            Arc::new(json!({"endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": false, "serving": true, "terminating": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": ready, "serving": ready, "terminating": false}},
            ]}))
        };
        assert_eq!(usable(&[&slice(true)]), ["10.0.0.2"]);
        assert_eq!(usable(&[&slice(false)]), ["10.0.0.1"]);
    }
}
