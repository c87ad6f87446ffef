//! A controller process of a scenario: started, ended without warning, started again. What it does is the scenario's to judge.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::{Child, Command};
use tokio::time::timeout;

#[derive(Debug)]
pub(crate) struct Controller {
    binary: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    pub(crate) starts: u32,
}

impl Controller {
    /// Not yet started. All starts write to one log.
    pub(crate) fn new(binary: PathBuf, arguments: Vec<String>, log: PathBuf) -> Self {
        Self {
            binary,
            arguments,
            log,
            child: None,
            starts: 0,
        }
    }

    pub(crate) fn log(&self) -> &std::path::Path {
        &self.log
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        if self.running() {
            bail!("the controller runs already");
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        // It must not outlive the test, however that ends; so the kernel is told to end it with us.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.binary)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        self.child = Some(child);
        self.starts += 1;
        Ok(())
    }

    pub(crate) fn running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// SIGKILL, as a lost node or the out-of-memory killer would do it.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await.context("cannot end the controller")?;
        }
        Ok(())
    }

    /// SIGSTOP or SIGCONT: so that a scenario can act between two steps of it.
    pub(crate) fn hold(&self, held: bool) -> anyhow::Result<()> {
        let pid = self
            .pid()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(rustix::process::Pid::from_raw)
            .context("the controller does not run")?;
        let signal = if held {
            rustix::process::Signal::STOP
        } else {
            rustix::process::Signal::CONT
        };
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// SIGTERM, and the time it took to end.
    pub(crate) async fn stop(&mut self, limit: Duration) -> anyhow::Result<Duration> {
        let Some(mut child) = self.child.take() else {
            return Ok(Duration::ZERO);
        };
        let started = tokio::time::Instant::now();
        let pid = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        match timeout(limit, child.wait()).await {
            Ok(_) => Ok(started.elapsed()),
            Err(_) => {
                child.kill().await?;
                bail!(
                    "the controller did not end within {} s of SIGTERM",
                    limit.as_secs()
                )
            }
        }
    }
}
