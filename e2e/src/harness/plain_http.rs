//! One plain request on a connection of its own: to a pod's switches, to the controller's /metrics.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LONGEST: Duration = Duration::from_secs(5);
/// Of one connection to a Service. A first packet that went to an address nobody has any more is sent again a second later, and to the same.
const ANSWERS: Duration = Duration::from_millis(500);

/// The names of the pods that answer so many requests, one after the other and each on a connection of its own; an error if one of them
/// stays without an answer.
pub(crate) async fn pods_behind(
    service: SocketAddr,
    requests: usize,
) -> anyhow::Result<BTreeSet<String>> {
    let mut pods = BTreeSet::new();
    for _ in 0..requests {
        let answer = timeout(ANSWERS, exchange(service, "GET", "/"))
            .await
            .context("no answer in time")??;
        let head = answer.split("\r\n\r\n").next().unwrap_or_default();
        let pod = head
            .lines()
            .find_map(|line| line.strip_prefix("x-pod: "))
            .with_context(|| format!("an answer without x-pod: {head}"))?;
        pods.insert(pod.to_owned());
    }
    Ok(pods)
}

async fn exchange(address: SocketAddr, method: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The body of a 200; anything else is an error.
pub(crate) async fn ask(address: SocketAddr, method: &str, path: &str) -> anyhow::Result<String> {
    let answer = timeout(LONGEST, exchange(address, method, path))
        .await
        .with_context(|| format!("{address} does not answer {method} {path}"))?
        .with_context(|| format!("{method} {path} at {address}"))?;
    anyhow::ensure!(
        answer.starts_with("HTTP/1.1 200"),
        "{method} {path} at {address}: {}",
        answer.lines().next().unwrap_or_default()
    );
    Ok(answer
        .split_once("\r\n\r\n")
        .map_or("", |(_, body)| body)
        .to_owned())
}
