//! The configuration files of the cluster's parts, as text. Starting the parts belongs to `parts`.
//!
//! Several settings are there because a test cluster often runs within a container or a small virtual machine, with cgroup v1, swap, no
//! AppArmor and without all capabilities; the reason stands beside each.

use std::path::Path;

use super::image;

/// `root` and `state` of our own, and a network of our own; `restrict_oom_score_adj` because without CAP_SYS_RESOURCE runc may not lower
/// the score and no sandbox would start.
pub(crate) fn containerd(folder: &Path, snapshotter: &str) -> String {
    let at = folder.display();
    let pause = image::PAUSE;
    format!(
        r#"version = 2
root = "{at}/containerd/root"
state = "{at}/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{at}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{at}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#
    )
}

/// `range`: of the pods of this node.
pub(crate) fn network(folder: &Path, range: &str) -> String {
    let at = folder.display();
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "e2e", "plugins": [
  {{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
    "ipam": {{"type": "host-local", "dataDir": "{at}/cni-addresses", "ranges": [[{{"subnet": "{range}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
]}}
"#
    )
}

/// No cgroup per quality class and no eviction: the machine's other work must not push test pods off the node. Its lease is renewed every two
/// seconds (a quarter of its duration), so that a node is lost after ten missed ones (`parts::NODE_LOST_AFTER`), where five are usual.
pub(crate) fn kubelet(folder: &Path, certificates: &Path) -> String {
    let (at, certificates) = (folder.display(), certificates.display());
    format!(
        r#"apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}, x509: {{clientCAFile: '{certificates}/ca.crt'}}}}
authorization: {{mode: AlwaysAllow}}
containerRuntimeEndpoint: unix://{at}/containerd.sock
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
localStorageCapacityIsolation: false
makeIPTablesUtilChains: false
resolvConf: ""
clusterDomain: cluster.local
podLogsDir: {at}/pod-logs
maxPods: 110
nodeLeaseDurationSeconds: 8
evictionHard: {{memory.available: 0%, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%}}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
readOnlyPort: 0
"#
    )
}

/// Who asked for what, one line per request, without bodies: enough to count the reads and writes of one release by its ServiceAccount.
/// The cluster's own parts are left out, since they write most of the lines and no scenario counts them.
pub(crate) const AUDIT_POLICY: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, userGroups: ["system:nodes"]}
- {level: None, users: ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy"]}
- {level: None, userGroups: ["system:serviceaccounts:kube-system"]}
- {level: Metadata}
"#;
