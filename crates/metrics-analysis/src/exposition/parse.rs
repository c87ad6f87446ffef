//! Lines to samples: the grammar of the format.
//!
//! Does not belong here: tokens ([`super::line`]).

use std::collections::BTreeSet;

use super::{
    Dialect, Exemplar, Exposition, Kind, Limits, Sample,
    line::{Line, Result, Unexpected},
};

/// Why an answer cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What was expected and what was found.
    pub message: String,
}

/// Reads an answer.
///
/// # Errors
/// The first line that is not of the format, is beyond a limit, repeats a series, or contradicts an earlier one; bytes that are not
/// UTF-8; a last line without line feed, for the answer may have been cut inside a number.
pub fn parse(
    bytes: &[u8],
    dialect: Dialect,
    limits: Limits,
) -> std::result::Result<Exposition, ParseError> {
    if bytes.len() > limits.bytes {
        let message = format!(
            "the answer has {} bytes, {} are allowed",
            bytes.len(),
            limits.bytes
        );
        return Err(ParseError {
            line: 1,
            column: 1,
            message,
        });
    }
    let mut reader = Reader {
        dialect,
        limits,
        ..Reader::default()
    };
    let mut lines = bytes.split(|&byte| byte == b'\n').enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let number = index + 1;
        let place = |at: usize, message: String| ParseError {
            line: number,
            column: column(line, at),
            message,
        };
        if line.len() > limits.line_bytes {
            let message = format!(
                "the line has {} bytes, {} are allowed",
                line.len(),
                limits.line_bytes
            );
            return Err(place(0, message));
        }
        let text = std::str::from_utf8(line)
            .map_err(|error| place(error.valid_up_to(), "not UTF-8".to_owned()))?;
        // Read first: what the line holds explains more than its missing end.
        reader
            .line(text, number)
            .map_err(|error| place(error.at, error.message))?;
        // OpenMetrics may end with its mark, which nothing can have been cut from.
        if lines.peek().is_none() && !text.is_empty() && !reader.ended {
            return Err(place(
                line.len(),
                "expected a line feed: the answer ends inside a line".to_owned(),
            ));
        }
    }
    reader.finish(bytes.split(|&byte| byte == b'\n').count())
}

/// Characters before byte `at`, plus one.
fn column(line: &[u8], at: usize) -> usize {
    let before = line.get(..at).unwrap_or(line);
    String::from_utf8_lossy(before).chars().count() + 1
}

#[derive(Default)]
struct Reader {
    dialect: Dialect,
    limits: Limits,
    out: Exposition,
    /// Names that had a sample, to find TYPE lines that come too late.
    sampled: BTreeSet<String>,
    ended: bool,
}

impl Reader {
    fn line(&mut self, text: &str, number: usize) -> Result<()> {
        let mut line = Line::new(text);
        line.blanks();
        if line.is_done() {
            return Ok(());
        }
        if self.ended {
            return line.fail("nothing after '# EOF'");
        }
        if line.eat('#') {
            return self.comment(&mut line);
        }
        let sample = self.sample(&mut line, number)?;
        if !self.sampled.contains(&sample.name) {
            self.sampled.insert(sample.name.clone());
        }
        self.out.samples.push(sample);
        Ok(())
    }

    fn comment(&mut self, line: &mut Line<'_>) -> Result<()> {
        if self.dialect == Dialect::OpenMetrics && line.rest() == " EOF" {
            self.ended = true;
            return Ok(());
        }
        line.blanks();
        let keyword = line.rest().split([' ', '\t']).next().unwrap_or_default();
        if !matches!(keyword, "HELP" | "TYPE" | "UNIT") {
            return Ok(());
        }
        line.word("a keyword")?;
        line.blanks();
        let start = line.at();
        let name = if line.peek() == Some('"') {
            line.quoted("a metric name")?
        } else {
            line.name(true, "a metric name")?
        };
        if !line.blanks() && !line.is_done() {
            return line.fail("a blank after the metric name");
        }
        let twice = Err(Unexpected {
            at: start,
            message: format!("a second {keyword} line for {name:?}"),
        });
        let late = keyword == "TYPE" && self.has_samples(&name);
        let family = self.out.families.entry(name).or_default();
        match keyword {
            "HELP" => {
                if family.help.replace(unescape(line)?).is_some() {
                    return twice;
                }
            }
            "UNIT" => {
                let unit = if line.is_done() {
                    ""
                } else {
                    line.word("a unit")?
                };
                if family.unit.replace(unit.to_owned()).is_some() {
                    return twice;
                }
                end(line)?;
            }
            _ => {
                let kind = kind(line)?;
                end(line)?;
                if family.kind.replace(kind).is_some() {
                    return twice;
                }
                if late {
                    let message = "the TYPE line comes after samples of its metric".to_owned();
                    return Err(Unexpected { at: start, message });
                }
            }
        }
        Ok(())
    }

    fn has_samples(&self, name: &str) -> bool {
        let suffixes = ["", "_total", "_bucket", "_sum", "_count", "_info"];
        suffixes
            .iter()
            .any(|suffix| self.sampled.contains(&format!("{name}{suffix}")))
    }

    fn sample(&self, line: &mut Line<'_>, number: usize) -> Result<Sample> {
        if self.out.samples.len() >= self.limits.samples {
            let message = format!("more than {} samples", self.limits.samples);
            return Err(Unexpected { at: 0, message });
        }
        if line.peek() == Some('<') {
            let message = "expected metrics, found '<': this looks like an HTML page".to_owned();
            return Err(Unexpected {
                at: line.at(),
                message,
            });
        }
        let outside = if line.peek() == Some('{') {
            None
        } else {
            Some(line.name(true, "a metric name, '{' or '#'")?)
        };
        let mut blank = line.blanks();
        let (mut inside, mut labels) = (None, std::collections::BTreeMap::new());
        if line.peek() == Some('{') {
            let braces = line.braces(outside.is_none(), self.limits.labels)?;
            (inside, labels) = (braces.name, braces.labels);
            // Nothing is needed after a closing brace: `m{}1` is a sample.
            line.blanks();
            blank = true;
        }
        let Some(name) = outside.or(inside) else {
            let message = "expected a quoted metric name first in the braces".to_owned();
            return Err(Unexpected { at: 0, message });
        };
        if !blank {
            return line.fail("a blank or '{' after the metric name");
        }
        let value = line.value()?;
        let timestamp_millis = self.timestamp(line, self.dialect == Dialect::OpenMetrics)?;
        let exemplar = self.exemplar(line)?;
        end(line)?;
        Ok(Sample {
            name,
            labels,
            value,
            timestamp_millis,
            exemplar,
            line: number,
        })
    }

    fn timestamp(&self, line: &mut Line<'_>, seconds: bool) -> Result<Option<i64>> {
        line.blanks();
        if line.is_done() || line.peek() == Some('#') {
            return Ok(None);
        }
        line.timestamp(seconds).map(Some)
    }

    /// `# {labels} value [seconds]`. Exemplars are OpenMetrics', so their timestamps are seconds in either dialect.
    fn exemplar(&self, line: &mut Line<'_>) -> Result<Option<Exemplar>> {
        line.blanks();
        if !line.eat('#') {
            return Ok(None);
        }
        line.blanks();
        let labels = line.braces(false, self.limits.labels)?.labels;
        line.blanks();
        let value = line.value()?;
        let timestamp_millis = self.timestamp(line, true)?;
        Ok(Some(Exemplar {
            labels,
            value,
            timestamp_millis,
        }))
    }

    fn finish(self, lines: usize) -> std::result::Result<Exposition, ParseError> {
        if self.dialect == Dialect::OpenMetrics && !self.ended {
            let message = "expected '# EOF' at the end: the answer was cut".to_owned();
            return Err(ParseError {
                line: lines,
                column: 1,
                message,
            });
        }
        let mut order: Vec<&Sample> = self.out.samples.iter().collect();
        order.sort_by(|a, b| key(a).cmp(&key(b)));
        let repeated = order.windows(2).find_map(|pair| match pair {
            [first, second] if key(first) == key(second) => Some((first, second)),
            _ => None,
        });
        if let Some((first, second)) = repeated {
            let message = format!(
                "the series {} stood in line {} already",
                series(second),
                first.line
            );
            return Err(ParseError {
                line: second.line,
                column: 1,
                message,
            });
        }
        Ok(self.out)
    }
}

type Key<'a> = (
    &'a str,
    &'a std::collections::BTreeMap<String, String>,
    Option<i64>,
);

/// OpenMetrics allows one series several times with growing timestamps.
fn key(sample: &Sample) -> Key<'_> {
    (&sample.name, &sample.labels, sample.timestamp_millis)
}

fn series(sample: &Sample) -> String {
    let labels: Vec<_> = sample
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    format!("{}{{{}}}", sample.name, labels.join(","))
}

fn kind(line: &mut Line<'_>) -> Result<Kind> {
    let start = line.at();
    let word = line.word("a metric type")?;
    Ok(match word {
        "counter" => Kind::Counter,
        "gauge" => Kind::Gauge,
        "histogram" => Kind::Histogram,
        "summary" => Kind::Summary,
        "untyped" | "unknown" => Kind::Untyped,
        "info" => Kind::Info,
        "stateset" => Kind::StateSet,
        "gaugehistogram" => Kind::GaugeHistogram,
        _ => {
            return Err(Unexpected {
                at: start,
                message: format!("expected a metric type, found {word:?}"),
            });
        }
    })
}

fn end(line: &mut Line<'_>) -> Result<()> {
    line.blanks();
    if line.is_done() {
        Ok(())
    } else {
        line.fail("the end of the line")
    }
}

/// The rest of the line as help text: `\\` and `\n`, in OpenMetrics also `\"`.
fn unescape(line: &Line<'_>) -> Result<String> {
    let (mut text, mut chars) = (String::new(), line.rest().char_indices());
    while let Some((index, char)) = chars.next() {
        if char != '\\' {
            text.push(char);
            continue;
        }
        match chars.next() {
            Some((_, 'n')) => text.push('\n'),
            Some((_, next @ ('\\' | '"'))) => text.push(next),
            _ => {
                let message =
                    "expected one of the escapes \\\\, \\\" and \\n in the help text".to_owned();
                return Err(Unexpected {
                    at: line.at() + index,
                    message,
                });
            }
        }
    }
    Ok(text)
}
