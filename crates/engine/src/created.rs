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
/// Longest annotations together, keys and values, in bytes. Kubernetes takes 256 KiB on an object; the parallel
/// Deployment carries them twice, the second time within the plan it began with.
const ANNOTATIONS: usize = 16 * 1024;
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
            } else if !is_key(&folded(field, key)) {
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
    let length = |(key, value): (&String, &String)| key.len() + value.len();
    let all: usize = wanted.annotations.iter().map(length).sum();
    if all > ANNOTATIONS {
        problems.push(format!(
            "createdMetadata.annotations: {all} bytes in all are too many beside what a release notes down itself; write at most {ANNOTATIONS}"
        ));
    }
    problems
}

/// Capital letters in the domain of a key are refused for labels alone.
fn folded(field: &str, key: &str) -> String {
    if field == "annotations" {
        key.to_lowercase()
    } else {
        key.to_owned()
    }
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
        let noted = |key: &str, value: String| {
            problems(&CreatedMetadata {
                annotations: [(key.to_owned(), value)].into(),
                ..CreatedMetadata::default()
            })
        };
        assert!(noted("Example.com/note", "any text: /&%".to_owned()).is_empty());
        assert!(noted("note", "x".repeat(ANNOTATIONS - 4)).is_empty());
        assert!(noted("note", "x".repeat(ANNOTATIONS))[0].contains("bytes in all"));
        assert!(label("team", "a b")[0].contains("createdMetadata.labels: \"team\": \"a b\""));
    }
}
