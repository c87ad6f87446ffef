//! The Debian packages the cluster is made of: looked for, and installed when this is root. What is built from source belongs to
//! `binaries`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use super::run_to_end;

/// Each program, where Debian puts it, and the package it comes from.
const NEEDED: &[(&str, &str)] = &[
    ("/usr/bin/etcd", "etcd-server"),
    ("/usr/bin/containerd", "containerd"),
    ("/usr/bin/ctr", "containerd"),
    ("/usr/sbin/runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("/usr/sbin/iptables-restore", "iptables"),
    ("/usr/sbin/conntrack", "conntrack"),
    ("/usr/sbin/ip", "iproute2"),
    ("/usr/sbin/sysctl", "procps"),
    ("/usr/bin/openssl", "openssl"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/usr/bin/unshare", "util-linux"),
];

/// Static linking of the test application needs the C library's archive.
const NEEDED_TO_BUILD: &[(&str, &str)] = &[
    ("/usr/bin/cc", "gcc"),
    ("/usr/lib/x86_64-linux-gnu/libc.a", "libc6-dev"),
];

fn missing() -> Vec<&'static str> {
    let mut packages: Vec<&str> = NEEDED
        .iter()
        .chain(NEEDED_TO_BUILD)
        .filter(|(path, _)| !Path::new(path).exists())
        .map(|(_, package)| *package)
        .collect();
    if !cfg!(target_arch = "x86_64") {
        // The archive lies elsewhere there; the compiler says so itself if it is missing.
        packages.retain(|package| *package != "libc6-dev");
    }
    packages.sort_unstable();
    packages.dedup();
    packages
}

pub(crate) fn ensure() -> anyhow::Result<()> {
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !rustix::process::geteuid().is_root() {
        bail!(
            "these Debian packages are missing and only root can install them: run `apt-get install --no-install-recommends {list}` as root"
        );
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("these packages are missing, and there is no apt-get to install them with: {list}");
    }
    eprintln!("installing Debian packages: {list}");
    run_to_end(Command::new("apt-get").args(["update", "-qq"])).context("apt-get update")?;
    // The packages of etcd and containerd would start services of their own on the host; the cluster starts its own and needs neither.
    run_to_end(
        Command::new("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&packages)
            .envs([("DEBIAN_FRONTEND", "noninteractive"), ("RUNLEVEL", "1")]),
    )
    .context("apt-get install")?;
    let still = missing();
    if !still.is_empty() {
        bail!(
            "apt-get went through, but these are still missing: {}",
            still.join(" ")
        );
    }
    Ok(())
}
