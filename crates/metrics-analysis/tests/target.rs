//! Where metrics are found, and what is said when they are not.

use std::collections::BTreeMap;

use crossfade_metrics_analysis::target::{Scheme, check_template, target};
use crossfade_metrics_analysis::{PodFacts, PodsSource, ScrapeTarget, TargetError};

fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| (format!("prometheus.io/{name}"), (*value).to_owned()))
        .collect()
}

fn find(
    pairs: &[(&str, &str)],
    container_ports: &[u16],
    source: &PodsSource,
    ip: Option<&str>,
) -> Result<ScrapeTarget, TargetError> {
    let annotations = annotations(pairs);
    target(
        PodFacts {
            uid: "u",
            name: "web-1",
            ip,
            annotations: &annotations,
            container_ports,
        },
        source,
    )
}

fn url(
    pairs: &[(&str, &str)],
    container_ports: &[u16],
    source: &PodsSource,
) -> Result<String, String> {
    find(pairs, container_ports, source, Some("10.0.0.7"))
        .map(|target| target.url())
        .map_err(|error| error.to_string())
}

const MEND: &str = "annotate the pods with prometheus.io/port, set spec.analysis.pods.port, or set spec.analysis.source: none";

#[test]
fn annotations_and_fields() {
    let none = PodsSource::default();
    assert_eq!(
        url(&[("port", "8080")], &[], &none).unwrap(),
        "http://10.0.0.7:8080/metrics"
    );
    assert_eq!(
        url(
            &[
                ("scrape", "true"),
                ("port", "9090"),
                ("path", "/m?x=1"),
                ("scheme", "https")
            ],
            &[80],
            &none
        )
        .unwrap(),
        "https://10.0.0.7:9090/m?x=1"
    );
    assert_eq!(
        url(&[("scrape", "true")], &[8080], &none).unwrap(),
        "http://10.0.0.7:8080/metrics"
    );
    let fields = PodsSource {
        port: Some(81),
        path: Some("/stats".into()),
        ..PodsSource::default()
    };
    assert_eq!(
        url(
            &[("scrape", "false"), ("port", "9090"), ("path", "/m")],
            &[],
            &fields
        )
        .unwrap(),
        "http://10.0.0.7:81/stats"
    );
}

#[test]
fn addresses() {
    let source = PodsSource {
        port: Some(80),
        ..PodsSource::default()
    };
    let six = find(&[], &[], &source, Some("fd00::7")).unwrap();
    assert_eq!(
        (six.url().as_str(), six.scheme),
        ("http://[fd00::7]:80/metrics", Scheme::Http)
    );
    assert_eq!(find(&[], &[], &source, None), Err(TargetError::NoAddress));
    assert_eq!(
        find(&[], &[], &source, Some("")),
        Err(TargetError::NoAddress)
    );
    assert!(find(&[], &[], &source, Some("evil.example")).is_err());
}

#[test]
fn refusals_say_what_to_change() {
    let none = PodsSource::default();
    let refused = |pairs: &[(&str, &str)], ports: &[u16]| url(pairs, ports, &none).unwrap_err();
    assert_eq!(
        refused(&[], &[8080]),
        format!("no metrics port found: {MEND}")
    );
    assert_eq!(
        refused(&[("scrape", "true")], &[]),
        format!("no metrics port found: {MEND}")
    );
    assert_eq!(
        refused(&[("scrape", "false"), ("port", "80")], &[]),
        format!("the pods say prometheus.io/scrape: \"false\": {MEND}")
    );
    assert_eq!(
        refused(&[("scrape", "true")], &[80, 81]),
        format!(
            "prometheus.io/scrape is set without prometheus.io/port, and the pod has the ports 80, 81: {MEND}"
        )
    );
    assert_eq!(
        refused(&[("port", "http")], &[]),
        "prometheus.io/port is \"http\": it must be a number from 1 to 65535"
    );
    assert_eq!(
        refused(&[("port", "0")], &[]),
        "prometheus.io/port is \"0\": it must be a number from 1 to 65535"
    );
    assert_eq!(
        refused(&[("port", "80"), ("path", "metrics")], &[]),
        "prometheus.io/path is \"metrics\": it must be a path that begins with '/', without blanks and '#'"
    );
    assert_eq!(
        refused(&[("port", "80"), ("scheme", "ftp")], &[]),
        "prometheus.io/scheme is \"ftp\": it must be http or https"
    );
    let template = check_template(&annotations(&[]), &[80], &none);
    assert_eq!(template, Err(TargetError::NoPort));
}

#[test]
fn selection_has_defaults_and_checks_the_pattern() {
    let selection = PodsSource::default().selection().unwrap();
    assert_eq!(
        (selection.requests.as_str(), selection.code_label.as_str()),
        ("http_requests_total", "code")
    );
    assert!(selection.errors.matches("503"));
    let source = PodsSource {
        errors: Some("5.*".into()),
        ..PodsSource::default()
    };
    assert!(
        source
            .selection()
            .unwrap_err()
            .to_string()
            .starts_with("spec.analysis.pods.errors: \"5.*\" is not")
    );
}
