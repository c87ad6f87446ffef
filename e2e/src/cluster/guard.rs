//! A connection that meets kube-proxy's rules while they are replaced: kept from being counted against Crossfade, and counted itself.
//!
//! Once in some hundred changes of endpoints under load, whoever makes them, the first packet of a connection finds no rule for its Service
//! although the Service has ready endpoints all the while. Nothing translates its address then. With kube-proxy's nftables mode the packet is
//! rejected (a rule's map is empty to whoever still holds the rule of the generation before); with iptables it leaves for an address nobody
//! has. Either way the connection is lost to a race within the node, in a steady cluster as well as in a release.
//!
//! Here such a packet is dropped instead. TCP sends it again a second later, and by then the rules are whole. A Service *without* endpoints is
//! another thing and is not covered up: kube-proxy's own rule rejects its connections, before this one is reached.

use std::process::Command;

use anyhow::Context;

use super::namespace::Namespace;
use super::{SERVICE_RANGE, run_to_end};

/// Last in the chain: what comes here was neither translated nor rejected.
const RULE: [&str; 8] = [
    "OUTPUT",
    "--destination",
    SERVICE_RANGE,
    "--protocol",
    "tcp",
    "--syn",
    "--jump",
    "DROP",
];

pub(super) fn install(namespace: Namespace) -> anyhow::Result<()> {
    run_to_end(
        namespace
            .command("iptables")
            .args(["--wait", "--append"])
            .args(RULE),
    )
}

/// How many packets the rule has dropped so far. For a process within the cluster's network.
pub(crate) fn dropped() -> anyhow::Result<u64> {
    let out = Command::new("iptables")
        .args([
            "--wait",
            "--list",
            "OUTPUT",
            "--verbose",
            "--exact",
            "--numeric",
        ])
        .output()
        .context("cannot run iptables")?;
    let listed = String::from_utf8_lossy(&out.stdout);
    let row = listed
        .lines()
        .find(|line| line.contains("DROP") && line.contains(SERVICE_RANGE));
    row.and_then(|row| row.split_whitespace().next())
        .and_then(|packets| packets.parse().ok())
        .with_context(|| format!("the rule is not there: {listed}"))
}
