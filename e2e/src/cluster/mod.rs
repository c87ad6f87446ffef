//! A real Kubernetes cluster within namespaces of its own on this machine: one node, and a second one for scenarios that ask for it.
//!
//! `up` makes what is missing, clears what a crashed run left and gives a cluster that is ready; `down` leaves nothing behind. Each step has
//! its own module; what runs on the cluster belongs to `harness` and `scenarios`. This module blocks: nothing else happens meanwhile.

pub(crate) mod binaries;
mod certificates;
pub(crate) mod guard;
pub(crate) mod image;
pub(crate) mod namespace;
mod packages;
pub(crate) mod parts;
pub(crate) mod second_node;
mod settings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use namespace::{Namespace, Process};
use parts::Extent;

pub(crate) const NODE: &str = "node1";
/// The same in every cluster: each has a network of its own.
pub(crate) const NODE_ADDRESS: &str = "10.78.0.1";
const POD_RANGE: &str = "10.77.0.0/24";
/// The pods of all nodes.
const CLUSTER_RANGE: &str = "10.77.0.0/16";
const SERVICE_RANGE: &str = "10.96.0.0/16";
/// A Unix socket's path may have 107 bytes; the longest of ours (of the second node's kubelet) adds 42.
const LONGEST_FOLDER: usize = 65;

/// What is written down about a running cluster, so that a later process can use it or clear it away.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    namespace: Namespace,
    parts: BTreeMap<String, Process>,
    /// The second node, from the moment its namespaces are there.
    #[serde(default)]
    second: Option<second_node::SecondNode>,
    /// The image that was imported last, by its archive's time and size.
    image: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    name: String,
    folder: PathBuf,
}

impl Cluster {
    /// Of the cluster that is meant when nobody names one.
    pub(crate) const USUAL: &'static str = "crossfade";

    /// The folder in target/ for what scenarios write: each cluster has its own, so that runs on two do not meet.
    pub(crate) fn results(&self) -> String {
        if self.name == Self::USUAL {
            "e2e".to_owned()
        } else {
            format!("e2e-{}", self.name)
        }
    }

    pub(crate) fn named(name: &str) -> anyhow::Result<Self> {
        if name.is_empty()
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        {
            bail!("a cluster's name has small letters, digits and `-` only: {name:?}");
        }
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let workspace = workspace
            .canonicalize()
            .with_context(|| format!("the workspace {} is gone", workspace.display()))?;
        let folder = workspace.join("target/cluster").join(name);
        if folder.as_os_str().len() > LONGEST_FOLDER {
            bail!(
                "{} is too long a path: sockets in it would exceed what the kernel allows; use a shorter name or clone",
                folder.display()
            );
        }
        Ok(Self {
            name: name.to_owned(),
            folder,
        })
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    fn record(&self) -> Option<Record> {
        serde_json::from_slice(&std::fs::read(self.folder.join("cluster.json")).ok()?).ok()
    }

    fn save(&self, record: &Record) -> anyhow::Result<()> {
        write(
            &self.folder.join("cluster.json"),
            &serde_json::to_string_pretty(record)?,
        )
    }

    /// The namespaces of the cluster, if it runs.
    pub(crate) fn namespace(&self) -> anyhow::Result<Namespace> {
        match self.record() {
            Some(record) if record.namespace.lives() => Ok(record.namespace),
            _ => bail!(
                "the cluster {:?} does not run: bring it up with `crossfade-e2e cluster up`",
                self.name
            ),
        }
    }

    pub(crate) fn up(&self, extent: Extent) -> anyhow::Result<()> {
        let started = Instant::now();
        packages::ensure()?;
        let programs = binaries::ensure()?;
        let archive = image::build()?;
        if let Some(mut record) = self.record() {
            if record.namespace.lives()
                && record.parts.len() == extent.parts()
                && record.parts.values().all(|part| part.lives())
            {
                if extent == Extent::Whole {
                    self.import(&archive, &mut record)?;
                }
                // A run that crashed may have left it, and cordoned the first for it.
                if record.second.is_some() {
                    self.forget_second(&record, &programs)?;
                }
                eprintln!("the cluster {:?} is already up", self.name);
                return Ok(());
            }
            eprintln!("clearing what is left of the cluster {:?}", self.name);
        }
        self.down()?;
        let prepared = started.elapsed();
        std::fs::create_dir_all(self.folder.join("logs"))
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        let namespace = Namespace::create(&self.folder.join("logs/holder.log"))?;
        let mut record = Record {
            namespace,
            parts: BTreeMap::new(),
            second: None,
            image: None,
        };
        self.save(&record)?;
        let outcome = parts::start_all(self, extent, &programs, &mut record, &archive);
        if let Err(problem) = outcome {
            // Logs stay for whoever looks into it; processes do not.
            namespace.destroy()?;
            return Err(problem.context(format!(
                "the cluster did not come up; logs are in {}",
                self.folder.join("logs").display()
            )));
        }
        eprintln!(
            "cluster {:?} is up ({:.1} s to prepare, {:.1} s to start)",
            self.name,
            prepared.as_secs_f64(),
            (started.elapsed() - prepared).as_secs_f64()
        );
        Ok(())
    }

    /// Imports the image unless this very archive was imported before.
    fn import(&self, archive: &Path, record: &mut Record) -> anyhow::Result<()> {
        let meta = std::fs::metadata(archive)?;
        let mark = format!(
            "{} bytes, {:?}",
            meta.len(),
            std::fs::read(archive).map(|bytes| checksum(&bytes))?
        );
        if record.image.as_deref() == Some(&mark) {
            return Ok(());
        }
        import_into(record.namespace, &self.folder, archive)?;
        record.image = Some(mark);
        self.save(record)
    }

    pub(crate) fn image(&self) -> anyhow::Result<()> {
        let archive = image::build()?;
        let mut record = self.record().context("no such cluster")?;
        self.import(&archive, &mut record)
    }

    /// Ends the cluster, or what is left of it. Nothing to end is no error.
    pub(crate) fn down(&self) -> anyhow::Result<()> {
        if let Some(record) = self.record() {
            self.end_second(&record)?;
            if record.namespace.lives() {
                // The kubelet first, or it would start again what is ended; then containers through containerd, which also removes their
                // cgroups. Should that fail, the kernel ends them with the namespace all the same.
                if let Some(kubelet) = record.parts.get("kubelet") {
                    kubelet.kill()?;
                }
                if record
                    .parts
                    .get("containerd")
                    .is_some_and(|part| part.lives())
                {
                    end_containers(record.namespace, &self.folder);
                }
                record.namespace.destroy()?;
            }
            remove_cgroups(&self.folder);
        }
        match std::fs::remove_dir_all(&self.folder) {
            Err(problem) if problem.kind() != std::io::ErrorKind::NotFound => {
                Err(problem).with_context(|| format!("cannot remove {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn status(&self) -> anyhow::Result<String> {
        let namespace = self.namespace()?;
        let record = self.record().context("no such cluster")?;
        let mut text = format!(
            "cluster {:?}: process {} holds its namespaces\n",
            self.name, namespace.holder.pid
        );
        for (name, part) in &record.parts {
            text.push_str(&format!(
                "  {name:<24} {} (process {})\n",
                if part.lives() { "runs" } else { "GONE" },
                part.pid
            ));
        }
        if let Some(second) = &record.second {
            text.push_str(&second.status());
        }
        text.push_str(&format!(
            "  kubeconfig: {}\n  logs: {}\n  audit log: {}\n",
            self.kubeconfig().display(),
            self.folder.join("logs").display(),
            self.audit_log().display()
        ));
        Ok(text)
    }

    /// A command in the cluster's network, with its KUBECONFIG and its kubectl.
    pub(crate) fn exec(&self, program: &std::ffi::OsStr) -> anyhow::Result<Command> {
        let namespace = self.namespace()?;
        let mut path = binaries::ensure()?.into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = namespace.network_command(program);
        command
            .env("KUBECONFIG", self.kubeconfig())
            .env("PATH", path);
        Ok(command)
    }
}

// One node's containerd, whose socket and state are in `folder`.

fn ctr(namespace: Namespace, folder: &Path) -> Command {
    let mut command = namespace.command("ctr");
    command
        .arg("-a")
        .arg(folder.join("containerd.sock"))
        .args(["-n", "k8s.io"]);
    command
}

fn import_into(namespace: Namespace, folder: &Path, archive: &Path) -> anyhow::Result<()> {
    run_to_end(
        ctr(namespace, folder)
            .args(["image", "import"])
            .arg(archive),
    )
    .context("importing the test image")
}

fn end_containers(namespace: Namespace, folder: &Path) {
    let Ok(out) = ctr(namespace, folder).args(["tasks", "ls", "-q"]).output() else {
        return;
    };
    let tasks = String::from_utf8_lossy(&out.stdout).into_owned();
    let tasks: Vec<&str> = tasks.split_whitespace().collect();
    if !tasks.is_empty() {
        let _ = run_to_end(
            ctr(namespace, folder)
                .args(["tasks", "rm", "--force"])
                .args(tasks),
        );
    }
}

/// After a crash containerd could not remove them; the names are those of its own containers.
fn remove_cgroups(folder: &Path) {
    let Ok(containers) =
        std::fs::read_dir(folder.join("containerd/state/io.containerd.runtime.v2.task/k8s.io"))
    else {
        return;
    };
    let hierarchies: Vec<PathBuf> = std::fs::read_dir("/sys/fs/cgroup")
        .map(|all| all.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    for container in containers.flatten() {
        for hierarchy in &hierarchies {
            let _ = std::fs::remove_dir(hierarchy.join("k8s.io").join(container.file_name()));
        }
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Between two looks at something that gives no sign when it changes: a starting process, a file, an address.
fn pause_briefly() {
    std::thread::sleep(Duration::from_millis(50));
}

/// Runs to the end and keeps quiet unless it fails.
fn run_to_end(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let out = command
        .stdin(std::process::Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if out.status.success() {
        return Ok(());
    }
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    let tail: Vec<&str> = text.lines().rev().take(30).collect();
    bail!(
        "{program} ended with {}:\n{}",
        out.status,
        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
    )
}
