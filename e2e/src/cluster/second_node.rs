//! A second real node: network, mounts and process ids of its own within those of the cluster, a containerd, a kubelet and a kube-proxy.
//!
//! It is started for scenarios that ask for it and taken down after them, so that no other waits for it; what it is used for belongs to
//! `harness::nodes`. It hangs on the cluster's holder, so that nothing of it outlives the cluster. No load runs within it: what `guard`
//! does on the first node is not needed here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::namespace::{Namespace, Process};
use super::parts::{Starter, write_node_files};
use super::{
    Cluster, Record, binaries, end_containers, image, import_into, remove_cgroups, run_to_end,
};

pub(crate) const NODE: &str = "node2";
/// On the bridge of the first node.
const ADDRESS: &str = "10.78.0.2";
const POD_RANGE: &str = "10.77.1.0/24";
/// Its certificate and kubeconfig, made with all others.
pub(super) const KUBELET: &str = "kubelet-node2";
const READY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SecondNode {
    pub(super) namespace: Namespace,
    pub(super) parts: BTreeMap<String, Process>,
}

impl SecondNode {
    pub(super) fn status(&self) -> String {
        let mut text = String::new();
        for (name, part) in &self.parts {
            text.push_str(&format!(
                "  {:<24} {} (process {})\n",
                format!("{NODE} {name}"),
                if part.lives() { "runs" } else { "GONE" },
                part.pid
            ));
        }
        text
    }
}

impl Cluster {
    fn second_folder(&self) -> PathBuf {
        self.folder.join(NODE)
    }

    /// Starts it and waits until it is ready. What is left of one before is cleared away first; its Node and pods belong to the caller.
    pub(crate) fn start_second(&self) -> anyhow::Result<()> {
        self.clear_second()?;
        let mut record = self.record().context("no such cluster")?;
        let programs = binaries::ensure()?;
        let folder = self.second_folder();
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let log = self.folder.join(format!("logs/{NODE}-holder.log"));
        let namespace = record.namespace.create_inner(&log)?;
        record.second = Some(SecondNode {
            namespace,
            parts: BTreeMap::new(),
        });
        self.save(&record)?;
        record.namespace.join(namespace, ADDRESS, POD_RANGE)?;
        let certificates = self.folder.join("certificates");
        write_node_files(&folder, &certificates, POD_RANGE, namespace)?;
        let mut starter = Starter {
            cluster: self,
            programs: &programs,
            record: &mut record,
            node: Some(NODE),
        };
        starter.containerd(&folder)?;
        starter.kube_proxy(NODE)?;
        starter.until_containerd(&folder)?;
        import_into(namespace, &folder, &image::archive())?;
        starter.kubelet(&folder, NODE, ADDRESS, READY)
    }

    /// As a loss of power: from one moment to the next it neither answers nor says that it goes.
    pub(crate) fn lose_second(&self) -> anyhow::Result<()> {
        let record = self.record().context("no such cluster")?;
        let second = record.second.context("there is no second node")?;
        // The network first: a process that ends says so to its peers.
        record.namespace.cut(POD_RANGE)?;
        second.namespace.destroy()
    }

    /// Takes it down, and with it what the API server has of it. Its pods are collected when nobody has the Node back for a while.
    pub(super) fn forget_second(&self, record: &Record, programs: &Path) -> anyhow::Result<()> {
        self.clear_second()?;
        let kubectl = |arguments: &[&str]| {
            let mut command = record.namespace.command(programs.join("kubectl"));
            command.arg("--kubeconfig").arg(self.kubeconfig());
            run_to_end(command.args(arguments))
        };
        kubectl(&["delete", "node", NODE, "--ignore-not-found"])?;
        kubectl(&["uncordon", super::NODE])
    }

    /// Takes down what is there of it, if anything, and forgets it.
    pub(crate) fn clear_second(&self) -> anyhow::Result<()> {
        let mut record = self.record().context("no such cluster")?;
        if record.second.is_some() {
            self.end_second(&record)?;
            record.second = None;
            self.save(&record)?;
        }
        Ok(())
    }

    /// As `down` does it with the first.
    pub(super) fn end_second(&self, record: &Record) -> anyhow::Result<()> {
        let Some(second) = &record.second else {
            return Ok(());
        };
        let folder = self.second_folder();
        if second.namespace.lives() {
            if let Some(kubelet) = second.parts.get("kubelet") {
                kubelet.kill()?;
            }
            if second
                .parts
                .get("containerd")
                .is_some_and(|part| part.lives())
            {
                end_containers(second.namespace, &folder);
            }
            second.namespace.destroy()?;
        }
        if record.namespace.lives() {
            record.namespace.cut(POD_RANGE)?;
        }
        remove_cgroups(&folder);
        match std::fs::remove_dir_all(&folder) {
            Err(problem) if problem.kind() != std::io::ErrorKind::NotFound => {
                Err(problem).with_context(|| format!("cannot remove {}", folder.display()))
            }
            _ => Ok(()),
        }
    }
}
