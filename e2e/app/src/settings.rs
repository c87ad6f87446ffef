//! What the environment tells the application to be. How it then behaves belongs to `serve`.

use std::time::Duration;

use anyhow::{Context, bail};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// After SIGTERM: not ready, keeps accepting and answering with `Connection: close`, then exits.
    Drains,
    /// Exits at once on SIGTERM, as an application does that handles no signal and loses what is open.
    Exits,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) version: String,
    pub(crate) pod: String,
    pub(crate) port: u16,
    pub(crate) manner: Manner,
    pub(crate) error_share: f64,
    pub(crate) latency: Duration,
    pub(crate) latency_jitter: Duration,
    pub(crate) metrics: bool,
    pub(crate) crash: bool,
    /// How long a draining application goes on accepting. At least 5 s, and well under the 15 s of grace its pods have.
    pub(crate) drain: Duration,
    /// How long it waits before it starts to listen.
    pub(crate) start_delay: Duration,
}

impl Settings {
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        Self::from(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from(read: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let manner = match read("MANNER").as_deref() {
            None | Some("drains") => Manner::Drains,
            Some("exits") => Manner::Exits,
            Some(other) => bail!("MANNER is {other:?}: known are `drains` and `exits`"),
        };
        let error_share = number(&read, "ERROR_SHARE", 0.0)?;
        if !(0.0..=1.0).contains(&error_share) {
            bail!("ERROR_SHARE is {error_share}: it must lie between 0 and 1");
        }
        Ok(Self {
            version: read("VERSION").unwrap_or_else(|| "unset".to_owned()),
            pod: read("POD_NAME")
                .or_else(|| read("HOSTNAME"))
                .unwrap_or_else(|| "unset".to_owned()),
            port: number(&read, "PORT", 8080)?,
            manner,
            error_share,
            latency: Duration::from_millis(number(&read, "LATENCY_MS", 0)?),
            latency_jitter: Duration::from_millis(number(&read, "LATENCY_JITTER_MS", 0)?),
            metrics: read("METRICS").as_deref() != Some("off"),
            crash: read("CRASH").as_deref() == Some("1"),
            drain: Duration::from_secs(number(&read, "DRAIN_SECONDS", 6u64)?.max(5)),
            start_delay: Duration::from_millis(number(&read, "START_DELAY_MS", 0)?),
        })
    }
}

fn number<T: std::str::FromStr>(
    read: &impl Fn(&str) -> Option<String>,
    name: &str,
    default: T,
) -> anyhow::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match read(name) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .with_context(|| format!("{name} is {text:?}, not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_mistakes() {
        let settings = Settings::from(|_| None).unwrap();
        assert_eq!(
            (settings.port, settings.manner, settings.metrics),
            (8080, Manner::Drains, true)
        );
        assert!(Settings::from(|name| (name == "MANNER").then(|| "sometimes".to_owned())).is_err());
        assert!(Settings::from(|name| (name == "ERROR_SHARE").then(|| "20%".to_owned())).is_err());
        let short =
            Settings::from(|name| (name == "DRAIN_SECONDS").then(|| "1".to_owned())).unwrap();
        assert_eq!(short.drain, Duration::from_secs(5));
    }
}
