//! Named formats of texts, as far as the real server checks them.
//!
//! Formats it does not check, or that only other types have (int32, double), are no formats here.
//! Source: k8s.io/kube-openapi `pkg/validation/strfmt`. Not checked here: uri, email, hostname and the
//! numbers of cards, books and people.

use super::cel::regular;
use super::cel::time;

/// Numbers with words behind them, as in `2 weeks`.
const AMOUNTS: &str = r"[0-9]+\s*([A-Za-z]+)";
/// Units of such numbers; any word that begins with one of the second list will do too.
const UNITS: [&str; 10] = ["ns", "us", "ms", "s", "m", "h", "hr", "d", "w", "wk"];
const BEGINNINGS: [&str; 8] = [
    "nano", "micro", "milli", "sec", "min", "hour", "day", "week",
];
const UUID: &str = r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
const CLOCK: &str =
    r"^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](.[0-9]+)?(z|[+-][0-9]{2}:[0-9]{2})$";
const BASE64: &str = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$";

/// Whether the real server checks a format: others it forgets.
pub(super) fn is_checked(format: &str) -> bool {
    const CHECKED: [&str; 27] = [
        "bsonobjectid",
        "uri",
        "email",
        "hostname",
        "ipv4",
        "ipv6",
        "cidr",
        "mac",
        "uuid",
        "uuid3",
        "uuid4",
        "uuid5",
        "isbn",
        "isbn10",
        "isbn13",
        "creditcard",
        "ssn",
        "hexcolor",
        "rgbcolor",
        "byte",
        "password",
        "date",
        "duration",
        "datetime",
        "date-time",
        "k8s-short-name",
        "k8s-long-name",
    ];
    CHECKED.contains(&format)
}

/// Whether a text has a format; true for formats that are not checked.
pub(super) fn holds(format: &str, text: &str) -> bool {
    let matches =
        |pattern: &str| regular::compile(pattern).is_ok_and(|pattern| pattern.is_match(text));
    match format {
        "date-time" | "datetime" => {
            let text = text.to_lowercase();
            let mut parts = text.split('t');
            parts.next().is_some_and(is_date)
                && parts.next().is_some_and(|time| {
                    regular::compile(CLOCK).is_ok_and(|clock| clock.is_match(time))
                })
        }
        "date" => is_date(text),
        "duration" => time::duration(text).is_some() || is_amount(text),
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

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_amount(text: &str) -> bool {
    let Ok(amounts) = regular::compile(AMOUNTS) else {
        return false;
    };
    let words = amounts
        .captures_iter(text)
        .filter_map(|found| found.get(1))
        .map(|word| word.as_str().to_lowercase());
    words.into_iter().any(|word| {
        UNITS.contains(&word.as_str()) || BEGINNINGS.iter().any(|start| word.starts_with(start))
    })
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
