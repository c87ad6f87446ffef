//! Differences that are known to be the fake API's and are not mended yet. Nothing of them is accepted:
//! each that comes up is counted and named in the report, and ends its script. Any other fails the run.
//! What may differ for good belongs to `compare`.

/// Kind, verb and path, as signatures begin.
const UNMENDED: &[&str] = &[
    "clusterrolloutpolicies create status",
    "clusterrolloutpolicies create warnings",
    "events apply body.details.causes[].message",
    "pods delete body.metadata.deletionGracePeriodSeconds",
    "pods status body.metadata.managedFields",
    "pods status status",
    "replicasets status body.details.causes[].message",
    "rollouts create body.metadata.managedFields",
    "rollouts put body.message",
    "services apply body.details.causes",
    "services put body.details.causes",
    "services status body.details.causes",
    "widgets apply body.message",
    "widgets apply status",
    "widgets list body.items[].metadata.managedFields",
    "widgets merge patch body.metadata.managedFields",
    "widgets put body.message",
];

/// The entry a signature belongs to.
pub fn unmended(signature: &str) -> Option<&'static str> {
    UNMENDED
        .iter()
        .copied()
        .find(|known| signature.starts_with(known))
}
