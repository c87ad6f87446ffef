//! The plan that is carried out, and what follows from it alone: shares, sizes, words. How it comes about
//! from what users wrote is in `validated`.

use crossfade_api::{
    ApprovalThen, CreatedMetadata, Duration, Inconclusive, NoDataThen, PodMetrics,
    RetainedRevisions, Weight,
};
use serde::{Deserialize, Serialize};

/// The plan of a release: every question answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Plan {
    pub steps: Vec<PlannedStep>,
    /// All traffic moves at once; absent: in steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blue_green: Option<PlannedBlueGreen>,
    pub min_replicas: u32,
    /// Milliseconds, as every length below.
    pub warm: u64,
    pub settle_floor: u64,
    pub drain: u64,
    pub progress_deadline: u64,
    /// The Service the shares are about; `None`: all.
    pub service: Option<String>,
    pub analysis: Analysis,
    /// Whether a retained revision goes without steps.
    pub retained: RetainedRevisions,
    /// What created objects carry.
    #[serde(skip_serializing_if = "CreatedMetadata::is_empty")]
    pub created: CreatedMetadata,
}

/// One step, resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PlannedStep {
    /// A share of traffic and its shortest stay in milliseconds.
    Weight { weight: Weight, stay: u64 },
    /// A person's word; the timeout in milliseconds.
    Approval {
        timeout: Option<u64>,
        then: ApprovalThen,
    },
}

/// Blue-green, resolved; its approval is a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PlannedBlueGreen {
    /// The Service that shows the candidate before the move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<String>,
}

/// The analysis, resolved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Analysis {
    /// Counters of the pods are judged; otherwise their health alone.
    pub scrape: bool,
    pub pods: PodMetrics,
    /// Milliseconds.
    pub interval: u64,
    pub min_requests: u32,
    /// Milliseconds.
    pub no_data_limit: u64,
    pub no_data_then: NoDataThen,
    pub inconclusive: Inconclusive,
    pub alpha: f64,
}

impl Plan {
    /// The share of step `index`; one past the last, the warm stay, has everything. An approval keeps
    /// the share of the step before it.
    #[must_use]
    pub fn weight_at(&self, index: u32) -> Weight {
        let index = index as usize;
        if index >= self.steps.len() {
            return Weight::FULL;
        }
        self.steps
            .iter()
            .take(index + 1)
            .rev()
            .find_map(|step| match step {
                PlannedStep::Weight { weight, .. } => Some(*weight),
                PlannedStep::Approval { .. } => None,
            })
            .unwrap_or(Weight::ZERO)
    }

    /// Pods of the candidate in step `index`, of a workload of `replicas`: those of its share behind a plain
    /// Service; all of them where all traffic moves at once.
    #[must_use]
    pub fn size_at(&self, index: u32, replicas: u32) -> u32 {
        if self.blue_green.is_some() {
            return replicas;
        }
        crate::safety::candidate_size(self.weight_at(index), replicas, self.min_replicas)
    }

    /// Index of the warm stay.
    #[must_use]
    pub fn warm_index(&self) -> u32 {
        u32::try_from(self.steps.len()).unwrap_or(u32::MAX)
    }

    /// Each step in words, the share that pods give beside the one asked for.
    #[must_use]
    pub fn describe(&self, replicas: u32) -> Vec<String> {
        let mut lines: Vec<String> = self
            .steps
            .iter()
            .map(|step| match step {
                PlannedStep::Weight { weight, stay } => {
                    let size = crate::safety::candidate_size(*weight, replicas, self.min_replicas);
                    let real = if *weight == Weight::FULL {
                        Weight::FULL
                    } else {
                        crate::safety::real_share(size, replicas)
                    };
                    format!(
                        "{weight} for {}: {size} of {} pods, a real share of {real}",
                        Duration::from_milliseconds(*stay),
                        size + replicas
                    )
                }
                PlannedStep::Approval {
                    timeout: Some(timeout),
                    then,
                } => format!(
                    "approval for {}, then {}",
                    Duration::from_milliseconds(*timeout),
                    if *then == ApprovalThen::Abort {
                        "abort"
                    } else {
                        "advance"
                    }
                ),
                PlannedStep::Approval { timeout: None, .. } => "approval, for ever".to_owned(),
            })
            .collect();
        lines.push(format!(
            "100% for {} with stable standing by, then hand-over",
            Duration::from_milliseconds(self.warm)
        ));
        if let Some(plan) = &self.blue_green {
            let shown = (plan.preview.as_ref())
                .map_or_else(String::new, |name| format!(", shown by Service {name}"));
            let pods = format!("{replicas} pods at 0%{shown}; all traffic at once");
            lines.insert(0, pods);
        }
        lines
    }
}
