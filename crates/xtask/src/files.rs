//! Source files: short, and each begins by saying what it is.

use std::path::Path;

use anyhow::Context;

use crate::Findings;

/// Longest source file.
const LONGEST: usize = 600;

/// Files that are too long or do not say what they are.
pub fn check(root: &Path) -> anyhow::Result<Findings> {
    let mut findings = Findings::new();
    for folder in ["crates", "e2e"] {
        walk(&root.join(folder), root, &mut findings)?;
    }
    Ok(findings)
}

fn walk(folder: &Path, root: &Path, findings: &mut Findings) -> anyhow::Result<()> {
    let mut entries = std::fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !["target", "node_modules"]
                .iter()
                .any(|skipped| entry.file_name() == *skipped)
            {
                walk(&path, root, findings)?;
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == "rs" || extension == "go")
        {
            let text =
                std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .display()
                .to_string();
            let rust = name.ends_with(".rs");
            let lines = text.lines().count();
            if lines > LONGEST {
                findings.push(format!("{name} has {lines} lines, more than {LONGEST}: split it by what its parts are about"));
            }
            let first = text.lines().next().unwrap_or_default();
            if !first.starts_with(if rust { "//!" } else { "//" }) {
                findings.push(format!("{name} does not begin with a comment: say in its first lines what it is and what does not belong in it"));
            }
        }
    }
    Ok(())
}
