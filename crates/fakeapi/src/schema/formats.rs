//! Named formats of texts, as far as the real server checks them.
//!
//! Formats it does not check, or that only other types have (int32, double), are no formats here.
//! Source: k8s.io/kube-openapi `pkg/validation/strfmt`. Not checked here: uri, email, hostname and the
//! numbers of cards, books and people.

use super::cel::regular;
use super::cel::time;

/// Units of durations beyond Go's, singular.
const WORDS: &str = r"(?i)^\s*[0-9]+(\.[0-9]+)?\s*(nanosecs?|nanoseconds?|microsecs?|microseconds?|millisecs?|milliseconds?|secs?|seconds?|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?|s|m|ms|us|µs|ns)\s*$";
const UUID: &str = r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
const MOMENT: &str = r"(?i)^[0-9]{4}-[0-9]{2}-[0-9]{2}[t ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(z|[+-][0-9]{2}:[0-9]{2})$";
const BASE64: &str = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$";

/// Whether a text has a format; true for formats that are not checked.
pub(super) fn holds(format: &str, text: &str) -> bool {
    let matches =
        |pattern: &str| regular::compile(pattern).is_ok_and(|pattern| pattern.is_match(text));
    match format {
        "date-time" | "datetime" => {
            matches(MOMENT) && text.replace(' ', "T").parse::<jiff::Timestamp>().is_ok()
        }
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "duration" => time::duration(text).is_some() || matches(WORDS),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "cidr" => cidr(text),
        "uuid" => matches(UUID),
        "byte" => matches(BASE64),
        "k8s-short-name" => super::names::label(text).is_empty(),
        "k8s-long-name" => super::names::subdomain(text).is_empty(),
        _ => true,
    }
}

fn cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let most = match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= most)
}
