//! The namespaces a cluster lives in, held open by one process.
//!
//! Network, mounts and process ids of a cluster are its own, and all hang on the holder: when it ends, the kernel ends every process of the
//! cluster, shims and pods included, and takes mounts, devices and firewall rules with them. So a crashed run leaves nothing that has to be
//! searched for, and several clusters live side by side. What runs inside belongs to `parts`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::{NODE_ADDRESS, pause_briefly, run_to_end};

/// Folders whose names clusters and nodes side by side would share.
const SHARED_FOLDERS: &str = "for folder in /run/netns /run/containerd /var/log/containers /var/lib/cni; do mkdir -p $folder; mount -t tmpfs tmpfs $folder; done\n";
/// The first node's end of the link to the second.
const LINK: &str = "node2";

/// A process named so that it cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// Start time in clock ticks since boot, field 22 of /proc/PID/stat.
    started: u64,
}

impl Process {
    pub(crate) fn of(pid: i32) -> anyhow::Result<Self> {
        let started = start_time(pid).with_context(|| format!("process {pid} is gone"))?;
        Ok(Self { pid, started })
    }

    pub(crate) fn lives(self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    pub(crate) fn kill(self) -> anyhow::Result<()> {
        if let (true, Some(pid)) = (self.lives(), Pid::from_raw(self.pid)) {
            kill_process(pid, Signal::KILL)
                .with_context(|| format!("cannot end process {}", self.pid))?;
        }
        Ok(())
    }
}

/// `None` for a process that is gone or only waits to be buried.
fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold spaces and parentheses: count from the last one.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Namespace {
    /// What was started, and waits for the holder: `unshare`, or `nsenter` that waits for it.
    outer: Process,
    /// Process 1 within.
    pub(crate) holder: Process,
}

impl Namespace {
    pub(crate) fn create(log: &Path) -> anyhow::Result<Self> {
        let made = Self::hold(Command::new("unshare"), log)?;
        made.set_up_inside()?;
        Ok(made)
    }

    /// Namespaces within these, for another node: it ends with the cluster, and can end before it. Without any network yet.
    pub(crate) fn create_inner(self, log: &Path) -> anyhow::Result<Self> {
        let made = Self::hold(self.command("unshare"), log)?;
        made.run(&format!("set -e\nip link set lo up\n{SHARED_FOLDERS}"))?;
        Ok(made)
    }

    fn hold(mut unshare: Command, log: &Path) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt;
        let own = std::env::current_exe().context("cannot find this program's own file")?;
        let line = format!("{} hold", own.display());
        let outer = unshare
            .args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "--propagation",
                "private",
                "--",
            ])
            .arg(own)
            .arg("hold")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log)?)
            .spawn()
            .context("cannot start unshare")?;
        let outer_pid = i32::try_from(outer.id())?;
        let deadline = Instant::now() + Duration::from_secs(10);
        let holder = loop {
            // A child is the holder only once it runs our own program: before, its namespaces may not be in place.
            let child = only_child(outer_pid);
            let below = [child, child.and_then(only_child)];
            if let Some(holder) = below
                .into_iter()
                .flatten()
                .find(|child| command_line(*child).as_ref() == Some(&line))
            {
                break holder;
            }
            if Instant::now() > deadline {
                bail!(
                    "the holder of the namespaces did not start; see {} (creating namespaces needs root)",
                    log.display()
                );
            }
            pause_briefly();
        };
        Ok(Self {
            outer: Process::of(outer_pid)?,
            holder: Process::of(holder)?,
        })
    }

    fn set_up_inside(self) -> anyhow::Result<()> {
        // The API server wants a default route to find its own address by, and Service addresses are routed by it; a bridge without ports
        // serves where the kernel knows no dummy devices.
        let script = format!(
            "set -e\n\
             ip link set lo up\n\
             ip link add node0 type bridge\n\
             ip addr add {NODE_ADDRESS}/24 dev node0\n\
             ip link set node0 up\n\
             ip route add default dev node0 src {NODE_ADDRESS}\n\
             sysctl -qw net.ipv4.ip_forward=1\n\
             sysctl -qw net.ipv4.ip_local_port_range='10000 65000'\n\
             {SHARED_FOLDERS}"
        );
        self.run(&script)
    }

    /// Joins a node's network to the bridge of this one, at an address of its own; `pods` is the range of that node.
    pub(super) fn join(self, inner: Self, address: &str, pods: &str) -> anyhow::Result<()> {
        // Both ends are named from outside of both: there alone the holder's number is the one known here.
        let script = format!(
            "set -e\n\
             ip link add {LINK} type veth peer name uplink netns {}\n\
             ip link set {LINK} master node0\n\
             ip link set {LINK} up\n\
             ip route add {pods} via {address}\n",
            inner.holder.pid
        );
        run_to_end(self.network_command("sh").arg("-c").arg(script))
            .context("joining the second node's network")?;
        // A first packet nobody answered leaves its translation behind, for two minutes by default: whoever is given its port meanwhile is
        // sent to the same pod, long after the Service has forgotten it. Ports come round sooner than that here.
        self.run("sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_syn_sent=5")?;
        inner.run(&format!(
            "set -e\n\
             ip addr add {address}/24 dev uplink\n\
             ip link set uplink up\n\
             ip route add default via {NODE_ADDRESS}\n\
             sysctl -qw net.ipv4.ip_forward=1\n"
        ))
    }

    /// Cuts what `join` made; nothing to cut is no error.
    pub(super) fn cut(self, pods: &str) -> anyhow::Result<()> {
        let script = format!(
            "ip link show {LINK} >/dev/null 2>&1 && ip link delete {LINK}; ip route flush {pods}; true"
        );
        run_to_end(self.network_command("sh").arg("-c").arg(script))
    }

    fn run(self, script: &str) -> anyhow::Result<()> {
        run_to_end(self.command("sh").arg("-c").arg(script))
            .context("setting up the network namespace")
    }

    /// A command in its network alone.
    pub(crate) fn network_command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut net = std::ffi::OsString::from("--net=");
        net.push(self.network());
        let mut command = Command::new("nsenter");
        command.arg(net).arg("--").arg(program);
        command
    }

    /// A command within network, mounts and process ids of the cluster.
    pub(crate) fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg("--target")
            .arg(self.holder.pid.to_string())
            .args(["--net", "--mount", "--pid", "--"])
            .arg(program);
        command
    }

    /// For those who only need its network: tests, load, controllers and people.
    pub(crate) fn network(self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.holder.pid))
    }

    pub(crate) fn lives(self) -> bool {
        self.holder.lives()
    }

    /// Ends every process of the cluster and waits until they are gone.
    pub(crate) fn destroy(self) -> anyhow::Result<()> {
        self.holder.kill()?;
        self.outer.kill()?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.holder.lives() || self.outer.lives() {
            if Instant::now() > deadline {
                bail!("process {} does not end", self.holder.pid);
            }
            pause_briefly();
        }
        Ok(())
    }
}

/// The pid, as seen from outside, of what a `nsenter` with a process namespace runs.
pub(crate) fn only_child(of: i32) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn command_line(of: i32) -> Option<String> {
    let raw = std::fs::read(format!("/proc/{of}/cmdline")).ok()?;
    Some(
        String::from_utf8_lossy(&raw)
            .replace('\0', " ")
            .trim_end()
            .to_owned(),
    )
}

/// The holder itself: process 1 of its namespace, so it buries what the others leave behind.
pub(crate) async fn hold() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut child = signal(SignalKind::child())?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            _ = child.recv() => while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {},
            _ = terminate.recv() => return Ok(()),
        }
    }
}
