//! A request taken apart: what its path names and what its query says. Does not look at objects.

use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use serde_json::Value;

use crate::Caller;
use crate::error::StatusError;
use crate::resource::{ResourceType, Resources};
use crate::selector::{FieldSelector, LabelSelector};

/// A request as the core handles it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) caller: Caller,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Query,
    pub(crate) content_type: String,
    pub(crate) accept: String,
    pub(crate) body: Option<Value>,
    /// Texts for Warning headers: a refusal carries them too.
    pub(crate) warnings: Arc<Mutex<Vec<String>>>,
}

impl Request {
    /// What it has been warned of so far.
    pub(crate) fn warned(&self) -> Vec<String> {
        self.warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What a path names.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Objects.
    Objects(Place),
    /// Anything else below the path's segments: discovery, version, health, reviews.
    Other(Vec<String>),
}

/// Objects a path names.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) resource: Arc<ResourceType>,
    /// The version of the path.
    pub(crate) version: String,
    /// Empty: of the cluster, or of all namespaces.
    pub(crate) namespace: String,
    /// Empty: the collection.
    pub(crate) name: String,
    pub(crate) subresource: String,
}

impl Place {
    /// `group/version` of the path.
    pub(crate) fn api_version(&self) -> String {
        crate::resource::join(&self.resource.group, &self.version)
    }
}

/// Finds what a path names; a resource nobody serves is 404.
pub(crate) fn target(resources: &Resources, path: &str) -> Result<Target, StatusError> {
    let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => {
            return Ok(Target::Other(
                segments.iter().map(|&part| decode(part, false)).collect(),
            ));
        }
    };
    let (namespace, rest) = match rest {
        // A namespace itself, and its endpoints, are not objects in it.
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => ("", rest),
        ["namespaces", namespace, inside @ ..] => (*namespace, inside),
        _ => ("", rest),
    };
    let Some((&plural, rest)) = rest.split_first() else {
        return Err(StatusError::no_such_path());
    };
    let Some(resource) = resources
        .find(group, plural)
        .filter(|resource| resource.served.iter().any(|served| served == version))
    else {
        if matches!(group, "authentication.k8s.io" | "authorization.k8s.io") {
            return Ok(Target::Other(
                segments.iter().map(|&part| part.to_owned()).collect(),
            ));
        }
        return Err(StatusError::no_such_path());
    };
    let (name, subresource) = match rest {
        [] => (String::new(), String::new()),
        [name] => (decode(name, false), String::new()),
        [name, subresource] => (decode(name, false), (*subresource).to_owned()),
        _ => return Err(StatusError::no_such_path()),
    };
    if !namespace.is_empty() && !resource.namespaced {
        return Err(StatusError::no_such_path());
    }
    if namespace.is_empty() && resource.namespaced && !name.is_empty() {
        return Err(StatusError::no_such_path());
    }
    Ok(Target::Objects(Place {
        resource: Arc::clone(resource),
        version: version.to_owned(),
        namespace: decode(namespace, false),
        name,
        subresource,
    }))
}

/// The query, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// From the text behind the question mark.
    pub(crate) fn parse(text: &str) -> Self {
        Self(
            text.split('&')
                .filter(|part| !part.is_empty())
                .map(|part| {
                    let (key, value) = part.split_once('=').unwrap_or((part, ""));
                    (decode(key, true), decode(value, true))
                })
                .collect(),
        )
    }

    /// The first value of a parameter; empty when it is absent.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map_or("", |(_, value)| value)
    }

    /// Whether a parameter says true.
    pub(crate) fn flag(&self, key: &str) -> bool {
        matches!(self.text(key), "true" | "1")
    }

    /// A number, if there is one.
    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, StatusError> {
        match self.text(key) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                StatusError::bad_request(format!(
                    "strconv.ParseInt: parsing {text:?}: invalid syntax"
                ))
            }),
        }
    }

    /// `dryRun=All`; any other value is refused.
    pub(crate) fn dry_run(&self, kind: &str) -> Result<bool, StatusError> {
        match self.text("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => Err(StatusError::invalid_kind(
                "meta.k8s.io",
                kind,
                "",
                &[crate::error::Cause::new(
                    "FieldValueNotSupported",
                    "dryRun",
                    format!(
                        "Unsupported value: {:?}: supported values: \"All\"",
                        [other]
                    ),
                )],
            )),
        }
    }
}

/// What a list or watch selects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Empty: everywhere.
    pub(crate) namespace: String,
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
}

impl Selection {
    /// From a place and a query. A single name in the path is selected as by `metadata.name`.
    pub(crate) fn of(place: &Place, query: &Query) -> Result<Self, StatusError> {
        let mut fields = query.text("fieldSelector").to_owned();
        if !place.name.is_empty() {
            fields = format!("metadata.name={}", place.name);
        }
        Ok(Self {
            namespace: place.namespace.clone(),
            labels: LabelSelector::parse(query.text("labelSelector"))?,
            fields: FieldSelector::parse(&fields, &place.resource)?,
        })
    }

    /// Whether every object is selected.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether an object is, the namespace left aside.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.fields.matches(object)
            && (self.labels.is_empty()
                || self.labels.matches(
                    object
                        .get("metadata")
                        .and_then(|metadata| metadata.get("labels")),
                ))
    }
}

/// Percent-decoding; in a query `+` is a space.
fn decode(text: &str, plus: bool) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        let hex = bytes
            .get(index + 1..index + 3)
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                decoded.push(value);
                index += 3;
                continue;
            }
            (b'+', _) if plus => decoded.push(b' '),
            (other, _) => decoded.push(other),
        }
        index += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Place {
        match target(&Resources::built_in(), path).unwrap() {
            Target::Objects(place) => place,
            Target::Other(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn paths_name_objects() {
        let one = place("/apis/apps/v1/namespaces/default/deployments/web/status");
        assert_eq!(
            (
                one.resource.kind.as_str(),
                one.namespace.as_str(),
                one.name.as_str(),
                one.subresource.as_str()
            ),
            ("Deployment", "default", "web", "status")
        );
        assert_eq!(place("/api/v1/namespaces/default").name, "default");
        assert_eq!(
            place("/api/v1/namespaces/default/pods").namespace,
            "default"
        );
        assert_eq!(
            place("/api/v1/namespaces/default/finalize").subresource,
            "finalize"
        );
        assert_eq!(place("/api/v1/pods").namespace, "");
        assert!(target(&Resources::built_in(), "/apis/apps/v2/deployments").is_err());
        assert!(target(&Resources::built_in(), "/api/v1/namespaces/default/nodes").is_err());
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("labelSelector=a%3Db%2Cc&x=1+2&watch=true");
        assert_eq!(query.text("labelSelector"), "a=b,c");
        assert_eq!(query.text("x"), "1 2");
        assert!(query.flag("watch"));
        assert_eq!(query.text("absent"), "");
    }
}
