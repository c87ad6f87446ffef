//! The test application's image, made by hand: one layer with one static binary, and one configuration per tag.
//!
//! The tags differ only in their environment, so that `kubectl set image` alone releases another version, as users do it. What the
//! application does with it belongs to its own crate.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::run_to_end;

pub(crate) const REPOSITORY: &str = "crossfade.dev/e2e-app";
pub(crate) const PAUSE: &str = "crossfade.dev/e2e-app:pause";

/// Tag and environment. None is `latest`, which would be pulled each time.
fn tags() -> Vec<(String, Vec<String>)> {
    let mut tags: Vec<(String, Vec<String>)> = (1..=9)
        .map(|n| (format!("v{n}"), vec![format!("VERSION=v{n}")]))
        .collect();
    let special: [(&str, &[&str]); 4] = [
        ("pause", &[]),
        ("bad", &["VERSION=bad", "ERROR_SHARE=0.2"]),
        ("crash", &["VERSION=crash", "CRASH=1"]),
        ("slow", &["VERSION=slow", "LATENCY_MS=250"]),
    ];
    tags.extend(special.map(|(tag, environment)| {
        (
            tag.to_owned(),
            environment.iter().map(|line| (*line).to_owned()).collect(),
        )
    }));
    tags
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where `build` has put it.
pub(crate) fn archive() -> PathBuf {
    workspace().join("target/e2e-app/image.tar")
}

/// Builds the application and gives the archive to import. Its own target folder, because its linking differs and it must not wait for
/// others that build.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let target_folder = workspace().join("target/e2e-app");
    let host = host_triple()?;
    run_to_end(
        Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(workspace())
            .args([
                "build",
                "--quiet",
                "--release",
                "--package",
                "crossfade-e2e-app",
                "--target",
                &host,
                "--target-dir",
            ])
            .arg(&target_folder)
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .env_remove("CARGO_TARGET_DIR"),
    )
    .context("building the test application")?;
    let binary = target_folder.join(&host).join("release/crossfade-e2e-app");
    let archive = archive();
    write_archive(&binary, &archive)?;
    Ok(archive)
}

fn host_triple() -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let out = Command::new(rustc)
        .arg("-vV")
        .output()
        .context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc -vV names no host")
}

fn write_archive(binary: &Path, archive: &Path) -> anyhow::Result<()> {
    let program =
        std::fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let layer = tar(&[("app", 0o755, &program)])?;
    let layer_digest = digest(&layer);
    let layer_name = format!("{layer_digest}.tar");
    let mut configurations = Vec::new();
    for (tag, environment) in tags() {
        let configuration = json!({
            "architecture": architecture()?, "os": "linux",
            "config": {"Entrypoint": ["/app"], "Cmd": [if tag == "pause" { "pause" } else { "serve" }], "Env": environment},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
        });
        let text = serde_json::to_vec(&configuration)?;
        configurations.push((format!("{}.json", digest(&text)), text, tag));
    }
    let manifest: Vec<_> =
        configurations.iter().map(|(name, _, tag)| json!({"Config": name, "RepoTags": [format!("{REPOSITORY}:{tag}")], "Layers": [layer_name]})).collect();
    let manifest = serde_json::to_vec(&manifest)?;
    let mut files: Vec<(&str, u32, &[u8])> = vec![
        ("manifest.json", 0o644, &manifest),
        (&layer_name, 0o644, &layer),
    ];
    files.extend(
        configurations
            .iter()
            .map(|(name, text, _)| (name.as_str(), 0o644, text.as_slice())),
    );
    // Another run may read it just now.
    let fresh = archive.with_extension(format!("{}.tar", std::process::id()));
    std::fs::write(&fresh, tar(&files)?)
        .and_then(|()| std::fs::rename(&fresh, archive))
        .with_context(|| format!("cannot write {}", archive.display()))
}

fn architecture() -> anyhow::Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("no image can be made for {other}"),
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A POSIX ustar archive of plain files owned by root, with a fixed time, so that the same binary gives the same image.
fn tar(files: &[(&str, u32, &[u8])]) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    for (name, mode, content) in files {
        if name.len() > 100 {
            bail!("{name} is too long a name for this archive");
        }
        let mut header = Vec::with_capacity(512);
        header.extend_from_slice(name.as_bytes());
        header.resize(100, 0);
        header.extend_from_slice(
            format!(
                "{mode:07o}\0{:07o}\0{:07o}\0{:011o}\0{:011o}\0",
                0,
                0,
                content.len(),
                0
            )
            .as_bytes(),
        );
        // The checksum counts itself as eight spaces.
        header.extend_from_slice(b"        0");
        header.resize(257, 0);
        header.extend_from_slice(b"ustar\x0000");
        header.resize(512, 0);
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header.splice(148..156, format!("{sum:06o}\0 ").into_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    Ok(out)
}
