//! A Rollout as it stands in the cluster, read leniently: a field that this program does not understand
//! must neither keep an abort from being written nor hide the other Rollouts of a list.
//!
//! What can be read of the status is read; the spec counts as a whole, for half a plan is another plan.

use std::ops::Deref;

use crossfade_api::{ControlSpec, Phase, RolloutSpec, RolloutStatus};
use crossfade_engine::Memory;
use kube::api::DynamicObject;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::called;
use crate::exit::Failure;

/// A Rollout. Of a spec that cannot be read it has `deployment` and `control` only.
#[derive(Clone, Debug)]
pub struct Rollout {
    raw: Value,
    read: crossfade_api::Rollout,
    /// Field and error.
    spec_problem: Option<String>,
    status_problem: Option<String>,
}

impl Deref for Rollout {
    type Target = crossfade_api::Rollout;

    fn deref(&self) -> &Self::Target {
        &self.read
    }
}

impl<'de> Deserialize<'de> for Rollout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::read)
    }
}

impl From<DynamicObject> for Rollout {
    fn from(object: DynamicObject) -> Self {
        Self::read(serde_json::to_value(object).unwrap_or_default())
    }
}

impl Rollout {
    /// Reads what can be read.
    pub fn read(mut raw: Value) -> Self {
        // Entries of a list may come without their own.
        if let Some(object) = raw.as_object_mut() {
            let own = |text: std::borrow::Cow<'_, str>| Value::String(text.into_owned());
            (object.entry("apiVersion"))
                .or_insert_with(|| own(crossfade_api::Rollout::api_version(&())));
            (object.entry("kind")).or_insert_with(|| own(crossfade_api::Rollout::kind(&())));
        }
        let (spec, spec_problem) = match decode::<RolloutSpec>(&raw["spec"], "spec") {
            Ok(spec) => (spec, None),
            Err(_) if raw["spec"].is_null() => (RolloutSpec::default(), None),
            Err(why) => {
                let rest = RolloutSpec {
                    deployment: raw["spec"]["deployment"].as_str().map(str::to_owned),
                    control: decode::<ControlSpec>(&raw["spec"]["control"], "spec.control").ok(),
                    ..RolloutSpec::default()
                };
                (rest, Some(why))
            }
        };
        let (status, status_problem) = match &raw["status"] {
            Value::Object(fields) => match decode::<RolloutStatus>(&raw["status"], "status") {
                Ok(status) => (Some(status), None),
                Err(why) => (Some(legible(fields)), Some(why)),
            },
            _ => (None, None),
        };
        let metadata = serde_json::from_value(raw["metadata"].clone()).unwrap_or_default();
        Self {
            read: crossfade_api::Rollout {
                metadata,
                spec,
                status,
            },
            raw,
            spec_problem,
            status_problem,
        }
    }

    /// As the API server has it.
    pub const fn raw(&self) -> &Value {
        &self.raw
    }

    /// The word of the phase, also one that only a newer version knows.
    pub fn phase_word(&self) -> &str {
        let written = self.raw.pointer("/status/phase").and_then(Value::as_str);
        written.unwrap_or(Phase::Idle.as_str())
    }

    /// Why the spec cannot be read: field, error, mend.
    pub fn unreadable(&self) -> Option<String> {
        let why = self.spec_problem.as_ref()?;
        Some(format!(
            "spec cannot be read: {why}; correct the field it names"
        ))
    }

    /// What of the status this version does not understand.
    pub fn misread(&self) -> Option<String> {
        let why = self.status_problem.as_ref()?;
        Some(format!(
            "{why}; it may be of a newer version: use the command line of the controller's version"
        ))
    }

    /// The spec, for whoever needs all of it.
    pub fn whole_spec(&self) -> Result<RolloutSpec, Failure> {
        match &self.spec_problem {
            None => Ok(self.spec.clone()),
            Some(why) => Err(Failure::new(format!(
                "Rollout {}: its spec cannot be read: {why}",
                self.name_any()
            ))
            .next(format!(
                "correct the field it names: {}",
                called::ours().kubectl(
                    self.namespace().as_deref(),
                    &format!("edit rollout.crossfade.dev {}", self.name_any())
                )
            ))),
        }
    }

    /// The controller's memory; `None`: there is none, or its form is another version's.
    pub fn memory(&self) -> Option<Memory> {
        Memory::deserialize(self.raw.pointer("/status/memory")?).ok()
    }
}

/// Decodes a value; the error begins with the field it is about.
pub fn decode<T: DeserializeOwned>(value: &Value, at: &str) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match path.as_str() {
            "." => format!("{at}: {inner}"),
            path => format!("{at}.{path}: {inner}"),
        }
    })
}

/// The fields that can be read, of lists the entries that can.
fn legible(fields: &Map<String, Value>) -> RolloutStatus {
    let alone = |field: &str, value: &Value| {
        let mut one = Map::new();
        one.insert(field.to_owned(), value.clone());
        RolloutStatus::deserialize(Value::Object(one)).is_ok()
    };
    let mut kept = Map::new();
    for (field, value) in fields {
        if alone(field, value) {
            kept.insert(field.clone(), value.clone());
        } else if let Value::Array(entries) = value {
            let whole = |entry: &&Value| alone(field, &Value::Array(vec![(*entry).clone()]));
            let entries = entries.iter().filter(whole).cloned().collect();
            kept.insert(field.clone(), Value::Array(entries));
        } else if field == "phase" && value.is_string() {
            // One that is not known is surely not at rest as we know it: what is done in mid-release is safe.
            kept.insert(field.clone(), Phase::Progressing.as_str().into());
        }
    }
    RolloutStatus::deserialize(Value::Object(kept)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rollout(spec: Value, status: Value) -> Rollout {
        Rollout::read(json!({
            "apiVersion": "crossfade.dev/v1alpha1", "kind": "Rollout",
            "metadata": { "name": "web", "namespace": "shop" }, "spec": spec, "status": status,
        }))
    }

    #[test]
    fn a_spec_that_cannot_be_read_names_its_field_and_keeps_the_rest() {
        let steps = json!([{ "weight": 5 }, { "weight": 33.333 }]);
        let spec = json!({ "deployment": "shop", "strategy": { "canary": { "steps": steps } } });
        let rollout = rollout(spec, json!({ "phase": "Warm" }));
        let why = rollout.unreadable().unwrap();
        for part in ["steps[1]", "33.333", "correct the field"] {
            assert!(why.contains(part), "{part} in {why}");
        }
        assert_eq!(rollout.spec.deployment.as_deref(), Some("shop"));
        assert_eq!(rollout.status.as_ref().unwrap().phase, Some(Phase::Warm));
        let failure = rollout.whole_spec().unwrap_err().to_string();
        assert!(failure.contains("Rollout web") && failure.contains("kubectl -n shop edit"));
    }

    #[test]
    fn a_field_of_a_newer_version_is_named() {
        let why = rollout(json!({ "mirror": 3 }), Value::Null).unreadable();
        assert!(why.unwrap().contains("mirror"));
    }

    #[test]
    fn of_a_status_everything_is_read_that_can_be() {
        let history = json!([
            { "candidate": "b", "outcome": "promoted", "reason": "good" }, { "candidate": 7 },
        ]);
        let rollout = rollout(
            json!({}),
            json!({ "phase": "Mirroring", "step": { "index": 0 }, "message": "it mirrors", "history": history }),
        );
        let status = rollout.status.clone().unwrap();
        assert_eq!(status.message.as_deref(), Some("it mirrors"));
        assert_eq!(status.history.len(), 1);
        assert!(status.step.is_none());
        assert_eq!(status.phase, Some(Phase::Progressing), "never at rest");
        assert_eq!(rollout.phase_word(), "Mirroring");
        assert!(rollout.misread().is_some() && rollout.unreadable().is_none());
    }
}
