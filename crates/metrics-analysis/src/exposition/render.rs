//! An exposition as text: the inverse of the parser, for its own check and for whoever serves metrics.
//!
//! Does not belong here: choosing what to expose.

use std::{collections::BTreeMap, fmt::Write};

use super::{Exposition, Kind};

/// The exposition in the text format 0.0.4: families first, then the samples in order. Reading it back gives the same again, but for line
/// numbers. Exemplars are written as in OpenMetrics, with their timestamps in seconds.
#[must_use]
pub fn render(exposition: &Exposition) -> String {
    let mut text = String::new();
    for (name, family) in &exposition.families {
        let name = name_or_quoted(name, true);
        if let Some(help) = &family.help {
            line(
                &mut text,
                format_args!(
                    "# HELP {name} {}",
                    help.replace('\\', "\\\\").replace('\n', "\\n")
                ),
            );
        }
        if let Some(kind) = family.kind {
            line(&mut text, format_args!("# TYPE {name} {}", word(kind)));
        }
        if let Some(unit) = &family.unit {
            line(&mut text, format_args!("# UNIT {name} {unit}"));
        }
    }
    for sample in &exposition.samples {
        let name = name_or_quoted(&sample.name, true);
        let series = match (name.starts_with('"'), sample.labels.is_empty()) {
            (false, true) => name,
            (false, false) => format!("{name}{{{}}}", labels(&sample.labels)),
            (true, true) => format!("{{{name}}}"),
            (true, false) => format!("{{{name},{}}}", labels(&sample.labels)),
        };
        let mut rest = number(sample.value);
        if let Some(millis) = sample.timestamp_millis {
            rest = format!("{rest} {millis}");
        }
        if let Some(exemplar) = &sample.exemplar {
            rest = format!(
                "{rest} # {{{}}} {}",
                labels(&exemplar.labels),
                number(exemplar.value)
            );
            if let Some(millis) = exemplar.timestamp_millis {
                let (sign, size) = (if millis < 0 { "-" } else { "" }, millis.unsigned_abs());
                rest = format!("{rest} {sign}{}.{:03}", size / 1000, size % 1000);
            }
        }
        line(&mut text, format_args!("{series} {rest}"));
    }
    text
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{content}");
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = labels
        .iter()
        .map(|(name, value)| format!("{}={}", name_or_quoted(name, false), quoted(value)))
        .collect();
    pairs.join(",")
}

fn quoted(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    )
}

/// A name that needs no quotes, or the quoted one.
fn name_or_quoted(name: &str, colons: bool) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || char == '_' || (colons && char == ':');
    let digit = name.starts_with(|char: char| char.is_ascii_digit());
    if !name.is_empty() && !digit && name.chars().all(plain) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => format!("{value}"),
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
        Kind::Summary => "summary",
        Kind::Untyped => "untyped",
        Kind::Info => "info",
        Kind::StateSet => "stateset",
        Kind::GaugeHistogram => "gaugehistogram",
    }
}
