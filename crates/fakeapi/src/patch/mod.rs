//! Patches as documents: RFC 6902 and RFC 7386. What a patched object must satisfy does not belong here.

pub(crate) mod json;
pub(crate) mod merge;
