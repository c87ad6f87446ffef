//! What differs between two answers, and which differences are accepted with which reason. Sends nothing.

use serde_json::Value;

use crate::script::Step;
use crate::side::Answer;

/// One place where two answers differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// `status`, `warnings` or a path into the body.
    pub path: String,
    /// `None`: not there.
    pub fake: Option<Value>,
    pub real: Option<Value>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |value: &Option<Value>| {
            value
                .as_ref()
                .map_or_else(|| "(absent)".to_owned(), Value::to_string)
        };
        write!(
            formatter,
            "{}\n      fake: {}\n      real: {}",
            self.path,
            show(&self.fake),
            show(&self.real)
        )
    }
}

/// A difference that is known and stays.
#[derive(Debug)]
pub struct Accepted {
    pub reason: &'static str,
    matches: fn(&Step, &Answers<'_>, &Difference) -> bool,
}

/// Both answers to one step.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a> {
    pub fake: &'a Answer,
    pub real: &'a Answer,
}

/// All differences that are accepted; as few as possible, because each hides others.
pub const ACCEPTED: &[Accepted] = &[
    Accepted {
        reason: "the message of a patch whose result cannot be decoded shows the whole result, in the order of Go's structs; what is wrong with it is compared",
        matches: |_, answers, difference| {
            let told = |answer: &Answer| {
                let cause = answer.body.pointer("/details/causes/0")?;
                let message = cause.get("message")?.as_str()?;
                (cause.get("field")?.as_str()? == "patch").then(|| {
                    message
                        .rsplit_once("}\": ")
                        .map(|(_, told)| told.to_owned())
                })?
            };
            let (fake, real) = (told(answers.fake), told(answers.real));
            matches!(
                difference.path.as_str(),
                "body.message" | "body.details.causes[0].message"
            ) && fake.is_some()
                && fake == real
        },
    },
    Accepted {
        reason: "the message of a pod update that changes too much ends in a dump of both specs, in Go's syntax; what comes before it is compared",
        matches: |step, answers, difference| {
            let told = |answer: &Answer| {
                let message = answer.body.get("message")?.as_str()?;
                let (told, _) = message
                    .split_once("(allow it to be set to 1 if it was previously negative)")?;
                Some(told.to_owned())
            };
            let (fake, real) = (told(answers.fake), told(answers.real));
            step.kind() == "pods"
                && (difference.path == "body.message"
                    || difference.path.starts_with("body.details.causes[")
                        && difference.path.ends_with("].message"))
                && fake.is_some()
                && fake == real
        },
    },
    Accepted {
        reason: "a Service that is wrong in several of type, families and addresses is refused by whichever the server comes to first, and that depends on what it allocated before; both refuse it",
        matches: |step, answers, difference| {
            let about = |answer: &Answer| {
                let causes = answer.body.pointer("/details/causes");
                causes
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(|cause| cause.get("field")?.as_str())
                    .any(|field| {
                        [
                            "spec.type",
                            "spec.ports",
                            "spec.clusterIP",
                            "spec.ipFamil",
                            "spec.externalName",
                        ]
                        .iter()
                        .any(|name| field.starts_with(name))
                    })
            };
            step.kind() == "services"
                && (answers.fake.status, answers.real.status) == (422, 422)
                && (difference.path == "body.message"
                    || difference.path.starts_with("body.details.causes"))
                && about(answers.fake)
                && about(answers.real)
        },
    },
    Accepted {
        reason: "an apply that takes the last part of a required map leaves null there: refused by both, by the real one for its type and by ours for its absence",
        matches: |step, answers, difference| {
            let null = "must be of type object: \"null\"";
            let message = answers.real.body.get("message");
            step.verb == "apply"
                && (answers.fake.status, answers.real.status) == (422, 422)
                && message
                    .and_then(Value::as_str)
                    .is_some_and(|message| message.contains(null))
                && (difference.path == "body.message"
                    || difference.path.starts_with("body.details.causes["))
        },
    },
    Accepted {
        reason: "the message of a change to what an Event is about, and of an applied value of the wrong type, ends in a dump of a Go struct; what comes before it is compared",
        matches: |_, answers, difference| {
            let told = |answer: &Answer| {
                let message = answer.body.get("message")?.as_str()?;
                // Of a type only the object's place is compared: keys of lists are dumped too.
                ["involvedObject: Invalid value: {", ", Kind=Widget): ."]
                    .iter()
                    .find_map(|dump| message.split_once(dump))
                    .map(|(told, _)| told.to_owned())
            };
            let (fake, real) = (told(answers.fake), told(answers.real));
            let shown = difference
                .real
                .as_ref()
                .map(Value::to_string)
                .unwrap_or_default();
            let in_causes = difference.path.starts_with("body.details.causes[")
                && difference.path.ends_with("].message")
                && shown.contains("\\\"FieldPath\\\"");
            (difference.path == "body.message" || in_causes) && fake.is_some() && fake == real
        },
    },
    Accepted {
        reason: "a list may be answered from a time before the newest writes; a watch from there shows them, and then what ours shows",
        matches: |step, answers, difference| {
            let (Some(fake), Some(real)) =
                (answers.fake.body.as_array(), answers.real.body.as_array())
            else {
                return false;
            };
            step.path.contains("watch=true")
                && step.path.contains("resourceVersion={list}")
                && difference.path == "body"
                && fake.len() < real.len()
                && real.ends_with(fake)
        },
    },
    Accepted {
        reason: "a watch that begins with a list (sendInitialEvents) needs a newer etcd than Debian has: the real server refuses it there",
        matches: |step, answers, _| {
            let refused = |event: &Value| {
                event
                    .pointer("/object/message")
                    .and_then(Value::as_str)
                    .is_some_and(|text| text.contains("RequestWatchProgress is disabled"))
            };
            step.path.contains("sendInitialEvents=true")
                && answers
                    .real
                    .body
                    .as_array()
                    .is_some_and(|events| events.len() == 1 && events.iter().all(refused))
        },
    },
];

/// What differs, each with the index into [`ACCEPTED`] if it is accepted.
pub fn differences(step: &Step, answers: &Answers<'_>) -> Vec<(Difference, Option<usize>)> {
    let mut found = Vec::new();
    let Answers { fake, real } = answers;
    if fake.status != real.status {
        found.push(Difference {
            path: "status".to_owned(),
            fake: Some(fake.status.into()),
            real: Some(real.status.into()),
        });
    }
    if fake.warnings != real.warnings {
        found.push(Difference {
            path: "warnings".to_owned(),
            fake: Some(fake.warnings.clone().into()),
            real: Some(real.warnings.clone().into()),
        });
    }
    walk("body", Some(&fake.body), Some(&real.body), &mut found);
    found
        .into_iter()
        .map(|difference| {
            let accepted = ACCEPTED
                .iter()
                .position(|entry| (entry.matches)(step, answers, &difference));
            (difference, accepted)
        })
        .collect()
}

fn walk(path: &str, fake: Option<&Value>, real: Option<&Value>, found: &mut Vec<Difference>) {
    if fake == real {
        return;
    }
    match (fake, real) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                walk(
                    &format!("{path}.{name}"),
                    one.get(name),
                    other.get(name),
                    found,
                );
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) if one.len() == other.len() => {
            for (index, (fake, real)) in one.iter().zip(other).enumerate() {
                walk(&format!("{path}[{index}]"), Some(fake), Some(real), found);
            }
        }
        _ => found.push(Difference {
            path: path.to_owned(),
            fake: fake.cloned(),
            real: real.cloned(),
        }),
    }
}

/// What makes two differences of two scripts the same one for people: kind, what was done, where.
pub fn signature(step: &Step, difference: &Difference) -> String {
    let mut path = String::new();
    let mut inside = false;
    for letter in difference.path.chars() {
        match letter {
            '[' => inside = true,
            ']' => inside = false,
            _ if inside => continue,
            _ => {}
        }
        path.push(letter);
    }
    let brief = |value: &Option<Value>| match value {
        Some(value) if difference.path == "status" => value.to_string(),
        Some(Value::String(text)) if difference.path.ends_with("message") => text
            .chars()
            .filter(|letter| letter.is_alphabetic() || *letter == ' ')
            .take(60)
            .collect(),
        Some(Value::Null) => "null".to_owned(),
        Some(_) => "other".to_owned(),
        None => "absent".to_owned(),
    };
    format!(
        "{} {} {path} {} {}",
        step.kind(),
        step.verb,
        brief(&difference.fake),
        brief(&difference.real)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use serde_json::json;

    fn step() -> Step {
        Step {
            method: Method::GET,
            path: "/x".to_owned(),
            content_type: "",
            accept: "application/json",
            body: None,
            verb: "get",
            about: "configmaps/a".to_owned(),
        }
    }

    fn answer(body: Value) -> Answer {
        Answer {
            status: 200,
            body,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_difference_is_named_where_it_is() {
        let fake = answer(json!({ "a": [{ "b": 1 }], "c": 1, "d": null }));
        let real = answer(json!({ "a": [{ "b": 2 }], "d": null, "e": 1 }));
        let found = differences(
            &step(),
            &Answers {
                fake: &fake,
                real: &real,
            },
        );
        let paths: Vec<&str> = found
            .iter()
            .map(|(difference, _)| difference.path.as_str())
            .collect();
        assert_eq!(paths, ["body.a[0].b", "body.c", "body.e"]);
    }

    #[test]
    fn lists_of_different_length_differ_as_a_whole() {
        let fake = answer(json!({ "a": [1] }));
        let real = answer(json!({ "a": [1, 2] }));
        let found = differences(
            &step(),
            &Answers {
                fake: &fake,
                real: &real,
            },
        );
        assert_eq!(found[0].0.path, "body.a");
    }

    #[test]
    fn null_is_not_absence() {
        let fake = answer(json!({ "a": null }));
        let real = answer(json!({}));
        assert_eq!(
            differences(
                &step(),
                &Answers {
                    fake: &fake,
                    real: &real
                }
            )
            .len(),
            1
        );
    }
}
