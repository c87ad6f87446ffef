//! What the controller logs in a world: errors are a violation, the rest goes into the trace when it is
//! asked for. Each world has its own subscriber on its own thread.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::trace::Trace;

/// Told of each error logged.
pub type Told = Arc<dyn Fn(String) + Send + Sync>;

/// A subscriber for one world.
pub struct WorldLog {
    trace: Arc<Trace>,
    told: Told,
    /// Everything goes into the trace, not errors alone.
    everything: bool,
    spans: AtomicU64,
}

impl fmt::Debug for WorldLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WorldLog")
            .field("everything", &self.everything)
            .finish_non_exhaustive()
    }
}

impl WorldLog {
    /// Errors go to `told`; with `everything` information and warnings go into the trace.
    #[must_use]
    pub fn new(trace: Arc<Trace>, told: Told, everything: bool) -> Self {
        Self {
            trace,
            told,
            everything,
            spans: AtomicU64::new(1),
        }
    }
}

#[derive(Default)]
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = if field.name() == "message" {
            write!(self.0, " {value:?}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
    }
}

impl Subscriber for WorldLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let most = if self.everything {
            Level::INFO
        } else {
            Level::ERROR
        };
        metadata.is_event()
            && *metadata.level() <= most
            && metadata.target().starts_with("crossfade")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words::default();
        event.record(&mut words);
        let level = event.metadata().level();
        if *level == Level::ERROR {
            (self.told)(words.0.trim().to_owned());
        }
        self.trace.line(&format_args!("log {level}{}", words.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
