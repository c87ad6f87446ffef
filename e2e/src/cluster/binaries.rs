//! Kubernetes' own programs, built from the public Go module into a cache that outlives the clone. Which version, says the go.mod beside.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::run_to_end;

const GO_MOD: &str = include_str!("../../cluster/kubernetes/go.mod");
const GO_SUM: &str = include_str!("../../cluster/kubernetes/go.sum");
const PROGRAMS: [&str; 6] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
];

pub(crate) fn version() -> anyhow::Result<&'static str> {
    let line = GO_MOD
        .lines()
        .find_map(|line| line.strip_prefix("require k8s.io/kubernetes "));
    line.map(str::trim)
        .context("e2e/cluster/kubernetes/go.mod requires no k8s.io/kubernetes on a line of its own")
}

pub(crate) fn cache_folder() -> anyhow::Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(
            std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?,
        )
        .join(".cache"),
    };
    Ok(cache.join("crossfade"))
}

/// Builds what the cache lacks and gives the folder of the six programs. About seven minutes on two cores the first time.
pub(crate) fn ensure() -> anyhow::Result<PathBuf> {
    let version = version()?;
    let folder = cache_folder()?.join(format!("kubernetes-{version}"));
    let stamp_path = folder.join("built-from");
    // A program is what its sources and flags make of it; the recipe is written last, so that half a build is built again.
    let stamp = format!("{GO_MOD}\n{GO_SUM}\n{}", flags(version));
    let complete = PROGRAMS
        .iter()
        .all(|program| folder.join(program).is_file());
    if complete && std::fs::read_to_string(&stamp_path).is_ok_and(|found| found == stamp) {
        return Ok(folder);
    }
    build(version, &folder)?;
    std::fs::write(&stamp_path, stamp)
        .with_context(|| format!("cannot write {}", stamp_path.display()))?;
    Ok(folder)
}

fn flags(version: &str) -> String {
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or("0"), parts.next().unwrap_or("0"));
    let package = "k8s.io/component-base/version";
    format!(
        "-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor} -X {package}.gitTreeState=clean"
    )
}

fn build(version: &str, folder: &Path) -> anyhow::Result<()> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/kubernetes");
    let Some(go) = go_program() else {
        bail!(
            "Go is missing: Kubernetes {version} is built from its Go module, which needs Go 1.24 or newer in PATH or in /usr/local/go/bin"
        );
    };
    eprintln!(
        "building Kubernetes {version} into {} (several minutes, once)",
        folder.display()
    );
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    run_to_end(
        Command::new(go)
            .current_dir(&module)
            .args([
                "build",
                "-mod=mod",
                "-buildvcs=false",
                "-trimpath",
                "-ldflags",
                &flags(version),
                "-o",
            ])
            .arg(format!("{}/", folder.display()))
            .args(PROGRAMS.map(|program| format!("k8s.io/kubernetes/cmd/{program}")))
            .env("CGO_ENABLED", "0"),
    )
    .context("go build of the Kubernetes programs")
}

fn go_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/local/go/bin")])
        .map(|folder| folder.join("go"))
        .find(|go| go.is_file())
}
