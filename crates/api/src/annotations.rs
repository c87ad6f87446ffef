//! Annotations and labels, and the short form of steps in `crossfade.dev/steps`.

use crate::{Approval, Duration, Step, Weight};

/// Opts a Deployment in; value `canary` or `blue-green`.
pub const STRATEGY: &str = "crossfade.dev/strategy";
/// Names a RolloutPolicy of the namespace or a ClusterRolloutPolicy.
pub const POLICY: &str = "crossfade.dev/policy";
/// Steps in short form: `5%, 20% for 5m, approval, 50%`.
pub const STEPS: &str = "crossfade.dev/steps";
/// Source of the analysis in short form: `pods` or `none`.
pub const ANALYSIS: &str = "crossfade.dev/analysis";
/// Lets one template change pass natively; the value is the reason. Counts only when it changes in
/// the same write as the template.
pub const BYPASS: &str = "crossfade.dev/bypass";
/// Fingerprint of the template that the bypass was given for. Admission writes it with that template and
/// takes it off with the next one: two looks at a Deployment do not tell what was written together.
pub const BYPASS_TEMPLATE: &str = "crossfade.dev/bypass-template";
/// On the parallel Deployment: plan and originals, should the Rollout's memory be lost.
pub const ORIGINALS: &str = "crossfade.dev/originals";

/// Label on Services and routes under release; the value is the workload's uid.
pub const HELD_BY: &str = "crossfade.dev/held-by";
/// Label on everything Crossfade creates; the value is the uid of the workload.
pub const WORKLOAD_UID: &str = "crossfade.dev/workload-uid";
/// Label on everything Crossfade creates; the value is the uid of the Rollout.
pub const ROLLOUT_UID: &str = "crossfade.dev/rollout-uid";
/// Label on the parallel Deployment; the value is the name of the installation that made it.
pub const INSTALLATION: &str = "crossfade.dev/installation";
/// Label on the parallel Deployment; the value is the candidate's name.
pub const CANDIDATE: &str = "crossfade.dev/candidate";

/// The label the Deployment controller gives to the pods of one ReplicaSet.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// Annotation of the Deployment controller: the revision.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotation of the Deployment controller: replicas asked for.
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// Annotation of the Deployment controller: replicas asked for, plus surge.
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// A value of `crossfade.dev/steps` that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "entry {number} of crossfade.dev/steps, \"{entry}\": {why}; write for example \"5%, 20% for 5m, approval, 50%\""
)]
pub struct InvalidSteps {
    /// Counted from 1.
    number: usize,
    entry: String,
    why: String,
}

/// Reads the short form of steps.
///
/// # Errors
/// Names the entry, its value and the mend.
pub fn parse_steps(text: &str) -> Result<Vec<Step>, InvalidSteps> {
    let mut steps = Vec::new();
    for (index, entry) in text.split(',').enumerate() {
        let fail = |why: String| InvalidSteps {
            number: index + 1,
            entry: entry.trim().to_owned(),
            why,
        };
        let mut words = entry.split_whitespace();
        let step = match (words.next(), words.next(), words.next(), words.next()) {
            (None, ..) => return Err(fail("it is empty".to_owned())),
            (Some("approval"), None, ..) => Step {
                approval: Some(Approval::default()),
                ..Step::default()
            },
            (Some("approval"), Some("for"), Some(timeout), None) => Step {
                approval: Some(Approval {
                    timeout: Some(timeout.parse::<Duration>().map_err(|error| fail(error.to_string()))?),
                    then: None,
                }),
                ..Step::default()
            },
            (Some(weight), None, ..) => Step {
                weight: Some(weight.parse::<Weight>().map_err(|error| fail(error.to_string()))?),
                ..Step::default()
            },
            (Some(weight), Some("for"), Some(stay), None) => Step {
                weight: Some(weight.parse::<Weight>().map_err(|error| fail(error.to_string()))?),
                stay: Some(stay.parse::<Duration>().map_err(|error| fail(error.to_string()))?),
                approval: None,
            },
            _ => return Err(fail("a step is \"<weight>\", \"<weight> for <time>\", \"approval\" or \"approval for <time>\"".to_owned())),
        };
        if steps.len() == 32 {
            return Err(fail("there are more than 32 steps".to_owned()));
        }
        steps.push(step);
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_form_of_the_documentation() {
        let steps = parse_steps("5%, 20% for 5m, approval, 50%").unwrap();
        assert_eq!(steps.len(), 4);
        assert_eq!(steps[0].weight.unwrap().basis_points(), 500);
        assert_eq!(steps[0].stay, None);
        assert_eq!(steps[1].stay.unwrap().to_string(), "5m");
        assert!(steps[2].approval.is_some());
        assert_eq!(
            parse_steps("approval for 24h").unwrap()[0]
                .approval
                .as_ref()
                .unwrap()
                .timeout
                .unwrap()
                .to_string(),
            "1d"
        );
    }

    #[test]
    fn names_entry_and_value() {
        for (text, part) in [
            ("5%, , 50%", "entry 2"),
            ("5%, 200%", "\"200%\" is not a weight"),
            ("5% for", "a step is"),
            ("5% for ever", "\"ever\" is not a length of time"),
            ("5% until 5m", "a step is"),
        ] {
            let error = parse_steps(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
