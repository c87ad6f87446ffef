//! One plain request on a connection of its own: to a pod's switches, to the controller's /metrics.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LONGEST: Duration = Duration::from_secs(5);

/// The body of a 200; anything else is an error.
pub(crate) async fn ask(address: SocketAddr, method: &str, path: &str) -> anyhow::Result<String> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(LONGEST, asked)
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
