//! The pause container: waits for a signal and buries processes left to it. Nothing else belongs here.

use tokio::signal::unix::{SignalKind, signal};

pub(crate) async fn run() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut child = signal(SignalKind::child())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            // Process 1 of a shared process namespace inherits orphans; one signal may stand for several of them.
            _ = child.recv() => while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {},
        }
    }
}
