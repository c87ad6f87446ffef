//! What is served: the built-in kinds and those of CustomResourceDefinitions. How objects behave when
//! they are written belongs to `rules`, their schemas to `schema`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

/// Group, version and kind of an object in a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupVersionKind {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    pub kind: String,
}

impl GroupVersionKind {
    /// `group/version`, or the version alone.
    #[must_use]
    pub fn api_version(&self) -> String {
        join(&self.group, &self.version)
    }
}

/// One resource of the API.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceType {
    /// Empty for the core group.
    pub group: String,
    /// The version objects are stored in.
    pub version: String,
    /// All served versions, the storage version among them if it is served.
    pub served: Vec<String>,
    pub kind: String,
    pub list_kind: String,
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    /// Whether there is a `/status`, and with it a main endpoint that ignores `status`.
    pub status: bool,
    /// Whether there is a `/scale`.
    pub scale: Option<Scale>,
    /// The name objects are stored under, [`crate::Key::resource`].
    pub storage: String,
    /// From a CustomResourceDefinition.
    pub custom: bool,
}

/// Where `/scale` reads and writes; paths as dotted fields without the leading dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    pub spec_replicas: Vec<String>,
    pub status_replicas: Vec<String>,
    /// The selector: an object (built-in) or a string (custom kinds).
    pub selector: Option<Vec<String>>,
}

impl ResourceType {
    /// `group/version` of the storage version.
    #[must_use]
    pub fn api_version(&self) -> String {
        join(&self.group, &self.version)
    }

    /// Group, storage version and kind.
    #[must_use]
    pub fn group_version_kind(&self) -> GroupVersionKind {
        GroupVersionKind {
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
        }
    }

    /// `deployments.apps`, as messages name it.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// The folder below `/registry/` in the real server's storage, which its messages show.
    #[must_use]
    pub fn storage_folder(&self) -> String {
        if self.custom || self.group.ends_with(".k8s.io") && self.group.starts_with("api") {
            return format!("{}/{}", self.group, self.plural);
        }
        match self.plural.as_str() {
            "services" => "services/specs".to_owned(),
            "nodes" => "minions".to_owned(),
            plural => plural.to_owned(),
        }
    }
}

/// `group/version`, or the version alone for the core group.
#[must_use]
pub(crate) fn join(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// All resources, by group and plural, and by storage name.
#[derive(Clone, Debug)]
pub(crate) struct Resources {
    by_group: BTreeMap<String, BTreeMap<String, Arc<ResourceType>>>,
    by_storage: BTreeMap<String, Arc<ResourceType>>,
}

impl Resources {
    /// The built-in ones.
    pub(crate) fn built_in() -> Self {
        let mut resources = Self {
            by_group: BTreeMap::new(),
            by_storage: BTreeMap::new(),
        };
        for line in BUILT_IN {
            resources.insert(Arc::new(line.resource_type()));
        }
        resources
    }

    /// By group and plural.
    pub(crate) fn find(&self, group: &str, plural: &str) -> Option<&Arc<ResourceType>> {
        self.by_group.get(group)?.get(plural)
    }

    /// By storage name.
    pub(crate) fn by_storage(&self, storage: &str) -> Option<&Arc<ResourceType>> {
        self.by_storage.get(storage)
    }

    /// By apiVersion and kind, as owner references name them.
    pub(crate) fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<ResourceType>> {
        let (group, version) = split(api_version);
        self.by_group
            .get(group)?
            .values()
            .find(|resource| resource.kind == kind && resource.served.iter().any(|v| v == version))
    }

    /// All, ordered by group and plural.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<ResourceType>> {
        self.by_group.values().flat_map(BTreeMap::values)
    }

    fn insert(&mut self, resource: Arc<ResourceType>) {
        self.by_storage
            .insert(resource.storage.clone(), Arc::clone(&resource));
        self.by_group
            .entry(resource.group.clone())
            .or_default()
            .insert(resource.plural.clone(), resource);
    }

    /// Takes in what a CustomResourceDefinition defines, or what it now says.
    pub(crate) fn define(&mut self, crd: &Value) {
        let Some(mut resource) = from_crd(crd) else {
            return;
        };
        if self
            .by_storage
            .get(&resource.storage)
            .is_some_and(|other| other.group != resource.group)
        {
            resource.storage = resource.qualified();
        }
        self.insert(Arc::new(resource));
    }

    /// Forgets what a CustomResourceDefinition defined.
    pub(crate) fn remove(&mut self, group: &str, plural: &str) {
        if let Some(plurals) = self.by_group.get_mut(group) {
            if let Some(resource) = plurals.remove(plural) {
                self.by_storage.remove(&resource.storage);
            }
            if plurals.is_empty() {
                self.by_group.remove(group);
            }
        }
    }
}

/// Group and version of an apiVersion.
pub(crate) fn split(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

fn from_crd(crd: &Value) -> Option<ResourceType> {
    let spec = crd.get("spec")?;
    let names = spec.get("names")?;
    let text = |value: &Value, field: &str| value.get(field)?.as_str().map(str::to_owned);
    let texts = |field: &str| -> Vec<String> {
        names
            .get(field)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    };
    let kind = text(names, "kind")?;
    let plural = text(names, "plural")?;
    let versions = spec.get("versions")?.as_array()?;
    let flag = |version: &Value, field: &str| version.get(field).and_then(Value::as_bool);
    let stored = versions
        .iter()
        .find(|version| flag(version, "storage") == Some(true))?;
    let subresources = stored.get("subresources");
    Some(ResourceType {
        group: text(spec, "group")?,
        version: text(stored, "name")?,
        served: versions
            .iter()
            .filter(|version| flag(version, "served") == Some(true))
            .filter_map(|version| text(version, "name"))
            .collect(),
        list_kind: text(names, "listKind").unwrap_or_else(|| format!("{kind}List")),
        singular: text(names, "singular").unwrap_or_else(|| kind.to_lowercase()),
        short_names: texts("shortNames"),
        categories: texts("categories"),
        namespaced: spec.get("scope").and_then(Value::as_str) == Some("Namespaced"),
        status: subresources.is_some_and(|subresources| subresources.get("status").is_some()),
        scale: subresources
            .and_then(|subresources| subresources.get("scale"))
            .and_then(|scale| {
                let path = |field: &str| {
                    Some(
                        scale
                            .get(field)?
                            .as_str()?
                            .trim_start_matches('.')
                            .split('.')
                            .map(str::to_owned)
                            .collect::<Vec<_>>(),
                    )
                };
                Some(Scale {
                    spec_replicas: path("specReplicasPath")?,
                    status_replicas: path("statusReplicasPath")?,
                    selector: path("labelSelectorPath"),
                })
            }),
        storage: plural.clone(),
        custom: true,
        kind,
        plural,
    })
}

/// One built-in resource; `flags`: `n` namespaced, `s` status, `c` scale.
struct Line {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    flags: &'static str,
}

impl Line {
    fn resource_type(&self) -> ResourceType {
        let path =
            |fields: &[&str]| -> Vec<String> { fields.iter().map(|&f| f.to_owned()).collect() };
        ResourceType {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            served: vec![self.version.to_owned()],
            kind: self.kind.to_owned(),
            list_kind: format!("{}List", self.kind),
            plural: self.plural.to_owned(),
            singular: self.kind.to_lowercase(),
            short_names: self.short.iter().map(|&name| name.to_owned()).collect(),
            categories: if matches!(
                self.plural,
                "pods" | "services" | "deployments" | "replicasets" | "horizontalpodautoscalers"
            ) {
                vec!["all".to_owned()]
            } else {
                Vec::new()
            },
            namespaced: self.flags.contains('n'),
            status: self.flags.contains('s'),
            scale: self.flags.contains('c').then(|| Scale {
                spec_replicas: path(&["spec", "replicas"]),
                status_replicas: path(&["status", "replicas"]),
                selector: Some(path(&["spec", "selector"])),
            }),
            storage: if self.plural == "events" && self.group.is_empty() {
                "events.core".to_owned()
            } else {
                self.plural.to_owned()
            },
            custom: false,
        }
    }
}

const fn line(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    flags: &'static str,
) -> Line {
    Line {
        group,
        version,
        kind,
        plural,
        short,
        flags,
    }
}

const ADMISSION: &str = "admissionregistration.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";

/// Kinds, their short names and endpoints as `kubectl api-resources` of 1.34 shows them.
#[rustfmt::skip]
const BUILT_IN: &[Line] = &[
    line("", "v1", "ConfigMap", "configmaps", &["cm"], "n"),
    line("", "v1", "Event", "events", &["ev"], "n"),
    line("", "v1", "Namespace", "namespaces", &["ns"], "s"),
    line("", "v1", "Node", "nodes", &["no"], "s"),
    line("", "v1", "Pod", "pods", &["po"], "ns"),
    line("", "v1", "Secret", "secrets", &[], "n"),
    line("", "v1", "Service", "services", &["svc"], "ns"),
    line("", "v1", "ServiceAccount", "serviceaccounts", &["sa"], "n"),
    line(ADMISSION, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", &[], ""),
    line(ADMISSION, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", &[], ""),
    line(ADMISSION, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", &[], "s"),
    line(ADMISSION, "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", &[], ""),
    line("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", &["crd", "crds"], "s"),
    line("apps", "v1", "ControllerRevision", "controllerrevisions", &[], "n"),
    line("apps", "v1", "Deployment", "deployments", &["deploy"], "nsc"),
    line("apps", "v1", "ReplicaSet", "replicasets", &["rs"], "nsc"),
    line("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", &["hpa"], "ns"),
    line("coordination.k8s.io", "v1", "Lease", "leases", &[], "n"),
    line("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", &[], "n"),
    line("events.k8s.io", "v1", "Event", "events", &["ev"], "n"),
    line("networking.k8s.io", "v1", "Ingress", "ingresses", &["ing"], "ns"),
    line("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", &["pdb"], "ns"),
    line(RBAC, "v1", "ClusterRole", "clusterroles", &[], ""),
    line(RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", &[], ""),
    line(RBAC, "v1", "Role", "roles", &[], "n"),
    line(RBAC, "v1", "RoleBinding", "rolebindings", &[], "n"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_is_found_by_plural_storage_and_kind() {
        let resources = Resources::built_in();
        for resource in resources.iter() {
            assert_eq!(
                resources.find(&resource.group, &resource.plural),
                Some(resource)
            );
            assert_eq!(resources.by_storage(&resource.storage), Some(resource));
            assert_eq!(
                resources.by_kind(&resource.api_version(), &resource.kind),
                Some(resource)
            );
        }
    }
}
