//! The parts of the cluster, in the order and with the flags they are started with. Their configuration files belong to `settings`.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::certificates::{self, kubeconfig};
use super::namespace::{Namespace, Process, only_child};
use super::{
    Cluster, NODE, NODE_ADDRESS, POD_RANGE, Record, SERVICE_RANGE, guard, pause_briefly,
    run_to_end, settings, write,
};

/// How much of a cluster is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Whole,
    /// etcd and the API server: nothing is written but what is asked for.
    ApiOnly,
}

impl Extent {
    /// How many parts it has.
    pub(crate) fn parts(self) -> usize {
        match self {
            Self::Whole => 7,
            Self::ApiOnly => 2,
        }
    }
}

/// Without an image's archive only what runs no pods: the extent `ApiOnly`.
pub(super) fn start_all(
    cluster: &Cluster,
    programs: &Path,
    record: &mut Record,
    archive: Option<&Path>,
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
    if archive.is_some() {
        starter.start(
            "containerd",
            "/usr/bin/containerd",
            &[
                "--config",
                &format!("{at}/containerd.toml"),
                "--log-level",
                "warn",
            ],
        )?;
    }
    starter.kubernetes(
        "kube-apiserver",
        &[
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=0.0.0.0",
            &format!("--advertise-address={NODE_ADDRESS}"),
            "--secure-port=6443",
            &format!("--service-cluster-ip-range={SERVICE_RANGE}"),
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            &format!("--client-ca-file={cert}/ca.crt"),
            &format!("--tls-cert-file={cert}/apiserver.crt"),
            &format!("--tls-private-key-file={cert}/apiserver.key"),
            &format!("--kubelet-client-certificate={cert}/admin.crt"),
            &format!("--kubelet-client-key={cert}/admin.key"),
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc",
            &format!("--service-account-key-file={cert}/service-accounts.pub"),
            &format!("--service-account-signing-key-file={cert}/service-accounts.key"),
            &format!("--audit-policy-file={at}/audit-policy.yaml"),
            &format!("--audit-log-path={}", cluster.audit_log().display()),
            // Megabytes, more than any run writes (0 would mean a default of 100): whoever counts lines must not lose some to a rotation.
            "--audit-log-maxsize=10000",
        ],
    )?;
    starter.until(
        "the API server is ready",
        Duration::from_secs(60),
        |starter| starter.kubectl(&["get", "--raw=/readyz"]),
    )?;
    let Some(archive) = archive else {
        return Ok(());
    };

    // The defaults of 20 requests per second are made for clusters that are not in a hurry; three scenarios at once are.
    let hurry = ["--kube-api-qps=100", "--kube-api-burst=200"];
    starter.kubernetes(
        "kube-controller-manager",
        &[
            &format!("--kubeconfig={at}/controller-manager.kubeconfig"),
            &format!("--service-account-private-key-file={cert}/service-accounts.key"),
            &format!("--root-ca-file={cert}/ca.crt"),
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            hurry[0],
            hurry[1],
        ],
    )?;
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
    starter.kubernetes(
        "kube-proxy",
        &[
            &format!("--kubeconfig={at}/proxy.kubeconfig"),
            // Not nftables: `guard` says why.
            "--proxy-mode=iptables",
            &format!("--cluster-cidr={POD_RANGE}"),
            // The limit belongs to the machine, not to this network namespace.
            "--conntrack-max-per-core=0",
            &format!("--hostname-override={NODE}"),
        ],
    )?;
    starter.until("containerd answers", Duration::from_secs(30), |starter| {
        run_to_end(starter.cluster.ctr(starter.record.namespace).arg("version"))
    })?;
    cluster.import(archive, starter.record)?;
    starter.kubernetes(
        "kubelet",
        &[
            &format!("--config={at}/kubelet.yaml"),
            &format!("--kubeconfig={at}/kubelet.kubeconfig"),
            &format!("--root-dir={at}/kubelet"),
            &format!("--hostname-override={NODE}"),
            &format!("--node-ip={NODE_ADDRESS}"),
        ],
    )?;
    starter.until("the node is ready", Duration::from_secs(90), |starter| {
        starter.kubectl(&[
            "wait",
            "--for=condition=Ready",
            &format!("node/{NODE}"),
            "--timeout=5s",
        ])
    })
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
    ] {
        write(
            &folder.join(format!("{name}.kubeconfig")),
            &kubeconfig(&certificates, name),
        )?;
    }
    std::fs::create_dir_all(folder.join("cni"))?;
    write(
        &folder.join("cni/10-e2e.conflist"),
        &settings::network(folder),
    )?;
    write(&folder.join("kubelet.yaml"), &settings::kubelet(folder))?;
    write(&folder.join("audit-policy.yaml"), settings::AUDIT_POLICY)?;
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

struct Starter<'a> {
    cluster: &'a Cluster,
    programs: &'a Path,
    record: &'a mut Record,
}

impl Starter<'_> {
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
        let mut command = self.record.namespace.command(program);
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
        self.record.parts.insert(name.to_owned(), part);
        self.cluster.save(self.record)
    }

    fn log(&self, name: &str) -> std::path::PathBuf {
        self.cluster.folder.join("logs").join(format!("{name}.log"))
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
            if let Some((name, _)) = self.record.parts.iter().find(|(_, part)| !part.lives()) {
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
