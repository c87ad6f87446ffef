//! Worlds that once broke a law, each in a file of its own that says what it was. Their faults are
//! written out, and so is what has to be seen in them: one that has become another world fails here.

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
        let item = &read["item"];
        let output = Command::new(env!("CARGO_BIN_EXE_world-runner"))
            .args(["replay", "--whole", "--item", &item.to_string()])
            .output()
            .unwrap();
        let seen = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{}: {what}\n{seen}",
            file.display()
        );
        // A world that goes another way than the one that failed would pass for no reason.
        let mut rest = &*seen;
        for shows in read["shows"].as_array().expect("what it shows, in order") {
            let shows = shows.as_str().expect("a part of a line");
            let Some((_, after)) = rest.split_once(shows) else {
                panic!(
                    "{}: it is another world now; {shows:?} is not to be seen in\n{seen}",
                    file.display()
                );
            };
            rest = after;
        }
    }
}
