//! What users want the objects that a release creates to carry. What Crossfade itself puts there is in `annotations`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Labels and annotations of the objects that a release creates (the parallel Deployment, the copy of stable's
/// template), beside Crossfade's own: for policies that ask them of every object. Nothing is copied from the
/// Deployment, or GitOps tools and selectors of others would see a second one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreatedMetadata {
    /// Labels; none of `crossfade.dev/`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// Annotations; none of `crossfade.dev/`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
}

impl CreatedMetadata {
    /// Nothing is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }
}
