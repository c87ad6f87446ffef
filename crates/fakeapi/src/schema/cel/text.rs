//! Functions of expressions on texts.
//!
//! Positions count characters, not bytes. Meaning: the CEL standard library and its strings extension
//! (<https://github.com/google/cel-go/blob/master/ext/README.md#strings>).

use super::evaluate::no_overload;
use super::functions::{count, plain};
use super::regular;
use super::value::Value;

type Outcome<'a> = Result<Value<'a>, String>;

/// Name, fewest and most arguments beside the receiver.
const KNOWN: [(&str, usize, usize); 17] = [
    ("contains", 1, 1),
    ("startsWith", 1, 1),
    ("endsWith", 1, 1),
    ("matches", 1, 1),
    ("find", 1, 1),
    ("findAll", 1, 2),
    ("split", 1, 2),
    ("join", 0, 1),
    ("replace", 2, 3),
    ("substring", 1, 2),
    ("charAt", 1, 1),
    ("lowerAscii", 0, 0),
    ("upperAscii", 0, 0),
    ("trim", 0, 0),
    ("reverse", 0, 0),
    ("format", 1, 1),
    ("indexOf", 1, 2),
];

/// The name of a function on texts that takes so many arguments.
pub(super) fn receiver(name: &str, arguments: usize) -> Option<&'static str> {
    KNOWN
        .iter()
        .find(|(known, fewest, most)| *known == name && (*fewest..=*most).contains(&arguments))
        .map(|(known, _, _)| *known)
}

fn text_of<'v>(value: Option<&'v Value<'_>>) -> Result<&'v str, String> {
    match value {
        Some(Value::Text(text)) => Ok(text),
        _ => no_overload(),
    }
}

fn number_of(value: Option<&Value<'_>>) -> Result<i64, String> {
    match value {
        Some(Value::Int(number)) => Ok(*number),
        _ => no_overload(),
    }
}

/// A limit: absent or negative means none.
fn limit_of(value: Option<&Value<'_>>) -> Result<usize, String> {
    value.map_or(Ok(usize::MAX), |value| {
        number_of(Some(value)).map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
    })
}

fn texts<'a>(all: impl Iterator<Item = String>) -> Value<'a> {
    Value::list(all.map(Value::text).collect())
}

/// Calls a function; the receiver is the first argument.
pub(super) fn call<'a>(name: &str, arguments: &[Value<'a>]) -> Outcome<'a> {
    let (second, third) = (arguments.get(1), arguments.get(2));
    if name == "join" {
        return join(arguments.first(), second);
    }
    let text = text_of(arguments.first())?;
    match name {
        "contains" => Ok(Value::Bool(text.contains(text_of(second)?))),
        "startsWith" => Ok(Value::Bool(text.starts_with(text_of(second)?))),
        "endsWith" => Ok(Value::Bool(text.ends_with(text_of(second)?))),
        "matches" => Ok(Value::Bool(
            regular::compile(text_of(second)?)?.is_match(text),
        )),
        "find" => {
            let pattern = regular::compile(text_of(second)?)?;
            let found = pattern.find(text).map_or("", |found| found.as_str());
            Ok(Value::text(found))
        }
        "findAll" => {
            let pattern = regular::compile(text_of(second)?)?;
            let limit = limit_of(third)?;
            let found = pattern.find_iter(text).take(limit);
            Ok(texts(found.map(|found| found.as_str().to_owned())))
        }
        "split" => {
            let separator = text_of(second)?;
            Ok(match limit_of(third)? {
                0 => Value::list(Vec::new()),
                limit if separator.is_empty() => {
                    let letters: Vec<char> = text.chars().collect();
                    let single = letters.len().min(limit.saturating_sub(1));
                    let rest: String = letters.iter().skip(single).collect();
                    let head = letters.iter().take(single).map(char::to_string);
                    texts(head.chain((!rest.is_empty()).then_some(rest)))
                }
                limit => texts(text.splitn(limit, separator).map(str::to_owned)),
            })
        }
        "replace" => {
            let (from, to) = (text_of(second)?, text_of(third)?);
            let limit = limit_of(arguments.get(3))?;
            Ok(Value::text(text.replacen(from, to, limit)))
        }
        "substring" => {
            let length = text.chars().count();
            let start = place(second, length)?;
            let end = third.map_or(Ok(length), |end| place(Some(end), length))?;
            if start > end {
                return Err(format!(
                    "invalid substring range. start: {start}, end: {end}"
                ));
            }
            let part: String = text.chars().skip(start).take(end - start).collect();
            Ok(Value::text(part))
        }
        "charAt" => {
            let at = place(second, text.chars().count())?;
            let letter = text.chars().nth(at);
            Ok(Value::text(letter.map(String::from).unwrap_or_default()))
        }
        "indexOf" | "lastIndexOf" => index(name, text, second, third),
        "lowerAscii" => Ok(Value::text(text.to_ascii_lowercase())),
        "upperAscii" => Ok(Value::text(text.to_ascii_uppercase())),
        "trim" => Ok(Value::text(text.trim())),
        "reverse" => Ok(Value::text(text.chars().rev().collect::<String>())),
        "format" => format(text, second),
        _ => no_overload(),
    }
}

/// A position within a text of so many characters, its end included.
fn place(value: Option<&Value<'_>>, length: usize) -> Result<usize, String> {
    let number = number_of(value)?;
    usize::try_from(number)
        .ok()
        .filter(|place| *place <= length)
        .ok_or_else(|| format!("index out of range: {number}"))
}

fn index<'a>(
    name: &str,
    text: &str,
    wanted: Option<&Value<'a>>,
    from: Option<&Value<'a>>,
) -> Outcome<'a> {
    let letters: Vec<char> = text.chars().collect();
    let wanted: Vec<char> = text_of(wanted)?.chars().collect();
    let fits = |start: &usize| letters.get(*start..*start + wanted.len()) == Some(&wanted[..]);
    let found = if name == "indexOf" {
        let from = from.map_or(Ok(0), |from| place(Some(from), letters.len()))?;
        (from..=letters.len()).find(fits)
    } else {
        let from = from.map_or(Ok(letters.len()), |from| place(Some(from), letters.len()))?;
        (0..=from).rev().find(fits)
    };
    found.map_or(Ok(Value::Int(-1)), count)
}

fn join<'a>(list: Option<&Value<'a>>, separator: Option<&Value<'a>>) -> Outcome<'a> {
    let elements = list
        .and_then(Value::elements)
        .map_or_else(no_overload, Ok)?;
    let separator = separator.map_or(Ok(""), |separator| text_of(Some(separator)))?;
    let mut parts = Vec::with_capacity(elements.len());
    for element in &elements {
        parts.push(text_of(Some(element))?);
    }
    Ok(Value::text(parts.join(separator)))
}

/// `%s`, `%d`, `%f` with a precision, `%x`, `%X`, `%o`, `%b`, `%e` and `%%`.
fn format<'a>(pattern: &str, arguments: Option<&Value<'a>>) -> Outcome<'a> {
    let arguments = arguments
        .and_then(Value::elements)
        .map_or_else(no_overload, Ok)?;
    let mut remaining = arguments.iter();
    let mut output = String::new();
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            output.push(letter);
            continue;
        }
        let mut precision = None;
        if letters.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            precision = digits.parse::<usize>().ok();
        }
        let Some(verb) = letters.next() else {
            return Err("unexpected end of format string".to_owned());
        };
        if verb == '%' {
            output.push('%');
            continue;
        }
        let Some(argument) = remaining.next() else {
            return Err(format!("index {} out of range", arguments.len()));
        };
        output.push_str(&formatted(verb, precision, argument)?);
    }
    Ok(Value::text(output))
}

fn formatted(verb: char, precision: Option<usize>, value: &Value<'_>) -> Result<String, String> {
    let wrong = || {
        Err(format!(
            "error during formatting: %{verb} does not take {}",
            value.type_name()
        ))
    };
    #[allow(clippy::cast_precision_loss, reason = "printing, not counting")]
    match (verb, value) {
        ('s', _) => Ok(plain(value)),
        ('d', Value::Int(_) | Value::Uint(_)) => Ok(plain(value)),
        ('f' | 'e', Value::Double(_) | Value::Int(_)) => {
            let number = match value {
                Value::Double(number) => *number,
                Value::Int(number) => *number as f64,
                _ => return wrong(),
            };
            let precision = precision.unwrap_or(6);
            Ok(if verb == 'f' {
                format!("{number:.precision$}")
            } else {
                format!("{number:.precision$e}")
            })
        }
        ('x', Value::Int(number)) => Ok(format!("{number:x}")),
        ('X', Value::Int(number)) => Ok(format!("{number:X}")),
        ('o', Value::Int(number)) => Ok(format!("{number:o}")),
        ('b', Value::Int(number)) => Ok(format!("{number:b}")),
        ('b', Value::Bool(truth)) => Ok(u8::from(*truth).to_string()),
        ('x', Value::Text(text)) => Ok(text.bytes().map(|byte| format!("{byte:02x}")).collect()),
        _ => wrong(),
    }
}
