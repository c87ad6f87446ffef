//! A cursor over one line: tokens of the format, and where one was expected that is not there.
//!
//! Does not belong here: which tokens make a line ([`super::parse`]).

use std::collections::BTreeMap;

/// Something else was expected at byte `at` of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unexpected {
    pub(super) at: usize,
    pub(super) message: String,
}

pub(super) type Result<T> = std::result::Result<T, Unexpected>;

pub(super) struct Line<'a> {
    text: &'a str,
    at: usize,
}

/// What stands in braces: labels, and with quoted names the metric's name.
#[derive(Debug, Default)]
pub(super) struct Braces {
    pub(super) name: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
}

impl<'a> Line<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn is_done(&self) -> bool {
        self.rest().is_empty()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip(&mut self, char: char) {
        self.at += char.len_utf8();
    }

    /// Spaces and tabs; says whether there were any.
    pub(super) fn blanks(&mut self) -> bool {
        let rest = self.rest();
        let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        self.at += blanks;
        blanks > 0
    }

    pub(super) fn eat(&mut self, char: char) -> bool {
        let found = self.peek() == Some(char);
        if found {
            self.skip(char);
        }
        found
    }

    pub(super) fn fail<T>(&self, expected: &str) -> Result<T> {
        let found = match self.peek() {
            Some('\r') => "a carriage return".to_owned(),
            Some(char) => format!("{char:?}"),
            None => "the end of the line".to_owned(),
        };
        Err(Unexpected {
            at: self.at,
            message: format!("expected {expected}, found {found}"),
        })
    }

    /// Up to the next blank or the end; never empty.
    pub(super) fn word(&mut self, expected: &str) -> Result<&'a str> {
        let word = self.rest().split([' ', '\t']).next().unwrap_or_default();
        if word.is_empty() {
            return self.fail(expected);
        }
        self.at += word.len();
        Ok(word)
    }

    /// `[a-zA-Z_][a-zA-Z0-9_]*`, with `colons` also `:`.
    pub(super) fn name(&mut self, colons: bool, expected: &str) -> Result<String> {
        let fits = |char: char, first: bool| {
            char.is_ascii_alphabetic()
                || char == '_'
                || (colons && char == ':')
                || (!first && char.is_ascii_digit())
        };
        let rest = self.rest();
        let end = rest
            .char_indices()
            .find(|&(index, char)| !fits(char, index == 0))
            .map_or(rest.len(), |(index, _)| index);
        let name = rest.get(..end).unwrap_or_default();
        if name.is_empty() {
            return self.fail(expected);
        }
        self.at += end;
        Ok(name.to_owned())
    }

    /// A quoted string with the escapes `\\`, `\"` and `\n`.
    pub(super) fn quoted(&mut self, expected: &str) -> Result<String> {
        if !self.eat('"') {
            return self.fail(expected);
        }
        let mut value = String::new();
        loop {
            match self.peek() {
                None => return self.fail("a closing quote"),
                Some('"') => {
                    self.skip('"');
                    return Ok(value);
                }
                Some('\\') => {
                    self.skip('\\');
                    match self.peek() {
                        Some('n') => value.push('\n'),
                        Some(char @ ('\\' | '"')) => value.push(char),
                        _ => return self.fail("one of the escapes \\\\, \\\" and \\n"),
                    }
                    self.at += 1;
                }
                Some(char) => {
                    value.push(char);
                    self.skip(char);
                }
            }
        }
    }

    /// From `{` to `}`. `named` allows a quoted metric name in the first place.
    pub(super) fn braces(&mut self, named: bool, most: usize) -> Result<Braces> {
        let mut braces = Braces::default();
        if !self.eat('{') {
            return self.fail("'{'");
        }
        let mut first = true;
        loop {
            self.blanks();
            if self.eat('}') {
                return Ok(braces);
            }
            let start = self.at;
            let quoted = self.peek() == Some('"');
            let name = if quoted {
                self.quoted("a quoted name")?
            } else {
                self.name(false, "a label name or '}'")?
            };
            self.blanks();
            if named && first && quoted && self.peek() != Some('=') {
                if name.is_empty() {
                    return Err(Unexpected {
                        at: start,
                        message: "the metric name is empty".to_owned(),
                    });
                }
                braces.name = Some(name);
            } else {
                self.label(name, start, &mut braces.labels, most)?;
            }
            first = false;
            self.blanks();
            if !self.eat(',') && self.peek() != Some('}') {
                return self.fail("',' or '}'");
            }
        }
    }

    fn label(
        &mut self,
        name: String,
        start: usize,
        labels: &mut BTreeMap<String, String>,
        most: usize,
    ) -> Result<()> {
        if name.is_empty() {
            return Err(Unexpected {
                at: start,
                message: "the label name is empty".to_owned(),
            });
        }
        if !self.eat('=') {
            return self.fail("'=' after the label name");
        }
        self.blanks();
        let value = self.quoted("a quoted label value")?;
        if labels.len() >= most {
            return Err(Unexpected {
                at: start,
                message: format!("more than {most} labels"),
            });
        }
        if labels.contains_key(&name) {
            return Err(Unexpected {
                at: start,
                message: format!("the label {name:?} is given twice"),
            });
        }
        labels.insert(name, value);
        Ok(())
    }

    /// A sample value: what Go's `ParseFloat` and the format allow, without hexadecimal floats.
    pub(super) fn value(&mut self) -> Result<f64> {
        const EXPECTED: &str = "a value (a number, NaN, +Inf or -Inf)";
        let start = self.at;
        let word = self.word(EXPECTED)?;
        let refused = Err(Unexpected {
            at: start,
            message: format!("expected {EXPECTED}, found {word:?}"),
        });
        let Ok(value) = word.parse::<f64>() else {
            return refused;
        };
        // "1e999" is no infinity somebody meant, and would count as one.
        let spelled = word.to_ascii_lowercase().contains("inf");
        if value.is_infinite() && !spelled {
            refused
        } else {
            Ok(value)
        }
    }

    /// A timestamp in milliseconds; `seconds` reads a whole number as seconds too.
    pub(super) fn timestamp(&mut self, seconds: bool) -> Result<i64> {
        const EXPECTED: &str = "a timestamp";
        let start = self.at;
        let word = self.word(EXPECTED)?;
        let refused = Err(Unexpected {
            at: start,
            message: format!("expected {EXPECTED}, found {word:?}"),
        });
        if !seconds && let Ok(millis) = word.parse::<i64>() {
            return Ok(millis);
        }
        let decimal = word
            .chars()
            .all(|char| char.is_ascii_digit() || "+-.eE".contains(char));
        match word.parse::<f64>() {
            // A whole number that did not fit into 64 bits above is not seconds either.
            Ok(value) if decimal && (seconds || word.contains(['.', 'e', 'E'])) => {
                let millis = (value * 1000.0).round();
                if millis.abs() < 9.2e18 {
                    Ok(millis as i64)
                } else {
                    refused
                }
            }
            _ => refused,
        }
    }
}
