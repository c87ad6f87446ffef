//! What the demo's users write: a Deployment that is opted in, its Service, a policy short enough to
//! watch. Pure.

use crossfade_api::{Duration, Step};
use serde_json::{Value, json};

/// Namespace of everything.
pub use crate::world::install::NAMESPACE;
/// The Deployment, its Service and its Rollout.
pub const WEB: &str = "web";
/// Port the pods name; what they really listen on is a port of loopback each.
const PORT: u16 = 8080;
/// Stay of a step that names none.
const STAY: Duration = Duration::from_seconds(10);
/// Last stay.
const WARM: Duration = Duration::from_seconds(10);

/// How fast the story goes: 1 is for watching, 10 for trying out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace(f64);

impl Pace {
    /// From 0.1 to 20; what is outside becomes the nearest.
    #[must_use]
    pub fn new(speed: f64) -> Self {
        Self(if speed.is_finite() {
            speed.clamp(0.1, 20.0)
        } else {
            1.0
        })
    }

    /// A length of time at this pace, at least `least`.
    #[must_use]
    pub fn length(self, normal: Duration, least: Duration) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "lengths of a demo are seconds, far inside the range"
        )]
        let milliseconds = (normal.milliseconds() as f64 / self.0).round() as u64;
        Duration::from_milliseconds(milliseconds.max(least.milliseconds()))
    }

    /// The same in milliseconds.
    #[must_use]
    pub fn millis(self, normal: u64, least: u64) -> u64 {
        self.length(
            Duration::from_milliseconds(normal),
            Duration::from_milliseconds(least),
        )
        .milliseconds()
    }
}

/// 20 % and 50 %.
#[must_use]
pub fn usual_steps() -> Vec<Step> {
    [2_000, 5_000]
        .into_iter()
        .map(|points| Step {
            weight: crossfade_api::Weight::from_basis_points(points),
            ..Step::default()
        })
        .collect()
}

/// Steps in the short form of the annotation, their stays at this pace. Approvals lose their limit: the
/// demo gives them by itself.
#[must_use]
pub fn annotation(steps: &[Step], pace: Pace) -> String {
    let entries: Vec<String> = steps
        .iter()
        .map(|step| match step.weight {
            Some(weight) => format!(
                "{weight} for {}",
                pace.length(step.stay.unwrap_or(STAY), Duration::from_milliseconds(500))
            ),
            None => "approval".to_owned(),
        })
        .collect();
    entries.join(", ")
}

/// Image of a version.
#[must_use]
pub fn image(version: &str) -> String {
    format!("registry.local/{WEB}:{version}")
}

/// The Deployment as its user writes it.
#[must_use]
pub fn deployment(replicas: u32, steps: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": WEB, "labels": { "app": WEB },
            "annotations": { "crossfade.dev/strategy": "canary", "crossfade.dev/steps": steps },
        },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": WEB } },
            "template": {
                "metadata": {
                    "labels": { "app": WEB },
                    "annotations": { "prometheus.io/scrape": "true", "prometheus.io/port": PORT.to_string() },
                },
                "spec": {
                    "terminationGracePeriodSeconds": 15,
                    "containers": [{ "name": "app", "image": image("v1"), "ports": [{ "name": "http", "containerPort": PORT }] }],
                },
            },
        },
    })
}

/// Its Service.
#[must_use]
pub fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": WEB, "labels": { "app": WEB } },
        "spec": { "selector": { "app": WEB }, "ports": [{ "name": "http", "port": 80, "targetPort": "http" }] },
    })
}

/// The policy: stays for watching instead of for production. `rate` in requests per second.
#[must_use]
pub fn policy(pace: Pace, rate: u32) -> Value {
    let text = |normal: u64, least: u64| {
        pace.length(
            Duration::from_milliseconds(normal),
            Duration::from_milliseconds(least),
        )
        .to_string()
    };
    json!({
        "apiVersion": "crossfade.dev/v1alpha1", "kind": "RolloutPolicy",
        "metadata": { "name": "default" },
        "spec": {
            "warm": pace.length(WARM, Duration::from_seconds(1)),
            // Both are longer than the data plane's longest delay and than clients keep a connection.
            "traffic": { "settle": { "floor": text(2_000, 500) }, "drain": { "atLeast": text(2_000, 600) } },
            "analysis": {
                // A second is the shortest there is.
                "interval": text(2_000, 1_000),
                "minRequests": (rate / 4).clamp(25, 50),
                "noData": { "limit": "1m", "then": "rollback" },
            },
            "progressDeadline": "1m",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossfade_api::annotations::parse_steps;

    #[test]
    fn stays_follow_the_pace_and_end_at_the_least() {
        let steps = parse_steps("5%, 20% for 3s, approval, 50%").unwrap();
        assert_eq!(
            annotation(&steps, Pace::new(1.0)),
            "5% for 10s, 20% for 3s, approval, 50% for 10s"
        );
        assert_eq!(
            annotation(&steps, Pace::new(4.0)),
            "5% for 2s500ms, 20% for 750ms, approval, 50% for 2s500ms"
        );
        assert!(parse_steps(&annotation(&steps, Pace::new(20.0))).is_ok());
        assert_eq!(Pace::new(f64::NAN), Pace::new(1.0));
        assert_eq!(Pace::new(1e9).millis(2_000, 500), 500);
    }

    #[test]
    fn the_policy_is_one_the_planner_takes() {
        for speed in [0.1, 1.0, 20.0] {
            let policy = policy(Pace::new(speed), 200);
            let spec = serde_json::from_value(policy["spec"].clone()).unwrap();
            let policies = crossfade_engine::validated::Policies {
                namespaced: [("default".to_owned(), spec)].into(),
                ..crossfade_engine::validated::Policies::default()
            };
            let validated = crossfade_engine::validated::validate(
                &crossfade_api::RolloutSpec::default(),
                &std::collections::BTreeMap::new(),
                &policies,
            );
            assert_eq!(validated.problems, Vec::<String>::new());
        }
    }
}
