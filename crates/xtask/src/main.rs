//! Chores of this repository: generated files and tidy checks. Each failure names its mend.
//!
//! Nothing here is part of the product.

mod dependencies;
mod files;
mod generate;
mod licences;
mod metadata;
mod notes;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is wrong, each with its mend.
type Findings = Vec<String>;

const USAGE: &str = "usage: cargo run -p xtask -- <task>
  generate          writes the files in deploy/
  check-generated   fails when they differ from the code
  tidy              all checks: generated files, dependencies, licences, notes, files";

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

fn tidy(root: &Path) -> anyhow::Result<Findings> {
    let metadata = metadata::Metadata::read(root)?;
    let mut findings = generate::check(root)?;
    findings.extend(dependencies::check(root, &metadata)?);
    findings.extend(licences::check(&metadata));
    findings.extend(notes::check(root)?);
    findings.extend(files::check(root)?);
    Ok(findings)
}

fn run(task: Option<&str>) -> anyhow::Result<Option<Findings>> {
    let root = root();
    Ok(Some(match task {
        Some("generate") => {
            generate::write(&root)?;
            Findings::new()
        }
        Some("check-generated") => generate::check(&root)?,
        Some("tidy") => tidy(&root)?,
        _ => return Ok(None),
    }))
}

fn main() -> ExitCode {
    let task = std::env::args().nth(1);
    match run(task.as_deref()) {
        Ok(Some(findings)) if findings.is_empty() => {
            println!("{}: in order", task.as_deref().unwrap_or_default());
            ExitCode::SUCCESS
        }
        Ok(Some(findings)) => {
            for finding in &findings {
                eprintln!("- {finding}");
            }
            eprintln!("{} finding(s)", findings.len());
            ExitCode::FAILURE
        }
        Ok(None) => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
