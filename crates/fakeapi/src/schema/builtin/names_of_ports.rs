//! Ports: their names and numbers, of containers and Services alike.

use serde_json::Value;

use crate::schema::field::{Causes, Path};
use crate::schema::names;

/// A number of a port.
pub(super) fn number(value: &Value, path: &Path<'_>, causes: &mut Causes) {
    if !value
        .as_i64()
        .is_some_and(|port| (1..=65535).contains(&port))
    {
        causes.invalid(path, value, "must be between 1 and 65535, inclusive");
    }
}

/// A number or a name of a port.
pub(super) fn number_or_name(value: &Value, path: &Path<'_>, causes: &mut Causes) {
    match value {
        Value::String(text) => {
            for detail in names::port(text) {
                causes.invalid(path, value, &detail);
            }
        }
        Value::Null => {}
        other => number(other, path, causes),
    }
}

/// `protocol`; absent is right where a default follows.
pub(super) fn protocol(value: &Value, path: &Path<'_>, causes: &mut Causes) {
    if !matches!(value.as_str(), None | Some("TCP" | "UDP" | "SCTP")) {
        causes.not_supported(path, value, ["SCTP", "TCP", "UDP"]);
    }
}

/// What is said of a text that is no address.
pub(super) const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
