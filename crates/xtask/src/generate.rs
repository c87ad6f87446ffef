//! The files in deploy/, made from the same builders that `crossfade install` uses.

use std::path::Path;

use anyhow::Context;
use crossfade_api::install::{self, Installation};
use serde_json::Value;

use crate::Findings;

fn header(what: &str) -> String {
    format!(
        "# {what}\n# Made by `cargo run -p xtask -- generate` for the default installation; do not edit.\n\
         # `crossfade install -o yaml` prints the same for other names, namespaces and addresses.\n"
    )
}

/// Objects as a stream of YAML documents.
fn yaml(what: &str, objects: &[Value]) -> anyhow::Result<String> {
    let mut text = header(what);
    for object in objects {
        text.push_str("---\n");
        let document = serde_saphyr::to_string(object).context("an object has no YAML form")?;
        text.push_str(document.trim_end());
        text.push('\n');
    }
    Ok(text)
}

fn files() -> anyhow::Result<Vec<(&'static str, String)>> {
    let installation = Installation::default();
    let mut identity = install::identity(&installation);
    identity.extend(install::rbac(&installation));
    let mut admission: Vec<Value> = install::admission_service(&installation)
        .into_iter()
        .collect();
    admission.extend(install::admission(&installation));
    Ok(vec![
        (
            "crds.yaml",
            yaml("The kinds of Crossfade.", &install::crds())?,
        ),
        (
            "rbac.yaml",
            yaml(
                "Namespace, ServiceAccount and rights of the controller.",
                &identity,
            )?,
        ),
        (
            "admission.yaml",
            yaml(
                "Admission. Apply it last: from then on template changes of opted-in Deployments need the controller.",
                &admission,
            )?,
        ),
    ])
}

/// Writes them.
pub fn write(root: &Path) -> anyhow::Result<()> {
    for (name, text) in files()? {
        let path = root.join("deploy").join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Compares them, and reads them back.
pub fn check(root: &Path) -> anyhow::Result<Findings> {
    let mut findings = Findings::new();
    for (name, text) in files()? {
        if std::fs::read_to_string(root.join("deploy").join(name)).unwrap_or_default() != text {
            findings.push(format!("deploy/{name} differs from the code: run `cargo run -p xtask -- generate` and commit it"));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_says_what_the_builders_say() {
        let objects = install::objects(&Installation::default());
        for object in objects {
            let text = serde_saphyr::to_string(&object).unwrap();
            let back: Value = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(back, object, "{text}");
        }
    }
}
