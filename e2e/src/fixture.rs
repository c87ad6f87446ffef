//! Crossfade as a user has it, for one scenario: installed with rights and webhooks of its own, running as a process, and asked and told
//! what to do through `kubectl` and `crossfade`.
//!
//! What must hold in a release belongs to the scenarios; what must hold at the end of every one is in `laws`.

#![allow(
    dead_code,
    reason = "a library for scenarios: some of it is used only by those still to come"
)]

pub(crate) mod cli;
pub(crate) mod floor;
mod install;
pub(crate) mod lane;
pub(crate) mod laws;
mod ledger;
mod measured;
pub(crate) mod plan;
pub(crate) mod point;
pub(crate) mod serving;
pub(crate) mod snapshot;
pub(crate) mod split;
pub(crate) mod stages;
pub(crate) mod statistics;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use crossfade_api::install::Installation;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::api::{Patch, refused_with, text};
use crate::harness::app::{App, image};
use crate::harness::audit::{Counts, Mark};
use crate::harness::context::Context;
use crate::harness::controller::Controller;
use crate::harness::watch::Watch;

pub(crate) use cli::Answer;
pub(crate) use install::{Replica, Settings};
pub(crate) use plan::Plan;

/// The workload of most scenarios, and its Service.
pub(crate) const WEB: &str = "web";
/// From one phase to the next, with the quick plan.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// Words of the status are written at most this long after what they are about.
const QUIET: Duration = Duration::from_secs(60);
/// From the push to the end, with the quick plan.
pub(crate) const WHOLE: Duration = Duration::from_secs(150);

/// An installation, its process, and the Rollouts it holds.
#[derive(Debug)]
pub(crate) struct Crossfade {
    pub(crate) context: Arc<Context>,
    pub(crate) installation: Installation,
    /// Of the controller's ServiceAccount, the rights of `install` and no others.
    pub(crate) kubeconfig: PathBuf,
    pub(crate) controller: Controller,
    /// All Rollouts of the namespace since the installation, with times.
    pub(crate) rollouts: Watch,
    ledger: ledger::Ledger,
    /// Where the API server finds the admission of the process in `controller`.
    pub(crate) admission: std::net::SocketAddr,
    health: std::net::SocketAddr,
}

impl Crossfade {
    /// Installs, starts the controller, waits until it leads and its webhooks answer, and gives the namespace the quick plan.
    pub(crate) async fn install(context: &Arc<Context>) -> anyhow::Result<Self> {
        Self::install_with(context, Settings::default()).await
    }

    pub(crate) async fn install_with(
        context: &Arc<Context>,
        settings: Settings,
    ) -> anyhow::Result<Self> {
        let mut made = Self::install_stopped(context, settings).await?;
        made.start().await?;
        Ok(made)
    }

    /// Without a process: the scenario starts as many as it wants.
    pub(crate) async fn install_stopped(
        context: &Arc<Context>,
        settings: Settings,
    ) -> anyhow::Result<Self> {
        let made = install::install(context, settings).await?;
        made.plan(&Plan::default()).await?;
        Ok(made)
    }

    /// Starts the controller and waits until it is ready.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        self.controller.start()?;
        install::until_ready(self).await
    }

    /// The user name the API server knows the controller by.
    pub(crate) fn user(&self) -> String {
        self.installation.username()
    }

    /// Requests of the controller since a mark of the audit log, but for its Lease, which it renews in rest as well.
    pub(crate) fn counts(&self, since: &Mark) -> anyhow::Result<Counts> {
        let mut counts = since.counts(&self.user())?;
        counts.retain(|key, _| !key.ends_with(" leases"));
        Ok(counts)
    }

    // What a user does

    /// The plan of every release that begins from now on, as the policy `default` of the namespace.
    pub(crate) async fn plan(&self, plan: &Plan) -> anyhow::Result<()> {
        self.plan_as("default", plan).await
    }

    /// The same as a policy that Deployments have to name.
    pub(crate) async fn plan_as(&self, policy: &str, plan: &Plan) -> anyhow::Result<()> {
        let policy = json!({
            "apiVersion": "crossfade.dev/v1alpha1", "kind": "RolloutPolicy", "metadata": {"name": policy}, "spec": plan.spec(),
        });
        self.context
            .user
            .apply(&policy)
            .await?
            .must("applying the RolloutPolicy")?;
        Ok(())
    }

    /// Deploys an opted-in application and waits until the controller holds it and the gate answers.
    pub(crate) async fn deploy(&self, app: &App) -> anyhow::Result<()> {
        let opted_in = app
            .annotations
            .iter()
            .any(|(name, _)| name == "crossfade.dev/strategy");
        let app = if opted_in {
            app.clone()
        } else {
            app.clone().canary()
        };
        self.context.deploy(&app).await?;
        self.until_of(&app.name, "it is held and at rest", SOON, |rollout| {
            (text(rollout, "/status/phase") == "Idle").then_some(())
        })
        .await?;
        self.until_gated(&app.name).await
    }

    /// Tries a template change of a workload at rest: what is stored of it would be paused. An error if it is refused or let through.
    pub(crate) async fn tried(&self, deployment: &str) -> anyhow::Result<()> {
        let path = format!(
            "{}?dryRun=All",
            self.context.path("deployments", deployment)
        );
        let change =
            json!({"spec": {"template": {"metadata": {"annotations": {"e2e/tried": "yes"}}}}});
        let object = self
            .context
            .api
            .patch(&path, Patch::Merge, &change)
            .await
            .with_context(|| format!("the gate of {deployment} refuses"))?;
        anyhow::ensure!(
            object.pointer("/spec/paused").and_then(Value::as_bool) == Some(true),
            "the gate of {deployment} does not pause"
        );
        Ok(())
    }

    /// Waits until the API server asks the gate.
    pub(crate) async fn until_gated(&self, deployment: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            match self.tried(deployment).await {
                Ok(()) => return Ok(()),
                Err(problem) if Instant::now() > deadline => return Err(problem),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// `kubectl set image`, and when it was answered.
    pub(crate) async fn release(&self, tag: &str) -> anyhow::Result<Instant> {
        self.release_of(WEB, tag).await
    }

    pub(crate) async fn release_of(&self, deployment: &str, tag: &str) -> anyhow::Result<Instant> {
        self.context
            .user
            .set_image(deployment, &image(tag))
            .await?
            .must("kubectl set image")?;
        Ok(Instant::now())
    }

    /// Writes a command as `kubectl patch` does, and says when it was answered.
    pub(crate) async fn command(&self, action: &str) -> anyhow::Result<Instant> {
        self.command_of(WEB, &json!({"action": action})).await
    }

    /// The whole of `spec.control`; an id is made if there is none.
    pub(crate) async fn command_of(
        &self,
        rollout: &str,
        control: &Value,
    ) -> anyhow::Result<Instant> {
        let mut control = control.clone();
        if let Some(fields) = control.as_object_mut() {
            fields.entry("id").or_insert_with(|| {
                json!(format!("e2e-{}", jiff::Timestamp::now().as_nanosecond()))
            });
        }
        // A JSON patch replaces the former command as a whole.
        let patch = json!([{"op": "add", "path": "/spec/control", "value": control}]);
        let path = self.context.path("rollouts", rollout);
        self.context.api.patch(&path, Patch::Json, &patch).await?;
        Ok(Instant::now())
    }

    // What a user sees

    /// The Rollout of `web`, read live.
    pub(crate) async fn rollout(&self) -> anyhow::Result<Value> {
        self.context.get("rollouts", WEB).await
    }

    /// Waits for something of the Rollout of `web`. What it said last stands in the error.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        look: impl Fn(&Value) -> Option<T>,
    ) -> anyhow::Result<T> {
        self.until_of(WEB, what, limit, look).await
    }

    pub(crate) async fn until_of<T>(
        &self,
        rollout: &str,
        what: &str,
        limit: Duration,
        look: impl Fn(&Value) -> Option<T>,
    ) -> anyhow::Result<T> {
        self.rollouts
            .until_object(rollout, &format!("{rollout}: {what}"), limit, look)
            .await
            .with_context(|| match self.rollouts.object(rollout) {
                Some(found) => format!(
                    "{rollout} says: {} ({}), verdict: {} {}",
                    text(&found, "/status/message"),
                    text(&found, "/status/step/text"),
                    text(&found, "/status/verdict/outcome"),
                    text(&found, "/status/verdict/reason"),
                ),
                None => format!("there is no Rollout {rollout}"),
            })
    }

    pub(crate) async fn until_phase(&self, phase: &str, limit: Duration) -> anyhow::Result<Value> {
        self.until(&format!("phase {phase}"), limit, |rollout| {
            (text(rollout, "/status/phase") == phase).then(|| rollout.clone())
        })
        .await
    }

    /// Waits until a step (counted from 0, the warm stay being one past the last) is in a state (Scaling, Observing …).
    pub(crate) async fn until_step(
        &self,
        index: u32,
        state: &str,
        limit: Duration,
    ) -> anyhow::Result<Value> {
        self.until(&format!("step {index} {state}"), limit, |rollout| {
            let there = rollout
                .pointer("/status/step/index")
                .and_then(Value::as_u64)
                == Some(index.into())
                && text(rollout, "/status/step/state") == state
                && ["Progressing", "Warm"].contains(&text(rollout, "/status/phase"));
            there.then(|| rollout.clone())
        })
        .await
    }

    /// Waits until the newest ended release is this image's, ended so, and nothing goes on any more.
    pub(crate) async fn until_ended(
        &self,
        tag: &str,
        outcome: &str,
        limit: Duration,
    ) -> anyhow::Result<Value> {
        self.until_ended_of(WEB, tag, outcome, limit).await
    }

    pub(crate) async fn until_ended_of(
        &self,
        name: &str,
        tag: &str,
        outcome: &str,
        limit: Duration,
    ) -> anyhow::Result<Value> {
        let rest = if outcome == "promoted" {
            "Idle"
        } else {
            "RolledBack"
        };
        let wanted = image(tag);
        let ended = self
            .until_of(
                name,
                &format!("the release of {tag} has ended"),
                limit,
                |rollout| {
                    let entry = rollout.pointer("/status/history/0")?;
                    let there = text(entry, "/images/0") == wanted
                        && ["Idle", "RolledBack"].contains(&text(rollout, "/status/phase"));
                    there.then(|| rollout.clone())
                },
            )
            .await?;
        let (found, phase) = (
            text(&ended, "/status/history/0/outcome"),
            text(&ended, "/status/phase"),
        );
        anyhow::ensure!(
            found == outcome && phase == rest,
            "the release of {tag} ended {found} in phase {phase} instead of {outcome}: {}",
            text(&ended, "/status/history/0/reason")
        );
        Ok(ended)
    }

    pub(crate) async fn until_promoted(&self, tag: &str) -> anyhow::Result<Value> {
        self.until_ended(tag, "promoted", WHOLE).await
    }

    /// Waits until a pushed template is gated and its release cannot begin.
    pub(crate) async fn until_held(&self, limit: Duration) -> anyhow::Result<()> {
        self.until("the push is held", limit, |rollout| {
            (text(rollout, "/status/message").contains("gated")
                && text(rollout, "/status/phase") == "Idle")
                .then_some(())
        })
        .await
    }

    /// Waits until nothing is left to do: a controller that has just started holds its last deletions back
    /// until no write of the one before it can still land. At rest the words of the status alone follow up to
    /// a minute later.
    pub(crate) async fn until_rest(&self, limit: Duration) -> anyhow::Result<()> {
        let limit = limit + QUIET;
        self.until("at rest and waits for nothing", limit, |rollout| {
            (text(rollout, "/status/message") == "at rest").then_some(())
        })
        .await
    }

    /// Whether a problem is the refusal with this HTTP status.
    pub(crate) fn is_refused(problem: &anyhow::Error, code: u16) -> bool {
        refused_with(problem) == Some(code)
    }
}
