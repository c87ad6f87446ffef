//! How many requests each hook has answered and how. Tests read here that objects that are none
//! of our business never come to us.

use crossfade_engine::admit::Hook;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::hook_name;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    hook: &'static str,
    namespace: String,
    answer: &'static str,
}

/// Requests by hook, namespace and answer.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    requests: Family<Labels, Counter>,
}

impl Counts {
    /// Shows them on /metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "crossfade_admission_requests",
            "Admission requests answered, by hook, namespace of the object and answer",
            self.requests.clone(),
        );
    }

    /// Counts one answer.
    pub(super) fn add(&self, hook: Hook, namespace: &str, answer: &'static str) {
        self.requests
            .get_or_create(&Labels {
                hook: hook_name(hook),
                namespace: namespace.to_owned(),
                answer,
            })
            .inc();
    }

    /// How many there were.
    #[must_use]
    pub fn get(&self, hook: Hook, namespace: &str, answer: &'static str) -> u64 {
        self.requests
            .get_or_create(&Labels {
                hook: hook_name(hook),
                namespace: namespace.to_owned(),
                answer,
            })
            .get()
    }
}
