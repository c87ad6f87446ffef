//! managedFields: who owns which field, by comparison for ordinary writes and by declaration for
//! server-side apply, as `sigs.k8s.io/structured-merge-diff` does. Knows no requests and no storage.

mod apply;
mod built_in;
mod compare;
mod entries;
mod fields;
mod merge;
mod shape;

use std::sync::Arc;

pub(crate) use apply::{Applied, Stated, apply};
pub(crate) use built_in::blank;
pub(crate) use entries::{Size, Writer, same_but_for_times, track_update};
pub(crate) use shape::{Shape, shape_of_crd};

use crate::resource::ResourceType;

/// How managedFields see a built-in kind.
pub(crate) fn built_in_shape(resource: &ResourceType) -> Arc<Shape> {
    built_in::shape(&resource.group, &resource.plural)
}
