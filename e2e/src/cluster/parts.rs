//! The parts of the cluster, in the order and with the flags they are started with. Their configuration files belong to `settings`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::certificates::{self, FRONT_PROXY, kubeconfig};
use super::namespace::{Namespace, Process, only_child};
use super::{
    CLUSTER_RANGE, Cluster, NODE, NODE_ADDRESS, POD_RANGE, Record, SERVICE_RANGE, ctr, guard,
    pause_briefly, run_to_end, second_node, settings, write,
};

/// How much of a cluster is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Whole,
    /// etcd and the API server: nothing is written but what is asked for.
    ApiOnly,
    /// These and the controller manager: workloads are controlled, and whoever asks for pods plays scheduler and kubelet.
    Controllers,
}

impl Extent {
    /// How many parts it has.
    pub(crate) fn parts(self) -> usize {
        match self {
            Self::Whole => 7,
            Self::ApiOnly => 2,
            Self::Controllers => 3,
        }
    }
}

/// Those that would end pods of nodes that do not exist.
const WITHOUT_NODES: &str = "--controllers=*,-node-lifecycle-controller,-pod-garbage-collector-controller,-taint-eviction-controller";

/// A node that says nothing for so long is lost, and its pods are not ready; usual are 50 s. Short enough for scenarios that wait for it, and
/// long enough for a kubelet on busy cores.
const NODE_LOST_AFTER: &str = "20s";

/// From then on, seconds until its pods are replaced; usual are 300.
const REPLACED_AFTER: [&str; 2] = [
    "--default-not-ready-toleration-seconds=5",
    "--default-unreachable-toleration-seconds=5",
];

pub(super) fn start_all(
    cluster: &Cluster,
    extent: Extent,
    programs: &Path,
    record: &mut Record,
    archive: &Path,
) -> anyhow::Result<()> {
    let folder = cluster.folder.as_path();
    let namespace = record.namespace;
    write_files(folder, namespace)?;
    let at = folder.display();
    let cert = format!("{at}/certificates");
    let mut starter = Starter {
        cluster,
        programs,
        record,
        node: None,
    };

    starter.start(
        "etcd",
        "/usr/bin/etcd",
        &[
            &format!("--data-dir={at}/etcd"),
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=default=http://127.0.0.1:2380",
            // Nothing here has to outlive a power cut.
            "--unsafe-no-fsync",
            "--log-level=warn",
            "--logger=zap",
        ],
    )?;
    if extent == Extent::Whole {
        starter.containerd(folder)?;
    }
    let own = [
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        "--bind-address=0.0.0.0".to_owned(),
        format!("--advertise-address={NODE_ADDRESS}"),
        "--secure-port=6443".to_owned(),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        format!("--client-ca-file={cert}/ca.crt"),
        format!("--tls-cert-file={cert}/apiserver.crt"),
        format!("--tls-private-key-file={cert}/apiserver.key"),
        format!("--kubelet-client-certificate={cert}/admin.crt"),
        format!("--kubelet-client-key={cert}/admin.key"),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={cert}/service-accounts.pub"),
        format!("--service-account-signing-key-file={cert}/service-accounts.key"),
        // So that it hands requests on to a server of another group, such as a scenario's figures of CPU use.
        format!("--requestheader-client-ca-file={cert}/front-proxy-ca.crt"),
        format!("--requestheader-allowed-names={FRONT_PROXY}"),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        format!("--proxy-client-cert-file={cert}/front-proxy.crt"),
        format!("--proxy-client-key-file={cert}/front-proxy.key"),
        format!("--audit-policy-file={at}/audit-policy.yaml"),
        format!("--audit-log-path={}", cluster.audit_log().display()),
        // Megabytes, more than any run writes (0 would mean a default of 100): whoever counts lines must not lose some to a rotation.
        "--audit-log-maxsize=10000".to_owned(),
    ];
    let mut server: Vec<&str> = own.iter().map(String::as_str).collect();
    if extent == Extent::Whole {
        server.extend(REPLACED_AFTER);
    }
    starter.kubernetes("kube-apiserver", &server)?;
    starter.until(
        "the API server is ready",
        Duration::from_secs(60),
        |starter| starter.kubectl(&["get", "--raw=/readyz"]),
    )?;
    if extent == Extent::ApiOnly {
        return Ok(());
    }

    // The defaults of 20 requests per second are made for clusters that are not in a hurry; three scenarios at once are.
    let hurry = ["--kube-api-qps=100", "--kube-api-burst=200"];
    let own = [
        format!("--kubeconfig={at}/controller-manager.kubeconfig"),
        format!("--service-account-private-key-file={cert}/service-accounts.key"),
        format!("--root-ca-file={cert}/ca.crt"),
        format!("--node-monitor-grace-period={NODE_LOST_AFTER}"),
    ];
    let mut manager: Vec<&str> = own.iter().map(String::as_str).collect();
    manager.extend([
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        // Instead of 15 s. Only a scenario's own is there to be looked at.
        "--horizontal-pod-autoscaler-sync-period=1s",
    ]);
    manager.extend(hurry);
    if extent == Extent::Controllers {
        manager.push(WITHOUT_NODES);
    }
    starter.kubernetes("kube-controller-manager", &manager)?;
    if extent == Extent::Controllers {
        return Ok(());
    }
    starter.kubernetes(
        "kube-scheduler",
        &[
            &format!("--kubeconfig={at}/scheduler.kubeconfig"),
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            hurry[0],
            hurry[1],
        ],
    )?;
    guard::install(starter.record.namespace)?;
    starter.kube_proxy(NODE)?;
    starter.until_containerd(folder)?;
    cluster.import(archive, starter.record)?;
    starter.kubelet(folder, NODE, NODE_ADDRESS, Duration::from_secs(90))
}

fn write_files(folder: &Path, namespace: Namespace) -> anyhow::Result<()> {
    let certificates = folder.join("certificates");
    certificates::make(&certificates)?;
    for name in [
        "admin",
        "controller-manager",
        "scheduler",
        "proxy",
        "kubelet",
        second_node::KUBELET,
    ] {
        write(
            &folder.join(format!("{name}.kubeconfig")),
            &kubeconfig(&certificates, name),
        )?;
    }
    write(&folder.join("audit-policy.yaml"), settings::AUDIT_POLICY)?;
    write_node_files(folder, &certificates, POD_RANGE, namespace)
}

/// What the parts of one node read, in the folder of that node.
pub(super) fn write_node_files(
    folder: &Path,
    certificates: &Path,
    pods: &str,
    namespace: Namespace,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder.join("cni"))?;
    write(
        &folder.join("cni/10-e2e.conflist"),
        &settings::network(folder, pods),
    )?;
    write(
        &folder.join("kubelet.yaml"),
        &settings::kubelet(folder, certificates),
    )?;
    write(
        &folder.join("containerd.toml"),
        &settings::containerd(folder, snapshotter(folder, namespace)),
    )
}

/// Overlays do not stack: a clone that lies on one (within a container, say) gets plain copies, which cost little with an image this small.
fn snapshotter(folder: &Path, namespace: Namespace) -> &'static str {
    let try_it = "set -e; cd \"$1\"; mkdir -p overlay/lower overlay/upper overlay/work overlay/all; \
                  mount -t overlay overlay -o lowerdir=overlay/lower,upperdir=overlay/upper,workdir=overlay/work overlay/all; umount overlay/all";
    match run_to_end(
        namespace
            .command("sh")
            .args(["-c", try_it, "sh"])
            .arg(folder),
    ) {
        Ok(()) => "overlayfs",
        Err(_) => "native",
    }
}

pub(super) struct Starter<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) programs: &'a Path,
    pub(super) record: &'a mut Record,
    /// Whose parts are started; `None`: of the cluster's own namespaces.
    pub(super) node: Option<&'static str>,
}

impl Starter<'_> {
    fn namespace(&self) -> anyhow::Result<Namespace> {
        match (self.node, &self.record.second) {
            (None, _) => Ok(self.record.namespace),
            (Some(_), Some(second)) => Ok(second.namespace),
            (Some(node), None) => bail!("{node} has no namespaces"),
        }
    }

    fn started(&self) -> &BTreeMap<String, Process> {
        match (self.node, &self.record.second) {
            (Some(_), Some(second)) => &second.parts,
            _ => &self.record.parts,
        }
    }

    pub(super) fn containerd(&mut self, folder: &Path) -> anyhow::Result<()> {
        let config = folder.join("containerd.toml").display().to_string();
        self.start(
            "containerd",
            "/usr/bin/containerd",
            &["--config", &config, "--log-level", "warn"],
        )
    }

    pub(super) fn until_containerd(&self, folder: &Path) -> anyhow::Result<()> {
        let namespace = self.namespace()?;
        self.until("containerd answers", Duration::from_secs(30), |_| {
            run_to_end(ctr(namespace, folder).arg("version"))
        })
    }

    pub(super) fn kube_proxy(&mut self, node: &str) -> anyhow::Result<()> {
        let at = self.cluster.folder.display().to_string();
        self.kubernetes(
            "kube-proxy",
            &[
                &format!("--kubeconfig={at}/proxy.kubeconfig"),
                // Not nftables: `guard` says why.
                "--proxy-mode=iptables",
                &format!("--cluster-cidr={CLUSTER_RANGE}"),
                // The limit belongs to the machine, not to this network namespace.
                "--conntrack-max-per-core=0",
                &format!("--hostname-override={node}"),
            ],
        )
    }

    /// Starts it and waits until its node is ready.
    pub(super) fn kubelet(
        &mut self,
        folder: &Path,
        node: &str,
        address: &str,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let (at, all) = (
            folder.display().to_string(),
            self.cluster.folder.display().to_string(),
        );
        let name = if self.node.is_some() {
            second_node::KUBELET
        } else {
            "kubelet"
        };
        self.kubernetes(
            "kubelet",
            &[
                &format!("--config={at}/kubelet.yaml"),
                &format!("--kubeconfig={all}/{name}.kubeconfig"),
                &format!("--root-dir={at}/kubelet"),
                &format!("--hostname-override={node}"),
                &format!("--node-ip={address}"),
            ],
        )?;
        self.until(&format!("{node} is ready"), limit, |starter| {
            starter.kubectl(&[
                "wait",
                "--for=condition=Ready",
                &format!("node/{node}"),
                "--timeout=5s",
            ])
        })
    }

    fn kubernetes(&mut self, name: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let program = self.programs.join(name);
        self.start(name, program, arguments)
    }

    fn start(
        &mut self,
        name: &str,
        program: impl AsRef<std::ffi::OsStr>,
        arguments: &[&str],
    ) -> anyhow::Result<()> {
        use std::os::unix::process::CommandExt;
        let log_path = self.log(name);
        let log = File::create(&log_path)
            .with_context(|| format!("cannot write {}", log_path.display()))?;
        let mut command = self.namespace()?.command(program);
        command
            .args(arguments)
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            // A group of its own, so that an interrupt at the terminal ends the test and not the cluster.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let outer = i32::try_from(
            command
                .spawn()
                .with_context(|| format!("cannot start {name}"))?
                .id(),
        )?;
        let deadline = Instant::now() + Duration::from_secs(10);
        let part = loop {
            if let Some(child) = only_child(outer) {
                break Process::of(child).with_context(|| {
                    format!("{name} ended at once; see {}", log_path.display())
                })?;
            }
            if Instant::now() > deadline {
                bail!("{name} did not start; see {}", log_path.display());
            }
            pause_briefly();
        };
        let parts = match (self.node, &mut self.record.second) {
            (Some(_), Some(second)) => &mut second.parts,
            _ => &mut self.record.parts,
        };
        parts.insert(name.to_owned(), part);
        self.cluster.save(self.record)
    }

    fn log(&self, name: &str) -> std::path::PathBuf {
        let file = match self.node {
            Some(node) => format!("{node}-{name}.log"),
            None => format!("{name}.log"),
        };
        self.cluster.folder.join("logs").join(file)
    }

    fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        run_to_end(
            self.record
                .namespace
                .command(self.programs.join("kubectl"))
                .arg("--kubeconfig")
                .arg(self.cluster.kubeconfig())
                .args(arguments),
        )
    }

    fn until(
        &self,
        what: &str,
        limit: Duration,
        check: impl Fn(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let Err(problem) = check(self) else {
                return Ok(());
            };
            if let Some((name, _)) = self.started().iter().find(|(_, part)| !part.lives()) {
                let log = std::fs::read_to_string(self.log(name)).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                bail!(
                    "{name} ended before {what}; the end of its log:\n{}",
                    tail.into_iter().rev().collect::<Vec<_>>().join("\n")
                );
            }
            if Instant::now() > deadline {
                return Err(
                    problem.context(format!("waited {} s and not yet: {what}", limit.as_secs()))
                );
            }
            pause_briefly();
        }
    }
}
