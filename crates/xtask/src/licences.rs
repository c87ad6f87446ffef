//! Licences of everything we build with: an allow-list, read as SPDX expressions.

use crate::Findings;
use crate::metadata::Metadata;

const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages whose licence does not allow our use.
pub fn check(metadata: &Metadata) -> Findings {
    metadata
        .foreign()
        .filter(|package| !package.license.as_deref().is_some_and(allowed))
        .map(|package| {
            format!(
                "{} {} has the licence {}: read it, then add it to ALLOWED in crates/xtask/src/licences.rs or use another package",
                package.name,
                package.version,
                package.license.as_deref().unwrap_or("(none given)")
            )
        })
        .collect()
}

/// One of the alternatives consists of allowed licences only. An exception (WITH) only adds rights.
fn allowed(expression: &str) -> bool {
    let text = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut rest = words.as_slice();
    let result = any(&mut rest);
    result && rest.is_empty()
}

fn any(words: &mut &[&str]) -> bool {
    let mut result = all(words);
    while let [first, rest @ ..] = *words
        && *first == "OR"
    {
        *words = rest;
        // Not `||`: both sides must be read.
        result |= all(words);
    }
    result
}

fn all(words: &mut &[&str]) -> bool {
    let mut result = one(words);
    while let [first, rest @ ..] = *words
        && *first == "AND"
    {
        *words = rest;
        result &= one(words);
    }
    result
}

fn one(words: &mut &[&str]) -> bool {
    let [first, rest @ ..] = *words else {
        return false;
    };
    *words = rest;
    if *first == "(" {
        let result = any(words);
        let [close, rest @ ..] = *words else {
            return false;
        };
        *words = rest;
        return result && *close == ")";
    }
    if let ["WITH", _, rest @ ..] = *words {
        *words = rest;
    }
    ALLOWED.contains(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_expressions() {
        for text in [
            "MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
            "MIT OR Apache-2.0 OR LGPL-2.1-or-later",
            "ISC AND (Apache-2.0 OR ISC)",
            "(MIT OR GPL-2.0) AND Unicode-3.0",
        ] {
            assert!(allowed(text), "{text}");
        }
        for text in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT",
            "MIT)",
            "(GPL-2.0 OR LGPL-2.1) AND MIT",
        ] {
            assert!(!allowed(text), "{text}");
        }
    }
}
