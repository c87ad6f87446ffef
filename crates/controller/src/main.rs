//! The controller's process: flags, clock, names, sockets, signals. Nothing that a simulation would
//! want to see.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use crossfade_api::Duration as Span;
use crossfade_api::install::Installation;
use crossfade_controller::admission::keeper::{Keeper, Place};
use crossfade_controller::admission::{self, Admission};
use crossfade_controller::health::Health;
use crossfade_controller::lease::{self, Leadership};
use crossfade_controller::metrics::Metrics;
use crossfade_controller::ports::{Clock, Engine, Ids};
use crossfade_controller::run::{Shown, WATCHES};
use crossfade_controller::wire::Wire;
use crossfade_controller::{Ports, Settings, health, identity, outbound, run};
use jiff::Timestamp;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tower::timeout::TimeoutLayer;
use tracing_subscriber::EnvFilter;

/// Releases Deployments step by step.
#[derive(Debug, Parser)]
#[command(name = "crossfade-controller", version)]
struct Flags {
    /// Kubeconfig; without one: KUBECONFIG, then the pod's ServiceAccount.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Serve these namespaces only.
    #[arg(long, value_delimiter = ',')]
    namespaces: Option<Vec<String>>,
    /// Name of the installation, the prefix of its cluster-wide objects.
    #[arg(long, default_value = "crossfade")]
    installation: String,
    /// The ServiceAccount to run as; refuses to run as anybody else.
    #[arg(long, value_name = "NAMESPACE:NAME", default_value = "crossfade-system:crossfade", value_parser = service_account)]
    service_account: (String, String),
    /// Name of the Lease; default: the installation's.
    #[arg(long)]
    lease_name: Option<String>,
    /// Namespace of the Lease; default: the ServiceAccount's.
    #[arg(long)]
    lease_namespace: Option<String>,
    /// How long others wait after our last renewal.
    #[arg(long, default_value = "15s")]
    lease_duration: Span,
    /// Time limit of each write, and how long one without an answer is waited out.
    #[arg(long, default_value = "5s")]
    write_timeout: Span,
    /// Where admission is served; without it: not at all.
    #[arg(long)]
    admission_address: Option<SocketAddr>,
    /// Name or address the API server calls admission by; default: the Service's names.
    #[arg(long)]
    admission_host: Vec<String>,
    /// Where health and metrics are served; without it: not at all.
    #[arg(long)]
    health_address: Option<SocketAddr>,
    /// Form of the log; RUST_LOG sets its depth.
    #[arg(long, value_enum, default_value_t = Log::Json)]
    log: Log,
    /// Most workloads looked at at once.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Log {
    Json,
    Text,
}

fn service_account(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("write NAMESPACE:NAME".to_owned()),
    }
}

struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the time of day comes in"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

struct RandomIds;

impl RandomIds {
    fn word() -> u64 {
        use std::hash::{BuildHasher, Hasher};
        // Seeded by the operating system each time: all the randomness a name needs.
        std::hash::RandomState::new().build_hasher().finish()
    }
}

impl Ids for RandomIds {
    fn candidate(&self) -> String {
        format!("{:08x}", Self::word() & 0xffff_ffff)
    }
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    logs(flags.log);
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        tracing::error!("another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(flags)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn logs(form: Log) {
    // kube-client logs each 5xx as an error of its own; we log what it means instead.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube_client=off,kube_runtime=off,tower=warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match form {
        Log::Json => builder.json().flatten_event(true).init(),
        Log::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
    }
}

async fn client(flags: &Flags, write_timeout: Duration) -> anyhow::Result<kube::Client> {
    let mut config = match &flags.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)
                .with_context(|| format!("--kubeconfig {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .context("--kubeconfig")?
        }
        None => kube::Config::infer()
            .await
            .context("no kubeconfig and no ServiceAccount; pass --kubeconfig")?,
    };
    // Retries are ours, by class of error; kube's would repeat writes that may have been carried out.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    // Longer than a watch lasts: a body that stops in the middle, a list's too, ends with an error.
    config.read_timeout = Some(Duration::from_secs(150));
    config.reset_reader_on_write = true;
    // Time to the headers of any answer: a watch streams its body afterwards.
    let headers =
        TimeoutLayer::new(Duration::from_secs(10).max(write_timeout * 2 + Duration::from_secs(1)));
    Ok(ClientBuilder::try_from(config)
        .context("the connection to the API server")?
        .with_layer(&headers)
        .build())
}

async fn serve(flags: Flags) -> anyhow::Result<()> {
    let write_timeout = Duration::from_millis(flags.write_timeout.milliseconds());
    let client = client(&flags, write_timeout).await?;
    let (account_namespace, account) = flags.service_account.clone();
    let installation = Installation {
        name: flags.installation.clone(),
        namespace: account_namespace.clone(),
        service_account: account,
        namespaces: flags.namespaces.clone(),
        ..Installation::default()
    };
    let ourselves = installation.username();

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let asking = Wire::new(client.clone(), write_timeout);
    let other = tokio::select! {
        other = identity::check(&asking, &ourselves) => other.context("asking the API server who we are")?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    if let Some(other) = other {
        anyhow::bail!(
            "this process runs as {other}, and admission lets only {ourselves} act: run it with that ServiceAccount's token, or pass --service-account"
        );
    }

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let now: admission::Now = {
        let clock = Arc::clone(&clock);
        Arc::new(move || clock.now())
    };
    let parts: &[&str] = if flags.admission_address.is_some() {
        &[WATCHES, "admission"]
    } else {
        &[WATCHES]
    };
    let health = Health::waiting_for(parts.iter().copied());
    let metrics = Metrics::default();
    let counts = admission::Counts::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    counts.register(&mut registry);

    // Three stops in this order: passes, then the lease, then what others still ask us for.
    let (stop_passes, passes_stopped) = watch::channel(false);
    let (stop_lease, lease_stopped) = watch::channel(false);
    let (stop_servers, servers_stopped) = watch::channel(false);
    let mut servers = tokio::task::JoinSet::new();
    if let Some(address) = flags.health_address {
        let stopped = servers_stopped.clone();
        let shown = health.clone();
        servers.spawn(async move {
            health::serve(address, shown, Arc::new(registry), stopped)
                .await
                .with_context(|| format!("--health-address {address}"))
        });
    }
    if let Some(address) = flags.admission_address {
        let (keeper, tls) = Keeper::new(
            client.clone(),
            Place::of(&installation, flags.admission_host.clone()),
        );
        let (keeper_now, keeper_stopped) = (Arc::clone(&now), servers_stopped.clone());
        servers.spawn(async move {
            keeper.run(keeper_now, keeper_stopped).await;
            Ok(())
        });
        let answering = Admission {
            client: client.clone(),
            planner: admission::Planner {
                admit: crossfade_engine::admit::admit,
                needs_live: crossfade_engine::admit::needs_live,
            },
            installation: installation.name.clone(),
            ourselves: ourselves.clone(),
            now: Arc::clone(&now),
            counts,
        };
        let (shown, stopped) = (health.clone(), servers_stopped.clone());
        servers.spawn(async move {
            let serving = move |serving: bool| {
                if serving {
                    shown.working("admission")
                } else {
                    shown.failing("admission", "not serving")
                }
            };
            admission::server::serve(address, answering, tls, serving, stopped)
                .await
                .with_context(|| format!("--admission-address {address}"))
        });
    }

    let instance = format!("{}-{:016x}", installation.name, RandomIds::word());
    let lease_settings = lease::Settings {
        name: flags
            .lease_name
            .clone()
            .unwrap_or_else(|| installation.name.clone()),
        namespace: flags.lease_namespace.clone().unwrap_or(account_namespace),
        identity: instance.clone(),
        duration: Duration::from_millis(flags.lease_duration.milliseconds()),
    };
    let (leading, leadership) = watch::channel(Leadership::default());
    let lease = tokio::spawn(lease::run(
        client.clone(),
        lease_settings,
        now,
        leading,
        lease_stopped,
    ));

    let ports = Ports {
        client,
        clock,
        outbound: outbound::direct().context("HTTP to pods")?,
        ids: Arc::new(RandomIds),
        planner: Arc::new(Engine),
    };
    let settings = Settings {
        namespaces: flags.namespaces,
        write_timeout,
        user: installation.username(),
        installation: installation.name,
        instance,
        concurrency: flags.concurrency,
    };
    let mut running = tokio::spawn(run(
        ports,
        settings,
        Shown { health, metrics },
        leadership,
        passes_stopped,
    ));
    let failed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = &mut running => Some(ended.map_or_else(|error| error.to_string(), |()| "the controller ended by itself".to_owned())),
        Some(ended) = servers.join_next() => Some(match ended {
            Ok(Ok(())) => "a server ended by itself".to_owned(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(error) => error.to_string(),
        }),
    };
    tracing::info!("stopping: passes in flight end first, then the lease is given back");
    stop_passes.send_replace(true);
    if !running.is_finished() {
        let _ = running.await;
    }
    stop_lease.send_replace(true);
    let _ = tokio::time::timeout(Duration::from_secs(5), lease).await;
    stop_servers.send_replace(true);
    let _ = tokio::time::timeout(Duration::from_secs(5), async {
        while servers.join_next().await.is_some() {}
    })
    .await;
    match failed {
        None => Ok(()),
        Some(why) => anyhow::bail!(why),
    }
}
