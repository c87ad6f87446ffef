//! Worlds that once broke a law, each in a file of its own that says what it was. Their faults are
//! written out, so that they stay the same worlds when more is drawn.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::process::Command;

#[test]
fn worlds_that_once_failed_keep_the_laws() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        let what = read["what"].as_str().expect("what it was");
        let output = Command::new(env!("CARGO_BIN_EXE_world-runner"))
            .args(["replay", "--item", &read["item"].to_string()])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}: {what}\n{}",
            file.display(),
            String::from_utf8_lossy(&output.stdout)
        );
    }
}
