//! Label and field selectors, as text of a query and as objects in specs. Which kind has which field
//! selectors is here too; what is listed or watched by them is not.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::error::StatusError;
use crate::resource::ResourceType;

/// All requirements must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

impl LabelSelector {
    /// The text of a query: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1,m<2`.
    pub(crate) fn parse(text: &str) -> Result<Self, StatusError> {
        let mut requirements = Vec::new();
        for part in parts(text) {
            let refuse = || {
                // What stands where an operator was expected, up to the next sign.
                let mut words = part.split_whitespace().skip(1);
                let found = words.next().unwrap_or_default();
                let end = found.find(['=', '!', '(', ')', ',', '>', '<']);
                let found = &found[..end.unwrap_or(found.len())];
                StatusError::bad_request(format!(
                    "unable to parse requirement: found '{found}', expected: in, notin, =, ==, !=, gt, lt"
                ))
            };
            requirements.push(requirement(part.trim()).ok_or_else(refuse)?);
        }
        Ok(Self { requirements })
    }

    /// The object of a spec: `matchLabels` and `matchExpressions`. An empty one selects everything.
    pub(crate) fn from_object(selector: &Value) -> Result<Self, StatusError> {
        let mut requirements = Vec::new();
        for (key, value) in selector
            .get("matchLabels")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            requirements.push(Requirement {
                key: key.clone(),
                operator: Operator::In,
                values: value.as_str().map(str::to_owned).into_iter().collect(),
            });
        }
        for expression in selector
            .get("matchExpressions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let text = |field: &str| expression.get(field).and_then(Value::as_str);
            let operator = match text("operator") {
                Some("In") => Operator::In,
                Some("NotIn") => Operator::NotIn,
                Some("Exists") => Operator::Exists,
                Some("DoesNotExist") => Operator::DoesNotExist,
                other => {
                    return Err(StatusError::bad_request(format!(
                        "{:?} is not a valid label selector operator",
                        other.unwrap_or_default()
                    )));
                }
            };
            requirements.push(Requirement {
                key: text("key").unwrap_or_default().to_owned(),
                operator,
                values: expression
                    .get("values")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(|value| value.as_str().map(str::to_owned))
                    .collect(),
            });
        }
        Ok(Self { requirements })
    }

    /// Whether it selects everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Against `metadata.labels`.
    pub(crate) fn matches(&self, labels: Option<&Value>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels
                .and_then(|labels| labels.get(&requirement.key))
                .and_then(Value::as_str);
            let number = |text: &str| text.parse::<i64>().ok();
            let beside = |ordering: std::cmp::Ordering| {
                let limit = requirement.values.first().and_then(|limit| number(limit));
                value
                    .and_then(number)
                    .zip(limit)
                    .is_some_and(|(value, limit)| value.cmp(&limit) == ordering)
            };
            match requirement.operator {
                Operator::In => value.is_some_and(|value| requirement.values.contains(value)),
                Operator::NotIn => value.is_none_or(|value| !requirement.values.contains(value)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
                Operator::GreaterThan => beside(std::cmp::Ordering::Greater),
                Operator::LessThan => beside(std::cmp::Ordering::Less),
            }
        })
    }
}

/// The requirements of a text: commas inside parentheses do not part them.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut depth = 0_usize;
    let mut start = 0;
    for (index, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

fn requirement(part: &str) -> Option<Requirement> {
    let made = |key: &str, operator: Operator, values: Vec<&str>| {
        let key = key.trim();
        let valid = !key.is_empty()
            && key
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        valid.then(|| Requirement {
            key: key.to_owned(),
            operator,
            values: values.iter().map(|value| value.trim().to_owned()).collect(),
        })
    };
    if let Some(key) = part.strip_prefix('!') {
        return made(key, Operator::DoesNotExist, Vec::new());
    }
    if let Some((head, tail)) = part.split_once('(') {
        let values = tail.trim_end().strip_suffix(')')?.split(',').collect();
        let mut words = head.split_whitespace();
        let (key, operator) = (words.next()?, words.next()?);
        return match operator {
            "in" => made(key, Operator::In, values),
            "notin" => made(key, Operator::NotIn, values),
            _ => None,
        };
    }
    for (sign, operator) in [
        ("!=", Operator::NotIn),
        ("==", Operator::In),
        ("=", Operator::In),
        (">", Operator::GreaterThan),
        ("<", Operator::LessThan),
    ] {
        if let Some((key, value)) = part.split_once(sign) {
            return made(key, operator, vec![value]);
        }
    }
    made(part, Operator::Exists, Vec::new())
}

/// Fields that must be equal, or must not be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FieldSelector {
    requirements: Vec<(Vec<String>, bool, String)>,
}

impl FieldSelector {
    /// The text of a query, checked against what the kind can be selected by.
    pub(crate) fn parse(text: &str, resource: &ResourceType) -> Result<Self, StatusError> {
        let mut requirements = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (field, equal, value) = if let Some((field, value)) = part.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = part.split_once("==") {
                (field, true, value)
            } else if let Some((field, value)) = part.split_once('=') {
                (field, true, value)
            } else {
                return Err(StatusError::bad_request(format!(
                    "invalid field selector: {text:?}; can't understand '{part}'"
                )));
            };
            if !selectable(resource, field) {
                return Err(StatusError::bad_request(if has_fields(resource) {
                    format!("field label not supported: {field}")
                } else {
                    format!(
                        "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                    )
                }));
            }
            requirements.push((
                field.split('.').map(str::to_owned).collect(),
                equal,
                value.to_owned(),
            ));
        }
        Ok(Self { requirements })
    }

    /// Whether it selects everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The one name it asks for, if it does: then nothing else needs to be looked at.
    pub(crate) fn name(&self) -> Option<&str> {
        self.requirements
            .iter()
            .find(|(path, equal, _)| *equal && path.len() == 2 && path.join(".") == "metadata.name")
            .map(|(_, _, name)| name.as_str())
    }

    /// Against a whole object; an absent field counts as empty.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.requirements.iter().all(|(path, equal, wanted)| {
            let mut value = object;
            for field in path {
                value = value.get(field).unwrap_or(&Value::Null);
            }
            let same = match value {
                Value::String(text) => text == wanted,
                Value::Bool(flag) => flag.to_string() == *wanted,
                Value::Null if path.last().is_some_and(|last| last == "unschedulable") => {
                    wanted == "false"
                }
                Value::Null => wanted.is_empty(),
                other => wanted.parse().is_ok_and(|wanted: Value| *other == wanted),
            };
            same == *equal
        })
    }
}

/// Whether the kind says itself what it can be selected by; for others the server knows two fields.
fn has_fields(resource: &ResourceType) -> bool {
    resource.custom
        || matches!(
            resource.plural.as_str(),
            "pods" | "nodes" | "events" | "namespaces" | "secrets" | "services"
        )
}

/// From the `AddFieldLabelConversionFunc` of each kind.
fn selectable(resource: &ResourceType, field: &str) -> bool {
    let more: &[&str] = match resource.plural.as_str() {
        "pods" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "namespaces" => &["status.phase"],
        "nodes" => &["spec.unschedulable"],
        "secrets" => &["type"],
        "services" => &["spec.clusterIP", "spec.type"],
        "events" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "reportingComponent",
            "source",
            "type",
        ],
        _ => &[],
    };
    field == "metadata.name"
        || (field == "metadata.namespace" && resource.namespaced)
        || more.contains(&field) && !resource.custom
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn selects(selector: &str, labels: &Value) -> bool {
        LabelSelector::parse(selector)
            .unwrap()
            .matches(Some(labels))
    }

    #[test]
    fn label_selectors_of_a_query() {
        let labels = json!({"app": "web", "tier": "2"});
        for selector in [
            "",
            "app",
            "app=web",
            "app==web",
            "app in (web, api),tier",
            "other!=x",
            "!other",
            "app notin (api)",
            "tier>1",
            "tier<3",
        ] {
            assert!(selects(selector, &labels), "{selector}");
        }
        for selector in ["app=api", "!app", "app notin (web)", "other", "tier>2"] {
            assert!(!selects(selector, &labels), "{selector}");
        }
        assert!(LabelSelector::parse("a b").is_err());
    }

    #[test]
    fn label_selectors_of_a_spec() {
        let selector = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["1", "2"]},
            {"key": "gone", "operator": "DoesNotExist"},
        ]});
        let selector = LabelSelector::from_object(&selector).unwrap();
        assert!(selector.matches(Some(&json!({"app": "web", "tier": "1"}))));
        assert!(!selector.matches(Some(&json!({"app": "web", "tier": "3"}))));
        assert!(!selector.matches(None));
    }
}
