//! Discovery: which groups, versions and resources there are, one by one and aggregated; the version.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::resource::{ResourceType, Resources, join};

/// Verbs of every resource.
const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
/// Verbs of `/status` and `/scale`.
const PART_VERBS: [&str; 3] = ["get", "patch", "update"];

/// The document at a path, if there is one.
pub(crate) fn answer(resources: &Resources, segments: &[&str], accept: &str) -> Option<Answer> {
    let aggregated = accept.contains("as=APIGroupDiscoveryList");
    let document = match segments {
        [] => json!({ "paths": ["/api", "/apis", "/healthz", "/livez", "/readyz", "/version"] }),
        ["version"] => json!({
            "major": "1", "minor": "34", "gitVersion": "v1.34.4", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "gc", "platform": "linux/amd64",
        }),
        ["api"] if aggregated => groups_aggregated(resources, true),
        ["apis"] if aggregated => groups_aggregated(resources, false),
        ["api"] => json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        }),
        ["apis"] => json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": groups(resources).iter().map(|(name, versions)| group(name, versions)).collect::<Vec<_>>(),
        }),
        ["apis", name] => {
            let groups = groups(resources);
            let mut document = group(name, groups.get(name)?);
            if let Some(document) = document.as_object_mut() {
                document.insert("kind".to_owned(), Value::from("APIGroup"));
                document.insert("apiVersion".to_owned(), Value::from("v1"));
            }
            document
        }
        ["api", version] => list(resources, "", version)?,
        ["apis", group, version] => list(resources, group, version)?,
        _ => return None,
    };
    Some(Answer::value(200, document))
}

/// Groups but the core one, with their versions, the preferred first.
fn groups(resources: &Resources) -> BTreeMap<&str, Vec<&str>> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for resource in resources
        .iter()
        .filter(|resource| !resource.group.is_empty())
    {
        let versions = groups.entry(&resource.group).or_default();
        for version in &resource.served {
            if !versions.contains(&version.as_str()) {
                versions.push(version);
            }
        }
    }
    for versions in groups.values_mut() {
        versions.sort_by_key(|version| priority(version));
    }
    groups
}

/// Stable before beta before alpha, higher numbers first (`version.CompareKubeAwareVersionStrings`).
fn priority(version: &str) -> (u8, std::cmp::Reverse<(u32, u32)>, String) {
    let digits = version.trim_start_matches('v');
    let stage = if digits.contains("alpha") {
        2
    } else {
        u8::from(digits.contains("beta"))
    };
    let mut numbers = digits
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|number| number.parse::<u32>().ok());
    let major = numbers.next().unwrap_or_default();
    let minor = numbers.next().unwrap_or_default();
    (stage, std::cmp::Reverse((major, minor)), version.to_owned())
}

fn group(name: &str, versions: &[&str]) -> Value {
    let version =
        |version: &&str| json!({ "groupVersion": join(name, version), "version": version });
    json!({
        "name": name,
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    })
}

fn served<'a>(
    resources: &'a Resources,
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a Arc<ResourceType>> {
    resources.iter().filter(move |resource| {
        resource.group == group && resource.served.iter().any(|served| served == version)
    })
}

fn list(resources: &Resources, group: &str, version: &str) -> Option<Value> {
    let mut entries = Vec::new();
    for resource in served(resources, group, version) {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": VERBS,
        });
        if let Some(entry) = entry.as_object_mut() {
            for (field, names) in [
                ("shortNames", &resource.short_names),
                ("categories", &resource.categories),
            ] {
                if !names.is_empty() {
                    entry.insert(field.to_owned(), Value::from(names.clone()));
                }
            }
        }
        entries.push(entry);
        if resource.status {
            entries.push(json!({
                "name": format!("{}/status", resource.plural), "singularName": "", "namespaced": resource.namespaced,
                "kind": resource.kind, "verbs": PART_VERBS,
            }));
        }
        if resource.scale.is_some() {
            entries.push(json!({
                "name": format!("{}/scale", resource.plural), "singularName": "", "namespaced": resource.namespaced,
                "group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": PART_VERBS,
            }));
        }
    }
    (!entries.is_empty()).then(|| {
        json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": join(group, version), "resources": entries,
        })
    })
}

fn groups_aggregated(resources: &Resources, core: bool) -> Value {
    let groups = if core {
        BTreeMap::from([("", vec!["v1"])])
    } else {
        groups(resources)
    };
    let items: Vec<Value> = groups
        .iter()
        .map(|(name, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = served(resources, name, version)
                        .map(|resource| aggregated(resource, version))
                        .collect();
                    json!({ "version": version, "freshness": "Current", "resources": resources })
                })
                .collect();
            json!({ "metadata": { "name": name, "creationTimestamp": null }, "versions": versions })
        })
        .collect();
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items })
}

fn aggregated(resource: &ResourceType, version: &str) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({ "group": group, "version": version, "kind": kind });
    let mut parts = Vec::new();
    if resource.status {
        parts.push(json!({
            "subresource": "status", "verbs": PART_VERBS,
            "responseKind": kind(&resource.group, version, &resource.kind),
        }));
    }
    if resource.scale.is_some() {
        parts.push(json!({
            "subresource": "scale", "verbs": PART_VERBS, "responseKind": kind("autoscaling", "v1", "Scale"),
        }));
    }
    json!({
        "resource": resource.plural, "singularResource": resource.singular,
        "responseKind": kind(&resource.group, version, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "shortNames": resource.short_names, "categories": resource.categories,
        "verbs": VERBS, "subresources": parts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_kubernetes_orders_them() {
        let mut versions = vec!["v1beta1", "v2", "v1", "v1alpha3", "v10", "v1beta2"];
        versions.sort_by_key(|version| priority(version));
        assert_eq!(
            versions,
            ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha3"]
        );
    }
}
