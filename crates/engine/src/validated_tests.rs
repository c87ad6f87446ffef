//! Which layer speaks for a field, and what is said about plans that cannot be carried out.

use super::*;

fn annotated(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn a_policy_that_cannot_be_read_holds_what_it_may_be_for() {
    let unreadable = |name: &str| Policies {
        unreadable: BTreeMap::from([(name.to_owned(), "steps[0].weight: 33.333".to_owned())]),
        ..Policies::default()
    };
    let problems = |policies: &Policies, pairs: &[(&str, &str)]| {
        validate(&RolloutSpec::default(), &annotated(pairs), policies).problems
    };
    assert!(problems(&unreadable("default"), &[])[0].contains("33.333"));
    let named = problems(&unreadable("shop"), &[("crossfade.dev/policy", "shop")]);
    assert!(named.len() == 1 && named[0].contains("33.333"), "{named:?}");
    assert_eq!(problems(&unreadable("another"), &[]), Vec::<String>::new());
}

#[test]
fn weights_only_rise() {
    let plan = |steps: &str| {
        validate(
            &RolloutSpec::default(),
            &annotated(&[("crossfade.dev/steps", steps)]),
            &Policies::default(),
        )
    };
    assert_eq!(plan("20%, 20%, 100%").problems, Vec::<String>::new());
    let falls = plan("50%, approval, 20%").problems;
    assert!(
        falls.len() == 1 && falls[0].contains("steps[2].weight is 20%, less than 50%"),
        "{falls:?}"
    );
}

#[test]
fn the_first_that_speaks_wins() {
    let policies = Policies {
        namespaced: BTreeMap::from([
            (
                "careful".to_owned(),
                RolloutPolicySpec {
                    warm: Some(Duration::from_seconds(600)),
                    ..RolloutPolicySpec::default()
                },
            ),
            (
                "default".to_owned(),
                RolloutPolicySpec {
                    warm: Some(Duration::from_seconds(1)),
                    progress_deadline: Some(Duration::from_seconds(90)),
                    ..RolloutPolicySpec::default()
                },
            ),
        ]),
        ..Policies::default()
    };
    let annotations = annotated(&[
        (annotations::STRATEGY, "canary"),
        (annotations::POLICY, "careful"),
        (annotations::STEPS, "10%"),
    ]);
    let validated = validate(&RolloutSpec::default(), &annotations, &policies);
    assert_eq!(validated.problems, Vec::<String>::new());
    assert_eq!(validated.plan.warm, 600_000);
    assert_eq!(validated.plan.progress_deadline, 90_000);
    assert_eq!(validated.plan.steps.len(), 1);
    assert_eq!(validated.sources["warm"], "RolloutPolicy careful");
    assert_eq!(validated.sources["steps"], "annotations");
    assert_eq!(
        validated.sources["progressDeadline"],
        "RolloutPolicy default"
    );
    assert_eq!(validated.sources["drain.atLeast"], "built in");
}

#[test]
fn problems_name_field_value_and_mend() {
    let annotations = annotated(&[
        (annotations::STRATEGY, "bluegreen"),
        (annotations::POLICY, "none-such"),
        (annotations::STEPS, "5%, 200%"),
        (annotations::ANALYSIS, "datadog"),
    ]);
    let problems = validate(&RolloutSpec::default(), &annotations, &Policies::default())
        .problems
        .join("\n");
    for part in [
        "\"bluegreen\" is not a strategy; write canary or blue-green",
        "none-such",
        "entry 2 of crossfade.dev/steps",
        "\"datadog\" is not a source",
    ] {
        assert!(problems.contains(part), "{part} in {problems}");
    }
}

#[test]
fn the_strategy_comes_from_one_layer_and_its_parts_from_others() {
    let annotations = annotated(&[(annotations::STRATEGY, "blue-green")]);
    let policy: RolloutPolicySpec = serde_json::from_value(serde_json::json!({
        "strategy": { "blueGreen": { "previewService": "web-preview", "approval": { "timeout": "1h" } } },
    }))
    .unwrap();
    let policies = Policies {
        namespaced: BTreeMap::from([("default".to_owned(), policy)]),
        ..Policies::default()
    };
    let validated = validate(&RolloutSpec::default(), &annotations, &policies);
    assert!(validated.problems.is_empty(), "{:?}", validated.problems);
    let plan = validated.plan;
    assert_eq!(
        plan.blue_green.as_ref().unwrap().preview.as_deref(),
        Some("web-preview")
    );
    assert_eq!((plan.steps.len(), plan.weight_at(0)), (1, Weight::ZERO));
    assert_eq!((plan.size_at(0, 4), plan.size_at(1, 4)), (4, 4));
    // What is written at the Deployment overrules the policy's strategy.
    let annotations = annotated(&[(annotations::STRATEGY, "canary")]);
    let validated = validate(&RolloutSpec::default(), &annotations, &policies);
    assert!(validated.plan.blue_green.is_none() && !validated.plan.steps.is_empty());
}

#[test]
fn an_approval_keeps_the_share_before_it() {
    let annotations = annotated(&[(annotations::STEPS, "approval, 20%, approval, 50%")]);
    let plan = validate(&RolloutSpec::default(), &annotations, &Policies::default()).plan;
    let shares: Vec<String> = (0..5)
        .map(|index| plan.weight_at(index).to_string())
        .collect();
    assert_eq!(shares, ["0%", "20%", "20%", "50%", "100%"]);
}

#[test]
fn labels_and_annotations_of_created_objects_come_from_the_first_layer_that_has_any() {
    let map = |key: &str| BTreeMap::from([(key.to_owned(), "x".to_owned())]);
    let policy = |created: CreatedMetadata| RolloutPolicySpec {
        created_metadata: Some(created),
        ..RolloutPolicySpec::default()
    };
    let of_cluster = CreatedMetadata {
        labels: map("team"),
        annotations: map("of-cluster"),
    };
    let own = CreatedMetadata {
        annotations: map("own"),
        ..CreatedMetadata::default()
    };
    let policies = Policies {
        cluster: BTreeMap::from([(DEFAULT_POLICY.to_owned(), policy(of_cluster))]),
        ..Policies::default()
    };
    let spec = RolloutSpec {
        created_metadata: Some(own),
        ..RolloutSpec::default()
    };
    let Validated { plan, sources, .. } = validate(&spec, &annotated(&[]), &policies);
    assert_eq!(plan.created.labels, map("team"));
    assert_eq!(plan.created.annotations, map("own"));
    assert_eq!(
        sources["createdMetadata.labels"],
        "ClusterRolloutPolicy default"
    );
    assert_eq!(sources["createdMetadata.annotations"], "spec");
}
