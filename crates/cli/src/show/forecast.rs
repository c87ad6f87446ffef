//! A plan in numbers: sizes, real shares, times, pods at most. Pure arithmetic over a resolved plan; which
//! plan that is, is the planner's.

use crossfade_api::{ApprovalThen, Duration, Inconclusive, NoDataThen, Weight};
use crossfade_engine::safety::real_share;
use crossfade_engine::validated::{Plan, PlannedStep};
use serde::Serialize;

use super::table::table;

/// Longest wait for endpoints on the way forward, milliseconds (the planner's own bound).
const SETTLE: u64 = 300_000;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForecastStep {
    /// `20%`, `approval` or `warm`.
    pub step: String,
    /// Share asked for.
    pub asked: Weight,
    /// Share that pods can give.
    pub real: Weight,
    pub candidate_pods: u32,
    pub stable_pods: u32,
    pub shortest: Duration,
    /// Absent: for ever, or until a person decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest: Option<Duration>,
    /// What the longest time is made of.
    pub longest_because: String,
}

/// The whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    pub replicas: u32,
    pub steps: Vec<ForecastStep>,
    /// From ready pods to the hand-over, verdicts being clear and approvals given at once. Starts of pods
    /// come on top.
    pub shortest: Duration,
    /// Every wait once to its deadline; absent: for ever. A side that falls short starts its step again,
    /// at most twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest: Option<Duration>,
    /// Of both versions together, before old pods end.
    pub pods_at_most: u32,
}

/// The numbers of a plan for N pods.
#[must_use]
pub fn forecast(plan: &Plan, replicas: u32) -> Forecast {
    let mut steps = Vec::new();
    let mut before = 0;
    for index in 0..=plan.steps.len() {
        let asked = plan.weight_at(u32::try_from(index).unwrap_or(u32::MAX));
        let size = plan.size_at(u32::try_from(index).unwrap_or(u32::MAX), replicas);
        let step = plan.steps.get(index);
        let (shortest, longest, longest_because) = times(plan, step, size > before);
        let real = if asked == Weight::FULL {
            asked
        } else if asked == Weight::ZERO {
            Weight::ZERO
        } else {
            real_share(size, replicas)
        };
        steps.push(ForecastStep {
            step: match step {
                Some(PlannedStep::Weight { weight, .. }) => weight.to_string(),
                Some(PlannedStep::Approval { .. }) => "approval".to_owned(),
                None => "warm".to_owned(),
            },
            asked,
            real,
            candidate_pods: size,
            stable_pods: replicas,
            shortest: Duration::from_milliseconds(shortest),
            longest: longest.map(Duration::from_milliseconds),
            longest_because,
        });
        before = size;
    }
    let sum = |value: fn(&ForecastStep) -> Option<Duration>| {
        steps
            .iter()
            .map(|step| value(step).map(Duration::milliseconds))
            .sum::<Option<u64>>()
            .map(Duration::from_milliseconds)
    };
    let most = steps
        .iter()
        .map(|step| step.candidate_pods)
        .max()
        .unwrap_or(0);
    Forecast {
        replicas,
        shortest: sum(|step| Some(step.shortest)).unwrap_or_default(),
        longest: sum(|step| step.longest),
        pods_at_most: replicas.saturating_add(most),
        steps,
    }
}

/// Shortest and longest time of a step in milliseconds, and what the longest consists of.
fn times(plan: &Plan, step: Option<&PlannedStep>, grows: bool) -> (u64, Option<u64>, String) {
    let text = |milliseconds: u64| Duration::from_milliseconds(milliseconds).to_string();
    let mut parts = Vec::new();
    let mut longest = Some(SETTLE.max(plan.settle_floor));
    if grows {
        parts.push(format!("{} for pods", text(plan.progress_deadline)));
        longest = longest.map(|sum| sum + plan.progress_deadline);
    }
    parts.push(format!("{} to settle", text(SETTLE)));
    let stay = match step {
        Some(PlannedStep::Approval { timeout, then }) => {
            parts.push(match timeout {
                Some(timeout) => format!(
                    "{} for the approval, then {}",
                    text(*timeout),
                    if *then == ApprovalThen::Abort {
                        "abort"
                    } else {
                        "advance"
                    }
                ),
                None => "a person's approval, for ever".to_owned(),
            });
            let longest = longest.zip(*timeout).map(|(sum, timeout)| sum + timeout);
            return (plan.settle_floor, longest, parts.join(", "));
        }
        Some(PlannedStep::Weight { stay, .. }) => *stay,
        // What stable still holds open ends by the drain first.
        None => plan.warm.max(plan.drain),
    };
    parts.push(format!("{} stay", text(stay)));
    longest = longest.map(|sum| sum + stay);
    let analysis = &plan.analysis;
    if analysis.scrape {
        if analysis.no_data_then == NoDataThen::Stay || analysis.inconclusive == Inconclusive::Hold
        {
            longest = None;
            parts.push("held without data or a clear verdict until a person decides".to_owned());
        } else {
            longest = longest.map(|sum| sum + analysis.no_data_limit);
            parts.push(format!("{} held", text(analysis.no_data_limit)));
        }
    }
    (plan.settle_floor + stay, longest, parts.join(", "))
}

/// The numbers as a table.
#[must_use]
pub fn forecast_table(forecast: &Forecast) -> String {
    let ever = |length: Option<Duration>| {
        length.map_or_else(|| "for ever".to_owned(), |length| length.to_string())
    };
    let rows: Vec<Vec<String>> = forecast
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            vec![
                (index + 1).to_string(),
                step.step.clone(),
                step.asked.to_string(),
                step.real.to_string(),
                format!("{} + {}", step.candidate_pods, step.stable_pods),
                step.shortest.to_string(),
                ever(step.longest),
                step.longest_because.clone(),
            ]
        })
        .collect();
    let mut text = table(
        &[
            "#",
            "STEP",
            "ASKED",
            "REAL",
            "NEW + OLD",
            "SHORTEST",
            "LONGEST",
            "LONGEST IS",
        ],
        &rows,
    );
    text.push_str(&format!(
        "\nshortest {} (starts of pods not counted), longest {}, at most {} pods at once\nthen the hand-over: about a second, and the old pods' end\n",
        forecast.shortest,
        ever(forecast.longest),
        forecast.pods_at_most
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossfade_engine::validated::Analysis;

    fn plan() -> Plan {
        let weight = |points, stay| PlannedStep::Weight {
            weight: Weight::from_basis_points(points).unwrap(),
            stay,
        };
        Plan {
            steps: vec![
                weight(500, 60_000),
                PlannedStep::Approval {
                    timeout: Some(3_600_000),
                    then: ApprovalThen::Abort,
                },
                weight(5_000, 120_000),
            ],
            min_replicas: 1,
            warm: 300_000,
            settle_floor: 3_000,
            drain: 5_000,
            progress_deadline: 600_000,
            analysis: Analysis {
                scrape: true,
                no_data_limit: 1_800_000,
                ..Analysis::default()
            },
            ..Plan::default()
        }
    }

    #[test]
    fn sizes_shares_and_pods_at_most() {
        let forecast = forecast(&plan(), 10);
        let sizes: Vec<u32> = forecast
            .steps
            .iter()
            .map(|step| step.candidate_pods)
            .collect();
        // max(1, floor(0.05 · 10 / 0.95)) = 1; half beside ten is ten; the warm stay has N.
        assert_eq!(sizes, [1, 1, 10, 10]);
        let real: Vec<String> = forecast
            .steps
            .iter()
            .map(|step| step.real.to_string())
            .collect();
        assert_eq!(real, ["9.09%", "9.09%", "50%", "100%"]);
        assert_eq!(forecast.pods_at_most, 20);
    }

    #[test]
    fn times_are_sums_of_the_waits() {
        let forecast = forecast(&plan(), 10);
        // Four settles of 3 s, stays of 1 m and 2 m, warm 5 m.
        assert_eq!(forecast.shortest.milliseconds(), 12_000 + 480_000);
        let longest: Vec<u64> = forecast
            .steps
            .iter()
            .map(|step| step.longest.unwrap().milliseconds() / 60_000)
            .collect();
        // pods 10 + settle 5 + stay 1 + held 30; settle 5 + approval 60; 10 + 5 + 2 + 30; 5 + 5 + 30.
        assert_eq!(longest, [46, 65, 47, 40]);
        assert_eq!(forecast.longest.unwrap().milliseconds(), 198 * 60_000);
    }

    #[test]
    fn what_waits_for_a_person_has_no_longest_time() {
        let mut plan = plan();
        plan.steps[1] = PlannedStep::Approval {
            timeout: None,
            then: ApprovalThen::Abort,
        };
        assert_eq!(forecast(&plan, 10).longest, None);
        let mut plan = self::plan();
        plan.analysis.no_data_then = NoDataThen::Stay;
        assert_eq!(forecast(&plan, 10).longest, None);
        plan.analysis.scrape = false;
        assert!(forecast(&plan, 10).longest.is_some());
        let text = forecast_table(&forecast(&plan, 10));
        assert!(text.contains("at most 20 pods"), "{text}");
    }

    #[test]
    fn a_short_warm_stay_still_drains() {
        let mut plan = plan();
        plan.warm = 0;
        let forecast = forecast(&plan, 3);
        assert_eq!(
            forecast.steps.last().unwrap().shortest.milliseconds(),
            8_000
        );
    }
}
