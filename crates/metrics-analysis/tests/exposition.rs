//! The parser: what it reads, what it refuses and where, and that it reads back what is rendered.

#![expect(
    clippy::unwrap_used,
    reason = "a failing test may panic, its helpers too"
)]

use std::collections::BTreeMap;

use crossfade_metrics_analysis::exposition::{Exemplar, Family, Kind, render};
use crossfade_metrics_analysis::{Dialect, Exposition, Limits, Sample, parse};
use proptest::prelude::*;

fn text(input: &str) -> Exposition {
    parse(input.as_bytes(), Dialect::Text, Limits::default()).unwrap()
}

fn refused(input: &str) -> String {
    parse(input.as_bytes(), Dialect::Text, Limits::default())
        .unwrap_err()
        .to_string()
}

/// Name, labels as `a=b` pairs, value, timestamp of the only sample.
fn one(input: &str) -> (String, Vec<String>, f64, Option<i64>) {
    let exposition = text(&format!("{input}\n"));
    assert_eq!(exposition.samples.len(), 1, "{input}");
    let sample = exposition.samples[0].clone();
    let labels = sample
        .labels
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    (sample.name, labels, sample.value, sample.timestamp_millis)
}

#[test]
fn a_whole_answer() {
    let read = text(concat!(
        "# HELP http_requests_total Requests.\\nSecond line, C:\\\\DIR.\n",
        "# TYPE http_requests_total counter\n",
        "http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000\n",
        "http_requests_total{method=\"post\",code=\"400\"}    3 1395066363000\n",
        "\n",
        "# a comment, TYPE in it\n",
        "#\n",
        "metric_without_timestamp_and_labels 12.47\n",
        "something_weird{problem=\"division by zero\"} +Inf -3982045\n",
        "# TYPE rpc summary\n",
        "rpc{quantile=\"0.5\"} 4773\n",
        "rpc_sum 1.7560473e+07\n",
    ));
    assert_eq!(read.samples.len(), 6);
    let family = &read.families["http_requests_total"];
    assert_eq!(family.kind, Some(Kind::Counter));
    assert_eq!(
        family.help.as_deref(),
        Some("Requests.\nSecond line, C:\\DIR.")
    );
    assert_eq!(read.samples[0].timestamp_millis, Some(1_395_066_363_000));
    assert_eq!(read.samples[3].timestamp_millis, Some(-3_982_045));
    assert_eq!(
        (read.samples[5].value, read.samples[5].line),
        (17_560_473.0, 12)
    );
}

#[test]
fn label_values_hold_anything() {
    let (name, labels, value, _) = one(r#"m{a="x\\y\"z\n{}",b="p,q=r}",c="",} 1"#);
    assert_eq!((name.as_str(), value), ("m", 1.0));
    assert_eq!(labels, ["a=x\\y\"z\n{}", "b=p,q=r}", "c="]);
    assert_eq!(one("m{path=\"/für/日本\"} 1").1, ["path=/für/日本"]);
}

#[test]
fn spacing_and_shapes() {
    for input in [
        "m 1",
        "m{} 1",
        "m{}1",
        "  m\t1 ",
        "m { } 1",
        "m {a=\"b\"} 1",
        "m{ a = \"b\" , } 1",
    ] {
        assert_eq!(one(input).0, "m", "{input}");
    }
    assert_eq!(
        one("job:http_requests:rate5m 1").0,
        "job:http_requests:rate5m"
    );
    assert_eq!(one(":_ 1").0, ":_");
}

#[test]
fn quoted_names() {
    let (name, labels, ..) = one(r#"{"http.requests",code="200","a b"="c"} 1"#);
    assert_eq!(
        (name.as_str(), labels),
        (
            "http.requests",
            vec!["a b=c".to_owned(), "code=200".to_owned()]
        )
    );
    assert_eq!(one(r#"{"m"} 1"#).0, "m");
    assert_eq!(
        text("# TYPE \"http.requests\" counter\n").families["http.requests"].kind,
        Some(Kind::Counter)
    );
}

#[test]
fn values_and_timestamps() {
    for (word, value) in [
        ("+Inf", f64::INFINITY),
        ("Inf", f64::INFINITY),
        ("-Inf", f64::NEG_INFINITY),
        ("1e3", 1000.0),
    ] {
        assert_eq!(one(&format!("m {word}")).2, value);
    }
    assert!(one("m NaN").2.is_nan());
    assert_eq!(one("m 1 1520879607789").3, Some(1_520_879_607_789));
    // Seconds of OpenMetrics, seen by their point.
    assert_eq!(one("m 1 1520879607.789").3, Some(1_520_879_607_789));
    let seconds = parse(
        b"m 1 1520879607\n# EOF\n",
        Dialect::OpenMetrics,
        Limits::default(),
    )
    .unwrap();
    assert_eq!(seconds.samples[0].timestamp_millis, Some(1_520_879_607_000));
}

#[test]
fn openmetrics() {
    let input = concat!(
        "# TYPE http_requests counter\n",
        "# UNIT http_requests requests\n",
        "http_requests_total{code=\"200\"} 5 1520879607.5 # {trace_id=\"a#}b\"} 0.67 1520879606.25\n",
        "# TYPE build info\n",
        "build_info{version=\"1\"} 1\n",
        "# EOF\n",
    );
    let read = parse(input.as_bytes(), Dialect::OpenMetrics, Limits::default()).unwrap();
    assert_eq!(
        read.families["http_requests"].unit.as_deref(),
        Some("requests")
    );
    assert_eq!(
        read.samples[0].exemplar,
        Some(Exemplar {
            labels: BTreeMap::from([("trace_id".into(), "a#}b".into())]),
            value: 0.67,
            timestamp_millis: Some(1_520_879_606_250)
        })
    );
    // The same as text: the mark is a comment.
    assert_eq!(text(input).samples.len(), 2);

    let cut = parse(b"m 1\n", Dialect::OpenMetrics, Limits::default()).unwrap_err();
    assert_eq!(
        cut.to_string(),
        "line 2, column 1: expected '# EOF' at the end: the answer was cut"
    );
    let after = parse(b"# EOF\nm 1\n", Dialect::OpenMetrics, Limits::default()).unwrap_err();
    assert_eq!(
        after.to_string(),
        "line 2, column 1: expected nothing after '# EOF', found 'm'"
    );
    assert!(parse(b"m 1\n# EOF", Dialect::OpenMetrics, Limits::default()).is_ok());
}

#[test]
fn dialect_by_content_type() {
    let dialect = Dialect::from_content_type;
    assert_eq!(
        dialect("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        Dialect::OpenMetrics
    );
    assert_eq!(dialect("text/plain; version=0.0.4"), Dialect::Text);
    assert_eq!(dialect(""), Dialect::Text);
}

#[test]
fn errors_name_line_and_column() {
    for (input, expected) in [
        (
            "<!DOCTYPE html>\n",
            "line 1, column 1: expected metrics, found '<': this looks like an HTML page",
        ),
        (
            "m\n",
            "line 1, column 2: expected a blank or '{' after the metric name, found the end of the line",
        ),
        (
            "m \n",
            "line 1, column 3: expected a value (a number, NaN, +Inf or -Inf), found the end of the line",
        ),
        (
            "a 1\nm x\n",
            "line 2, column 3: expected a value (a number, NaN, +Inf or -Inf), found \"x\"",
        ),
        (
            "m 1e999\n",
            "line 1, column 3: expected a value (a number, NaN, +Inf or -Inf), found \"1e999\"",
        ),
        (
            "m 1 2 3\n",
            "line 1, column 7: expected the end of the line, found '3'",
        ),
        (
            "m 1 soon\n",
            "line 1, column 5: expected a timestamp, found \"soon\"",
        ),
        (
            "m 1 99999999999999999999\n",
            "line 1, column 5: expected a timestamp, found \"99999999999999999999\"",
        ),
        (
            "m-x 1\n",
            "line 1, column 2: expected a blank or '{' after the metric name, found '-'",
        ),
        (
            "1m 1\n",
            "line 1, column 1: expected a metric name, '{' or '#', found '1'",
        ),
        (
            "{} 1\n",
            "line 1, column 1: expected a quoted metric name first in the braces",
        ),
        (
            "{a=\"b\",\"m\"} 1\n",
            "line 1, column 11: expected '=' after the label name, found '}'",
        ),
        (
            "m{a=\"b\" 1\n",
            "line 1, column 9: expected ',' or '}', found '1'",
        ),
        (
            "m{a=b} 1\n",
            "line 1, column 5: expected a quoted label value, found 'b'",
        ),
        (
            "m{a:b=\"c\"} 1\n",
            "line 1, column 4: expected '=' after the label name, found ':'",
        ),
        (
            "m{,} 1\n",
            "line 1, column 3: expected a label name or '}', found ','",
        ),
        (
            "m{é=\"x\"} 1\n",
            "line 1, column 3: expected a label name or '}', found 'é'",
        ),
        (
            "m{a=\"é\\q\"} 1\n",
            "line 1, column 8: expected one of the escapes \\\\, \\\" and \\n, found 'q'",
        ),
        (
            "m{a=\"b\n",
            "line 1, column 7: expected a closing quote, found the end of the line",
        ),
        (
            "m{a=\"1\",a=\"2\"} 1\n",
            "line 1, column 9: the label \"a\" is given twice",
        ),
        (
            "m 1\r\n",
            "line 1, column 3: expected a value (a number, NaN, +Inf or -Inf), found \"1\\r\"",
        ),
        (
            "m 12",
            "line 1, column 5: expected a line feed: the answer ends inside a line",
        ),
        (
            "# TYPE m countr\n",
            "line 1, column 10: expected a metric type, found \"countr\"",
        ),
        (
            "# TYPE m counter\n# TYPE m counter\n",
            "line 2, column 8: a second TYPE line for \"m\"",
        ),
        (
            "m_total 1\n# TYPE m counter\n",
            "line 2, column 8: the TYPE line comes after samples of its metric",
        ),
        (
            "# HELP m a\\tb\n",
            "line 1, column 11: expected one of the escapes \\\\, \\\" and \\n in the help text",
        ),
        (
            "# HELP 5 x\n",
            "line 1, column 8: expected a metric name, found '5'",
        ),
        (
            "m{a=\"1\"} 1\nn 2\nm{a=\"1\"} 3\n",
            "line 3, column 1: the series m{a=\"1\"} stood in line 1 already",
        ),
    ] {
        assert_eq!(refused(input), expected, "{input:?}");
    }
    let bytes = parse(b"m{a=\"\xff\"} 1\n", Dialect::Text, Limits::default()).unwrap_err();
    assert_eq!(bytes.to_string(), "line 1, column 6: not UTF-8");
}

#[test]
fn limits_are_errors() {
    let limits = Limits {
        bytes: 40,
        line_bytes: 20,
        samples: 2,
        labels: 1,
    };
    let refused = |input: &str| {
        parse(input.as_bytes(), Dialect::Text, limits)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(&"m 1\n".repeat(11)),
        "line 1, column 1: the answer has 44 bytes, 40 are allowed"
    );
    assert_eq!(
        refused("a 1\n# 3456789012345678901\n"),
        "line 2, column 1: the line has 21 bytes, 20 are allowed"
    );
    assert_eq!(
        refused("a 1\nb 1\nc 1\n"),
        "line 3, column 1: more than 2 samples"
    );
    assert_eq!(
        refused("a{x=\"\",y=\"\"} 1\n"),
        "line 1, column 8: more than 1 labels"
    );
    assert_eq!(text("").samples.len(), 0);
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let name = prop_oneof!["[a-zA-Z_][a-zA-Z0-9_]{0,8}", "\\PC{1,6}"];
    let value = prop_oneof!["[a-z0-9/]{0,8}", "\\PC{0,8}", "[\\\\\"\n,={}# ]{0,8}"];
    prop::collection::btree_map(name, value, 0..5)
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        (0_u32..100_000).prop_map(f64::from),
        Just(f64::INFINITY),
        Just(f64::NAN)
    ]
}

fn timestamp() -> impl Strategy<Value = Option<i64>> {
    prop::option::of(-10_000_000_000_000_i64..10_000_000_000_000)
}

fn exposition() -> impl Strategy<Value = Exposition> {
    let name = prop_oneof!["[a-zA-Z_:][a-zA-Z0-9_:]{0,12}", "\\PC{1,8}"].boxed();
    let exemplar =
        (labels(), value(), timestamp()).prop_map(|(labels, value, timestamp_millis)| Exemplar {
            labels,
            value,
            timestamp_millis,
        });
    let sample = (
        name.clone(),
        labels(),
        value(),
        timestamp(),
        prop::option::of(exemplar),
    )
        .prop_map(|(name, labels, value, timestamp_millis, exemplar)| Sample {
            name,
            labels,
            value,
            timestamp_millis,
            exemplar,
            line: 0,
        });
    let kind = prop_oneof![
        Just(Kind::Counter),
        Just(Kind::Histogram),
        Just(Kind::Untyped),
        Just(Kind::StateSet)
    ];
    let help = prop::option::of("([^\\s\\pC][^\\pC]{0,10}|[a-z][\\\\\n\"]{1,4}|)");
    let family = (prop::option::of(kind), help, prop::option::of("[a-z]{1,5}"))
        .prop_map(|(kind, help, unit)| Family { kind, help, unit });
    let families = prop::collection::btree_map(name, family, 0..4);
    (families, prop::collection::vec(sample, 0..8)).prop_map(|(mut families, mut samples)| {
        families.retain(|_, family| *family != Family::default());
        samples.dedup_by_key(|sample| sample.name.clone());
        samples.sort_by(|a, b| a.name.cmp(&b.name));
        samples.dedup_by(|a, b| a.name == b.name);
        Exposition { families, samples }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_back_what_was_rendered(exposition in exposition()) {
        let rendered = render(&exposition);
        let mut read = parse(rendered.as_bytes(), Dialect::Text, Limits::default())
            .map_err(|error| TestCaseError::fail(format!("{error} in {rendered:?}")))?;
        for sample in &mut read.samples {
            sample.line = 0;
        }
        // NaN is not equal to itself; in words it is.
        prop_assert_eq!(format!("{read:?}"), format!("{exposition:?}"));
    }

    #[test]
    fn any_bytes_are_an_answer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for dialect in [Dialect::Text, Dialect::OpenMetrics] {
            let _ = parse(&bytes, dialect, Limits::default());
        }
    }

    #[test]
    fn nearly_valid_text_is_an_answer_or_an_error(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "m", "{", "}", "\"", "a=\"b\"", ",", " ", "\\", "\n", "# ", "TYPE ", "HELP ", "UNIT ", "EOF", "1", "NaN",
                "counter", "é", "=", "1e9", ".", "-", "\t", "\u{0}", "\r",
            ]),
            0..40,
        )
    ) {
        let input = pieces.concat();
        for dialect in [Dialect::Text, Dialect::OpenMetrics] {
            if let Err(error) = parse(input.as_bytes(), dialect, Limits::default()) {
                prop_assert!(error.line >= 1 && error.column >= 1);
                prop_assert!(error.line <= input.split('\n').count());
            }
        }
    }

    #[test]
    fn no_sample_is_dropped(count in 0_usize..200) {
        let input: String = (0..count).map(|index| format!("m{{i=\"{index}\"}} {index}\n")).collect();
        prop_assert_eq!(text(&input).samples.len(), count);
    }
}
