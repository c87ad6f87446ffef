//! Errors of fields in the words of the real server's validation, and paths to fields.
//!
//! Formats: k8s.io/apimachinery `util/validation/field` of 1.34. Which value is wrong does not belong
//! here.

use std::fmt;

use serde_json::Value;

use crate::error::Cause;

/// Where a field is. Borrowed while a walk goes down; text only when something is wrong there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path<'p> {
    /// The object itself.
    Root,
    /// A part of the object that is checked alone: messages do not repeat its name.
    Base(&'p str),
    Child(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
    /// An entry of a map, printed in brackets.
    Key(&'p Path<'p>, &'p str),
}

impl<'p> Path<'p> {
    pub fn child(&'p self, name: &'p str) -> Path<'p> {
        Path::Child(self, name)
    }

    pub fn index(&'p self, place: usize) -> Path<'p> {
        Path::Index(self, place)
    }

    pub fn key(&'p self, name: &'p str) -> Path<'p> {
        Path::Key(self, name)
    }

    /// Where the walk began.
    pub fn base(&self) -> Path<'p> {
        match self {
            Path::Root | Path::Base(_) => *self,
            Path::Child(parent, _) | Path::Index(parent, _) | Path::Key(parent, _) => parent.base(),
        }
    }

    /// The path as schema validation writes it inside its messages: empty for the object itself, map
    /// entries with a dot.
    pub fn dotted(&self) -> String {
        match self {
            Path::Root | Path::Base(_) => String::new(),
            Path::Child(parent, name) | Path::Key(parent, name) => {
                let parent = parent.dotted();
                if parent.is_empty() {
                    (*name).to_owned()
                } else {
                    format!("{parent}.{name}")
                }
            }
            Path::Index(parent, place) => format!("{}[{place}]", parent.dotted()),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => formatter.write_str("<nil>"),
            Path::Base(name) => formatter.write_str(name),
            Path::Child(Path::Root, name) => formatter.write_str(name),
            Path::Child(parent, name) => write!(formatter, "{parent}.{name}"),
            Path::Index(Path::Root, place) => write!(formatter, "[{place}]"),
            Path::Index(parent, place) => write!(formatter, "{parent}[{place}]"),
            Path::Key(Path::Root, name) => write!(formatter, "[{name}]"),
            Path::Key(parent, name) => write!(formatter, "{parent}[{name}]"),
        }
    }
}

/// Errors found so far, in order.
#[derive(Debug, Default)]
pub(crate) struct Causes(Vec<Cause>);

impl Causes {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_slice(&self) -> &[Cause] {
        &self.0
    }

    pub fn extend(&mut self, more: Causes) {
        self.0.extend(more.0);
    }

    pub fn push(&mut self, kind: &str, path: impl fmt::Display, message: String) {
        self.0.push(Cause::new(kind, path.to_string(), message));
    }

    pub fn required(&mut self, path: impl fmt::Display, detail: &str) {
        self.push(
            "FieldValueRequired",
            path,
            with_detail("Required value", detail),
        );
    }

    pub fn forbidden(&mut self, path: impl fmt::Display, detail: &str) {
        self.push(
            "FieldValueForbidden",
            path,
            with_detail("Forbidden", detail),
        );
    }

    pub fn invalid(&mut self, path: impl fmt::Display, value: &Value, detail: &str) {
        self.invalid_printed(path, &printed(value), detail);
    }

    /// The same for a value whose printed form the caller knows.
    pub fn invalid_printed(&mut self, path: impl fmt::Display, printed: &str, detail: &str) {
        let text = format!("Invalid value: {printed}");
        self.push("FieldValueInvalid", path, with_detail(&text, detail));
    }

    pub fn type_invalid(&mut self, path: impl fmt::Display, value: &Value, detail: &str) {
        let text = format!("Invalid value: {}", printed(value));
        self.push("FieldValueTypeInvalid", path, with_detail(&text, detail));
    }

    pub fn duplicate(&mut self, path: impl fmt::Display, value: &Value) {
        let text = format!("Duplicate value: {}", printed(value));
        self.push("FieldValueDuplicate", path, text);
    }

    pub fn not_supported<'s>(
        &mut self,
        path: impl fmt::Display,
        value: &Value,
        supported: impl IntoIterator<Item = &'s str>,
    ) {
        self.not_supported_printed(path, &printed(value), supported);
    }

    /// The same for a value whose printed form the caller knows.
    pub fn not_supported_printed<'s>(
        &mut self,
        path: impl fmt::Display,
        printed: &str,
        supported: impl IntoIterator<Item = &'s str>,
    ) {
        let quoted: Vec<String> = supported.into_iter().map(quote).collect();
        let text = format!("Unsupported value: {printed}");
        let detail = if quoted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", quoted.join(", "))
        };
        self.push("FieldValueNotSupported", path, with_detail(&text, &detail));
    }

    /// A double of a value whose printed form the caller knows: internal types print their fields in
    /// the order of their declaration.
    pub fn duplicate_printed(&mut self, path: impl fmt::Display, printed: &str) {
        let text = format!("Duplicate value: {printed}");
        self.push("FieldValueDuplicate", path, text);
    }

    /// `limit` in bytes.
    pub fn too_long(&mut self, path: impl fmt::Display, limit: u64) {
        let unit = if limit == 1 { "byte" } else { "bytes" };
        let text = format!("Too long: may not be more than {limit} {unit}");
        self.push("FieldValueTooLong", path, text);
    }

    pub fn too_many(&mut self, path: impl fmt::Display, count: usize, limit: u64) {
        let unit = if limit == 1 { "item" } else { "items" };
        let text = format!("Too many: {count}: must have at most {limit} {unit}");
        self.push("FieldValueTooMany", path, text);
    }

    /// Whether rules may not be evaluated: the real server skips them after errors of these kinds.
    pub fn blocks_rules(&self) -> bool {
        self.0.iter().any(|cause| {
            matches!(
                cause.reason.as_str(),
                "FieldValueRequired"
                    | "FieldValueTooLong"
                    | "FieldValueTooMany"
                    | "FieldValueTypeInvalid"
                    | "FieldValueNotSupported"
            )
        })
    }
}

fn with_detail(text: &str, detail: &str) -> String {
    if detail.is_empty() {
        text.to_owned()
    } else {
        format!("{text}: {detail}")
    }
}

/// A value as error messages show it: numbers and truths plain, texts quoted, all else as JSON.
pub(crate) fn printed(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.to_string(),
            (None, Some(broken)) => float(broken),
            (None, None) => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// A text as Go's `%q` prints it.
pub(crate) fn quote(text: &str) -> String {
    use std::fmt::Write as _;
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            // Writing to a String cannot fail.
            low if u32::from(low) < 0x20 || low == '\u{7f}' => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(low));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// A double as Go's `%v` prints it: with an exponent below 10⁻⁴ and from 10⁶ on.
pub(crate) fn float(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return number.to_string();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
