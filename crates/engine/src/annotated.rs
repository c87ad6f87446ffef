//! What the annotations of a Deployment ask for, as one layer of a plan. Which layer wins is not decided
//! here.

use std::collections::BTreeMap;

use crossfade_api::{
    AnalysisSource, AnalysisSpec, BlueGreen, Canary, RolloutPolicySpec, Strategy, annotations,
};

/// The layer; what is wrong with the annotations is added to `problems`.
pub(crate) fn layer(
    annotations: &BTreeMap<String, String>,
    problems: &mut Vec<String>,
) -> RolloutPolicySpec {
    let mut layer = RolloutPolicySpec::default();
    match annotations
        .get(annotations::STRATEGY)
        .map(|text| text.trim())
    {
        None => {}
        // Said, it counts: a policy that asks for blue-green is overruled.
        Some("canary") => {
            layer.strategy = Some(Strategy {
                canary: Some(Canary::default()),
                blue_green: None,
            })
        }
        Some("blue-green") => {
            layer.strategy = Some(Strategy {
                canary: None,
                blue_green: Some(BlueGreen::default()),
            });
        }
        Some(other) => problems.push(format!(
            "annotation {}: \"{other}\" is not a strategy; write canary or blue-green",
            annotations::STRATEGY
        )),
    }
    if let Some(text) = annotations.get(annotations::STEPS) {
        match annotations::parse_steps(text) {
            Ok(_)
                if layer
                    .strategy
                    .as_ref()
                    .is_some_and(|strategy| strategy.blue_green.is_some()) =>
            {
                problems.push(format!(
                    "annotation {}: \"{text}\" says the steps of a canary, and {} says blue-green, which has none; remove one of them",
                    annotations::STEPS,
                    annotations::STRATEGY
                ));
            }
            Ok(steps) => {
                let strategy = layer.strategy.get_or_insert_default();
                strategy.canary.get_or_insert_default().steps = Some(steps);
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
    if let Some(text) = annotations.get(annotations::ANALYSIS) {
        let source = match text.trim() {
            "pods" => Some(AnalysisSource::Pods),
            "none" => Some(AnalysisSource::None),
            other => {
                problems.push(format!(
                    "annotation {}: \"{other}\" is not a source; write pods or none",
                    annotations::ANALYSIS
                ));
                None
            }
        };
        layer.analysis = Some(AnalysisSpec {
            source,
            ..AnalysisSpec::default()
        });
    }
    layer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (RolloutPolicySpec, Vec<String>) {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let mut problems = Vec::new();
        (layer(&pairs, &mut problems), problems)
    }

    #[test]
    fn a_strategy_that_is_written_speaks() {
        let (canary, problems) = read(&[(annotations::STRATEGY, "canary")]);
        let strategy = canary.strategy.unwrap();
        assert!(strategy.canary.is_some() && strategy.blue_green.is_none());
        assert!(problems.is_empty());
        let (nothing, _) = read(&[]);
        assert_eq!(nothing.strategy, None);
    }

    #[test]
    fn steps_and_blue_green_do_not_go_together() {
        let (layer, problems) = read(&[
            (annotations::STRATEGY, "blue-green"),
            (annotations::STEPS, "5%, 50%"),
        ]);
        assert!(layer.strategy.unwrap().canary.is_none());
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].contains("remove one of them"),
            "{}",
            problems[0]
        );
    }
}
