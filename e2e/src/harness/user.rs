//! A user with kubectl: the real program, so that what it does to an object (field managers, defaults, conflicts) is what users get.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// No command of a user takes longer; waits have their own.
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) kubeconfig: PathBuf,
    pub(crate) namespace: String,
    /// kubectl keeps what it discovered there.
    pub(crate) cache: PathBuf,
}

#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Said {
    pub(crate) fn must(self, what: &str) -> anyhow::Result<Self> {
        if self.ok {
            return Ok(self);
        }
        bail!(
            "{what} failed: {}{}",
            self.stderr.trim(),
            self.stdout.trim()
        )
    }
}

impl User {
    /// Any kubectl command; a refusal is an answer, not an error.
    pub(crate) async fn kubectl(
        &self,
        arguments: &[&str],
        input: Option<&str>,
    ) -> anyhow::Result<Said> {
        let started = Instant::now();
        let mut child = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--cache-dir")
            .arg(&self.cache)
            .args(["--namespace", &self.namespace])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run kubectl")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin
                .write_all(input.unwrap_or_default().as_bytes())
                .await
                .context("kubectl does not read")?;
        }
        let out = timeout(LONGEST, child.wait_with_output())
            .await
            .with_context(|| format!("kubectl {} does not end", arguments.join(" ")))??;
        Ok(Said {
            ok: out.status.success(),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
            took: started.elapsed(),
        })
    }

    pub(crate) async fn must(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        self.kubectl(arguments, None)
            .await?
            .must(&format!("kubectl {}", arguments.join(" ")))
    }

    /// Client-side apply, as `kubectl apply -f`.
    pub(crate) async fn apply(&self, object: &Value) -> anyhow::Result<Said> {
        self.kubectl(&["apply", "-f", "-"], Some(&object.to_string()))
            .await
    }

    pub(crate) async fn apply_server_side(
        &self,
        object: &Value,
        forced: bool,
    ) -> anyhow::Result<Said> {
        let mut arguments = vec!["apply", "--server-side", "-f", "-"];
        if forced {
            arguments.push("--force-conflicts");
        }
        self.kubectl(&arguments, Some(&object.to_string())).await
    }

    pub(crate) async fn set_image(&self, deployment: &str, image: &str) -> anyhow::Result<Said> {
        self.kubectl(
            &[
                "set",
                "image",
                &format!("deployment/{deployment}"),
                &format!("app={image}"),
            ],
            None,
        )
        .await
    }

    pub(crate) async fn scale(&self, deployment: &str, replicas: u32) -> anyhow::Result<Said> {
        self.kubectl(
            &[
                "scale",
                &format!("deployment/{deployment}"),
                &format!("--replicas={replicas}"),
            ],
            None,
        )
        .await
    }

    /// `kind` as kubectl names it: json, merge or strategic.
    pub(crate) async fn patch(
        &self,
        object: &str,
        kind: &str,
        patch: &Value,
    ) -> anyhow::Result<Said> {
        self.kubectl(
            &[
                "patch",
                object,
                "--type",
                kind,
                "--patch",
                &patch.to_string(),
            ],
            None,
        )
        .await
    }
}
