//! Whether labels and annotations for created objects can stand on them. The API server would refuse them only
//! when the release has begun.
//!
//! Keys and values by the rules of Kubernetes for labels and annotations (its documentation, "Labels and
//! Selectors", "Syntax and character set").

use crossfade_api::CreatedMetadata;

/// Prefixes of keys that others give a meaning on a Deployment or ReplicaSet.
const RESERVED: [&str; 3] = [
    "crossfade.dev/",
    "deployment.kubernetes.io/",
    "kubectl.kubernetes.io/",
];
/// Longest name in a key, and longest label value.
const NAME: usize = 63;
/// Longest prefix of a key.
const PREFIX: usize = 253;

/// What is wrong with it, by field, value and mend.
pub(crate) fn problems(wanted: &CreatedMetadata) -> Vec<String> {
    let mut problems = Vec::new();
    for (field, map) in [
        ("labels", &wanted.labels),
        ("annotations", &wanted.annotations),
    ] {
        for (key, value) in map {
            let at = format!("createdMetadata.{field}: \"{key}\"");
            if RESERVED.iter().any(|prefix| key.starts_with(prefix)) || key == "pod-template-hash" {
                problems.push(format!(
                    "{at} has a meaning of its own on a Deployment; take it out"
                ));
            } else if !is_key(key) {
                problems.push(format!(
                    "{at} is no key of {field}; write a name of letters, digits, '-', '_' and '.', at most {NAME} long, if need be after a domain and '/'"
                ));
            }
            if field == "labels" && !value.is_empty() && !is_name(value) {
                problems.push(format!(
                    "{at}: \"{value}\" is no value of a label; write letters, digits, '-', '_' and '.', at most {NAME}, a letter or digit first and last"
                ));
            }
        }
    }
    problems
}

/// Letters, digits, `-`, `_` and `.`, a letter or digit first and last.
fn is_name(text: &str) -> bool {
    let edge = |char: Option<char>| char.is_some_and(|char| char.is_ascii_alphanumeric());
    text.len() <= NAME
        && edge(text.chars().next())
        && edge(text.chars().next_back())
        && text
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char))
}

/// A name, if need be after a DNS subdomain and a slash.
fn is_key(text: &str) -> bool {
    let Some((prefix, name)) = text.split_once('/') else {
        return is_name(text);
    };
    let part = |part: &str| {
        let lower = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
        !part.is_empty()
            && part.chars().all(lower)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    is_name(name) && prefix.len() <= PREFIX && prefix.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(key: &str, value: &str) -> Vec<String> {
        problems(&CreatedMetadata {
            labels: [(key.to_owned(), value.to_owned())].into(),
            ..CreatedMetadata::default()
        })
    }

    #[test]
    fn what_kubernetes_takes_is_taken_and_what_it_refuses_is_refused() {
        let long = "a".repeat(64);
        for (key, value, fits) in [
            ("team", "payments", true),
            ("example.com/cost-center", "A.1_b", true),
            ("team", "", true),
            ("team", "-x", false),
            ("team", "a b", false),
            ("team", long.as_str(), false),
            (long.as_str(), "x", false),
            ("Example.com/team", "x", false),
            ("example.com/", "x", false),
            ("a/b/c", "x", false),
            ("", "x", false),
            ("crossfade.dev/strategy", "canary", false),
            ("pod-template-hash", "abc", false),
        ] {
            assert_eq!(label(key, value).is_empty(), fits, "{key}: {value}");
        }
        let annotations = [("note".to_owned(), "any text, at any length".to_owned())];
        let wanted = CreatedMetadata {
            annotations: annotations.into(),
            ..CreatedMetadata::default()
        };
        assert_eq!(problems(&wanted), Vec::<String>::new());
        assert!(label("team", "a b")[0].contains("createdMetadata.labels: \"team\": \"a b\""));
    }
}
